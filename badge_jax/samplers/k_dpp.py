"""Sampling from a k-DPP, P(S) ∝ det(L_S) with L the Gram matrix of the rows, by a chain that swaps rows.

A step proposes to exchange a row u of the set for a row v outside it. The ratio of the two determinants is that
of two Schur complements, and follows from the inverse M of the set's Gram matrix. With b the inner products of
v with the rows of the set,

    det(S − u + v) / det(S) = M_uu (L_vv − bᵀ M b) + (M b)_u²

Rows are scaled to unit length and their norms are held separately. A network's confident rows are many orders
of magnitude shorter than others; this way they lose no digits.

Steps are drawn in blocks of m. Two matrix products give the inner products of the m candidates with the set.
The m steps then need only a matrix T over 2m rows: those that may leave and those that may enter. T is the Gram
matrix with the rows of the set swept out,

    T = [ −M    M B        ]      (set, outside)
        [ Bᵀ M  C − Bᵀ M B ]

with B the inner products of the set with the rows outside and C those among the rows outside. A row that enters
or leaves is one sweep of T (Goodnight 1979, The American Statistician 33). After the m steps, one matrix
product updates the whole inverse. The result is that of a chain that takes one step at a time.

A place in the set may be empty; it then counts as a unit vector orthogonal to every row. The first set starts
with empty places only: rows enter in random order if they are independent of those already in it.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.rows import HIGHEST, Rows, check_rows, inner_products
from badge_jax.samplers.checks import availability, check_count
from badge_jax.samplers.draw import fine_uniform

# below this squared distance to the span of the others, a unit row counts as linearly dependent in float32
_DEPENDENT = 2e-6
_NEAR_DEPENDENT = 0.01  # below this squared distance, products with the inverse lack digits
_LARGE_SET = 400  # from this k on, the products with the inverse cost more than the sweeps of longer blocks
_MOST_DRIFT = 3e-5  # above this relative error, the inverse is computed again


@partial(jax.jit, static_argnames=("k", "num_steps"))
def k_dpp_swap(
    key: jax.Array,
    rows: Rows,
    k: int,
    *,
    available: jax.Array | None = None,
    num_steps: int | None = None,
) -> jax.Array:
    """Draws k rows with a Markov chain whose law converges to the k-DPP, P(S) ∝ det(⟨x, y⟩)_{x, y ∈ S}.

    The chain starts from a uniformly random set of k independent rows. Each step draws u uniformly from the set
    and v uniformly from outside, and exchanges them with probability min(1, det(S − u + v) / det(S)). Memory
    beyond the rows is n + k² numbers. A row whose squared distance to the span of the others is below 2e-6 of
    its own squared norm counts as linearly dependent; no set contains such a row.

    Args:
        key: typed PRNG key.
        rows: `Rows` of n embeddings, float32.
        k: how many to choose, 1 ≤ k ≤ n, and at most the largest possible rank of the rows: (c − 1)·d if c > 1,
            because the left factors of gradient embeddings sum to 0, else d.
        available: [n] bool, rows that may be chosen. None: all rows.
        num_steps: steps of the chain. None: max(50, ⌈5 k ln k⌉).

    Returns:
        [k] int32, in no particular order; results for different k are unrelated. If no k available rows are
        independent, there is no k-DPP: the result is then the largest independent set found, padded with −1. If
        an available row is not finite, all entries are −1.

    Raises:
        ValueError: if a shape, ``k`` or ``num_steps`` is not as described.

    References:
        Kulesza and Taskar, ICML 2011. The chain: Anari, Oveis Gharan and Rezaei, COLT 2016, and Ash et al.,
        ICLR 2020, appendix G.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import dense_rows, k_dpp_swap
        >>> rows = dense_rows(jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))  # row 1 is a copy of row 0
        >>> chosen = k_dpp_swap(jax.random.key(0), rows, 2)
        >>> 2 in chosen.tolist()
        True
    """
    return run_chain(key, rows, k, available=available, num_steps=num_steps).members


class Chain(NamedTuple):
    """The state of the chain: the set, the rows outside it, and the inverse of the set's Gram matrix.

    Attributes:
        members: [k] int32, the row at each place of the set; −1 for an empty place.
        others: [n] int32, the available rows outside the set, padded with −1.
        inverse: [k, k] float32, inverse of the Gram matrix of the members, scaled to unit length.
    """

    members: jax.Array
    others: jax.Array
    inverse: jax.Array


class Proposals(NamedTuple):
    """A block of m proposed steps, taken in order.

    Attributes:
        places: [m] int32, where in ``members`` the row to leave is.
        candidates: [m] int32, where in ``others`` the row to enter is.
        log_uniforms: [m] float32, logarithms of the uniform draws that decide on acceptance.
        is_live: [m] bool, False for the padding at the end.
    """

    places: jax.Array
    candidates: jax.Array
    log_uniforms: jax.Array
    is_live: jax.Array


def run_chain(
    key: jax.Array, rows: Rows, k: int, *, available: jax.Array | None = None, num_steps: int | None = None
) -> Chain:
    """Runs the chain of `k_dpp_swap` and returns its last state; arguments and errors are the same."""
    check_rows(rows)
    n, c, d = rows.left.shape[0], rows.left.shape[1], rows.right.shape[1]
    check_count(k, n)
    check_rank(k, c, d)
    if num_steps is None:
        num_steps = max(50, math.ceil(5 * k * math.log(k)))
    check_num_steps(num_steps)
    free = availability(available, n)
    is_finite = jnp.isfinite(jnp.sum(0 * rows.left, axis=1) + jnp.sum(0 * rows.right, axis=1))  # one pass
    free = free & jnp.all(is_finite | ~free)
    block = min(32 if k < _LARGE_SET else 64, max(4, k))
    chain = _independent_rows(jax.random.fold_in(key, 0), rows, free, k, block)
    return _swap(jax.random.fold_in(key, 1), rows, chain, num_steps, block)


def check_rank(k: int, c: int, d: int) -> None:
    """Raises ValueError if no k rows with factors of c and d entries can be independent."""
    if c > 1 and k > (c - 1) * d:
        raise ValueError(
            f"k = {k} rows cannot be independent: gradient embeddings with {c} classes and {d} features have "
            f"rank (classes − 1)·features = {(c - 1) * d} at most, and there is no k-DPP beyond it"
        )
    if k > c * d:
        raise ValueError(f"k = {k} rows of length {d} cannot be independent: there is no k-DPP beyond {d}")


def check_num_steps(num_steps: int) -> None:
    """Raises ValueError if ``num_steps`` is not a Python int of at least 0."""
    if not isinstance(num_steps, int) or isinstance(num_steps, bool) or num_steps < 0:
        raise ValueError(f"num_steps is {num_steps!r}; wanted a Python int, 0 or more")


def _independent_rows(key: jax.Array, rows: Rows, free: jax.Array, k: int, block: int) -> Chain:
    """The first set: the first k rows of a random order that are independent of those before them.

    It is a uniformly random set of k rows if every set of k rows is independent. Empty places come last.
    """
    n, num_free = free.shape[0], jnp.sum(free)
    pool = _compact(jnp.where(free, jnp.arange(n, dtype=jnp.int32), -1))
    empty = Chain(jnp.full(k, -1, jnp.int32), pool, jnp.eye(k, dtype=jnp.float32))

    def is_short(carry: tuple[jax.Array, Chain]) -> jax.Array:
        num_seen, chain = carry
        return jnp.any(chain.members < 0) & (num_seen < num_free)

    def fill(carry: tuple[jax.Array, Chain]) -> tuple[jax.Array, Chain]:
        num_seen, chain = carry
        num_tried = jnp.minimum(jnp.sum(chain.members < 0, dtype=jnp.int32), block)
        steps = jnp.arange(block)
        places = jnp.argsort(chain.members >= 0, stable=True)[jnp.minimum(steps, k - 1)]
        is_live = (steps < num_tried) & (num_seen + steps < num_free)
        candidates = jnp.minimum(num_seen + steps, n - 1)
        proposals = Proposals(places, candidates, jnp.full(block, -jnp.inf), is_live)
        others = _shuffled(jax.random.fold_in(key, num_seen), chain.others, num_seen, num_free, block)
        return num_seen + num_tried, _exchange(rows, chain._replace(others=others), proposals)

    _, chain = jax.lax.while_loop(is_short, fill, (jnp.int32(0), empty))
    places = jnp.argsort(chain.members < 0, stable=True)
    return Chain(chain.members[places], _compact(chain.others), chain.inverse[places][:, places])


def _shuffled(key: jax.Array, pool: jax.Array, start: jax.Array, stop: jax.Array, num: int) -> jax.Array:
    """``pool`` [n] with the ``num`` places from ``start`` on drawn without replacement from start … stop − 1.

    These are steps of the shuffle of Fisher and Yates: each place is exchanged with one drawn uniformly from
    itself and those after it.
    """
    places = jnp.minimum(start + jnp.arange(num), stop - 1)
    partners = jax.random.randint(key, (num,), places, stop)

    def exchange(t: jax.Array, pool: jax.Array) -> jax.Array:
        pair = jnp.stack([places[t], partners[t]])
        return pool.at[pair].set(pool[pair[::-1]])

    return jax.lax.fori_loop(0, num, exchange, pool)


def _swap(key: jax.Array, rows: Rows, chain: Chain, num_steps: int, block: int) -> Chain:
    """The chain after ``num_steps`` steps; unchanged if a place is empty or no row is outside the set."""
    k = chain.members.shape[0]
    num_others = jnp.sum(chain.others >= 0, dtype=jnp.int32)
    num_left = jnp.where(jnp.all(chain.members >= 0) & (num_others > 0), jnp.int32(num_steps), 0)

    def step(t: jax.Array, carry: tuple[Chain, Upkeep]) -> tuple[Chain, Upkeep]:
        chain, upkeep = carry
        place_key, candidate_key, uniform_key = jax.random.split(jax.random.fold_in(key, t), 3)
        proposals = Proposals(
            jax.random.randint(place_key, (block,), 0, k),
            jax.random.randint(candidate_key, (block,), 0, num_others),
            jnp.log(_uniform(uniform_key, block)),
            t * block + jnp.arange(block) < num_left,
        )
        chain = _exchange(rows, chain, proposals)
        return jax.lax.cond(t >= upkeep.next_look, look, lambda t, *carry: carry, t, chain, upkeep)

    def look(t: jax.Array, chain: Chain, upkeep: Upkeep) -> tuple[Chain, Upkeep]:
        drift = _drift(rows, chain)
        # a drift that is there right after a refresh is float32's limit: another refresh would not help
        is_due = drift > jnp.maximum(_MOST_DRIFT, 2 * upkeep.fresh_drift)
        chain, fresh_drift = jax.lax.cond(is_due, refresh, lambda chain: (chain, upkeep.fresh_drift), chain)
        return chain, Upkeep(t + jnp.where(drift < 0.5 * _MOST_DRIFT, 8, 1), fresh_drift)

    def refresh(chain: Chain) -> tuple[Chain, jax.Array]:
        chain = _refreshed(rows, chain)
        return chain, _drift(rows, chain)

    chain, fresh_drift = jax.lax.cond(num_left > 0, refresh, lambda chain: (chain, jnp.float32(0)), chain)
    start = chain, Upkeep(jnp.int32(0), fresh_drift)
    return jax.lax.fori_loop(0, (num_left + block - 1) // block, step, start)[0]


def _uniform(key: jax.Array, num: int) -> jax.Array:
    return fine_uniform(*jax.random.uniform(key, (2, num), jnp.float32))


class Upkeep(NamedTuple):
    """When to check the inverse for rounding errors.

    Attributes:
        next_look: scalar int32, the block of steps after which the drift of the inverse is next measured.
        fresh_drift: scalar float32, the `_drift` right after the inverse was last computed from the rows.
    """

    next_look: jax.Array
    fresh_drift: jax.Array


def _exchange(rows: Rows, chain: Chain, proposals: Proposals) -> Chain:
    """The chain after the proposed steps; an empty place counts as a row that may always leave."""
    places, candidates = proposals.places, proposals.candidates
    m, num_places = places.shape[0], chain.members.shape[0]
    members, entrants = _unit_rows(rows, chain.members), _unit_rows(rows, chain.others[candidates])
    products = inner_products(members.rows, entrants.rows)
    factor, explained = _projection(chain, members.rows, products)
    # the rows of T, over all k rows of the set, that belong to the 2m rows that may leave or enter
    sides = jnp.concatenate([chain.inverse[places], factor.T])
    corner = inner_products(entrants.rows, entrants.rows) - explained
    beside = sides[:, places]
    swept = jnp.block([[-beside[:m], beside[m:].T], [beside[m:], corner]])
    log_norms = jnp.concatenate([members.log_norms[places], entrants.log_norms])

    # if a place or candidate is proposed several times, its state is stored at its first proposal
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
        return swept, _put(held, entering, place_of[t], 0), _put(offered, leaving, candidate_of[t], 0)

    # held: which of the 2m rows is at each place; offered: which is at each candidate's place outside
    start = swept, jnp.arange(m), m + jnp.arange(m)
    swept, held, offered = jax.lax.fori_loop(0, m, step, start)

    is_first = place_of == jnp.arange(m)
    was_in = jnp.concatenate([is_first, jnp.zeros(m, bool)])
    has_moved = was_in != jnp.zeros(2 * m, bool).at[held[place_of]].set(True)
    # apply the sweeps of the rows that moved to the whole inverse at once
    update = _dot(jnp.where(has_moved[:, None] & has_moved[None, :], swept, 0.0), sides)
    inverse = chain.inverse - _dot(sides.T, update)
    entered = jnp.where((held < m)[:, None], inverse[places[held % m]], update[held])
    # num_places is out of range: the updates below drop it
    changed = jnp.where(is_first & (held != jnp.arange(m)), places, num_places)
    entered = entered.at[:, changed].set(-swept[held][:, held], mode="drop")
    inverse = inverse.at[changed].set(entered, mode="drop").at[:, changed].set(entered.T, mode="drop")

    indices = jnp.concatenate([chain.members[places], chain.others[candidates]])
    return Chain(
        chain.members.at[places].set(indices[held[place_of]]),
        chain.others.at[candidates].set(indices[offered[candidate_of]]),
        inverse,
    )


def _projection(chain: Chain, members: Rows, products: jax.Array) -> tuple[jax.Array, jax.Array]:
    """M B and Bᵀ M B, with M the inverse of the members' Gram matrix K and B = ``products`` [k, m].

    Bᵀ M B is what the span of the members explains of the entrants. If these rows are nearly dependent, it
    loses the digits that matter: M is large, or what is left of an entrant is small. With F = M B and the
    residual R = B − K F, M is then needed for the small part only: Bᵀ K⁻¹ B = Bᵀ F + Fᵀ R + Rᵀ K⁻¹ R.
    """
    factor = _dot(chain.inverse, products)
    explained = _dot(products.T, factor)

    def corrected() -> tuple[jax.Array, jax.Array]:
        is_empty = jnp.diag((chain.members < 0).astype(jnp.float32))
        residual = products - _dot(inner_products(members, members) + is_empty, factor)
        correction = _dot(chain.inverse, residual)
        return factor + correction, explained + _dot(factor.T, residual) + _dot(residual.T, correction)

    are_members_near = jnp.max(jnp.diagonal(chain.inverse)) > 1 / _NEAR_DEPENDENT
    are_entrants_near = jnp.max(jnp.diagonal(explained)) > 1 - _NEAR_DEPENDENT
    return jax.lax.cond(are_members_near | are_entrants_near, corrected, lambda: (factor, explained))


def _sweep(swept: jax.Array, p: jax.Array) -> jax.Array:
    """``swept`` [2m, 2m] with row and column p swept out, or swept back in: two sweeps restore the matrix."""
    column, pivot = swept[p], swept[p, p]
    swept = swept - column[:, None] * (column / pivot)[None, :]
    column = _put(column / jnp.abs(pivot), -1 / pivot, p, 0)
    return _put(_put(swept, column, p, 0), column, p, 1)


def _first_equal(values: jax.Array) -> jax.Array:
    """For each of ``values`` [m], the position of the first equal value: [m] int32."""
    places = jnp.arange(len(values))
    return jnp.min(jnp.where(values[:, None] == values[None, :], places[:, None], len(values)), axis=0)


def _drift(rows: Rows, chain: Chain) -> jax.Array:
    """Relative error of the inverse M, for one vector s of signs: ‖M(s − K M s)‖∞ / ‖M s‖∞, scalar float32.

    The Gram matrix K is applied through the factors of the rows, in k·c·d operations.
    """
    members = _unit_rows(rows, chain.members).rows
    signs = jnp.where(jnp.arange(len(chain.members)) % 2 == 0, 1.0, -1.0)
    solution = _dot(chain.inverse, signs)
    total = _dot((members.left * solution[:, None]).T, members.right)  # the weighted sum of the members
    residual = signs - jnp.sum(_dot(members.left, total) * members.right, axis=1)
    return jnp.max(jnp.abs(_dot(chain.inverse, residual))) / jnp.max(jnp.abs(solution))


def _refreshed(rows: Rows, chain: Chain) -> Chain:
    """The chain with its inverse computed from the rows; unchanged if float32 finds the matrix singular."""
    members = _unit_rows(rows, chain.members).rows
    products = inner_products(members, members)
    # for a TPU, XLA writes out the blocks of Cholesky and of the solves one by one: much code, slow to compile
    inverse = jax.lax.platform_dependent(products, tpu=_inverse_by_sweeps, default=_inverse_by_cholesky)
    return chain._replace(inverse=jnp.where(jnp.all(jnp.isfinite(inverse)), inverse, chain.inverse))


def _inverse_by_cholesky(products: jax.Array) -> jax.Array:
    """The inverse of a positive definite matrix [k, k]; not finite if float32 finds it singular."""
    factor = jax.scipy.linalg.cho_factor(products, lower=True)
    return jax.scipy.linalg.cho_solve(factor, jnp.eye(len(products), dtype=jnp.float32))


def _inverse_by_sweeps(products: jax.Array) -> jax.Array:
    """The same by sweeping out every row in turn: k passes over a matrix that stays symmetric."""

    def sweep(p: jax.Array, swept: jax.Array) -> jax.Array:
        return jnp.where(swept[p, p] > 0, _sweep(swept, p), jnp.nan)  # the pivots are Cholesky's, squared

    return -jax.lax.fori_loop(0, len(products), sweep, products)


def _compact(indices: jax.Array) -> jax.Array:
    """``indices`` [n] in the same order, with every −1 moved to the end."""
    n, is_row = indices.shape[0], indices >= 0
    places = jnp.where(is_row, jnp.cumsum(is_row) - 1, n)
    return jnp.full(n, -1, indices.dtype).at[places].set(indices, mode="drop")


class UnitRows(NamedTuple):
    """Rows scaled to unit length.

    Attributes:
        rows: `Rows` [m] of norm 1; 0 where the row was 0.
        log_norms: [m] float32, ln of the squared norms before scaling.
    """

    rows: Rows
    log_norms: jax.Array


def _unit_rows(rows: Rows, indices: jax.Array) -> UnitRows:
    """The rows at ``indices`` [m] scaled to unit length; zeros for −1."""
    left, log_left = _unit(jnp.where(indices[:, None] >= 0, rows.left[indices], 0.0))
    right, log_right = _unit(jnp.where(indices[:, None] >= 0, rows.right[indices], 0.0))
    return UnitRows(Rows(left, right), 2 * (log_left + log_right))


def _unit(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``vectors`` [m, d] divided by their norms, and the logarithms [m] of the norms; zero vectors stay 0."""
    largest = jnp.max(jnp.abs(vectors), axis=1, keepdims=True)
    scaled = vectors / jnp.where(largest > 0, largest, 1.0)
    norms = jnp.sqrt(jnp.sum(scaled**2, axis=1, keepdims=True))
    return scaled / jnp.where(norms > 0, norms, 1.0), (jnp.log(largest) + jnp.log(norms))[:, 0]


_dot = partial(jnp.dot, precision=HIGHEST)
_put = jax.lax.dynamic_update_index_in_dim  # (array, value, place, axis); it is faster than ``.at[place].set``
