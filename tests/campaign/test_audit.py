"""The audit's numbers against SciPy and definitions, and its intervals against the truth in whole campaigns."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binomtest

from badge_jax.campaign import (
    agreement,
    ask,
    audit_of,
    audit_rows,
    begin,
    has_settled,
    next_audit_rows,
    offered,
    take,
    training_rows,
    wilson_interval,
)


@pytest.mark.parametrize("total", [1, 2, 10, 137])
def test_wilson_is_scipy_s(total):
    for num_correct in {0, 1, total // 3, total - 1, total}:
        wanted = binomtest(num_correct, total).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(wilson_interval(num_correct, total), wanted, rtol=1e-12, atol=1e-12)


def test_nothing_is_known_of_an_empty_sample():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    audit = audit_of(np.zeros(0, np.int32), np.zeros(0, np.int32), 3)
    assert np.isnan([audit.accuracy, audit.balanced_accuracy]).all()


def test_balanced_accuracy_is_the_mean_recall():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, 90), rng.integers(0, 5, 90)
    audit = audit_of(labels, predictions, 5)  # class 4 does not occur
    recalls = [np.mean(predictions[labels == c] == c) for c in range(4)]
    assert audit.balanced_accuracy == pytest.approx(np.mean(recalls), abs=1e-12)
    assert audit.accuracy == pytest.approx(np.mean(labels == predictions), abs=1e-12)
    assert audit.rows_of_class.tolist() == [*np.bincount(labels).tolist(), 0]


def test_agreement_is_cohen_s_kappa():
    """From the table of counts, in fractions."""
    rng = np.random.default_rng(1)
    first = rng.integers(0, 3, 50)
    second = np.where(rng.random(50) < 0.7, first, rng.integers(0, 3, 50))
    table = np.zeros((3, 3), int)
    np.add.at(table, (first, second), 1)
    observed = Fraction(int(np.trace(table)), 50)
    chance = sum(Fraction(int(table[c].sum()) * int(table[:, c].sum()), 2500) for c in range(3))
    assert agreement(first, second, 3) == pytest.approx(float((observed - chance) / (1 - chance)), abs=1e-12)
    assert agreement(first, first, 3) == 1.0
    assert agreement(np.zeros(5, int), np.zeros(5, int), 3) == 1.0


def test_the_rule_for_stopping():
    assert not has_settled([])
    assert not has_settled([1.0, 1.0])
    assert has_settled([0.2, 0.991, 0.99, 0.99])
    assert not has_settled([0.99, 0.99, 0.98])
    assert has_settled([0.98, 1.0, 0.995])


NUM_POOL, NUM_CLASSES, BATCH, NUM_BATCHES = 3000, 4, 100, 4


def covered(seed, audit, audited_of):
    """Whether one campaign's interval holds the true accuracies: that on the pool, and that on new rows.

    Classes overlap, and the strategy takes the most doubtful rows by nearest class means, so that its rows are
    harder than the pool.
    """
    rng = np.random.default_rng([21, seed])
    centers = rng.normal(size=(NUM_CLASSES, 5))

    def drawn(size):
        labels = rng.integers(0, NUM_CLASSES, size)
        return centers[labels] + rng.normal(size=(size, 5)), labels

    x, labels = drawn(NUM_POOL)
    state = begin(NUM_POOL, audit=audit, seed=seed)

    def distances(points):
        rows = training_rows(state)
        means = [x[rows[labels[rows] == c]].mean(axis=0) for c in range(NUM_CLASSES)]
        return np.square(points[:, None] - np.array(means)[None]).sum(axis=2)

    for _ in range(NUM_BATCHES):
        audited = next_audit_rows(state, BATCH, audit)
        free = np.flatnonzero(offered(state))
        if state.num_batches:
            nearest = np.sort(distances(x[free]), axis=1)
            free = free[np.argsort(nearest[:, 1] - nearest[:, 0])]
        else:
            free = rng.permutation(free)
        rows = np.concatenate([audited, free[: BATCH - len(audited)]])
        state, _ = take(ask(state, rows), rows, labels[rows])
    counted = audited_of(state)
    predictions = distances(x).argmin(axis=1)
    found = audit_of(labels[counted], predictions[counted], NUM_CLASSES)
    new, new_labels = drawn(20_000)
    truths = np.mean(predictions == labels), np.mean(distances(new).argmin(axis=1) == new_labels)
    return [found.low <= truth <= found.high for truth in truths]


def coverage(num_campaigns, audited_of=audit_rows):
    return np.mean([covered(seed, 0.25, audited_of) for seed in range(num_campaigns)], axis=0)


def test_a_strategy_s_rows_would_not_do():
    """The mutant that the next test must kill: the rows that the strategy chose, in place of the audit's."""
    assert (coverage(20, training_rows) < 0.5).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_in_95_percent_of_500_campaigns():
    assert (np.abs(coverage(500) - 0.95) <= 0.02).all()
