"""Strategies that score every row by itself: the k best available rows, ties to the lower index.

Each score orders rows as its textbook definition does, but is computed so that it does not saturate in
float32 where the model is sure of itself: a network trained to fit its labels is sure of most of its pool, and
a saturated score would fill the batch with ties.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from badge_jax.strategies.interface import Pool, Strategy, stateless


def confidence() -> Strategy:
    """CONF: the rows whose largest class probability is smallest (Wang and Shang 2014)."""
    return _highest(_doubt)


def margin() -> Strategy:
    """MARG: the rows with the smallest difference of their two largest class probabilities (Roth and Small
    2006)."""
    return _highest(lambda logits: -_margin_log_odds(logits))


def entropy() -> Strategy:
    """ENTROPY: the rows whose class probabilities have the largest entropy Σ p ln 1/p (Wang and Shang 2014)."""
    return _highest(_entropy)


def random() -> Strategy:
    """RAND: uniform without replacement."""

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        order = jax.random.permutation(key, pool.available.shape[0])
        is_free = pool.available[order]
        first = jnp.argsort(~is_free, stable=True)[:k]
        return jnp.where(is_free[first], order[first], -1).astype(jnp.int32)

    return stateless(choose)


def _highest(score: Callable[[jax.Array], jax.Array]) -> Strategy:
    """The available rows with the highest ``score(logits [n, c]) -> [n]``."""

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        # a score may itself be −∞ and still go before every row that is not available
        scores = jnp.maximum(score(pool.logits.astype(jnp.float32)), jnp.finfo(jnp.float32).min)
        order = jax.lax.top_k(jnp.where(pool.available, scores, -jnp.inf), k)[1]
        return jnp.where(pool.available[order], order, -1).astype(jnp.int32)

    return stateless(choose)


def _relative_to_largest(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Differences to each row's largest logit, [n, c], and which entry that is, [n, c] bool."""
    gaps = logits - jnp.max(logits, axis=1, keepdims=True)
    return gaps, jnp.arange(logits.shape[1])[None, :] == jnp.argmax(logits, axis=1)[:, None]


def _doubt(logits: jax.Array) -> jax.Array:
    """1 − max p, as the sum of the other probabilities: [n] from [n, c]."""
    gaps, is_largest = _relative_to_largest(logits)
    others = jnp.sum(jnp.where(is_largest, 0.0, jnp.exp(gaps)), axis=1)
    return others / (1 + others)


def _margin_log_odds(logits: jax.Array) -> jax.Array:
    """ln(m / (1 − m)) for the margin m = p₁ − p₂: rises with m and saturates at neither end. [n] from [n, c].

    With g = logit₂ − logit₁ and s = Σ of exp(gap) over all but the largest, m ∝ 1 − e^g and 1 − m ∝ s + e^g.
    """
    gaps, is_largest = _relative_to_largest(logits)
    others = jnp.where(is_largest, -jnp.inf, gaps)
    second = jnp.max(others, axis=1)
    return jnp.log(-jnp.expm1(second)) - jnp.log(jnp.sum(jnp.exp(others), axis=1) + jnp.exp(second))


def _entropy(logits: jax.Array) -> jax.Array:
    """Σ p ln 1/p with 0 ln 0 = 0: [n] from [n, c], as ln Σ e^gap − Σ p·gap, where no term is negative."""
    gaps, is_largest = _relative_to_largest(logits)
    weights = jnp.where(is_largest, 0.0, jnp.exp(gaps))
    others = jnp.sum(weights, axis=1)
    finite_gaps = jnp.where(weights > 0, gaps, 0.0)
    return jnp.log1p(others) - jnp.sum(weights * finite_gaps, axis=1) / (1 + others)
