"""Weighted draws without replacement, all at once."""

from functools import partial

import jax
import jax.numpy as jnp

from badge_jax.samplers.checks import availability, check_count
from badge_jax.samplers.draw import gumbels


@partial(jax.jit, static_argnames=("k",))
def gumbel_top_k(
    key: jax.Array, log_weights: jax.Array, k: int, *, available: jax.Array | None = None
) -> jax.Array:
    """Draws rows one by one without replacement, each with probability proportional to its weight.

    P(next = i) = w_i / Σ w over the available rows not yet drawn. The answer is the k largest ln w_i + G_i with
    independent Gumbel numbers G_i: one pass, no sums. Rows of weight 0 come after all others, uniformly. The
    first j rows equal the answer for ``k = j``.

    Args:
        key: typed PRNG key.
        log_weights: [n] float32, ln w up to a common constant. −∞ for weight 0, as which NaN counts too.
        k: how many to draw, 1 ≤ k ≤ n.
        available: [n] bool, rows that may be drawn. None: all.

    Returns:
        [k] int32, in the order drawn. −1 for the surplus where fewer than k rows are available.

    Raises:
        ValueError: for shapes that do not fit.

    References:
        Yellott 1977; Kool, van Hoof and Welling, ICML 2019.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax.samplers import gumbel_top_k
        >>> log_weights = jnp.log(jnp.array([0.0, 1.0, 0.0, 3.0]))
        >>> sorted(gumbel_top_k(jax.random.key(0), log_weights, 2).tolist())
        [1, 3]
    """
    if log_weights.ndim != 1 or log_weights.dtype != jnp.float32:
        raise ValueError(
            f"log_weights is {log_weights.dtype} of shape {log_weights.shape}; wanted float32 of shape (n,)"
        )
    n = log_weights.shape[0]
    check_count(k, n)
    free = availability(available, n)
    noise = gumbels(key, n)
    has_weight = free & (log_weights > -jnp.inf)
    number = jnp.sum(has_weight, dtype=jnp.int32)

    def largest(values: jax.Array, mask: jax.Array) -> jax.Array:
        order = jax.lax.top_k(jnp.where(mask, values, -jnp.inf), k)[1]
        return jnp.where(mask[order], order, -1).astype(jnp.int32)

    def with_weightless(drawn: jax.Array) -> jax.Array:
        place = jnp.arange(k)
        rest = largest(noise, free & ~has_weight)
        return jnp.where(place < number, drawn, rest[place - number])  # a place before 0 is not read

    drawn = largest(log_weights + noise, has_weight)
    return jax.lax.cond(number < k, with_weightless, lambda drawn: drawn, drawn)
