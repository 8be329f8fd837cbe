"""One row a cluster: the one nearest to its centre."""

import jax
import jax.numpy as jnp

from badge_jax.rows import EPSILON, PoolPoints, at_unit_scale, dense_rows
from badge_jax.samplers._kmeans import Clusters
from badge_jax.samplers.checks import availability

_ROWS = 4096  # rows compared with their centres at a time


@jax.jit
def nearest_members(
    points: jax.Array, clusters: Clusters, candidates: jax.Array, order: jax.Array
) -> jax.Array:
    """Takes, cluster by cluster, the row nearest to the centre: distinct rows, as many as were asked for.

    A cluster gives the candidate nearest to its centre among its rows that are not yet taken. Where it has none
    left, the nearest free candidate of all takes its place. Ties go to the lower index. Distances that differ
    by no more than rounding are ties: both rows of a pair are equally near to its centre.

    Args:
        points: [n, d] float32, the rows that were clustered.
        clusters: `Clusters` of them.
        candidates: [n] bool, rows that may be taken; others need not be finite.
        order: [k] int32, cluster numbers in the order in which they give rows. One may come several times.

    Returns:
        [k] int32, row numbers. −1 for the surplus where there are fewer than k candidates.

    Raises:
        ValueError: for shapes that do not fit.

    References:
        Gupte et al., TMLR 2024 (DropQuery), which takes the nearest member of every cluster.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import kmeans, nearest_members
        >>> line = jnp.array([[0.0], [1.0], [3.0], [10.0]])
        >>> clusters = kmeans(jax.random.key(0), line, 2)
        >>> largest_first = jnp.argsort(-clusters.sizes)
        >>> nearest_members(line, clusters, jnp.ones(4, bool), largest_first).tolist()
        [1, 3]
    """
    n, k, num_clusters = points.shape[0], order.shape[0], clusters.centers.shape[0]
    if clusters.assignment.shape != (n,) or clusters.centers.shape[1:] != points.shape[1:]:
        raise ValueError(
            f"points have shape {points.shape}, but the clusters are of {clusters.assignment.shape[0]} rows of "
            f"length {clusters.centers.shape[1]}"
        )
    candidates = availability(candidates, n)
    scaled = at_unit_scale(dense_rows(points), candidates)
    is_member = candidates & (clusters.assignment >= 0)
    cluster = jnp.where(is_member, clusters.assignment, num_clusters)
    # the members of a cluster, one behind the other, the nearest first
    distances = _distances_to_own(scaled, clusters.centers, jnp.where(is_member, cluster, 0))
    members = jnp.lexsort((distances, cluster)).astype(jnp.int32)
    starts = jnp.searchsorted(cluster[members], jnp.arange(num_clusters + 1)).astype(jnp.int32)
    lengths = jnp.linalg.norm(clusters.centers * scaled.scales[0] * scaled.scales[1], axis=1)

    def take(t: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple:
        chosen, free, places = carry
        number = order[t]
        stop = starts[number + 1]

        def is_taken(place: jax.Array) -> jax.Array:
            return (place < stop) & ~free[members[jnp.minimum(place, n - 1)]]

        def member_at(place: jax.Array) -> jax.Array:
            least = _with_ties(distances[members[place]], lengths[number])

            def is_tie(carry: tuple[jax.Array, jax.Array]) -> jax.Array:
                return (carry[0] < stop) & (distances[members[jnp.minimum(carry[0], n - 1)]] <= least)

            def lower(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                row = members[carry[0]]
                return carry[0] + 1, jnp.where(free[row], jnp.minimum(carry[1], row), carry[1])

            return jax.lax.while_loop(is_tie, lower, (place + 1, members[place]))[1]

        place = jax.lax.while_loop(is_taken, lambda place: place + 1, places[number])
        index = jax.lax.cond(
            place < stop,
            lambda: member_at(jnp.minimum(place, n - 1)),
            lambda: _nearest_free(scaled, clusters.centers[number], lengths[number], free),
        )
        free = free.at[jnp.where(index >= 0, index, n)].set(False, mode="drop")
        return chosen.at[t].set(index), free, places.at[number].set(place)

    start = jnp.full(k, -1, jnp.int32), candidates, starts[:-1]
    return jax.lax.fori_loop(0, k, take, start)[0]


def _distances_to_own(scaled: PoolPoints, centers: jax.Array, cluster: jax.Array) -> jax.Array:
    """The distance, at unit scale, of every row to the centre of its ``cluster`` [n]: [n] float32."""
    n = len(scaled)
    tile = min(n, _ROWS)

    def look(i: jax.Array, distances: jax.Array) -> jax.Array:
        first = jnp.minimum(i * tile, n - tile)
        own = centers[jax.lax.dynamic_slice_in_dim(cluster, first, tile)]
        part = _distances(scaled.rows.right, own, scaled.scales, first, tile)
        return jax.lax.dynamic_update_slice_in_dim(distances, part, first, 0)

    return jax.lax.fori_loop(0, -(-n // tile), look, jnp.zeros(n, jnp.float32))


def _nearest_free(scaled: PoolPoints, center: jax.Array, length: jax.Array, free: jax.Array) -> jax.Array:
    """The row of the ``free`` [n] bool that is nearest to ``center`` [d]: scalar int32, −1 if none is free."""
    n = len(scaled)
    distances = _distances(scaled.rows.right, center[None, :], scaled.scales, jnp.int32(0), n)
    least = jnp.min(jnp.where(free, distances, jnp.inf))
    nearest = jnp.argmax(free & (distances <= _with_ties(least, length))).astype(jnp.int32)
    return jnp.where(jnp.any(free), nearest, -1)


def _with_ties(least: jax.Array, length: jax.Array) -> jax.Array:
    """What a distance that should equal ``least`` may be, by rounding, from a centre of that ``length``."""
    return least + 16 * EPSILON * (least + length)


def _distances(
    points: jax.Array, centers: jax.Array, scales: jax.Array, first: jax.Array, size: int
) -> jax.Array:
    """‖x − c‖ at unit scale, of ``size`` points from ``first`` on to ``centers`` [size or 1, d]: [size]."""
    differences = jax.lax.dynamic_slice_in_dim(points, first, size) - centers
    return jnp.linalg.norm(differences * scales[0] * scales[1], axis=1)
