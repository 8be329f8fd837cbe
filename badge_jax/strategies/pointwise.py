"""Strategies that score every row by itself: the k best available rows, ties to the lower index.

Each score orders rows as its textbook definition does, but on a log scale, which does not saturate in float32
where the model is sure of itself: a network trained to fit its labels is sure of most of its pool, and
a saturated score would fill the batch with ties.
"""

import jax
import jax.numpy as jnp

from badge_jax.strategies.base import Strategy, stateless


def confidence() -> Strategy:
    """CONF: the rows whose largest class probability is smallest (Wang and Shang 2014)."""
    return _highest("confidence")


def margin() -> Strategy:
    """MARG: the rows with the smallest difference of their two largest class probabilities (Roth and Small
    2006)."""
    return _highest("margin")


def entropy() -> Strategy:
    """ENTROPY: the rows whose class probabilities have the largest entropy Σ p ln 1/p (Wang and Shang 2014)."""
    return _highest("entropy")


def random() -> Strategy:
    """RAND: uniform without replacement."""
    return stateless(lambda key, pool, k: uniform(key, pool.available, k))


def uniform(key: jax.Array, available: jax.Array, k: int) -> jax.Array:
    """Available rows drawn uniformly without replacement: [k] int32, −1 for the surplus."""
    order = jax.random.permutation(key, available.shape[0])
    is_free = available[order]
    first = jnp.argsort(~is_free, stable=True)[:k]
    return jnp.where(is_free[first], order[first], -1).astype(jnp.int32)


def score(name: str, logits: jax.Array) -> jax.Array:
    """What the strategy ``name`` ranks rows by, from the highest down: [n] float32, finite, from [n, c]."""
    scores = {
        "confidence": _log_odds_of_doubt,
        "margin": lambda logits: -_log_odds_of_margin(logits),
        "entropy": _log_entropy,
    }
    # −∞ is a score too, above that of every row that is not available
    return jnp.maximum(scores[name](logits.astype(jnp.float32)), jnp.finfo(jnp.float32).min)


def highest(scores: jax.Array, available: jax.Array, k: int) -> jax.Array:
    """The available rows of highest ``scores`` [n], ties to the lower index: [k] int32, −1 for the surplus."""
    order = jax.lax.top_k(jnp.where(available, scores, -jnp.inf), k)[1]
    return jnp.where(available[order], order, -1).astype(jnp.int32)


def _highest(name: str) -> Strategy:
    return stateless(lambda key, pool, k: highest(score(name, pool.logits), pool.available, k))


def _log_others(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Differences to each row's largest logit, −∞ at the largest itself [n, c], and ln Σ exp of them [n]."""
    is_largest = jnp.arange(logits.shape[1])[None, :] == jnp.argmax(logits, axis=1)[:, None]
    gaps = jnp.where(is_largest, -jnp.inf, logits - jnp.max(logits, axis=1, keepdims=True))
    return gaps, jax.nn.logsumexp(gaps, axis=1)


def _log_odds_of_doubt(logits: jax.Array) -> jax.Array:
    """ln((1 − max p) / max p): falls as max p rises. [n] from [n, c]."""
    return _log_others(logits)[1]


def _log_odds_of_margin(logits: jax.Array) -> jax.Array:
    """ln(m / (1 − m)) for the margin m = p₁ − p₂: rises with m. [n] from [n, c].

    With g = logit₂ − logit₁ and s = Σ of exp(gap) over all but the largest, m ∝ 1 − e^g and 1 − m ∝ s + e^g.
    """
    gaps, log_others = _log_others(logits)
    second = jnp.max(gaps, axis=1)
    return jnp.log(-jnp.expm1(second)) - jnp.logaddexp(log_others, second)


def _log_entropy(logits: jax.Array) -> jax.Array:
    """ln Σ p ln 1/p with 0 ln 0 = 0: [n] from [n, c].

    With L = ln Σ e^gap over all classes, −ln p is L for the largest and L − gap for another, never negative.
    """
    gaps, log_others = _log_others(logits)
    log_sum = jax.nn.softplus(log_others)
    # ln L, where L = ln(1 + s) is s itself once s is tiny
    log_log_sum = jnp.where(log_others < -15, log_others, jnp.log(log_sum))
    finite_gaps = jnp.where(gaps > -jnp.inf, gaps, 0.0)
    others = jnp.where(gaps > -jnp.inf, gaps + jnp.log(log_sum[:, None] - finite_gaps), -jnp.inf)
    return jnp.logaddexp(jax.nn.logsumexp(others, axis=1), log_log_sum) - log_sum
