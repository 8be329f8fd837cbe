import jax
import numpy as np
import pytest
from oracles import softmax
from pools import pool_of_logits
from scipy import stats

from badge_jax import STRATEGIES


def picks_of(name, logits, k):
    return STRATEGIES[name]().query(jax.random.key(0), (), pool_of_logits(logits), k)[0].tolist()


def textbook_scores(logits, dtype=np.float64):
    """Scores in this precision, lowest first."""
    p = softmax(logits, dtype)
    ordered = np.sort(p, axis=1)
    log_p = np.log(p, out=np.zeros_like(p), where=p > 0)
    return {
        "confidence": ordered[:, -1],
        "margin": ordered[:, -1] - ordered[:, -2],
        "entropy": (p * log_p).sum(1),
    }


@pytest.mark.parametrize("name", ["confidence", "margin", "entropy"])
@pytest.mark.parametrize("spread", [0.3, 3.0, 8.0])
def test_order_is_that_of_the_textbook_score(name, spread):
    logits = (np.random.default_rng(1).normal(size=(300, 6)) * spread).astype(np.float32)
    picks = picks_of(name, logits, 300)
    score = textbook_scores(logits)[name][picks]
    assert (np.diff(score) > -1e-7).all()  # float32 may swap rows whose scores agree to its precision


@pytest.mark.parametrize("name", ["confidence", "margin", "entropy"])
def test_confident_rows_are_told_apart(name):
    """1 − max p is 1e-9 to 1e-130 here: in float32 every max p is 1."""
    gaps = np.random.default_rng(2).permutation(np.linspace(20, 300, 80))
    logits = np.stack([gaps, np.zeros(80), np.full(80, -1.0)], axis=1)
    assert picks_of(name, logits, 80) == np.argsort(gaps).tolist()


@pytest.mark.parametrize("name", ["confidence", "margin", "entropy"])
@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_clueless_rows_are_told_apart(name, num_classes):
    """The 100 most uncertain of 5,000 rows, where the model knows nothing, against 80 bits."""
    for spread in (1, 1e-2, 1e-3, 1e-4):
        logits = spread * np.random.default_rng(4).normal(size=(5000, num_classes))
        logits = logits.astype(np.float32)
        score = textbook_scores(logits, np.longdouble)[name]
        picks = picks_of(name, logits, 100)
        assert len(set(picks) & set(np.argsort(score, kind="stable")[:100].tolist())) >= 99


def test_small_margins_are_told_apart():
    """Margins of 1e-9 and less: p₁ − p₂ in float32 would be 0 for all."""
    gaps = np.random.default_rng(3).permutation(np.geomspace(1e-30, 1e-9, 50))
    logits = np.stack([np.zeros(50), gaps], axis=1)
    assert picks_of("margin", logits, 50) == np.argsort(gaps).tolist()


@pytest.mark.parametrize("name", ["confidence", "margin", "entropy"])
def test_ties_go_to_the_lower_index(name):
    logits = np.array([[1.0, 3.0], [0.0, 0.0], [3.0, 1.0], [0.0, 0.0], [1.0, 3.0]])
    assert picks_of(name, logits, 5) == [1, 3, 0, 2, 4]


def test_known_scores_disagree_where_they_should():
    # row 0: low max p, wide margin; row 1: two rivals; row 2: certain
    logits = np.log(np.array([[0.4, 0.2, 0.2, 0.2], [0.49, 0.48, 0.02, 0.01], [0.97, 0.01, 0.01, 0.01]]))
    assert picks_of("confidence", logits, 3) == [0, 1, 2]
    assert picks_of("margin", logits, 3) == [1, 0, 2]
    assert picks_of("entropy", logits, 3) == [0, 1, 2]


@pytest.mark.parametrize("name", ["confidence", "margin", "entropy"])
def test_impossible_classes(name):
    logits = np.array([[5.0, -np.inf, -np.inf], [1.0, 1.0, -np.inf], [2.0, 1.0, -np.inf]])
    assert picks_of(name, logits, 3) == [1, 2, 0]


def test_random_is_uniform_without_replacement():
    strategy = STRATEGIES["random"]()
    available = np.array([True, False, True, True, True])
    pool = pool_of_logits(np.zeros((5, 2)), available)
    keys = jax.random.split(jax.random.key(0), 24_000)
    draws = jax.jit(jax.vmap(lambda key: strategy.query(key, (), pool, 2)[0]))(keys)
    pairs, counts = np.unique(draws, axis=0, return_counts=True)
    assert len(pairs) == 12
    assert not (pairs == 1).any()
    assert stats.chisquare(counts).pvalue > 1e-4
