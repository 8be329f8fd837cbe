"""Statistics over finished runs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


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


class CurvePoint(NamedTuple):
    """One point of a mean learning curve.

    num_labeled:   labels
    runs:          how many runs reached it
    mean_accuracy: mean test accuracy over the runs, a share
    std_accuracy:  their standard deviation, ddof = 0
    """

    num_labeled: int
    runs: int
    mean_accuracy: float
    std_accuracy: float

    @property
    def standard_error(self) -> float:
        """std_accuracy / √runs: the band of the figures in Ash et al., ICLR 2020."""
        return self.std_accuracy / self.runs**0.5


def learning_curves(runs: Iterable[Run]) -> dict[Setting, list[CurvePoint]]:
    """Mean test accuracy by number of labels, for each setting: settings sorted, points by labels."""
    accuracies: dict[Setting, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        setting = Setting(*(run.config[name] for name in Setting._fields))
        for line in run.rounds:
            accuracies[setting][line["num_labeled"]].append(line["test_accuracy"])
    return {
        setting: [
            CurvePoint(num_labeled, len(values), float(np.mean(values)), float(np.std(values)))
            for num_labeled, values in sorted(points.items())
        ]
        for setting, points in sorted(accuracies.items())
    }
