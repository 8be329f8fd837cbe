"""The paper's multilayer perceptron."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from badge_jax.models.base import Model, linen_model
from badge_jax.models.layers import dense


class MLP(nn.Module):
    """Linear(in, hidden) → ReLU → Linear(hidden, num_classes, no bias); features are the ReLU's output."""

    num_classes: int
    hidden: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None, train: bool) -> tuple[jax.Array, jax.Array]:
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        features = nn.relu(dense(x, self.hidden, dtype=self.dtype)).astype(jnp.float32)
        return dense(features, self.num_classes, use_bias=False), features


def mlp(num_classes: int, *, hidden: int = 256, dtype: jnp.dtype = jnp.float32) -> Model:
    """The paper's two-layer perceptron as a `Model`, with PyTorch's default initial law.

    hidden: 256 for images, 1024 for the OpenML sets (Ash et al., ICLR 2020, section 4)
    dtype:  of the hidden layer's arithmetic; all else is float32
    """
    return linen_model(MLP(num_classes, hidden, dtype))
