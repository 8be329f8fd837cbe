"""How good a model is, from the audit's rows, and whether its predictions have settled."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_Z = 1.959963984540054  # of the normal law's 95 %
SETTLED_AT = 0.99  # mean agreement (Cohen's κ) of successive models at which predictions count as settled
SETTLED_FOR = 3  # over so many pairs of successive models


class Audit(NamedTuple):
    """What the audit's rows say of a model.

    Attributes:
        num_correct: rows that it has right.
        total: rows that count.
        low: lower end of the 95 % interval of the accuracy.
        high: upper end.
        rows_of_class: [c] int64, rows of each class.
        correct_of_class: [c] int64, those of them that it has right.
    """

    num_correct: int
    total: int
    low: float
    high: float
    rows_of_class: np.ndarray
    correct_of_class: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of the rows that the model has right; NaN where there are none."""
        return self.num_correct / self.total if self.total else math.nan

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the share that the model has right, over the classes that occur; NaN where none does."""
        occurs = self.rows_of_class > 0
        shares = self.correct_of_class[occurs] / self.rows_of_class[occurs]
        return float(shares.mean()) if occurs.any() else math.nan


def audit_of(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> Audit:
    """Compares a model with the labels of the audit's rows.

    Args:
        labels: [m] int, of the rows that `audit_rows` names.
        predictions: [m] int, the model's classes for them.
        num_classes: c.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import audit_of
        >>> audit = audit_of(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 3)
        >>> audit.accuracy, round(audit.balanced_accuracy, 3), audit.rows_of_class.tolist()
        (0.75, 0.833, [3, 1, 0])
    """
    is_correct = labels == predictions
    num_correct, total = int(is_correct.sum()), len(labels)
    return Audit(
        num_correct,
        total,
        *wilson_interval(num_correct, total),
        np.bincount(labels, minlength=num_classes),
        np.bincount(labels[is_correct], minlength=num_classes),
    )


def wilson_interval(num_correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score: (p + z²/2m ± z √(p(1 − p)/m + z²/4m²)) / (1 + z²/m).

    Args:
        num_correct: of the sample.
        total: m, size of the sample. The interval is [0, 1] for none.

    References:
        E. B. Wilson, JASA 22, 1927.

    Example:
        >>> from badge_jax.campaign import wilson_interval
        >>> [round(end, 4) for end in wilson_interval(8, 10)]
        [0.4902, 0.9433]
    """
    if total == 0:
        return 0.0, 1.0
    share, weight = num_correct / total, _Z**2 / total
    center = share + weight / 2
    half = _Z * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    low, high = (center - half) / (1 + weight), (center + half) / (1 + weight)
    return max(0.0, low), min(1.0, high)


def agreement(first: np.ndarray, second: np.ndarray, num_classes: int) -> float:
    """Cohen's κ between the classes that two models give the same rows: 1 where they agree on all.

    κ = (p_o − p_e) / (1 − p_e), with the share p_o on which they agree, and p_e that by chance.

    Args:
        first: [n] int.
        second: [n] int.
        num_classes: c.

    References:
        J. Cohen, Educational and Psychological Measurement 20, 1960.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import agreement
        >>> agreement(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), 2)
        0.5
    """
    observed = float(np.mean(first == second))
    shares = (np.bincount(part, minlength=num_classes) / len(part) for part in (first, second))
    by_chance = float(np.dot(*shares))
    return 1.0 if observed == 1 else (observed - by_chance) / (1 - by_chance)


def has_settled(agreements: Sequence[float]) -> bool:
    """Whether successive models agree so much that more labels will change little.

    The rule: the mean κ of the last 3 pairs of successive models is 0.99 or more.

    Args:
        agreements: κ of each pair of successive models, the last pair last.

    References:
        M. Bloodgood and K. Vijay-Shanker, "A method for stopping active learning based on stabilizing
        predictions and the need for user-adjustable stopping", CoNLL 2009.

    Example:
        >>> from badge_jax.campaign import has_settled
        >>> has_settled([0.8, 0.99, 0.995, 0.995]), has_settled([1.0, 1.0])
        (True, False)
    """
    last = agreements[-SETTLED_FOR:]
    return len(last) == SETTLED_FOR and statistics.fmean(last) >= SETTLED_AT
