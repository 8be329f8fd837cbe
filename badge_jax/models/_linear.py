"""A linear classifier."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from badge_jax.models.base import Model, linen_model
from badge_jax.models.layers import dense


class LinearClassifier(nn.Module):
    """Features are the flattened inputs themselves."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None, train: bool) -> tuple[jax.Array, jax.Array]:
        features = x.reshape(x.shape[0], -1).astype(jnp.float32)
        return dense(features, self.num_classes, name="output"), features


def linear(num_classes: int) -> Model:
    """Multinomial logistic regression as a `Model`: one linear layer, with bias, on the flattened inputs."""
    return linen_model(LinearClassifier(num_classes))
