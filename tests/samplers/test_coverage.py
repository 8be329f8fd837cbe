"""`coverage_greedy` against the greedy choice written out in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import as_users_do
from oracles import coverage_greedy as plain_greedy
from oracles import similarities

from badge_jax import Rows, dense_rows
from badge_jax.samplers import coverage, coverage_greedy

N, K = 211, 40  # a prime: the last tile of anything is cut


def unit_points(seed=0, n=N, d=5):
    x = np.random.default_rng(seed).normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def masks(seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.random(N) < 0.1
    return (rng.random(N) < 0.8) & ~centers, centers, rng.random(N).astype(np.float32)


@pytest.fixture
def small_sizes(monkeypatch):
    """Sizes so small that every loop runs several times and what is held is thrown out."""
    for name, size in (("_TILE", 64), ("_WIDE", 100), ("_MOST_CANDIDATES", 16), ("_AT_ONCE", 4)):
        monkeypatch.setattr(coverage, name, size)
    jax.clear_caches()
    yield
    jax.clear_caches()


SETTINGS = [("rbf", 1.0), ("rbf", 0.3), ("top_hat", 0.5), ("top_hat", 0.03), ("top_hat", 1.5)]


@pytest.mark.parametrize(("kernel", "bandwidth"), SETTINGS)
def test_picks_are_those_of_the_plain_greedy_choice(kernel, bandwidth):
    x, (free, centers, weights) = unit_points(), masks()
    picks = coverage_greedy(
        dense_rows(jnp.asarray(x)), K, bandwidth=bandwidth, kernel=kernel, weights=jnp.asarray(weights),
        available=jnp.asarray(free), centers=jnp.asarray(centers),
    )  # fmt: skip
    expected = plain_greedy(
        x, K, bandwidth=bandwidth, kernel=kernel, weights=weights, free=free, centers=centers
    )
    assert picks.tolist() == expected


@pytest.mark.parametrize(("kernel", "bandwidth"), [("rbf", 0.3), ("top_hat", 0.5)])
def test_picks_do_not_depend_on_sizes(small_sizes, kernel, bandwidth):
    x, (free, centers, weights) = unit_points(1), masks(1)
    masked = {"available": jnp.asarray(free), "centers": jnp.asarray(centers)}
    rows, targets = dense_rows(jnp.asarray(x)), np.flatnonzero(weights > 0.4)
    for some in (None, targets):
        picks = coverage_greedy(
            rows, K, bandwidth=bandwidth, kernel=kernel, weights=jnp.asarray(weights), **masked,
            targets=None if some is None else jnp.asarray(some),
        )  # fmt: skip
        expected = plain_greedy(
            x, K, bandwidth=bandwidth, kernel=kernel, weights=weights, free=free, centers=centers, targets=some
        )
        assert picks.tolist() == expected


@pytest.mark.parametrize(
    ("mutant", "kernel", "bandwidth"), [("per candidate", "rbf", 0.3), ("argmax of zeros", "top_hat", 1.5)]
)
def test_the_oracle_rejects_public_defects(mutant, kernel, bandwidth):
    x, (free, centers, weights) = unit_points(), masks()
    options = {"bandwidth": bandwidth, "kernel": kernel, "weights": weights, "free": free, "centers": centers}
    assert plain_greedy(x, K, **options, mutant=mutant) != plain_greedy(x, K, **options)


def test_outer_products_are_compared_as_written_out():
    rng = np.random.default_rng(3)
    left, right = (rng.normal(size=(N, width)).astype(np.float32) for width in (3, 4))
    rows = Rows(jnp.asarray(left), jnp.asarray(right))
    picks = coverage_greedy(rows, K, bandwidth=3.0).tolist()
    assert len(set(picks)) == K
    # the gains, not the rows: two rows near each other and far from all others gain exactly the same
    found, covered = similarities(np.asarray(rows.to_dense()), 3.0, "rbf"), np.zeros(N)
    for pick in picks:
        gains = np.maximum(found - covered[:, None], 0).sum(axis=0)
        assert gains[pick] > (1 - 1e-5) * gains.max()
        covered = np.maximum(covered, found[:, pick])


def test_a_tiny_bandwidth_covers_each_row_by_itself():
    """κ is then 1 for the row itself and its copies and 0 else, though products round distances to 1e-7."""
    x = unit_points()[np.arange(N) // 2]  # pairs of copies, but for the last row
    weights = np.random.default_rng(5).random(N).astype(np.float32)
    picks = coverage_greedy(
        dense_rows(jnp.asarray(x)), N // 2 + 1, bandwidth=1e-5, weights=jnp.asarray(weights)
    )
    worth = np.bincount(np.arange(N) // 2, weights.astype(np.float64))
    assert (picks // 2).tolist() == np.argsort(-worth, kind="stable").tolist()


def test_ties_go_to_the_lower_index_and_what_is_covered_is_filled_by_distance():
    x = np.array([[0.0], [0.0], [4.0], [4.0], [9.0], [9.0], [9.0]], np.float32)
    picks = coverage_greedy(dense_rows(jnp.asarray(x)), 7, bandwidth=1.0, kernel="top_hat").tolist()
    assert picks == [4, 0, 2, 1, 3, 5, 6]
    worthless = coverage_greedy(dense_rows(jnp.asarray(x)), 3, bandwidth=1.0, weights=jnp.zeros(7)).tolist()
    assert worthless == [0, 4, 2]


def test_few_rows_prefix_and_surplus():
    x = dense_rows(jnp.asarray(unit_points(2, n=5)))
    available = jnp.array([True, True, False, True, True])
    picks = coverage_greedy(x, 5, bandwidth=0.5, available=available).tolist()
    assert picks[4] == -1
    assert sorted(picks[:4]) == [0, 1, 3, 4]
    assert coverage_greedy(x, 2, bandwidth=0.5, available=available).tolist() == picks[:2]


def test_masked_rows_have_no_influence():
    x, (free, centers, weights) = unit_points(), masks()
    options = {"bandwidth": 0.3, "weights": jnp.asarray(weights), "available": jnp.asarray(free)}
    clean = coverage_greedy(dense_rows(jnp.asarray(x)), K, **options, centers=jnp.asarray(centers))
    for number in (np.nan, np.inf, 1e20):
        x[~(free | centers)] = number
        found = coverage_greedy(dense_rows(jnp.asarray(x)), K, **options, centers=jnp.asarray(centers))
        assert found.tolist() == clean.tolist()


def test_greedy_covers_its_share_of_the_best():
    """At least 1 − 1/e of what any three rows cover."""
    x = unit_points(4, n=12)
    found = similarities(x, 0.7, "rbf")
    picks = coverage_greedy(dense_rows(jnp.asarray(x)), 3, bandwidth=0.7).tolist()
    best = max(found[:, list(some)].max(axis=1).sum() for some in itertools.combinations(range(12), 3))
    assert found[:, picks].max(axis=1).sum() >= (1 - 1 / np.e) * best


def test_an_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel is 'laplace'; wanted one of rbf, top_hat"):
        coverage_greedy(dense_rows(jnp.ones((3, 1))), 1, bandwidth=1.0, kernel="laplace")


def test_little_is_held_beside_the_pool():
    """No n × n array: lowered only, at ImageNet's number of rows."""
    n, d = 1_281_167, 2048
    rows = Rows(*(jax.ShapeDtypeStruct((n, width), jnp.float32) for width in (1, d)))
    mask = jax.ShapeDtypeStruct((n,), jnp.bool_)
    call = jax.jit(lambda rows, mask: coverage_greedy(rows, 10_000, bandwidth=1.0, available=mask))
    memory = as_users_do(call.lower(rows, mask)).memory_analysis()
    assert memory.temp_size_in_bytes < 0.05 * memory.argument_size_in_bytes


def regrets(x, picks, weights, bandwidth):
    """How far each pick's gain is from the best, relative: in float64, from differences of distances."""
    x, weights = np.asarray(x, np.float64), np.asarray(weights, np.float64)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1) / bandwidth**2
    nearest, is_free, found = np.full(len(x), np.inf), np.ones(len(x), bool), []
    for pick in picks:
        fall = np.maximum(nearest[:, None] - squared, 0)
        gains = (weights[:, None] * np.exp(-squared) * -np.expm1(-fall)).sum(axis=0)
        found.append(1 - gains[pick] / gains[is_free].max())
        nearest, is_free[pick] = np.minimum(nearest, squared[:, pick]), False
    return found


@pytest.mark.parametrize("bandwidth", [0.3, 1.0, 100.0, 1e6])
@pytest.mark.parametrize("spread", [0.0, 60.0])
def test_small_gains_keep_their_digits(bandwidth, spread):
    """Where κ is near 1 for all pairs, and where one row is worth e⁻⁶⁰ of another."""
    x = unit_points(6)
    weights = np.exp(-spread * np.random.default_rng(7).random(N)).astype(np.float32)
    picks = coverage_greedy(dense_rows(jnp.asarray(x)), 120, bandwidth=bandwidth, weights=jnp.asarray(weights))
    assert max(regrets(x, picks.tolist(), weights, bandwidth)) < 1e-3
