"""ENTROPY: largest predictive entropy."""

import jax

from badge_jax.pool import Pool
from badge_jax.strategies.base import Ranked, Strategy, planned
from badge_jax.strategies.scores import log_odds_of_entropy


def entropy() -> Strategy:
    """ENTROPY: the rows whose class probabilities have the largest entropy Σ p ln 1/p.

    References:
        Wang and Shang 2014; Ash et al., ICLR 2020, section 4.

    Example:
        >>> from badge_jax.strategies import entropy
        >>> entropy().needs
        ('logits',)
    """
    return planned("entropy", Ranked(_score), needs=("logits",))


def _score(pool: Pool) -> jax.Array:
    return log_odds_of_entropy(pool.logits)
