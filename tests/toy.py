"""A data set of 64 rows that is made at once, for tests of runs."""

import numpy as np

from badge_jax.data import DatasetInfo, Source
from badge_jax.data.table import Table
from badge_jax.paper import Recipe


def make_toy() -> Table:
    codes = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int8)
    return Table(codes, (("a", "b", "c", "d"),) * 3, (codes.sum(1) % 3).astype(np.int32), ("x", "y", "z"))


def toy(source: Source, learning_rate: float) -> DatasetInfo:
    return DatasetInfo("a toy", {"generated": source}, (3,), 3, recipe=Recipe(8, learning_rate, 8))
