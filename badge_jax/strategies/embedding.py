"""Which field of the pool says how near two rows are."""

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool

EMBEDDINGS = ("features", "representation")


def check_embedding(embedding: str) -> None:
    """Raises ValueError if ``embedding`` is not one of `EMBEDDINGS`."""
    if embedding not in EMBEDDINGS:
        raise ValueError(f"embedding is {embedding!r}; wanted one of {', '.join(EMBEDDINGS)}")


def embedded(pool: Pool, embedding: str) -> jax.Array:
    """That field of the pool: [n, d] float32."""
    return getattr(pool, embedding).astype(jnp.float32)


def normalized(vectors: jax.Array) -> jax.Array:
    """Every row divided by its Euclidean norm; a row of zeros stays as it is. [n, d] float32."""
    largest = jnp.max(jnp.abs(vectors), axis=1, keepdims=True)
    vectors = vectors / jnp.where(largest > 0, largest, 1.0)  # so that no square overflows or underflows
    norms = jnp.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / jnp.where(norms > 0, norms, 1.0)
