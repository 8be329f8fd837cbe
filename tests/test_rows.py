import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pools import random_rows

from badge_jax import Rows, dense_rows
from badge_jax.rows import (
    as_points,
    at_unit_scale,
    blocks_of,
    check_rows,
    inner_products,
    mark_rows,
    middle_of,
    nearest_center,
    nearest_place,
    squared_distances,
    squared_distances_to_row,
    tiles,
    upper_bounds_to_row,
)

EPSILON = np.finfo(np.float32).eps
distances_between, distances_to_row = jax.jit(squared_distances), jax.jit(squared_distances_to_row)


def dense(rows):
    left, right = np.asarray(rows.left, np.float64), np.asarray(rows.right, np.float64)
    return np.einsum("ni,nj->nij", left, right).reshape(len(left), -1)


def bound_to(x, y):
    return 16 * EPSILON * ((x**2).sum(1) + (y**2).sum())


def scaled_rows(rows, counted):
    return at_unit_scale(rows, counted).block(0, len(rows)).rows


def test_geometry_equals_that_of_the_dense_rows():
    rows, others = random_rows(), random_rows(4, seed=1)
    x, y = dense(rows), dense(others)
    scale = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :]
    bound = 16 * EPSILON * scale  # a few roundings for each of the 3 + 5 terms of a product of sums
    np.testing.assert_allclose(rows.to_dense(), x, rtol=EPSILON)
    np.testing.assert_allclose(rows.squared_norms, (x**2).sum(1), rtol=16 * EPSILON)
    assert (abs(inner_products(rows, others) - x @ y.T) < bound).all()
    exact = ((x[:, None] - y[None]) ** 2).sum(-1)
    found = distances_between(as_points(rows), as_points(others), jnp.ones((7, 4), bool), jnp.zeros(5))
    assert (abs(found - exact) < bound).all()
    to_row = distances_to_row(as_points(rows), jnp.int32(2))
    assert (abs(to_row - ((x - x[2]) ** 2).sum(-1)) < bound_to(x, x[2])).all()


def test_dense_vectors_are_rows():
    vectors = random_rows().right
    np.testing.assert_array_equal(dense_rows(vectors).to_dense(), vectors)


def test_rows_are_a_pytree():
    rows = random_rows()
    taken = jax.jit(lambda rows, indices: rows[indices])(rows, jnp.array([3, 0]))
    np.testing.assert_array_equal(taken.left, rows.left[jnp.array([3, 0])])
    assert len(jax.tree.leaves(rows)) == 2


def test_length_slices_and_norms():
    rows = random_rows()
    assert len(rows) == 7
    np.testing.assert_array_equal(rows[2:4].right, rows.right[2:4])
    np.testing.assert_allclose(rows.norms, np.linalg.norm(dense(rows), axis=1), rtol=1e-6)
    tiny = Rows(rows.left * 1e-15, rows.right * 1e-15)
    assert bool((tiny.squared_norms == 0).all()), "squares of 1e-30 underflow"
    np.testing.assert_allclose(tiny.norms, rows.norms * 1e-30, rtol=1e-5)


def test_a_single_index_is_refused():
    for index in (3, jnp.int32(3)):
        with pytest.raises(ValueError, match=r"wanted indices \[m\] or a slice"):
            random_rows()[index]
    with pytest.raises(TypeError):
        list(random_rows())


def test_marks_drop_what_stands_for_no_row():
    indices = jnp.array([2, -1, 0])
    assert mark_rows(4, indices).tolist() == [True, False, True, False]
    assert mark_rows(4, indices, jnp.array([True, True, False])).tolist() == [False, False, True, False]
    assert mark_rows(4, jnp.array([-1, 7])).tolist() == [False] * 4
    assert jnp.zeros(4, bool).at[indices].set(True).tolist() == [True, False, True, True], (
        "plain indexing wraps"
    )


def test_tiles_overlap_at_the_end():
    assert tiles(10, 4) == [0, 4, 6]
    assert tiles(8, 4) == [0, 4]
    assert tiles(3, 4) == [0]


@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_nearest_centre_by_blocks(count):
    points, centers = as_points(random_rows(20)), as_points(random_rows(8, seed=1))
    squared = ((dense(points.rows)[:, None] - dense(centers.rows)[None, :count]) ** 2).sum(-1)
    blocks = blocks_of(centers, 2, jnp.int32(count), jnp.zeros(5))
    place, distance = nearest_place(points, blocks)
    start = jnp.full(20, 3.0)
    nearest = nearest_center(points, blocks, start)
    np.testing.assert_allclose(nearest, np.minimum(squared.min(1, initial=np.inf), 3), rtol=1e-5)
    assert place.tolist() == (squared.argmin(1) if count else np.zeros(20)).tolist()
    np.testing.assert_allclose(distance, squared.min(1, initial=np.inf), rtol=1e-5)


@pytest.mark.parametrize("d", [1, 3, 64, 511, 512])
def test_a_copy_is_at_distance_zero(d):
    copies = as_points(random_rows(50, 10, d)[jnp.arange(200) % 50])
    to_row = distances_to_row(copies, jnp.int32(13))
    to_all = distances_between(copies, copies[:50], jnp.ones((200, 50), bool), jnp.zeros(d))
    assert (to_all.argmin(axis=1) == jnp.arange(200) % 50).all()
    for distances in (to_row[:, None], to_all):
        assert ((distances == 0).sum(axis=0) == 4).all()


def near_rows(kind, spread):
    """Rows whose differences are ``spread`` of themselves, some of them copies."""
    rng = np.random.default_rng(2)
    kinds = rng.integers(0, 5, 60)
    left, right = rng.normal(size=(5, 4))[kinds], rng.normal(size=(5, 8))[rng.permutation(kinds)]
    if kind != "right":
        left = left[:1] * (1 + spread * rng.normal(size=(60, 4)))
    if kind != "left":
        right = right[:1] * (1 + spread * rng.normal(size=(60, 8)))
    left[40:], right[40:] = left[:20], right[:20]
    return Rows(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))


@pytest.mark.parametrize("spread", [1e-1, 1e-2, 1e-4, 1e-5])
@pytest.mark.parametrize("kind", ["left", "right", "both"])
def test_distances_between_near_rows_keep_their_digits(kind, spread):
    points = as_points(near_rows(kind, spread))
    x = dense(points.rows)
    exact = ((x[:, None] - x[None]) ** 2).sum(-1)
    found = distances_between(points, points, jnp.ones((60, 60), bool), jnp.zeros(8))
    error = 16 * EPSILON * (2**11 if spread > 1e-3 else 1 + (kind == "both") / spread)
    np.testing.assert_allclose(found, exact, rtol=error, atol=0)
    np.testing.assert_allclose(distances_to_row(points, jnp.int32(3)), exact[3], rtol=error, atol=0)
    assert ((found == 0) == (exact == 0)).all()


def test_pairs_that_do_not_count_are_left_as_the_products_give_them():
    points = as_points(near_rows("both", 1e-6))
    exact = distances_to_row(points, jnp.int32(3))
    for counts, share in ((True, 1.0), (False, 0.5)):
        found = distances_between(points, points[3:4], jnp.full((60, 1), counts), jnp.zeros(8))[:, 0]
        assert ((found == exact).mean() == 1.0) if counts else ((found == exact).mean() < share)


def test_copies_that_were_rounded_otherwise_count_as_copies():
    rows = random_rows(30, 10, 16)
    other = Rows(jnp.nextafter(rows.left, jnp.inf), jnp.nextafter(rows.right, 0))
    points = as_points(jax.tree.map(lambda *parts: jnp.concatenate(parts), rows, other))
    assert (distances_to_row(points, jnp.int32(3)) == 0).nonzero()[0].tolist() == [3, 33]


def test_ordinary_vectors_are_seen_from_their_middle():
    vectors = np.random.default_rng(0).normal(size=(300, 5)) + 1e4
    counted = np.arange(300) % 3 == 0
    vectors[~counted] = np.nan

    def middle_seen(vectors):
        points = at_unit_scale(dense_rows(jnp.asarray(vectors, jnp.float32)), jnp.asarray(counted))
        return np.asarray(middle_of(points, jnp.asarray(counted)), np.float64) / np.prod(points.scales)

    assert abs(middle_seen(vectors) - 1e4).max() < 0.5
    vectors[0] = 1e9
    assert abs(middle_seen(vectors) - 1e4).max() < 1, "one giant row does not move it away from the others"


@pytest.mark.parametrize(("left", "right"), [(1e-30, 1.0), (1e-36, 1e-12), (1e15, 1e10)])
def test_unit_scale_is_a_power_of_two_near_the_longest_row(left, right):
    rows = random_rows()
    rows = Rows(rows.left * left, rows.right * right)
    scaled = scaled_rows(rows, jnp.ones(7, bool))
    ratios = np.asarray(scaled.left, np.float64) / np.asarray(rows.left, np.float64)
    assert (ratios == ratios[0, 0]).all()
    assert np.frexp(ratios[0, 0])[0] == 0.5, "not a power of two"
    exact = (dense(rows) ** 2).sum(1)
    norms = np.asarray(scaled.squared_norms, np.float64)
    np.testing.assert_allclose(norms / norms[0], exact / exact[0], rtol=16 * EPSILON)
    assert 1 / 16 < norms.max() < 3 * 5, "each factor has entries below 1, and its largest above 1/2"


def test_unit_scale_is_that_of_the_counted_rows():
    rows = random_rows()
    outlier = Rows(rows.left.at[4].set(1e30), rows.right.at[4].set(jnp.nan))
    counted = jnp.arange(7) != 4
    scaled, plain = (scaled_rows(pool, counted) for pool in (outlier, rows))
    np.testing.assert_array_equal(scaled.left[counted], plain.left[counted])


def test_unit_scale_is_that_of_the_longest_row_not_of_the_greatest_factor():
    """A row of features 0 is no row to scale by, however unsure its logits."""
    rows = random_rows()
    rows = Rows((rows.left * 1e-26).at[2].set(0.5), rows.right.at[2].set(0.0))
    norms = np.asarray(at_unit_scale(rows, jnp.ones(7, bool)).squared_norms, np.float64)
    exact = (dense(rows) ** 2).sum(1)
    others = np.arange(7) != 2
    assert norms[2] == 0
    np.testing.assert_allclose(norms[others] / norms[0], exact[others] / exact[0], rtol=16 * EPSILON)


def test_unit_scale_of_zero_is_zero():
    rows = random_rows()
    assert (scaled_rows(Rows(rows.left * 0, rows.right), jnp.ones(7, bool)).left == 0).all()


def test_wrong_rows_are_refused():
    rows = random_rows()
    with pytest.raises(ValueError, match=r"rows.left has shape \(3,\)"):
        check_rows(Rows(rows.left[0], rows.right))
    with pytest.raises(ValueError, match=r"7 rows and rows\.right has 6"):
        check_rows(Rows(rows.left, rows.right[1:]))
    with pytest.raises(ValueError, match=r"rows.right is float16; wanted float32"):
        check_rows(Rows(rows.left, rows.right.astype(jnp.float16)))


@pytest.mark.parametrize("exponents", [(0, 0), (-30, 0), (-37, 7), (-37, 0), (30, 0), (36, -15), (-20, -10)])
def test_upper_bounds_are_no_less_than_the_distances(exponents):
    """Whatever the size of the factors: the law of the lazy seeder stands on it."""
    rng = np.random.default_rng(1)
    left = rng.normal(size=(300, 10)) * np.exp(rng.normal(size=(300, 1))) * 10.0 ** exponents[0]
    right = rng.normal(size=(300, 6)) * 10.0 ** exponents[1]
    rows = Rows(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))
    points = at_unit_scale(rows, jnp.ones(300, bool))
    for index in range(0, 300, 50):
        bound = np.asarray(upper_bounds_to_row(points, jnp.int32(index)))
        exact = np.asarray(squared_distances_to_row(points, jnp.int32(index)))
        assert (bound >= exact).all()
        assert (bound <= exact + 1e-4 * exact.max()).all()
