"""VGG-11 with batch normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from badge_jax.models.base import Model
from badge_jax.models.layers import BatchNorm, Convolution, check_images, dense, torch_model

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class VGG11(nn.Module):
    """Eight convolutions, each with bias, batch normalisation and ReLU; five halvings; linear."""

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
    """The largest of every 2 × 2 pixels, an odd last row or column left out.

    Equals share the gradient, of which PyTorch picks one: after a ReLU these are zeros, which pass none on.
    """
    b, h, w, c = x.shape
    return jnp.max(x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def vgg11(num_classes: int, *, dtype: jnp.dtype = jnp.float32) -> Model:
    """VGG with 11 layers (Simonyan and Zisserman, ICLR 2015; configuration A) with batch normalisation and one
    linear layer on 512 features, as a `Model`; 9,231,114 parameters at 10 classes of colour images.

    Inputs [b, h, w, channels] float, h and w at least 32; features [b, 512], the mean over what the last
    pooling leaves (one pixel at 32 × 32). (The authors' repository builds 16 layers; the paper says 11.)

    dtype: of the convolutions' arithmetic; all else is float32
    """
    return torch_model(VGG11(num_classes, dtype))
