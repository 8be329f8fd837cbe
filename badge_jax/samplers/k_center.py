"""Furthest-first traversal: the greedy 2-approximation of the k-center problem."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    Points,
    PoolPoints,
    Rows,
    at_unit_scale,
    blocks_at,
    check_rows,
    middle_of,
    nearest_center,
    nearest_place,
    places_of,
    squared_distances_to_row,
)
from badge_jax.samplers.checks import availability, check_count
from badge_jax.samplers.lazy_greedy import Candidates, Picks, lazy_greedy

_CANDIDATES = 512  # rows among which is chosen in a step
_BLOCK = 256  # centres in one matrix product with the candidates
_START_BLOCK = 64  # centres in one matrix product with all rows
_PIVOTS = 64  # most given centres whose distances to all rows are computed
_TILE = 1024  # rows compared at a time with the centres near them
_MOST_IN_CELLS = 2048  # centres that such a tile is compared with


@partial(jax.jit, static_argnames=("k",))
def k_center_greedy(
    rows: Rows, k: int, *, available: jax.Array | None = None, centers: jax.Array | None = None
) -> jax.Array:
    """Furthest-first traversal: each next row is the one furthest from its nearest centre.

    The next row is argmax_x min_c ‖x − c‖. Ties go to the lower index. Without ``centers`` the first row is the
    longest. Rows already chosen are excluded by a mask. The first j rows equal the answer for ``k = j``.

    Distances to the nearest centre only fall, so a pick needs no pass over the pool (`lazy_greedy`): the rows
    that may be furthest are compared with the centres that are new to them. While one of them is further than
    every other row was, it is the furthest of all. Most rows are never among them, and are compared with the
    centres near them only.

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
    points = at_unit_scale(rows, free | centers)
    free = free & ~centers
    origin = middle_of(points, free)
    longest = jnp.argmax(jnp.where(free, points.squared_norms, -1.0)).astype(jnp.int32)
    is_first = jnp.any(free) & ~jnp.any(centers)
    is_center = centers.at[jnp.where(is_first, longest, n)].set(True, mode="drop")
    places = places_of(is_center, k + _CANDIDATES + _BLOCK)
    count = jnp.sum(is_center, dtype=jnp.int32)

    def pick(state: Centers, candidates: Candidates, most: jax.Array) -> tuple[Centers, Picks]:
        here = points[candidates.indices]
        seen = jnp.where(candidates.bound > 0, state.seen[candidates.indices], state.number)
        new = blocks_at(points, state.indices, jnp.min(seen), state.number, _BLOCK, origin)
        candidates = candidates._replace(bound=nearest_center(here, new, candidates.bound))
        picks = choose_furthest(here, candidates, most)
        number = state.number + picks.number
        # those behind the picks are overwritten later
        indices = jax.lax.dynamic_update_slice_in_dim(
            state.indices, candidates.indices[picks.places], state.number, 0
        )
        return Centers(indices, number, state.seen.at[candidates.indices].set(number)), picks

    bound = jnp.where(free & ~is_center, jnp.inf, -jnp.inf)
    bound = _compared_in_cells(points, places, count, bound, origin)
    num_seen = jnp.where(count <= _PIVOTS, count, 0)  # with so few, the bounds are the distances themselves
    state = Centers(places, count, jnp.full(n, num_seen))
    chosen, number, bound, *_ = lazy_greedy(bound, k, state, pick, num_candidates=_CANDIDATES)
    # what is left are copies of centres, of which the lowest indices are chosen, or rows that are not finite
    copies = jnp.nonzero((bound == 0) & (jnp.max(bound) <= 0), size=k, fill_value=-1)[0]
    chosen = jnp.where(jnp.arange(k) < number, chosen, copies[jnp.arange(k) - number]).astype(jnp.int32)
    return jnp.where(is_first, jnp.concatenate([longest[None], chosen[:-1]]), chosen)


class Centers(NamedTuple):
    """The centres so far, given and chosen.

    Attributes:
        indices: [m] int32, row numbers in the order given and chosen, padded.
        number: scalar int32, how many of them there are.
        seen: [n] int32, with how many of them each row was compared.
    """

    indices: jax.Array
    number: jax.Array
    seen: jax.Array


def _compared_in_cells(
    points: PoolPoints, places: jax.Array, count: jax.Array, bound: jax.Array, origin: jax.Array
) -> jax.Array:
    """min(``bound``, squared distance to the nearest centre of a row's cell): [n] float32.

    A cell has the rows, and the centres, that are nearest to the same pivot. Pivots are some of the centres, or
    all if they are few. So a row is compared with centres that are near it, and its bound is seldom far above
    its distance.

    Args:
        points: `PoolPoints` [n].
        places: [m] int32, row numbers of the centres, padded with a block.
        count: scalar int32, how many centres count.
        bound: [n] float32.
        origin: [d] float32, as in `squared_distances`.
    """
    n, tile = len(points), min(len(points), _TILE)
    num_pivots = jnp.minimum(count, _PIVOTS)
    pivots = places[jnp.arange(_PIVOTS) * count // jnp.maximum(num_pivots, 1)]
    blocks = blocks_at(points, pivots, jnp.int32(0), num_pivots, _START_BLOCK, origin)
    cell, distance = nearest_place(points, blocks)
    # a pivot that is nearly a copy of another one may lie in its cell, and then its own cell has no centre
    bound = jnp.where(bound > 0, jnp.minimum(bound, distance), bound)
    order = jnp.argsort(cell)
    cell_of_center = jnp.where(jnp.arange(len(places)) < count, cell[places], _PIVOTS)
    by_cell = jnp.argsort(cell_of_center)
    starts = jnp.searchsorted(cell_of_center[by_cell], jnp.arange(_PIVOTS + 1)).astype(jnp.int32)

    def compare(i: jax.Array, bound: jax.Array) -> jax.Array:
        here = jax.lax.dynamic_slice_in_dim(order, jnp.minimum(i * tile, n - tile), tile)
        first, stop = starts[cell[here[0]]], starts[cell[here[-1]] + 1]
        stop = jnp.minimum(stop, first + _MOST_IN_CELLS)
        near = blocks_at(points, places[by_cell], first, stop, _START_BLOCK, origin)
        return bound.at[here].set(nearest_center(points[here], near, bound[here]))

    return jax.lax.fori_loop(0, -(-n // tile), compare, bound)


def choose_furthest(points: Points, candidates: Candidates, most: jax.Array) -> Picks:
    """Furthest-first traversal of candidates, while one of them is certainly the furthest row of the pool.

    Args:
        points: `Points` [m], the candidates.
        candidates: `Candidates` [m]; the bounds are their squared distances to the nearest centre.
        most: scalar int32, how many to choose at most.

    Returns:
        `Picks`, with the candidates' distances after the last pick.
    """

    def has_next(picks: Picks) -> jax.Array:
        place = jnp.argmax(picks.bound)
        value = picks.bound[place]
        return (picks.number < most) & candidates.is_best(place, value) & (value > 0)

    def choose(picks: Picks) -> Picks:
        place = jnp.argmax(picks.bound).astype(jnp.int32)
        nearest = jnp.minimum(picks.bound, squared_distances_to_row(points, place))
        # what may not be chosen need not be finite
        bound = jnp.where(picks.bound > 0, nearest, picks.bound).at[place].set(-jnp.inf)
        return Picks(picks.places.at[picks.number].set(place), picks.number + 1, bound)

    start = Picks(jnp.zeros(len(points), jnp.int32), jnp.int32(0), candidates.bound)
    return jax.lax.while_loop(has_next, choose, start)
