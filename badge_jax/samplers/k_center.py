"""Furthest-first traversal: the greedy 2-approximation of the k-center problem."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from badge_jax.rows import (
    CenterBlocks,
    Points,
    PoolPoints,
    Rows,
    at_unit_scale,
    blocks_of,
    check_rows,
    middle_of,
    nearest_center,
    nearest_of_own_group,
    nearest_place,
    squared_distances_to_row,
)
from badge_jax.samplers.checks import availability, check_blocks, check_count
from badge_jax.samplers.lazy_greedy import Candidates, Picks, lazy_greedy
from badge_jax.shards import Listed, Shards, on_each_device, sharding_of_rows

_CANDIDATES = 512  # rows among which is chosen in a step
_BLOCK = 256  # centres in one matrix product with the candidates
_PIVOTS = 64  # most given centres whose distances to all rows are computed
_CELL_BLOCK = 64  # centres in one matrix product with the rows of their cells
_TILE = 1024  # such rows compared at a time
_MOST_IN_CELL = 2048  # centres of a cell that its rows are compared with


def k_center_greedy(
    rows: Rows,
    k: int,
    *,
    available: jax.Array | None = None,
    centers: jax.Array | None = None,
    sharding: NamedSharding | None = None,
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
        sharding: how the rows lie on devices, if not as the arrays say; see `shard_pool`.

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
    sharding = sharding_of_rows(sharding, rows.left, rows.right)
    check_blocks(n, 1, sharding)
    return _chosen(rows, free, centers, k, sharding)


@partial(jax.jit, static_argnums=(3, 4))
def _chosen(
    rows: Rows, free: jax.Array, centers: jax.Array, k: int, sharding: NamedSharding | None
) -> jax.Array:
    return on_each_device(sharding, partial(_chosen_here, k=k), (), (rows, free, centers))


def _chosen_here(
    shards: Shards, whole: tuple[()], parts: tuple[Rows, jax.Array, jax.Array], k: int
) -> jax.Array:
    """`k_center_greedy` on each device, from its part of the rows, those that are free, and the centres."""
    rows, free, centers = parts
    points = at_unit_scale(rows, free | centers, shards)
    free = free & ~centers
    origin = middle_of(points, free)
    longest = shards.argmax(jnp.where(free, points.squared_norms, -1.0))
    is_first = shards.any(free) & ~shards.any(centers)
    is_center = shards.put(centers, jnp.where(is_first, longest, -1)[None], True)
    given = shards.marked(is_center)

    def pick(state: Centers, candidates: Candidates, most: jax.Array) -> tuple[Centers, Picks]:
        here = points[candidates.indices]
        seen = jnp.where(candidates.bound > 0, shards.take(state.seen, candidates.indices), state.number)
        first = jnp.min(seen)

        def block_at(i: jax.Array) -> Points:
            return points[state.at(first + i + jnp.arange(_BLOCK), given)]

        new = CenterBlocks(block_at, _BLOCK, state.number - first, origin)
        candidates = candidates._replace(bound=nearest_center(here, new, candidates.bound))
        picks = choose_furthest(here, candidates, most)
        return state.with_picks(candidates.indices, picks, given, shards), picks

    bound = jnp.where(free & ~is_center, jnp.inf, -jnp.inf)
    bound = _compared_in_cells(points, given, is_center, bound, origin)
    # with so few, the bounds are the distances themselves
    num_seen = jnp.where(given.number <= _PIVOTS, given.number, 0)
    chosen = jnp.zeros(k + _CANDIDATES + _BLOCK, jnp.int32)
    state = Centers(chosen, given.number, jnp.full(len(points), num_seen))
    chosen, number, bound, *_ = lazy_greedy(bound, k, state, pick, num_candidates=_CANDIDATES, shards=shards)
    # what is left are copies of centres, of which the lowest indices are chosen, or rows that are not finite
    is_done = (shards.max(bound) <= 0) & ~shards.any(jnp.isnan(bound))
    copies = shards.marked((bound == 0) & is_done)
    chosen = jnp.where(jnp.arange(k) < number, chosen, copies.at(jnp.arange(k) - number))
    return jnp.where(is_first, jnp.concatenate([longest[None], chosen[:-1]]), chosen)


class Centers(NamedTuple):
    """The centres so far, numbered in the order given and chosen.

    Attributes:
        chosen: [m] int32, row numbers of those chosen, padded.
        number: scalar int32, how many centres there are, given and chosen.
        seen: [n] int32 (part), with how many of them each row was compared.
    """

    chosen: jax.Array
    number: jax.Array
    seen: jax.Array

    def at(self, numbers: jax.Array, given: Listed) -> jax.Array:
        """Row numbers of the centres of these ``numbers`` [m]; any row for those beyond the last: [m] int32."""
        chosen = self.chosen[jnp.maximum(numbers - given.number, 0)]
        return jnp.where(numbers < given.number, given.at(numbers), chosen)

    def with_picks(self, candidates: jax.Array, picks: Picks, given: Listed, shards: Shards) -> "Centers":
        """The centres after ``picks`` among the rows ``candidates`` [m], which have been compared with all."""
        number = self.number + picks.number
        # those behind the picks are overwritten later
        chosen = jax.lax.dynamic_update_slice_in_dim(
            self.chosen, candidates[picks.places], self.number - given.number, 0
        )
        return Centers(chosen, number, shards.put(self.seen, candidates, number))


def _compared_in_cells(
    points: PoolPoints, given: Listed, is_center: jax.Array, bound: jax.Array, origin: jax.Array
) -> jax.Array:
    """min(``bound``, squared distance to the nearest centre of a row's cell): [n] float32 (part).

    A cell has the rows, and the centres, that are nearest to the same pivot. Pivots are some of the centres, or
    all if they are few. So a row is compared with centres that are near it, and its bound is seldom far above
    its distance.

    Args:
        points: `PoolPoints` [n].
        given: the centres.
        is_center: [n] bool (part), whether a row is one.
        bound: [n] float32 (part).
        origin: [d] float32, as in `squared_distances`.
    """
    shards, n, tile = points.shards, len(points), min(len(points), _TILE)
    num_pivots = jnp.minimum(given.number, _PIVOTS)
    pivots = points[given.at(jnp.arange(_PIVOTS) * given.number // jnp.maximum(num_pivots, 1))]
    cell, distance = nearest_place(points, blocks_of(pivots, _PIVOTS, num_pivots, origin))
    # a pivot that is nearly a copy of another one may lie in its cell, and then its own cell has no centre
    bound = jnp.where(bound > 0, jnp.minimum(bound, distance), bound)
    by_cell = jnp.argsort(2 * cell + ~is_center)  # of a cell, centres first
    starts = jnp.searchsorted(cell[by_cell], jnp.arange(_PIVOTS + 1)).astype(jnp.int32)
    centers = _in_cells(cell, is_center, by_cell, starts, shards)

    def compare(i: jax.Array, bound: jax.Array) -> jax.Array:
        indices = centers.at(i * _CELL_BLOCK + jnp.arange(_CELL_BLOCK))
        others, is_counted = points[indices], indices >= 0
        cells = jnp.where(is_counted, shards.take(cell, indices), -1)
        first = starts[jnp.min(jnp.where(is_counted, cells, _PIVOTS))]
        stop = starts[jnp.max(cells) + 1]

        def compare_tile(j: jax.Array, bound: jax.Array) -> jax.Array:
            here = jax.lax.dynamic_slice_in_dim(by_cell, jnp.minimum(first + j * tile, n - tile), tile)
            return bound.at[here].set(
                nearest_of_own_group(points.here(here), cell[here], others, cells, origin, bound[here])
            )

        return jax.lax.fori_loop(0, (stop - first + tile - 1) // tile, compare_tile, bound)

    return jax.lax.fori_loop(0, (centers.number + _CELL_BLOCK - 1) // _CELL_BLOCK, compare, bound)


def _in_cells(
    cell: jax.Array, is_center: jax.Array, by_cell: jax.Array, starts: jax.Array, shards: Shards
) -> Listed:
    """The centres, those of a cell one behind the other; of a large cell the first `_MOST_IN_CELL`.

    Args:
        cell: [n] int32 (part), each row's cell.
        is_center: [n] bool (part).
        by_cell: [n] int32 (part), places in the order of their cells, in each cell those of centres first.
        starts: [cells + 1] int32, where each cell starts there.
        shards: how the pool lies on devices.
    """
    numbers = shards.gathered(jnp.bincount(jnp.where(is_center, cell, _PIVOTS), length=_PIVOTS)[None])
    is_before = jnp.arange(shards.count) < shards.device
    before = jnp.sum(jnp.where(is_before[:, None], numbers, 0), axis=0)  # centres of a cell on devices before
    cell = cell[by_cell]
    rank = before[cell] + jnp.arange(len(cell)) - starts[cell]
    places = jnp.nonzero(is_center[by_cell] & (rank < _MOST_IN_CELL), size=len(cell), fill_value=len(cell))[0]
    kept = by_cell[jnp.minimum(places, len(cell) - 1)].astype(jnp.int32) + shards.start(cell)
    return shards.listed(kept, jnp.sum(places < len(cell), dtype=jnp.int32))


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
