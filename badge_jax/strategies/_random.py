"""RAND: uniform sampling, the baseline."""

import jax
import jax.numpy as jnp

from badge_jax.strategies.base import Strategy, stateless


def random() -> Strategy:
    """RAND: uniform without replacement. The baseline that every comparison needs.

    Example:
        >>> from badge_jax.strategies import random
        >>> random().needs
        ()
    """
    return stateless("random", lambda key, pool, k: uniform(key, pool.available, k), needs=())


def uniform(key: jax.Array, available: jax.Array, k: int) -> jax.Array:
    """Available rows drawn uniformly without replacement: [k] int32, −1 for the surplus."""
    order = jax.random.permutation(key, available.shape[0])
    is_free = available[order]
    first = jnp.argsort(~is_free, stable=True)[:k]
    return jnp.where(is_free[first], order[first], -1).astype(jnp.int32)
