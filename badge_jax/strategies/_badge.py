"""BADGE: k-means++ seeding over gradient embeddings."""

from badge_jax.embeddings import pool_gradients
from badge_jax.samplers import KMeansPlusPlus
from badge_jax.strategies.base import Spread, Strategy, planned


def badge(*, first: str = "uniform") -> Strategy:
    """BADGE: k-means++ seeding over the gradient embeddings. Diverse and uncertain batches, nothing to tune.

    Args:
        first: law of a batch's first row: "uniform" (the paper), "max_norm" (the authors' code) or "norm"; see
            `kmeans_plusplus`.

    Raises:
        ValueError: for another value.

    References:
        Ash et al., ICLR 2020, algorithm 1.

    Example:
        >>> from badge_jax.strategies import badge
        >>> badge(first="norm").needs
        ('logits', 'features')
    """
    return planned("badge", Spread(pool_gradients, KMeansPlusPlus(first)), needs=("logits", "features"))
