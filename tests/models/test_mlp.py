import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from badge_jax import mlp


def test_is_linear_relu_linear_without_output_bias():
    model, x = mlp(3, hidden=16), jax.random.normal(jax.random.key(1), (5, 2, 4))
    variables = model.init(jax.random.key(0), x)
    logits, features, after = model.apply(variables, x, mask=None, train=True)
    first, second = variables["params"]["hidden"], variables["params"]["output"]
    assert set(second) == {"kernel"}
    flat = np.asarray(x, np.float64).reshape(5, 8)
    expected = np.maximum(flat @ np.asarray(first["kernel"], np.float64) + np.asarray(first["bias"]), 0)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(logits, expected @ np.asarray(second["kernel"], np.float64), atol=1e-5)
    assert after is variables


def test_initial_law_is_torchs_default():
    """Kernel and bias uniform on ±1/√fan_in."""
    variables = mlp(10, hidden=400).init(jax.random.key(0), jnp.zeros((1, 64)))["params"]
    for values, fan_in in (
        (variables["hidden"]["kernel"], 64),
        (variables["hidden"]["bias"], 64),
        (variables["output"]["kernel"], 400),
    ):
        limit = fan_in**-0.5
        law = stats.uniform(-limit, 2 * limit)
        assert stats.kstest(np.asarray(values).ravel(), law.cdf).pvalue > 1e-4


def test_weights_follow_the_key():
    first, again, other = (mlp(2).init(jax.random.key(key), jnp.zeros((1, 3))) for key in (0, 0, 1))
    same = jax.tree.map(lambda a, b: bool((a == b).all()), first, again)
    assert all(jax.tree.leaves(same))
    different = jax.tree.map(lambda a, b: bool((a != b).any()), first, other)
    assert all(jax.tree.leaves(different))
