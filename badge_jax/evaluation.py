"""Statistics over finished runs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg


class Run(NamedTuple):
    """A run as it stands on disk: config.json and the lines of rounds.jsonl."""

    config: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]


class Setting(NamedTuple):
    """What a learning curve is of; runs that agree on it differ in their seed."""

    dataset: str
    model: str
    batch_size: int
    strategy: str


class Diversity(NamedTuple):
    """How a batch lies in gradient space.

    log_det:   ln det of the Gram matrix of its embeddings; −∞ if they are linearly dependent
    mean_norm: mean Euclidean norm of its embeddings
    """

    log_det: float
    mean_norm: float


def batch_diversity(left: np.ndarray, right: np.ndarray) -> Diversity:
    """Diversity and mean magnitude of the embeddings ``left_i ⊗ right_i``, in float64.

    Embeddings of float32 count as dependent when one is so near the span of those before it that rounding could
    have moved it there: its squared distance is at most k ε² of its squared norm, with ε = 2⁻²³.

    left:  [k, c] float32
    right: [k, d] float32
    Source: Ash et al., ICLR 2020, figures 2 and 24.
    """
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    k, mean_norm = len(norms), float(np.mean(norms))
    if np.any(norms == 0) or k > left.shape[1] * right.shape[1]:
        return Diversity(-np.inf, mean_norm)
    gram = (left @ left.T) * (right @ right.T) / norms[:, None] / norms
    try:
        distances = np.diagonal(scipy.linalg.cholesky(gram, lower=True)) ** 2
    except scipy.linalg.LinAlgError:
        return Diversity(-np.inf, mean_norm)
    if np.min(distances) <= k * np.finfo(np.float32).eps ** 2:
        return Diversity(-np.inf, mean_norm)
    return Diversity(float(np.sum(np.log(distances)) + 2 * np.sum(np.log(norms))), mean_norm)


class CurvePoint(NamedTuple):
    """One point of a mean curve.

    num_labeled: labels
    runs:        how many runs reached it
    mean:        mean over the runs
    std:         their standard deviation, ddof = 0
    """

    num_labeled: int
    runs: int
    mean: float
    std: float

    @property
    def standard_error(self) -> float:
        """std / √runs: the band of the figures in Ash et al., ICLR 2020."""
        return self.std / self.runs**0.5


def mean_curves(runs: Iterable[Run], quantity: str = "test_accuracy") -> dict[Setting, list[CurvePoint]]:
    """Mean of a ``quantity`` by number of labels, for each setting: settings sorted, points by labels.

    quantity: a number in the lines of rounds.jsonl: test_accuracy (the learning curve), query_seconds,
              gram_log_det, mean_embedding_norm. Round 0 queries nothing and has but an accuracy. Where one of
              the runs has a log det of −∞ the mean is NaN, a gap in the curve.
    """
    values: dict[Setting, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        setting = Setting(*(run.config[name] for name in Setting._fields))
        for line in run.rounds:
            if line["round"] > 0 or quantity == "test_accuracy":
                value = line[quantity]
                values[setting][line["num_labeled"]].append(np.nan if value is None else value)
    return {
        setting: [
            CurvePoint(num_labeled, len(numbers), float(np.mean(numbers)), float(np.std(numbers)))
            for num_labeled, numbers in sorted(points.items())
        ]
        for setting, points in sorted(values.items())
    }
