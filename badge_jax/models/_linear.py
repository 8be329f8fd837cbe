"""A linear classifier."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from badge_jax.models.base import Model
from badge_jax.models.layers import dense, torch_model


class LinearClassifier(nn.Module):
    """One linear layer with bias; the features are the flattened inputs."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None, train: bool) -> tuple[jax.Array, jax.Array]:
        features = x.reshape(x.shape[0], -1).astype(jnp.float32)
        return dense(features, self.num_classes, name="output"), features


def linear(num_classes: int) -> Model:
    """Multinomial logistic regression: one linear layer with bias, whose features are the flattened inputs.

    Args:
        num_classes: number of classes c.

    Returns:
        A `Model` for inputs [b, ...] with logits [b, c] and features [b, d], float32; d is the number of
        entries of an input.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import linear
        >>> model, x = linear(3), jnp.ones((5, 2, 2))
        >>> variables = model.init(jax.random.key(0), x)
        >>> logits, features, _ = model.apply(variables, x, mask=None, train=False)
        >>> logits.shape, features.shape
        ((5, 3), (5, 4))
    """
    return torch_model(LinearClassifier(num_classes))
