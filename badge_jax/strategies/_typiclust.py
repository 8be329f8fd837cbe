"""TypiClust: the most typical rows of the clusters that have the fewest labels."""

from functools import partial

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.rows import as_points, dense_rows, squared_distances
from badge_jax.samplers import Clusters, kmeans
from badge_jax.samplers.checks import is_count
from badge_jax.strategies.base import Strategy, stateless
from badge_jax.strategies.embedding import check_embedding, embedded, normalized

NEIGHBORS = ("paper", "reference")
_NUM_NEIGHBORS = 20
_SMALL = 5  # clusters of this many rows, or fewer, come last


def typiclust(*, embedding: str = "features", max_clusters: int = 500, neighbors: str = "paper") -> Strategy:
    """TypiClust: k-means, then the most typical row of each cluster, those with the fewest labels first. For
    the first batches, up to some ten labels a class, on good features.

    All rows, labeled or available, are clustered into min(number labeled + k, ``max_clusters``) clusters; rows
    have length 1 (L2-normalised). Clusters are ordered by their number of labeled rows, then the largest first,
    then by number. Those of 5 rows or fewer come after all others. In this order, again and again, each cluster
    gives its most typical row: the one with the least mean distance to its nearest neighbours among the rows of
    the cluster that may still be chosen. Ties go to the lower index. A cluster with no row left is passed over.
    Not prefix-consistent, as the number of clusters depends on k. With one cluster a pick costs n² distances.

    ``neighbors="paper"``: up to 20 neighbours, Euclidean distances. "reference" (the authors' code): at most
    half of the rows that may be chosen, and squared distances.

    Their code leaves small clusters out, and fails where the others are exhausted; here they follow.

    Args:
        embedding: "features", or "representation", features that stay the same from round to round.
        max_clusters: the most clusters.
        neighbors: "paper" or "reference".

    Raises:
        ValueError: for another embedding or ``neighbors``, and for ``max_clusters`` below 1.

    References:
        Hacohen, Dekel and Weinshall, ICML 2022, arXiv 2202.02794, and their code.

    Example:
        >>> from badge_jax.strategies import typiclust
        >>> typiclust(max_clusters=100).is_prefix_consistent
        False
    """
    check_embedding(embedding)
    if neighbors not in NEIGHBORS:
        raise ValueError(f"neighbors is {neighbors!r}; wanted one of {', '.join(NEIGHBORS)}")
    if not is_count(max_clusters):
        raise ValueError(f"max_clusters is {max_clusters!r}; wanted 1 or more")

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        points = normalized(embedded(pool, embedding))
        clusters = kmeans(
            key,
            points,
            min(max_clusters, len(points)),
            num_clusters=jnp.sum(pool.labeled, dtype=jnp.int32) + k,
            weights=(pool.labeled | pool.available).astype(jnp.float32),
        )
        return _typical_rows(points, clusters, pool.labeled, pool.available, k, neighbors)

    return stateless("typiclust", choose, needs=(embedding,), is_prefix_consistent=False)


@partial(jax.jit, static_argnames=("k", "neighbors"))
def _typical_rows(
    points: jax.Array, clusters: Clusters, labeled: jax.Array, available: jax.Array, k: int, neighbors: str
) -> jax.Array:
    """The picks [k] int32, in turn from the clusters; −1 for the surplus."""
    n, most = len(points), len(clusters.sizes)
    free = available & ~labeled
    cluster = jnp.where(free, clusters.assignment, most)
    # the free rows of a cluster, one behind the other, in ascending order
    members = jnp.argsort(cluster, stable=True).astype(jnp.int32)
    starts = jnp.searchsorted(cluster[members], jnp.arange(most + 1)).astype(jnp.int32)
    rank = jnp.arange(n, dtype=jnp.int32) - starts[cluster[members]]

    # a cluster's turn comes once a round for as long as it has rows: the order of turns is a sort
    labeled_in = jnp.where(labeled, clusters.assignment, most)
    num_labeled = jnp.zeros(most, jnp.int32).at[labeled_in].add(1, mode="drop")
    is_small = clusters.sizes <= _SMALL
    by_turn = jnp.lexsort((-clusters.sizes, num_labeled, is_small))  # stable, so by number at last
    turn = jnp.zeros(most + 1, jnp.int32).at[by_turn].set(jnp.arange(most, dtype=jnp.int32)).at[most].set(most)
    is_last = jnp.append(is_small, True)[cluster[members]]
    turns = jnp.lexsort((turn[cluster[members]], rank, is_last, ~free[members]))[:k]
    visited, rounds = cluster[members[turns]], rank[turns]

    tile = _tile_for(n, most)
    padded = jnp.pad(members, (0, tile))

    def pick(t: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        chosen, free = carry
        number = visited[t]
        segment = starts[number], starts[jnp.minimum(number + 1, most)]
        num_free = segment[1] - segment[0] - rounds[t]
        if neighbors == "paper":
            num_neighbors = jnp.minimum(_NUM_NEIGHBORS, num_free - 1)
        else:
            num_neighbors = jnp.minimum(_NUM_NEIGHBORS, num_free // 2)
        index = _most_typical(
            points,
            padded,
            segment,
            free,
            clusters.centers[jnp.minimum(number, most - 1)],
            num_neighbors,
            tile,
            is_squared=neighbors == "reference",
        )
        return chosen.at[t].set(index), free.at[jnp.where(index >= 0, index, n)].set(False, mode="drop")

    return jax.lax.fori_loop(0, k, pick, (jnp.full(k, -1, jnp.int32), free))[0]


def _tile_for(n: int, num_clusters: int) -> int:
    """Rows of a cluster that are compared at a time: a power of two, twice a mean cluster, from 128 to 1024."""
    return min(1024, max(128, 1 << (2 * n // num_clusters - 1).bit_length()))


def _most_typical(
    points: jax.Array,
    members: jax.Array,
    segment: tuple[jax.Array, jax.Array],
    free: jax.Array,
    center: jax.Array,
    num_neighbors: jax.Array,
    tile: int,
    *,
    is_squared: bool,
) -> jax.Array:
    """The free row of a cluster with the least mean distance to its nearest free neighbours.

    Args:
        points: [n, d] float32.
        members: [n + tile] int32, row numbers; those of the cluster are one behind the other.
        segment: two scalars int32, where they start and stop.
        free: [n] bool, rows that may be chosen.
        center: [d] float32, of the cluster; seen from there, distances keep their digits.
        num_neighbors: scalar int32, at most 20 and fewer than the free rows; 0 where there is one.
        tile: rows compared at a time.
        is_squared: whether to average squared distances.

    Returns:
        Scalar int32, the first of equals; −1 if no row is free.
    """
    start, stop = segment
    num_tiles = (stop - start + tile - 1) // tile

    def rows_of(i: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        places = start + i * tile + jnp.arange(tile, dtype=jnp.int32)
        rows = jax.lax.dynamic_slice_in_dim(members, start + i * tile, tile)
        return places, rows, (places < stop) & free[rows]

    def look(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        places, rows, is_free = rows_of(i)
        x = points[rows]

        def compare(j: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            nearest, neighbors = carry
            other_places, others, is_other_free = rows_of(j)
            # a row is no neighbour of its own, but its copies are
            is_pair = is_free[:, None] & is_other_free[None, :] & (places[:, None] != other_places[None, :])
            squared = squared_distances(
                as_points(dense_rows(x)), as_points(dense_rows(points[others])), is_pair, center
            )
            known = jnp.concatenate([nearest, jnp.where(is_pair, squared, jnp.inf)], axis=1)
            numbers = jnp.concatenate([neighbors, jnp.broadcast_to(others[None, :], squared.shape)], axis=1)
            least, best = jax.lax.top_k(-known, _NUM_NEIGHBORS)
            return -least, jnp.take_along_axis(numbers, best, axis=1)

        shape = tile, _NUM_NEIGHBORS
        unknown = jnp.full(shape, jnp.inf, jnp.float32), jnp.zeros(shape, jnp.int32)
        neighbors = jax.lax.fori_loop(0, num_tiles, compare, unknown)[1]

        def measure(i: jax.Array, distances: jax.Array) -> jax.Array:
            # by subtraction, so that two rows are as far from each other as the other way round
            squared = jnp.sum((x - points[neighbors[:, i]]) ** 2, axis=1)
            return distances.at[:, i].set(squared if is_squared else jnp.sqrt(squared))

        distances = jax.lax.fori_loop(0, num_neighbors, measure, jnp.zeros(shape, jnp.float32))
        # the order of typicality 1 / (mean + 1e-5), which would round small means to ties
        total = jnp.where(is_free, jnp.sum(jnp.sort(distances, axis=1), axis=1), jnp.inf)
        best = jnp.argmin(total)
        index, least = carry
        is_better = total[best] < least
        return jnp.where(is_better, rows[best], index), jnp.where(is_better, total[best], least)

    return jax.lax.fori_loop(0, num_tiles, look, (jnp.int32(-1), jnp.float32(jnp.inf)))[0]
