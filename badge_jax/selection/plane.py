"""A map of a pool: its rows in the plane of their first two principal components."""

from typing import NamedTuple

import numpy as np

from badge_jax.selection.matrices import Matrix

NUM_DRAWN = 4000  # rows of the pool
NUM_LABELED_DRAWN = 1000
NUM_PICKS_DRAWN = 1000
_NUM_AT_ONCE = 1024  # rows, and the largest side of a matrix whose eigenvectors are computed


class PoolMap(NamedTuple):
    """Where rows of a pool lie in a plane. If there are many, a sample of them.

    Attributes:
        space: what it is a map of, such as "features".
        shares: the part of the sample's variance along each axis.
        rest: [m, 2] float64, rows that are neither labeled nor picked.
        labeled: [m, 2] float64.
        picks: [m, 2] float64, the first picks in the order chosen.
        num_rest: how many such rows there are in all.
        num_labeled: likewise.
        num_picks: likewise.
    """

    space: str
    shares: tuple[float, float]
    rest: np.ndarray
    labeled: np.ndarray
    picks: np.ndarray
    num_rest: int
    num_labeled: int
    num_picks: int


def pool_map(matrix: Matrix, space: str, picks: np.ndarray, is_labeled: np.ndarray) -> PoolMap:
    """The map of a pool: the same for the same arguments.

    The axes are the first two principal components of a sample of at most 4,000 rows (1,024 where a row has
    more entries than that). The sample depends on the number of rows alone. So a pool of features that stay the
    same has the same axes in every batch. No more is held than one tile of `run_task`.

    Args:
        matrix: [n, d], finite, which is in memory or can be read in place.
        space: its name on the map.
        picks: [k] int64, row numbers.
        is_labeled: [n] bool.

    Example:
        >>> import numpy as np
        >>> from badge_jax.selection import matrix_of, pool_map
        >>> matrix = matrix_of(np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 4.0]]), "features")
        >>> found = pool_map(matrix, "features", np.array([2]), np.array([True, False, False]))
        >>> found.picks.tolist(), found.labeled.tolist(), found.shares
        ([[2.0, 0.0]], [[-2.0, 0.0]], (1.0, 0.0))
    """
    n, width = matrix.shape
    rng = np.random.default_rng(0)
    sample = rng.permuted(rng.choice(n, min(n, NUM_DRAWN), replace=False))
    fitted = np.sort(sample if width <= _NUM_AT_ONCE else sample[:_NUM_AT_ONCE])
    middle, axes, shares = _principal_plane(matrix.take(fitted))
    is_rest = ~is_labeled
    is_rest[picks] = False
    labeled = np.flatnonzero(is_labeled)
    drawn = labeled[np.sort(rng.choice(len(labeled), min(len(labeled), NUM_LABELED_DRAWN), replace=False))]

    def places(rows: np.ndarray) -> np.ndarray:
        parts = [rows[start : start + _NUM_AT_ONCE] for start in range(0, len(rows), _NUM_AT_ONCE)]
        found = [np.subtract(matrix.take(part), middle, dtype=np.float64) @ axes for part in parts]
        return np.concatenate([np.zeros((0, 2)), *found])

    return PoolMap(
        space,
        shares,
        places(np.sort(sample[is_rest[sample]])),
        places(drawn),
        places(picks[:NUM_PICKS_DRAWN]),
        int(is_rest.sum()),
        len(labeled),
        len(picks),
    )


def _principal_plane(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """The mean [d] of rows [m, d], their first two principal axes [d, 2], and the share of each in the
    variance. An axis along which nothing varies is 0."""
    middle = rows.mean(axis=0, dtype=np.float64)
    rows = np.subtract(rows, middle, dtype=np.float64)
    size = max(rows.max(), -rows.min())
    # equal rows differ from their mean by its rounding; float32 numbers that differ do so by far more
    is_flat = size <= 1e-12 * np.abs(middle).max()
    rows *= 0 if is_flat else 1 / size  # squares of tiny or huge rows may leave float64
    m, width = rows.shape
    products = rows.T @ rows if width <= m else rows @ rows.T
    values, vectors = np.linalg.eigh(products)
    axes = np.zeros((width, 2))
    shares = [0.0, 0.0]
    for i in range(min(2, len(values))):
        # below this, rounding errors of the largest
        if values[-1 - i] > len(values) * np.finfo(np.float64).eps * values[-1]:
            axis = vectors[:, -1 - i] if width <= m else rows.T @ vectors[:, -1 - i]
            axis = axis / np.linalg.norm(axis)
            axes[:, i] = axis * np.sign(axis[np.abs(axis).argmax()])
            shares[i] = float(values[-1 - i] / np.trace(products))
    return middle, axes, (shares[0], shares[1])
