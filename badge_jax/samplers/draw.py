"""Drawing an index with probability proportional to its weight, right at a million rows in float32."""

import math

import jax
import jax.numpy as jnp


def draw_index(key: jax.Array, weights: jax.Array, *, tile: int | None = None) -> jax.Array:
    """P(i) = weights_i / Σ weights, in two levels: first a tile of rows, then a row inside it.

    Inverse transform sampling on one float32 cumulative sum fails on long pools: the running sum swallows
    the small terms. Two short sums, each with a uniform of its own, do not.

    weights: [n] float32, not negative, their sum finite
    tile:    rows in a tile; None takes max(1024, ⌈√n⌉), or n if that is less
    Returns a scalar int32; a row of weight 0 is never returned; −1 when all weights are 0.
    """
    tiles, totals = _in_tiles(weights, tile)
    uniforms = jax.random.uniform(key, (2,), jnp.float32)
    chosen_tile = _invert(uniforms[0], totals)
    row = _invert(uniforms[1], tiles[chosen_tile])
    return jnp.where(jnp.any(totals > 0), chosen_tile * tiles.shape[1] + row, -1).astype(jnp.int32)


def draw_available(
    key: jax.Array, weights: jax.Array, available: jax.Array, *, tile: int | None = None
) -> jax.Array:
    """As `draw_index` among the rows that are ``available`` [n] bool; uniform there if their weights are all 0.

    Returns a scalar int32; −1 when no row is available, or a weight there is not finite.
    """
    masked = jnp.where(available, weights, 0.0)
    total = jnp.sum(masked)
    weights = jnp.where(total > 0, masked, available.astype(weights.dtype))
    return jnp.where(jnp.isfinite(total), draw_index(key, weights, tile=tile), -1)


def _in_tiles(weights: jax.Array, tile: int | None) -> tuple[jax.Array, jax.Array]:
    """The weights in tiles [t, tile], filled up with 0, and the tiles' sums [t]."""
    n = weights.shape[0]
    tile = tile or default_tile(n)
    tiles = jnp.pad(weights, (0, -n % tile)).reshape(-1, tile)
    return tiles, jnp.sum(tiles, axis=1)


def default_tile(n: int) -> int:
    """max(1024, ⌈√n⌉), or n if that is less."""
    return min(n, max(1024, math.isqrt(n - 1) + 1))


def _invert(uniform: jax.Array, weights: jax.Array) -> jax.Array:
    """The first row of positive weight at which the running sum exceeds ``uniform`` (in [0, 1)) of the whole.

    Asking for a positive weight matters: a parallel cumulative sum can rise by a rounding error where the
    weight is 0. The last positive row stands in should rounding leave no running sum above the target.
    """
    running = jnp.cumsum(weights)
    positive = weights > 0
    above = positive & (running > uniform * running[-1])
    last_positive = weights.shape[0] - 1 - jnp.argmax(positive[::-1])
    return jnp.where(jnp.any(above), jnp.argmax(above), last_positive)
