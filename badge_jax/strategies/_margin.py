"""MARG: smallest margins."""

from badge_jax.strategies.base import Ranked, Strategy, planned
from badge_jax.strategies.scores import SCORES


def margin() -> Strategy:
    """MARG: the rows with the smallest difference of their two largest class probabilities. Strong in small
    batches, and needs no features.

    References:
        Roth and Small 2006; Ash et al., ICLR 2020, section 4.

    Example:
        >>> from badge_jax.strategies import margin
        >>> margin().needs
        ('logits',)
    """
    return planned("margin", Ranked(SCORES["margin"].order), needs=SCORES["margin"].needs)
