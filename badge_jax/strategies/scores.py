"""Textbook scores of how unsure a model is of a row, on two scales.

``log`` is ln s, from which weights are made. ``order`` ranks rows as s does, but it does not saturate in
float32: not where the model is sure of itself, as a network trained to fit its labels is on most of its pool,
and not where it is unsure of everything. A saturated score would fill a batch with ties.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool


class Score(NamedTuple):
    """A score s ≥ 0 that is high where the model is unsure.

    Attributes:
        log: `Pool` -> [n] float32, ln s; −∞ where s is 0.
        order: `Pool` -> [n] float32, which rises with s; −∞ where s is 0.
        needs: fields of `Pool` that both read.
    """

    log: Callable[[Pool], jax.Array]
    order: Callable[[Pool], jax.Array]
    needs: tuple[str, ...]


def log_doubt(logits: jax.Array) -> jax.Array:
    """ln(1 − max p): [n] float32 from [n, c]."""
    return -jax.nn.softplus(-log_odds_of_doubt(logits))


def log_odds_of_doubt(logits: jax.Array) -> jax.Array:
    """ln((1 − max p) / max p): falls as max p rises. [n] float32 from [n, c]."""
    return _log_others(logits.astype(jnp.float32))[1]


def log_closeness(logits: jax.Array) -> jax.Array:
    """ln(1 − m) for the margin m = p₁ − p₂: [n] float32 from [n, c]."""
    gaps, log_others = _log_others(logits.astype(jnp.float32))
    second, log_sum = jnp.max(gaps, axis=1), jax.nn.softplus(log_others)
    margin = -jnp.expm1(second) * jnp.exp(-log_sum)
    # the first has the digits of a small margin, the second those of one near 1
    return jnp.where(margin < 0.5, jnp.log1p(-margin), jnp.logaddexp(log_others, second) - log_sum)


def log_odds_of_margin(logits: jax.Array) -> jax.Array:
    """ln(m / (1 − m)) for the margin m = p₁ − p₂: rises with m. [n] float32 from [n, c].

    With g = logit₂ − logit₁ and s = Σ of exp(gap) over all but the largest, m ∝ 1 − e^g and 1 − m ∝ s + e^g.
    """
    gaps, log_others = _log_others(logits.astype(jnp.float32))
    second = jnp.max(gaps, axis=1)
    return jnp.log(-jnp.expm1(second)) - jnp.logaddexp(log_others, second)


def log_entropy(logits: jax.Array) -> jax.Array:
    """ln H for the entropy H = Σ p ln 1/p in nats, with 0 ln 0 = 0: [n] float32 from [n, c].

    With L = ln Σ e^gap over all classes, −ln p is L for the largest and L − gap for another, never negative.
    """
    gaps, log_others = _log_others(logits.astype(jnp.float32))
    log_sum = jax.nn.softplus(log_others)
    # ln L, where L = ln(1 + s) is s itself once s is tiny
    log_log_sum = jnp.where(log_others < -15, log_others, jnp.log(log_sum))
    finite_gaps = jnp.where(gaps > -jnp.inf, gaps, 0.0)
    others = jnp.where(gaps > -jnp.inf, gaps + jnp.log(log_sum[:, None] - finite_gaps), -jnp.inf)
    return jnp.logaddexp(jax.nn.logsumexp(others, axis=1), log_log_sum) - log_sum


def log_odds_of_entropy(logits: jax.Array) -> jax.Array:
    """ln(H / (ln c − H)) for the entropy H, which is ln c at most: rises with H. [n] float32 from [n, c].

    −∞ where only one class is possible, +∞ where all are equally likely.
    """
    log_of_entropy = log_entropy(logits)
    log_rest = jnp.log(_divergence_from_uniform(logits.astype(jnp.float32)))
    return jnp.where(log_of_entropy > -jnp.inf, log_of_entropy - log_rest, -jnp.inf)


def log_gradient_norm(logits: jax.Array, features: jax.Array) -> jax.Array:
    """ln ‖g‖ for BADGE's gradient g = (p − onehot(ŷ)) ⊗ z: [n] float32 from [n, c] and [n, d]."""
    return _log_residual(*_log_others(logits.astype(jnp.float32))) + _log_length(features.astype(jnp.float32))


def log_expected_gradient_norm(logits: jax.Array, features: jax.Array) -> jax.Array:
    """ln Σ_y p_y ‖(p − onehot(y)) ⊗ z‖: [n] float32 from [n, c] and [n, d].

    ‖p − onehot(y)‖² is ‖p‖² + 1 − 2 p_y, a sum of what is not negative but for y = ŷ. That term is p_ŷ times
    the length of BADGE's residual.
    """
    gaps, log_others = _log_others(logits.astype(jnp.float32))
    log_sum = jax.nn.softplus(log_others)
    log_p = gaps - log_sum[:, None]  # −∞ for ŷ
    p = jnp.exp(log_p)
    squared = jnp.sum(p**2, axis=1) + jnp.exp(-2 * log_sum)
    others = log_p + 0.5 * jnp.log(squared[:, None] + 1 - 2 * p)
    left = jnp.logaddexp(jax.nn.logsumexp(others, axis=1), _log_residual(gaps, log_others) - log_sum)
    return left + _log_length(features.astype(jnp.float32))


def _log_residual(gaps: jax.Array, log_others: jax.Array) -> jax.Array:
    """ln ‖p − onehot(ŷ)‖ from what `_log_others` gives: [n] float32.

    With s = Σ e^gap over the other classes, the entries are e^gap / (1 + s) and −s / (1 + s).
    """
    squared = jnp.logaddexp(jax.nn.logsumexp(2 * gaps, axis=1), 2 * log_others)
    return 0.5 * squared - jax.nn.softplus(log_others)


def _log_length(vectors: jax.Array) -> jax.Array:
    """ln ‖z‖, where squares may neither overflow nor underflow: [n] float32 from [n, d]."""
    largest = jnp.max(jnp.abs(vectors), axis=1)
    scaled = vectors / jnp.where(largest > 0, largest, 1.0)[:, None]
    return jnp.log(largest) + 0.5 * jnp.log(jnp.sum(scaled**2, axis=1))


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


def _log_gradient_norm_of(pool: Pool) -> jax.Array:
    return log_gradient_norm(pool.logits, pool.features)


SCORES = {
    "margin": Score(
        lambda pool: log_closeness(pool.logits), lambda pool: -log_odds_of_margin(pool.logits), ("logits",)
    ),
    "entropy": Score(
        lambda pool: log_entropy(pool.logits), lambda pool: log_odds_of_entropy(pool.logits), ("logits",)
    ),
    "confidence": Score(
        lambda pool: log_doubt(pool.logits), lambda pool: log_odds_of_doubt(pool.logits), ("logits",)
    ),
    "gradnorm": Score(_log_gradient_norm_of, _log_gradient_norm_of, ("logits", "features")),
}
"""Name → score: 1 − m for the margin m, H, 1 − max p, and ‖g‖ for BADGE's gradient g."""
