"""Strategies against one another: areas under their curves and labels saved, paired by seed.

A *score* is a metric with the sign that makes more of it better. Runs of one seed share the split of the data,
the first labels and the initial weights, so strategies are compared within a seed, and seeds are the sample.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from badge_jax.analysis.intervals import (
    EQUAL,
    Interval,
    Ranks,
    holm,
    mean_is_zero,
    mean_of_means_interval,
    rank,
    t_interval,
)
from badge_jax.analysis.load import Run
from badge_jax.analysis.quantities import METRICS, Metric
from badge_jax.paper import BASELINE, MIN_SEEDS
from badge_jax.runs.setting import Setting, setting_of

MIN_BLOCKS = 5
"""Settings that ranks are tested over: with fewer the critical difference cannot be trusted."""


_NOISES = 3
"""How far below the highest common score labels are counted, see `labels_saved`."""


class Scores(NamedTuple):
    """The curves of one setting over the label counts that most strategies share.

    Attributes:
        setting: Data set, network and batch size.
        labels: [m] int64, the label counts, ascending. The last is the largest that more than half of the
            strategies reached, the baseline among them if it ran, each with at least half of its seeds. So
            neither a strategy that has just begun nor one seed that went further decides for all others.
        curves: Strategy → seed → [m] float64, scores.
        left_out: (strategy, seed, last label count) of the runs that end before the last label count, or lack
            one that others have.
    """

    setting: Setting
    labels: np.ndarray
    curves: Mapping[str, Mapping[int, np.ndarray]]
    left_out: Sequence[tuple[str, int, int]]


def scores(runs: Iterable[Run], metric: Metric = METRICS["accuracy"]) -> dict[Setting, Scores]:
    """The curves of every setting, cut to a common range of labels.

    Args:
        runs: Runs that record the metric.
        metric: What is compared.

    Returns:
        Setting → scores, sorted.

    Example:
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 10, "strategy": "badge", "seed": 0}
        >>> rounds = [{"round": i, "num_labeled": 10 + 10 * i, "test_accuracy": i / 4} for i in range(3)]
        >>> found = scores([Run(config, rounds)])[Setting("letter", "mlp", 10)]
        >>> found.labels.tolist(), found.curves["badge"][0].tolist()
        ([10, 20, 30], [0.0, 0.25, 0.5])
    """
    values: dict[Setting, dict[str, dict[int, dict[int, float]]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        curve = {line["num_labeled"]: metric.sign * float(line[metric.field]) for line in run.rounds}
        values[setting_of(run.config)][run.config["strategy"]][run.config["seed"]] = curve
    return {setting: _in_common(setting, found) for setting, found in sorted(values.items())}


def _in_common(setting: Setting, found: Mapping[str, Mapping[int, Mapping[int, float]]]) -> Scores:
    ends = {
        strategy: sorted(max(curve) for curve in by_seed.values())[len(by_seed) // 2]
        for strategy, by_seed in found.items()
    }
    last = sorted(ends.values(), reverse=True)[len(ends) // 2]
    last = min(last, ends.get(BASELINE, last))
    reaching = [curve for by_seed in found.values() for curve in by_seed.values() if max(curve) >= last]
    labels = sorted({count for curve in reaching for count in curve if count <= last})
    curves: dict[str, dict[int, np.ndarray]] = {}
    left_out = []
    for strategy, by_seed in sorted(found.items()):
        curves[strategy] = {}
        for seed, curve in sorted(by_seed.items()):
            if all(count in curve for count in labels):
                curves[strategy][seed] = np.array([curve[count] for count in labels])
            else:
                left_out.append((strategy, seed, max(curve)))
    return Scores(setting, np.array(labels), curves, left_out)


def area(labels: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """The area under curves by trapezoids, over the range of labels: a mean score.

    Args:
        labels: [m] numbers, ascending.
        curves: [..., m] float64.

    Returns:
        [...] float64. With one label count, the score there.

    Example:
        >>> float(area(np.array([100, 200, 300]), np.array([0.25, 0.5, 0.75])))
        0.5
    """
    if len(labels) == 1:
        return curves[..., 0]
    return np.trapezoid(curves, labels, axis=-1) / (labels[-1] - labels[0])


def areas(found: Scores) -> dict[str, dict[int, float]]:
    """The area under every curve of a setting.

    Args:
        found: Of the setting.

    Returns:
        Strategy → seed → area, a mean score.

    Example:
        >>> curves = {"badge": {3: np.array([0, 1])}}
        >>> areas(Scores(Setting("letter", "mlp", 10), np.array([10, 20]), curves, []))
        {'badge': {3: 0.5}}
    """
    return {
        strategy: {seed: float(area(found.labels, curve)) for seed, curve in by_seed.items()}
        for strategy, by_seed in found.curves.items()
    }


def labels_saved(labels: np.ndarray, ours: np.ndarray, baseline: np.ndarray) -> float:
    """How many labels fewer than the baseline a strategy needs for the same score.

    Each curve is made monotone first, by the nearest curve in least squares that ascends from the first score,
    and its steps are joined by straight lines: noise would else count as an early arrival. The score is the
    highest that both reach, less three times the noise: the root mean square of what that took away. Without
    noise it is the smaller of the two last scores. Where curves become flat the last bit is reached by chance,
    and would hide what was saved before. So the noisier the curves, the lower the score, and the fewer labels
    there are to be saved. Both curves are treated alike, so of two strategies of one law neither is favoured.

    Args:
        labels: [m] numbers, ascending.
        ours: [m] float64, scores.
        baseline: [m] float64, likewise.

    Returns:
        Labels of the baseline at that score, less ours. Negative if the strategy needs more. NaN if the score
        is not above both first ones, since one curve does not rise, or no more than its noise, or begins above
        all of the other: then it is not a score that both learned to reach.

    Example:
        >>> labels = np.array([100, 200, 300])
        >>> labels_saved(labels, np.array([0.2, 0.6, 0.8]), np.array([0.2, 0.4, 0.6]))
        100.0
    """
    (our_labels, ours, our_noise), (their_labels, theirs, their_noise) = (
        _ascending(labels, curve) for curve in (ours, baseline)
    )
    start, end = max(ours[0], theirs[0]), min(ours[-1], theirs[-1])
    noise = np.sqrt(np.mean(np.concatenate([our_noise, their_noise]) ** 2))
    level = end - _NOISES * noise
    if level <= start + EQUAL:
        return float("nan")
    return float(np.interp(level, theirs, their_labels) - np.interp(level, ours, our_labels))


def _ascending(labels: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The steps of the nearest curve that ascends from the first value, which strategies share: the first label
    count of each step, and its height; and how far the other values [m − 1] lie above it."""
    from scipy import optimize

    rest = np.maximum(optimize.isotonic_regression(curve[1:]).x, curve[0])
    heights, first = np.unique(np.concatenate([curve[:1], rest]), return_index=True)
    return labels[first].astype(np.float64), heights, curve[1:] - rest


class Contrast(NamedTuple):
    """One strategy against another in one setting.

    Attributes:
        strategy: The first.
        other: The second.
        seeds: n, those that both have, ascending.
        differences: [n] float64, area of the first less area of the second, by seed.
        interval: Of their mean.
        p_value: Of the paired t-test that the mean is zero; None with fewer than five pairs.
        p_holm: Corrected for all pairs of the setting that were tested; None likewise.
    """

    strategy: str
    other: str
    seeds: Sequence[int]
    differences: np.ndarray
    interval: Interval
    p_value: float | None
    p_holm: float | None

    @property
    def wins(self) -> float:
        """Seeds in which the first has the larger area; an equal one counts half."""
        return _wins(self.differences)

    def reversed(self) -> "Contrast":
        """The second against the first."""
        mean, low, high = self.interval
        return self._replace(
            strategy=self.other,
            other=self.strategy,
            differences=0.0 - self.differences,  # never −0
            interval=Interval(0.0 - mean, 0.0 - high, 0.0 - low),
        )


def _wins(differences: np.ndarray) -> float:
    is_equal = np.abs(differences) < EQUAL
    return float(((differences > 0) & ~is_equal).sum() + 0.5 * is_equal.sum())


Contrasts = dict[tuple[str, str], Contrast]
"""(strategy, other) → contrast, in both orders; pairs that share no seed are absent."""


def contrasts(found: Scores) -> Contrasts:
    """Every pair of strategies of a setting by the areas under their curves, paired by seed.

    Args:
        found: Of the setting.

    Returns:
        The pairs. p-values are corrected by Holm over all of them.

    Example:
        >>> curves = {"badge": {0: np.array([0.2, 0.5])}, "random": {0: np.array([0.2, 0.4])}}
        >>> found = contrasts(Scores(Setting("letter", "mlp", 10), np.array([10, 20]), curves, []))
        >>> pair = found["badge", "random"]
        >>> round(pair.interval.mean, 3), pair.interval.is_known, pair.p_value
        (0.05, False, None)
    """
    known = areas(found)
    pairs = []
    for ours, theirs in combinations(known, 2):
        seeds = sorted(known[ours].keys() & known[theirs].keys())
        if seeds:
            differences = np.array([known[ours][seed] - known[theirs][seed] for seed in seeds])
            p = float(mean_is_zero(differences)) if len(seeds) >= MIN_SEEDS else None
            pairs.append(Contrast(ours, theirs, seeds, differences, t_interval(differences), p, None))
    pairs = _corrected(pairs)
    return {(pair.strategy, pair.other): pair for pair in (*pairs, *(pair.reversed() for pair in pairs))}


def _corrected(pairs: Sequence[Contrast]) -> list[Contrast]:
    p_values = np.array([pair.p_value for pair in pairs if pair.p_value is not None])
    corrected = iter(holm(p_values).tolist() if len(p_values) else [])
    return [pair if pair.p_value is None else pair._replace(p_holm=next(corrected)) for pair in pairs]


class Overall(NamedTuple):
    """One strategy against another over settings, each of equal weight.

    Attributes:
        strategy: The first.
        other: The second.
        means: [b] float64, mean difference of their areas in each setting that has both.
        over_seeds: Interval of the average over *these* settings; seeds are the sample, each counted once.
        over_settings: Interval of the average over settings *like these*; settings are the sample.
        p_value: Of the t-test over settings that the mean is zero; None with fewer than five settings.
        p_holm: Corrected for all pairs tested; None likewise.
    """

    strategy: str
    other: str
    means: np.ndarray
    over_seeds: Interval
    over_settings: Interval
    p_value: float | None
    p_holm: float | None

    @property
    def wins(self) -> float:
        """Settings in which the first has the larger mean area; an equal one counts half."""
        return _wins(self.means)


def overall(by_setting: Iterable[Contrasts]) -> dict[tuple[str, str], Overall]:
    """Every pair of strategies over all settings in which both ran.

    Args:
        by_setting: The contrasts of each setting.

    Returns:
        (strategy, other) → their comparison, in both orders.

    Example:
        >>> gains = np.array([0.1, 0.2])
        >>> pair = Contrast("badge", "random", [0, 1], gains, t_interval(gains), None, None)
        >>> found = overall([{("badge", "random"): pair}] * 2)["badge", "random"]
        >>> round(found.over_settings.mean, 3), found.wins, found.p_value
        (0.15, 2.0, None)
    """
    groups: dict[tuple[str, str], list[Contrast]] = defaultdict(list)
    for found in by_setting:
        for names, pair in found.items():
            groups[names].append(pair)
    result = {}
    for (ours, theirs), pairs in groups.items():
        means = np.array([pair.differences.mean() for pair in pairs])
        over_seeds = mean_of_means_interval(
            [dict(zip(pair.seeds, pair.differences.tolist(), strict=True)) for pair in pairs]
        )
        p = float(mean_is_zero(means)) if len(means) >= MIN_BLOCKS else None
        result[ours, theirs] = Overall(ours, theirs, means, over_seeds, t_interval(means), p, None)
    tested = [names for names, pair in result.items() if names[0] < names[1] and pair.p_value is not None]
    if tested:
        p_values = np.array([result[names].p_value for names in tested], np.float64)
        for (ours, theirs), corrected in zip(tested, holm(p_values).tolist(), strict=True):
            for names in ((ours, theirs), (theirs, ours)):
                result[names] = result[names]._replace(p_holm=corrected)
    return result


class Ranking(NamedTuple):
    """Strategies ranked over settings by the mean area under their curves.

    Attributes:
        strategies: Those that ran in every setting of the ranking, best first.
        ranks: In the order of the strategies.
        settings: The blocks.
    """

    strategies: Sequence[str]
    ranks: Ranks
    settings: Sequence[Setting]


def ranking(found: Iterable[Scores]) -> Ranking | str:
    """Ranks the strategies within each setting, with Nemenyi's critical difference.

    Strategies are compared in a setting over the seeds that all of them have. A strategy that is lacking in a
    setting is not ranked.

    Args:
        found: The scores of each setting.

    Returns:
        The ranking, or why there is none: fewer than five settings, or than three strategies in all of them.

    References:
        Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006.

    Example:
        >>> ranking([])
        'ranks need five settings or more (here: 0)'
    """
    found = list(found)
    if len(found) < MIN_BLOCKS:
        return f"ranks need five settings or more (here: {len(found)})"
    names = sorted(set.intersection(*({n for n, seeds in s.curves.items() if seeds} for s in found)))
    if len(names) < 3:
        return f"ranks need three strategies that ran in every setting (here: {len(names)})"
    rows = []
    for setting in found:
        seeds = sorted(set.intersection(*(set(setting.curves[name]) for name in names)))
        if not seeds:
            return f"no seed has all strategies in {setting.setting.title}"
        known = areas(setting)
        rows.append([np.mean([known[name][seed] for seed in seeds]) for name in names])
    ranks = rank(np.round(np.array(rows) / EQUAL) * EQUAL)
    order = np.argsort(ranks.mean_ranks, kind="stable")
    return Ranking(
        [names[i] for i in order],
        ranks._replace(mean_ranks=ranks.mean_ranks[order]),
        [setting.setting for setting in found],
    )


class Saving(NamedTuple):
    """Labels that a strategy saves against the baseline at equal score, over seeds.

    Attributes:
        saved: [n] float64, `labels_saved` for each seed that both have; NaN where no score is reached by both.
        interval: Of the mean; all NaN if any seed has none.
        reached: Seeds in which the strategy's last score is at least the baseline's.
    """

    saved: np.ndarray
    interval: Interval
    reached: int


def savings(found: Scores) -> dict[str, Saving]:
    """Labels saved against the baseline by every other strategy of a setting, paired by seed.

    Args:
        found: Of the setting.

    Returns:
        Strategy → saving, of those that share a seed with the baseline; none where there is no baseline.

    Example:
        >>> curves = {"badge": {0: np.array([0.2, 0.6])}, "random": {0: np.array([0.2, 0.4])}}
        >>> found = Scores(Setting("letter", "mlp", 10), np.array([10, 20]), curves, [])
        >>> savings(found)["badge"].saved.tolist()
        [5.0]
    """
    baseline = found.curves.get(BASELINE, {})
    result = {}
    for strategy, by_seed in found.curves.items():
        seeds = sorted(by_seed.keys() & baseline.keys())
        if strategy == BASELINE or not seeds or len(found.labels) < 2:
            continue
        saved = np.array([labels_saved(found.labels, by_seed[seed], baseline[seed]) for seed in seeds])
        reached = sum(bool(by_seed[seed][-1] > baseline[seed][-1] - EQUAL) for seed in seeds)
        result[strategy] = Saving(saved, t_interval(saved), reached)
    return result
