"""Statistics over finished runs: mean curves, the comparisons of the paper, what is missing."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from badge_jax.analysis.intervals import EQUAL, mean_is_zero
from badge_jax.analysis.load import Run
from badge_jax.paper import BASELINE, LARGE_BATCH, MIN_SEEDS, SATURATED, SIGNIFICANT, ZOOM_RATIO
from badge_jax.runs.setting import Setting, setting_of


class CurvePoint(NamedTuple):
    """One point of a mean curve.

    Attributes:
        num_labeled: Number of labels.
        runs: How many runs reached it.
        mean: Mean over these runs.
        std: Their standard deviation, ddof = 1; NaN for one run.
    """

    num_labeled: int
    runs: int
    mean: float
    std: float

    @property
    def standard_error(self) -> float:
        """std / √runs: the band of the figures in Ash et al., ICLR 2020. NaN for one run."""
        return self.std / self.runs**0.5


Curves = dict[Setting, dict[str, list[CurvePoint]]]
"""Setting → strategy → points by number of labels."""

Values = Mapping[str, Mapping[int, Mapping[int, float]]]
"""Strategy → label count → seed → value, of one setting."""

OF_QUERIES = ("query_seconds", "gram_log_det", "gram_is_singular", "mean_embedding_norm")
"""Quantities of the query that a round begins with. Round 0 makes none."""


def values_of(runs: Iterable[Run], quantity: str = "test_accuracy") -> dict[Setting, Values]:
    """A quantity of every round of every run.

    Args:
        runs: Runs of any settings and strategies, no two of one setting, strategy and seed.
        quantity: A number in the lines of rounds.jsonl that each of these lines has.

    Returns:
        Setting → values; settings, strategies and label counts sorted. None becomes NaN.

    Example:
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge", "seed": 7}
        >>> run = Run(config, [{"round": 0, "num_labeled": 100, "test_accuracy": 0.5}])
        >>> values_of([run])[Setting("letter", "mlp", 100)]
        {'badge': {100: {7: 0.5}}}
    """
    found: dict[Setting, dict[str, dict[int, dict[int, float]]]]
    found = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for run in runs:
        of_strategy = found[setting_of(run.config)][run.config["strategy"]]
        for line in run.rounds:
            if line["round"] > 0 or quantity not in OF_QUERIES:
                value = line[quantity]
                of_strategy[line["num_labeled"]][run.config["seed"]] = math.nan if value is None else value
    return {
        setting: {
            strategy: dict(sorted(by_labels.items()))
            for strategy, by_labels in sorted(by_strategy.items())
            if by_labels
        }
        for setting, by_strategy in sorted(found.items())
        if any(by_strategy.values())
    }


def points_of(by_labels: Mapping[int, Mapping[int, float]]) -> list[CurvePoint]:
    """The mean curve of label count → seed → value.

    Example:
        >>> points_of({100: {0: 1.0, 1: 3.0}})[0].mean
        2.0
    """
    points = []
    for num_labeled, by_seed in by_labels.items():
        found = np.array(list(by_seed.values()))
        std = float(np.std(found, ddof=1)) if len(found) > 1 else math.nan
        points.append(CurvePoint(num_labeled, len(found), float(np.mean(found)), std))
    return points


def mean_curves(runs: Iterable[Run], quantity: str = "test_accuracy") -> Curves:
    """The mean of a quantity over the seeds, by number of labels.

    Args:
        runs: Runs of any settings and strategies.
        quantity: A number in the lines of rounds.jsonl: test_accuracy (the learning curve), query_seconds,
            gram_log_det, mean_embedding_norm, … Those of `OF_QUERIES` begin with round 1.

    Returns:
        Setting → strategy → points; settings and strategies sorted. The mean is NaN, a gap in the curve, if one
        of the runs has no value there (a log det of −∞).

    Example:
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge"}
        >>> line = {"round": 0, "num_labeled": 100}
        >>> runs = [Run({**config, "seed": i}, [{**line, "test_accuracy": i / 4}]) for i in (1, 2, 3)]
        >>> mean_curves(runs)[Setting("letter", "mlp", 100)]
        {'badge': [CurvePoint(num_labeled=100, runs=3, mean=0.5, std=0.25)]}
    """
    return {
        setting: {strategy: points_of(by_labels) for strategy, by_labels in values.items()}
        for setting, values in values_of(runs, quantity).items()
    }


def gains_over_baseline(values: Values, sign: int = 1) -> dict[str, dict[int, dict[int, float]]]:
    """How much better than the baseline each other strategy is, within each seed.

    Args:
        values: Of one setting.
        sign: 1 if a higher value is better, else −1.

    Returns:
        Strategy → label count → seed → gain, positive where the strategy is better; for the seeds and
        label counts that the baseline has too.

    Example:
        >>> gains_over_baseline({"random": {100: {0: 0.5, 1: 0.5}}, "badge": {100: {1: 0.75, 2: 1.0}}})
        {'badge': {100: {1: 0.25}}}
    """
    baseline = values.get(BASELINE, {})
    gains: dict[str, dict[int, dict[int, float]]] = {}
    for strategy, by_labels in values.items():
        for count in by_labels.keys() & baseline.keys() if strategy != BASELINE else ():
            ours, theirs = by_labels[count], baseline[count]
            if seeds := sorted(ours.keys() & theirs.keys()):
                found = gains.setdefault(strategy, {})
                found[count] = {seed: sign * (ours[seed] - theirs[seed]) for seed in seeds}
    return {strategy: dict(sorted(by_labels.items())) for strategy, by_labels in gains.items()}


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
    comparisons = []
    for setting, accuracies in values_of(runs).items():
        if BASELINE in accuracies:
            baseline = accuracies[BASELINE]
            most = max(map(len, baseline.values()))  # one run that went further does not decide
            last = max(count for count, found in baseline.items() if 2 * len(found) >= most)
            means = {
                count: float(np.mean([found[seed] for seed in sorted(baseline[last])]))
                for count, found in sorted(baseline.items())
                if count <= last and found.keys() >= baseline[last].keys()
            }
            first = min(means)
            saturation = next(count for count in means if means[count] >= SATURATED * means[last])
            counts = _label_counts(first, setting.batch_size, saturation, include_initial)
            comparisons.append(Comparison(setting, accuracies, saturation, last, counts))
    return comparisons


def _label_counts(first: int, batch_size: int, saturation: int, include_initial: bool) -> tuple[int, ...]:
    num = math.ceil(math.log2((saturation - first) / batch_size)) if saturation > first + batch_size else 0
    counts = tuple(first + 2**i * batch_size for i in range(num))
    return (first, *counts) if include_initial and counts else counts


def beats(ours: Mapping[int, float], theirs: Mapping[int, float]) -> bool | None:
    """Whether one strategy's errors are smaller, by a two-sided paired t-test with p < 0.05.

    Runs are paired by seed. If all differences are equal the t-test is not defined; then any positive
    difference counts.

    Args:
        ours: Seed → test accuracy.
        theirs: Seed → test accuracy.

    Returns:
        True if ours is significantly better; None, not tested, with fewer than the paper's five pairs.

    Example:
        >>> beats({i: 0.70 + i / 100 for i in range(5)}, {i: 0.61 for i in range(5)})
        True
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < MIN_SEEDS:
        return None
    gains = np.array([ours[seed] - theirs[seed] for seed in seeds])
    if np.ptp(gains) < EQUAL:
        return bool(gains[0] >= EQUAL)
    return bool(gains.mean() > 0 and mean_is_zero(gains) < SIGNIFICANT)


def penalty_matrix(comparisons: Iterable[Comparison], strategies: Sequence[str]) -> np.ndarray:
    """How often each strategy beats each other one.

    Every comparison contributes at most one point to an entry, in equal parts from its label counts. A pair is
    compared in a setting if it has five seeds in common at all of its label counts.

    Args:
        comparisons: The settings.
        strategies: The s strategies, in the order of the rows and columns.

    Returns:
        [s, s] float64: how often the row beats the column, from 0 to `num_compared`. NaN for a pair that was
        never compared; a strategy never beats itself.

    References:
        Ash et al., ICLR 2020, figures 4, 20 and 21.

    Example:
        >>> accuracies = {n: {20: dict.fromkeys(range(5), a)} for n, a in (("badge", 0.8), ("random", 0.7))}
        >>> comparison = Comparison(Setting("letter", "mlp", 10), accuracies, 40, 40, (20,))
        >>> penalty_matrix([comparison], ["badge", "random", "margin"]).tolist()
        [[0.0, 1.0, nan], [0.0, 0.0, nan], [nan, nan, nan]]
    """
    comparisons = list(comparisons)
    matrix = np.zeros((len(strategies), len(strategies)))
    for comparison in comparisons:
        for i, j in _tested(comparison, strategies):
            wins = [
                beats(comparison.accuracies[strategies[i]][count], comparison.accuracies[strategies[j]][count])
                for count in comparison.counts
            ]
            matrix[i, j] += sum(map(bool, wins)) / len(wins)
    matrix[num_compared(comparisons, strategies) == 0] = np.nan
    return matrix


def num_compared(comparisons: Iterable[Comparison], strategies: Sequence[str]) -> np.ndarray:
    """In how many settings each pair of strategies was compared.

    Args:
        comparisons: The settings.
        strategies: The s strategies, in the order of the rows and columns.

    Returns:
        [s, s] int64. On the diagonal, in how many settings the strategy was compared with any other.

    Example:
        >>> accuracies = {name: {20: dict.fromkeys(range(5), 0.5)} for name in ("badge", "random")}
        >>> comparison = Comparison(Setting("letter", "mlp", 10), accuracies, 40, 40, (20,))
        >>> num_compared([comparison], ["badge", "random", "margin"]).tolist()
        [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    """
    numbers = np.zeros((len(strategies), len(strategies)), np.int64)
    for comparison in comparisons:
        pairs = _tested(comparison, strategies)
        for i, j in {*pairs, *((i, i) for i, _ in pairs)}:
            numbers[i, j] += 1
    return numbers


def _tested(comparison: Comparison, strategies: Sequence[str]) -> list[tuple[int, int]]:
    """The ordered pairs, as places in ``strategies``, that have enough common seeds at every label count."""
    seeds = [
        [comparison.accuracies.get(name, {}).get(count, {}).keys() for count in comparison.counts]
        for name in strategies
    ]
    return [
        (i, j)
        for i, ours in enumerate(seeds)
        for j, theirs in enumerate(seeds)
        if i != j and ours and all(len(a & b) >= MIN_SEEDS for a, b in zip(ours, theirs, strict=True))
    ]


def column_means(matrix: np.ndarray, compared: np.ndarray | None = None) -> np.ndarray:
    """How often each strategy is beaten, averaged over all strategies, itself included. Lower is better.

    Args:
        matrix: [s, s] float64, as `penalty_matrix` returns it. Strategies never compared do not count.
        compared: [s, s] int64, as `num_compared` returns it; by default all pairs as often.

    Returns:
        [s] float64. NaN where a strategy was not compared with every other one in all settings: means over
        unlike settings cannot be compared.

    Example:
        >>> column_means(np.array([[0.0, 3.0], [1.0, 0.0]])).tolist()
        [0.5, 1.5]
    """
    known = ~np.isnan(matrix).all(axis=1)
    means = np.full(len(matrix), np.nan)
    if known.any():
        means = matrix[known].mean(axis=0)
        if compared is not None:
            means[(compared[known] < compared.max()).any(axis=0)] = np.nan
    return means


def normalized_errors(comparisons: Iterable[Comparison], strategy: str) -> tuple[np.ndarray, np.ndarray]:
    """A strategy's mean error over the baseline's, at each label count of each comparison.

    Both means are over the seeds that both strategies have; where they are fewer than five, the setting does
    not count.

    Args:
        comparisons: The m label counts of these settings count.
        strategy: Its name, with its options if it has any.

    Returns:
        Ratios [m] float64, ascending, and their weights [m] float64: every comparison has the same share of
        the sum, 1.

    References:
        Ash et al., ICLR 2020, figures 5, 22 and 23.

    Example:
        >>> accuracies = {n: {20: dict.fromkeys(range(5), a)} for n, a in (("badge", 0.75), ("random", 0.5))}
        >>> comparison = Comparison(Setting("letter", "mlp", 10), accuracies, 40, 40, (20,))
        >>> ratios, weights = normalized_errors([comparison], "badge")
        >>> ratios.tolist(), weights.tolist()
        ([0.5], [1.0])
    """
    ratios, weights = [], []
    for comparison in comparisons:
        by_count = [
            (
                comparison.accuracies.get(strategy, {}).get(count, {}),
                comparison.accuracies[BASELINE].get(count, {}),
            )
            for count in comparison.counts
        ]
        if any(len(ours.keys() & baseline.keys()) < MIN_SEEDS for ours, baseline in by_count):
            continue
        for ours, baseline in by_count:
            seeds = sorted(ours.keys() & baseline.keys())
            error = 1 - float(np.mean([ours[seed] for seed in seeds]))
            baseline_error = 1 - float(np.mean([baseline[seed] for seed in seeds]))
            ratios.append(_ratio(error, baseline_error))
            weights.append(1 / len(comparison.counts))
    order = np.argsort(np.array(ratios), kind="stable")
    return np.array(ratios)[order], np.array(weights)[order] / max(1e-300, np.sum(weights))


def _ratio(error: float, baseline_error: float) -> float:
    if baseline_error == 0:
        return 1.0 if error == 0 else math.inf
    return error / baseline_error


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
