"""k-means++ seeding with the exact law in a few passes over the pool, by proposals and rejection.

A bound U(x) ≥ D²(x) is kept: the squared distance to the centres *folded* into it; the centres chosen since
are *pending*. A proposal X ~ U/ΣU is accepted with probability D²(X)/U(X), where D²(X) needs only the distances
from X to the pending centres. An accepted X has the law D²/Φ whatever U is, so the picks are those of
`kmeans_plusplus` in law. Most picks cost a look at a few hundred rows; the pool is passed over once at the
start, and again only when so many proposals are rejected that folding the pending centres is cheaper.

Why the law is exact: P(X = x and accepted) = U(x)/ΣU · D²(x)/U(x) = D²(x)/ΣU, so P(x | accepted) = D²(x)/Φ.
Proposals are drawn in batches, processed in order, and what is left of a batch is thrown away when the last
pick is made; when to fold follows from processed proposals alone.

A fold takes the rows in order of their norms, a tile at a time, and leaves out the centres whose norms are so
far from the tile's that they cannot lower its bounds: ‖x − c‖ ≥ |‖x‖ − ‖c‖|.

The idea of block proposals with rejection is that of accelerated RPCholesky (Epperly, Tropp and Webber 2024,
arXiv 2410.03969); rejection for k-means++ appears in Cohen-Addad et al. 2020 (arXiv 2012.11891) and Shah et al.
2025 (arXiv 2502.02085).

The steps are pure, so that any loop may drive them: `propose` and `accept`, `fold_tile`, `finish_fold`. Here it
is a loop on the device over a pool held there; `streamed.py` drives them over a pool that is read in tiles.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    Centers,
    Rows,
    as_centers,
    at_unit_scale,
    check_rows,
    squared_distances,
    squared_distances_to_row,
    squared_norms,
    take_rows,
)
from badge_jax.samplers._kmeans_plusplus import check_first, draw_first
from badge_jax.samplers.checks import availability, check_count
from badge_jax.samplers.draw import default_tile

_PENDING_ENTRIES = 2**26  # floats kept of pending centres at most: 256 MiB


class Plan(NamedTuple):
    """Sizes that depend on (n, c, d) only.

    tile:      rows folded at a time
    fold_block, test_block: pending centres in one matrix product, when folded and when tested against
    proposals: proposals drawn at a time
    draw_tile: rows in a tile of the two-level draw
    capacity:  pending centres kept at most; a fold is forced before more
    sample:    rows by which the work of a fold is estimated
    pass_cost, batch_cost: what a row of a fold and a proposal cost besides their distances, in distances to
               one centre
    """

    tile: int
    fold_block: int
    test_block: int
    proposals: int
    draw_tile: int
    capacity: int
    sample: int
    pass_cost: int = 64
    batch_cost: int = 1000


class Extents(NamedTuple):
    """What tells which centres can matter to the rows of a tile.

    shortest, longest: [tiles] float32, least and greatest norm of its rows
    highest:           [tiles] float32, the greatest bound U of its rows
    """

    shortest: jax.Array
    longest: jax.Array
    highest: jax.Array


class Seeding(NamedTuple):
    """What the seeder carries.

    chosen:          [k + proposals] int32, in the order drawn; meaningless from num_chosen on
    num_chosen:      scalar int32
    bound:           [n] float32, U; 0 for rows that are not available or folded
    running:         [tiles, draw_tile] float32, cumulative sums of U inside each tile of the draw
    totals:          [tiles] float32, cumulative sums of the tiles' sums
    pending:         `Centers` [p] chosen since the last fold, padded
    pending_indices: [p] int32, their row numbers
    num_pending:     scalar int32
    num_batches:     scalar int32, batches of proposals processed
    spent:           scalar float32, distances computed for proposals since the last fold
    extents:         `Extents` of equal parts of the pool, or of a sample of it, as of the last fold
    to_fold:         scalar float32, distances that folding would compute, by the extents
    is_flat:         scalar bool, Φ = 0: the bound is 1 for every row that may still be drawn
    """

    chosen: jax.Array
    num_chosen: jax.Array
    bound: jax.Array
    running: jax.Array
    totals: jax.Array
    pending: Centers
    pending_indices: jax.Array
    num_pending: jax.Array
    num_batches: jax.Array
    spent: jax.Array
    extents: Extents
    to_fold: jax.Array
    is_flat: jax.Array


class Proposals(NamedTuple):
    """indices: [m] int32, rows drawn from the bound. uniforms: [m] float32, one for each acceptance."""

    indices: jax.Array
    uniforms: jax.Array


def make_plan(n: int, c: int, d: int) -> Plan:
    """The sizes for n rows of c·d."""
    return Plan(
        tile=min(n, 1024),
        fold_block=min(n, 64),
        test_block=min(n, 256),
        proposals=min(n, 256),
        draw_tile=default_tile(n),
        capacity=max(512, _PENDING_ENTRIES // (c + d)),
        sample=min(n, 512),
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
    Memory beyond the pool: a scaled copy of ``left`` (n·c floats), about 4n floats, the rows of
    min(k, capacity) centres (256 MiB at most), one tile.

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
        return accept(state, proposals, take_rows(rows, proposals.indices), wanted, plan)

    def fold(state: Seeding) -> jax.Array:
        order = jnp.argsort(norms)

        def fold_one(tile: jax.Array, bound: jax.Array) -> jax.Array:
            indices = jax.lax.dynamic_slice_in_dim(
                order, jnp.minimum(tile * plan.tile, n - plan.tile), plan.tile
            )
            tile_norms, tile_bound = norms[indices], bound[indices]
            tile_bound = jax.lax.cond(
                jnp.any(centers_that_matter(state, extent_of(tile_norms, tile_bound))),
                lambda: fold_tile(state, take_rows(rows, indices), tile_norms, tile_bound, plan),
                lambda: tile_bound,
            )
            return bound.at[indices].set(tile_bound)

        return jax.lax.fori_loop(0, -(-n // plan.tile), fold_one, state.bound)

    def run_and_fold(state: Seeding) -> Seeding:
        state = finish_fold(state, free, _sample_extents(norms, state.bound, plan), plan)
        state = jax.lax.while_loop(lambda s: is_unfinished(s) & ~is_fold_due(s, n, plan), test_batch, state)
        # nothing to fold for once the picks are complete, nor when every distance is 0 already
        is_useful = is_unfinished(state) & ~state.is_flat
        return state._replace(bound=jax.lax.cond(is_useful, fold, lambda state: state.bound, state))

    index = draw_first(jax.random.fold_in(key, 0), norms, free, first)
    state = start_seeding(take_rows(rows, index[None]), index, k, n, plan.sample, plan)
    # one centre alone: a pass that need not go by tiles
    state = state._replace(bound=squared_distances_to_row(rows, norms, index))
    state = jax.lax.while_loop(is_unfinished, run_and_fold, state)
    return jnp.where(jnp.arange(k) < state.num_chosen, state.chosen[:k], -1)


def start_seeding(first: Rows, index: jax.Array, k: int, n: int, num_extents: int, plan: Plan) -> Seeding:
    """The state with the first centre pending and no row bounded yet; a fold comes next.

    first: the first centre's `Rows` [1], index its row number, −1 for none
    """
    block = math.lcm(plan.fold_block, plan.test_block)
    num_kept = -(-(min(k, plan.capacity) + plan.proposals) // block) * block
    num_draw_tiles = -(-n // plan.draw_tile)
    unknown = jnp.full(num_extents, jnp.inf, jnp.float32)
    return Seeding(
        chosen=jnp.full(k + plan.proposals, -1, jnp.int32).at[0].set(index),
        num_chosen=jnp.int32(1),
        bound=jnp.full(n, jnp.inf, jnp.float32),
        running=jnp.zeros((num_draw_tiles, plan.draw_tile), jnp.float32),
        totals=jnp.zeros(num_draw_tiles, jnp.float32),
        pending=jax.tree.map(
            lambda a: jnp.zeros((num_kept, *a.shape[1:]), jnp.float32).at[0].set(a[0]), as_centers(first)
        ),
        pending_indices=jnp.full(num_kept, -1, jnp.int32).at[0].set(index),
        num_pending=jnp.int32(1),
        num_batches=jnp.int32(0),
        spent=jnp.float32(0),
        extents=Extents(jnp.zeros(num_extents, jnp.float32), unknown, unknown),
        to_fold=jnp.float32(0),
        is_flat=jnp.array(False),
    )


def propose(key: jax.Array, state: Seeding, plan: Plan) -> Proposals:
    """``plan.proposals`` independent rows, P(x) ∝ U(x), in two levels, and a uniform for each."""
    uniforms = jax.random.uniform(key, (3, plan.proposals), jnp.float32)
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


def accept(state: Seeding, proposals: Proposals, candidates: Rows, wanted: jax.Array, plan: Plan) -> Seeding:
    """Processes one batch of proposals in order: each is accepted iff u·U < D², and is then pending.

    candidates: the proposals' `Rows` [m]
    wanted:     scalar int32; the rest of the batch is thrown away when so many rows are chosen
    """
    centers = as_centers(candidates)
    bound = state.bound[proposals.indices]
    thresholds = proposals.uniforms * bound
    everyone = jnp.arange(state.pending_indices.shape[0])
    nearest = nearest_center(
        state.pending, everyone, state.num_pending, candidates, centers.norms, bound, plan.test_block
    )
    among = squared_distances(candidates, centers.norms, centers)
    # Φ = 0: all distances count as infinite, so that the bound alone decides
    nearest, among = (jnp.where(state.is_flat, jnp.inf, distances) for distances in (nearest, among))
    nearest = jnp.minimum(nearest, bound)
    nearest = jnp.where(_is_pending(state, proposals.indices), 0.0, nearest)
    among = jnp.where(proposals.indices[:, None] == proposals.indices[None, :], 0.0, among)

    is_accepted = _accepted_in_order(thresholds < nearest, ~(thresholds[:, None] < among))
    is_accepted &= jnp.cumsum(is_accepted) <= wanted - state.num_chosen
    num_accepted = jnp.sum(is_accepted, dtype=jnp.int32)
    accepted = _true_first(is_accepted)  # what follows those accepted is overwritten later
    chosen = proposals.indices[accepted]
    cost = plan.proposals * (state.num_pending.astype(jnp.float32) + plan.proposals + plan.batch_cost)
    can_lower = _can_lower(centers.norms, state.extents) & is_accepted[None, :]
    share = jnp.mean(can_lower, axis=0, dtype=jnp.float32)  # of the pool, for each
    return state._replace(
        chosen=_write(state.chosen, chosen, state.num_chosen),
        num_chosen=state.num_chosen + num_accepted,
        pending=jax.tree.map(
            lambda whole, part: _write(whole, part[accepted], state.num_pending), state.pending, centers
        ),
        pending_indices=_write(state.pending_indices, chosen, state.num_pending),
        num_pending=state.num_pending + num_accepted,
        num_batches=state.num_batches + 1,
        spent=state.spent + cost,
        to_fold=state.to_fold + float(state.bound.shape[0]) * jnp.sum(share),
    )


def _accepted_in_order(is_open: jax.Array, conflicts: jax.Array) -> jax.Array:
    """Who is accepted when each is, in turn, unless it conflicts with one accepted before: [m] bool.

    is_open:   [m] bool, who is accepted if nobody else is
    conflicts: [m, m] bool, whether the row's proposal is turned down once the column's is accepted
    """
    earlier = jnp.tril(conflicts, -1)

    def again(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        _, accepted = carry
        return accepted, is_open & ~jnp.any(earlier & accepted[None, :], axis=1)

    # one more of the first is right after each turn, and most conflict with nobody: a few turns do
    _, accepted = jax.lax.while_loop(
        lambda carry: jnp.any(carry[0] != carry[1]), again, again((is_open, is_open))
    )
    return accepted


def is_fold_due(state: Seeding, n: int, plan: Plan) -> jax.Array:
    """Whether there are centres to fold, and testing has cost as much as folding would, or room runs out."""
    is_full = state.num_pending > plan.capacity - plan.proposals
    is_worth_it = state.spent >= state.to_fold + float(n) * plan.pass_cost
    return (state.num_pending > 0) & (is_full | is_worth_it)


def extent_of(norms: jax.Array, bound: jax.Array) -> Extents:
    """The `Extents` of one tile of rows, from their squared norms and bounds [tile]: [1] each."""
    lengths, is_counted = jnp.sqrt(norms), bound > 0
    return Extents(
        shortest=jnp.min(lengths, where=is_counted, initial=jnp.inf, keepdims=True),
        longest=jnp.max(lengths, where=is_counted, initial=0.0, keepdims=True),
        highest=jnp.max(bound, where=is_counted, initial=0.0, keepdims=True),
    )


def _sample_extents(norms: jax.Array, bound: jax.Array, plan: Plan) -> Extents:
    """The `Extents` of rows spread over the pool, each as a tile of its own: [sample] each."""
    rows = jnp.arange(plan.sample) * (norms.shape[0] // plan.sample)
    lengths = jnp.sqrt(norms[rows])
    return Extents(lengths, lengths, bound[rows])


def centers_that_matter(state: Seeding, extents: Extents) -> jax.Array:
    """Which pending centres can lower a bound in each tile: [tiles, p] bool; where none can, there is nothing
    to fold."""
    is_center = jnp.arange(state.pending_indices.shape[0]) < state.num_pending
    return _can_lower(state.pending.norms, extents) & is_center[None, :]


def _can_lower(norms: jax.Array, extents: Extents) -> jax.Array:
    """Whether a centre of squared norm ``norms`` [m] may be nearer than its bound to a row: [tiles, m] bool."""
    return _least_squared_distance(jnp.sqrt(norms)[None, :], extents) < extents.highest[:, None]


def _least_squared_distance(lengths: jax.Array, extents: Extents) -> jax.Array:
    """(‖x‖ − ‖c‖)² ≤ ‖x − c‖² at the x of the tile whose norm is nearest: [tiles, m] float32."""
    beyond = jnp.maximum(lengths - extents.longest[:, None], extents.shortest[:, None] - lengths)
    return jnp.maximum(beyond, 0.0) ** 2


def fold_tile(state: Seeding, rows: Rows, norms: jax.Array, bound: jax.Array, plan: Plan) -> jax.Array:
    """The bound of one tile of rows after its pending centres: min(U, squared distances), [tile] float32."""
    matters = centers_that_matter(state, extent_of(norms, bound))[0]
    return nearest_center(
        state.pending, _true_first(matters), jnp.sum(matters), rows, norms, bound, plan.fold_block
    )


def finish_fold(state: Seeding, free: jax.Array, extents: Extents, plan: Plan) -> Seeding:
    """The state after the last tile of a fold: no centre pending, sums ready for the next draws.

    free:    [n] bool, rows that were available at the start
    extents: as in `Seeding`, with the new bounds
    """
    is_chosen = jnp.arange(state.chosen.shape[0]) < state.num_chosen
    chosen = jnp.where(is_chosen, state.chosen, free.shape[0])  # what is out of range is dropped
    free = free.at[chosen].set(False, mode="drop")
    bound = jnp.where(free, state.bound, 0.0)
    is_flat = state.is_flat | (jnp.sum(bound) <= 0)
    bound = jnp.where(is_flat, free.astype(jnp.float32), bound)
    running, totals = _cumulative(bound, plan)
    return state._replace(
        bound=bound,
        running=running,
        totals=totals,
        num_pending=jnp.int32(0),
        spent=jnp.float32(0),
        extents=extents,
        to_fold=jnp.float32(0),
        is_flat=is_flat,
    )


def nearest_center(
    centers: Centers,
    order: jax.Array,
    count: jax.Array,
    rows: Rows,
    norms: jax.Array,
    start: jax.Array,
    block: int,
) -> jax.Array:
    """min(start, squared distance to the nearest of the first ``count`` centres in ``order``): [m] float32, a
    block of centres at a time."""

    def nearer(i: jax.Array, nearest: jax.Array) -> jax.Array:
        taken = jax.lax.dynamic_slice_in_dim(order, i * block, block)
        distances = squared_distances(rows, norms, jax.tree.map(lambda a: a[taken], centers))
        is_counted = i * block + jnp.arange(block) < count
        return jnp.minimum(nearest, jnp.min(jnp.where(is_counted[None, :], distances, jnp.inf), axis=1))

    return jax.lax.fori_loop(0, (count + block - 1) // block, nearer, start)


def _true_first(mask: jax.Array) -> jax.Array:
    """The places where ``mask`` [m] is True, in order, then others: [m] int32."""
    return jnp.argsort(~mask, stable=True)


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
