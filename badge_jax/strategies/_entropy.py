"""ENTROPY: largest predictive entropy."""

from badge_jax.strategies.base import Ranked, Strategy, planned
from badge_jax.strategies.scores import SCORES


def entropy() -> Strategy:
    """ENTROPY: the rows whose class probabilities have the largest entropy Σ p ln 1/p.

    References:
        Wang and Shang 2014; Ash et al., ICLR 2020, section 4.

    Example:
        >>> from badge_jax.strategies import entropy
        >>> entropy().needs
        ('logits',)
    """
    return planned("entropy", Ranked(SCORES["entropy"].order), needs=SCORES["entropy"].needs)
