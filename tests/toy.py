"""A data set of 64 rows that is made at once, and a strategy on representations, for tests of runs."""

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.data import DatasetInfo, Source
from badge_jax.data.table import Table
from badge_jax.paper import Recipe
from badge_jax.strategies import Strategy, stateless
from badge_jax.strategies.base import highest


def make_toy() -> Table:
    codes = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int8)
    return Table(codes, (("a", "b", "c", "d"),) * 3, (codes.sum(1) % 3).astype(np.int32), ("x", "y", "z"))


def toy(source: Source, learning_rate: float) -> DatasetInfo:
    return DatasetInfo("a toy", {"generated": source}, (3,), 3, recipe=Recipe(8, learning_rate, 8))


def noisy(*, embedding: str = "features", noise: float = 1.0) -> Strategy:
    """Rows far along one direction of a field of the pool, with noise. It has the option ``embedding``, as
    strategies have that may start a run, and compiles at once."""

    def choose(key, pool, k):
        field = getattr(pool, embedding).astype(jnp.float32)
        scores = field @ jnp.arange(field.shape[1], dtype=jnp.float32)
        return highest(scores + noise * jax.random.normal(key, scores.shape), pool.available, k)

    return stateless("noisy", choose, needs=(embedding,))
