"""k-means++ seeding with the exact law in a few passes over the pool, by proposals and rejection.

A bound U(x) ≥ D²(x) is kept: the squared distance to the centres *folded* into it; the centres chosen since
are *pending*. A proposal X ~ U/ΣU is accepted with probability D²(X)/U(X), where D²(X) needs only the distances
from X to the pending centres. An accepted X has the law D²/Φ whatever U is, so the picks are those of
`kmeans_plusplus` in law. Most picks cost a look at a few hundred rows; the pool is passed over once at the
start, and again only when so many proposals are rejected that folding the pending centres is cheaper.

Why the law is exact: P(X = x and accepted) = U(x)/ΣU · D²(x)/U(x) = D²(x)/ΣU, so P(x | accepted) = D²(x)/Φ.
Proposals are drawn in batches, processed in order, and what is left of a batch is thrown away when the last
pick is made; when to fold follows from counts of processed proposals alone.

The idea of block proposals with rejection is that of accelerated RPCholesky (Epperly, Tropp and Webber 2024,
arXiv 2410.03969); rejection for k-means++ appears in Cohen-Addad et al. 2020 (arXiv 2012.11891) and Shah et al.
2025 (arXiv 2502.02085).

The steps are pure, so that any loop may drive them: `propose` and `accept`, `fold_tile`, `finish_fold`.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    Rows,
    at_unit_scale,
    check_rows,
    squared_distances,
    squared_distances_to_row,
    squared_norms,
    take_rows,
)
from badge_jax.samplers.checks import availability, check_count
from badge_jax.samplers.draw import default_tile
from badge_jax.samplers.kmeans_plusplus import check_first, draw_first

_PENDING_ENTRIES = 2**26  # floats kept of pending centres at most: 256 MiB


class Plan(NamedTuple):
    """Sizes that depend on (n, c, d) only.

    tile:      rows folded at a time
    block:     pending centres in one matrix product
    proposals: proposals drawn at a time
    draw_tile: rows in a tile of the two-level draw
    capacity:  pending centres kept at most; a fold is forced before more
    pass_cost, batch_cost: what a pass over the pool and a proposal cost besides their distances, in
               distances to one centre
    """

    tile: int
    block: int
    proposals: int
    draw_tile: int
    capacity: int
    pass_cost: int = 12
    batch_cost: int = 1000


class Seeding(NamedTuple):
    """What the seeder carries.

    chosen:          [k + proposals] int32, in the order drawn; meaningless from num_chosen on
    num_chosen:      scalar int32
    bound:           [n] float32, U; 0 for rows that are not available or folded
    running:         [tiles, draw_tile] float32, cumulative sums of U inside each tile of the draw
    totals:          [tiles] float32, cumulative sums of the tiles' sums
    pending:         `Rows` of the centres chosen since the last fold, padded
    pending_norms:   [p] float32, their squared norms
    pending_indices: [p] int32, their row numbers
    num_pending:     scalar int32
    num_batches:     scalar int32, batches of proposals processed
    spent:           scalar float32, cost of the batches since the last fold
    is_flat:         scalar bool, Φ = 0: the bound is 1 for every row that may still be drawn
    """

    chosen: jax.Array
    num_chosen: jax.Array
    bound: jax.Array
    running: jax.Array
    totals: jax.Array
    pending: Rows
    pending_norms: jax.Array
    pending_indices: jax.Array
    num_pending: jax.Array
    num_batches: jax.Array
    spent: jax.Array
    is_flat: jax.Array


class Proposals(NamedTuple):
    """indices: [m] int32, rows drawn from the bound. uniforms: [m] float32, one for each acceptance."""

    indices: jax.Array
    uniforms: jax.Array


def make_plan(n: int, c: int, d: int) -> Plan:
    """The sizes for n rows of c·d."""
    return Plan(
        tile=min(n, 4096),
        block=min(n, 128),
        proposals=min(n, 256),
        draw_tile=default_tile(n),
        capacity=max(512, _PENDING_ENTRIES // (c + d)),
    )


@partial(jax.jit, static_argnames=("k", "first", "_plan"))
def lazy_kmeans_plusplus(
    key: jax.Array,
    rows: Rows,
    k: int,
    *,
    available: jax.Array | None = None,
    first: str = "uniform",
    _plan: Plan | None = None,
) -> jax.Array:
    """k-means++ seeding with the law of `kmeans_plusplus`, much faster: see the module's docstring.

    The draws differ from those of `kmeans_plusplus` for the same key; their law does not. No row comes twice;
    when every D² is 0, the draw is uniform over what is still available. The first j picks equal ``k = j``.
    Memory beyond the pool: about 4n floats, the rows of min(k, capacity) centres (256 MiB at most), one tile.

    rows:      `Rows` of n embeddings, float32
    k:         how many to choose, 1 ≤ k ≤ n
    available: [n] bool, rows that may be chosen (others are neither candidates nor centres); None for all
    first:     the law of the first row: "uniform", "max_norm" or "norm", as in `kmeans_plusplus`
    Returns [k] int32, in the order drawn; −1 for the surplus when fewer than k rows are available, and from the
    first draw that meets a distance that is not finite.
    Raises ValueError for shapes and options that do not fit.
    Source: the law, Arthur and Vassilvitskii 2007; the rejection, see the module's docstring.
    """
    check_rows(rows)
    n, c, d = rows.left.shape[0], rows.left.shape[1], rows.right.shape[1]
    check_count(k, n)
    check_first(first)
    plan = make_plan(n, c, d) if _plan is None else _plan
    free = availability(available, n)
    rows = at_unit_scale(rows, free)
    norms = squared_norms(rows)
    wanted = jnp.minimum(k, jnp.sum(free))

    def is_unfinished(state: Seeding) -> jax.Array:
        # a total that is not finite comes from rows that are not: no law to draw from
        return (state.num_chosen < wanted) & jnp.isfinite(state.totals[-1])

    def test_batch(state: Seeding) -> Seeding:
        proposals = propose(jax.random.fold_in(key, 1 + state.num_batches), state, plan)
        candidates = take_rows(rows, proposals.indices)
        return accept(state, proposals, candidates, norms[proposals.indices], wanted, plan)

    def fold(state: Seeding) -> Seeding:
        # nothing to fold into once the picks are complete, nor when every distance is 0 already
        num_tiles = jnp.where(is_unfinished(state) & ~state.is_flat, -(-n // plan.tile), 0)

        def fold_one(tile: jax.Array, bound: jax.Array) -> jax.Array:
            start = jnp.minimum(tile * plan.tile, n - plan.tile)
            tile_rows, tile_norms, tile_bound = jax.tree.map(
                lambda a: jax.lax.dynamic_slice_in_dim(a, start, plan.tile), (rows, norms, bound)
            )
            tile_bound = fold_tile(state, tile_rows, tile_norms, tile_bound, plan)
            return jax.lax.dynamic_update_slice_in_dim(bound, tile_bound, start, 0)

        bound = jax.lax.fori_loop(0, num_tiles, fold_one, state.bound)
        return finish_fold(state, bound, free, plan)

    def run_until_fold(state: Seeding) -> Seeding:
        return fold(
            jax.lax.while_loop(lambda s: is_unfinished(s) & ~is_fold_due(s, n, plan), test_batch, state)
        )

    index = draw_first(jax.random.fold_in(key, 0), norms, free, first)
    state = _start(rows, norms, index, free, k, plan)
    state = jax.lax.while_loop(is_unfinished, run_until_fold, state)
    return jnp.where(jnp.arange(k) < state.num_chosen, state.chosen[:k], -1)


def propose(key: jax.Array, state: Seeding, plan: Plan) -> Proposals:
    """``plan.proposals`` independent rows, P(x) ∝ U(x), in two levels, and a uniform for each."""
    uniforms = jax.random.uniform(key, (3, plan.proposals))
    last_tile = state.totals.shape[0] - 1
    tile = jnp.searchsorted(state.totals, uniforms[0] * state.totals[-1], side="right")
    tile = jnp.minimum(tile, last_tile)
    target = uniforms[1] * state.running[tile, -1]

    def halve(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = carry
        middle = (low + high) // 2
        is_above = state.running[tile, middle] > target
        return jnp.where(is_above, low, middle + 1), jnp.where(is_above, middle, high)

    ends = jnp.zeros_like(tile), jnp.full_like(tile, plan.draw_tile - 1)
    num_halvings = max(1, math.ceil(math.log2(plan.draw_tile)))
    _, row = jax.lax.fori_loop(0, num_halvings, halve, ends)
    # rounding may leave a row of bound 0, or of the padding, here: accept turns it down
    indices = jnp.minimum(tile * plan.draw_tile + row, state.bound.shape[0] - 1)
    return Proposals(indices.astype(jnp.int32), uniforms[2])


def accept(
    state: Seeding, proposals: Proposals, candidates: Rows, norms: jax.Array, wanted: jax.Array, plan: Plan
) -> Seeding:
    """Processes one batch of proposals in order: each is accepted iff u·U < D², and is then pending.

    candidates: the proposals' `Rows` [m], norms their squared norms [m]
    wanted:     scalar int32; the rest of the batch is thrown away when so many rows are chosen
    """
    bound = state.bound[proposals.indices]
    thresholds = proposals.uniforms * bound
    nearest = _nearest_pending(state, candidates, norms, bound, plan)
    among = squared_distances(candidates, norms, candidates, norms)
    # Φ = 0: all distances count as infinite, so that the bound alone decides
    nearest, among = (jnp.where(state.is_flat, jnp.inf, distances) for distances in (nearest, among))
    nearest = jnp.minimum(nearest, bound)
    nearest = jnp.where(_is_pending(state, proposals.indices), 0.0, nearest)
    among = jnp.where(proposals.indices[:, None] == proposals.indices[None, :], 0.0, among)
    # D² only falls within a batch, so a proposal turned down now is turned down for good
    is_open = thresholds < nearest
    order = jnp.nonzero(is_open, size=plan.proposals, fill_value=0)[0]
    num_open, num_wanted = jnp.sum(is_open), wanted - state.num_chosen

    def judge(carry: tuple) -> tuple:
        i, num_accepted, accepted, nearest = carry
        proposal = order[i]
        is_accepted = thresholds[proposal] < nearest[proposal]
        accepted = accepted.at[num_accepted].set(proposal)  # overwritten unless accepted
        nearest = jnp.where(is_accepted, jnp.minimum(nearest, among[proposal]), nearest)
        return i + 1, num_accepted + is_accepted, accepted, nearest

    start = jnp.int32(0), jnp.int32(0), jnp.zeros_like(order), nearest
    _, num_accepted, accepted, _ = jax.lax.while_loop(
        lambda carry: (carry[0] < num_open) & (carry[1] < num_wanted), judge, start
    )
    cost = plan.proposals * (state.num_pending + plan.proposals + plan.batch_cost)
    chosen = proposals.indices[accepted]
    return state._replace(
        chosen=_write(state.chosen, chosen, state.num_chosen),
        num_chosen=state.num_chosen + num_accepted,
        pending=jax.tree.map(
            lambda whole, part: _write(whole, part, state.num_pending),
            state.pending,
            take_rows(candidates, accepted),
        ),
        pending_norms=_write(state.pending_norms, norms[accepted], state.num_pending),
        pending_indices=_write(state.pending_indices, chosen, state.num_pending),
        num_pending=state.num_pending + num_accepted,
        num_batches=state.num_batches + 1,
        spent=state.spent + cost,
    )


def is_fold_due(state: Seeding, n: int, plan: Plan) -> jax.Array:
    """Whether there are centres to fold, and testing has cost as much as folding would, or room runs out."""
    is_full = state.num_pending > plan.capacity - plan.proposals
    is_worth_it = state.spent >= n * (state.num_pending + plan.pass_cost).astype(jnp.float32)
    return (state.num_pending > 0) & (is_full | is_worth_it)


def fold_tile(state: Seeding, rows: Rows, norms: jax.Array, bound: jax.Array, plan: Plan) -> jax.Array:
    """The bound of one tile of rows after its pending centres: min(U, squared distances), [tile] float32."""
    return _nearest_pending(state, rows, norms, bound, plan)


def finish_fold(state: Seeding, bound: jax.Array, free: jax.Array, plan: Plan) -> Seeding:
    """The state after a fold that gave ``bound`` [n]: no centre pending, sums ready for the next draws.

    free: [n] bool, rows that were available at the start
    """
    is_chosen = jnp.arange(state.chosen.shape[0]) < state.num_chosen
    chosen = jnp.where(is_chosen, state.chosen, bound.shape[0])  # what is out of range is dropped
    free = free.at[chosen].set(False, mode="drop")
    bound = jnp.where(free, bound, 0.0)
    is_flat = state.is_flat | (jnp.sum(bound) <= 0)
    bound = jnp.where(is_flat, free.astype(jnp.float32), bound)
    running, totals = _cumulative(bound, plan)
    return state._replace(
        bound=bound,
        running=running,
        totals=totals,
        num_pending=jnp.int32(0),
        spent=jnp.float32(0),
        is_flat=is_flat,
    )


def _start(rows: Rows, norms: jax.Array, index: jax.Array, free: jax.Array, k: int, plan: Plan) -> Seeding:
    """The state after the first pick, folded."""
    n = norms.shape[0]
    num_kept = -(-(min(k, plan.capacity) + plan.proposals) // plan.block) * plan.block
    state = Seeding(
        chosen=jnp.full(k + plan.proposals, -1, jnp.int32).at[0].set(index),
        num_chosen=jnp.int32(1),
        bound=jnp.zeros(n, jnp.float32),
        running=jnp.zeros((-(-n // plan.draw_tile), plan.draw_tile), jnp.float32),
        totals=jnp.zeros(-(-n // plan.draw_tile), jnp.float32),
        pending=jax.tree.map(lambda a: jnp.zeros((num_kept, a.shape[1]), jnp.float32), rows),
        pending_norms=jnp.zeros(num_kept, jnp.float32),
        pending_indices=jnp.full(num_kept, -1, jnp.int32),
        num_pending=jnp.int32(0),
        num_batches=jnp.int32(0),
        spent=jnp.float32(0),
        is_flat=jnp.array(False),
    )
    return finish_fold(state, squared_distances_to_row(rows, norms, index), free, plan)


def _nearest_pending(state: Seeding, rows: Rows, norms: jax.Array, start: jax.Array, plan: Plan) -> jax.Array:
    """min(start, squared distance to the nearest pending centre): [m] float32, a block of centres at a time."""

    def nearer(block: jax.Array, nearest: jax.Array) -> jax.Array:
        first = block * plan.block
        centers, center_norms = jax.tree.map(
            lambda a: jax.lax.dynamic_slice_in_dim(a, first, plan.block), (state.pending, state.pending_norms)
        )
        distances = squared_distances(rows, norms, centers, center_norms)
        is_center = first + jnp.arange(plan.block) < state.num_pending
        return jnp.minimum(nearest, jnp.min(jnp.where(is_center[None, :], distances, jnp.inf), axis=1))

    num_blocks = (state.num_pending + plan.block - 1) // plan.block
    return jax.lax.fori_loop(0, num_blocks, nearer, start)


def _is_pending(state: Seeding, indices: jax.Array) -> jax.Array:
    """Which of ``indices`` [m] are pending centres: [m] bool."""
    is_center = jnp.arange(state.pending_indices.shape[0]) < state.num_pending
    return jnp.isin(indices, jnp.where(is_center, state.pending_indices, -1))


def _cumulative(bound: jax.Array, plan: Plan) -> tuple[jax.Array, jax.Array]:
    """Cumulative sums inside the tiles of the draw and over them."""
    tiles = jnp.pad(bound, (0, -bound.shape[0] % plan.draw_tile)).reshape(-1, plan.draw_tile)
    running = jnp.cumsum(tiles, axis=1)
    return running, jnp.cumsum(running[:, -1])


def _write(whole: jax.Array, part: jax.Array, start: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)
