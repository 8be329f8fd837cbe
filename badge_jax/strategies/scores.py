"""Scores that rank rows by their logits alone.

Each orders rows as its textbook definition does, but on a log scale, which does not saturate in float32: not
where the model is sure of itself, as a network trained to fit its labels is on most of its pool, and not where
it is unsure of everything. A saturated score would fill the batch with ties.
"""

import math

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


def log_odds_of_entropy(logits: jax.Array) -> jax.Array:
    """ln(H / (ln c − H)) for the entropy H = Σ p ln 1/p, which is ln c at most: rises with H. [n] float32.

    −∞ where only one class is possible, +∞ where all are equally likely.
    """
    log_entropy = _log_entropy(logits.astype(jnp.float32))
    log_rest = jnp.log(_divergence_from_uniform(logits.astype(jnp.float32)))
    return jnp.where(log_entropy > -jnp.inf, log_entropy - log_rest, -jnp.inf)


def _log_entropy(logits: jax.Array) -> jax.Array:
    """ln Σ p ln 1/p with 0 ln 0 = 0: [n] float32 from [n, c].

    With L = ln Σ e^gap over all classes, −ln p is L for the largest and L − gap for another, never negative.
    """
    gaps, log_others = _log_others(logits)
    log_sum = jax.nn.softplus(log_others)
    # ln L, where L = ln(1 + s) is s itself once s is tiny
    log_log_sum = jnp.where(log_others < -15, log_others, jnp.log(log_sum))
    finite_gaps = jnp.where(gaps > -jnp.inf, gaps, 0.0)
    others = jnp.where(gaps > -jnp.inf, gaps + jnp.log(log_sum[:, None] - finite_gaps), -jnp.inf)
    return jnp.logaddexp(jax.nn.logsumexp(others, axis=1), log_log_sum) - log_sum


def _divergence_from_uniform(logits: jax.Array) -> jax.Array:
    """ln c − Σ p ln 1/p, with its digits where it is small: [n] float32 from [n, c].

    With u = ln(c p) it is the mean of u eᵘ − eᵘ + 1 over the classes. No term is negative, so the sum loses no
    digits; where u is small, the Taylor series of a term loses none either.
    """
    gaps = logits - jnp.max(logits, axis=1, keepdims=True)
    is_flat = jnp.min(gaps, axis=1, keepdims=True) > -0.5
    flat_gaps = jnp.where(is_flat, gaps, 0.0)
    log_mean = jnp.where(
        is_flat,
        jnp.log1p(jnp.mean(jnp.expm1(flat_gaps), axis=1, keepdims=True)),
        jnp.log(jnp.mean(jnp.exp(gaps), axis=1, keepdims=True)),
    )
    u = gaps - log_mean
    finite = jnp.where(u > -jnp.inf, u, 0.0)
    exact = jnp.where(u > -jnp.inf, finite * jnp.exp(finite), 0.0) - jnp.expm1(u)
    small = jnp.where(jnp.abs(u) < 0.5, u, 0.0)
    series = jnp.zeros_like(u)
    for k in range(10, 1, -1):  # Σ uᵏ (k − 1) / k!
        series = series * small + (k - 1) / math.factorial(k)
    return jnp.mean(jnp.where(jnp.abs(u) < 0.5, series * small**2, exact), axis=1)


def _log_others(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Differences to each row's largest logit, −∞ at the largest itself [n, c], and ln Σ exp of them [n]."""
    is_largest = jnp.arange(logits.shape[1])[None, :] == jnp.argmax(logits, axis=1)[:, None]
    gaps = jnp.where(is_largest, -jnp.inf, logits - jnp.max(logits, axis=1, keepdims=True))
    return gaps, jax.nn.logsumexp(gaps, axis=1)
