"""The samplers over a pool read in tiles, against those over a pool in memory and against their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import chi_square_p, k_center, kmeans_plusplus_law

from badge_jax import Rows, lazy_kmeans_plusplus
from badge_jax.samplers import _streamed_k_center, _streamed_kmeans_plusplus, streamed
from badge_jax.samplers._streamed_k_center import streamed_k_center
from badge_jax.samplers._streamed_kmeans_plusplus import streamed_kmeans_plusplus
from badge_jax.samplers.rejection import Sizes
from badge_jax.samplers.streamed import StreamedRows, distances_when_chosen, nearest_pick


def gradient_like(n, seed=0, spread=1.0):
    """Norms below 1, as the streamed samplers want them."""
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(n, 3)) * rng.lognormal(sigma=spread, size=(n, 1))
    left /= 4 * np.abs(left).max()
    return Rows(jnp.asarray(left, jnp.float32), jnp.asarray(rng.normal(size=(n, 5)) / 5, jnp.float32))


class Reading:
    """`StreamedRows` over rows in memory, counting what is read."""

    def __init__(self, rows):
        self.reads = []
        self.rows = StreamedRows(*rows.left.shape, rows.right.shape[1], self.read, self.take)
        self.whole = rows

    def read(self, start, stop):
        self.reads.append((start, stop))
        return jax.tree.map(lambda a: a[start:stop], self.whole)

    def take(self, indices):
        return self.whole[jnp.asarray(indices)]


def quiet(*_):
    pass


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 7 rows, 3 candidates between passes, folds after every batch with a pick."""
    monkeypatch.setattr(streamed, "tile_size", lambda n, width: min(n, 7))
    monkeypatch.setattr(_streamed_k_center, "CANDIDATES", 3)
    sizes = Sizes(
        row_block=7,
        fold_block=2,
        test_block=2,
        test_tile=2,
        proposals=3,
        draw_block=4,
        capacity=8,
        stride=7,
        pass_cost=0,
        batch_cost=0,
    )
    monkeypatch.setattr(_streamed_kmeans_plusplus, "_sizes_of", lambda rows: sizes)
    return sizes


def test_law(monkeypatch):
    """χ² against enumeration, with tiles of 4 of 6 rows and a fold after each batch with a pick."""
    monkeypatch.setattr(streamed, "tile_size", lambda n, width: 4)
    sizes = Sizes(
        row_block=4,
        fold_block=2,
        test_block=2,
        test_tile=2,
        proposals=3,
        draw_block=2,
        capacity=3,
        stride=4,
        pass_cost=0,
        batch_cost=0,
    )
    monkeypatch.setattr(_streamed_kmeans_plusplus, "_sizes_of", lambda rows: sizes)
    rows = gradient_like(6, seed=3)
    available = np.array([True, True, False, True, True, True])
    law = kmeans_plusplus_law(rows.to_dense(), 2, available=available)
    draws = [
        streamed_kmeans_plusplus(
            jax.random.key(seed), Reading(rows).rows, 2, available, "uniform", quiet
        ).indices
        for seed in range(500)
    ]
    assert chi_square_p(np.array(draws), law) > 1e-4


def test_without_a_fold_the_picks_are_those_of_the_pool_in_memory():
    rows, available = gradient_like(3000), np.arange(3000) % 7 != 0
    key = jax.random.key(5)
    picks = streamed_kmeans_plusplus(key, Reading(rows).rows, 40, available, "uniform", quiet)
    assert (
        picks.indices.tolist() == lazy_kmeans_plusplus(key, rows, 40, available=jnp.asarray(available)).tolist()
    )
    assert picks.num_distinct == 40


def test_all_tiles_are_read_in_order_and_folds_happen(small_tiles):
    reading = Reading(gradient_like(40))
    batch = streamed_kmeans_plusplus(jax.random.key(0), reading.rows, 20, np.ones(40, bool), "uniform", quiet)
    assert reading.reads[:6] == [(0, 7), (7, 14), (14, 21), (21, 28), (28, 35), (33, 40)]
    assert batch.num_passes > 2
    assert sorted(set(batch.indices.tolist())) == sorted(batch.indices.tolist())


def test_bounds_after_every_fold_are_exact(small_tiles, monkeypatch):
    """The bound is D² to all rows chosen, whichever tiles were left alone: against float64."""
    rng = np.random.default_rng(3)
    left = rng.normal(size=(60, 3)) * np.repeat([1e-3, 0.02, 0.1, 0.3], 15)[:, None]
    rows = Rows(jnp.asarray(left, jnp.float32), jnp.asarray(rng.normal(size=(60, 5)) / 3, jnp.float32))
    points, fold, num_folds = np.asarray(rows.to_dense(), np.float64), _streamed_kmeans_plusplus._fold, []
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)

    def checked(*args):
        chosen = np.asarray(args[0].chosen)[: int(args[0].num_chosen)]
        state = fold(*args)
        expected = squared[:, chosen].min(1)
        expected[chosen] = 0
        scale = (points**2).sum(1) + (points[chosen] ** 2).sum(1).max()
        assert (abs(np.asarray(state.bound) - expected) <= 1e-6 * scale).all()
        num_folds.append(len(chosen))
        return state

    monkeypatch.setattr(_streamed_kmeans_plusplus, "_fold", checked)
    reading = Reading(rows)
    streamed_kmeans_plusplus(jax.random.key(0), reading.rows, 40, np.ones(60, bool), "uniform", quiet)
    assert len(num_folds) > 5
    assert len(reading.reads) < 9 * len(num_folds), "some tiles were left alone"


def test_tiles_that_cannot_change_are_not_read(small_tiles):
    """Tiles of short rows are left alone by long centres."""
    rng = np.random.default_rng(0)
    left = rng.normal(size=(70, 3)) * np.where(np.arange(70) < 35, 1e-3, 0.2)[:, None]
    reading = Reading(Rows(jnp.asarray(left, jnp.float32), jnp.asarray(rng.normal(size=(70, 5)), jnp.float32)))
    streamed_kmeans_plusplus(jax.random.key(0), reading.rows, 30, np.ones(70, bool), "max_norm", quiet)
    short = sum(start < 35 for start, _ in reading.reads)
    assert short < len(reading.reads) / 2


def test_prefix_and_copies(small_tiles):
    rows = jax.tree.map(lambda a: a[jnp.arange(30) % 10], gradient_like(10))
    available, key = np.ones(30, bool), jax.random.key(1)
    batch = streamed_kmeans_plusplus(key, Reading(rows).rows, 30, available, "uniform", quiet)
    assert sorted(batch.indices.tolist()) == list(range(30))
    assert batch.num_distinct == 10
    assert sorted(batch.indices[:10] % 10) == list(range(10))
    shorter = streamed_kmeans_plusplus(key, Reading(rows).rows, 17, available, "uniform", quiet)
    assert shorter.indices.tolist() == batch.indices[:17].tolist()


@pytest.mark.parametrize("centers", [[], [3, 17, 4]])
@pytest.mark.parametrize("n", [40, 300])
def test_k_center(small_tiles, n, centers):
    rows, available = gradient_like(n), np.arange(n) % 5 != 0
    available[centers] = False
    batch = streamed_k_center(Reading(rows).rows, 20, available, np.array(centers, int), quiet)
    given = np.isin(np.arange(n), centers)
    assert batch.indices.tolist() == k_center(rows.to_dense(), 20, available=available, centers=given)


def test_k_center_takes_many_picks_a_pass():
    reading = Reading(gradient_like(3000))
    batch = streamed_k_center(reading.rows, 100, np.ones(3000, bool), np.zeros(0, int), quiet)
    assert batch.indices.tolist() == k_center(reading.whole.to_dense(), 100)
    assert batch.num_passes < 20


@pytest.mark.parametrize("kind", ["offset", "giant", "clusters"])
def test_k_center_at_the_edge_of_float32(kind):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3000, 4))
    if kind == "offset":
        points += 1e4
    if kind == "giant":
        points[7] = 1e9
    if kind == "clusters":
        points = np.eye(4)[rng.integers(0, 4, 3000)] + 1e-4 * points
    points = (points / abs(points).max()).astype(np.float32)
    reading = Reading(Rows(jnp.ones((3000, 1), jnp.float32), jnp.asarray(points)))
    batch = streamed_k_center(reading.rows, 60, np.ones(3000, bool), np.zeros(0, int), quiet)
    assert batch.num_distinct == 60
    points = points.astype(np.float64)
    nearest = ((points - points[batch.indices[0]]) ** 2).sum(1)
    for index in batch.indices[1:]:
        assert nearest[index] >= nearest.max() * (1 - 1e-5)
        nearest = np.minimum(nearest, ((points - points[index]) ** 2).sum(1))


@pytest.mark.parametrize("pool", ["one-hot", "integers", "zeros but ten"])
def test_k_center_with_ties_takes_many_picks_a_pass_and_one_program(pool, compilations):
    n, rng = 3000, np.random.default_rng(0)
    right = {
        "one-hot": np.eye(100)[rng.integers(0, 100, n)],
        "integers": rng.integers(0, 4, (n, 3)) / 4,
        "zeros but ten": rng.normal(size=(n, 4)) * (np.arange(n) % 300 == 7)[:, None] / 4,
    }[pool]
    reading = Reading(Rows(jnp.ones((n, 1), jnp.float32), jnp.asarray(right, jnp.float32)))
    start = np.array([5])
    available = np.arange(n) != 5
    batch = streamed_k_center(reading.rows, 150, available, start, quiet)
    assert batch.indices.tolist() == k_center(right, 150, available=available, centers=~available)
    assert batch.num_passes < 15
    assert len(compilations) < 40


def test_k_center_with_copies(small_tiles):
    rows = jax.tree.map(lambda a: a[jnp.arange(30) % 10], gradient_like(10))
    batch = streamed_k_center(Reading(rows).rows, 30, np.ones(30, bool), np.zeros(0, int), quiet)
    assert sorted(batch.indices.tolist()) == list(range(30))
    assert batch.num_distinct == 10


def test_what_an_explanation_says():
    rows, picks = gradient_like(500), np.array([4, 77, 3, 250, 499])
    points = np.asarray(rows.to_dense(), np.float64)
    squared = ((points[:, None] - points[None, picks]) ** 2).sum(-1)
    assert nearest_pick(Reading(rows).rows, picks, quiet).tolist() == squared.argmin(1).tolist()
    distances = distances_when_chosen(Reading(rows).rows, picks)
    expected = [squared[picks[t], :t].min() for t in range(1, 5)]
    assert distances[0] == np.inf
    np.testing.assert_allclose(distances[1:], expected, rtol=1e-5)
