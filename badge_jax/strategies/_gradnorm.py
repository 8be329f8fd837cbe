"""GRADNORM: the longest gradients."""

import jax

from badge_jax.pool import Pool
from badge_jax.strategies.base import Ranked, Strategy, planned
from badge_jax.strategies.scores import SCORES, log_expected_gradient_norm


def gradnorm(*, expected: bool = False) -> Strategy:
    """GRADNORM: the rows whose gradient embeddings are longest, BADGE without its diversity. Shows what that
    adds; a batch may hold many copies of one example.

    The score is ln ‖g‖, or the logarithm of the expected length ‖z‖ Σ_y p_y ‖p − onehot(y)‖.

    Args:
        expected: whether the label is drawn from the model's probabilities p, and not the most likely one.

    Raises:
        ValueError: if ``expected`` is no bool.

    References:
        Settles, Craven and Ray, NIPS 2007 (expected); Ash et al., ICLR 2020, equation 1 (g).

    Example:
        >>> from badge_jax.strategies import gradnorm
        >>> gradnorm(expected=True).needs
        ('logits', 'features')
    """
    if not isinstance(expected, bool):
        raise ValueError(f"expected is {expected!r}; wanted True or False")
    score = SCORES["gradnorm"]
    return planned("gradnorm", Ranked(_expected if expected else score.order), needs=score.needs)


def _expected(pool: Pool) -> jax.Array:
    return log_expected_gradient_norm(pool.logits, pool.features)
