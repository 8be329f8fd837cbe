"""Stochastic batches: the top of a score after noise."""

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.samplers import gumbel_top_k
from badge_jax.samplers.checks import check_number
from badge_jax.strategies.base import Strategy, stateless
from badge_jax.strategies.scores import SCORES, Score

LAWS = ("power", "softmax", "softrank")
_LEAST_BETA, _LARGEST_BETA = 1e-30, 1e30  # so that float32 holds β and β ln w


def stochastic(*, score: str = "margin", law: str = "power", beta: float = 1.0) -> Strategy:
    """Rows drawn one by one by how unsure the model is of them. As cheap as the score alone, and not as
    redundant as its best rows; a baseline for any strategy that spreads its batch.

    The next row is drawn with probability ∝ w among those left:

    - power: w = s^β.
    - softmax: w = exp(β s).
    - softrank: w = rank^(−β), where the available row of the highest s has rank 1; ties go to the lower index.

    Rows that are not available do not count. Rows of score 0 come after all others under power and softrank,
    in random order. A large β takes the highest
    scores, a small one draws uniformly.

    Args:
        score: s, "margin" (1 − m for the difference m of the two largest class probabilities), "entropy" (in
            nats), "confidence" (1 − max p) or "gradnorm" (‖g‖, the length of BADGE's gradient).
        law: "power", "softmax" or "softrank".
        beta: β, from 1e-30 to 1e30.

    Raises:
        ValueError: for another score or law, or a β out of range.

    References:
        Kirsch et al., TMLR 2023, arXiv 2106.12059.

    Example:
        >>> from badge_jax.strategies import stochastic
        >>> stochastic(score="gradnorm", law="softmax", beta=2.0).needs
        ('logits', 'features')
    """
    if score not in SCORES:
        raise ValueError(f"score is {score!r}; wanted one of {', '.join(SCORES)}")
    if law not in LAWS:
        raise ValueError(f"law is {law!r}; wanted one of {', '.join(LAWS)}")
    check_number("beta", beta, _LEAST_BETA, _LARGEST_BETA)
    chosen = SCORES[score]

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        log_weights = beta * _log_weights(chosen, law, pool)
        return gumbel_top_k(key, log_weights, k, available=pool.available)

    return stateless("stochastic", choose, needs=chosen.needs)


def _log_weights(score: Score, law: str, pool: Pool) -> jax.Array:
    """ln w for β = 1: [n] float32."""
    if law == "power":
        return score.log(pool)
    if law == "softmax":
        return jnp.exp(score.log(pool))
    order = score.order(pool)
    return jnp.where(order > -jnp.inf, -jnp.log(_ranks(order, pool.available)), -jnp.inf)


def _ranks(scores: jax.Array, available: jax.Array) -> jax.Array:
    """1 for the highest of the available ``scores`` [n], ties to the lower index; [n] float32."""
    n = scores.shape[0]
    order = jnp.argsort(jnp.where(available, -scores, jnp.inf), stable=True)
    return jnp.zeros(n, jnp.float32).at[order].set(jnp.arange(1, n + 1, dtype=jnp.float32), unique_indices=True)
