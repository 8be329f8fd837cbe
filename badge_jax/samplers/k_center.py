"""Furthest-first traversal: the greedy 2-approximation of the k-center problem."""

from functools import partial

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    CenterBlocks,
    Points,
    Rows,
    as_points,
    at_unit_scale,
    check_rows,
    middle_of,
    nearest_center,
    squared_distances_to_row,
)
from badge_jax.samplers.checks import availability, check_count

_BLOCK = 64  # centres in one matrix product
_CANDIDATES = 512  # rows among which is chosen between two passes


@partial(jax.jit, static_argnames=("k",))
def k_center_greedy(
    rows: Rows, k: int, *, available: jax.Array | None = None, centers: jax.Array | None = None
) -> jax.Array:
    """Furthest-first traversal: each next row is the one furthest from its nearest centre.

    The next row is argmax_x min_c ‖x − c‖. Ties go to the lower index. Without ``centers`` the first row is the
    longest. Rows already chosen are excluded by a mask. The first j rows equal the answer for ``k = j``.

    Distances to the nearest centre only fall, so most picks need no pass over the pool: the rows that are
    furthest after a pass are candidates. While one of them is further than every other row was, it is the
    furthest of all. Then the rows chosen meanwhile are folded into the distances of all rows, in one pass.

    Args:
        rows: `Rows` of n embeddings, float32.
        k: how many to choose, 1 ≤ k ≤ n.
        available: [n] bool, rows that may be chosen. None: all that are not centres.
        centers: [n] bool, rows that are centres from the start; they are never chosen. None: no row.

    Returns:
        [k] int32, in the order chosen. −1 for the surplus where fewer than k rows are available, and from the
        first pick for which a distance is not finite.

    Raises:
        ValueError: for shapes that do not fit.

    References:
        Sener and Savarese, ICLR 2018, algorithm 1; Ash et al., ICLR 2020, section 4.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import dense_rows, k_center_greedy
        >>> line = dense_rows(jnp.array([[0.0], [1.0], [5.0], [9.0]]))
        >>> k_center_greedy(line, 3).tolist()
        [3, 0, 2]
    """
    check_rows(rows)
    n = len(rows)
    check_count(k, n)
    free = availability(available, n)
    centers = jnp.zeros(n, bool) if centers is None else availability(centers, n)
    rows = at_unit_scale(rows, free | centers)
    free = free & ~centers
    points, origin = as_points(rows), middle_of(rows, free)
    longest = jnp.argmax(jnp.where(free, points.squared_norms, -1.0)).astype(jnp.int32)
    is_first = jnp.any(free) & ~jnp.any(centers)
    chosen = jnp.full(k, -1, jnp.int32).at[0].set(jnp.where(is_first, longest, -1))
    bound = jnp.where(is_first, squared_distances_to_row(points, longest), jnp.inf)
    bound = jnp.where(free, bound, -jnp.inf).at[jnp.where(is_first, longest, n)].set(-jnp.inf, mode="drop")
    given = jnp.pad(jnp.nonzero(centers, size=n, fill_value=0)[0], (0, _BLOCK))
    bound = _lower(points, origin, bound, given, jnp.sum(centers))

    def has_next(carry: tuple) -> jax.Array:
        _, number, bound = carry
        furthest = jnp.max(bound)
        return (number < k) & (furthest > 0) & (furthest < jnp.inf)

    def choose_and_fold(carry: tuple) -> tuple:
        chosen, number, bound = carry
        ranked = jax.lax.top_k(bound, min(n, _CANDIDATES + 1))[1]
        candidates, other = jnp.sort(ranked[:_CANDIDATES]), ranked[_CANDIDATES:]
        beyond = jnp.max(bound[other], initial=-jnp.inf)
        is_before = candidates < jnp.min(other, initial=n)
        places, count = choose_furthest(points[candidates], bound[candidates], is_before, beyond, k - number)
        fresh = candidates[places]
        bound = _lower(points, origin, bound, jnp.pad(fresh, (0, _BLOCK)), count)
        is_fresh = jnp.arange(len(fresh)) < count
        bound = bound.at[jnp.where(is_fresh, fresh, n)].set(-jnp.inf, mode="drop")
        chosen = chosen.at[jnp.where(is_fresh, number + jnp.arange(len(fresh)), k)].set(fresh, mode="drop")
        return chosen, number + count, bound

    start = chosen, is_first.astype(jnp.int32), bound
    chosen, number, bound = jax.lax.while_loop(has_next, choose_and_fold, start)
    # what is left are copies of centres, of which the lowest indices are chosen, or rows that are not finite
    copies = jnp.nonzero((bound == 0) & (jnp.max(bound) <= 0), size=k, fill_value=-1)[0]
    return jnp.where(jnp.arange(k) < number, chosen, copies[jnp.arange(k) - number]).astype(jnp.int32)


def choose_furthest(
    candidates: Points, bound: jax.Array, is_before: jax.Array, beyond: jax.Array, most: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Furthest-first traversal of candidates, while one of them is certainly the furthest row of the pool.

    Args:
        candidates: `Points` [m].
        bound: [m] float32, their squared distances to the nearest centre.
        is_before: [m] bool, whether a candidate's index is lower than that of the furthest other row.
        beyond: scalar float32, squared distance of that row; −∞ if there is none.
        most: scalar int32, how many to choose at most.

    Returns:
        The places of the picks [m] int32, and how many of these count.
    """

    def has_next(carry: tuple) -> jax.Array:
        _, number, bound = carry
        place = jnp.argmax(bound)
        is_next = (bound[place] > beyond) | ((bound[place] == beyond) & is_before[place])
        return (number < most) & is_next & (bound[place] > 0)

    def choose(carry: tuple) -> tuple:
        places, number, bound = carry
        place = jnp.argmax(bound).astype(jnp.int32)
        bound = jnp.minimum(bound, squared_distances_to_row(candidates, place))
        return places.at[number].set(place), number + 1, bound.at[place].set(-jnp.inf)

    start = jnp.zeros(len(candidates), jnp.int32), jnp.int32(0), bound
    places, number, _ = jax.lax.while_loop(has_next, choose, start)
    return places, number


def _lower(
    points: Points, origin: jax.Array, bound: jax.Array, indices: jax.Array, count: jax.Array
) -> jax.Array:
    """min(``bound``, squared distance to the nearest of the first ``count`` of the points at ``indices``): [n].

    Indices are padded by a block. The cost is that of the centres that count, not of all.
    """

    def block_at(i: jax.Array) -> Points:
        return points[jax.lax.dynamic_slice_in_dim(indices, i, _BLOCK)]

    return nearest_center(points, CenterBlocks(block_at, _BLOCK, count, origin), bound)
