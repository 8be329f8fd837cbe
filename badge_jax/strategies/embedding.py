"""Which rows of a pool a strategy compares."""

import jax
import jax.numpy as jnp

from badge_jax.embeddings import pool_gradients
from badge_jax.pool import Pool
from badge_jax.rows import Rows, dense_rows

EMBEDDINGS = {
    "features": ("features",),
    "representation": ("representation",),
    "gradients": ("logits", "features"),
}
"""Name → the fields of `Pool` that it reads."""


def check_embedding(embedding: str, *, wanted: tuple[str, ...] = ("features", "representation")) -> None:
    """Raises ValueError unless ``embedding`` is one of ``wanted``."""
    if embedding not in wanted:
        raise ValueError(f"embedding is {embedding!r}; wanted one of {', '.join(wanted)}")


def unit_rows(pool: Pool, embedding: str) -> Rows:
    """The rows of a pool, scaled to length 1: `Rows` [n]. A row of zeros stays so.

    Args:
        pool: `Pool`.
        embedding: one of `EMBEDDINGS`.
    """
    if embedding == "gradients":
        rows = pool_gradients(pool)
        return Rows(_unit(rows.left), _unit(rows.right))
    return dense_rows(_unit(getattr(pool, embedding).astype(jnp.float32)))


def _unit(vectors: jax.Array) -> jax.Array:
    # the largest entry first: squares of small numbers would underflow
    largest = jnp.max(jnp.abs(vectors), axis=1, keepdims=True)
    vectors = vectors / jnp.where(largest > 0, largest, 1.0)
    norms = jnp.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / jnp.where(norms > 0, norms, 1.0)
