"""3 × 3 convolutions that are as fast as PyTorch's on a CPU.

XLA's CPU backend is slow at some of them. It computes the gradient with respect to the kernel as a convolution
with a window as large as the image: up to ten times slower than the arithmetic allows. It has no fast path for
images of 2 × 2 pixels (eighty times slower) and reaches half the speed on images of 32 × 32. Here these are
matrix products of patches, a few thousand pixels at a time so that they fit the cache. They run at about the
speed of a matrix product. Other platforms use XLA's own convolutions.
"""

from functools import partial

import jax
import jax.numpy as jnp

_PIXELS_AT_A_TIME = 2048
_FEW_PIXELS, _MANY_PIXELS = 9, 32 * 32  # between these, XLA's own is as fast and compiles faster
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Cross-correlation with a 3 × 3 kernel; the image is padded with one pixel of zeros on every side.

    Args:
        x: [b, h, w, i] float.
        kernel: [3, 3, i, o] float.
        stride: step of the kernel, in pixels.

    Returns:
        [b, ⌈h/stride⌉, ⌈w/stride⌉, o] float.
    """
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    if _FEW_PIXELS < height * width < _MANY_PIXELS:
        return _xla_convolve(x, kernel, stride)
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_convolve_by_patches, stride=stride),
        default=partial(_xla_convolve, stride=stride),
    )


def _forward(x: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, kernel, stride), (x, kernel)


def _backward(
    stride: int, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    if stride == 1:  # the transpose is the convolution with the rotated kernel
        x_gradient = convolve(gradient, jnp.swapaxes(kernel[::-1, ::-1], 2, 3), 1)
    else:
        (x_gradient,) = jax.vjp(lambda x: _xla_convolve(x, kernel, stride), x)[1](gradient)
    kernel_gradient = jax.lax.platform_dependent(
        x,
        gradient,
        cpu=partial(_kernel_gradient_by_patches, stride=stride),
        default=lambda x, gradient: jax.vjp(lambda kernel: _xla_convolve(x, kernel, stride), kernel)[1](
            gradient
        )[0],
    )
    return x_gradient, kernel_gradient.astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def _xla_convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=_DIMENSIONS
    )


def _convolve_by_patches(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    matrix = kernel.reshape(-1, kernel.shape[3])
    blocks = _blocks(x, height * width)
    out = jax.lax.map(lambda block: _patches(block, stride, height, width) @ matrix, blocks)
    return out.reshape(x.shape[0], height, width, kernel.shape[3])


def _kernel_gradient_by_patches(x: jax.Array, gradient: jax.Array, stride: int) -> jax.Array:
    _, height, width, num_out = gradient.shape

    def add_block(total: jax.Array, blocks: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        patches = _patches(blocks[0], stride, height, width)
        product = jnp.dot(patches.T, blocks[1].reshape(-1, num_out), preferred_element_type=jnp.float32)
        return total + product, None

    blocks = _blocks(x, height * width), _blocks(gradient, height * width)
    zeros = jnp.zeros((9 * x.shape[3], num_out), jnp.float32)
    total, _ = jax.lax.scan(add_block, zeros, blocks)
    return total.reshape(3, 3, x.shape[3], num_out).astype(x.dtype)


def _blocks(x: jax.Array, num_pixels: int) -> jax.Array:
    """x [b, ...] as [blocks, images, ...], with about as many images in a block as fit the cache."""
    most = max(1, _PIXELS_AT_A_TIME // num_pixels)
    images = next(size for size in range(min(most, x.shape[0]), 0, -1) if x.shape[0] % size == 0)
    return x.reshape(-1, images, *x.shape[1:])


def _patches(x: jax.Array, stride: int, height: int, width: int) -> jax.Array:
    """The 3 × 3 patch of the input for each output pixel: [b · height · width, 9 · channels]."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = (height - 1) * stride + 1, (width - 1) * stride + 1
    parts = [padded[:, i : i + rows : stride, j : j + columns : stride] for i in range(3) for j in range(3)]
    return jnp.concatenate(parts, axis=-1).reshape(-1, 9 * x.shape[3])
