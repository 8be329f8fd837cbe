"""Networks. Each is a `Model`: two pure functions."""

from collections.abc import Callable

import jax.numpy as jnp

from badge_jax.models._linear import linear
from badge_jax.models._mlp import mlp
from badge_jax.models.base import Head, Model, Variables, linen_model, standardized
from badge_jax.models.resnet import resnet18
from badge_jax.models.vgg import vgg11

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""Name → dtype of the arithmetic inside a network."""

MODELS: dict[str, Callable[..., Model]] = {"mlp": mlp, "resnet18": resnet18, "vgg11": vgg11, "linear": linear}
"""Name → maker: ``MODELS[name](num_classes, **options) -> Model``."""

__all__ = [
    "MODELS",
    "PRECISIONS",
    "Head",
    "Model",
    "Variables",
    "linear",
    "linen_model",
    "mlp",
    "resnet18",
    "standardized",
    "vgg11",
]
