"""k-means++ seeding, one centre at a time: the plain reference."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from badge_jax.rows import Rows, at_unit_scale, check_rows, squared_distances_to_row
from badge_jax.samplers.checks import availability, check_blocks, check_count
from badge_jax.samplers.draw import draw_available
from badge_jax.shards import ALONE, Shards, default_block, on_each_device, sharding_of_rows

FIRST_POINTS = ("uniform", "max_norm", "norm")


def kmeans_plusplus(
    key: jax.Array,
    rows: Rows,
    k: int,
    *,
    available: jax.Array | None = None,
    first: str = "uniform",
    sharding: NamedSharding | None = None,
    _block: int | None = None,
) -> jax.Array:
    """k-means++ seeding: draws each next row with probability proportional to D²(x).

    D²(x) is the squared distance from x to the nearest row chosen so far. Each step makes one draw, without
    greedy trials, and one pass over the pool. A mask excludes the rows already chosen, so no row is chosen
    twice. If every D² is 0, the draw is uniform over the rows still available. The first j rows equal the
    result for ``k = j``.

    Args:
        key: typed PRNG key.
        rows: `Rows` of n embeddings, float32.
        k: how many to choose, 1 ≤ k ≤ n.
        available: [n] bool, rows that may be chosen; others are neither candidates nor centres. None: all rows.
        first: the law of the first row: "uniform" (the paper), "max_norm" (the longest; the authors' code) or
            "norm" (∝ ‖x‖², as if the origin were a centre; for this draw only).
        sharding: how the rows lie on devices, if not as the arrays say; see `shard_pool`.

    Returns:
        [k] int32, in the order drawn. −1 for the surplus where fewer than k rows are available, and from the
        first draw in which a distance is not finite.

    Raises:
        ValueError: if a shape, ``k`` or ``first`` is not as described.

    References:
        Arthur and Vassilvitskii, SODA 2007; Ash et al., ICLR 2020, appendix A.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import dense_rows, kmeans_plusplus
        >>> rows = dense_rows(jnp.array([[0.0], [0.0], [1.0], [1.0]]))  # two points, each twice
        >>> sorted(rows.right[kmeans_plusplus(jax.random.key(0), rows, 2), 0].tolist())
        [0.0, 1.0]
    """
    check_rows(rows)
    check_count(k, len(rows))
    check_first(first)
    sharding = sharding_of_rows(sharding, rows.left, rows.right)
    check_blocks(len(rows), default_block(len(rows)), sharding)
    return _drawn(key, rows, availability(available, len(rows)), k, first, _block, sharding)


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _drawn(
    key: jax.Array,
    rows: Rows,
    free: jax.Array,
    k: int,
    first: str,
    block: int | None,
    sharding: NamedSharding | None,
) -> jax.Array:
    choose = partial(_drawn_here, k=k, first=first, block=block)
    return on_each_device(sharding, choose, key, (rows, free))


def _drawn_here(
    shards: Shards, key: jax.Array, parts: tuple[Rows, jax.Array], k: int, first: str, block: int | None
) -> jax.Array:
    rows, free = parts
    points = at_unit_scale(rows, free, shards)

    def draw(t: jax.Array, carry: tuple) -> tuple:
        chosen, nearest, free = carry
        index = draw_available(jax.random.fold_in(key, t), nearest, free, block=block, shards=shards)
        nearest = jnp.minimum(nearest, squared_distances_to_row(points, index))
        return chosen.at[t].set(index), nearest, shards.put(free, index[None], False)

    norms = points.squared_norms
    index = draw_first(jax.random.fold_in(key, 0), norms, free, first, block=block, shards=shards)
    chosen = jnp.full(k, -1, jnp.int32).at[0].set(index)
    carry = (chosen, squared_distances_to_row(points, index), shards.put(free, index[None], False))
    return jax.lax.fori_loop(1, k, draw, carry)[0]


def check_first(first: str) -> None:
    """Raises ValueError if ``first`` is not one of `FIRST_POINTS`."""
    if first not in FIRST_POINTS:
        raise ValueError(f"first is {first!r}; wanted one of {', '.join(FIRST_POINTS)}")


def draw_first(
    key: jax.Array,
    norms: jax.Array,
    free: jax.Array,
    first: str,
    *,
    block: int | None = None,
    shards: Shards = ALONE,
) -> jax.Array:
    """Draws the first row by the law ``first``.

    Args:
        key: typed PRNG key.
        norms: [n] float32, squared norms of the rows.
        free: [n] bool, rows that may be drawn.
        first: one of `FIRST_POINTS`.
        block: rows in a block of the draw, as in `draw_index`.
        shards: as in `draw_index`.

    Returns:
        Scalar int32. −1 if no row is free.
    """
    if first == "max_norm":
        return jnp.where(shards.any(free), shards.argmax(jnp.where(free, norms, -1.0)), -1)
    weights = norms if first == "norm" else jnp.ones_like(norms)
    return draw_available(key, weights, free, block=block, shards=shards)
