"""Furthest-first traversal over gradient embeddings."""

from badge_jax.embeddings import pool_gradients
from badge_jax.samplers import KCenterGreedy
from badge_jax.strategies.base import Spread, Strategy, planned


def badge_kcenter() -> Strategy:
    """Furthest-first traversal over the gradient embeddings, from no centre. The most diverse batch.

    References:
        FF-k-center in Ash et al., ICLR 2020, figures 2 and 24.

    Example:
        >>> from badge_jax.strategies import badge_kcenter
        >>> badge_kcenter().plan.centers is None
        True
    """
    return planned("badge_kcenter", Spread(pool_gradients, KCenterGreedy()), needs=("logits", "features"))
