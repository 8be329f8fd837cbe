"""Which rows are pool and which are test."""

from typing import NamedTuple

import numpy as np

MAX_POOL = 50_000
_MAX_DRAWS = 100


class Split(NamedTuple):
    """Row numbers of the pool and of the test set, int64, and the classes that the pool lacks."""

    pool: np.ndarray
    test: np.ndarray
    missing_classes: tuple[int, ...]


def random_split(labels: np.ndarray, num_classes: int, seed: int) -> Split:
    """90 % pool, capped at 50,000 rows, and 10 % test, at random by ``seed``.

    Drawn again until every class is in the pool, at most 100 times; then accepted, with the missing classes
    named.
    """
    rng = np.random.default_rng([seed, 0])
    num_pool = 9 * len(labels) // 10
    for _ in range(_MAX_DRAWS):
        order = rng.permutation(len(labels))
        pool, test = order[:num_pool][:MAX_POOL], order[num_pool:]
        missing = np.setdiff1d(np.arange(num_classes), labels[pool])
        if missing.size == 0:
            break
    return Split(pool, test, tuple(missing.tolist()))
