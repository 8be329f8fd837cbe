"""The paper's multilayer perceptron."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from badge_jax.models.base import Model
from badge_jax.models.layers import dense, torch_model


class MLP(nn.Module):
    """Linear(in, hidden) → ReLU → Linear(hidden, num_classes, no bias); features are the ReLU's output."""

    num_classes: int
    hidden: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None, train: bool) -> tuple[jax.Array, jax.Array]:
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        hidden = dense(x, self.hidden, dtype=self.dtype, name="hidden")
        features = nn.relu(hidden).astype(jnp.float32)
        return dense(features, self.num_classes, use_bias=False, name="output"), features


def mlp(num_classes: int, *, hidden: int = 256, dtype: jnp.dtype = jnp.float32) -> Model:
    """The paper's two-layer perceptron, initialised like PyTorch's linear layers.

    Args:
        num_classes: number of classes c.
        hidden: hidden units d; the paper uses 256 for images and 1024 for the OpenML data sets.
        dtype: dtype of the hidden layer's arithmetic; the rest is float32.

    Returns:
        A `Model` for inputs [b, ...] with logits [b, c] and features [b, d], float32. The features are the
        outputs of the ReLU. The output layer has no bias.

    References:
        Ash et al., ICLR 2020, section 4.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import mlp
        >>> model, x = mlp(3, hidden=8), jnp.ones((5, 4))
        >>> variables = model.init(jax.random.key(0), x)
        >>> logits, features, _ = model.apply(variables, x, mask=None, train=False)
        >>> logits.shape, features.shape
        ((5, 3), (5, 8))
    """
    return torch_model(MLP(num_classes, hidden, dtype))
