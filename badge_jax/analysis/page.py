"""The parts of report.html."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from badge_jax import html
from badge_jax.analysis._contrasts import Contrast, Saving, areas
from badge_jax.analysis.intervals import t_interval
from badge_jax.analysis.load import Run
from badge_jax.analysis.pictures import Picture, Pictures
from badge_jax.analysis.quantities import Metric
from badge_jax.analysis.results import Results, SettingResults
from badge_jax.analysis.statistics import MissingRun
from badge_jax.analysis.words import number, summary, whole
from badge_jax.paper import BASELINE, MIN_SEEDS, SATURATED, SIGNIFICANT
from badge_jax.runs.setting import Setting, setting_of

# in titles and in the environment's list, or in the names of strategy, network and cold start
_NOT_SHOWN = {*Setting._fields, "strategy", "seed", "environment", "resumed", "check"}
_NOT_SHOWN |= {"strategy_options", "model_options", "cold_start_options"}
_STYLE = """
td { white-space: nowrap; }
"""


class Origin(NamedTuple):
    """Where the report comes from.

    Attributes:
        date: Day and time, UTC.
        command: The command that makes it again.
        version: Of badge_jax, with the commit where it is known.
    """

    date: str
    command: str
    version: str


def report_page(
    runs: Sequence[Run],
    results: Results,
    pictures: Pictures,
    skipped: Sequence[str],
    remarks: Sequence[str],
    origin: Origin,
) -> str:
    """The content of report.html, pictures included.

    Args:
        runs: All runs of the report.
        results: Their numbers.
        pictures: Drawn from them.
        skipped: What was left out, and why.
        remarks: What makes the runs less comparable than they should be.
        origin: Where the report comes from.

    Returns:
        HTML that needs no other file.
    """
    sections = [
        ("What the curves say", "curves", _curve_parts(results, pictures.of_settings)),
        ("All settings together", "all", _overall_parts(results, pictures.overall)),
        ("The comparison of the paper", "paper", _paper_parts(results, pictures.of_paper)),
        ("Times and diagnostics", "times", _time_parts(pictures.of_times)),
        ("How to read the numbers", "method", _method_parts(results)),
        ("Configuration and versions", "configuration", _configuration_parts(runs, origin)),
        ("Missing and skipped runs", "missing", _missing_parts(results.missing, skipped)),
    ]
    sections = [section for section in sections if section[2]]
    parts: list[str] = [
        html.paragraph(_overview(runs, results)),
        html.paragraph(_completeness(results.missing, skipped)),
        *([html.paragraph("Read with care:"), html.bullets(remarks)] if remarks else []),
        html.contents((words, name) for words, name, _ in sections),
    ]
    for words, name, content in sections:
        parts += [html.heading(words, 2, name), *content]
    return html.page("Active learning: results of the runs", parts, _STYLE)


def _plots(pictures: Iterable[Picture]) -> html.Html:
    return html.plots((picture.png, picture.caption) for picture in pictures)


def _overview(runs: Sequence[Run], results: Results) -> str:
    seeds = sorted({run.config["seed"] for run in runs})
    return (
        f"{_count(len(runs), 'run')} in {_count(len(results.settings), 'setting')} (a data set, a network "
        f"and a batch size), by {results.metric.title}. Strategies: {', '.join(results.strategies)}. Seeds: "
        f"{', '.join(map(str, seeds))}. In each round of a run, the network is trained from scratch and the "
        "strategy selects the next batch of examples to label. Runs with the same seed are meant to start from "
        "the same labels and the same initial weights."
    )


def _completeness(missing: Sequence[MissingRun], skipped: Sequence[str]) -> str:
    left_out = f" {_count(len(skipped), 'run')} in the folders cannot be used." if skipped else ""
    if not missing:
        complete = "in every setting, all strategies and seeds have the same number of labels."
        return f"No run is missing: {complete}{left_out}"
    num_absent = sum(run.lack == "no run" for run in missing)
    return (
        f"Incomplete: {_count(num_absent, 'run')} missing and {_count(len(missing) - num_absent, 'run')} that "
        "ended early, if every strategy and seed found here is expected in every setting. They are listed at "
        "the end. Means use the runs that exist; differences use the seeds that both strategies have."
        f"{left_out}"
    )


def _curve_parts(results: Results, of_settings: Mapping[Setting, Sequence[Picture]]) -> list[html.Html]:
    """For every setting, what its curves say, its pictures and its tables."""
    parts = []
    for setting, found in results.settings.items():
        parts.append(html.heading(setting.title, 3))
        parts += [html.paragraph(" ".join(summary(found, results.strategies, results.metric)))]
        if stopped := [
            f"{name} {found.stopped[name][0]} of {found.stopped[name][1]}"
            for name in results.strategies
            if found.stopped.get(name, (0, 0))[0]
        ]:
            parts.append(
                html.paragraph(
                    "Fits that ended at max_epochs, below the target accuracy on their labels: "
                    f"{', '.join(stopped)}. Longer training may change what such a network scores and asks for."
                )
            )
        if found.scores.left_out:
            runs = ", ".join(f"{name} seed {seed} (to {last:,})" for name, seed, last in found.scores.left_out)
            parts.append(
                html.paragraph(
                    f"Not in the comparisons of curves, which go to {found.scores.labels[-1]:,} labels, "
                    f"since they lack some of these: {runs}."
                )
            )
        parts.append(_plots(of_settings[setting]))
        parts += _against_baseline(setting, found, results)
        names = [name for name in results.strategies if name in found.values]
        unit = f" ({results.metric.unit})" if results.metric.unit else ""
        parts.append(
            html.table(
                f"Mean {results.metric.title}{unit}{_half(found)}: {setting.title}",
                ["labels", *_with_runs(found, names)],
                _mean_rows(found, names, results.metric),
            )
        )
    return parts


def _against_baseline(setting: Setting, found: SettingResults, results: Results) -> list[html.Html]:
    """The table of the strategies against the baseline, or against one another where there is none; nothing
    where nothing can be compared."""
    if len(found.scores.labels) < 2:
        return []
    metric, rows, known = results.metric, [], areas(found.scores)
    most = max(map(len, known.values()))
    for name in results.strategies:
        if name not in found.values:
            continue
        ours = list(known.get(name, {}).values())
        mean = number(metric.sign * float(np.mean(ours)), metric) if ours else ""
        if 0 < len(ours) < most:
            mean += f" ({_count(len(ours), 'seed')})"
        pair = found.contrasts.get((name, BASELINE))
        cells = [*_pair_cells(pair, metric), *_saving_cells(found.savings.get(name), pair)]
        if pair is None and ours and name != BASELINE:
            cells[0] = f"no seed in common with {BASELINE}"
        rows.append([name, mean, *cells])
    header = [
        "strategy",
        f"mean over the curve{' (%)' if metric.unit else ''}",
        metric.lead_over(BASELINE),
    ]
    header += ["corrected p", "seeds ahead", "labels saved", f"ends as well as {BASELINE}"]
    labels = found.scores.labels
    span = f"Over {labels[0]:,} to {labels[-1]:,} labels"
    if not found.savings:  # nothing is paired
        means = html.table(f"{span}: {setting.title}", header[:2], [row[:2] for row in rows])
        return [means, *_pairs_table(setting, found, metric)]
    caption = f"{span}, paired by seed, with 95 % intervals: {setting.title}"
    return [html.table(caption, header, rows)]


def _pairs_table(setting: Setting, found: SettingResults, metric: Metric) -> list[html.Html]:
    """Every pair of strategies, once, the better one first."""
    rows = [
        [f"{pair.strategy} over {pair.other}", *_pair_cells(pair, metric)]
        for pair in sorted(found.contrasts.values(), key=lambda pair: -pair.interval.mean)
        if (pair.interval.mean, pair.other) > (0.0, pair.strategy)
    ]
    if not rows:
        return []
    labels = found.scores.labels
    caption = f"Pairs, {labels[0]:,} to {labels[-1]:,} labels, by seed, with 95 % intervals: {setting.title}"
    unit = f" ({metric.unit_of_differences})" if metric.unit_of_differences else ""
    return [html.table(caption, ["pair", f"better by{unit}", "corrected p", "seeds ahead"], rows)]


def _pair_cells(pair: Contrast | None, metric: Metric) -> list[str]:
    if pair is None:
        return ["", "", ""]
    p = "too few seeds" if pair.p_holm is None else _p(pair.p_holm)
    return [_with_interval(pair.interval, metric), p, f"{pair.wins:g} of {len(pair.differences)}"]


def _saving_cells(saving: Saving | None, pair: Contrast | None) -> list[str]:
    if saving is None:
        return ["", ""]
    mean, low, high = saving.interval
    if np.isnan(mean):
        words = "no number"
    else:
        words = whole(mean) + (f" ({whole(low)} to {whole(high)})" if saving.interval.is_known else "")
    return [words, f"{saving.reached} of {_count(len(saving.saved), 'seed')}"]


def _with_interval(interval: tuple[float, float, float], metric: Metric) -> str:
    mean, low, high = interval
    shown = number(mean, metric, signed=True)
    if np.isnan(low):
        return shown
    return f"{shown} ({number(low, metric, signed=True)} to {number(high, metric, signed=True)})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _half(found: SettingResults) -> str:
    """What stands after ±; nothing where there is one run of each strategy."""
    numbers = (len(by_seed) for by_labels in found.values.values() for by_seed in by_labels.values())
    return " ± half of its 95 % interval" if max(numbers) > 1 else ""


def _with_runs(found: SettingResults, names: Sequence[str]) -> list[str]:
    """The names, with the number of runs of each where these differ."""
    most = {name: max(map(len, found.values[name].values())) for name in names}
    if len({*most.values()}) == 1:
        return list(names)
    return [f"{name} ({_count(most[name], 'run')})" for name in names]


def _mean_rows(found: SettingResults, names: Sequence[str], metric: Metric) -> list[list[str]]:
    """Means with half intervals at about eight label counts; a mean of fewer runs than others says so."""
    counts = sorted({count for name in names for count in found.values[name]})
    step = -(-len(counts) // 8)
    most = {name: max(map(len, found.values[name].values())) for name in names}
    rows = []
    for count in sorted({*counts[::step], counts[-1]}):
        cells = []
        for name in names:
            values = np.array(list(found.values[name].get(count, {}).values()))
            if not len(values):
                cells.append("")
                continue
            interval = t_interval(values)
            shown = number(interval.mean, metric)
            if interval.is_known:
                shown += f" ± {number(interval.high - interval.mean, metric)}"
            if len(values) < most[name]:
                shown += f" ({_count(len(values), 'run')})"
            cells.append(shown)
        rows.append([f"{count:,}", *cells])
    return rows


def _overall_parts(results: Results, pictures: Sequence[Picture]) -> list[html.Html]:
    """Comparisons over settings; nothing with one setting."""
    if len(results.settings) < 2:
        return []
    metric = results.metric
    pairs = [
        results.overall[name, BASELINE] for name in results.strategies if (name, BASELINE) in results.overall
    ]
    parts = [
        html.paragraph(
            "Differences of the mean over the curve, each setting of equal weight. The first interval is "
            "for just these settings: seeds are the sample, and one that several settings share counts "
            "once. The second is for settings like these: settings are the sample, as far as they are "
            "independent, which those that share a data set are not. A "
            f"test over settings needs {MIN_SEEDS} of them; its p-value is corrected by Holm over all pairs "
            "of strategies."
        )
    ]
    if pairs:
        rows = [
            [
                pair.strategy,
                number(pair.over_settings.mean, metric, signed=True),
                _ends(pair.over_seeds, metric),
                _ends(pair.over_settings, metric),
                "too few settings" if pair.p_holm is None else _p(pair.p_holm),
                f"{pair.wins:g} of {len(pair.means)}",
            ]
            for pair in pairs
        ]
        header = [
            "strategy",
            metric.lead_over(BASELINE),
            "95 %, these settings",
            "95 %, settings like these",
        ]
        parts.append(html.table("Over all settings", [*header, "corrected p", "settings ahead"], rows))
    if isinstance(results.ranking, str):
        parts.append(html.paragraph(f"No critical-difference picture: {results.ranking}."))
    else:
        ranks = results.ranking.ranks
        lacking = [name for name in results.strategies if name not in results.ranking.strategies]
        parts.append(
            html.paragraph(
                f"Ranks over {ranks.num_blocks} settings (1 is the best). That all strategies are alike: p "
                f"{_p(ranks.p_value) if ranks.p_value < 0.001 else '= ' + _p(ranks.p_value)} (Friedman's "
                "test in Iman and Davenport's form). Mean ranks that differ by less than the critical "
                "difference (Nemenyi) are not told apart; a bar joins them."
                + (f" Not ranked, since they lack a setting: {', '.join(lacking)}." if lacking else "")
            )
        )
    return [*parts, _plots(pictures)] if pictures else parts


def _ends(interval: tuple[float, float, float], metric: Metric) -> str:
    _, low, high = interval
    return "" if np.isnan(low) else f"{number(low, metric, signed=True)} to {number(high, metric, signed=True)}"


def _paper_parts(results: Results, pictures: Sequence[Picture]) -> list[html.Html]:
    """Penalty matrices, normalized errors and the label counts behind them."""
    if not pictures:
        return [html.paragraph(f"Strategies cannot be compared as in the paper: {_why_not(results)}.")]
    parts = [
        html.paragraph(
            "As in Ash et al., ICLR 2020, of test accuracy. The matrix says how often the strategy of the "
            "row beats the strategy of the column: in each setting at several label counts, by a paired "
            f"t-test over the seeds (p < {SIGNIFICANT}), not corrected for the number of tests. A setting "
            f"contributes at most one point, in equal parts from its label counts. A pair needs {MIN_SEEDS} "
            "seeds in common at each of them; a pair that was never compared is empty. The last row is the "
            "mean of each column: a strategy with a lower mean is beaten less often, which also holds for "
            "one that is often worse but too noisy to test. It is empty where a strategy was not compared "
            "with all others in all settings."
        ),
        html.paragraph(
            "The curves of errors: for every ratio on the horizontal axis, the share of comparisons in "
            f"which a strategy's mean error is at most that multiple of the mean error of {BASELINE}. The "
            f"further up and to the left, the better. At 1 a strategy is as good as {BASELINE}."
        ),
        _plots(pictures),
        html.paragraph(
            f"n₀ is the first label count at which the mean accuracy of {BASELINE} reaches "
            f"{100 * SATURATED:.0f} % of its last value. Strategies are compared at M + B, M + 2B, M + 4B, … "
            "labels below n₀, where M is the number of initial labels and B the batch size. If the runs of "
            f"{BASELINE} were stopped early, n₀ refers to the shorter curve."
        ),
    ]
    rows = [
        (
            comparison.setting.title,
            f"{comparison.last:,}",
            f"{comparison.saturation:,}",
            ", ".join(f"{count:,}" for count in comparison.counts)
            or f"none: {BASELINE} is saturated after its first batch",
        )
        for comparison in results.comparisons
    ]
    header = ("setting", f"{BASELINE} ends at", "n₀", "compared at (labels)")
    return [*parts, html.table("Label counts", header, rows)]


def _why_not(results: Results) -> str:
    if not results.comparisons:
        return f"there is no run of {BASELINE}"
    if not any(comparison.counts for comparison in results.comparisons):
        return f"{BASELINE} is saturated after its first batch in every setting"
    return f"too few seeds to test; a pair needs {MIN_SEEDS} in common at every label count of the comparison"


def _time_parts(of_times: Mapping[Setting, Sequence[Picture]]) -> list[html.Html]:
    parts: list[html.Html] = []
    for setting, pictures in of_times.items():
        if pictures:
            parts += [html.heading(setting.title, 3), _plots(pictures)]
    if not parts:
        return []
    return [
        html.paragraph(
            "Seconds are without compilation, on the device named below, and depend on what else it did. A "
            "query includes what the network says of the pool."
        ),
        *parts,
    ]


def _method_parts(results: Results) -> list[html.Html]:
    direction = "higher" if results.metric.higher_is_better else "lower"
    return [
        html.bullets(
            [
                f"Of {results.metric.title}, {direction} is better. All differences are shown so that a "
                "positive one is better.",
                "Intervals are Student's t over the seeds, at 95 % each, not corrected for their number. "
                "They speak of other seeds of the same setting. One run has no interval, nor have runs with "
                "equal values. An interval of few runs may go beyond what can be, such as 100 %; a band ends "
                "there. In a picture, a band or an arrow may go beyond the axis.",
                f"Differences are paired: by how much the strategy is better than {BASELINE} in the same seed. "
                "Pairing removes what a seed has in common, so a difference may be clear where two bands "
                "overlap.",
                "Mean over the curve: the area under the curve by trapezoids, divided by the range of "
                "labels. The range is common to the strategies of a setting, and ends where half of them or "
                "the baseline end; runs that do not cover it are named and do not count.",
                f"Tests: paired t-tests of that mean, from {MIN_SEEDS} seeds on, corrected by Holm for all "
                "pairs of strategies of the setting: the chance of any false claim among them is 5 % at "
                "most.",
                f"Labels saved: in each seed, how many labels fewer than {BASELINE} the strategy needs for "
                "the same score. Curves are made monotone (least squares) and joined by straight lines first. "
                "The score is the highest that both reach, less three times the noise that this took away: "
                "the noisier the curves, the lower the score, and the fewer labels there are to save. "
                "Negative if the strategy needs more. No number where that score is not above both first "
                "ones in every seed. It is not tested, and where the interval holds 0 it may be none.",
                f"Ends as well as {BASELINE}: seeds in which the last score is as good or better.",
                "Seeds ahead: seeds in which the mean over the curve is larger; equal ones count half.",
            ]
        )
    ]


def _configuration_parts(runs: Sequence[Run], origin: Origin) -> list[html.Html]:
    """The report's origin, the options that all settings share, those that differ, and the environments."""
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
    parts = [
        html.paragraph(
            f"Made on {origin.date} by {origin.version}: {origin.command}. The config.json in a run's folder "
            "has all options of the run; badge-jax run --config takes it."
        )
    ]
    if shared:
        parts.append(
            html.paragraph(f"All settings: {', '.join(f'{name} {value}' for name, value in shared.items())}.")
        )
    if differing:
        rows = [[setting.title, *(cells[name][setting] for name in differing)] for setting in found]
        parts.append(html.table("Options that differ", ["setting", *differing], rows))
    environments = Counter(_environments_of(run) for run in runs)
    parts.append(
        html.bullets(
            f"{_count(number, 'run')}: {text or 'not recorded'}" for text, number in environments.items()
        )
    )
    return parts


def _environments_of(run: Run) -> str:
    """Where a run was made, and what was otherwise when it was resumed."""
    last = run.config.get("environment", {})
    text = ", ".join(f"{name} {value}" for name, value in last.items() if value not in ("", None))
    for later in run.config.get("resumed", []):
        now = later["environment"]
        changes = [f"{name} {now.get(name)}" for name in {**last, **now} if last.get(name) != now.get(name)]
        text += f"; from round {later['round']} on {', '.join(changes)}"
        last = now
    return text


def _missing_parts(missing: Sequence[MissingRun], skipped: Sequence[str]) -> list[html.Html]:
    parts = []
    if missing:
        parts.append(
            html.bullets(
                f"{'/'.join(map(str, run.setting))}/{run.strategy}, seed {run.seed}: {run.lack}"
                for run in missing
            )
        )
    if skipped:
        parts += [html.paragraph("In the folders, but not in this report:"), html.bullets(skipped)]
    return parts


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
