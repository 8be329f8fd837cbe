"""Greedy choice by values that only fall, as more rows are chosen: most values need not be computed anew.

The distance of a row to the nearest centre is such a value, and so is the gain of a row in a submodular
objective. A value computed earlier is then a bound on today's. A step takes the rows of the greatest bounds as
candidates and computes their values anew. If the best of them is no less than the bound of every other row, it
is the best of all.

References:
    Minoux 1978, Accelerated greedy algorithms for maximizing submodular set functions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.shards import ALONE, Shards


class Candidates(NamedTuple):
    """The m rows of the greatest bounds, and what any other row may have.

    Attributes:
        indices: [m] int32, in ascending order.
        bound: [m] float32, no less than their values but for the margin of `lazy_greedy`.
        beyond: scalar float32, the greatest bound of the other rows; −∞ if there is none.
        is_before: [m] bool, whether a candidate precedes the first other row of this bound.
    """

    indices: jax.Array
    bound: jax.Array
    beyond: jax.Array
    is_before: jax.Array

    def is_best(self, place: jax.Array, value: jax.Array) -> jax.Array:
        """Whether the candidate at ``place``, the best of them by its ``value``, is the best of all rows."""
        return (value > self.beyond) | ((value == self.beyond) & self.is_before[place])


class Picks(NamedTuple):
    """What a step has chosen among m candidates.

    Attributes:
        places: [m] int32, places among the candidates in the order chosen.
        number: scalar int32, how many of them count; may be 0.
        bound: [m] float32, the candidates' values, computed before the last of these picks or after it.
    """

    places: jax.Array
    number: jax.Array
    bound: jax.Array


class Greedy(NamedTuple):
    """A greedy choice, complete or in progress.

    Attributes:
        chosen: [k] int32, in the order chosen; meaningless from ``number`` on.
        number: scalar int32, how many are chosen.
        bound: [n] float32 (part), no less than the values; −∞ for chosen rows.
        is_fresh: [n] bool (part), whether a bound was computed since the last pick, and so is the value itself.
        state: what the values depend on, any pytree.
    """

    chosen: jax.Array
    number: jax.Array
    bound: jax.Array
    is_fresh: jax.Array
    state: Any


def lazy_greedy(
    bound: jax.Array,
    k: int,
    state: Any,
    pick: Callable[[Any, Candidates, jax.Array], tuple[Any, Picks]],
    *,
    num_candidates: int,
    margin: float = 0.0,
    shards: Shards = ALONE,
) -> Greedy:
    """Chooses k times the row of the greatest value, where values only fall. Ties go to the lower index.

    Args:
        bound: [n] float32 (part), finite and no less than the values at the start; −∞ for rows that may not be
            chosen.
        k: how many to choose.
        state: what the values depend on, any pytree.
        pick: (state, `Candidates` [m], most) -> (state, `Picks`). Computes the candidates' values and chooses
            up to ``most`` of them, each the best while `Candidates.is_best`. The state returned counts them.
        num_candidates: m, or n if that is less.
        margin: how much a value may rise by rounding, relative to a bound computed before the last pick. With 0
            values must fall exactly, as a running minimum does.
        shards: how the pool lies on devices, of whose rows ``bound`` has this one's part.

    Returns:
        `Greedy`. Fewer than k are chosen if no value left is above 0, or one is not finite.
    """
    n = bound.shape[0]
    start = Greedy(jnp.zeros(k, jnp.int32), jnp.int32(0), bound, jnp.zeros(n, bool), state)
    return continued(start, pick, num_candidates=num_candidates, margin=margin, shards=shards)


def continued(
    greedy: Greedy,
    pick: Callable[[Any, Candidates, jax.Array], tuple[Any, Picks]],
    *,
    num_candidates: int,
    margin: float = 0.0,
    is_paused: Callable[[Any], jax.Array] = lambda state: jnp.array(False),
    shards: Shards = ALONE,
) -> Greedy:
    """`lazy_greedy` from a choice in progress, until k are chosen or ``is_paused(state)``."""
    k, m = len(greedy.chosen), min(len(greedy.bound) * shards.count, num_candidates)

    def goes_on(greedy: Greedy) -> jax.Array:
        return has_next(greedy, shards) & ~is_paused(greedy.state)

    def step(greedy: Greedy) -> Greedy:
        bound, number = greedy.bound, greedy.number
        candidates = candidates_of(jnp.where(greedy.is_fresh, bound, bound * (1 + margin)), m, shards)
        indices = candidates.indices
        candidates = candidates._replace(bound=shards.take(bound, indices))
        state, picks = pick(greedy.state, candidates, k - number)
        is_pick, chosen = jnp.arange(m) < picks.number, indices[picks.places]
        bound = shards.put(bound, indices, picks.bound)
        return Greedy(
            greedy.chosen.at[jnp.where(is_pick, number + jnp.arange(m), k)].set(chosen, mode="drop"),
            number + picks.number,
            shards.put(bound, jnp.where(is_pick, chosen, -1), -jnp.inf),
            shards.put(greedy.is_fresh, indices, True) & (picks.number == 0),
            state,
        )

    return jax.lax.while_loop(goes_on, step, greedy)


def has_next(greedy: Greedy, shards: Shards = ALONE) -> jax.Array:
    """Whether another row is wanted, and one may have a value above 0."""
    best = shards.max(greedy.bound)
    is_known = ~shards.any(jnp.isnan(greedy.bound))  # XLA's max on a CPU leaves NaN out
    return (greedy.number < len(greedy.chosen)) & (best > 0) & (best < jnp.inf) & is_known


def candidates_of(bound: jax.Array, num_candidates: int, shards: Shards = ALONE) -> Candidates:
    """The rows of the greatest ``bound`` [n] float32 (part); of equal ones those of lower index."""
    n = len(bound) * shards.count
    ranked = shards.top(bound, min(n, num_candidates + 1))
    indices, other = jnp.sort(ranked[:num_candidates]), ranked[num_candidates:]
    beyond = jnp.max(shards.take(bound, other), initial=-jnp.inf)
    return Candidates(indices, shards.take(bound, indices), beyond, indices < jnp.min(other, initial=n))
