"""The split of a data set into pool and test set."""

from typing import NamedTuple

import numpy as np

from badge_jax import paper

_MAX_DRAWS = 100


class Split(NamedTuple):
    """The rows of the pool and of the test set.

    Attributes:
        pool: [n] int64, row numbers.
        test: [T] int64, row numbers.
        missing_classes: classes without a row in the pool, in ascending order.
    """

    pool: np.ndarray
    test: np.ndarray
    missing_classes: tuple[int, ...]


def random_split(labels: np.ndarray, num_classes: int, seed: int) -> Split:
    """Splits the rows at random: 90 % pool, of which at most 50,000 rows are used, and 10 % test set.

    The split is drawn again until every class is in the pool. After 100 draws, the last one is used.

    Args:
        labels: [N] int32.
        num_classes: number of classes.
        seed: seed of the split, at least 0.

    Returns:
        The `Split`.
    """
    rng = np.random.default_rng([seed, 0])
    num_pool = len(labels) - num_test(len(labels))
    for _ in range(_MAX_DRAWS):
        order = rng.permutation(len(labels))
        pool, test = order[:num_pool][: paper.MAX_POOL], order[num_pool:]
        missing = np.setdiff1d(np.arange(num_classes), labels[pool])
        if missing.size == 0:
            break
    return Split(pool, test, tuple(missing.tolist()))


def num_test(num_rows: int) -> int:
    """Test rows of a data set of ``num_rows`` rows: one in ten, rounded up."""
    return -(-num_rows // paper.TEST_SHARE)


def pool_size(num_rows: int) -> int:
    """Rows of the pool of a data set of ``num_rows`` rows."""
    return min(paper.MAX_POOL, num_rows - num_test(num_rows))
