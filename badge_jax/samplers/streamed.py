"""The samplers over a pool that is read in tiles: from a disk, or from memory in its own dtype.

Tiles, their order and every computation depend on (n, c, d) alone, so the picks do not depend on where the rows
come from. A tile is read only if some new centre can lower a bound in it.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.rows import Centers, Rows, as_centers, squared_distances, squared_norms
from badge_jax.samplers._kmeans_plusplus import draw_first
from badge_jax.samplers._lazy_kmeans_plusplus import (
    Extents,
    Plan,
    Proposals,
    Seeding,
    accept,
    centers_that_matter,
    extent_of,
    finish_fold,
    fold_tile,
    is_fold_due,
    make_plan,
    nearest_center,
    propose,
    start_seeding,
)

_TILE_ENTRIES = 2**23  # entries of a tile, as float32: 32 MiB
_CANDIDATES = 2048  # rows held while furthest points are chosen between two passes

Watch = Callable[[str, int, int], None]  # what is done now, how much of it, of how much


class StreamedRows(NamedTuple):
    """Rows that are read when asked for, `Rows` of float32.

    num_rows, num_left, num_right: n, c, d
    read: (start, stop) -> the rows from start up to stop
    take: indices [m] -> the rows at them, in that order
    """

    num_rows: int
    num_left: int
    num_right: int
    read: Callable[[int, int], Rows]
    take: Callable[[np.ndarray], Rows]


class Batch(NamedTuple):
    """indices: [k] int32, in the order chosen. num_passes: passes over the pool.
    num_distinct: picks made before every row left was a copy of one chosen, k if that did not happen."""

    indices: np.ndarray
    num_passes: int
    num_distinct: int


def tile_size(n: int, num_columns: int) -> int:
    """Rows in a tile."""
    return min(n, max(1024, _TILE_ENTRIES // num_columns))


def tiles_of(rows: StreamedRows) -> list[int]:
    """Where each tile starts; the last one overlaps its neighbour, so that all have one shape."""
    tile = tile_size(rows.num_rows, rows.num_left + rows.num_right)
    return [min(start, rows.num_rows - tile) for start in range(0, rows.num_rows, tile)]


def streamed_kmeans_plusplus(
    key: jax.Array, rows: StreamedRows, k: int, available: np.ndarray, first: str, watch: Watch
) -> Batch:
    """`lazy_kmeans_plusplus` over a pool that is read in tiles.

    The rows' greatest norm must be near 1 (see `at_unit_scale`), and all that are available finite.

    available: [n] bool, with k True at least
    first:     the law of the first row, as in `kmeans_plusplus`
    watch:     told of the progress
    """
    plan, free = _plan_of(rows), jnp.asarray(available)
    norms, num_passes = np.ones(rows.num_rows, np.float32), 0
    if first != "uniform":
        norms, num_passes = _all_norms(rows, watch), 1
    index = _draw_first(key, norms, free, first)
    # as many rows as are taken for proposals: one program less
    first_rows = rows.take(np.full(plan.proposals, index))
    state = _start(first_rows, index, free, k, len(tiles_of(rows)), plan)
    num_distinct = k
    while int(state.num_chosen) < k:
        state = _fold(state, rows, free, plan, watch, num_passes)
        num_passes += 1
        if not np.isfinite(np.asarray(state.totals)[-1]):
            raise ValueError("some available rows are not finite")
        if bool(state.is_flat):
            num_distinct = min(num_distinct, int(state.num_chosen))
        is_due = False
        while int(state.num_chosen) < k and not is_due:
            proposals = _propose(key, state, plan)
            candidates = rows.take(np.asarray(proposals.indices))
            state, is_due = _accept(state, proposals, candidates, k, plan)
            watch("choosing", int(state.num_chosen), k)
    return Batch(np.asarray(state.chosen)[:k], num_passes, num_distinct)


def streamed_k_center(
    rows: StreamedRows, k: int, available: np.ndarray, centers: np.ndarray, watch: Watch
) -> Batch:
    """`k_center_greedy` over a pool that is read in tiles, with many picks a pass.

    Distances to the centres only fall as more are chosen. So after a pass the rows furthest away are held in
    memory, and as long as one of them is further than every other row was then, it is the furthest of all.

    available: [n] bool, with k True at least
    centers:   indices of rows that are centres from the start, may be empty
    """
    plan = _plan_of(rows)
    chosen: list[int] = []
    bound = np.where(available, np.float32(np.inf), np.float32(-np.inf))
    fresh, num_passes = np.asarray(centers, np.int64), 0
    if len(fresh) == 0:
        norms = _all_norms(rows, watch)
        num_passes = 1
        chosen = [int(np.argmax(np.where(available, norms, -np.inf)))]
        bound[chosen], fresh = -np.inf, np.array(chosen)
    num_distinct = k
    while len(chosen) < k:
        bound = _lower(bound, rows, fresh, plan, partial(watch, f"pass {num_passes + 1}"))
        num_passes += 1
        if bound.max() <= 0:  # only copies are left: by index
            num_distinct = len(chosen)
            chosen += np.flatnonzero(bound == 0)[: k - len(chosen)].tolist()
            break
        fresh = _furthest(rows, bound, min(k, _CANDIDATES))[: k - len(chosen)]
        bound[fresh] = -np.inf
        chosen += fresh.tolist()
        watch("choosing", len(chosen), k)
    return Batch(np.asarray(chosen, np.int32), num_passes, num_distinct)


def nearest_pick(rows: StreamedRows, picks: np.ndarray, watch: Watch) -> np.ndarray:
    """For every row which of ``picks`` is nearest, the first of equals: [n] int32, places in ``picks``."""
    centers = _padded_centers(rows, picks, _plan_of(rows).fold_block)
    nearest = np.empty(rows.num_rows, np.int32)
    for done, start, tile in _read_tiles(rows):
        watch("assigning", done, rows.num_rows)
        nearest[start : start + len(tile.left)] = _argnearest(tile, centers, len(picks))
    return nearest


def distances_when_chosen(rows: StreamedRows, picks: np.ndarray) -> np.ndarray:
    """Squared distance of each pick to the nearest pick before it, ∞ for the first: [k] float32."""
    block = min(len(picks), 1024)
    centers, distances = _padded_centers(rows, picks, block), np.empty(len(picks), np.float32)
    for start in range(0, len(picks), block):
        distances[start : start + block] = _nearest_before(centers, start, block)[: len(picks) - start]
    return distances


def time_of_a_pass(rows: StreamedRows) -> tuple[float, float]:
    """Seconds of a pass that folds one block of centres, and of one distance, timed on the first tile."""
    tile, block = tile_size(rows.num_rows, rows.num_left + rows.num_right), min(64, rows.num_rows)
    centers = _padded_centers(rows, np.arange(block), 64)
    for _ in range(2):  # the first compiles
        start = time.perf_counter()
        part = jax.block_until_ready(rows.read(0, tile))
        after_reading = time.perf_counter()
        _argnearest(part, centers, block).block_until_ready()
        end = time.perf_counter()
    return (end - start) * len(tiles_of(rows)), (end - after_reading) / (64 * tile)


def _plan_of(rows: StreamedRows) -> Plan:
    return make_plan(rows.num_rows, rows.num_left, rows.num_right)


def _read_tiles(rows: StreamedRows) -> Iterator[tuple[int, int, Rows]]:
    """(rows done when it is, its start, tile) for every tile."""
    tile = tile_size(rows.num_rows, rows.num_left + rows.num_right)
    for start in tiles_of(rows):
        yield start + tile, start, rows.read(start, start + tile)


def _all_norms(rows: StreamedRows, watch: Watch) -> np.ndarray:
    """Squared norms: [n] float32."""
    norms = np.empty(rows.num_rows, np.float32)
    for done, start, tile in _read_tiles(rows):
        watch("norms", done, rows.num_rows)
        norms[start : start + len(tile.left)] = _squared_norms(tile)
    return norms


def _fold(
    state: Seeding, rows: StreamedRows, free: jax.Array, plan: Plan, watch: Watch, num_passes: int
) -> Seeding:
    """The state after its pending centres are folded, tile by tile."""
    tile, starts = tile_size(rows.num_rows, rows.num_left + rows.num_right), tiles_of(rows)
    bound, extents = np.array(state.bound), jax.tree.map(np.array, state.extents)
    if not bool(state.is_flat):
        # before the first pass nothing is known of any tile
        matters = _tiles_that_matter(state) if int(state.num_chosen) > 1 else np.ones(len(starts), bool)
        for i in np.flatnonzero(matters):
            start = starts[i]
            watch(f"pass {num_passes + 1}", start + tile, rows.num_rows)
            lowered, extent = _fold_tile(
                state, rows.read(start, start + tile), bound[start : start + tile], plan
            )
            bound[start : start + tile] = lowered
            for part, value in zip(extents, extent, strict=True):
                part[i] = value[0]
    state = state._replace(bound=jnp.asarray(bound))
    return _finish_fold(state, free, extents, plan)


def _lower(bound: np.ndarray, rows: StreamedRows, fresh: np.ndarray, plan: Plan, watch: Callable) -> np.ndarray:
    """min(bound, squared distance to the nearest of the rows ``fresh``): [n] float32."""
    centers, lowered = _padded_centers(rows, fresh, plan.fold_block), bound.copy()
    for done, start, tile in _read_tiles(rows):
        watch(done, rows.num_rows)
        stop = start + len(tile.left)
        lowered[start:stop] = _nearest(tile, jnp.asarray(bound[start:stop]), centers, len(fresh), plan)
    return lowered


def _furthest(rows: StreamedRows, bound: np.ndarray, most: int) -> np.ndarray:
    """The next picks, at least one and at most ``most``: as many as the exact bounds ``bound`` [n] decide."""
    count = min(_CANDIDATES, len(bound))
    # ties go to the lower index; the candidates stay in the order of the pool
    ranked = np.argsort(-bound, kind="stable")
    candidates = np.sort(ranked[:count])
    # a candidate as far as the furthest of the others goes first if its index is lower
    others = ranked[count : count + 1]
    beyond = bound[others[0]] if len(others) else -np.inf
    is_before = candidates < (others[0] if len(others) else len(bound))
    centers = as_centers(rows.take(candidates))
    places, number = _choose_furthest(centers, bound[candidates], is_before, np.float32(beyond), most)
    return candidates[np.asarray(places)[: int(number)]]


@partial(jax.jit, static_argnames="most")
def _choose_furthest(
    centers: Centers, bound: jax.Array, is_before: jax.Array, beyond: jax.Array, most: int
) -> tuple[jax.Array, jax.Array]:
    """Furthest-first traversal among candidates while one is further than ``beyond``, or as far and before it,
    and no copy of a centre: places, their number."""
    most = min(most, bound.shape[0])

    def goes_on(carry: tuple) -> jax.Array:
        _, number, bound = carry
        place = jnp.argmax(bound)
        is_next = (bound[place] > beyond) | ((bound[place] == beyond) & is_before[place])
        return (number < most) & is_next & (bound[place] > 0)

    def choose(carry: tuple) -> tuple:
        places, number, bound = carry
        place = jnp.argmax(bound).astype(jnp.int32)
        center = jax.tree.map(lambda a: a[place][None], centers)
        bound = jnp.minimum(bound, squared_distances(centers.rows, centers.norms, center)[:, 0])
        return places.at[number].set(place), number + 1, bound.at[place].set(-jnp.inf)

    start = jnp.zeros(most, jnp.int32), jnp.int32(0), bound
    places, number, _ = jax.lax.while_loop(goes_on, choose, start)
    return places, number


def _padded_centers(rows: StreamedRows, indices: np.ndarray, block: int) -> Centers:
    """The rows at ``indices`` as `Centers`, in whole blocks and a power of two of them, so that few programs
    are compiled."""
    num_blocks = 2 ** int(np.ceil(np.log2(max(1, -(-len(indices) // block)))))
    padded = np.zeros(num_blocks * block, np.int64)
    padded[: len(indices)] = indices
    parts = [_as_centers(rows.take(part)) for part in padded.reshape(num_blocks, block)]
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)


@partial(jax.jit, static_argnames="first")
def _draw_first(key: jax.Array, norms: jax.Array, free: jax.Array, first: str) -> jax.Array:
    return draw_first(jax.random.fold_in(key, 0), norms, free, first)


@partial(jax.jit, static_argnames=("k", "num_extents", "plan"))
def _start(first: Rows, index: jax.Array, free: jax.Array, k: int, num_extents: int, plan: Plan) -> Seeding:
    state = start_seeding(first, index, k, free.shape[0], num_extents, plan)
    return state._replace(bound=jnp.where(free, jnp.inf, 0.0))


@partial(jax.jit, static_argnames="plan")
def _propose(key: jax.Array, state: Seeding, plan: Plan) -> Proposals:
    return propose(jax.random.fold_in(key, 1 + state.num_batches), state, plan)


@partial(jax.jit, static_argnames="plan", donate_argnames="state")
def _accept(
    state: Seeding, proposals: Proposals, candidates: Rows, wanted: jax.Array, plan: Plan
) -> tuple[Seeding, jax.Array]:
    state = accept(state, proposals, candidates, wanted, plan)
    return state, is_fold_due(state, state.bound.shape[0], plan)


_finish_fold = jax.jit(finish_fold, static_argnames="plan", donate_argnames="state")
_squared_norms = jax.jit(squared_norms)
_as_centers = jax.jit(as_centers)


@jax.jit
def _tiles_that_matter(state: Seeding) -> jax.Array:
    """[tiles] bool."""

    def matters(extents: Extents) -> jax.Array:
        return jnp.any(centers_that_matter(state, jax.tree.map(lambda a: a[None], extents)))

    return jax.lax.map(matters, state.extents)


@partial(jax.jit, static_argnames="plan")
def _fold_tile(state: Seeding, tile: Rows, bound: jax.Array, plan: Plan) -> tuple[jax.Array, Extents]:
    norms = squared_norms(tile)
    bound = fold_tile(state, tile, norms, bound, plan)
    return bound, extent_of(norms, bound)


@partial(jax.jit, static_argnames="plan")
def _nearest(tile: Rows, bound: jax.Array, centers: Centers, count: jax.Array, plan: Plan) -> jax.Array:
    order = jnp.arange(centers.norms.shape[0])
    return nearest_center(centers, order, count, tile, squared_norms(tile), bound, plan.fold_block)


@partial(jax.jit, static_argnames="block")
def _nearest_before(centers: Centers, start: jax.Array, block: int) -> jax.Array:
    """Squared distance of each of ``block`` centres from ``start`` on to the nearest before it: [block]."""
    part = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, block), centers)
    distances = squared_distances(part.rows, part.norms, centers)
    is_earlier = jnp.arange(centers.norms.shape[0])[None, :] < start + jnp.arange(block)[:, None]
    return jnp.min(distances, axis=1, where=is_earlier, initial=jnp.inf)


@jax.jit
def _argnearest(tile: Rows, centers: Centers, count: jax.Array) -> jax.Array:
    """Place of the nearest of the first ``count`` centres for every row: [tile] int32."""
    norms, block = squared_norms(tile), 64

    def nearer(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        nearest, place = carry
        taken = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, i * block, block), centers)
        is_counted = i * block + jnp.arange(block) < count
        distances = jnp.where(is_counted[None, :], squared_distances(tile, norms, taken), jnp.inf)
        best = jnp.min(distances, axis=1)
        best_place = (i * block + jnp.argmin(distances, axis=1)).astype(jnp.int32)
        return jnp.minimum(nearest, best), jnp.where(best < nearest, best_place, place)

    start = jnp.full(norms.shape, jnp.inf, jnp.float32), jnp.zeros(norms.shape, jnp.int32)
    return jax.lax.fori_loop(0, (count + block - 1) // block, nearer, start)[1]
