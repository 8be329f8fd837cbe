"""The parts of report.html."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from badge_jax import html
from badge_jax.analysis.load import Run
from badge_jax.analysis.statistics import (
    Comparison,
    CurvePoint,
    Curves,
    MissingRun,
    missing_runs,
)
from badge_jax.paper import BASELINE, SATURATED, SIGNIFICANT
from badge_jax.runs.setting import Setting, setting_of

# in titles and in the environment's list, or in the names of strategy, network and cold start
_NOT_SHOWN = {*Setting._fields, "strategy", "seed", "environment"}
_NOT_SHOWN |= {"strategy_options", "model_options", "cold_start_options"}


def report_page(
    runs: Sequence[Run],
    curves: Curves,
    comparisons: Sequence[Comparison],
    strategies: Sequence[str],
    overall: Mapping[str, Path],
    of_settings: Mapping[Setting, Path],
) -> str:
    """The content of report.html, pictures included.

    Args:
        runs: All runs of the report.
        curves: Their learning curves.
        comparisons: The settings in which the baseline ran.
        strategies: All strategies, in the order of the tables.
        overall: Name → PNG file of the penalty matrices and normalized errors; empty if nothing is comparable.
        of_settings: Setting → PNG file of its learning curves.

    Returns:
        HTML that needs no other file.
    """
    missing = missing_runs(runs)
    parts = [
        html.paragraph(_overview(runs, len(of_settings), strategies)),
        html.paragraph(_completeness(missing)),
        *_comparison_parts(comparisons, overall),
        *_curve_parts(runs, curves, strategies, of_settings),
        *_configuration_parts(runs),
        *_missing_parts(missing),
    ]
    return html.page("Active learning: results of the runs", parts)


def _overview(runs: Sequence[Run], num_settings: int, strategies: Sequence[str]) -> str:
    seeds = sorted({run.config["seed"] for run in runs})
    return (
        f"{len(runs)} runs in {num_settings} settings (a data set, a network and a batch size). Strategies: "
        f"{', '.join(strategies)}. Seeds: {', '.join(map(str, seeds))}. In each round of a run, the network is "
        "trained from scratch and the strategy selects the next batch of examples to label. Runs with the same "
        "seed start from the same labels and the same initial weights."
    )


def _completeness(missing: Sequence[MissingRun]) -> str:
    if not missing:
        return "No run is missing: in every setting, all strategies and seeds have the same number of labels."
    num_absent = sum(run.lack == "no run" for run in missing)
    return (
        f"Incomplete: {num_absent} runs are missing and {len(missing) - num_absent} end early, if every "
        "strategy and seed found here is expected in every setting. They are listed at the end. Means use the "
        "runs that exist; paired tests use the seeds that both strategies have."
    )


def _comparison_parts(comparisons: Sequence[Comparison], overall: Mapping[str, Path]) -> list[html.Html]:
    """Penalty matrices, normalized errors and the label counts behind them."""
    parts = [html.heading("Which strategy beats which")]
    if not overall:
        reason = (
            f"{BASELINE} is saturated after its first batch in every setting"
            if comparisons
            else f"there is no run of {BASELINE}"
        )
        return [*parts, html.paragraph(f"Strategies cannot be compared as in the paper: {reason}.")]
    parts.append(
        html.paragraph(
            "How often the strategy of the row beats the strategy of the column. In each setting they are "
            f"compared at several label counts, by a paired t-test over the seeds (p < {SIGNIFICANT}). A "
            "setting contributes at most one point, in equal parts from its label counts; the number of "
            "settings is in parentheses. The last row is the mean of each column: a strategy with a lower mean "
            "is beaten less often."
        )
    )
    parts += [html.picture(overall[name], name) for name in overall if name.startswith("penalty")]
    parts.append(html.heading(f"Errors relative to {BASELINE}"))
    parts.append(
        html.paragraph(
            "For every ratio on the horizontal axis, the share of comparisons in which a strategy's error is "
            f"at most that multiple of the error of {BASELINE}. The further up and to the left a curve is, the "
            f"better. At 1 a strategy is as good as {BASELINE}."
        )
    )
    parts += [html.picture(overall[name], name) for name in overall if name.startswith("cdf")]
    parts.append(html.heading("Label counts of the comparisons", 3))
    parts.append(
        html.paragraph(
            f"n₀ is the first label count at which the mean accuracy of {BASELINE} reaches "
            f"{100 * SATURATED:.0f} % of its last value. Strategies are compared at M + B, M + 2B, M + 4B, … "
            "labels below n₀, where M is the number of initial labels and B the batch size. If the runs of "
            f"{BASELINE} were stopped early, n₀ refers to the shorter curve."
        )
    )
    rows = [
        (
            comparison.setting.title,
            f"{comparison.last:,}",
            f"{comparison.saturation:,}",
            ", ".join(f"{count:,}" for count in comparison.counts)
            or f"none: {BASELINE} is saturated after its first batch",
        )
        for comparison in comparisons
    ]
    return [
        *parts,
        html.table("Label counts", ("setting", f"{BASELINE} ends at", "n₀", "compared at (labels)"), rows),
    ]


def _curve_parts(
    runs: Sequence[Run], curves: Curves, strategies: Sequence[str], of_settings: Mapping[Setting, Path]
) -> list[html.Html]:
    """Learning curves, accuracies and budgets of every setting."""
    parts = [
        html.heading("Learning curves"),
        html.paragraph(
            "Test accuracy against the number of labels: the mean over the seeds, with a band of one standard "
            "error. Area is the mean accuracy over the range of labels that all strategies cover. Labels "
            "needed is the first number of labels at which a strategy reaches the last accuracy of "
            f"{BASELINE} in that range. Seconds are totals of a run, without compilation."
        ),
    ]
    for setting, path in of_settings.items():
        found = {name: curves[setting][name] for name in strategies if name in curves[setting]}
        parts.append(html.heading(setting.title, 3))
        parts.append(html.picture(path, f"learning curves: {setting.title}"))
        caption = f"Accuracy in percent: {setting.title}"
        parts.append(html.table(caption, ["labels", *found], _accuracy_rows(found)))
    return parts


def _accuracy_rows(curves: Mapping[str, Sequence[CurvePoint]]) -> list[list[str]]:
    """Mean ± standard error in percent, at about eight label counts."""
    by_labels = {name: {point.num_labeled: point for point in points} for name, points in curves.items()}
    counts = sorted({count for points in by_labels.values() for count in points})
    step = -(-len(counts) // 8)
    rows = []
    for count in sorted({*counts[::step], counts[-1]}):
        points = [by_labels[name].get(count) for name in curves]
        cells = [f"{100 * p.mean:.1f} ± {100 * p.standard_error:.1f}" if p else "–" for p in points]
        rows.append([f"{count:,}", *cells])
    return rows


def _configuration_parts(runs: Sequence[Run]) -> list[html.Html]:
    """The options that all settings share, a table of those that differ, and the environments."""
    found: dict[Setting, dict[str, set[str]]] = {}
    for run in runs:
        options = found.setdefault(setting_of(run.config), {})
        for name, value in run.config.items():
            if name not in _NOT_SHOWN:
                options.setdefault(name, set()).add(str(value))
    names = list(dict.fromkeys(name for options in found.values() for name in options))
    cells = {
        name: {setting: ", ".join(sorted(options.get(name, {"–"}))) for setting, options in found.items()}
        for name in names
    }
    shared = {name: next(iter(cells[name].values())) for name in names if len(set(cells[name].values())) == 1}
    differing = [name for name in names if name not in shared]
    parts = [html.heading("Configuration and versions")]
    if shared:
        parts.append(
            html.paragraph(f"All settings: {', '.join(f'{name} {value}' for name, value in shared.items())}.")
        )
    if differing:
        rows = [[setting.title, *(cells[name][setting] for name in differing)] for setting in found]
        parts.append(html.table("Options that differ", ["setting", *differing], rows))
    environments = Counter(
        ", ".join(f"{name} {value}" for name, value in run.config.get("environment", {}).items())
        for run in runs
    )
    parts.append(
        html.bullets(f"{number} runs: {text or 'not recorded'}" for text, number in environments.items())
    )
    return parts


def _missing_parts(missing: Sequence[MissingRun]) -> list[html.Html]:
    if not missing:
        return []
    return [
        html.heading("Missing runs"),
        html.bullets(
            f"{'/'.join(map(str, run.setting))}/{run.strategy}, seed {run.seed}: {run.lack}" for run in missing
        ),
    ]
