"""Furthest-first traversal: the greedy 2-approximation of the k-center problem."""

from functools import partial

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    Centers,
    Rows,
    as_centers,
    at_unit_scale,
    check_rows,
    nearest_center,
    squared_distances_to_row,
)
from badge_jax.samplers.checks import availability, check_count

_BLOCK_ENTRIES = 2**24  # distances held at a time while the given centres are folded in: 64 MiB


@partial(jax.jit, static_argnames=("k",))
def k_center_greedy(
    rows: Rows, k: int, *, available: jax.Array | None = None, centers: jax.Array | None = None
) -> jax.Array:
    """Furthest-first traversal: each next row is the one furthest from its nearest centre.

    The next row is argmax_x min_c ‖x − c‖. Ties go to the lower index. Without ``centers`` the first row is the
    longest. Rows already chosen are excluded by a mask. The first j rows equal the answer for ``k = j``.

    Args:
        rows: `Rows` of n embeddings, float32.
        k: how many to choose, 1 ≤ k ≤ n.
        available: [n] bool, rows that may be chosen. None: all that are not centres.
        centers: [n] bool, rows that are centres from the start; they are never chosen. None: no row.

    Returns:
        [k] int32, in the order chosen. −1 for the surplus where fewer than k rows are available.

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
    rows = at_unit_scale(rows, free | centers)
    norms = rows.squared_norms
    free = free & ~centers
    nearest, no_centers = _nearest_given_center(rows, norms, centers), ~jnp.any(centers)

    def choose(t: jax.Array, carry: tuple) -> tuple:
        chosen, nearest, free = carry
        score = jnp.where((t == 0) & no_centers, norms, nearest)
        index = jnp.argmax(jnp.where(free, score, -1.0)).astype(jnp.int32)
        index = jnp.where(jnp.any(free), index, -1)
        nearest = jnp.minimum(nearest, squared_distances_to_row(rows, norms, index))
        return chosen.at[t].set(index), nearest, free.at[index].set(False)

    return jax.lax.fori_loop(0, k, choose, (jnp.full(k, -1, jnp.int32), nearest, free))[0]


def _nearest_given_center(rows: Rows, norms: jax.Array, centers: jax.Array) -> jax.Array:
    """Squared distance from every row to the nearest of the rows marked in ``centers`` [n] bool: [n] float32, ∞
    where no row is marked. The cost is that of the centres there are, not of n."""
    n = len(rows)
    block = max(1, min(256, n, _BLOCK_ENTRIES // n))
    indices = jnp.pad(jnp.nonzero(centers, size=n, fill_value=0)[0], (0, -n % block))

    def block_at(i: jax.Array) -> Centers:
        return as_centers(rows[jax.lax.dynamic_slice_in_dim(indices, i, block)])

    return nearest_center(rows, norms, block_at, jnp.sum(centers), block, jnp.full(n, jnp.inf))
