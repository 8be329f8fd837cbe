"""A temperature that makes a network's probabilities believable, from the labels that are known."""

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.rows import HIGHEST
from badge_jax.samplers.draw import shuffled

_MOST_TEMPERATURE = 20.0
_MOST_LABELED = 4096  # labeled rows that a probe sees
_PENALTY = 1e-3  # of the probe's squared weights
_NUM_STEPS = 200  # of the probe's fit


def calibrate_temperature(logits: jax.Array, labels: jax.Array, counted: jax.Array) -> jax.Array:
    """The temperature τ for which softmax(logits/τ) has the least negative log-likelihood, from 1 to 20.

    The likelihood is convex in 1/τ, so bisection finds it. A network that doubts too much keeps τ = 1.

    Args:
        logits: [m, c] float32.
        labels: [m] int32, 0 to c − 1 where ``counted``.
        counted: [m] bool, rows to use.

    Returns:
        Scalar float32; 1 if no row counts.

    References:
        Guo et al., ICML 2017.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax.strategies.calibration import calibrate_temperature
        >>> logits = jnp.array([[6.0, 0.0]] * 4)  # sure of class 0, which is right three times of four
        >>> tau = calibrate_temperature(logits, jnp.array([0, 0, 0, 1]), jnp.ones(4, bool))
        >>> round(float(tau), 2)  # 6 / ln 3
        5.46
    """
    logits = jnp.where(counted[:, None], logits - jnp.max(logits, axis=1, keepdims=True), 0.0)
    hits = jax.nn.one_hot(labels, logits.shape[1])
    own = jnp.sum(hits * logits, axis=1)

    def slope(inverse: jax.Array) -> jax.Array:
        """Of the negative log-likelihood in 1/τ."""
        mean = jnp.sum(jax.nn.softmax(inverse * logits, axis=1) * logits, axis=1)
        return jnp.sum(jnp.where(counted, mean - own, 0.0))

    def halve(_: int, span: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = span
        middle = (low + high) / 2
        is_past = slope(middle) > 0
        return jnp.where(is_past, low, middle), jnp.where(is_past, middle, high)

    span = jnp.float32(1 / _MOST_TEMPERATURE), jnp.float32(1)
    low, high = jax.lax.fori_loop(0, 24, halve, span)
    return 2 / (low + high)


def probe_temperature(key: jax.Array, pool: Pool) -> jax.Array:
    """The temperature of a logistic regression on the features, fitted to 70 % of the labels: scalar float32.

    It stands for the network, which was trained on all labels, so that none is left to calibrate it with. The
    other 30 % choose the temperature.
    """
    c = pool.logits.shape[1]
    rows = shuffled(key, pool.labeled)[:_MOST_LABELED]
    is_known, labels = pool.labeled[rows] & (pool.labels[rows] >= 0), pool.labels[rows]
    count = jnp.sum(is_known)
    place = jnp.cumsum(is_known) - 1
    is_fitted = is_known & (place < jnp.ceil(0.7 * count))
    features = jnp.where(is_known[:, None], pool.features[rows].astype(jnp.float32), 0.0)
    logits = _probe(features, jax.nn.one_hot(labels, c), is_fitted)
    return calibrate_temperature(logits, labels, is_known & ~is_fitted)


def _probe(features: jax.Array, hits: jax.Array, is_fitted: jax.Array) -> jax.Array:
    """Logits [m, c] of a logistic regression on standardized features, by Nesterov's accelerated gradient."""
    share = (is_fitted / jnp.maximum(jnp.sum(is_fitted), 1))[:, None]
    mean = jnp.sum(share * features, axis=0)
    variance = jnp.sum(share * (features - mean[None, :]) ** 2, axis=0)
    x = (features - mean[None, :]) / jnp.sqrt(jnp.where(variance > 0, variance, 1.0))[None, :]
    x = jnp.concatenate([x, jnp.ones((len(x), 1))], axis=1)
    steepness = 0.5 * jnp.sum(share * jnp.sum(x**2, axis=1, keepdims=True)) + _PENALTY

    def step(t: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        weights, ahead = carry
        errors = share * (jax.nn.softmax(jnp.dot(x, ahead, precision=HIGHEST), axis=1) - hits)
        after = ahead - (jnp.dot(x.T, errors, precision=HIGHEST) + _PENALTY * ahead) / steepness
        return after, after + t / (t + 3) * (after - weights)

    start = jnp.zeros((x.shape[1], hits.shape[1]))
    weights, _ = jax.lax.fori_loop(0, _NUM_STEPS, step, (start, start))
    return jnp.dot(x, weights, precision=HIGHEST)
