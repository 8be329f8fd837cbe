"""ProbCover: cover as many rows as possible by balls of one radius."""

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.rows import Rows, as_points, nearest_of_another_group
from badge_jax.samplers import kmeans
from badge_jax.samplers.checks import check_number, is_count, is_number
from badge_jax.samplers.coverage import coverage_greedy
from badge_jax.strategies.base import Strategy, stateless
from badge_jax.strategies.embedding import EMBEDDINGS, WIDTHS, check_embedding, unit_rows


def probcover(
    *,
    embedding: str = "features",
    radius: float | str = "purity",
    purity: float = 0.95,
    num_clusters: int | None = None,
) -> Strategy:
    """The rows whose balls cover most rows that no ball of a labeled row covers. For the very first labels on
    good features; once all is covered, the furthest row.

    Args:
        embedding: rows to compare: "features" or "representation".
        radius: of a ball, for rows of length 1: x covers y where ‖x − y‖ < radius. "purity": the largest for
            which a share ``purity`` of the balls hold rows of one cluster alone; computed for each batch, from
            the distance of every row to the nearest row of another cluster.
        purity: see ``radius``.
        num_clusters: k-means clusters that stand for the classes; None: as many as the logits have classes.

    Raises:
        ValueError: for another embedding, a radius out of range, a purity that is not between 0 and 1,
            or fewer than 2 clusters.

    References:
        Yehuda et al., NeurIPS 2022, arXiv 2205.11320.

    Example:
        >>> from badge_jax.strategies import probcover
        >>> probcover(radius=0.5).needs, probcover().needs
        (('features',), ('features', 'logits'))
    """
    check_embedding(embedding)
    check_number("radius", radius, *WIDTHS, or_else="purity")
    if not (is_number(purity) and 0 < purity < 1):
        raise ValueError(f"purity is {purity!r}; wanted a number between 0 and 1")
    if num_clusters is not None and not (is_count(num_clusters) and num_clusters > 1):
        raise ValueError(f"num_clusters is {num_clusters!r}; wanted 2 or more, or None for one a class")
    counts_classes = isinstance(radius, str) and num_clusters is None
    needs = dict.fromkeys((*EMBEDDINGS[embedding], *(("logits",) if counts_classes else ())))

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        rows, counted = unit_rows(pool, embedding), pool.available | pool.labeled
        width = (
            purity_radius(key, rows, counted, num_clusters or pool.logits.shape[1], purity)
            if isinstance(radius, str)
            else radius
        )
        return coverage_greedy(
            rows, k, bandwidth=width, kernel="top_hat", available=pool.available, centers=pool.labeled
        )

    return stateless("probcover", choose, needs=tuple(needs))


def purity_radius(
    key: jax.Array, rows: Rows, counted: jax.Array, num_clusters: int, purity: float
) -> jax.Array:
    """The largest radius for which a share ``purity`` of the balls hold rows of one cluster alone.

    A ball is pure up to the distance of its middle to the nearest row of another cluster. So the radius is a
    quantile of these distances, and no search is needed.

    Args:
        key: typed PRNG key, for k-means.
        rows: `Rows` [n] of ordinary vectors.
        counted: [n] bool, rows that there are.
        num_clusters: of k-means.
        purity: between 0 and 1.

    Returns:
        Scalar float32; ∞ if there is one cluster only.
    """
    num_clusters = min(num_clusters, len(rows))
    clusters = kmeans(key, rows.right, num_clusters, weights=counted.astype(jnp.float32))
    distances = jnp.sort(nearest_of_another_group(as_points(rows), clusters.assignment, counted))
    place = jnp.floor((1 - purity) * jnp.sum(counted)).astype(jnp.int32)
    return distances[place]
