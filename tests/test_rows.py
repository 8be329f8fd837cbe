import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import Rows, dense_rows
from badge_jax.rows import (
    as_centers,
    at_unit_scale,
    check_rows,
    inner_products,
    squared_distances,
    squared_distances_to_row,
    squared_norms,
    take_rows,
)

EPSILON = np.finfo(np.float32).eps


def random_rows(n=7, c=3, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return Rows(
        jnp.asarray(rng.normal(size=(n, c)), jnp.float32), jnp.asarray(rng.normal(size=(n, d)), jnp.float32)
    )


def dense(rows):
    left, right = np.asarray(rows.left, np.float64), np.asarray(rows.right, np.float64)
    return np.einsum("ni,nj->nij", left, right).reshape(len(left), -1)


def bound_to(x, y):
    return 16 * EPSILON * ((x**2).sum(1) + (y**2).sum())


def test_geometry_equals_that_of_the_dense_rows():
    rows, others = random_rows(), random_rows(4, seed=1)
    x, y = dense(rows), dense(others)
    scale = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :]
    bound = 16 * EPSILON * scale  # a few roundings for each of the 3 + 5 terms of a product of sums
    np.testing.assert_allclose(rows.to_dense(), x, rtol=EPSILON)
    np.testing.assert_allclose(squared_norms(rows), (x**2).sum(1), rtol=16 * EPSILON)
    assert (abs(inner_products(rows, others) - x @ y.T) < bound).all()
    exact = ((x[:, None] - y[None]) ** 2).sum(-1)
    assert (abs(squared_distances(rows, squared_norms(rows), as_centers(others)) - exact) < bound).all()
    to_row = squared_distances_to_row(rows, squared_norms(rows), jnp.int32(2))
    assert (abs(to_row - ((x - x[2]) ** 2).sum(-1)) < bound_to(x, x[2])).all()


def test_dense_vectors_are_rows():
    vectors = random_rows().right
    np.testing.assert_array_equal(dense_rows(vectors).to_dense(), vectors)


def test_rows_are_a_pytree():
    rows = random_rows()
    taken = jax.jit(take_rows)(rows, jnp.array([3, 0]))
    np.testing.assert_array_equal(taken.left, rows.left[jnp.array([3, 0])])
    assert len(jax.tree.leaves(rows)) == 2


@pytest.mark.parametrize("d", [1, 3, 64, 511, 512])
def test_a_copy_is_at_distance_zero(d):
    rows = random_rows(50, 10, d)
    copies = take_rows(rows, jnp.arange(200) % 50)
    to_row = jax.jit(squared_distances_to_row)(copies, squared_norms(copies), jnp.int32(13))
    assert (to_row[13::50] == 0).all()
    assert (to_row > 0).sum() == 200 - 4


@pytest.mark.parametrize(("left", "right"), [(1e-30, 1.0), (1e-36, 1e-12), (1e15, 1e10)])
def test_unit_scale_is_a_power_of_two_near_the_longest_row(left, right):
    rows = random_rows()
    rows = Rows(rows.left * left, rows.right * right)
    scaled = at_unit_scale(rows, jnp.ones(7, bool))
    ratios = np.asarray(scaled.left, np.float64) / np.asarray(rows.left, np.float64)
    assert (ratios == ratios[0, 0]).all()
    assert np.frexp(ratios[0, 0])[0] == 0.5, "not a power of two"
    exact = (dense(rows) ** 2).sum(1)
    norms = np.asarray(squared_norms(scaled), np.float64)
    np.testing.assert_allclose(norms / norms[0], exact / exact[0], rtol=16 * EPSILON)
    assert 1 / 16 < norms.max() < 3 * 5, "each factor has entries below 1, and its largest above 1/2"


def test_unit_scale_is_that_of_the_counted_rows():
    rows = random_rows()
    outlier = Rows(rows.left.at[4].set(1e30), rows.right.at[4].set(jnp.nan))
    counted = jnp.arange(7) != 4
    scaled, plain = at_unit_scale(outlier, counted), at_unit_scale(rows, counted)
    np.testing.assert_array_equal(scaled.left[counted], plain.left[counted])


def test_unit_scale_of_zero_is_zero():
    rows = random_rows()
    assert (at_unit_scale(Rows(rows.left * 0, rows.right), jnp.ones(7, bool)).left == 0).all()


def test_wrong_rows_are_refused():
    rows = random_rows()
    with pytest.raises(ValueError, match=r"rows.left has shape \(3,\)"):
        check_rows(Rows(rows.left[0], rows.right))
    with pytest.raises(ValueError, match=r"7 rows and rows\.right has 6"):
        check_rows(Rows(rows.left, rows.right[1:]))
    with pytest.raises(ValueError, match=r"rows.right is float16; wanted float32"):
        check_rows(Rows(rows.left, rows.right.astype(jnp.float16)))
