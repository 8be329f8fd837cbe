"""CONF: least confident predictions."""

import jax

from badge_jax.pool import Pool
from badge_jax.strategies.base import Ranked, Strategy, planned
from badge_jax.strategies.scores import log_odds_of_doubt


def confidence() -> Strategy:
    """CONF: the rows whose largest class probability is smallest.

    References:
        Wang and Shang 2014; Ash et al., ICLR 2020, section 4.

    Example:
        >>> from badge_jax.strategies import confidence
        >>> confidence().needs
        ('logits',)
    """
    return planned("confidence", Ranked(_score), needs=("logits",))


def _score(pool: Pool) -> jax.Array:
    return log_odds_of_doubt(pool.logits)
