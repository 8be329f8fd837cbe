import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import k_center

from badge_jax import Rows, dense_rows, k_center_greedy


def random_rows(n=60, seed=0):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(n, 3)), rng.normal(size=(n, 4))
    return Rows(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_centers", [None, 0, 1, 17])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_float64_greedy(seed, num_centers, masked):
    rows, rng = random_rows(seed=seed), np.random.default_rng(seed)
    available = rng.random(60) < 0.7 if masked else None
    centers = (
        None if num_centers is None else np.isin(np.arange(60), rng.choice(60, num_centers, replace=False))
    )
    picks = k_center_greedy(
        rows,
        12,
        available=None if available is None else jnp.asarray(available),
        centers=None if centers is None else jnp.asarray(centers),
    )
    assert picks.tolist() == k_center(rows.to_dense(), 12, available=available, centers=centers)


def test_many_blocks_of_centers():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1500, 5)).astype(np.float32)
    centers = rng.random(1500) < 0.5
    picks = k_center_greedy(dense_rows(jnp.asarray(points)), 10, centers=jnp.asarray(centers))
    assert picks.tolist() == k_center(points, 10, centers=centers)


def test_more_picks_than_candidates_between_two_passes():
    points = np.random.default_rng(1).normal(size=(3000, 3)).astype(np.float32)
    centers = np.arange(3000) % 50 == 0
    picks = k_center_greedy(dense_rows(jnp.asarray(points)), 700, centers=jnp.asarray(centers))
    check_furthest(points, picks.tolist(), np.flatnonzero(centers))


@pytest.mark.parametrize("num_others", [0, 1, 78])  # 78: more centres than pivots
def test_centers_that_are_nearly_copies(num_others):
    """Two centres a rounding error apart, and most rows nearer to the second: the first has their cell."""
    rng = np.random.default_rng(num_others)
    points = rng.normal(size=(2600, 3)).astype(np.float32)
    points[0] = [5, 5, 5]
    points[1] = points[0] * np.float32(1 - 3.6e-7)
    points[2 : 2 + num_others] = points[0] * np.linspace(1, 0.4, num_others, dtype=np.float32)[:, None]
    centers = np.arange(2600) < 2 + num_others
    picks = k_center_greedy(dense_rows(jnp.asarray(points)), 50, centers=jnp.asarray(centers))
    check_furthest(points, picks.tolist(), np.flatnonzero(centers))


@pytest.mark.parametrize("kind", ["one far cluster", "copies", "a line"])
def test_cells_of_any_shape(kind):
    """All centres in a few cells, in cells without rows, or copies of each other: only the time may differ."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(3000, 4)).astype(np.float32)
    centers = np.arange(3000) % 3 == 0
    if kind == "one far cluster":
        points[centers] += 100
    elif kind == "copies":
        points[centers] = points[rng.integers(0, 30, centers.sum())]
    else:
        points[centers] = np.sort(points[centers], axis=0)
    picks = k_center_greedy(dense_rows(jnp.asarray(points)), 200, centers=jnp.asarray(centers))
    check_furthest(points, picks.tolist(), np.flatnonzero(centers))


@pytest.mark.parametrize("offset", [0, 1e2, 1e4])
@pytest.mark.parametrize("num_centers", [0, 40])
def test_a_common_offset(offset, num_centers):
    """Offsets up to 10⁴ times the spread: the float64 greedy on the same numbers."""
    rng = np.random.default_rng(3)
    points = (offset + rng.normal(size=(1500, 5))).astype(np.float32)
    centers = np.arange(1500) < num_centers
    picks = k_center_greedy(dense_rows(jnp.asarray(points)), 100, centers=jnp.asarray(centers))
    check_furthest(points, picks.tolist(), np.flatnonzero(centers))


@pytest.mark.parametrize("giant", [1e3, 1e7, 1e12])
def test_one_giant_row(giant):
    points = np.random.default_rng(3).normal(size=(1500, 5)).astype(np.float32)
    points[5] = giant
    check_furthest(points, k_center_greedy(dense_rows(jnp.asarray(points)), 100).tolist(), [])


@pytest.mark.parametrize("num_large", [300, 1200])
def test_small_rows_beside_large_ones(num_large):
    rng = np.random.default_rng(3)
    points = np.concatenate([1 + rng.random((num_large, 5)), 1e-8 * rng.normal(size=(1500 - num_large, 5))])
    points = points.astype(np.float32)
    check_furthest(points, k_center_greedy(dense_rows(jnp.asarray(points)), num_large + 100).tolist(), [])


def check_furthest(points, picks, centers):
    """Each pick is as far from its nearest centre as any row, to float32's rounding of the distance."""
    points = points.astype(np.float64)
    nearest = np.full(len(points), np.inf)
    for index in centers:
        nearest = np.minimum(nearest, ((points - points[index]) ** 2).sum(1))
    if not len(centers):
        lengths = (points**2).sum(1)
        assert lengths[picks[0]] >= lengths.max() * (1 - 1e-6)
        nearest = ((points - points[picks[0]]) ** 2).sum(1)
    for index in picks[0 if len(centers) else 1 :]:
        assert nearest[index] >= nearest.max() * (1 - 1e-5)
        nearest = np.minimum(nearest, ((points - points[index]) ** 2).sum(1))


def test_tight_clusters():
    """Six clusters whose spread is 10⁻⁴ of their norm: later picks are told apart inside them."""
    rng = np.random.default_rng(3)
    points = (np.eye(6)[rng.integers(0, 6, 1500)] + 1e-4 * rng.normal(size=(1500, 6))).astype(np.float32)
    check_furthest(points, k_center_greedy(dense_rows(jnp.asarray(points)), 100).tolist(), [])


def test_ties_go_to_the_lower_index_and_never_repeat():
    copies = dense_rows(jnp.ones((6, 2)))
    assert k_center_greedy(copies, 6).tolist() == [0, 1, 2, 3, 4, 5]
    zeros = dense_rows(jnp.zeros((4, 2)))
    halves = dense_rows(jnp.repeat(jnp.eye(2), 700, axis=0))
    assert k_center_greedy(halves, 5).tolist() == [0, 700, 1, 2, 3]
    assert k_center_greedy(zeros, 4, available=jnp.array([False, True, True, True])).tolist() == [1, 2, 3, -1]


def test_centers_are_never_chosen():
    centers = jnp.array([True, False, True, False])
    picks = k_center_greedy(dense_rows(jnp.eye(4)), 4, centers=centers)
    assert picks.tolist() == [1, 3, -1, -1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_distances_that_are_not_finite_choose_nothing(value):
    points = dense_rows(jnp.eye(5).at[3, 3].set(value))
    centers = jnp.arange(5) == 0
    assert k_center_greedy(points, 3, centers=centers).tolist() == [-1] * 3
    assert k_center_greedy(points, 3).tolist()[1:] == [-1] * 2
    without = jnp.arange(5) != 3
    assert sorted(k_center_greedy(points, 3, centers=centers, available=without).tolist()) == [1, 2, 4]


def test_prefix_jit_and_vmap():
    rows = random_rows()
    picks = k_center_greedy(rows, 20).tolist()
    assert k_center_greedy(rows, 7).tolist() == picks[:7]
    with jax.disable_jit():
        assert k_center_greedy(rows, 7).tolist() == picks[:7]
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), rows)
    both = jax.vmap(lambda rows: k_center_greedy(rows, 7))(stacked)
    assert both.tolist() == [picks[:7]] * 2


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="k = 61 rows asked of a pool of 60"):
        k_center_greedy(random_rows(), 61)
    with pytest.raises(ValueError, match=r"available is bool of shape \(3,\)"):
        k_center_greedy(random_rows(), 2, centers=jnp.ones(3, bool))


def test_a_row_that_is_not_finite_ends_the_picks():
    """With centres given, too: neither a loop without end nor another row instead."""
    points = np.random.default_rng(3).normal(size=(5003, 4)).astype(np.float32)
    points[3000] = np.nan
    centers = jnp.arange(5003) % 50 == 0
    picks = k_center_greedy(dense_rows(jnp.asarray(points)), 20, centers=centers & (jnp.arange(5003) != 3000))
    assert -1 in picks.tolist()
