"""CONF: least confident predictions."""

from badge_jax.strategies.base import Ranked, Strategy, planned
from badge_jax.strategies.scores import SCORES


def confidence() -> Strategy:
    """CONF: the rows whose largest class probability is smallest.

    References:
        Wang and Shang 2014; Ash et al., ICLR 2020, section 4.

    Example:
        >>> from badge_jax.strategies import confidence
        >>> confidence().needs
        ('logits',)
    """
    return planned("confidence", Ranked(SCORES["confidence"].order), needs=SCORES["confidence"].needs)
