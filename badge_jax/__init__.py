"""Batch active learning in JAX: BADGE (Ash et al., ICLR 2020) and its rivals."""

import importlib
from typing import TYPE_CHECKING, Any

from badge_jax._version import __version__
from badge_jax.embeddings import binary_logistic_embedding, gradient_embedding, last_layer_gradients
from badge_jax.rows import Rows, dense_rows
from badge_jax.samplers import (
    Clusters,
    k_center_greedy,
    k_dpp_swap,
    kmeans,
    kmeans_plusplus,
    lazy_kmeans_plusplus,
    nearest_members,
)
from badge_jax.selection import select
from badge_jax.shards import shard_pool
from badge_jax.strategies import STRATEGIES, Head, Pool, Strategy

if TYPE_CHECKING:
    from badge_jax.analysis import load_rounds, report
    from badge_jax.learner import ActiveLearner, LearnerState, make_active_learner
    from badge_jax.models import MODELS, Model, linear, linen_model, mlp, resnet18, standardized, vgg11
    from badge_jax.runs import RunOptions, Setting, run
    from badge_jax.training import Fit, FitOptions, make_fit, make_optimizer, make_predict

__all__ = [
    "MODELS",
    "STRATEGIES",
    "ActiveLearner",
    "Clusters",
    "Fit",
    "FitOptions",
    "Head",
    "LearnerState",
    "Model",
    "Pool",
    "Rows",
    "RunOptions",
    "Setting",
    "Strategy",
    "__version__",
    "binary_logistic_embedding",
    "dense_rows",
    "gradient_embedding",
    "k_center_greedy",
    "k_dpp_swap",
    "kmeans",
    "kmeans_plusplus",
    "last_layer_gradients",
    "lazy_kmeans_plusplus",
    "linear",
    "linen_model",
    "load_rounds",
    "make_active_learner",
    "make_fit",
    "make_optimizer",
    "make_predict",
    "mlp",
    "nearest_members",
    "report",
    "resnet18",
    "run",
    "select",
    "shard_pool",
    "standardized",
    "vgg11",
]


_LAZY = {
    "analysis": ("load_rounds", "report"),
    "learner": ("ActiveLearner", "LearnerState", "make_active_learner"),
    "models": ("MODELS", "Model", "linear", "linen_model", "mlp", "resnet18", "standardized", "vgg11"),
    "runs": ("RunOptions", "Setting", "run"),
    "training": ("Fit", "FitOptions", "make_fit", "make_optimizer", "make_predict"),
}


def __getattr__(name: str) -> Any:
    """What trains networks is imported when first asked for: Flax and Optax take a third of a second to load,
    and who only selects needs neither."""
    if name in _LAZY:
        return importlib.import_module(f"badge_jax.{name}")
    for package, names in _LAZY.items():
        if name in names:
            value = getattr(importlib.import_module(f"badge_jax.{package}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'badge_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
