"""`lazy_greedy` with a submodular objective; `k_center_greedy`, its other user, has tests of its own.

The objective is the weighted coverage C(S) = Σ_i u_i max_{s ∈ S} κ(i, s). A row j gains
Σ_i u_i max(κ(i, j) − m_i, 0), where m is the coverage so far.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax.samplers.lazy_greedy import Picks, lazy_greedy


class Coverage(NamedTuple):
    covered: jax.Array  # [n] float32
    num_computed: jax.Array  # gains computed so far


def gains(kernel, weights, covered):
    return jnp.sum(weights[:, None] * jnp.maximum(kernel - covered[:, None], 0), axis=0)


def pick_best(state, candidates, most, *, kernel, weights, mutant):
    columns = kernel[:, candidates.indices]
    fresh = jnp.where(candidates.bound > -jnp.inf, gains(columns, weights, state.covered), -jnp.inf)
    place = jnp.argmax(candidates.bound if mutant == "stale" else fresh).astype(jnp.int32)
    is_best = candidates.is_best(place, fresh[place]) | (mutant is not None)
    count = (is_best & (fresh[place] > 0)).astype(jnp.int32)
    covered = jnp.where(count > 0, jnp.maximum(state.covered, columns[:, place]), state.covered)
    places = jnp.zeros(len(fresh), jnp.int32).at[0].set(place)
    return Coverage(covered, state.num_computed + len(fresh)), Picks(places, count, fresh)


@partial(jax.jit, static_argnames=("k", "num_candidates", "mutant"))
def lazy_coverage(kernel, weights, available, k, num_candidates, mutant=None):
    start = Coverage(jnp.zeros(len(kernel)), jnp.int32(len(kernel)))
    bound = jnp.where(available, gains(kernel, weights, start.covered), -jnp.inf)
    pick = partial(pick_best, kernel=kernel, weights=weights, mutant=mutant)
    return lazy_greedy(bound, k, start, pick, num_candidates=num_candidates, margin=1e-6)


def picks_of(greedy):
    return greedy.chosen[: int(greedy.number)].tolist()


def plain_coverage(kernel, weights, available, k):
    """Every gain is computed for every pick, in float64. Ends where no gain is above 0."""
    kernel, weights = np.asarray(kernel, np.float64), np.asarray(weights, np.float64)
    covered, free, chosen = np.zeros(len(kernel)), available.copy(), []
    for _ in range(k):
        gain = (weights[:, None] * np.maximum(kernel - covered[:, None], 0)).sum(axis=0)
        gain[~free] = -np.inf
        best = int(np.argmax(gain))
        if gain[best] <= 0:
            break
        chosen.append(best)
        free[best] = False
        covered = np.maximum(covered, kernel[:, best])
    return chosen


N, K = 40, 8


def pool(seed, is_exact):
    """A kernel, weights, and a mask. Those that are exact have no rounding in float32, and many equal gains."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(N, 3))
    if is_exact:
        points = points.round()
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    kernel, weights = np.exp(-squared / 4), rng.random(N)
    if is_exact:
        kernel, weights = 2.0 ** -np.minimum(squared, 9), rng.integers(0, 3, N).astype(float)
    return kernel.astype(np.float32), weights.astype(np.float32), rng.random(N) < 0.8


@pytest.mark.parametrize("num_candidates", [1, 4, 100])
@pytest.mark.parametrize("is_exact", [True, False])
def test_equals_plain_greedy(is_exact, num_candidates):
    for seed in range(20):
        kernel, weights, available = pool(seed, is_exact)
        found = lazy_coverage(kernel, weights, available, K, num_candidates)
        assert picks_of(found) == plain_coverage(kernel, weights, available, K), seed


def test_most_gains_are_never_computed():
    kernel, weights, available = pool(0, is_exact=False)
    assert lazy_coverage(kernel, weights, available, K, 4).state.num_computed < N * K / 2


@pytest.mark.parametrize("mutant", ["stale", "impatient"])
def test_mutants_are_rejected(mutant):
    """One chooses by the old bounds; the other the best candidate, though another row's bound is above it."""
    wrong = 0
    for seed in range(20):
        kernel, weights, available = pool(seed, is_exact=False)
        found = lazy_coverage(kernel, weights, available, K, 1 + (mutant == "stale") * 3, mutant)
        wrong += picks_of(found) != plain_coverage(kernel, weights, available, K)
    assert wrong > 10


def test_equal_gains_go_to_the_lower_index():
    copies = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)
    kernel, weights = copies @ copies.T, np.ones(N, np.float32)
    for num_candidates in (1, 4):
        found = lazy_coverage(kernel, weights, np.arange(N) != 10, K, num_candidates)
        assert picks_of(found) == [0, 11, 20, 30]  # then everything is covered


def test_ends_where_every_gain_is_0():
    kernel, weights, available = pool(1, is_exact=True)
    found = lazy_coverage(kernel, 0 * weights, available, K, 4)
    assert found.number == 0
    assert (np.asarray(found.bound) == np.where(available, 0, -np.inf)).all()
    assert lazy_coverage(kernel, weights, np.zeros(N, bool), K, 4).number == 0


def test_ends_where_a_gain_is_not_finite():
    kernel, weights, available = pool(1, is_exact=False)
    kernel[3, 3] = np.nan
    assert lazy_coverage(kernel, weights, available | True, K, 4).number == 0


def test_the_first_picks_do_not_depend_on_how_many_are_wanted():
    for seed in range(5):
        kernel, weights, available = pool(seed, is_exact=False)
        few, many = (picks_of(lazy_coverage(kernel, weights, available, k, 4)) for k in (3, K))
        assert few == many[:3]
