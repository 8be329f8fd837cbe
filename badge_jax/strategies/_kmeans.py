"""The rows nearest to the centres of k clusters."""

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.samplers import kmeans as kmeans_clusters
from badge_jax.samplers import nearest_members
from badge_jax.strategies.base import Strategy, stateless
from badge_jax.strategies.embedding import check_embedding, embedded, normalized


def kmeans(*, embedding: str = "features") -> Strategy:
    """k-means with k clusters of the available rows; of each cluster the row nearest to its centre. A start for
    pools without a model or labels.

    Rows have length 1 (L2-normalised). Labeled rows are left out, so a batch may repeat what is labeled. The
    largest cluster comes first. Where clusters are empty, as there are fewer than k distinct rows, the nearest
    row left takes the place. Not prefix-consistent, as k is the number of clusters.

    Args:
        embedding: "features", or "representation", features that stay the same from round to round.

    Raises:
        ValueError: for another embedding.

    References:
        Gupte et al., TMLR 2024, arXiv 2401.14555, where it chooses the first batch ("centroid init").

    Example:
        >>> from badge_jax.strategies import kmeans
        >>> kmeans(embedding="representation").needs
        ('representation',)
    """
    check_embedding(embedding)

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        points = normalized(embedded(pool, embedding))
        clusters = kmeans_clusters(key, points, k, weights=pool.available.astype(jnp.float32))
        largest_first = jnp.argsort(-clusters.sizes, stable=True).astype(jnp.int32)
        return nearest_members(points, clusters, pool.available, largest_first)

    return stateless("kmeans", choose, needs=(embedding,), is_prefix_consistent=False)
