"""ln s against the definition of s, with 150 decimal digits."""

from decimal import Decimal, localcontext

import jax
import numpy as np
import pytest
from pools import pool_of_logits

from badge_jax.strategies.scores import SCORES, log_expected_gradient_norm

ROUNDING = 2e-6  # 32 roundings of 6e-8: sums of up to 10 classes and 8 features, and a few functions


def exact_logs(logits, features):
    """{score: ln s [n]} by the definitions."""
    found = {name: [] for name in (*SCORES, "expected")}
    with localcontext() as context:
        context.prec = 150
        for row, z in zip(logits.tolist(), features.tolist(), strict=True):
            weights = [Decimal(x).exp() for x in row]
            p = [w / sum(weights) for w in weights]
            ordered, length = sorted(p), sum(Decimal(x) ** 2 for x in z).sqrt()

            def gradient(label, p=p, length=length):
                return sum((q - (i == label)) ** 2 for i, q in enumerate(p)).sqrt() * length

            scores = {
                "margin": 1 - (ordered[-1] - ordered[-2]),
                "entropy": -sum(q * q.ln() for q in p if q > 0),
                "confidence": 1 - ordered[-1],
                "gradnorm": gradient(p.index(ordered[-1])),
                "expected": sum(q * gradient(label) for label, q in enumerate(p)),
            }
            for name, score in scores.items():
                found[name].append(float(score.ln()) if score > 0 else -np.inf)
    return {name: np.array(values) for name, values in found.items()}


def outputs(kind, n=40, c=10, d=8):
    """logits [n, c] and features [n, d] float32."""
    rng = np.random.default_rng(5)
    logits, features = rng.normal(size=(n, c)), rng.normal(size=(n, d))
    if kind == "ordinary":
        logits *= np.geomspace(0.3, 8, n)[:, None]
    if kind == "sure":  # all but one class have probabilities from 1e-4 to 1e-130, where float32 has 1 − p = 0
        logits[:, 3] += np.geomspace(10, 300, n)
    if kind == "unsure":
        logits *= np.geomspace(1e-9, 0.1, n)[:, None]
    if kind == "two":  # margins from 1e-12 on
        logits[:, :2] = 20
        logits[:, 0] += np.geomspace(1e-6, 1, n)
    if kind == "extreme":
        logits = 100 * np.sign(logits)
        features *= np.geomspace(1e-25, 1e25, n)[:, None]
    return logits.astype(np.float32), features.astype(np.float32)


@jax.jit
def found_logs(pool):
    logs = {name: score.log(pool) for name, score in SCORES.items()}
    return {**logs, "expected": log_expected_gradient_norm(pool.logits, pool.features)}


@pytest.mark.parametrize("kind", ["ordinary", "sure", "unsure", "two", "extreme"])
def test_logarithms_keep_their_digits(kind):
    logits, features = outputs(kind)
    found = found_logs(pool_of_logits(logits)._replace(features=features))
    for name, exact in exact_logs(logits, features).items():
        # a difference of logits is rounded too, and ln s grows with it
        np.testing.assert_allclose(found[name], exact, rtol=ROUNDING, atol=ROUNDING, err_msg=name)
        if name in ("margin", "confidence"):  # as powers of s are taken, ln s needs its digits near s = 1 too
            np.testing.assert_allclose(found[name], exact, rtol=ROUNDING, atol=0, err_msg=name)


def test_the_order_is_that_of_the_logarithm():
    logits, features = outputs("ordinary")
    pool = pool_of_logits(logits)._replace(features=features)
    for name, score in SCORES.items():
        assert np.argsort(score.order(pool)).tolist() == np.argsort(score.log(pool)).tolist(), name


def test_nothing_to_doubt_is_a_score_of_0():
    """Where one class only is possible, or a feature vector is 0."""
    logits = np.array([[3.0, -np.inf, -np.inf], [0.0, 1.0, -np.inf], [1.0, 2.0, 3.0]], np.float32)
    features = np.array([[1.0], [2.0], [0.0]], np.float32)
    pool = pool_of_logits(logits)._replace(features=features)
    for name, score in SCORES.items():
        expected = [True, False, name == "gradnorm"]
        assert (np.asarray(score.log(pool)) == -np.inf).tolist() == expected, name
        assert (np.asarray(score.order(pool)) == -np.inf).tolist() == expected, name
        assert not np.isnan(score.log(pool)).any()
    expected = np.asarray(log_expected_gradient_norm(pool.logits, pool.features))
    assert (expected == -np.inf).tolist() == [True, False, True]
