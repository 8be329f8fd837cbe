import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import chi_square_p, draws_law

from badge_jax.samplers import gumbel_top_k

WEIGHTS = np.array([0.5, 3.0, 0.0, 1.0, 0.05, 1.5])
AVAILABLE = np.array([True, True, True, True, True, False])


@jax.jit
def draw_all(keys, log_weights):
    return jax.vmap(lambda key: gumbel_top_k(key, log_weights, 4, available=jnp.asarray(AVAILABLE)))(keys)


def draws_of(log_weights):
    keys = jax.random.split(jax.random.key(2), 60_000)
    return np.asarray(draw_all(keys, jnp.asarray(log_weights, jnp.float32)))


def logs(weights):
    with np.errstate(divide="ignore"):
        return np.log(weights)


def test_law():
    law = draws_law(lambda picks: WEIGHTS, 6, 4, available=AVAILABLE)
    for shift in (0.0, -50.0, 80.0):  # only ratios count
        assert chi_square_p(draws_of(logs(WEIGHTS) + shift), law) > 1e-4
    for mutant in (WEIGHTS**2, WEIGHTS + 0.05):
        assert chi_square_p(draws_of(logs(mutant)), law) < 1e-4


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_weightless_rows_come_last_and_uniformly(value):
    log_weights = np.full(6, value, np.float32)
    log_weights[3] = -1e30  # little, but not nothing
    law = draws_law(lambda picks: np.arange(6) == 3, 6, 4, available=AVAILABLE)
    assert chi_square_p(draws_of(log_weights), law) > 1e-4
    log_weights[3] = value
    law = draws_law(lambda picks: np.zeros(6), 6, 4, available=AVAILABLE)
    assert chi_square_p(draws_of(log_weights), law) > 1e-4


def test_contract(compilations):
    rng = np.random.default_rng(0)
    log_weights = jnp.asarray(rng.normal(size=61) * 20, jnp.float32).at[7].set(-jnp.inf)
    masks = [np.arange(61) % m != 1 for m in (2, 3, 5)]

    def draw(k=61, mask=masks[0], log_weights=log_weights):
        return gumbel_top_k(jax.random.key(0), log_weights, k, available=jnp.asarray(mask)).tolist()

    expected = draw()
    compilations.clear()
    for mask in masks:
        picks, num = draw(mask=mask), int(np.sum(mask))
        assert sorted(picks[:num]) == np.flatnonzero(mask).tolist()
        assert picks[num:] == [-1] * (61 - num)
    assert compilations == []
    assert draw(log_weights=jnp.where(masks[0], log_weights, jnp.nan)) == expected
    assert draw(5) == expected[:5]
    assert draw(5, np.zeros(61, bool)) == [-1] * 5
    assert gumbel_top_k(jax.random.key(0), log_weights[:1], 1).tolist() == [0]


def test_wrong_shapes_are_refused():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"log_weights is float32 of shape \(3, 2\); wanted float32 of shape"):
        gumbel_top_k(key, jnp.zeros((3, 2)), 2)
    with pytest.raises(ValueError, match=r"log_weights is int32"):
        gumbel_top_k(key, jnp.zeros(3, jnp.int32), 2)
    with pytest.raises(ValueError, match="k = 4 rows asked of a pool of 3"):
        gumbel_top_k(key, jnp.zeros(3), 4)
