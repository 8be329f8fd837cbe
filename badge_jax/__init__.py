"""Batch active learning in JAX: BADGE (Ash et al., ICLR 2020) and its rivals."""

from badge_jax._version import __version__
from badge_jax.active_learning import ActiveLearner, LearnerState, make_active_learner
from badge_jax.gradients import binary_logistic_embedding, gradient_embedding, last_layer_gradients
from badge_jax.models import MODELS, Model, linen_model, mlp
from badge_jax.rows import Rows, dense_rows
from badge_jax.samplers import k_center_greedy, kmeans_plusplus, lazy_kmeans_plusplus
from badge_jax.select import select
from badge_jax.strategies import STRATEGIES, Pool, Strategy
from badge_jax.training import Fit, FitOptions, make_fit, make_optimizer, make_predict

__all__ = [
    "MODELS",
    "STRATEGIES",
    "ActiveLearner",
    "Fit",
    "FitOptions",
    "LearnerState",
    "Model",
    "Pool",
    "Rows",
    "Strategy",
    "__version__",
    "binary_logistic_embedding",
    "dense_rows",
    "gradient_embedding",
    "k_center_greedy",
    "kmeans_plusplus",
    "last_layer_gradients",
    "lazy_kmeans_plusplus",
    "linen_model",
    "make_active_learner",
    "make_fit",
    "make_optimizer",
    "make_predict",
    "mlp",
    "select",
]
