"""Steps of k-means++ seeding with the exact law in a few passes over the pool, by proposals and rejection.

Every row x has a bound U(x) ≥ D²(x), its squared distance to the nearest centre that was *folded* into the
bound. Centres chosen since then are *pending*. A proposal X ~ U/ΣU is accepted with probability D²(X)/U(X).
This needs only the distances from X to the pending centres. An accepted X has the law D²/Φ with Φ = ΣD²,
whatever U is, so the picks have the law of `kmeans_plusplus`. Most picks read a few hundred rows only. There is
one pass over the pool at the start, and another only when so many proposals are rejected that folding the
pending centres costs less.

Why the law is exact: P(X = x and accepted) = U(x)/ΣU · D²(x)/U(x) = D²(x)/ΣU, so P(x | accepted) = D²(x)/Φ.
Proposals are drawn in batches and processed in order. After the last pick, the rest of the batch is discarded.
When to fold depends on processed proposals alone.

A fold takes the rows in order of their norms, a block at a time. It skips the centres that cannot lower a bound
of the block, because their norms are too far from those of its rows: ‖x − c‖ ≥ |‖x‖ − ‖c‖|.

This module has the state and the steps, which are pure, so any loop may drive them: one on the device over a
pool held there (`_lazy_kmeans_plusplus.py`), one on the host over a pool that is read in tiles
(`_streamed_kmeans_plusplus.py`). The latter's programs are at the end.

References:
    Block proposals with rejection, as in accelerated RPCholesky: Epperly, Tropp and Webber 2024, arXiv
    2410.03969. Rejection for k-means++: Cohen-Addad et al. 2020, arXiv 2012.11891, and Shah et al. 2025, arXiv
    2502.02085.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    EPSILON,
    CenterBlocks,
    Points,
    Rows,
    as_points,
    nearest_center,
    squared_distances,
)
from badge_jax.samplers._kmeans_plusplus import draw_first
from badge_jax.samplers.draw import block_totals, fine_uniform
from badge_jax.shards import ALONE, Shards, default_block

_PENDING_ENTRIES = 2**26  # most floats held of pending centres: 256 MiB
_SAMPLE = 1024  # most rows from which the work of a fold is estimated


class Sizes(NamedTuple):
    """Sizes that depend on (n, c, d) only.

    Attributes:
        row_block: rows folded at a time.
        fold_block: pending centres in one matrix product of a fold.
        test_block: pending centres in one matrix product of a test of proposals.
        test_tile: proposals in one such product.
        proposals: proposals in a batch.
        draw_block: rows in a block of the two-level draw.
        capacity: most pending centres; a fold is forced when the next batch might exceed it.
        stride: rows that an entry of the extents stands for. In memory, one row of so many is in the sample
            from which the work of a fold is estimated; over tiles, they are a tile.
        pass_cost: cost of a row in a fold besides its distances; the unit is one distance to one centre.
        batch_cost: cost of a proposal besides its distances, in the same unit.
    """

    row_block: int
    fold_block: int
    test_block: int
    test_tile: int
    proposals: int
    draw_block: int
    capacity: int
    stride: int
    pass_cost: int = 64
    batch_cost: int = 1000


class Extents(NamedTuple):
    """Ranges of the norms and bounds of blocks of rows; they show which centres can lower a bound.

    Attributes:
        shortest: [blocks] float32, least norm of a block's rows.
        longest: [blocks] float32, greatest norm of a block's rows.
        highest: [blocks] float32, greatest bound U of a block's rows.
    """

    shortest: jax.Array
    longest: jax.Array
    highest: jax.Array


class Seeding(NamedTuple):
    """The state of the seeding. Of what is marked (part), each device has the part of its own rows.

    Attributes:
        chosen: [k + proposals] int32, in the order drawn; meaningless from num_chosen on.
        num_chosen: scalar int32.
        num_free: scalar int32, rows that were available at the start.
        bound: [n] float32 (part), U; 0 for rows that are not available or are chosen.
        running: [blocks, draw_block] float32 (part), cumulative sums of U inside each block of the draw.
        totals: [blocks] float32, cumulative sums of the blocks' sums, padded.
        pending: `Points` [p] chosen since the last fold, padded.
        num_pending: scalar int32.
        num_batches: scalar int32, batches of proposals processed.
        spent: scalar float32, most that the proposals since the last fold can have cost, in distances to one
            centre: many are rejected before they are compared with all.
        extents: `Extents` of equal parts of the pool, or of a sample of it, at the last fold.
        to_fold: scalar float32, distances that a fold would compute, estimated from the extents.
        is_flat: scalar bool, whether Φ = 0; the bound is then 1 for every row that may still be drawn.
        origin: [d] float32, from which ordinary vectors are seen (`middle`).
    """

    chosen: jax.Array
    num_chosen: jax.Array
    num_free: jax.Array
    bound: jax.Array
    running: jax.Array
    totals: jax.Array
    pending: Points
    num_pending: jax.Array
    num_batches: jax.Array
    spent: jax.Array
    extents: Extents
    to_fold: jax.Array
    is_flat: jax.Array
    origin: jax.Array


class Proposals(NamedTuple):
    """A batch of m proposals.

    Attributes:
        indices: [m] int32, rows drawn from the bound.
        uniforms: [m] float32, uniform draws that decide on acceptance.
    """

    indices: jax.Array
    uniforms: jax.Array


def make_sizes(n: int, c: int, d: int) -> Sizes:
    """The sizes for n rows with factors of c and d entries."""
    return Sizes(
        row_block=min(n, 1024),
        fold_block=min(n, 128),
        test_block=min(n, 256),
        test_tile=min(n, 128),
        proposals=min(n, 256),
        draw_block=default_block(n),
        capacity=max(512, _PENDING_ENTRIES // (c + d)),
        stride=max(1, default_block(n) ** 2 // _SAMPLE),
    )


def start_seeding(
    first: Points,
    index: jax.Array,
    k: int,
    free: jax.Array,
    num_extents: int,
    sizes: Sizes,
    origin: jax.Array,
    shards: Shards = ALONE,
) -> Seeding:
    """The state with the first centre pending and every bound ∞; real bounds, or a fold, come next.

    Args:
        first: `Points` [1], the first centre; if there are more, only the first counts.
        index: scalar int32, row number of the first centre; −1 if no row is available.
        k: how many to choose.
        free: [n] bool (part), rows that are available.
        num_extents: entries of the extents.
        sizes: the sizes.
        origin: as in `Seeding`.
        shards: how the pool lies on devices.

    Returns:
        `Seeding`.
    """
    block = math.lcm(sizes.fold_block, sizes.test_block)
    num_kept = -(-(min(k, sizes.capacity) + sizes.proposals) // block) * block
    num_draw_blocks = -(-len(free) // sizes.draw_block)
    num_totals = max(num_draw_blocks * shards.count, sizes.draw_block)
    unknown = jnp.full(num_extents, jnp.inf, jnp.float32)
    return Seeding(
        chosen=jnp.full(k + sizes.proposals, -1, jnp.int32).at[0].set(index),
        num_chosen=jnp.int32(1),
        num_free=shards.number_of(free),
        bound=jnp.where(free, jnp.inf, 0.0),
        running=jnp.zeros((num_draw_blocks, sizes.draw_block), jnp.float32),
        totals=jnp.zeros(num_totals, jnp.float32),
        pending=jax.tree.map(lambda a: jnp.zeros((num_kept, *a.shape[1:]), jnp.float32).at[0].set(a[0]), first),
        num_pending=jnp.int32(1),
        num_batches=jnp.int32(0),
        spent=jnp.float32(0),
        extents=Extents(jnp.zeros(num_extents, jnp.float32), unknown, unknown),
        to_fold=shards.number_of(free).astype(jnp.float32),
        is_flat=jnp.array(False),
        origin=origin,
    )


def propose(key: jax.Array, state: Seeding, sizes: Sizes, shards: Shards = ALONE) -> Proposals:
    """Draws ``sizes.proposals`` independent rows with P(x) ∝ U(x), in two levels, and a uniform for each.

    Args:
        key: typed PRNG key.
        state: `Seeding` after `with_sums`.
        sizes: the sizes.
        shards: how the pool lies on devices.

    Returns:
        `Proposals`.
    """
    uniforms = jax.random.uniform(key, (4, sizes.proposals), jnp.float32)
    accepting = fine_uniform(uniforms[2], uniforms[3])
    last_block = state.totals.shape[0] - 1
    block = jnp.searchsorted(state.totals, uniforms[0] * state.totals[-1], side="right")
    block = jnp.minimum(block, last_block)
    here = shards.places(state.running, block)
    target = uniforms[1] * state.running[here, -1]

    def halve(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = carry
        middle = (low + high) // 2
        is_above = state.running[here, middle] > target
        return jnp.where(is_above, low, middle + 1), jnp.where(is_above, middle, high)

    ends = jnp.zeros_like(block), jnp.full_like(block, sizes.draw_block - 1)
    num_halvings = max(1, math.ceil(math.log2(sizes.draw_block)))
    _, row = jax.lax.fori_loop(0, num_halvings, halve, ends)
    row = shards.owned(row, shards.has(state.running, block))
    # rounding may give a row of bound 0, or padding: `accept` rejects it
    indices = jnp.minimum(block * sizes.draw_block + row, len(state.bound) * shards.count - 1)
    return Proposals(indices.astype(jnp.int32), accepting)


def accept(
    state: Seeding,
    proposals: Proposals,
    candidates: Points,
    wanted: jax.Array,
    sizes: Sizes,
    shards: Shards = ALONE,
) -> Seeding:
    """Processes one batch of proposals in order. Each is accepted if and only if u·U < D², and is then pending.

    Args:
        state: `Seeding`.
        proposals: `Proposals` [m].
        candidates: `Points` [m], the rows proposed.
        wanted: scalar int32, how many rows to choose; the rest of the batch is discarded once they are chosen.
        sizes: the sizes.
        shards: how the pool lies on devices.

    Returns:
        `Seeding` after the batch.
    """
    bound = shards.take(state.bound, proposals.indices)  # 0 for rows chosen since the last fold
    thresholds = proposals.uniforms * bound
    is_open = _still_open(state, candidates, thresholds, bound, sizes)
    is_same = proposals.indices[:, None] == proposals.indices[None, :]
    is_pair = ~is_same & is_open[:, None] & is_open[None, :]
    among = squared_distances(candidates, candidates, is_pair, state.origin)
    among = jnp.where(is_same, 0.0, jnp.where(state.is_flat, jnp.inf, among))

    is_accepted = _accepted_in_order(is_open, ~(thresholds[:, None] < among))
    is_accepted &= jnp.cumsum(is_accepted) <= wanted - state.num_chosen
    num_accepted = jnp.sum(is_accepted, dtype=jnp.int32)
    accepted = _true_first(is_accepted)  # the rejected ones behind them are overwritten later
    chosen = proposals.indices[accepted]
    cost = sizes.proposals * (state.num_pending.astype(jnp.float32) + sizes.proposals + sizes.batch_cost)
    can_lower = _can_lower(candidates.squared_norms, state.extents, state.origin) & is_accepted[None, :]
    return state._replace(
        chosen=_write(state.chosen, chosen, state.num_chosen),
        num_chosen=state.num_chosen + num_accepted,
        bound=shards.put(state.bound, jnp.where(is_accepted, proposals.indices, -1), 0.0),
        pending=jax.tree.map(
            lambda whole, part: _write(whole, part[accepted], state.num_pending), state.pending, candidates
        ),
        num_pending=state.num_pending + num_accepted,
        num_batches=state.num_batches + 1,
        spent=state.spent + cost,
        to_fold=state.to_fold + float(sizes.stride) * jnp.sum(can_lower, dtype=jnp.float32),
    )


def _still_open(
    state: Seeding, candidates: Points, thresholds: jax.Array, bound: jax.Array, sizes: Sizes
) -> jax.Array:
    """Which candidates have D² > threshold, as far as the pending centres decide.

    All are compared with the first block of centres. Most that are rejected are within their threshold of one
    of these; the others alone are compared with the rest.

    Args:
        state: `Seeding`.
        candidates: `Points` [m].
        thresholds: [m] float32, u·U.
        bound: [m] float32, U.
        sizes: the sizes.

    Returns:
        [m] bool.
    """
    tile, block = min(len(candidates), sizes.test_tile), sizes.test_block
    # if Φ = 0, all distances count as infinite, so that the bound alone decides
    num_pending = jnp.where(state.is_flat, 0, state.num_pending)
    num_first = jnp.minimum(num_pending, block)

    def compare(turn: jax.Array, is_open: jax.Array) -> jax.Array:
        order, number = _true_first(is_open), jnp.where(turn == 0, num_first, num_pending - num_first)

        def block_at(i: jax.Array) -> Points:
            return state.pending.block(turn * block + i, block)

        def compare_tile(i: jax.Array, is_open: jax.Array) -> jax.Array:
            places = jax.lax.dynamic_slice_in_dim(order, i * tile, tile)
            centers = CenterBlocks(block_at, block, number, state.origin)
            nearest = nearest_center(candidates[places], centers, bound[places])
            return is_open.at[places].set(is_open[places] & (thresholds[places] < nearest))

        num_tiles = jnp.where(number > 0, (jnp.sum(is_open) + tile - 1) // tile, 0)
        return jax.lax.fori_loop(0, num_tiles, compare_tile, is_open)

    return jax.lax.fori_loop(0, 2, compare, thresholds < bound)


def _accepted_in_order(is_open: jax.Array, conflicts: jax.Array) -> jax.Array:
    """Which proposals are accepted if each in turn is, unless it conflicts with one accepted before it.

    Args:
        is_open: [m] bool, proposals that are accepted if no other is.
        conflicts: [m, m] bool, whether the proposal of the row is rejected if that of the column is accepted.

    Returns:
        [m] bool.
    """
    earlier = jnp.tril(conflicts, -1)

    def again(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        _, accepted = carry
        return accepted, is_open & ~jnp.any(earlier & accepted[None, :], axis=1)

    # each turn settles at least one more proposal; most have no conflict, so a few turns are enough
    _, accepted = jax.lax.while_loop(
        lambda carry: jnp.any(carry[0] != carry[1]), again, again((is_open, is_open))
    )
    return accepted


def is_fold_due(state: Seeding, sizes: Sizes) -> jax.Array:
    """Whether centres are pending, and either tests have cost as much as a fold would or room runs out."""
    is_full = state.num_pending > sizes.capacity - sizes.proposals
    is_worth_it = state.spent >= state.to_fold + state.num_free * float(sizes.pass_cost)
    return (state.num_pending > 0) & (is_full | is_worth_it)


def extent_of(norms: jax.Array, bound: jax.Array) -> Extents:
    """The `Extents` [1] of one block of rows, from their squared ``norms`` and ``bound``, [block] float32 each.

    Rows whose bound is 0 do not count.
    """
    lengths, is_counted = jnp.sqrt(norms), bound > 0
    return Extents(
        shortest=jnp.min(lengths, where=is_counted, initial=jnp.inf, keepdims=True),
        longest=jnp.max(lengths, where=is_counted, initial=0.0, keepdims=True),
        highest=jnp.max(bound, where=is_counted, initial=0.0, keepdims=True),
    )


def sample_places(n: int, sizes: Sizes) -> jax.Array:
    """Rows spread over a pool of n rows, one of every ``sizes.stride``: [sample] int32."""
    return jnp.arange(0, n, sizes.stride, dtype=jnp.int32)


def sample_extents(norms: jax.Array, bound: jax.Array, sizes: Sizes, shards: Shards = ALONE) -> Extents:
    """The `Extents` [sample] of `sample_places`, each row a block of its own.

    Args:
        norms: [n] float32 (part), squared norms.
        bound: [n] float32 (part), U.
        sizes: the sizes.
        shards: how the pool lies on devices.
    """
    norms, bound = shards.take((norms, bound), sample_places(len(bound) * shards.count, sizes))
    lengths, is_counted = jnp.sqrt(norms), bound > 0
    return Extents(jnp.where(is_counted, lengths, jnp.inf), jnp.where(is_counted, lengths, 0.0), bound)


def centers_that_matter(state: Seeding, extents: Extents) -> jax.Array:
    """Which pending centres can lower a bound in each block: [blocks, p] bool."""
    is_center = jnp.arange(len(state.pending)) < state.num_pending
    return _can_lower(state.pending.squared_norms, extents, state.origin) & is_center[None, :]


def _can_lower(norms: jax.Array, extents: Extents, origin: jax.Array) -> jax.Array:
    """Whether centres of squared ``norms`` [m] may lower the bound of a row in each block: [blocks, m] bool."""
    return _least_squared_distance(jnp.sqrt(norms)[None, :], extents, origin) < extents.highest[:, None]


def _least_squared_distance(lengths: jax.Array, extents: Extents, origin: jax.Array) -> jax.Array:
    """(‖x‖ − ‖c‖)² ≤ ‖x − c‖² for the x in the block with the nearest norm: [blocks, m] float32.

    It is less by what a distance by matrix products may lack. So no distance computed is below it, and a centre
    that is skipped would have left every bound as it is, to the last bit.
    """
    rounding = 4 * EPSILON * lengths
    beyond = jnp.maximum(lengths - extents.longest[:, None], extents.shortest[:, None] - lengths)
    scale = lengths**2 + extents.longest[:, None] ** 2 + 2 * jnp.sum(origin**2)
    return jnp.maximum(beyond - rounding, 0.0) ** 2 - 64 * EPSILON * scale


def fold_rows(state: Seeding, points: Points, bound: jax.Array, sizes: Sizes) -> jax.Array:
    """Folds the pending centres into the bounds of one block of rows: min(U, squared distances).

    Args:
        state: `Seeding`.
        points: `Points` [block].
        bound: [block] float32, U.
        sizes: the sizes.

    Returns:
        [block] float32.
    """
    matters = centers_that_matter(state, extent_of(points.squared_norms, bound))[0]
    order = _true_first(matters)

    def block_at(i: jax.Array) -> Points:
        return state.pending[jax.lax.dynamic_slice_in_dim(order, i, sizes.fold_block)]

    blocks = CenterBlocks(block_at, sizes.fold_block, jnp.sum(matters), state.origin)
    return nearest_center(points, blocks, bound)


def finish_fold(state: Seeding, free: jax.Array, extents: Extents, sizes: Sizes) -> Seeding:
    """The state after the last block of a fold: no centre is pending, and the next draws have their sums.

    Args:
        state: `Seeding` whose bounds are lowered.
        free: [n] bool, rows that were available at the start.
        extents: as in `Seeding`, from the new bounds.
        sizes: the sizes.

    Returns:
        `Seeding`.
    """
    return with_sums(without_pending(state)._replace(extents=extents), free, sizes)


def without_pending(state: Seeding) -> Seeding:
    """The state once the pending centres are folded."""
    zero = jnp.float32(0)
    return state._replace(num_pending=jnp.int32(0), spent=zero, to_fold=zero)


def with_sums(state: Seeding, free: jax.Array, sizes: Sizes, shards: Shards = ALONE) -> Seeding:
    """The state with the sums of its bounds, from which proposals are drawn.

    Args:
        state: `Seeding` with new bounds.
        free: [n] bool (part), rows that were available at the start.
        sizes: the sizes.
        shards: how the pool lies on devices.

    Returns:
        `Seeding`. It is flat if every bound is 0.
    """
    is_chosen = jnp.arange(state.chosen.shape[0]) < state.num_chosen
    free = shards.put(free, jnp.where(is_chosen, state.chosen, -1), False)
    bound = jnp.where(free, state.bound, 0.0)
    is_flat = state.is_flat | ~shards.any((bound > 0) | jnp.isnan(bound))
    bound = jnp.where(is_flat, free.astype(jnp.float32), bound)
    running = jnp.cumsum(
        jnp.pad(bound, (0, -len(bound) % sizes.draw_block)).reshape(-1, sizes.draw_block), axis=1
    )
    totals = jnp.cumsum(block_totals(running[:, -1], sizes.draw_block, shards))
    return state._replace(bound=bound, running=running, totals=totals, is_flat=is_flat)


def _true_first(mask: jax.Array) -> jax.Array:
    """The places where ``mask`` [m] is True, in order, then the others: [m] int32."""
    return jnp.argsort(~mask, stable=True)


def _write(whole: jax.Array, part: jax.Array, start: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)


@partial(jax.jit, static_argnames="first")
def jitted_draw_first(key: jax.Array, norms: jax.Array, free: jax.Array, first: str) -> jax.Array:
    return draw_first(jax.random.fold_in(key, 0), norms, free, first)


@partial(jax.jit, static_argnames=("k", "num_extents", "sizes"))
def jitted_start(
    first: Rows,
    index: jax.Array,
    free: jax.Array,
    k: int,
    num_extents: int,
    sizes: Sizes,
    origin: jax.Array,
) -> Seeding:
    state = start_seeding(as_points(first), index, k, free, num_extents, sizes, origin)
    return state._replace(bound=state.bound.at[index].set(0.0))


@partial(jax.jit, static_argnames="sizes")
def jitted_propose(key: jax.Array, state: Seeding, sizes: Sizes) -> Proposals:
    return propose(jax.random.fold_in(key, 1 + state.num_batches), state, sizes)


@partial(jax.jit, static_argnames="sizes", donate_argnames="state")
def jitted_accept(
    state: Seeding, proposals: Proposals, candidates: Rows, wanted: jax.Array, sizes: Sizes
) -> tuple[Seeding, jax.Array]:
    state = accept(state, proposals, as_points(candidates), wanted, sizes)
    return state, is_fold_due(state, sizes)


jitted_finish_fold = jax.jit(finish_fold, static_argnames="sizes", donate_argnames="state")


@jax.jit
def tiles_that_matter(state: Seeding) -> jax.Array:
    """Whether a pending centre can lower a bound in each tile: [tiles] bool."""

    def matters(extents: Extents) -> jax.Array:
        return jnp.any(centers_that_matter(state, jax.tree.map(lambda a: a[None], extents)))

    return jax.lax.map(matters, state.extents)


@partial(jax.jit, static_argnames="sizes")
def fold_tile(state: Seeding, tile: Rows, bound: jax.Array, sizes: Sizes) -> tuple[jax.Array, Extents]:
    points = as_points(tile)
    bound = fold_rows(state, points, bound, sizes)
    return bound, extent_of(points.squared_norms, bound)
