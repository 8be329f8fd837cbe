"""Scores that rank rows by their logits alone.

Each orders rows as its textbook definition does, but on a log scale, which does not saturate in float32 where
the model is sure of itself. A network trained to fit its labels is sure of most of its pool, and a saturated
score would fill the batch with ties.
"""

import jax
import jax.numpy as jnp


def log_odds_of_doubt(logits: jax.Array) -> jax.Array:
    """ln((1 − max p) / max p): falls as max p rises. [n] float32 from [n, c]."""
    return _log_others(logits.astype(jnp.float32))[1]


def log_odds_of_margin(logits: jax.Array) -> jax.Array:
    """ln(m / (1 − m)) for the margin m = p₁ − p₂: rises with m. [n] float32 from [n, c].

    With g = logit₂ − logit₁ and s = Σ of exp(gap) over all but the largest, m ∝ 1 − e^g and 1 − m ∝ s + e^g.
    """
    gaps, log_others = _log_others(logits.astype(jnp.float32))
    second = jnp.max(gaps, axis=1)
    return jnp.log(-jnp.expm1(second)) - jnp.logaddexp(log_others, second)


def log_entropy(logits: jax.Array) -> jax.Array:
    """ln Σ p ln 1/p with 0 ln 0 = 0: [n] float32 from [n, c].

    With L = ln Σ e^gap over all classes, −ln p is L for the largest and L − gap for another, never negative.
    """
    gaps, log_others = _log_others(logits.astype(jnp.float32))
    log_sum = jax.nn.softplus(log_others)
    # ln L, where L = ln(1 + s) is s itself once s is tiny
    log_log_sum = jnp.where(log_others < -15, log_others, jnp.log(log_sum))
    finite_gaps = jnp.where(gaps > -jnp.inf, gaps, 0.0)
    others = jnp.where(gaps > -jnp.inf, gaps + jnp.log(log_sum[:, None] - finite_gaps), -jnp.inf)
    return jnp.logaddexp(jax.nn.logsumexp(others, axis=1), log_log_sum) - log_sum


def _log_others(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Differences to each row's largest logit, −∞ at the largest itself [n, c], and ln Σ exp of them [n]."""
    is_largest = jnp.arange(logits.shape[1])[None, :] == jnp.argmax(logits, axis=1)[:, None]
    gaps = jnp.where(is_largest, -jnp.inf, logits - jnp.max(logits, axis=1, keepdims=True))
    return gaps, jax.nn.logsumexp(gaps, axis=1)
