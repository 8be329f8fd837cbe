from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from badge_jax.samplers.draw import (
    _in_blocks,
    _invert,
    block_totals,
    draw_available,
    draw_by_noise,
    draw_index,
    fine_uniform,
    gumbels,
)
from badge_jax.shards import ALONE

GRID = 2**23  # jax.random.uniform in float32 takes the values 0, 1/GRID, …, (GRID − 1)/GRID


def bins(weights):
    """Exact probabilities of `_invert` for weights [..., n] float32: how many grid values fall to each row."""
    running = np.asarray(jax.jit(lambda w: jnp.cumsum(w, axis=-1))(weights))
    total = running[..., -1:]
    low, high = np.zeros(running.shape, np.int64), np.full(running.shape, GRID, np.int64)
    while (low < high).any():  # the number of grid values u with fl(u·total) < running
        middle = (low + high) // 2
        below = (middle / GRID).astype(np.float32) * total < running
        low, high = np.where(below, np.minimum(middle + 1, high), low), np.where(below, high, middle)
    edges = np.maximum.accumulate(low, axis=-1)
    return np.diff(edges, axis=-1, prepend=0) / GRID


def test_law_at_a_million_heavy_tailed_rows():
    """Total variation to the float64 law, bins computed exactly; one flat cumulative sum fails."""
    n = 10**6
    weights = np.random.default_rng(0).lognormal(sigma=4, size=n).astype(np.float32)
    exact = weights.astype(np.float64) / weights.astype(np.float64).sum()
    blocks = jax.jit(lambda w: _in_blocks(w, None, ALONE))(jnp.asarray(weights))
    totals = jax.jit(lambda b: block_totals(jnp.sum(b, axis=1), b.shape[1], ALONE))(blocks)
    assert blocks.shape == (977, 1024)
    assert totals.shape == (1024,)
    block_law = bins(totals)
    law = (block_law[:977, None] * bins(blocks)).reshape(-1)[:n]
    assert 0.5 * abs(law - exact).sum() < 1e-4
    assert 0.5 * abs(bins(jnp.asarray(weights)) - exact).sum() > 1e-3, "the bar must tell two levels from one"

    # tie the bins to the code: just below and at an edge it returns the rows on its two sides
    row_law = bins(blocks[:1])[0]
    edges = np.round(np.cumsum(row_law) * GRID).astype(np.int64)
    for row in (10, 200, 777):
        before, after = (edges[row] - 1) / GRID, edges[row] / GRID
        assert int(_invert(jnp.float32(before), blocks[0])) == row
        assert int(_invert(jnp.float32(after), blocks[0])) == np.flatnonzero(edges > edges[row])[0]


@pytest.mark.parametrize("block", [1, 2, 3, 7, None])
def test_frequencies(block):
    weights = jnp.array([0.0, 1.0, 0.5, 0.0, 3.0, 0.25, 0.0])
    keys = jax.random.split(jax.random.key(0), 50_000)
    draws = jax.jit(jax.vmap(lambda key: draw_index(key, weights, block=block)))(keys)
    counts = np.bincount(draws, minlength=7)
    assert (counts[np.asarray(weights) == 0] == 0).all()
    positive = np.asarray(weights) > 0
    expected = np.asarray(weights, np.float64)[positive] / 4.75 * 50_000
    assert stats.chisquare(counts[positive], expected).pvalue > 1e-4


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24, 1.0])
def test_no_weightless_row_at_the_ends(uniform):
    weights = jnp.array([0.0, 0.0, 1e-30, 7.0, 1e-30, 0.0])
    assert weights[_invert(jnp.float32(uniform), weights)] > 0


def test_nothing_to_draw():
    assert draw_index(jax.random.key(0), jnp.zeros(5)) == -1
    assert draw_available(jax.random.key(0), jnp.ones(5), jnp.zeros(5, bool)) == -1


def test_weightless_rows_are_drawn_uniformly_from_the_available():
    keys = jax.random.split(jax.random.key(1), 20_000)
    weights, available = jnp.array([0.0, 9.0, 0.0, 0.0]), jnp.array([True, False, True, True])
    draws = jax.jit(jax.vmap(lambda key: draw_available(key, weights, available)))(keys)
    counts = np.bincount(draws, minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]]).pvalue > 1e-4


def test_small_uniform_draws_have_more_bits():
    coarse = jnp.arange(2**23, dtype=jnp.float32) / GRID  # every draw that there is
    finer = jax.random.uniform(jax.random.key(0), coarse.shape)
    fine = np.asarray(fine_uniform(coarse, finer), np.float64)
    is_small = np.arange(2**23) < 2**13
    np.testing.assert_array_equal(fine[~is_small], np.asarray(coarse)[~is_small])
    assert stats.kstest(fine[is_small], stats.uniform(0, 2.0**-10).cdf).pvalue > 1e-4
    assert len(np.unique(fine[is_small])) > 2**13 - 20
    assert fine.min() > 0


def test_gumbels():
    """The largest of them decide. Of four million, those of jax's default lie on a coarse grid."""
    numbers = np.asarray(gumbels(jax.random.key(0), 2**22))
    assert stats.kstest(numbers[:100_000], stats.gumbel_r.cdf).pvalue > 1e-4
    largest = np.sort(numbers)[-1000:]
    # −ln of the distribution function is uniform near 0
    rest = np.exp(-largest.astype(np.float64))
    assert stats.kstest(rest[1:] / rest[0], stats.uniform.cdf).pvalue > 1e-4
    assert len(np.unique(largest)) > 990
    coarse = np.sort(jax.random.gumbel(jax.random.key(0), (2**22,)))[-1000:]
    assert len(np.unique(coarse)) < 900


@pytest.mark.parametrize("block", [1, 2, 3, None])
def test_law_of_the_draw_by_noise(block):
    weights, available = np.array([0.0, 1.0, np.nan, 3.0, 0.25, 9.0, 1.5]), np.arange(7) != 5
    with np.errstate(divide="ignore"):
        log_weights = jnp.asarray(np.log(weights), jnp.float32)
    draw_all = jax.jit(jax.vmap(partial(draw_by_noise, block=block), in_axes=(0, None, None)))

    def draws(log_weights, available):
        keys = jax.random.split(jax.random.key(0), 40_000)
        return np.asarray(draw_all(keys, log_weights, jnp.asarray(available)))

    uniform = [1, 1, 1, 1, 1, 0, 1]
    for logs, expected in (
        (log_weights, [0, 1, 0, 3, 0.25, 0, 1.5]),
        (log_weights - 1e3, [0, 1, 0, 3, 0.25, 0, 1.5]),  # e^−1000 is nothing in float32
        (jnp.full(7, -jnp.inf), uniform),
        (jnp.full(7, jnp.nan), uniform),
    ):
        counts, law = np.bincount(draws(logs, available), minlength=7), np.array(expected) / np.sum(expected)
        assert (counts[law == 0] == 0).all()
        assert stats.chisquare(counts[law > 0], 40_000 * law[law > 0]).pvalue > 1e-4
    assert (draws(log_weights, np.zeros(7, bool)) == -1).all()


def test_law_of_the_draw_by_noise_in_many_blocks():
    """5,000 rows in five blocks, drawn by parts of which each should have a tenth."""
    weights = np.random.default_rng(0).lognormal(sigma=4, size=5000)
    running = np.cumsum(weights) / weights.sum()
    log_weights = jnp.asarray(np.log(weights), jnp.float32)
    draw_all = jax.jit(jax.vmap(draw_by_noise, in_axes=(0, None, None)))
    draws = draw_all(jax.random.split(jax.random.key(0), 20_000), log_weights, jnp.ones(5000, bool))
    part = np.minimum((running * 10).astype(int), 9)
    law = np.bincount(part, weights, minlength=10) / weights.sum()
    counts = np.bincount(part[np.asarray(draws)], minlength=10)
    assert stats.chisquare(counts[law > 0], 20_000 * law[law > 0]).pvalue > 1e-4
