"""A k-DPP over gradient embeddings."""

import jax
import jax.numpy as jnp

from badge_jax.embeddings import pool_gradients
from badge_jax.pool import Pool
from badge_jax.rows import mark_rows
from badge_jax.samplers import k_dpp_swap
from badge_jax.samplers.k_dpp import check_num_steps
from badge_jax.strategies._random import uniform
from badge_jax.strategies.base import Strategy, stateless


def badge_kdpp(*, num_steps: int | None = None) -> Strategy:
    """A k-DPP over the gradient embeddings, by a chain of swaps. As good as BADGE in the paper, and slower.

    Where fewer than k available rows have independent gradients there is no k-DPP. The batch is then the rows
    that were found, completed uniformly from the rest. k may not exceed the rank of the embedding, (c − 1)·d. A
    batch is a set, in no order of preference: its first j rows are not the batch for ``k = j``.

    Args:
        num_steps: steps of the chain. None: max(50, ⌈5 k ln k⌉); see `k_dpp_swap`.

    Raises:
        ValueError: for a negative number of steps.

    References:
        Ash et al., ICLR 2020, section 3.1 and appendix G.

    Example:
        >>> from badge_jax.strategies import badge_kdpp
        >>> badge_kdpp(num_steps=100).is_prefix_consistent
        False
    """
    if num_steps is not None:
        check_num_steps(num_steps)

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        rows = pool_gradients(pool)
        chain_key, rest_key = jax.random.split(key)
        found = k_dpp_swap(chain_key, rows, k, available=pool.available, num_steps=num_steps)
        is_found = found >= 0
        free = pool.available & ~mark_rows(len(rows), found)
        # no row at all although some are available: their gradients are zero, or not finite
        is_finite = jnp.all(jnp.isfinite(rows.squared_norms) | ~pool.available)
        rest = uniform(rest_key, free, k)
        place = jnp.arange(k) - jnp.sum(is_found)  # those found come first
        return jnp.where(is_found, found, jnp.where(is_finite, rest[place % k], -1))

    return stateless("badge_kdpp", choose, needs=("logits", "features"), is_prefix_consistent=False)
