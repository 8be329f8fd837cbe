"""ResNet-18 for small images."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from badge_jax.models.base import Model
from badge_jax.models.layers import BatchNorm, Convolution, check_images, dense, torch_model


class Block(nn.Module):
    """Two convolutions and a shortcut; the shortcut is a 1 × 1 convolution where the shape changes."""

    width: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None, train: bool) -> jax.Array:
        shortcut = x
        if self.stride != 1 or x.shape[3] != self.width:
            shortcut = Convolution(self.width, 1, self.stride, dtype=self.dtype, name="shortcut")(x)
            shortcut = BatchNorm(name="shortcut_norm")(shortcut, mask=mask, train=train)
        x = Convolution(self.width, stride=self.stride, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(BatchNorm(name="norm1")(x, mask=mask, train=train))
        x = Convolution(self.width, dtype=self.dtype, name="conv2")(x)
        x = BatchNorm(name="norm2")(x, mask=mask, train=train)
        return nn.relu(x + shortcut)


class ResNet18(nn.Module):
    """A 3 × 3 stem with stride 1, four stages of two blocks, the mean over the image, a linear layer."""

    num_classes: int
    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None, train: bool) -> tuple[jax.Array, jax.Array]:
        check_images("resnet18", x, smallest=1)
        x = Convolution(self.width, dtype=self.dtype, name="stem")(x)
        x = nn.relu(BatchNorm(name="stem_norm")(x, mask=mask, train=train))
        for stage in range(4):
            for i in range(2):
                stride = 2 if stage > 0 and i == 0 else 1
                block = Block(self.width * 2**stage, stride, self.dtype, name=f"stage{stage + 1}_block{i + 1}")
                x = block(x, mask=mask, train=train)
        features = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        return dense(features, self.num_classes, name="output"), features


def resnet18(num_classes: int, *, width: int = 64, dtype: jnp.dtype = jnp.float32) -> Model:
    """ResNet-18 with the stem for small images; 11,173,962 parameters for colour images of 10 classes.

    Args:
        num_classes: number of classes c.
        width: channels of the first stage; 16 gives the narrow network of the authors' code (128 features).
        dtype: dtype of the convolutions' arithmetic; the rest is float32.

    Returns:
        A `Model` for images [b, h, w, channels] float with logits [b, c] and features [b, 8·width], float32.
        The features are the mean over the image after the last ReLU.

    References:
        He et al., CVPR 2016.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import resnet18
        >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        >>> variables = jax.eval_shape(resnet18(10).init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        11173962
    """
    return torch_model(ResNet18(num_classes, width, dtype))
