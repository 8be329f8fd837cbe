"""VGG-11 with batch normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from badge_jax.models.base import Model
from badge_jax.models.layers import BatchNorm, Convolution, check_images, dense, torch_model

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class VGG11(nn.Module):
    """Eight convolutions with bias, batch normalisation and ReLU, five poolings, one linear layer."""

    num_classes: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None, train: bool) -> tuple[jax.Array, jax.Array]:
        check_images("vgg11", x, smallest=2 ** len(_STAGES))
        for number, widths in enumerate(_STAGES, start=1):
            for i, width in enumerate(widths, start=1):
                x = Convolution(width, use_bias=True, dtype=self.dtype, name=f"stage{number}_conv{i}")(x)
                x = nn.relu(BatchNorm(name=f"stage{number}_norm{i}")(x, mask=mask, train=train))
            x = _halve(x)
        features = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        return dense(features, self.num_classes, name="output"), features


def _halve(x: jax.Array) -> jax.Array:
    """Max pooling over 2 × 2 pixels; drops an odd last row or column.

    Equal pixels share the gradient here, while PyTorch gives it to one of them. After a ReLU, equal pixels are
    nearly always zeros, and these pass no gradient on.
    """
    b, h, w, c = x.shape
    return jnp.max(x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def vgg11(num_classes: int, *, dtype: jnp.dtype = jnp.float32) -> Model:
    """VGG-11 with batch normalisation and one linear layer on 512 features.

    It has 9,231,114 parameters for colour images of 10 classes. The paper of BADGE says 11 layers; the authors'
    repository builds 16.

    Args:
        num_classes: number of classes c.
        dtype: dtype of the convolutions' arithmetic; the rest is float32.

    Returns:
        A `Model` for images [b, h, w, channels] float, h and w at least 32, with logits [b, c] and features
        [b, 512], float32. The features are the mean over the pixels after the last pooling (one pixel for
        32 × 32 images).

    References:
        Simonyan and Zisserman, ICLR 2015, configuration A.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import vgg11
        >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        >>> variables = jax.eval_shape(vgg11(10).init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        9231114
    """
    return torch_model(VGG11(num_classes, dtype))
