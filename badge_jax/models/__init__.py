"""Networks, each a `Model` of two pure functions."""

from collections.abc import Callable

from badge_jax.models.interface import Model, Variables, linen_model
from badge_jax.models.mlp import mlp

MODELS: dict[str, Callable[..., Model]] = {"mlp": mlp}
"""Name → maker: ``MODELS[name](num_classes, **options) -> Model``."""

__all__ = ["MODELS", "Model", "Variables", "linen_model", "mlp"]
