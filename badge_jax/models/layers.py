"""Layers with PyTorch's conventions: its default initialisation and its batch normalisation."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer, variance_scaling
from flax.traverse_util import flatten_dict, unflatten_dict

from badge_jax.models.base import Model, Variables, linen_model
from badge_jax.models.convolution import convolve

torch_kernel_init = variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform on ±1/√fan_in, PyTorch's default for the weights of linear and convolutional layers."""


def torch_bias_init(fan_in: int) -> Initializer:
    """Uniform on ±1/√fan_in, PyTorch's default for the biases of linear and convolutional layers."""
    limit = 1 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def dense(
    x: jax.Array,
    num_out: int,
    *,
    use_bias: bool = True,
    dtype: jnp.dtype = jnp.float32,
    name: str | None = None,
) -> jax.Array:
    """A linear layer inside the module that calls this, with PyTorch's default initialisation.

    Args:
        x: [b, i] float.
        num_out: number of outputs.
        use_bias: whether to add a bias.
        dtype: dtype of the arithmetic.
        name: name of the layer in the tree of parameters; None: Flax's default.

    Returns:
        [b, num_out] of ``dtype``.
    """
    layer = nn.Dense(
        num_out,
        use_bias,
        dtype,
        kernel_init=torch_kernel_init,
        bias_init=torch_bias_init(x.shape[1]),
        name=name,
    )
    return layer(x)


def torch_model(module: nn.Module) -> Model:
    """A `Model` made of the layers below, with PyTorch's default initialisation.

    Each kernel, and the bias of the same layer, is uniform on ±1/√fan_in. All weights come from one draw: with
    one initializer for each layer, the initialisation would take longer to compile than the network, 15 s or
    more for ResNet-18.

    Args:
        module: as in `linen_model`.

    Returns:
        The `Model`. Its ``init`` raises ValueError for a parameter that is no kernel, bias or norm.
    """

    def init(key: jax.Array, x: jax.Array) -> Variables:
        shapes = jax.eval_shape(lambda: module.init(key, x, mask=None, train=False))
        limits = flatten_dict({"params": _limits(shapes["params"])})
        flat_shapes = flatten_dict(shapes)
        total = sum(flat_shapes[path].size for path in limits)
        numbers = jax.random.uniform(key, (total,), minval=-1.0, maxval=1.0)
        variables, start = {}, 0
        for path, leaf in flat_shapes.items():
            if path in limits:
                variables[path] = limits[path] * numbers[start : start + leaf.size].reshape(leaf.shape)
                start += leaf.size
            elif path[-1] in _OF_A_NORM:
                variables[path] = jnp.full(leaf.shape, _OF_A_NORM[path[-1]])
            else:
                name = "/".join(path[1:])
                raise ValueError(f"torch_model cannot draw {name}; wanted kernels, biases and norms alone")
        return unflatten_dict(variables)

    return linen_model(module, output="output")._replace(init=init)


_OF_A_NORM = {"scale": 1.0, "var": 1.0, "bias": 0.0, "mean": 0.0}


class Convolution(nn.Module):
    """Convolution of x [b, h, w, i] with zero padding: [b, ⌈h/stride⌉, ⌈w/stride⌉, num_out].

    Its weights start at zero: `torch_model` draws them.

    Attributes:
        num_out: output channels.
        size: side of the kernel in pixels, 3 or 1.
        stride: step of the kernel, in pixels.
        use_bias: whether to add a bias.
        dtype: dtype of the arithmetic.
    """

    num_out: int
    size: int = 3
    stride: int = 1
    use_bias: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.size, self.size, x.shape[3], self.num_out)
        kernel = self.param("kernel", nn.initializers.zeros, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.size == 1:
            # the barrier is for GPUs: XLA of jax 0.11 aborts where it fuses this slice with the product
            out = jax.lax.optimization_barrier(x[:, :: self.stride, :: self.stride]) @ kernel[0, 0]
        else:
            out = convolve(x, kernel, self.stride)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.num_out,))
            out = out + bias.astype(self.dtype)[None, None, None, :]
        return out


def _limits(params: dict) -> dict:
    """1/√fan_in for every kernel and the bias of the same layer, as a tree like that of the parameters."""
    if "kernel" in params:
        return dict.fromkeys(params, 1 / math.sqrt(math.prod(params["kernel"].shape[:-1])))
    return {name: _limits(part) for name, part in params.items() if isinstance(part, dict)}


def check_images(name: str, x: jax.Array, smallest: int) -> None:
    """Raises ValueError if x is not [b, h, w, channels] with h and w at least ``smallest`` pixels."""
    if x.ndim != 4 or min(x.shape[1:3]) < smallest:
        raise ValueError(
            f"{name} is for images [height, width, channels] of at least {smallest} × {smallest} pixels; found "
            f"inputs of shape {x.shape[1:]}"
        )


class BatchNorm(nn.Module):
    """Batch normalisation of x [b, h, w, c] over the images where ``mask`` [b] is True.

    It follows PyTorch: ε = 1e-5; the running averages move by 0.1 towards the batch's mean and unbiased
    variance (Flax uses the biased variance), and evaluation uses the running averages. Statistics are float32
    for every dtype of x.

    References:
        Ioffe and Szegedy, ICML 2015.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None, train: bool) -> jax.Array:
        c = x.shape[3]
        scale, bias = (
            self.param("scale", nn.initializers.ones, (c,)),
            self.param("bias", nn.initializers.zeros, (c,)),
        )
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (c,))
        if train:
            mean, var, count = _moments(x, mask)
            if not self.is_initializing():
                unbiased = var * (count / jnp.maximum(count - 1, 1))
                running_mean.value = 0.9 * running_mean.value + 0.1 * mean
                running_var.value = 0.9 * running_var.value + 0.1 * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        factor = jax.lax.rsqrt(var + 1e-5) * scale
        normalized = (x.astype(jnp.float32) - _along_channels(mean)) * _along_channels(factor)
        return (normalized + _along_channels(bias)).astype(x.dtype)


def _moments(x: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean and biased variance, [c] float32, over the pixels where ``mask`` [b] is True, and their number."""
    x = x.astype(jnp.float32)
    b, h, w, _ = x.shape
    kept = jnp.ones((b, 1), bool) if mask is None else mask[:, None]
    count = jnp.sum(kept) * (h * w)

    def average(values: jax.Array) -> jax.Array:
        of_images = jnp.sum(values, axis=(1, 2))  # first within each image: one read of x for every mask
        return jnp.sum(jnp.where(kept, of_images, 0.0), axis=0) / count

    mean = average(x)
    return mean, average((x - _along_channels(mean)) ** 2), count


def _along_channels(values: jax.Array) -> jax.Array:
    return values[None, None, None, :]
