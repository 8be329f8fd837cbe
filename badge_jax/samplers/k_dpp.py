"""Sampling from a k-DPP, P(S) ∝ det(L_S) with L the Gram matrix of the rows, by the chain that swaps one row.

A step proposes to exchange a row u of the set for a row v outside it. The determinants' ratio is that of two
Schur complements, read off the inverse M of the set's Gram matrix: with b the inner products of v with the set,

    det(S − u + v) / det(S) = M_uu (L_vv − bᵀ M b) + (M b)_u²

Rows count at unit length, their norms apart, so that a network's confident rows, shorter than others by many
orders of magnitude, cost no digits.

Steps are drawn m at a time, and the m candidates meet the set in two matrix products. What the m steps can need
of the inverse is then a matrix T over 2m rows (those that may leave, those that may enter), on which they run
one after the other: T is the Gram matrix with the rows of the set swept out,

    T = [ −M    M B        ]      (set, outside)
        [ Bᵀ M  C − Bᵀ M B ]

and a row that enters or leaves is one sweep of it (Goodnight 1979, The American Statistician 33). When the m
steps are done, one product of matrices brings the whole inverse up to date. The steps are those of the chain
that takes them singly.

A place in the set may be empty. An empty place counts as a unit vector orthogonal to every row, and is the way
in which the first set is found: rows enter in random order if they are independent of those already there.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.rows import HIGHEST, Rows, check_rows, inner_products
from badge_jax.samplers.checks import availability, check_count

# squared distance to the span of the others, of a unit row, under which float32 takes the row for dependent
_DEPENDENT = 1e-5
_MOST_DRIFT = 3e-5  # relative error of the inverse at which it is computed anew


@partial(jax.jit, static_argnames=("k", "num_steps"))
def k_dpp_swap(
    key: jax.Array,
    rows: Rows,
    k: int,
    *,
    available: jax.Array | None = None,
    num_steps: int | None = None,
) -> jax.Array:
    """A set of k rows from the chain whose law tends to the k-DPP's, P(S) ∝ det(⟨x, y⟩)_{x, y ∈ S}.

    Starts from a uniformly random set of k (independent) rows. Each step draws u uniformly in the set and v
    uniformly outside, and exchanges them with probability min(1, det(S − u + v) / det(S)). Memory beyond the
    rows is n + k². Rows whose squared distance to the span of the others is under 1e-5 of their own squared
    norm count as linearly dependent; no set holds such a row.

    rows:      `Rows` of n embeddings, float32
    k:         how many to choose, 1 ≤ k ≤ n and no more than the rows' rank can be: (c − 1)·d if c > 1, since
               the left factors of gradient embeddings sum to 0, else d
    available: [n] bool, rows that may be chosen; None for all
    num_steps: steps of the chain; None for max(50, ⌈5 k ln k⌉)
    Returns [k] int32, in no particular order. Where no k available rows are independent there is no k-DPP: the
    result is then an independent set as large as was found, filled up with −1. All are −1 if a row that is
    available is not finite. Batches for different k are unrelated.
    Raises ValueError for shapes that do not fit and for a k beyond the rank.
    Source: Kulesza and Taskar, ICML 2011; the chain: Anari, Oveis Gharan and Rezaei, COLT 2016, and Ash et al.,
    ICLR 2020, appendix G.
    """
    return run_chain(key, rows, k, available=available, num_steps=num_steps).members


class Chain(NamedTuple):
    """A set and what is needed to change it.

    members: [k] int32, the rows in the set, one a place; −1 for an empty place
    others:  [n] int32, the available rows outside it, then −1
    inverse: [k, k] float32, of the Gram matrix of the members at unit length
    """

    members: jax.Array
    others: jax.Array
    inverse: jax.Array


class Proposals(NamedTuple):
    """m steps to take in order.

    places:       [m] int32, places in the set, of the rows to leave
    candidates:   [m] int32, places among the others, of the rows to enter
    log_uniforms: [m] float32, logarithms of uniform draws
    is_live:      [m] bool, the steps that count
    """

    places: jax.Array
    candidates: jax.Array
    log_uniforms: jax.Array
    is_live: jax.Array


def run_chain(
    key: jax.Array, rows: Rows, k: int, *, available: jax.Array | None = None, num_steps: int | None = None
) -> Chain:
    """`k_dpp_swap` with its last state."""
    check_rows(rows)
    n, c, d = rows.left.shape[0], rows.left.shape[1], rows.right.shape[1]
    check_count(k, n)
    check_rank(k, c, d)
    if num_steps is None:
        num_steps = max(50, math.ceil(5 * k * math.log(k)))
    check_num_steps(num_steps)
    free = availability(available, n)
    is_finite = jnp.all(jnp.isfinite(rows.left), axis=1) & jnp.all(jnp.isfinite(rows.right), axis=1)
    free = free & jnp.all(is_finite | ~free)
    block = min(64, max(4, k))
    chain = _independent_rows(jax.random.fold_in(key, 0), rows, free, k, block)
    return _swap(jax.random.fold_in(key, 1), rows, chain, num_steps, block)


def check_rank(k: int, c: int, d: int) -> None:
    """Raises ValueError when no k rows with factors of c and d entries can be independent."""
    if c > 1 and k > (c - 1) * d:
        raise ValueError(
            f"k = {k} rows cannot be independent: gradient embeddings with {c} classes and {d} features have "
            f"rank (classes − 1)·features = {(c - 1) * d} at most, and beyond it there is no k-DPP"
        )
    if k > c * d:
        raise ValueError(f"k = {k} rows of length {d} cannot be independent: there is no k-DPP beyond {d}")


def check_num_steps(num_steps: int) -> None:
    """Raises ValueError unless ``num_steps`` is a number of steps."""
    if not isinstance(num_steps, int) or isinstance(num_steps, bool) or num_steps < 0:
        raise ValueError(f"num_steps is {num_steps!r}; wanted a Python int, 0 or more")


def _independent_rows(key: jax.Array, rows: Rows, free: jax.Array, k: int, block: int) -> Chain:
    """The first k rows of a random order that are independent of those before them: a uniform set of k rows,
    if every such set is independent. Empty places come last."""
    n, num_free = free.shape[0], jnp.sum(free)
    order = _compact(jnp.where(free, jnp.arange(n, dtype=jnp.int32), -1)[jax.random.permutation(key, n)])
    empty = Chain(jnp.full(k, -1, jnp.int32), order, jnp.eye(k, dtype=jnp.float32))

    def is_short(carry: tuple[jax.Array, Chain]) -> jax.Array:
        num_seen, chain = carry
        return jnp.any(chain.members < 0) & (num_seen < num_free)

    def fill(carry: tuple[jax.Array, Chain]) -> tuple[jax.Array, Chain]:
        num_seen, chain = carry
        num_tried = jnp.minimum(jnp.sum(chain.members < 0), block)
        steps = jnp.arange(block)
        places = jnp.argsort(chain.members >= 0, stable=True)[jnp.minimum(steps, k - 1)]
        is_live = (steps < num_tried) & (num_seen + steps < num_free)
        candidates = jnp.minimum(num_seen + steps, n - 1)
        proposals = Proposals(places, candidates, jnp.full(block, -jnp.inf), is_live)
        return num_seen + num_tried, _exchange(rows, chain, proposals)

    _, chain = jax.lax.while_loop(is_short, fill, (jnp.int32(0), empty))
    places = jnp.argsort(chain.members < 0, stable=True)
    return Chain(chain.members[places], _compact(chain.others), chain.inverse[places][:, places])


def _swap(key: jax.Array, rows: Rows, chain: Chain, num_steps: int, block: int) -> Chain:
    """The chain after ``num_steps`` steps; as it is if a place is empty or no row is outside."""
    k = chain.members.shape[0]
    num_others = jnp.sum(chain.others >= 0)
    num_left = jnp.where(jnp.all(chain.members >= 0) & (num_others > 0), num_steps, 0)

    def step(t: jax.Array, carry: tuple[Chain, Upkeep]) -> tuple[Chain, Upkeep]:
        chain, upkeep = carry
        place_key, candidate_key, uniform_key = jax.random.split(jax.random.fold_in(key, t), 3)
        proposals = Proposals(
            jax.random.randint(place_key, (block,), 0, k),
            jax.random.randint(candidate_key, (block,), 0, num_others),
            jnp.log(jax.random.uniform(uniform_key, (block,))),
            t * block + jnp.arange(block) < num_left,
        )
        chain = _exchange(rows, chain, proposals)
        return jax.lax.cond(t >= upkeep.next_look, look, lambda t, *carry: carry, t, chain, upkeep)

    def look(t: jax.Array, chain: Chain, upkeep: Upkeep) -> tuple[Chain, Upkeep]:
        drift = _drift(rows, chain)
        # what float32 cannot have right after a refresh is no reason for another
        is_due = drift > jnp.maximum(_MOST_DRIFT, 2 * upkeep.fresh_drift)
        chain, fresh_drift = jax.lax.cond(is_due, refresh, lambda chain: (chain, upkeep.fresh_drift), chain)
        return chain, Upkeep(t + jnp.where(drift < 0.5 * _MOST_DRIFT, 8, 1), fresh_drift)

    def refresh(chain: Chain) -> tuple[Chain, jax.Array]:
        chain = _refreshed(rows, chain)
        return chain, _drift(rows, chain)

    chain, fresh_drift = jax.lax.cond(num_left > 0, refresh, lambda chain: (chain, jnp.float32(0)), chain)
    start = chain, Upkeep(jnp.int32(0), fresh_drift)
    return jax.lax.fori_loop(0, (num_left + block - 1) // block, step, start)[0]


class Upkeep(NamedTuple):
    """next_look: scalar int32, the block after which the inverse is looked at. fresh_drift: scalar float32, its
    `_drift` when it was last computed anew."""

    next_look: jax.Array
    fresh_drift: jax.Array


def _exchange(rows: Rows, chain: Chain, proposals: Proposals) -> Chain:
    """The chain after the steps proposed, an empty place standing for a row that may always leave."""
    places, candidates = proposals.places, proposals.candidates
    m, num_places = places.shape[0], chain.members.shape[0]
    members, entrants = _unit_rows(rows, chain.members), _unit_rows(rows, chain.others[candidates])
    products = inner_products(members.rows, entrants.rows)
    factor = _dot(chain.inverse, products)
    # of all k rows, what the 2m rows that may leave and enter need: T has these beside every other row too
    sides = jnp.concatenate([chain.inverse[:, places], factor], axis=1)
    corner = inner_products(entrants.rows, entrants.rows) - _dot(products.T, factor)
    swept = jnp.block([[-chain.inverse[places][:, places], factor[places]], [factor[places].T, corner]])
    log_norms = jnp.concatenate([members.log_norms[places], entrants.log_norms])

    # a place or candidate proposed several times goes by where it is proposed first
    place_of, candidate_of = _first_equal(places), _first_equal(candidates)

    def step(t: jax.Array, carry: tuple) -> tuple:
        swept, held, offered = carry
        leaving, entering = held[place_of[t]], offered[candidate_of[t]]
        precision = -swept[leaving, leaving]
        schur = swept[entering, entering] + swept[leaving, entering] ** 2 / precision
        log_ratio = jnp.log(schur * precision) + log_norms[entering] - log_norms[leaving]
        accepted = (schur > _DEPENDENT) & (proposals.log_uniforms[t] < log_ratio) & proposals.is_live[t]
        return jax.lax.cond(accepted, exchange, lambda t, carry: carry, t, carry)

    def exchange(t: jax.Array, carry: tuple) -> tuple:
        swept, held, offered = carry
        leaving, entering = held[place_of[t]], offered[candidate_of[t]]
        swept = _sweep(_sweep(swept, leaving), entering)
        return swept, held.at[place_of[t]].set(entering), offered.at[candidate_of[t]].set(leaving)

    # held, offered: which of the 2m rows is at each place, and at each candidate's
    start = swept, jnp.arange(m), m + jnp.arange(m)
    swept, held, offered = jax.lax.fori_loop(0, m, step, start)

    is_first = place_of == jnp.arange(m)
    was_in = jnp.concatenate([is_first, jnp.zeros(m, bool)])
    has_moved = was_in != jnp.zeros(2 * m, bool).at[held[place_of]].set(True)
    # the sweeps of the rows that moved, applied to all k at once
    update = _dot(sides, jnp.where(has_moved[:, None] & has_moved[None, :], swept, 0.0))
    inverse = chain.inverse - _dot(update, sides.T)
    columns = jnp.where(held < m, inverse[:, places[held % m]], update[:, held])
    changed = jnp.where(is_first & (held != jnp.arange(m)), places, num_places)  # beyond the last: dropped
    inverse = inverse.at[:, changed].set(columns, mode="drop").at[changed, :].set(columns.T, mode="drop")
    inverse = inverse.at[changed[:, None], changed[None, :]].set(-swept[held][:, held], mode="drop")

    indices = jnp.concatenate([chain.members[places], chain.others[candidates]])
    return Chain(
        chain.members.at[places].set(indices[held[place_of]]),
        chain.others.at[candidates].set(indices[offered[candidate_of]]),
        inverse,
    )


def _sweep(swept: jax.Array, p: jax.Array) -> jax.Array:
    """``swept`` [2m, 2m] with row and column p swept out of it, or back in: sweeping twice changes nothing."""
    column, pivot = swept[:, p], swept[p, p]
    swept = swept - column[:, None] * (column / pivot)[None, :]
    column = (column / jnp.abs(pivot)).at[p].set(-1 / pivot)
    return swept.at[p, :].set(column).at[:, p].set(column)


def _first_equal(values: jax.Array) -> jax.Array:
    """For each of ``values`` [m] the place of the first that equals it: [m] int32."""
    return jnp.argmax(values[:, None] == values[None, :], axis=1)


def _drift(rows: Rows, chain: Chain) -> jax.Array:
    """Relative error of the inverse M, along one vector s of signs: ‖M(s − K M s)‖ / ‖M s‖, scalar float32.

    The Gram matrix K is applied by its factors, in k·c·d operations.
    """
    members = _unit_rows(rows, chain.members).rows
    signs = jnp.where(jnp.arange(len(chain.members)) % 2 == 0, 1.0, -1.0)
    solution = _dot(chain.inverse, signs)
    total = _dot((members.left * solution[:, None]).T, members.right)  # Σ of the members, so weighted
    residual = signs - jnp.sum(_dot(members.left, total) * members.right, axis=1)
    return jnp.max(jnp.abs(_dot(chain.inverse, residual))) / jnp.max(jnp.abs(solution))


def _refreshed(rows: Rows, chain: Chain) -> Chain:
    """The chain with its inverse computed anew, unless float32 finds the Gram matrix singular."""
    members = _unit_rows(rows, chain.members).rows
    factor = jax.scipy.linalg.cho_factor(inner_products(members, members), lower=True)
    inverse = jax.scipy.linalg.cho_solve(factor, jnp.eye(len(chain.members), dtype=jnp.float32))
    return chain._replace(inverse=jnp.where(jnp.all(jnp.isfinite(inverse)), inverse, chain.inverse))


def _compact(indices: jax.Array) -> jax.Array:
    """``indices`` [n] in their order, every −1 moved to the end."""
    n, is_row = indices.shape[0], indices >= 0
    places = jnp.where(is_row, jnp.cumsum(is_row) - 1, n)
    return jnp.full(n, -1, indices.dtype).at[places].set(indices, mode="drop")


class UnitRows(NamedTuple):
    """rows: `Rows` of length 1, or 0. log_norms: [m] float32, ln of the squared norms that they had."""

    rows: Rows
    log_norms: jax.Array


def _unit_rows(rows: Rows, indices: jax.Array) -> UnitRows:
    """The rows at ``indices`` [m], and zeros for −1."""
    left, log_left = _unit(jnp.where(indices[:, None] >= 0, rows.left[indices], 0.0))
    right, log_right = _unit(jnp.where(indices[:, None] >= 0, rows.right[indices], 0.0))
    return UnitRows(Rows(left, right), 2 * (log_left + log_right))


def _unit(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``vectors`` [m, d] divided by their norms, and the norms' logarithms [m]; 0 stays 0."""
    largest = jnp.max(jnp.abs(vectors), axis=1, keepdims=True)
    scaled = vectors / jnp.where(largest > 0, largest, 1.0)
    norms = jnp.sqrt(jnp.sum(scaled**2, axis=1, keepdims=True))
    return scaled / jnp.where(norms > 0, norms, 1.0), (jnp.log(largest) + jnp.log(norms))[:, 0]


_dot = partial(jnp.dot, precision=HIGHEST)
