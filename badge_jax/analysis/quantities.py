"""The quantities of a round by which strategies can be compared."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from badge_jax.analysis.load import Run
from badge_jax.errors import InputError


class Metric(NamedTuple):
    """A quantity of the test set.

    Attributes:
        name: As on the command line.
        field: Its name in the lines of rounds.jsonl.
        title: In words.
        scale: Factor of the values shown.
        unit: Of a value shown; may be empty.
        unit_of_differences: Likewise, of the difference of two values.
        higher_is_better: Whether it is.
    """

    name: str
    field: str
    title: str
    scale: float = 100.0
    unit: str = "%"
    unit_of_differences: str = "points"
    higher_is_better: bool = True

    @property
    def axis(self) -> str:
        """The title and the unit, as on the axis of a picture.

        Example:
            >>> METRICS["accuracy"].axis, METRICS["log_loss"].axis
            ('test accuracy (%)', 'log loss')
        """
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def lead_over(self, other: str) -> str:
        """What a difference of two scores is, with its unit, as on the axis of a picture.

        Example:
            >>> METRICS["accuracy"].lead_over("random"), METRICS["log_loss"].lead_over("random")
            ('better than random by (points)', 'better than random by')
        """
        unit = f" ({self.unit_of_differences})" if self.unit_of_differences else ""
        return f"better than {other} by{unit}"

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest value that can be, as shown.

        Example:
            >>> METRICS["accuracy"].bounds, METRICS["log_loss"].bounds
            ((0.0, 100.0), (0.0, inf))
        """
        return 0.0, self.scale if self.unit == "%" else math.inf

    @property
    def sign(self) -> int:
        """1 if higher is better, else −1: a value times this is a score, of which more is better."""
        return 1 if self.higher_is_better else -1


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "test_accuracy", "test accuracy"),
        Metric("balanced_accuracy", "test_balanced_accuracy", "balanced accuracy"),
        Metric("macro_f1", "test_macro_f1", "macro-F1"),
        Metric("log_loss", "test_log_loss", "log loss", 1.0, "", "", False),
        Metric("calibration_error", "test_calibration_error", "calibration error", higher_is_better=False),
    )
}
"""Name → metric. All but accuracy are absent in runs of earlier versions."""


def metric_named(name: str) -> Metric:
    """The metric of this name.

    Raises:
        InputError: If there is none.

    Example:
        >>> metric_named("log_loss").higher_is_better
        False
    """
    if name not in METRICS:
        raise InputError(f"--metric {name} is unknown; give one of {', '.join(METRICS)}")
    return METRICS[name]


def with_metric(runs: Iterable[Run], metric: Metric) -> tuple[list[Run], list[Run]]:
    """The runs that record a metric in every round, and those that do not.

    Args:
        runs: Any runs.
        metric: What is asked for.

    Returns:
        The two lists.

    Raises:
        InputError: If no run records it.

    Example:
        >>> rounds = [{"round": 0, "num_labeled": 10, "test_accuracy": 0.5}]
        >>> [len(some) for some in with_metric([Run({}, rounds)], METRICS["accuracy"])]
        [1, 0]
    """
    runs = list(runs)
    has = [all(line.get(metric.field) is not None for line in run.rounds) for run in runs]
    if not any(has):
        raise InputError(
            f"no run records {metric.title} ({metric.field}) in every round; runs of earlier versions have "
            "test_accuracy alone: --metric accuracy"
        )
    return (
        [run for run, recorded in zip(runs, has, strict=True) if recorded],
        [run for run, recorded in zip(runs, has, strict=True) if not recorded],
    )
