"""Samplers as values: each has one law, in memory and over a pool that is read in tiles."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import NamedSharding

from badge_jax.rows import Rows
from badge_jax.samplers._kmeans_plusplus import check_first
from badge_jax.samplers._lazy_kmeans_plusplus import lazy_kmeans_plusplus
from badge_jax.samplers._streamed_k_center import CANDIDATES, streamed_k_center
from badge_jax.samplers._streamed_kmeans_plusplus import streamed_kmeans_plusplus
from badge_jax.samplers.k_center import k_center_greedy
from badge_jax.samplers.rejection import make_sizes
from badge_jax.samplers.streamed import Batch, StreamedRows, Watch


class Cost(NamedTuple):
    """The cost of a streamed call.

    Attributes:
        num_held: rows of the embedding held in memory besides a tile.
        num_passes: least number of passes over the pool.
        num_distances: distances between two rows, besides those of the passes.
    """

    num_held: int
    num_passes: int
    num_distances: int


class Sampler(Protocol):
    """Chooses k rows of an embedding.

    A sampler is a frozen dataclass: two that have equal options are equal, and share compiled programs.
    """

    def sample(
        self,
        key: jax.Array,
        rows: Rows,
        k: int,
        *,
        available: jax.Array,
        centers: jax.Array | None,
        sharding: NamedSharding | None = None,
    ) -> jax.Array:
        """Chooses in memory, as a pure function.

        Args:
            key: typed PRNG key.
            rows: `Rows` [n].
            k: how many to choose, 1 ≤ k ≤ n.
            available: [n] bool, rows that may be chosen.
            centers: [n] bool, rows that are centres from the start. None: no row.
            sharding: how the rows lie on several devices; None: on one. A sampler without this argument works
                on one device only.

        Returns:
            [k] int32, in the order chosen. −1 for the surplus where fewer than k rows are available.
        """
        ...

    def stream(
        self,
        key: jax.Array,
        rows: StreamedRows,
        k: int,
        *,
        available: np.ndarray,
        centers: np.ndarray,
        watch: Watch,
    ) -> Batch:
        """Chooses from rows that are read in tiles, driven from the host.

        Args:
            key: typed PRNG key.
            rows: `StreamedRows` whose greatest norm is near 1.
            k: how many to choose, 1 ≤ k ≤ n.
            available: [n] bool, rows that may be chosen, at least k.
            centers: [m] int64, rows that are centres from the start; may be empty.
            watch: called with the progress.

        Returns:
            `Batch` of k rows.
        """
        ...

    def cost(self, k: int, n: int, width: int, num_centers: int) -> Cost:
        """Estimates the cost of `stream` from sizes alone.

        Args:
            k: how many to choose.
            n: rows of the pool.
            width: numbers in a row of the pool as it is stored.
            num_centers: rows that are centres from the start.

        Returns:
            `Cost`.
        """
        ...


@dataclass(frozen=True)
class KMeansPlusPlus:
    """k-means++ seeding as a `Sampler`, by `lazy_kmeans_plusplus`.

    Its law has no centres from the start: ``sample`` and ``stream`` raise ValueError if there are any.

    Attributes:
        first: law of the first row, "uniform", "max_norm" or "norm"; see `kmeans_plusplus`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import dense_rows
        >>> from badge_jax.samplers import KMeansPlusPlus
        >>> sampler = KMeansPlusPlus(first="max_norm")
        >>> rows = dense_rows(jnp.array([[0.0], [0.0], [1.0], [1.0]]))  # two points, each twice
        >>> key, available = jax.random.key(0), jnp.ones(4, bool)
        >>> chosen = sampler.sample(key, rows, 2, available=available, centers=None)
        >>> rows.right[chosen, 0].tolist()
        [1.0, 0.0]
    """

    first: str = "uniform"

    def __post_init__(self) -> None:
        check_first(self.first)

    def sample(
        self,
        key: jax.Array,
        rows: Rows,
        k: int,
        *,
        available: jax.Array,
        centers: jax.Array | None,
        sharding: NamedSharding | None = None,
    ) -> jax.Array:
        _refuse_centers(centers is not None)
        return lazy_kmeans_plusplus(key, rows, k, available=available, first=self.first, sharding=sharding)

    def stream(
        self,
        key: jax.Array,
        rows: StreamedRows,
        k: int,
        *,
        available: np.ndarray,
        centers: np.ndarray,
        watch: Watch,
    ) -> Batch:
        _refuse_centers(len(centers) > 0)
        return streamed_kmeans_plusplus(key, rows, k, available, self.first, watch)

    def cost(self, k: int, n: int, width: int, num_centers: int) -> Cost:
        num_held = 3 * (min(k, make_sizes(n, 0, width).capacity) + 512)
        return Cost(num_held, 2 + (self.first != "uniform"), k**2)


@dataclass(frozen=True)
class KCenterGreedy:
    """Furthest-first traversal as a `Sampler`, by `k_center_greedy`. It does not use the key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import dense_rows
        >>> from badge_jax.samplers import KCenterGreedy
        >>> line = dense_rows(jnp.array([[0.0], [1.0], [5.0], [9.0]]))
        >>> key, available = jax.random.key(0), jnp.ones(4, bool)
        >>> KCenterGreedy().sample(key, line, 3, available=available, centers=None).tolist()
        [3, 0, 2]
    """

    def sample(
        self,
        key: jax.Array,
        rows: Rows,
        k: int,
        *,
        available: jax.Array,
        centers: jax.Array | None,
        sharding: NamedSharding | None = None,
    ) -> jax.Array:
        return k_center_greedy(rows, k, available=available, centers=centers, sharding=sharding)

    def stream(
        self,
        key: jax.Array,
        rows: StreamedRows,
        k: int,
        *,
        available: np.ndarray,
        centers: np.ndarray,
        watch: Watch,
    ) -> Batch:
        return streamed_k_center(rows, k, available, centers, watch)

    def cost(self, k: int, n: int, width: int, num_centers: int) -> Cost:
        return Cost(4 * num_centers + 2 * CANDIDATES, 2 if num_centers else 3, 0)


def _refuse_centers(are_given: bool) -> None:
    if are_given:
        raise ValueError("KMeansPlusPlus takes no centers; wanted a plan whose centers is None")
