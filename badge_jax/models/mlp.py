"""The paper's multilayer perceptron."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import variance_scaling

from badge_jax.models.interface import Model, linen_model

torch_kernel_init = variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform on ±1/√fan_in, PyTorch's default for the weights of a linear layer."""


class MLP(nn.Module):
    """Linear(in, hidden) → ReLU → Linear(hidden, num_classes, no bias); features are the ReLU's output."""

    num_classes: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None, train: bool) -> tuple[jax.Array, jax.Array]:
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        limit = 1 / math.sqrt(x.shape[1])

        def bias_init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
            return jax.random.uniform(key, shape, dtype, -limit, limit)

        features = nn.relu(nn.Dense(self.hidden, kernel_init=torch_kernel_init, bias_init=bias_init)(x))
        logits = nn.Dense(self.num_classes, use_bias=False, kernel_init=torch_kernel_init)(features)
        return logits, features


def mlp(num_classes: int, *, hidden: int = 256) -> Model:
    """The paper's two-layer perceptron as a `Model`, with PyTorch's default initial law.

    hidden: 256 for images, 1024 for the OpenML sets (Ash et al., ICLR 2020, section 4).
    """
    return linen_model(MLP(num_classes, hidden))
