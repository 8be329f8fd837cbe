"""k-means++ seeding, one centre at a time: the plain reference."""

from functools import partial

import jax
import jax.numpy as jnp

from badge_jax.rows import Rows, at_unit_scale, check_rows, squared_distances_to_row, squared_norms
from badge_jax.samplers.checks import availability, check_count
from badge_jax.samplers.draw import draw_available

FIRST_POINTS = ("uniform", "max_norm", "norm")


@partial(jax.jit, static_argnames=("k", "first", "_tile"))
def kmeans_plusplus(
    key: jax.Array,
    rows: Rows,
    k: int,
    *,
    available: jax.Array | None = None,
    first: str = "uniform",
    _tile: int | None = None,
) -> jax.Array:
    """k-means++ seeding: each next row with probability proportional to D²(x), its squared distance to the
    nearest row chosen so far. One draw a step, no greedy trials.

    One step is one pass over the pool. Rows already chosen are excluded by a mask, so no row comes twice;
    when every D² is 0, the draw is uniform over what is still available. The first j picks equal ``k = j``.

    rows:      `Rows` of n embeddings, float32
    k:         how many to choose, 1 ≤ k ≤ n
    available: [n] bool, rows that may be chosen (others are neither candidates nor centres); None for all
    first:     the law of the first row: "uniform" (the paper), "max_norm" (the longest; the authors' code),
               "norm" (∝ ‖x‖², as if the origin had been chosen before; used for that one draw only)
    Returns [k] int32, in the order drawn; −1 for the surplus when fewer than k rows are available, and from the
    first draw that meets a distance that is not finite.
    Raises ValueError for shapes and options that do not fit.
    Source: Arthur and Vassilvitskii 2007; Ash et al., ICLR 2020, appendix A.
    """
    check_rows(rows)
    check_count(k, rows.left.shape[0])
    check_first(first)
    free = availability(available, rows.left.shape[0])
    rows = at_unit_scale(rows, free)
    norms = squared_norms(rows)

    def draw(t: jax.Array, carry: tuple) -> tuple:
        chosen, nearest, free = carry
        index = draw_available(jax.random.fold_in(key, t), nearest, free, tile=_tile)
        nearest = jnp.minimum(nearest, squared_distances_to_row(rows, norms, index))
        return chosen.at[t].set(index), nearest, free.at[index].set(False)

    index = draw_first(jax.random.fold_in(key, 0), norms, free, first, tile=_tile)
    chosen = jnp.full(k, -1, jnp.int32).at[0].set(index)
    carry = (chosen, squared_distances_to_row(rows, norms, index), free.at[index].set(False))
    return jax.lax.fori_loop(1, k, draw, carry)[0]


def check_first(first: str) -> None:
    """Raises ValueError unless ``first`` names a law of the first row."""
    if first not in FIRST_POINTS:
        raise ValueError(f"first is {first!r}; wanted one of {', '.join(FIRST_POINTS)}")


def draw_first(
    key: jax.Array, norms: jax.Array, free: jax.Array, first: str, *, tile: int | None = None
) -> jax.Array:
    """The first row by the law ``first`` among those ``free`` [n] bool: scalar int32, −1 when there is none."""
    if first == "max_norm":
        longest = jnp.argmax(jnp.where(free, norms, -1.0)).astype(jnp.int32)
        return jnp.where(jnp.any(free), longest, -1)
    weights = norms if first == "norm" else jnp.ones_like(norms)
    return draw_available(key, weights, free, tile=tile)
