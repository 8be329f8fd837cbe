"""What the curves of a setting say, in sentences."""

from collections.abc import Iterable, Sequence

from badge_jax.analysis._contrasts import Contrast
from badge_jax.analysis.intervals import Interval
from badge_jax.analysis.quantities import Metric
from badge_jax.analysis.results import SettingResults
from badge_jax.paper import BASELINE, MIN_SEEDS, SIGNIFICANT


def summary(found: SettingResults, strategies: Sequence[str], metric: Metric) -> list[str]:
    """What can be said of strategies against the baseline, and what cannot.

    Args:
        found: Of the setting.
        strategies: In the order in which they are named.
        metric: What is compared.

    Returns:
        One to three sentences.
    """
    labels = found.scores.labels
    names = [name for name in strategies if name in found.values]
    if BASELINE not in found.values:
        return [
            f"There is no run of {BASELINE} here, so labels saved and differences to it cannot be given."
            + (" The table below has the strategies against one another." if found.contrasts else "")
        ]
    others = [name for name in names if name != BASELINE]
    if not others:
        return [f"{BASELINE} alone ran here: there is nothing to compare."]
    if len(labels) < 2:
        return [
            f"{BASELINE} and most strategies have only {labels[0]:,} labels in common so far: there is no "
            "curve to compare yet."
        ]
    pairs = [found.contrasts[name, BASELINE] for name in others if (name, BASELINE) in found.contrasts]
    if not pairs:
        return [
            f"No strategy shares a seed with {BASELINE} up to {labels[-1]:,} labels: nothing is paired yet."
        ]
    most = max(len(pair.differences) for pair in pairs)
    if most == 1:
        runs = {seed for name in names for by_seed in found.values[name].values() for seed in by_seed}
        one = "One seed only" if len(runs) == 1 else f"No strategy shares more than one seed with {BASELINE}"
        return [
            f"{one}: what differs may be chance. There is no interval and no test; a test takes "
            f"{MIN_SEEDS} seeds."
        ]
    told = _tested(pairs, metric) if most >= MIN_SEEDS else _too_few(most)
    return [told, *_saved(found, others)]


def _too_few(most: int) -> str:
    return (
        f"Too few seeds to test ({most}; {MIN_SEEDS} are needed). Pictures and tables have mean differences "
        "with 95 % intervals, which are wide with so few."
    )


def _tested(pairs: Sequence[Contrast], metric: Metric) -> str:
    """Which strategies are told apart from the baseline by the areas under their curves."""
    tested = [pair for pair in pairs if pair.p_holm is not None]
    clear = [pair for pair in tested if pair.p_holm is not None and pair.p_holm < SIGNIFICANT]
    near = [pair for pair in tested if pair not in clear and pair.interval.excludes_zero]
    rest = [pair.strategy for pair in tested if pair not in clear and pair not in near]
    untested = [pair.strategy for pair in pairs if pair.p_holm is None]
    parts = _by_direction(clear, metric, f"than {BASELINE}")
    parts += _by_direction(near, metric, "by its own interval, which the correction does not confirm")
    if rest:
        parts.append(f"not told apart from {BASELINE}: {_list(rest)}")
    if untested:
        parts.append(f"too few seeds to test: {_list(untested)}")
    return (
        f"By the mean {metric.title} over the curve, paired by seed, at the {100 * SIGNIFICANT:.0f} % level "
        f"after Holm's correction: {'; '.join(parts)}."
    )


def _by_direction(pairs: Sequence[Contrast], metric: Metric, words: str) -> list[str]:
    better = [_gain(pair, metric) for pair in pairs if pair.interval.mean > 0]
    worse = [_gain(pair, metric) for pair in pairs if pair.interval.mean < 0]
    return [f"{kind} {words}: {_list(some)}" for kind, some in (("better", better), ("worse", worse)) if some]


def _gain(pair: Contrast, metric: Metric) -> str:
    return f"{pair.strategy} by {amount(abs(pair.interval.mean), metric)}"


def _saved(found: SettingResults, others: Sequence[str]) -> list[str]:
    """Labels saved by the strategies, or by the three that save most and the one that saves least."""
    known = {
        name: found.savings[name].interval
        for name in others
        if name in found.savings and found.savings[name].interval.is_known
    }
    order = sorted(known, key=lambda name: -known[name].mean)
    if not order:
        return []
    shown = order if len(order) <= 5 else [*order[:3], order[-1]]
    words = _list(f"{name} {_labels(known[name])}" for name in shown)
    more = "" if len(shown) == len(order) else " The others are in the table."
    last = found.scores.labels[-1]
    return [
        f"Labels against {BASELINE} for the same score, near the highest that both reach by {last:,} labels: "
        f"{words}.{more}"
    ]


def _labels(interval: Interval) -> str:
    """Saved, or needed beyond the baseline's."""
    if interval.mean < 0:
        mean, low, high = (whole(-value) for value in (interval.mean, interval.high, interval.low))
        return f"needs {mean} more (95 % interval {low} to {high})"
    mean, low, high = (whole(value) for value in interval)
    return f"saves {mean} (95 % interval {low} to {high})"


def whole(value: float) -> str:
    """A whole number with a minus sign that is one: −1,234."""
    return f"{round(value):,}".replace("-", "−")


def amount(value: float, metric: Metric, *, is_difference: bool = True, signed: bool = False) -> str:
    """A value of the metric, or a difference, with its unit."""
    unit = metric.unit_of_differences if is_difference else metric.unit
    return number(value, metric, signed=signed) + (f" {unit}" if unit else "")


def number(value: float, metric: Metric, *, signed: bool = False) -> str:
    """A value of the metric, as it is shown, without its unit."""
    digits = 2 if metric.scale == 100 else 4
    shown = f"{metric.scale * value:{'+' if signed else ''}.{digits}f}"
    return shown.replace("-", "−")


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)
