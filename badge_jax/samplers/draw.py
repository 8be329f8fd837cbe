"""Drawing an index with probability proportional to its weight, accurate for a million rows in float32."""

import math

import jax
import jax.numpy as jnp

from badge_jax.shards import ALONE, Shards, default_block


def draw_index(
    key: jax.Array, weights: jax.Array, *, block: int | None = None, shards: Shards = ALONE
) -> jax.Array:
    """Draws one index, P(i) = weights_i / Σ weights, in two levels: first a block of rows, then a row in it.

    With one float32 cumulative sum, inverse transform sampling fails on long pools: the running sum loses the
    small terms. Two short sums, each with its own uniform, keep them.

    Args:
        key: typed PRNG key.
        weights: [n] float32, not negative, with a finite sum.
        block: rows in a block. None: `default_block`.
        shards: how the pool lies on devices, each of which holds whole blocks; ``weights`` is then a part.

    Returns:
        Scalar int32, never a row of weight 0. −1 if all weights are 0.
    """
    blocks = _in_blocks(weights, block, shards)
    totals = block_totals(jnp.sum(blocks, axis=1), blocks.shape[1], shards)
    uniforms = jax.random.uniform(key, (2,), jnp.float32)
    chosen_block = _invert(uniforms[0], totals)
    row = _invert(uniforms[1], shards.take(blocks, chosen_block[None])[0])
    return jnp.where(jnp.any(totals > 0), chosen_block * blocks.shape[1] + row, -1).astype(jnp.int32)


def draw_available(
    key: jax.Array,
    weights: jax.Array,
    available: jax.Array,
    *,
    block: int | None = None,
    shards: Shards = ALONE,
) -> jax.Array:
    """Draws one available index, P(i) ∝ weights_i; uniform over the available rows if their weights are all 0.

    Args:
        key: typed PRNG key.
        weights: [n] float32, not negative where ``available``.
        available: [n] bool, rows that may be drawn.
        block: rows in a block, as in `draw_index`.
        shards: as in `draw_index`.

    Returns:
        Scalar int32. −1 if no row is available, or the sum of the available rows' weights is not finite.
    """
    masked = jnp.where(available, weights, 0.0)
    blocks = _in_blocks(masked, block, shards)
    total = jnp.sum(block_totals(jnp.sum(blocks, axis=1), blocks.shape[1], shards))
    weights = jnp.where(total > 0, masked, available.astype(weights.dtype))
    return jnp.where(jnp.isfinite(total), draw_index(key, weights, block=block, shards=shards), -1)


def block_totals(sums: jax.Array, block: int, shards: Shards) -> jax.Array:
    """The sums of all blocks, from those of the blocks held here [b]: [``block`` or more] float32.

    They are padded with 0, so that a pool has as many on one device as on several, where padding adds blocks.
    """
    totals = shards.gathered(sums)
    return jnp.pad(totals, (0, max(0, block - len(totals))))


def _in_blocks(weights: jax.Array, block: int | None, shards: Shards) -> jax.Array:
    """The weights in blocks [b, block], padded with 0."""
    return _in_blocks_of(weights, block or default_block(len(weights) * shards.count), 0.0)


def _in_blocks_of(values: jax.Array, block: int, padding: float) -> jax.Array:
    return jnp.pad(values, (0, -len(values) % block), constant_values=padding).reshape(-1, block)


def fine_uniform(coarse: jax.Array, finer: jax.Array) -> jax.Array:
    """``coarse``, uniform draws on a grid of 2⁻²³ that has 0, with more bits for the small ones.

    An event of probability p < 2⁻²³ must not happen as often as the draw 0 does. Below 2⁻¹⁰ a second draw gives
    the bits that the grid lacks; the least value is 2⁻³⁴.

    Args:
        coarse: [m] float32, as `jax.random.uniform` gives them.
        finer: [m] float32, as ``coarse``, and independent of it.

    Returns:
        [m] float32, uniform in (0, 1).
    """
    return jnp.where(coarse < 2.0**-10, (finer + 2.0**-24) * 2.0**-10, coarse)


def draw_by_noise(
    key: jax.Array, log_weights: jax.Array, available: jax.Array, *, block: int | None = None
) -> jax.Array:
    """Draws one available index, P(i) ∝ w_i = exp(log_weights_i): the largest ln w_i + G_i, with Gumbel noise.

    In two levels, first a block of rows by its Σ w, then a row in it: noise for every row of the pool would
    take most of the time. Weights may differ by any factor.

    Args:
        key: typed PRNG key.
        log_weights: [n] float32. −∞ for weight 0, as which NaN counts too.
        available: [n] bool, rows that may be drawn.
        block: rows in a block. None: max(1024, ⌈√n⌉), or n if that is less.

    Returns:
        Scalar int32. If all available rows have weight 0, one of them, uniformly; −1 if no row is available.
    """
    has_weight = available & (log_weights > -jnp.inf)
    log_weights = jnp.where(has_weight, log_weights, -jnp.inf)
    # where no row has a weight, all have the same
    log_weights = jnp.where(jnp.any(has_weight) | ~available, log_weights, 0.0)
    n = len(log_weights)
    blocks = _in_blocks_of(log_weights, block or min(n, max(1024, math.isqrt(n - 1) + 1)), -jnp.inf)
    totals = jnp.log(jnp.sum(jnp.exp(blocks - jnp.max(log_weights)), axis=1))
    block_key, row_key = jax.random.split(key)
    chosen_block = jnp.argmax(totals + gumbels(block_key, blocks.shape[0]))
    row = jnp.argmax(blocks[chosen_block] + gumbels(row_key, blocks.shape[1]))
    return jnp.where(jnp.any(available), chosen_block * blocks.shape[1] + row, -1).astype(jnp.int32)


def gumbels(key: jax.Array, n: int) -> jax.Array:
    """Gumbel numbers G = −ln E, with E exponential: [n] float32.

    The row of the largest ln w + G is drawn with probability ∝ w. The largest of many G decide, and they come
    from the smallest E. So E is made of uniform draws on a grid of 2⁻³¹. On the grid of `jax.random.uniform`,
    2⁻²³, the largest of a million numbers would often be equal.

    Args:
        key: typed PRNG key.
        n: how many.
    """
    bits = jax.random.bits(key, (n,), jnp.uint32) >> 1  # as int32, which a CPU converts faster
    uniform = (bits.astype(jnp.int32).astype(jnp.float32) + 0.5) * 2.0**-31
    return -jnp.log(-jnp.log1p(-jnp.minimum(uniform, 1 - 2.0**-24)))


def shuffled(key: jax.Array, counted: jax.Array) -> jax.Array:
    """The rows ``counted`` [n] bool in random order, then the others: [n] int32."""
    n = len(counted)
    parts = ~counted, jax.random.bits(key, (n,), jnp.uint32), jnp.arange(n, dtype=jnp.int32)
    return jax.lax.sort(parts, num_keys=2)[2]


def _invert(uniform: jax.Array, weights: jax.Array) -> jax.Array:
    """The first row of positive weight whose running sum exceeds ``uniform`` · Σ weights, uniform in [0, 1).

    The weight must be positive because a parallel cumulative sum can rise by a rounding error where the weight
    is 0. If rounding leaves no running sum above the target, the last row of positive weight is returned.
    """
    running = jnp.cumsum(weights)
    positive = weights > 0
    above = positive & (running > uniform * running[-1])
    last_positive = weights.shape[0] - 1 - jnp.argmax(positive[::-1])
    return jnp.where(jnp.any(above), jnp.argmax(above), last_positive)
