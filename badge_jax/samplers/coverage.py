"""Greedy maximisation of coverage, C(S) = Σ_i w_i max_{s ∈ S} κ(x_i, s): which rows resemble most others.

It is the facility location problem; with a top-hat kernel it is maximum coverage. Gains only fall as rows are
chosen, so `lazy_greedy` needs few of them. No n × n array is ever held: the first gains are summed over tiles,
and a step holds the distances of some candidates to all targets. Distances are kept, not similarities: so the
rise from κ(q) to κ(d) keeps its digits where both are near 1.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    EPSILON,
    NEAR,
    Points,
    Rows,
    as_points,
    blocks_at,
    check_rows,
    nearest_center,
    places_of,
    squared_distances,
    squared_distances_to_row,
)
from badge_jax.samplers.checks import availability, check_count
from badge_jax.samplers.lazy_greedy import Candidates, Greedy, Picks, continued, has_next

KERNELS = ("rbf", "top_hat")
_TILE = 1024  # rows and targets in one matrix product
_BLOCK = 256  # centres in one
_WIDE = 8192  # targets in one where the rows are few
_MOST_HELD = 2**25  # distances of rows to targets that are held, 128 MiB
_MOST_CANDIDATES = 512
_AT_ONCE = 64  # gains computed together
_WORN = 3  # share of the rows looked at one by one, 1/3, that costs as much as all gains anew
_MARGIN = 1e-5  # by how much two sums of the same gain may differ
_NOISE = 1e-4  # error of a similarity above which near rows are compared by subtraction
_ROUNDING = 16 * EPSILON  # by how much two distances may differ that are equal, relative to the squared norms


@partial(jax.jit, static_argnames=("k", "kernel"))
def coverage_greedy(
    rows: Rows,
    k: int,
    *,
    bandwidth: float | jax.Array,
    kernel: str = "rbf",
    weights: jax.Array | None = None,
    available: jax.Array | None = None,
    centers: jax.Array | None = None,
    targets: jax.Array | None = None,
) -> jax.Array:
    """Chooses k times the row j that adds most coverage, Σ_i w_i max(κ(x_i, x_j) − m_i, 0).

    m_i is the greatest similarity of target i to a centre or a row chosen. With σ the ``bandwidth``, κ(x, y) is
    exp(−‖x − y‖²/σ²) for "rbf", and 1 where ‖x − y‖ < σ, else 0, for "top_hat". Greedy choice covers at least
    1 − 1/e of what the best k rows cover. Ties go to the lower index. Once no row adds anything, each next row
    is the one furthest from all centres and picks. The first j rows equal the answer for ``k = j``.

    Args:
        rows: `Rows` of n embeddings, float32; for most uses of length 1.
        k: how many to choose, 1 ≤ k ≤ n.
        bandwidth: scalar float32, σ > 0, in the unit of the rows; may be traced.
        kernel: "rbf" or "top_hat".
        weights: [n] float32, what it is worth to cover a row, 0 or more. None: 1.
        available: [n] bool, rows that may be chosen. None: all that are not centres.
        centers: [n] bool, rows that cover from the start; they are never chosen. None: no row.
        targets: [t] int32, the rows that are to be covered. None: all that are available or centres. Others
            count for nothing here either.

    Returns:
        [k] int32, in the order chosen. −1 for the surplus where fewer than k rows are available.

    Raises:
        ValueError: for shapes or a kernel that do not fit.

    References:
        Bae, Noh and Sutherland, ECCV 2024, arXiv 2407.12212 (generalized coverage). The guarantee: Nemhauser,
        Wolsey and Fisher 1978.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import dense_rows
        >>> from badge_jax.samplers import coverage_greedy
        >>> line = dense_rows(jnp.array([[0.0], [1.0], [2.0], [9.0]]))
        >>> coverage_greedy(line, 2, bandwidth=1.0).tolist()
        [1, 3]
    """
    check_rows(rows)
    n = len(rows)
    check_count(k, n)
    if kernel not in KERNELS:
        raise ValueError(f"kernel is {kernel!r}; wanted one of {', '.join(KERNELS)}")
    free = availability(available, n)
    centers = jnp.zeros(n, bool) if centers is None else availability(centers, n)
    free = free & ~centers
    worth = jnp.ones(n, jnp.float32) if weights is None else weights.astype(jnp.float32)
    worth = jnp.where(free | centers, worth, 0.0)
    points = as_points(rows)
    to_cover = _Targets(points, jnp.arange(n, dtype=jnp.int32), worth)
    if targets is not None:
        to_cover = _Targets(points[targets], targets.astype(jnp.int32), worth[targets])
    longest = jnp.max(jnp.where(free | centers, points.squared_norms, 0.0))
    similarity = _Kernel(kernel, jnp.float32(bandwidth) ** 2, longest)
    matters = to_cover.worth > 0
    nearest = jnp.where(matters, _to_centers(to_cover.points, points, centers, matters), 0.0)

    room = max(1, _MOST_HELD // len(to_cover.worth))  # rows
    at_once = min(n, _AT_ONCE, room)
    num_held = min(_MOST_CANDIDATES, room) // at_once * at_once
    nothing_held = _Held(
        jnp.zeros((num_held, len(to_cover.worth)), jnp.float32),
        jnp.full(num_held, n, jnp.int32),
        jnp.full(n, -1, jnp.int32),
        jnp.zeros(num_held, jnp.int32),
    )
    is_mutual = targets is None
    most_fetched = n // _WORN

    def is_worn(state: _State) -> jax.Array:
        return state.has_changed & (state.num_fetched > most_fetched)

    def renewed(greedy: Greedy) -> Greedy:
        """With the gains of all rows as bounds, and the choice that they allow until they are worn."""
        nearest = greedy.state.nearest
        if is_mutual:
            gains = _all_mutual_gains(to_cover, nearest, similarity)
        else:
            gains = _all_gains(points, to_cover, nearest, similarity)
        return continued(
            greedy._replace(
                bound=jnp.where(greedy.bound > -jnp.inf, gains, -jnp.inf),
                is_fresh=jnp.zeros(n, bool),
                state=greedy.state._replace(num_fetched=jnp.int32(0), has_changed=jnp.array(False)),
            ),
            pick,
            num_candidates=num_held,
            margin=_MARGIN,
            is_paused=is_worn,
        )

    def pick(state: _State, candidates: Candidates, most: jax.Array) -> tuple[_State, Picks]:
        return _choose(state, candidates, most, at_once, points, to_cover, similarity, is_worn)

    bound = jnp.where(free, jnp.float32(1), -jnp.inf)  # any, until it is renewed
    state = _State(nearest, nothing_held, jnp.int32(0), jnp.array(False))
    start = Greedy(jnp.zeros(k, jnp.int32), jnp.int32(0), bound, jnp.zeros(n, bool), state)
    greedy = jax.lax.while_loop(has_next, renewed, start)
    return _filled_with_furthest(points, free, centers, greedy.chosen, greedy.number)


class _Targets(NamedTuple):
    """What is to be covered.

    Attributes:
        points: `Points` [t].
        indices: [t] int32, their row numbers.
        worth: [t] float32.
    """

    points: Points
    indices: jax.Array
    worth: jax.Array


class _Kernel(NamedTuple):
    """A similarity κ of two rows, from their squared distance.

    Attributes:
        name: one of `KERNELS`.
        squared_bandwidth: scalar float32.
        longest: scalar float32, the greatest squared norm of a row that counts.
    """

    name: str
    squared_bandwidth: jax.Array
    longest: jax.Array

    @property
    def is_noisy(self) -> jax.Array:
        """Whether the rounding of a distance by matrix products matters."""
        return 8 * EPSILON * self.longest > _NOISE * self.squared_bandwidth

    def rise(self, squared: jax.Array, nearest: jax.Array, scale: jax.Array) -> jax.Array:
        """By how much similarities rise, and 0 where they do not. The arguments are broadcast.

        Args:
            squared: float32, squared distances of rows to targets.
            nearest: float32, those of the targets to the nearest row so far; 0 where a rise is worth nothing.
            scale: float32, ‖x‖² + ‖y‖² of the pairs. A distance that is less by no more than rounding is not.
        """
        if self.name == "top_hat":
            is_new = nearest >= self.squared_bandwidth
            return (is_new & (squared < self.squared_bandwidth)).astype(jnp.float32)
        is_exact = self.is_noisy & (nearest < NEAR * scale)  # it was taken by subtraction
        rounding = _ROUNDING * jnp.where(is_exact, nearest, scale)
        # the barrier keeps XLA from taking it for every pair
        known = jax.lax.optimization_barrier(jnp.exp(-nearest / self.squared_bandwidth))
        found = jnp.exp(-squared / self.squared_bandwidth)
        # κ(d) − κ(q) = κ(d)(1 − exp(−x)) loses its digits where x is small: five terms of a series then
        x = (nearest - squared) / self.squared_bandwidth
        series = found * x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5))))
        return jnp.where(nearest - squared > rounding, jnp.where(x < 0.125, series, found - known), 0.0)


def _tile_distances(
    points: Points, indices: jax.Array, targets: _Targets, first: jax.Array, tile: int, similarity: _Kernel
) -> jax.Array:
    """Squared distances of points [m] to the ``tile`` targets from ``first`` on: [m, tile]. 0 to itself."""
    others = targets.points.block(first, tile)
    numbers = jax.lax.dynamic_slice_in_dim(targets.indices, first, tile)
    is_pair = indices[:, None] != numbers[None, :]
    return jnp.where(is_pair, squared_distances(points, others, is_pair & similarity.is_noisy, None), 0.0)


def _all_gains(points: Points, targets: _Targets, nearest: jax.Array, similarity: _Kernel) -> jax.Array:
    """Every row's gain, over tiles of rows and targets: [n] float32. Of masked rows it means nothing."""
    n, t = len(points), len(targets.worth)
    tile, part = min(n, _TILE), min(t, _TILE)

    def add_targets(j: jax.Array, total: jax.Array, here: Points, indices: jax.Array) -> jax.Array:
        first, there = _tile_of_targets(targets, nearest, j, part)
        squared = _tile_distances(here, indices, targets, first, part, similarity)
        return total + there.gain(squared, here.squared_norms, similarity)

    def of_rows(i: jax.Array, gains: jax.Array) -> jax.Array:
        first = jnp.minimum(i * tile, n - tile)
        indices = (first + jnp.arange(tile)).astype(jnp.int32)
        step = partial(add_targets, here=points.block(first, tile), indices=indices)
        total = jax.lax.fori_loop(0, -(-t // part), step, jnp.zeros(tile, jnp.float32))
        return jax.lax.dynamic_update_slice_in_dim(gains, total, first, 0)

    return jax.lax.fori_loop(0, -(-n // tile), of_rows, jnp.zeros(n, jnp.float32))


def _all_mutual_gains(targets: _Targets, nearest: jax.Array, similarity: _Kernel) -> jax.Array:
    """`_all_gains` where the rows are the targets: κ is symmetric, so two tiles are compared once."""
    n = len(targets.worth)
    tile = min(n, _TILE)
    num_tiles = -(-n // tile)

    def add(gains: jax.Array, first: jax.Array, new: jax.Array, found: jax.Array) -> jax.Array:
        before = jax.lax.dynamic_slice_in_dim(gains, first, tile)
        return jax.lax.dynamic_update_slice_in_dim(gains, jnp.where(new, before + found, before), first, 0)

    def of_rows(i: jax.Array, gains: jax.Array) -> jax.Array:
        first, tile_here = _tile_of_targets(targets, nearest, i, tile)
        here, indices = targets.points.block(first, tile), (first + jnp.arange(tile)).astype(jnp.int32)
        is_new = indices >= i * tile

        def of_pair(j: jax.Array, gains: jax.Array) -> jax.Array:
            other, tile_there = _tile_of_targets(targets, nearest, j, tile)
            squared = _tile_distances(here, indices, targets, other, tile, similarity)
            gains = add(gains, first, is_new, tile_there.gain(squared, tile_here.squared_norms, similarity))
            is_other = (i < j) & (other + jnp.arange(tile) >= j * tile)
            found = tile_here.gain(squared, tile_there.squared_norms, similarity, axis=0)
            return add(gains, other, is_other, found)

        return jax.lax.fori_loop(i, num_tiles, of_pair, gains)

    return jax.lax.fori_loop(0, num_tiles, of_rows, jnp.zeros(n, jnp.float32))


class _Uncovered(NamedTuple):
    """What is to be gained from some targets.

    Attributes:
        worth: [t] float32.
        nearest: [t] float32, squared distance to the nearest centre or pick; 0 where covering is worth nothing.
        squared_norms: [t] float32, of the targets.
    """

    worth: jax.Array
    nearest: jax.Array
    squared_norms: jax.Array

    def gain(
        self, squared: jax.Array, squared_norms: jax.Array, similarity: _Kernel, *, axis: int = 1
    ) -> jax.Array:
        """Σ_i w_i max(κ_ij − m_i, 0) for m rows.

        Args:
            squared: [m, t] float32, squared distances, or [t, m].
            squared_norms: [m] float32, of the rows.
            similarity: `_Kernel`.
            axis: that of the targets. A transposed array would take longer.

        Returns:
            [m] float32.
        """
        worth, nearest, norms = (jnp.expand_dims(a, 1 - axis) for a in self)
        scale = jnp.expand_dims(squared_norms, axis) + norms
        return jnp.sum(worth * similarity.rise(squared, nearest, scale), axis=axis)


def _tile_of_targets(
    targets: _Targets, nearest: jax.Array, i: jax.Array, tile: int
) -> tuple[jax.Array, _Uncovered]:
    """Where the i-th tile begins, and what is to be gained there. The last tile overlaps another: what that one
    has is worth 0 here."""
    first = jnp.minimum(i * tile, len(targets.worth) - tile)
    arrays = targets.worth, nearest, targets.points.squared_norms
    worth, known, norms = (jax.lax.dynamic_slice_in_dim(a, first, tile) for a in arrays)
    return first, _Uncovered(jnp.where(first + jnp.arange(tile) >= i * tile, worth, 0.0), known, norms)


def _distances_to_all(indices: jax.Array, points: Points, targets: _Targets, similarity: _Kernel) -> jax.Array:
    """Squared distances of the rows at ``indices`` [m] to all targets: [m, t] float32."""
    t, here = len(targets.worth), points[indices]
    part = min(t, _WIDE)

    def fill(j: jax.Array, held: jax.Array) -> jax.Array:
        first = jnp.minimum(j * part, t - part)
        found = _tile_distances(here, indices, targets, first, part, similarity)
        return jax.lax.dynamic_update_slice_in_dim(held, found, first, 1)

    return jax.lax.fori_loop(0, -(-t // part), fill, jnp.zeros((len(indices), t), jnp.float32))


class _Held(NamedTuple):
    """Distances that need not be computed again, of the rows last looked at.

    Attributes:
        squared: [m, t] float32, squared distances to the targets.
        rows: [m] int32, which row each is of; n for none.
        slots: [n] int32, where a row's are; −1 for nowhere.
        last_use: [m] int32, when each was last read.
    """

    squared: jax.Array
    rows: jax.Array
    slots: jax.Array
    last_use: jax.Array

    def with_rows(self, indices: jax.Array, squared: jax.Array) -> "_Held":
        """Holds those of the rows at ``indices`` [a], in place of the a neighbours not read for longest."""
        blocks = self.last_use.reshape(-1, len(indices))
        first = (jnp.argmin(jnp.max(blocks, axis=1)) * len(indices)).astype(jnp.int32)
        slots = first + jnp.arange(len(indices), dtype=jnp.int32)
        return _Held(
            jax.lax.dynamic_update_slice_in_dim(self.squared, squared, first, 0),
            self.rows.at[slots].set(indices),
            self.slots.at[self.rows[slots]].set(-1, mode="drop").at[indices].set(slots),
            self.last_use.at[slots].set(jnp.max(self.last_use) + 1),
        )


class _State(NamedTuple):
    """What the gains depend on, and what is held to compute them.

    Attributes:
        nearest: [t] float32, squared distance of a target to the nearest centre or pick; 0 where covering is
            worth nothing.
        held: `_Held`.
        num_fetched: scalar int32, rows whose distances were computed since all bounds were.
        has_changed: scalar bool, whether a row was chosen since then.
    """

    nearest: jax.Array
    held: _Held
    num_fetched: jax.Array
    has_changed: jax.Array


class _Choice(NamedTuple):
    """Picks among candidates [m], in progress.

    Attributes:
        picks: `Picks`; its bounds are those of the candidates.
        is_fresh: [m] bool, whether a candidate's gain was computed since the last pick.
        state: `_State`.
    """

    picks: Picks
    is_fresh: jax.Array
    state: _State

    def best(self) -> tuple[jax.Array, jax.Array]:
        """The candidate that may gain most, the first of equals, and what it may gain."""
        upper = jnp.where(self.is_fresh, self.picks.bound, self.picks.bound * (1 + _MARGIN))
        place = jnp.argmax(upper).astype(jnp.int32)
        return place, upper[place]


def _choose(
    state: _State,
    candidates: Candidates,
    most: jax.Array,
    at_once: int,
    points: Points,
    targets: _Targets,
    similarity: _Kernel,
    is_worn: Callable[[_State], jax.Array],
) -> tuple[_State, Picks]:
    """Greedy choice among candidates [m], while one is certainly the best row, until bounds are worn."""
    m = len(candidates.indices)

    def goes_on(choice: _Choice) -> jax.Array:
        place, value = choice.best()
        is_open = (choice.picks.number < most) & (value > 0) & ~choice.is_fresh[place]
        return is_open & ~is_worn(choice.state)

    def step(choice: _Choice) -> _Choice:
        # no lax.cond here: XLA would copy all that is held
        index = candidates.indices[choice.best()[0]]
        fill = partial(fetch_some, bound=choice.picks.bound)
        state = jax.lax.while_loop(lambda state: state.held.slots[index] < 0, fill, choice.state)
        return take(compute(choice._replace(state=state)))

    def fetch_some(state: _State, *, bound: jax.Array) -> _State:
        is_missing = state.held.slots[candidates.indices] < 0
        indices = candidates.indices[jax.lax.top_k(jnp.where(is_missing, bound, -jnp.inf), at_once)[1]]
        held = state.held.with_rows(indices, _distances_to_all(indices, points, targets, similarity))
        return state._replace(held=held, num_fetched=state.num_fetched + at_once)

    def compute(choice: _Choice) -> _Choice:
        """The gains of the greatest bounds whose distances are held."""
        held, bound = choice.state.held, choice.picks.bound
        slots = held.slots[candidates.indices]
        is_stale = (slots >= 0) & ~choice.is_fresh
        places = jax.lax.top_k(jnp.where(is_stale, bound, -jnp.inf), at_once)[1]
        uncovered = _Uncovered(targets.worth, choice.state.nearest, targets.points.squared_norms)
        norms = points.squared_norms[candidates.indices[places]]
        gains = uncovered.gain(held.squared[slots[places]], norms, similarity)
        gains = jnp.where(bound[places] > -jnp.inf, gains, -jnp.inf)
        held = held._replace(last_use=held.last_use.at[slots[places]].set(jnp.max(held.last_use) + 1))
        places = jnp.where(is_stale[places], places, m)
        return _Choice(
            choice.picks._replace(bound=bound.at[places].set(gains, mode="drop")),
            choice.is_fresh.at[places].set(True, mode="drop"),
            choice.state._replace(held=held),
        )

    def take(choice: _Choice) -> _Choice:
        """Picks the best candidate, if it is surely the best row."""
        (nearest, held, _, has_changed), (places, number, bound) = choice.state, choice.picks
        place, value = choice.best()
        is_taken = choice.is_fresh[place] & candidates.is_best(place, value) & (value > 0)
        row = held.squared[held.slots[candidates.indices[place]]]
        nearest = jnp.where(is_taken & (row < nearest), row, nearest)
        picks = Picks(
            places.at[number].set(place),
            number + is_taken,
            bound.at[place].set(jnp.where(is_taken, -jnp.inf, bound[place])),
        )
        state = choice.state._replace(nearest=nearest, has_changed=has_changed | is_taken)
        return _Choice(picks, choice.is_fresh & ~is_taken, state)

    picks = Picks(jnp.zeros(m, jnp.int32), jnp.int32(0), candidates.bound)
    choice = jax.lax.while_loop(goes_on, step, _Choice(picks, jnp.zeros(m, bool), state))
    return choice.state, choice.picks


def _to_centers(points: Points, pool: Points, is_center: jax.Array, matters: jax.Array) -> jax.Array:
    """Squared distance of points [t] to the nearest of the pool's rows that is a centre; ∞ if there is none."""
    count = jnp.sum(is_center, dtype=jnp.int32)
    blocks = blocks_at(pool, places_of(is_center, _BLOCK), 0, count, min(len(is_center), _BLOCK), None)
    start = jnp.where(matters, jnp.float32(jnp.inf), 0.0)
    return jnp.where(matters, nearest_center(points, blocks, start), jnp.inf)


def _filled_with_furthest(
    points: Points, free: jax.Array, centers: jax.Array, chosen: jax.Array, number: jax.Array
) -> jax.Array:
    """``chosen`` [k], of which ``number`` count, filled up by furthest-first traversal of the rows left."""
    n, k = len(points), len(chosen)
    is_pick = jnp.zeros(n, bool).at[jnp.where(jnp.arange(k) < number, chosen, n)].set(True, mode="drop")
    left = free & ~is_pick
    wanted = jnp.minimum(k, number + jnp.sum(left, dtype=jnp.int32))

    def fill() -> jax.Array:
        known = centers | is_pick
        nearest = _to_centers(points, points, known, left)

        def step(t: jax.Array, carry: tuple) -> tuple:
            chosen, nearest = carry
            index = jnp.argmax(nearest).astype(jnp.int32)
            lower = jnp.minimum(nearest, squared_distances_to_row(points, index))
            nearest = jnp.where(nearest >= 0, lower, nearest).at[index].set(-1.0)
            return chosen.at[t].set(index), nearest

        start = chosen, jnp.where(left, nearest, -1.0)
        return jax.lax.fori_loop(number, wanted, step, start)[0]

    chosen = jax.lax.cond(number < wanted, fill, lambda: chosen)
    return jnp.where(jnp.arange(k) < wanted, chosen, -1).astype(jnp.int32)
