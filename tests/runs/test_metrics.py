"""What a round says of the test set, against the definitions in plain Python and against scikit-learn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax.models import Model
from badge_jax.runs.metrics import (
    balanced_accuracy,
    calibration_error,
    count_classes,
    log_loss,
    macro_f1,
    measure,
    per_class,
)
from badge_jax.training import make_evaluate

NUM_CLASSES = 6  # of which the test set lacks 4, and 5 is there and never predicted


@pytest.fixture(scope="module")
def logits():
    """Of 700 rows, two batches and a half: some sure, some not, some wrong."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(700, NUM_CLASSES)) * rng.choice([0.1, 2.0, 30.0], size=(700, 1))
    logits[:, 5] -= 500
    return logits.astype(np.float32)


@pytest.fixture(scope="module")
def labels(logits):
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(700) < 0.6, logits.argmax(1), rng.integers(0, NUM_CLASSES, 700))
    return np.where(labels == 4, 1, labels).astype(np.int32)


@pytest.fixture(scope="module")
def evaluation(logits, labels):
    """Of a network whose logits are its inputs."""
    model = Model(lambda key, x: {}, lambda variables, x, *, mask, train: (x, x, variables))
    return jax.device_get(jax.jit(make_evaluate(model))({}, jnp.asarray(logits), jnp.asarray(labels)))


@pytest.fixture(scope="module")
def metrics(evaluation, labels):
    names = [f"class {i}" for i in range(NUM_CLASSES)]
    return measure(labels, evaluation.predicted, evaluation.losses, evaluation.confidences, names)


def softmax(logits):
    """Of one row, in float64."""
    top = max(map(float, logits))
    powers = [math.exp(float(logit) - top) for logit in logits]
    return [power / math.fsum(powers) for power in powers]


def recalls_and_precisions(labels, predicted):
    """Class → its share of the labels that are found and of the predictions that are right."""
    pairs = [(int(a), int(b)) for a, b in zip(labels, predicted, strict=True)]
    found = {}
    for name in range(NUM_CLASSES):
        of_class = [b == name for a, b in pairs if a == name]
        said = [a == name for a, b in pairs if b == name]
        found[name] = tuple(sum(part) / len(part) if part else None for part in (of_class, said))
    return found


def test_by_definition(metrics, logits, labels):
    found, by_class = metrics
    probabilities = [softmax(row) for row in logits]
    predicted = [row.index(max(row)) for row in probabilities]
    shares = recalls_and_precisions(labels, predicted)
    assert shares[4][0] is None
    assert shares[4][1] is not None
    assert shares[5] == (0.0, None)
    assert [*zip(by_class["recall"], by_class["precision"], strict=True)] == [*shares.values()]

    there = [name for name in shares if name != 4]
    recalls = [shares[name][0] for name in there]
    assert found["test_balanced_accuracy"] == pytest.approx(sum(recalls) / 5, abs=1e-12)
    harmonic = [2 * r * p / (r + p) if r and p else 0.0 for r, p in (shares[name] for name in there)]
    assert found["test_macro_f1"] == pytest.approx(sum(harmonic) / 5, abs=1e-12)

    losses = []
    for row, label in zip(
        logits, labels, strict=True
    ):  # log Σ exp(z_j − z_label), which overflows nowhere here
        losses.append(math.log(math.fsum(math.exp(float(z) - float(row[label])) for z in row)))
    assert found["test_log_loss"] == pytest.approx(sum(losses) / 700, rel=1e-6)

    error = 0.0
    tops = [max(row) for row in probabilities]
    for b in range(15):
        inside = [i for i in range(700) if b / 15 < tops[i] <= (b + 1) / 15]
        error += abs(sum(tops[i] for i in inside) - sum(predicted[i] == labels[i] for i in inside)) / 700
    assert found["test_calibration_error"] == pytest.approx(error, abs=1e-6)


def test_as_scikit_learn(metrics, evaluation, logits, labels):
    sklearn = pytest.importorskip("sklearn.metrics", reason="wants scikit-learn (group peers)")
    found, by_class = metrics
    there = np.unique(labels)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = sklearn.balanced_accuracy_score(labels, evaluation.predicted)
    assert found["test_balanced_accuracy"] == pytest.approx(balanced, abs=1e-12)
    macro = sklearn.f1_score(labels, evaluation.predicted, labels=there, average="macro", zero_division=0)
    assert found["test_macro_f1"] == pytest.approx(macro, abs=1e-12)
    precision, recall, _, support = sklearn.precision_recall_fscore_support(
        labels, evaluation.predicted, labels=range(NUM_CLASSES), zero_division=np.nan
    )
    assert by_class["support"] == support.tolist()
    for ours, theirs in ((by_class["precision"], precision), (by_class["recall"], recall)):
        np.testing.assert_allclose(np.array(ours, float), theirs, atol=1e-12)
    mild = (np.ptp(logits[:, :5], axis=1) < 30) & (labels != 5)  # scikit-learn clips probabilities at 2.2e-16
    assert mild.sum() > 300
    probabilities = np.array([softmax(row) for row in logits[mild]])
    theirs = sklearn.log_loss(labels[mild], probabilities, labels=range(NUM_CLASSES))
    assert log_loss(evaluation.losses[mild]) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(
    ("logits", "label", "expected"),
    [
        ([20.0, 0.0, 0.0], 0, math.log1p(2 * math.exp(-20))),  # 1 − p is below the precision of p
        ([0.0, 60.0, 0.0], 0, 60 + math.log1p(2 * math.exp(-60))),
        ([0.0, 1e4, 0.0], 2, 1e4),  # p is 0 even in float64
        ([5.0, 5.0, 5.0], 1, math.log(3)),
        ([3e38, -3e38, 0.0], 1, float(np.finfo(np.float32).max)),
    ],
)
def test_no_loss_is_rounded_away_or_infinite(logits, label, expected):
    model = Model(lambda key, x: {}, lambda variables, x, *, mask, train: (x, x, variables))
    evaluation = make_evaluate(model)({}, jnp.array([logits]), jnp.array([label]))
    assert float(evaluation.losses[0]) == pytest.approx(expected, rel=1e-6)
    assert float(evaluation.confidences[0]) == pytest.approx(max(softmax(logits)), rel=1e-6)


def test_a_bin_has_its_upper_edge():
    """At 1/15, 2/15, … the two sides of an edge would give other errors."""
    edges = np.arange(1, 16) / 15
    is_correct = np.arange(15) % 2 == 0
    apart = sum(abs(edge - correct) for edge, correct in zip(edges, is_correct, strict=True)) / 15
    assert calibration_error(edges, is_correct) == pytest.approx(apart, abs=1e-12)
    beside = np.nextafter(edges, 0)  # pairs that share a bin cancel, and those that do not would not
    together = sum(abs(2 * edge - 1) for edge in edges) / 30
    both = calibration_error(np.append(edges, beside), np.append(is_correct, ~is_correct))
    assert both == pytest.approx(together, abs=1e-12)


def test_one_class_and_one_row():
    counts = count_classes(np.array([0]), np.array([0]), 1)
    assert (balanced_accuracy(counts), macro_f1(counts)) == (1.0, 1.0)
    assert per_class(counts)["precision"] == [1.0]
    assert calibration_error(np.ones(1, np.float32), np.array([True])) == 0.0
