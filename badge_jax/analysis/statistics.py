"""Statistics over finished runs."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats


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


def setting_of(run: Run) -> Setting:
    return Setting(*(run.config[name] for name in Setting._fields))


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
        setting = setting_of(run)
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


REFERENCE = "random"  # the strategy that n_0, normalized errors and gains go by
_SATURATED = 0.99  # share of the reference's last accuracy at which a curve counts as done
_SIGNIFICANT = 0.05
_LARGE_BATCH = 10_000  # from here on the paper enlarges no part of a curve


class Comparison(NamedTuple):
    """One data set, network and batch size: what its strategies reached, and at which label counts they meet.

    dataset, model, batch_size
    accuracies: strategy → label count → seed → test accuracy
    saturation: n_0, the first label count at which RAND's mean accuracy is 99 % of its last
    last:       the label count of that last accuracy; RAND's runs that end before it are left out of n_0
    counts:     L, M + 2^(i−1) B for i = 1 … ⌈log₂((n_0 − M)/B)⌉; none where n_0 ≤ M + B
    """

    dataset: str
    model: str
    batch_size: int
    accuracies: Mapping[str, Mapping[int, Mapping[int, float]]]
    saturation: int
    last: int
    counts: tuple[int, ...]


def compare(runs: Iterable[Run], *, include_initial: bool = False) -> list[Comparison]:
    """The settings in which RAND ran, sorted.

    include_initial: whether the label counts begin with L = M, as in the authors' code
    Source: Ash et al., ICLR 2020, section 4.
    """
    settings: dict[tuple, dict] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for run in runs:
        setting = setting_of(run)
        for line in run.rounds:
            found = settings[setting[:3]][setting.strategy][line["num_labeled"]]
            found[run.config["seed"]] = line["test_accuracy"]
    comparisons = []
    for (dataset, model, batch_size), accuracies in sorted(settings.items()):
        if REFERENCE in accuracies:
            reference = accuracies[REFERENCE]
            first, last = min(reference), max(reference)
            means = {
                count: float(np.mean([found[seed] for seed in sorted(reference[last])]))
                for count, found in sorted(reference.items())
            }
            saturation = next(count for count in means if means[count] >= _SATURATED * means[last])
            counts = _label_counts(first, batch_size, saturation, include_initial)
            comparisons.append(Comparison(dataset, model, batch_size, accuracies, saturation, last, counts))
    return comparisons


def _label_counts(first: int, batch_size: int, saturation: int, include_initial: bool) -> tuple[int, ...]:
    num = math.ceil(math.log2((saturation - first) / batch_size)) if saturation > first + batch_size else 0
    counts = tuple(first + 2**i * batch_size for i in range(num))
    return (first, *counts) if include_initial and counts else counts


def beats(ours: Mapping[int, float], theirs: Mapping[int, float]) -> bool:
    """Whether one strategy's errors are smaller than another's, by a two-sided paired t-test with p < 0.05.

    Repeats are paired by seed; fewer than two pairs show nothing. Where all differences are equal the t-test
    has no answer: then any difference but 0 is a win.

    ours, theirs: seed → test accuracy
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return False
    accuracies = np.array([(ours[seed], theirs[seed]) for seed in seeds])
    gains = accuracies[:, 0] - accuracies[:, 1]
    # accuracies are whole numbers of test rows over their number: closer than 1e-9 means equal
    if np.ptp(gains) < 1e-9:
        return bool(gains[0] > 1e-9)
    return bool(gains.mean() > 0 and scipy.stats.ttest_rel(*accuracies.T).pvalue < _SIGNIFICANT)


def penalty_matrix(comparisons: Iterable[Comparison], strategies: Sequence[str]) -> np.ndarray:
    """How much each strategy beats each other: [s, s], rows over columns.

    Every comparison has one point to give, in equal parts to its label counts.
    Source: Ash et al., ICLR 2020, figures 4, 20 and 21.
    """
    matrix = np.zeros((len(strategies), len(strategies)))
    for comparison in comparisons:
        for count in comparison.counts:
            at_count = [comparison.accuracies.get(name, {}).get(count, {}) for name in strategies]
            wins = [[beats(ours, theirs) for theirs in at_count] for ours in at_count]
            matrix += np.array(wins) / len(comparison.counts)
    return matrix


def column_means(matrix: np.ndarray) -> np.ndarray:
    """How much each strategy is beaten, averaged over all, itself included: [s]. The less the better."""
    return matrix.mean(axis=0)


def normalized_errors(comparisons: Iterable[Comparison], strategy: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean error over RAND's mean error, over the seeds that both have, at each label count of each comparison:
    ratios [m], ascending, and their weights [m], of sum 1, in which every comparison has the same part.

    Source: Ash et al., ICLR 2020, figures 5, 22 and 23.
    """
    ratios, weights = [], []
    for comparison in comparisons:
        for count in comparison.counts:
            ours = comparison.accuracies.get(strategy, {}).get(count, {})
            reference = comparison.accuracies[REFERENCE].get(count, {})
            if seeds := ours.keys() & reference.keys():
                error = 1 - float(np.mean([ours[seed] for seed in sorted(seeds)]))
                reference_error = 1 - float(np.mean([reference[seed] for seed in sorted(seeds)]))
                ratios.append(_ratio(error, reference_error))
                weights.append(1 / len(comparison.counts))
    order = np.argsort(np.array(ratios), kind="stable")
    return np.array(ratios)[order], np.array(weights)[order] / max(1e-300, np.sum(weights))


def _ratio(error: float, reference_error: float) -> float:
    if reference_error == 0:
        return 1.0 if error == 0 else math.inf
    return error / reference_error


class Budget(NamedTuple):
    """What a strategy makes of its labels, means over its runs.

    area:          area under the curve of accuracy by labels, over the range of labels: a mean accuracy
    labels_needed: the first label count at which the mean accuracy is RAND's last; None if it never is
    query_seconds, fit_seconds: of a whole run; NaN where they were not recorded
    """

    area: float
    labels_needed: int | None
    query_seconds: float
    fit_seconds: float


def budgets(runs: Iterable[Run]) -> dict[Setting, Budget]:
    """For each setting in which RAND ran, up to the last label count that all of its strategies reached."""
    runs = list(runs)
    curves = mean_curves(runs)
    found = {}
    for setting, points in curves.items():
        reference = curves.get(setting._replace(strategy=REFERENCE))
        if reference is None:
            continue
        last = min(pts[-1].num_labeled for other, pts in curves.items() if other[:3] == setting[:3])
        target = next(point.mean for point in reference if point.num_labeled == last)
        labels = [point.num_labeled for point in points if point.num_labeled <= last]
        means = [point.mean for point in points if point.num_labeled <= last]
        own = [run for run in runs if setting_of(run) == setting]
        query_seconds, fit_seconds = (
            np.mean([sum(r.get(name, math.nan) for r in run.rounds if r["num_labeled"] <= last) for run in own])
            for name in ("query_seconds", "fit_seconds")
        )
        found[setting] = Budget(
            float(np.trapezoid(means, labels) / (last - labels[0])) if last > labels[0] else means[0],
            next((count for count, mean in zip(labels, means, strict=True) if mean >= target), None),
            float(query_seconds),
            float(fit_seconds),
        )
    return found


def zoom_range(
    curves: Mapping[str, Sequence[CurvePoint]], saturation: int, batch_size: int
) -> tuple[int, int] | None:
    """The label counts between which strategies differ: from the last before the best mean accuracy exceeds
    1.08 times the worst, to n_0. None for batches of 10,000, as in the paper, and where that would leave fewer
    than three points, or all.

    curves: strategy → points
    Source: Ash et al., ICLR 2020, figures 13 to 19, and the authors' code.
    """
    means: dict[int, list[float]] = defaultdict(list)
    for points in curves.values():
        for point in points:
            means[point.num_labeled].append(point.mean)
    counts = sorted(means)
    differ = (i for i, count in enumerate(counts) if max(means[count]) > 1.08 * min(means[count]))
    low = counts[max(0, next(differ, 0) - 1)]
    num_shown = sum(low <= count <= saturation for count in counts)
    return (low, saturation) if batch_size < _LARGE_BATCH and 3 <= num_shown < len(counts) else None


def missing_runs(runs: Iterable[Run]) -> list[tuple[Setting, int, str]]:
    """What is not there, by the strategies, seeds and label counts that are: (setting, seed, what it lacks)."""
    reached: dict[tuple, dict[tuple[str, int], int]] = defaultdict(dict)
    for run in runs:
        setting = setting_of(run)
        reached[setting[:3]][setting.strategy, run.config["seed"]] = run.rounds[-1]["num_labeled"]
    strategies = sorted({strategy for found in reached.values() for strategy, _ in found})
    seeds = sorted({seed for found in reached.values() for _, seed in found})
    missing = []
    for (dataset, model, batch_size), found in sorted(reached.items()):
        for strategy in strategies:
            for seed in seeds:
                setting, last = Setting(dataset, model, batch_size, strategy), found.get((strategy, seed))
                if last is None:
                    missing.append((setting, seed, "no run"))
                elif last < max(found.values()):
                    lack = f"ends at {last} labels, others at {max(found.values())}"
                    missing.append((setting, seed, lack))
    return missing
