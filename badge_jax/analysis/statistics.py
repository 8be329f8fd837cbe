"""Statistics over finished runs: mean curves, the comparisons of the paper, budgets, what is missing."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from badge_jax.analysis.load import Run
from badge_jax.paper import BASELINE, LARGE_BATCH, SATURATED, SIGNIFICANT, ZOOM_RATIO
from badge_jax.runs.setting import Setting, setting_of


class CurvePoint(NamedTuple):
    """One point of a mean curve.

    Attributes:
        num_labeled: Number of labels.
        runs: How many runs reached it.
        mean: Mean over these runs.
        std: Their standard deviation, ddof = 0.
    """

    num_labeled: int
    runs: int
    mean: float
    std: float

    @property
    def standard_error(self) -> float:
        """std / √runs: the band of the figures in Ash et al., ICLR 2020."""
        return self.std / self.runs**0.5


Curves = dict[Setting, dict[str, list[CurvePoint]]]
"""Setting → strategy → points by number of labels."""


def mean_curves(runs: Iterable[Run], quantity: str = "test_accuracy") -> Curves:
    """The mean of a quantity over the seeds, by number of labels.

    Args:
        runs: Runs of any settings and strategies.
        quantity: A number in the lines of rounds.jsonl: test_accuracy (the learning curve), query_seconds,
            gram_log_det, mean_embedding_norm. Round 0 makes no query: only test_accuracy is defined.

    Returns:
        Setting → strategy → points; settings and strategies sorted. The mean is NaN, a gap in the curve, if one
        of the runs has no value there (a log det of −∞).

    Example:
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge"}
        >>> line = {"round": 0, "num_labeled": 100}
        >>> first = Run({**config, "seed": 0}, [{**line, "test_accuracy": 0.5}])
        >>> second = Run({**config, "seed": 1}, [{**line, "test_accuracy": 0.75}])
        >>> mean_curves([first, second])[Setting("letter", "mlp", 100)]
        {'badge': [CurvePoint(num_labeled=100, runs=2, mean=0.625, std=0.125)]}
    """
    values: dict[Setting, dict[str, dict[int, list[float]]]]
    values = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run in runs:
        setting, strategy = setting_of(run.config), run.config["strategy"]
        for line in run.rounds:
            if line["round"] > 0 or quantity == "test_accuracy":
                value = line[quantity]
                values[setting][strategy][line["num_labeled"]].append(np.nan if value is None else value)
    return {
        setting: {strategy: _points(by_labels) for strategy, by_labels in sorted(by_strategy.items())}
        for setting, by_strategy in sorted(values.items())
    }


def _points(by_labels: Mapping[int, list[float]]) -> list[CurvePoint]:
    return [
        CurvePoint(num_labeled, len(values), float(np.mean(values)), float(np.std(values)))
        for num_labeled, values in sorted(by_labels.items())
    ]


class Comparison(NamedTuple):
    """What the strategies of a setting reached, and the label counts at which they are compared.

    M is the number of initial labels, B the batch size.

    Attributes:
        setting: Data set, network and batch size.
        accuracies: Strategy → label count → seed → test accuracy.
        saturation: n_0, the first label count at which the baseline's mean accuracy is 99 % of its last.
        last: The label count of that last accuracy. n_0 ignores runs of the baseline that end before it.
        counts: L = M + 2^(i−1) B for i = 1 … ⌈log₂((n_0 − M) / B)⌉; none if n_0 ≤ M + B.
    """

    setting: Setting
    accuracies: Mapping[str, Mapping[int, Mapping[int, float]]]
    saturation: int
    last: int
    counts: tuple[int, ...]


def compare(runs: Iterable[Run], *, include_initial: bool = False) -> list[Comparison]:
    """Collects the settings in which the baseline ran, with the label counts to compare at.

    Args:
        runs: Runs of any settings and strategies.
        include_initial: Whether the label counts begin with L = M, as in the authors' code.

    Returns:
        One comparison a setting, sorted.

    References:
        Ash et al., ICLR 2020, section 4.

    Example:
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 10, "strategy": "random", "seed": 0}
        >>> accuracies = enumerate([0.2, 0.4, 0.6, 0.8])
        >>> rounds = [{"round": i, "num_labeled": 10 + 10 * i, "test_accuracy": a} for i, a in accuracies]
        >>> (comparison,) = compare([Run(config, rounds)])
        >>> comparison.saturation, comparison.counts
        (40, (20, 30))
    """
    settings: dict[Setting, dict[str, dict[int, dict[int, float]]]]
    settings = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for run in runs:
        reached = settings[setting_of(run.config)][run.config["strategy"]]
        for line in run.rounds:
            reached[line["num_labeled"]][run.config["seed"]] = line["test_accuracy"]
    comparisons = []
    for setting, accuracies in sorted(settings.items()):
        if BASELINE in accuracies:
            baseline = accuracies[BASELINE]
            first, last = min(baseline), max(baseline)
            means = {
                count: float(np.mean([found[seed] for seed in sorted(baseline[last])]))
                for count, found in sorted(baseline.items())
            }
            saturation = next(count for count in means if means[count] >= SATURATED * means[last])
            counts = _label_counts(first, setting.batch_size, saturation, include_initial)
            comparisons.append(Comparison(setting, accuracies, saturation, last, counts))
    return comparisons


def _label_counts(first: int, batch_size: int, saturation: int, include_initial: bool) -> tuple[int, ...]:
    num = math.ceil(math.log2((saturation - first) / batch_size)) if saturation > first + batch_size else 0
    counts = tuple(first + 2**i * batch_size for i in range(num))
    return (first, *counts) if include_initial and counts else counts


def beats(ours: Mapping[int, float], theirs: Mapping[int, float]) -> bool:
    """Whether one strategy's errors are smaller, by a two-sided paired t-test with p < 0.05.

    Runs are paired by seed. Fewer than two pairs are no evidence. If all differences are equal the t-test is
    not defined; then any positive difference counts.

    Args:
        ours: Seed → test accuracy.
        theirs: Seed → test accuracy.

    Returns:
        True if ours is significantly better.

    Example:
        >>> beats({0: 0.71, 1: 0.72, 2: 0.70}, {0: 0.61, 1: 0.64, 2: 0.59})
        True
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return False
    accuracies = np.array([(ours[seed], theirs[seed]) for seed in seeds])
    gains = accuracies[:, 0] - accuracies[:, 1]
    # accuracies are whole numbers of test rows over their number: closer than 1e-9 means equal
    if np.ptp(gains) < 1e-9:
        return bool(gains[0] > 1e-9)
    from scipy import stats  # takes a second to load

    return bool(gains.mean() > 0 and stats.ttest_rel(*accuracies.T).pvalue < SIGNIFICANT)


def penalty_matrix(comparisons: Iterable[Comparison], strategies: Sequence[str]) -> np.ndarray:
    """How often each strategy beats each other one.

    Every comparison contributes at most one point to an entry, in equal parts from its label counts.

    Args:
        comparisons: The settings.
        strategies: The s strategies, in the order of the rows and columns.

    Returns:
        [s, s] float64: how often the row beats the column, from 0 to the number of comparisons.

    References:
        Ash et al., ICLR 2020, figures 4, 20 and 21.

    Example:
        >>> accuracies = {"badge": {20: {0: 0.8, 1: 0.8}}, "random": {20: {0: 0.7, 1: 0.7}}}
        >>> comparison = Comparison(Setting("letter", "mlp", 10), accuracies, 40, 40, (20,))
        >>> penalty_matrix([comparison], ["badge", "random"]).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    matrix = np.zeros((len(strategies), len(strategies)))
    for comparison in comparisons:
        for count in comparison.counts:
            at_count = [comparison.accuracies.get(name, {}).get(count, {}) for name in strategies]
            wins = [[beats(ours, theirs) for theirs in at_count] for ours in at_count]
            matrix += np.array(wins) / len(comparison.counts)
    return matrix


def column_means(matrix: np.ndarray) -> np.ndarray:
    """How often each strategy is beaten, averaged over all strategies, itself included. Lower is better.

    Args:
        matrix: [s, s] float64, as `penalty_matrix` returns it.

    Returns:
        [s] float64.

    Example:
        >>> column_means(np.array([[0.0, 3.0], [1.0, 0.0]])).tolist()
        [0.5, 1.5]
    """
    return matrix.mean(axis=0)


def normalized_errors(comparisons: Iterable[Comparison], strategy: str) -> tuple[np.ndarray, np.ndarray]:
    """A strategy's mean error over the baseline's, at each label count of each comparison.

    Both means are over the seeds that both strategies have.

    Args:
        comparisons: The m label counts of these settings count.
        strategy: Its name, with its options if it has any.

    Returns:
        Ratios [m] float64, ascending, and their weights [m] float64: every comparison has the same share of
        the sum, 1.

    References:
        Ash et al., ICLR 2020, figures 5, 22 and 23.

    Example:
        >>> accuracies = {"badge": {20: {0: 0.75}}, "random": {20: {0: 0.5}}}
        >>> comparison = Comparison(Setting("letter", "mlp", 10), accuracies, 40, 40, (20,))
        >>> ratios, weights = normalized_errors([comparison], "badge")
        >>> ratios.tolist(), weights.tolist()
        ([0.5], [1.0])
    """
    ratios, weights = [], []
    for comparison in comparisons:
        for count in comparison.counts:
            ours = comparison.accuracies.get(strategy, {}).get(count, {})
            baseline = comparison.accuracies[BASELINE].get(count, {})
            if seeds := ours.keys() & baseline.keys():
                error = 1 - float(np.mean([ours[seed] for seed in sorted(seeds)]))
                baseline_error = 1 - float(np.mean([baseline[seed] for seed in sorted(seeds)]))
                ratios.append(_ratio(error, baseline_error))
                weights.append(1 / len(comparison.counts))
    order = np.argsort(np.array(ratios), kind="stable")
    return np.array(ratios)[order], np.array(weights)[order] / max(1e-300, np.sum(weights))


def _ratio(error: float, baseline_error: float) -> float:
    if baseline_error == 0:
        return 1.0 if error == 0 else math.inf
    return error / baseline_error


class Budget(NamedTuple):
    """What a strategy achieves with its labels and its time; means over its runs.

    Attributes:
        area: Area under the curve of accuracy against labels, divided by the range of labels: a mean accuracy.
        labels_needed: The first label count at which the mean accuracy reaches the baseline's last; None if it
            never does.
        query_seconds: Of a whole run; NaN if not recorded.
        fit_seconds: Of a whole run; NaN if not recorded.
    """

    area: float
    labels_needed: int | None
    query_seconds: float
    fit_seconds: float


def budgets(runs: Iterable[Run]) -> dict[Setting, dict[str, Budget]]:
    """The budget of every strategy in each setting in which the baseline ran.

    Args:
        runs: Runs of any settings and strategies.

    Returns:
        Setting → strategy → budget, up to the last label count that all strategies of the setting reached.

    Example:
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 10, "seed": 0}
        >>> def run(strategy, *accuracies):
        ...     rounds = [{"round": i, "num_labeled": 10 + 10 * i, "test_accuracy": accuracy}
        ...               for i, accuracy in enumerate(accuracies)]
        ...     return Run({**config, "strategy": strategy}, rounds)
        >>> found = budgets([run("random", 0.25, 0.5, 0.75), run("badge", 0.25, 0.75, 1.0)])
        >>> found[Setting("letter", "mlp", 10)]["badge"]
        Budget(area=0.6875, labels_needed=20, query_seconds=nan, fit_seconds=nan)
    """
    runs = list(runs)
    found: dict[Setting, dict[str, Budget]] = {}
    for setting, curves in mean_curves(runs).items():
        if BASELINE not in curves:
            continue
        last = min(points[-1].num_labeled for points in curves.values())
        target = next(point.mean for point in curves[BASELINE] if point.num_labeled == last)
        in_setting = [run for run in runs if setting_of(run.config) == setting]
        found[setting] = {
            strategy: _budget(
                points, [run for run in in_setting if run.config["strategy"] == strategy], last, target
            )
            for strategy, points in curves.items()
        }
    return found


def _budget(points: Sequence[CurvePoint], runs: Sequence[Run], last: int, target: float) -> Budget:
    """The budget of one strategy's curve and runs, up to ``last`` labels, with ``target`` to reach."""
    labels = [point.num_labeled for point in points if point.num_labeled <= last]
    means = [point.mean for point in points if point.num_labeled <= last]
    query_seconds, fit_seconds = (
        np.mean([sum(r.get(name, math.nan) for r in run.rounds if r["num_labeled"] <= last) for run in runs])
        for name in ("query_seconds", "fit_seconds")
    )
    return Budget(
        float(np.trapezoid(means, labels) / (last - labels[0])) if last > labels[0] else means[0],
        next((count for count, mean in zip(labels, means, strict=True) if mean >= target), None),
        float(query_seconds),
        float(fit_seconds),
    )


def zoom_range(
    curves: Mapping[str, Sequence[CurvePoint]], saturation: int, batch_size: int
) -> tuple[int, int] | None:
    """The label counts between which strategies differ, to enlarge that part of a figure.

    It begins one label count before the best mean accuracy first exceeds 1.08 times the worst.

    Args:
        curves: Strategy → points, of one setting.
        saturation: n_0, where it ends.
        batch_size: Labels queried a round.

    Returns:
        The first and last label count. None if they hold fewer than three label counts, or all of them, and for
        batches of 10,000 or more, as in the paper.

    References:
        Ash et al., ICLR 2020, figures 13 to 19, and the authors' code.

    Example:
        >>> badge = [CurvePoint(n, 5, mean, 0.01) for n, mean in ((10, 0.2), (20, 0.4), (30, 0.5), (40, 0.6))]
        >>> random = [CurvePoint(n, 5, mean, 0.01) for n, mean in ((10, 0.2), (20, 0.2), (30, 0.5), (40, 0.6))]
        >>> zoom_range({"badge": badge, "random": random}, saturation=30, batch_size=10)
        (10, 30)
    """
    means: dict[int, list[float]] = defaultdict(list)
    for points in curves.values():
        for point in points:
            means[point.num_labeled].append(point.mean)
    counts = sorted(means)
    differ = (i for i, count in enumerate(counts) if max(means[count]) > ZOOM_RATIO * min(means[count]))
    low = counts[max(0, next(differ, 0) - 1)]
    num_shown = sum(low <= count <= saturation for count in counts)
    return (low, saturation) if batch_size < LARGE_BATCH and 3 <= num_shown < len(counts) else None


class MissingRun(NamedTuple):
    """A run that other runs lead one to expect.

    Attributes:
        setting: Data set, network and batch size.
        strategy: Its name, with its options if it has any.
        seed: The run's seed.
        lack: ``no run``, or where the run ends and where others do.
    """

    setting: Setting
    strategy: str
    seed: int
    lack: str


def missing_runs(runs: Iterable[Run]) -> list[MissingRun]:
    """Lists what is missing or ends early, if every strategy and seed found anywhere is expected everywhere.

    Args:
        runs: Runs of any settings and strategies.

    Returns:
        What is missing, by setting, strategy and seed.

    Example:
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 10}
        >>> rounds = [{"round": 0, "num_labeled": 10, "test_accuracy": 0.5}]
        >>> badge = [Run({**config, "strategy": "badge", "seed": seed}, rounds) for seed in (0, 1)]
        >>> random = [Run({**config, "strategy": "random", "seed": 0}, rounds)]
        >>> [(missing.strategy, missing.seed, missing.lack) for missing in missing_runs(badge + random)]
        [('random', 1, 'no run')]
    """
    reached: dict[Setting, dict[tuple[str, int], int]] = defaultdict(dict)
    for run in runs:
        in_setting = reached[setting_of(run.config)]
        in_setting[run.config["strategy"], run.config["seed"]] = run.rounds[-1]["num_labeled"]
    strategies = sorted({strategy for found in reached.values() for strategy, _ in found})
    seeds = sorted({seed for found in reached.values() for _, seed in found})
    missing = []
    for setting, found in sorted(reached.items()):
        for strategy in strategies:
            for seed in seeds:
                last, longest = found.get((strategy, seed)), max(found.values())
                if last is None:
                    missing.append(MissingRun(setting, strategy, seed, "no run"))
                elif last < longest:
                    lack = f"ends at {last} labels, others at {longest}"
                    missing.append(MissingRun(setting, strategy, seed, lack))
    return missing
