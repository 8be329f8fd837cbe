"""The forms for the CPU against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax.models.convolution import convolve


def oracle(x, kernel, stride):
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((len(x), height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            window = padded[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
            out[:, i, j] = np.einsum("bhwi,hwio->bo", window, kernel.astype(np.float64))
    return out


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (3, 1, 1, 2), (2, 2, 2, 4), (5, 40, 41, 2)])
def test_value_and_gradients(shape, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    kernel = rng.normal(size=(3, 3, shape[3], 4)).astype(np.float32)
    expected = oracle(x, kernel, stride)
    out, pull_back = jax.vjp(lambda x, kernel: convolve(x, kernel, stride), x, kernel)
    np.testing.assert_allclose(out, expected, atol=1e-4)
    # the map is linear in each argument, so <g, convolve(dx, k)> = <dx, pulled back g> for all dx
    weights = rng.normal(size=out.shape).astype(np.float32)
    x_gradient, kernel_gradient = pull_back(jnp.asarray(weights))
    for _ in range(5):
        dx, dk = rng.normal(size=x.shape), rng.normal(size=kernel.shape)
        scale = np.sqrt(weights.size * 9 * shape[3])
        assert np.sum(weights * oracle(dx, kernel, stride)) == pytest.approx(
            np.sum(x_gradient * dx), abs=1e-5 * scale
        )
        assert np.sum(weights * oracle(x, dk, stride)) == pytest.approx(
            np.sum(kernel_gradient * dk), abs=1e-5 * scale
        )


def test_bfloat16_stays_bfloat16():
    x, kernel = jnp.ones((2, 4, 4, 3), jnp.bfloat16), jnp.ones((3, 3, 3, 2), jnp.bfloat16)
    out, pull_back = jax.vjp(lambda x, kernel: convolve(x, kernel, 1), x, kernel)
    assert out.dtype == jnp.bfloat16
    assert [gradient.dtype for gradient in pull_back(out)] == [jnp.bfloat16] * 2
