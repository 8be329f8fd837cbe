"""Furthest-first traversal: the greedy 2-approximation of the k-center problem."""

from functools import partial

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    Rows,
    as_centers,
    at_unit_scale,
    check_rows,
    squared_distances,
    squared_distances_to_row,
    squared_norms,
    take_rows,
)
from badge_jax.samplers.checks import availability, check_count

_BLOCK_ENTRIES = 2**24  # distances held at a time while the given centres are folded in: 64 MiB


@partial(jax.jit, static_argnames=("k",))
def k_center_greedy(
    rows: Rows, k: int, *, available: jax.Array | None = None, centers: jax.Array | None = None
) -> jax.Array:
    """Each next row is the one furthest from its nearest centre, argmax_x min_c ‖x − c‖; ties go to the
    lower index.

    Without ``centers`` the first pick is the longest row. Rows already chosen are excluded by a mask.

    rows:      `Rows` of n embeddings, float32
    k:         how many to choose, 1 ≤ k ≤ n
    available: [n] bool, rows that may be chosen; None for all that are not centres
    centers:   [n] bool, rows that are centres from the start (they are never chosen); None for no such row
    Returns [k] int32, in the order chosen; −1 for the surplus when fewer than k rows are available.
    Raises ValueError for shapes that do not fit.
    Source: Sener and Savarese, ICLR 2018, algorithm 1; Ash et al., ICLR 2020, section 4.
    """
    check_rows(rows)
    n = rows.left.shape[0]
    check_count(k, n)
    free = availability(available, n)
    centers = jnp.zeros(n, bool) if centers is None else availability(centers, n)
    rows = at_unit_scale(rows, free | centers)
    norms = squared_norms(rows)
    free = free & ~centers
    nearest, no_centers = _nearest_center(rows, norms, centers), ~jnp.any(centers)

    def choose(t: jax.Array, carry: tuple) -> tuple:
        chosen, nearest, free = carry
        score = jnp.where((t == 0) & no_centers, norms, nearest)
        index = jnp.argmax(jnp.where(free, score, -1.0)).astype(jnp.int32)
        index = jnp.where(jnp.any(free), index, -1)
        nearest = jnp.minimum(nearest, squared_distances_to_row(rows, norms, index))
        return chosen.at[t].set(index), nearest, free.at[index].set(False)

    return jax.lax.fori_loop(0, k, choose, (jnp.full(k, -1, jnp.int32), nearest, free))[0]


def _nearest_center(rows: Rows, norms: jax.Array, centers: jax.Array) -> jax.Array:
    """Squared distance from every row to the nearest centre: [n] float32, ∞ where there is none.

    Centres are taken in blocks, one matrix product each, and only as many blocks as there are centres.
    """
    n = rows.left.shape[0]
    block = max(1, min(256, n, _BLOCK_ENTRIES // n))
    count = jnp.sum(centers)
    indices = jnp.pad(jnp.nonzero(centers, size=n, fill_value=0)[0], (0, -n % block))

    def fold(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        start, nearest = carry
        block_indices = jax.lax.dynamic_slice(indices, (start,), (block,))
        distances = squared_distances(rows, norms, as_centers(take_rows(rows, block_indices)))
        is_center = start + jnp.arange(block) < count
        return start + block, jnp.minimum(nearest, jnp.min(jnp.where(is_center, distances, jnp.inf), axis=1))

    return jax.lax.while_loop(lambda carry: carry[0] < count, fold, (jnp.int32(0), jnp.full(n, jnp.inf)))[1]
