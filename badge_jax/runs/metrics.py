"""What a round says of the test set besides the accuracy. NumPy in float64.

The classes that count in a mean over classes are those that the test set has, for every strategy the same.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

NUM_BINS = 15  # of the calibration error, as in Guo et al.


def measure(
    labels: np.ndarray,
    predicted: np.ndarray,
    losses: np.ndarray,
    confidences: np.ndarray,
    classes: Sequence[str],
) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """What a line of rounds.jsonl says of the test set besides the accuracy, and a line of per_class.jsonl.

    Args:
        labels: [n] int.
        predicted: [n] int, as the rest in `badge_jax.training.Evaluation`.
        losses: [n] float, in nats.
        confidences: [n] float.
        classes: names of the c classes.
    """
    counts = count_classes(labels, predicted, len(classes))
    metrics = {
        "test_balanced_accuracy": balanced_accuracy(counts),
        "test_macro_f1": macro_f1(counts),
        "test_log_loss": log_loss(losses),
        "test_calibration_error": calibration_error(confidences, predicted == labels),
    }
    return metrics, {"classes": list(classes), **per_class(counts)}


class ClassCounts(NamedTuple):
    """Rows of the test set by class.

    Attributes:
        support: [c] int64, rows that have the class.
        num_predicted: [c] int64, rows for which it is predicted.
        num_correct: [c] int64, rows of both.
    """

    support: np.ndarray
    num_predicted: np.ndarray
    num_correct: np.ndarray


def count_classes(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> ClassCounts:
    """Counts the rows of each class.

    Args:
        labels: [n] int, from 0 to num_classes − 1.
        predicted: [n] int, likewise.
        num_classes: c.

    Example:
        >>> count_classes(np.array([0, 0, 1]), np.array([0, 2, 1]), 3).num_correct.tolist()
        [1, 1, 0]
    """
    of_class = [
        np.bincount(rows, minlength=num_classes) for rows in (labels, predicted, labels[labels == predicted])
    ]
    return ClassCounts(*of_class)


def balanced_accuracy(counts: ClassCounts) -> float:
    """The mean recall of the classes that the test set has; from 0 to 1.

    Example:
        >>> balanced_accuracy(count_classes(np.array([0, 0, 0, 1]), np.zeros(4, int), 2))
        0.5
    """
    is_there = counts.support > 0
    return float(np.mean(counts.num_correct[is_there] / counts.support[is_there]))


def macro_f1(counts: ClassCounts) -> float:
    """The mean F1 of the classes that the test set has; from 0 to 1.

    F1 = 2 num_correct / (support + num_predicted), the harmonic mean of precision and recall; 0 for a class
    that is never predicted.

    Example:
        >>> macro_f1(count_classes(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2))
        0.7333333333333334
    """
    is_there = counts.support > 0
    support, num_predicted, num_correct = (part[is_there] for part in counts)
    return float(np.mean(2 * num_correct / (support + num_predicted)))


def calibration_error(confidences: np.ndarray, is_correct: np.ndarray) -> float:
    """The expected calibration error: how far confidence and accuracy are apart, from 0 to 1.

    Σ_b (n_b / n) |accuracy of bin b − mean confidence of bin b|, over 15 bins of the confidence of equal width,
    each with its upper edge: ((b − 1) / 15, b / 15].

    Args:
        confidences: [n] float, probability of the predicted class, above 0.
        is_correct: [n] bool.

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.

    Example:
        >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
        0.4
    """
    confidences = confidences.astype(np.float64)
    bins = np.searchsorted(np.arange(1, NUM_BINS) / NUM_BINS, confidences)
    confident = np.bincount(bins, confidences, NUM_BINS)
    correct = np.bincount(bins, is_correct, NUM_BINS)
    return float(np.abs(correct - confident).sum() / len(confidences))


def log_loss(losses: np.ndarray) -> float:
    """The mean cross-entropy in nats. No probability is clipped.

    Args:
        losses: [n] float, of each row; see `badge_jax.training.Evaluation`.

    Example:
        >>> log_loss(np.array([0.5, 1.0]))
        0.75
    """
    return float(losses.mean(dtype=np.float64))


def per_class(counts: ClassCounts) -> dict[str, list[Any]]:
    """Support, recall and precision of each class, as per_class.jsonl holds them.

    Recall is None for a class that the test set lacks, precision for one that is never predicted.

    Example:
        >>> per_class(count_classes(np.array([0, 0, 1]), np.array([0, 2, 1]), 3))["recall"]
        [0.5, 1.0, None]
    """
    support, num_predicted, num_correct = (part.tolist() for part in counts)
    return {
        "support": support,
        "num_predicted": num_predicted,
        "num_correct": num_correct,
        "recall": [_share(*pair) for pair in zip(num_correct, support, strict=True)],
        "precision": [_share(*pair) for pair in zip(num_correct, num_predicted, strict=True)],
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
