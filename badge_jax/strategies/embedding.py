"""Which rows of a pool a strategy compares."""

import jax
import jax.numpy as jnp

from badge_jax.embeddings import pool_gradients
from badge_jax.pool import Pool
from badge_jax.rows import Rows, dense_rows, middle, sample_places

EMBEDDINGS = {
    "features": ("features",),
    "representation": ("representation",),
    "gradients": ("logits", "features"),
}
"""Name → the fields of `Pool` that it reads."""


WIDTHS = 1e-15, 1e15
"""Widths between which squares and their reciprocals are ordinary float32 numbers."""


def check_embedding(embedding: str, *, wanted: tuple[str, ...] = ("features", "representation")) -> None:
    """Raises ValueError unless ``embedding`` is one of ``wanted``."""
    if embedding not in wanted:
        raise ValueError(f"embedding is {embedding!r}; wanted one of {', '.join(wanted)}")


def embedded(pool: Pool, embedding: str) -> jax.Array:
    """The features or the representation of a pool: [n, d] float32."""
    return getattr(pool, embedding).astype(jnp.float32)


def normalized(vectors: jax.Array) -> jax.Array:
    """Every row divided by its Euclidean norm; a row of zeros stays as it is. [n, d] float32."""
    largest = jnp.max(jnp.abs(vectors), axis=1, keepdims=True)
    vectors = vectors / jnp.where(largest > 0, largest, 1.0)  # so that no square overflows or underflows
    norms = jnp.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / jnp.where(norms > 0, norms, 1.0)


def unit_rows(pool: Pool, embedding: str) -> Rows:
    """The rows of a pool by any of `EMBEDDINGS`, divided by their norms, to take distances from: `Rows` [n].

    Ordinary vectors are then moved, so that their middle is 0: that changes no distance, and distances keep
    their digits where all rows point nearly the same way.
    """
    if embedding == "gradients":
        rows = pool_gradients(pool)
        return Rows(normalized(rows.left), normalized(rows.right))
    vectors = normalized(embedded(pool, embedding))
    counted = pool.available | pool.labeled
    n = counted.shape[0]
    places = jnp.nonzero(counted, size=n, fill_value=0)[0][sample_places(jnp.sum(counted))]
    return dense_rows(vectors - middle(dense_rows(vectors[places]))[None, :])
