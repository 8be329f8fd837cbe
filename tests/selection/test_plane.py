"""The map of a pool: principal components against NumPy's singular values in float64."""

import numpy as np
import pytest

from badge_jax.selection import matrix_of, open_matrix, plane, pool_map


def spread_rows(n, width, seed=0):
    """Rows whose variances along random axes fall by half from axis to axis, about a point that is not 0."""
    rng = np.random.default_rng(seed)
    kept = min(n, width, 6)
    axes = np.linalg.qr(rng.normal(size=(width, kept)))[0]
    return (rng.normal(size=(n, kept)) * 0.5 ** np.arange(kept)) @ axes.T + 3


def expected(rows):
    """Places [n, 2] by singular values, and the shares of variance."""
    middle = rows.mean(axis=0)
    _, sizes, axes = np.linalg.svd(rows - middle, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][[0, 1], np.abs(axes[:2]).argmax(axis=1)])[:, None]
    return (rows - middle) @ axes.T, sizes[:2] ** 2 / (sizes**2).sum()


@pytest.mark.parametrize(("n", "width"), [(500, 8), (60, 200), (1300, 1030)])
def test_places_are_the_principal_components(n, width):
    rows = spread_rows(n, width).astype(np.float32)
    is_labeled = np.arange(n) % 4 == 0
    picks = np.array([5, 2, 51])
    found = pool_map(matrix_of(rows, "features"), "features", picks, is_labeled)
    is_rest = ~is_labeled
    is_rest[picks] = False
    places, shares = expected(rows.astype(np.float64))
    if (
        width > 1024
    ):  # 1,024 of the rows are fitted: an axis turns by √(λ₁λ₂ / 1024) / (λ₁ − λ₂) = 0.02, or 0.04
        assert (found.rest * places[is_rest]).sum(axis=0) == pytest.approx(
            np.linalg.norm(found.rest, axis=0) * np.linalg.norm(places[is_rest], axis=0), rel=5 * 0.04**2
        )
        return
    # eigenvectors of products move by rounding of their sums over the gap, here 3/4 of the largest value
    error = 100 * max(n, width) * np.finfo(np.float64).eps * np.abs(places).max()
    assert np.allclose(found.rest, places[is_rest], rtol=0, atol=error)
    assert np.allclose(found.labeled, places[is_labeled], rtol=0, atol=error)
    assert np.allclose(found.picks, places[picks], rtol=0, atol=error)
    assert found.shares == pytest.approx(tuple(shares))
    assert (found.num_rest, found.num_labeled, found.num_picks) == (is_rest.sum(), is_labeled.sum(), 3)


def test_a_large_pool_is_sampled_the_same_way_each_time(tmp_path):
    n = 12_000
    rows = spread_rows(n, 5).astype(np.float16)
    np.save(tmp_path / "features.npy", rows)
    is_labeled = np.arange(n) < 5000
    picks = np.arange(11_999, 9999, -1)
    matrix = matrix_of(rows, "features")
    first = pool_map(matrix, "features", picks, is_labeled)
    again = pool_map(open_matrix(tmp_path / "features.npy", "features"), "features", picks, is_labeled)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one, other)
    assert len(first.picks) == plane.NUM_PICKS_DRAWN
    assert len(first.labeled) == plane.NUM_LABELED_DRAWN
    # 4,000 of the 12,000, of which 5,000 are neither labeled nor picked: 5 standard deviations
    assert abs(len(first.rest) - 4000 * 5 / 12) < 5 * np.sqrt(4000 * 5 / 12 * 7 / 12)
    assert (first.num_rest, first.num_labeled, first.num_picks) == (5000, 5000, 2000)
    other = pool_map(matrix, "features", picks[:1], np.zeros(n, bool))
    # the axes depend on the pool alone; sums over 5 features may be in another order
    assert np.allclose(other.picks[0], first.picks[0], rtol=0, atol=1e-14)
    assert other.shares == first.shares


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e38])
def test_the_size_of_the_features_does_not_matter(size):
    rows = spread_rows(50, 4) / 10
    plain = pool_map(matrix_of(rows.astype(np.float32), "x"), "x", np.array([3]), np.zeros(50, bool))
    sized = pool_map(matrix_of((rows * size).astype(np.float32), "x"), "x", np.array([3]), np.zeros(50, bool))
    assert np.allclose(sized.rest / size, plain.rest, rtol=0, atol=1e-6), "as float32 has the rows"
    assert sized.shares == pytest.approx(plain.shares, abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "shares"),
    [
        ([[2.0, 5.0]], (0, 0)),
        ([[7.0, 7.0]] * 9, (0, 0)),
        ([[0.1, 0.2, 0.3]] * 9, (0, 0)),
        ([[1.0], [2.0], [9.0]], (1, 0)),
        ([[1.0, 1.0], [2.0, 2.0], [9.0, 9.0]], (1, 0)),
        ([[1.0, 0.0], [0.0, 1.0]], (1, 0)),
    ],
)
def test_pools_that_fill_no_plane(rows, shares):
    found = pool_map(matrix_of(np.array(rows, np.float32), "x"), "x", np.array([0]), np.zeros(len(rows), bool))
    assert found.shares == pytest.approx(shares)
    assert np.isfinite(found.rest).all()
    assert not found.rest[:, 1].any()
