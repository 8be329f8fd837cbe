"""From run directories to a folder of tables and figures, and a page that shows them all."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from badge_jax.analysis import html
from badge_jax.analysis.statistics import (
    Budget,
    Comparison,
    CurvePoint,
    Run,
    Setting,
    budgets,
    column_means,
    compare,
    mean_curves,
    missing_runs,
    normalized_errors,
    penalty_matrix,
    setting_of,
    zoom_range,
)
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.files import write_whole
from badge_jax.runs.directory import MAY_DIFFER, read_config, read_rounds

Curves = dict[Setting, list[CurvePoint]]
_NOT_COMPARED = {*Setting._fields, "seed", "diagnostics", *MAY_DIFFER} - {"horizon"}  # may differ in a report


class Report(NamedTuple):
    """num_runs: runs read. table: accuracies by labels, as text. pictures: PNG files. summary: summary.csv.
    page: report.html.
    """

    num_runs: int
    table: str
    pictures: list[Path]
    summary: Path
    page: Path


def report(directories: Sequence[Path], out: Path) -> Report:
    """Reads the runs in ``directories`` (run directories, or folders of them) and writes to ``out``

    summary.csv, penalty_matrix.csv, cdf.csv  see the functions that make them
    learning_curves_*                         PNG and PDF, one for each data set, network and batch size
    penalty_matrix*, cdf*                     over all, by batch size and by network, where they can be told
    report.html                               all of it on one page, pictures embedded

    Reads nothing but config.json and rounds.jsonl; a run still going counts as far as it came.
    Raises InputError where there is no run to read, EnvironmentFailure without matplotlib.
    """
    try:
        from badge_jax.analysis.figures import in_order
    except ImportError as error:
        raise EnvironmentFailure(f"pictures need matplotlib ({error}); install badge_jax[plots]") from None
    runs = read_runs(directories)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    out.mkdir(parents=True, exist_ok=True)
    curves, comparisons = mean_curves(runs), compare(runs)
    strategies = in_order(setting.strategy for setting in curves)
    compared = [comparison for comparison in comparisons if comparison.counts]
    of_settings = _draw_curves(curves, comparisons, out)
    overall = _draw_comparisons(compared, strategies, out) if compared else {}
    texts = {
        "summary.csv": summary_csv(curves),
        "penalty_matrix.csv": penalty_csv(compared, strategies),
        "cdf.csv": cdf_csv(compared, strategies),
        "report.html": _page(runs, curves, comparisons, strategies, overall, of_settings),
    }
    for name, text in texts.items():
        write_whole(out / name, text.encode())
    pictures = [*overall.values(), *of_settings.values()]
    return Report(len(runs), accuracy_table(curves), pictures, out / "summary.csv", out / "report.html")


def setting_title(dataset: str, model: str, batch_size: int) -> str:
    return f"{dataset}, {model}, batches of {batch_size:,}"


def setting_name(dataset: str, model: str, batch_size: int) -> str:
    """For names of files: a data set may be openml:ID, or the path of a file."""
    return re.sub(r"[^\w.-]+", "_", f"{dataset}_{model}_{batch_size}")


def _draw_curves(curves: Curves, comparisons: list[Comparison], out: Path) -> dict[tuple, Path]:
    """Learning curves of every data set, network and batch size: that → the PNG file."""
    from badge_jax.analysis.figures import plot_learning_curves

    saturations = {comparison[:3]: comparison.saturation for comparison in comparisons}
    pictures = {}
    for head in dict.fromkeys(setting[:3] for setting in curves):
        of_strategy = {setting.strategy: points for setting, points in curves.items() if setting[:3] == head}
        zoom = zoom_range(of_strategy, saturations[head], head[2]) if head in saturations else None
        stem = out / f"learning_curves_{setting_name(*head)}"
        pictures[head] = plot_learning_curves(setting_title(*head), of_strategy, stem, zoom)[0]
    return pictures


def _draw_comparisons(compared: list[Comparison], strategies: list[str], out: Path) -> dict[str, Path]:
    """Penalty matrices and distributions of normalized errors, over all and by group: name → the PNG file."""
    groupings = {"": {"all settings": compared}}
    for name, key in (("_by_batch_size", "batch_size"), ("_by_network", "model")):
        values = sorted({getattr(comparison, key) for comparison in compared})
        if len(values) > 1:
            label = "batches of {:,}" if key == "batch_size" else "{}"
            groupings[name] = {
                label.format(value): [
                    comparison for comparison in compared if getattr(comparison, key) == value
                ]
                for value in values
            }
    pictures = {}
    for name, groups in groupings.items():
        stems = out / f"penalty_matrix{name}", out / f"cdf{name}"
        for stem, path in zip(stems, draw_groups(groups, strategies, *stems), strict=True):
            pictures[stem.name] = path
    return pictures


def draw_groups(
    groups: Mapping[str, list[Comparison]], strategies: list[str], penalty_stem: Path, cdf_stem: Path
) -> tuple[Path, Path]:
    """Draws penalty matrices and distributions of normalized errors of groups of settings: the two PNG files.

    groups: title → comparisons
    """
    from badge_jax.analysis.figures import plot_cdfs, plot_penalties

    matrices = {f"{title} ({len(some)})": penalty_matrix(some, strategies) for title, some in groups.items()}
    cdfs = {title: {s: normalized_errors(some, s) for s in strategies} for title, some in groups.items()}
    return plot_penalties(matrices, strategies, penalty_stem)[0], plot_cdfs(cdfs, cdf_stem)[0]


def _page(
    runs: list[Run],
    curves: Curves,
    comparisons: list[Comparison],
    strategies: list[str],
    overall: dict[str, Path],
    of_settings: dict[tuple, Path],
) -> str:
    missing = missing_runs(runs)
    seeds = sorted({run.config["seed"] for run in runs})
    parts = [
        html.paragraph(
            f"{len(runs)} runs: {len(of_settings)} settings (a data set, a network and a batch size), "
            f"strategies {', '.join(strategies)}, seeds {', '.join(map(str, seeds))}. In a run a network is "
            "trained from scratch, a strategy chooses the next batch of examples to label, and so on, round "
            "after round; every strategy starts from the same labels and the same weights as the others with "
            "its seed."
        ),
        html.paragraph(_missing_sentence(missing)),
    ]
    parts += _comparison_parts(comparisons, strategies, overall)
    parts.append(html.heading("Learning curves"))
    parts.append(
        html.paragraph(
            "Test accuracy by number of labels: the mean over the seeds, with a band of one standard error. "
            "In the tables, area is the mean accuracy over the whole range of labels, and labels needed is "
            "the first number of labels with which a strategy is as good as random is in the end. Seconds "
            "are those of a whole run, compilation left out."
        )
    )
    budget_of = budgets(runs)
    for head, path in of_settings.items():
        parts += [html.heading(setting_title(*head), 3), html.picture(path, f"learning curves, {head}")]
        found = {
            s: budget_of[Setting._make((*head, s))]
            for s in strategies
            if Setting._make((*head, s)) in budget_of
        }
        parts += [html.table(*_accuracy_cells(head, curves, strategies))]
        if found:
            parts += [html.table(*_budget_cells(found))]
    parts += _configuration_parts(runs)
    if missing:
        parts.append(html.heading("What is missing"))
        parts.append(
            html.bullets(
                f"{'/'.join(map(str, setting))}, seed {seed}: {lack}" for setting, seed, lack in missing
            )
        )
    return html.page("Active learning: what the runs show", parts)


def _missing_sentence(missing: list[tuple[Setting, int, str]]) -> str:
    if not missing:
        return (
            "No run is missing: every strategy has every seed in every setting, to the same number of labels."
        )
    kinds = Counter(lack == "no run" for _, _, lack in missing)
    return (
        f"Incomplete: {kinds[True]} runs are missing and {kinds[False]} end early, by the strategies, seeds "
        "and label counts that other runs have; they are listed at the end. Means are over the runs there "
        "are, and paired tests over the seeds that both strategies have."
    )


def _comparison_parts(
    comparisons: list[Comparison], strategies: list[str], overall: dict[str, Path]
) -> list[str]:
    parts = [html.heading("Who beats whom")]
    if not overall:
        reason = (
            "random has saturated by its first batch in every setting"
            if comparisons
            else "there is no run of random"
        )
        return [*parts, html.paragraph(f"Strategies cannot be compared as in the paper: {reason}.")]
    parts.append(
        html.paragraph(
            "How often the strategy of the row beats that of the column: at some numbers of labels in each "
            "setting, by a paired t-test over the seeds with p < 0.05. Each setting has one point to give, "
            "in equal parts to its numbers of labels; the number of settings is in parentheses. The last row "
            "is the mean of the column: the lower, the less a strategy is beaten."
        )
    )
    parts += [html.picture(overall[name], name) for name in overall if name.startswith("penalty")]
    parts.append(html.heading("Errors beside those of random"))
    parts.append(
        html.paragraph(
            "For every error ratio, the share of comparisons in which a strategy's error is at most that "
            "multiple of random's: the further up and left a curve, the better. At 1 a strategy is as good "
            "as random."
        )
    )
    parts += [html.picture(overall[name], name) for name in overall if name.startswith("cdf")]
    parts.append(html.heading("Where they are compared", 3))
    parts.append(
        html.paragraph(
            "n₀ is the number of labels with which random first reaches 99 % of the accuracy it has at the "
            "end of its curve, so where a curve is cut short, n₀ is relative to the cut. Strategies are "
            "compared at M + B, M + 2B, M + 4B, … labels below n₀, from M initial ones in batches of B."
        )
    )
    rows = [
        (
            setting_title(*c[:3]),
            f"{c.last:,}",
            f"{c.saturation:,}",
            ", ".join(f"{count:,}" for count in c.counts) or "none: random has saturated by its first batch",
        )
        for c in comparisons
    ]
    parts.append(html.table(("setting", "random ends at", "n₀", "compared at labels"), rows))
    return parts


def _accuracy_cells(head: tuple, curves: Curves, strategies: list[str]) -> tuple[list[str], list[list[str]]]:
    """Mean ± standard error in percent at about eight label counts."""
    found = {
        s: {p.num_labeled: p for p in curves[Setting._make((*head, s))]}
        for s in strategies
        if Setting._make((*head, s)) in curves
    }
    counts = sorted({count for points in found.values() for count in points})
    step = -(-len(counts) // 8)
    rows = []
    for count in sorted({*counts[::step], counts[-1]}):
        points = [found[s].get(count) for s in found]
        cells = [f"{100 * p.mean:.1f} ± {100 * p.standard_error:.1f}" if p else "–" for p in points]
        rows.append([f"{count:,}", *cells])
    return ["labels", *found], rows


def _budget_cells(found: dict[str, Budget]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            strategy,
            f"{100 * budget.area:.2f}",
            "never" if budget.labels_needed is None else f"{budget.labels_needed:,}",
            f"{budget.query_seconds:.1f}",
            f"{budget.fit_seconds:.1f}",
        ]
        for strategy, budget in found.items()
    ]
    return ["strategy", "area (%)", "labels needed", "seconds of selection", "seconds of training"], rows


def _configuration_parts(runs: list[Run]) -> list[str]:
    """Options by setting, those that all runs share told once, and the environments."""
    own = ("dataset", "model", "batch_size", "strategy", "seed", "environment")
    options: dict[tuple, dict[str, set[str]]] = {}
    for run in runs:
        head = setting_of(run)[:3]
        for name, value in run.config.items():
            if name not in own:
                options.setdefault(head, {}).setdefault(name, set()).add(str(value))
    names = list(dict.fromkeys(name for found in options.values() for name in found))
    cells = {
        head: [", ".join(sorted(found.get(name, {"–"}))) for name in names] for head, found in options.items()
    }
    columns = dict(zip(names, zip(*cells.values(), strict=True), strict=True))
    shared = {name: values[0] for name, values in columns.items() if len(set(values)) == 1}
    parts = [html.heading("Configuration and versions")]
    if shared:
        parts.append(
            html.paragraph("All: " + ", ".join(f"{name} {value}" for name, value in shared.items()) + ".")
        )
    differing = [name for name in names if name not in shared]
    if differing:
        rows = [[setting_title(*head), *(columns[n][i] for n in differing)] for i, head in enumerate(cells)]
        parts.append(html.table(["setting", *differing], rows))
    environments = Counter(
        ", ".join(f"{name} {value}" for name, value in run.config.get("environment", {}).items())
        for run in runs
    )
    parts.append(
        html.bullets(f"{number} runs: {text or 'not recorded'}" for text, number in environments.items())
    )
    return parts


def read_runs(directories: Iterable[Path]) -> list[Run]:
    """Every run with at least one finished round, each directory once.

    Raises InputError for a path that is not a folder or holds no such run, and for runs that are no repeats of
    one another although they agree in data set, network, batch size and strategy: two with one seed, or two
    that differ in another option.
    """
    runs: dict[Path, Run] = {}
    for directory in directories:
        if not directory.is_dir():
            raise InputError(f"{directory} is not a folder; give run directories, or folders of them")
        for path in sorted(directory.rglob("config.json")):
            run = Run(read_config(path.parent), read_rounds(path.parent))
            if run.rounds:
                runs[path.parent.resolve()] = run
    if not runs:
        raise InputError(
            f"no run with a finished round in {', '.join(map(str, directories))}; `badge-jax run` makes one"
        )
    _check_repeats(runs)
    return list(runs.values())


def _check_repeats(runs: dict[Path, Run]) -> None:
    seeds: dict[tuple, Path] = {}
    first: dict[tuple, Path] = {}
    for path, run in runs.items():
        setting = setting_of(run)
        name = "/".join(map(str, setting))
        other = first.setdefault(setting[:3], path)
        for option in sorted((run.config.keys() & runs[other].config.keys()) - _NOT_COMPARED):
            ours, theirs = run.config[option], runs[other].config[option]
            if ours != theirs:
                raise InputError(
                    f"{path} and {other} are both {'/'.join(map(str, setting[:3]))} but have "
                    f"{option} = {ours!r} and {theirs!r}; report them separately"
                )
        same_seed = seeds.setdefault((*setting, run.config["seed"]), path)
        if same_seed != path:
            raise InputError(
                f"{path} and {same_seed} are both {name} with seed {run.config['seed']}; report them separately"
            )


def summary_csv(curves: Curves) -> str:
    """The points of all curves, a row each."""
    header = [
        "dataset",
        "model",
        "batch_size",
        "strategy",
        "num_labeled",
        "runs",
        "mean_accuracy",
        "std_accuracy",
    ]
    return csv_text(header, ([*setting, *point] for setting, points in curves.items() for point in points))


def penalty_csv(compared: list[Comparison], strategies: list[str]) -> str:
    """How much the row beats the column, and the column means; empty cells where nothing could be compared."""
    matrix = penalty_matrix(compared, strategies)
    rows = [*zip(strategies, matrix.tolist(), strict=True), ("mean", column_means(matrix).tolist())]
    return csv_text(
        ["strategy", *strategies],
        ([name, *(values if compared else [""] * len(values))] for name, values in rows),
    )


def cdf_csv(compared: list[Comparison], strategies: list[str]) -> str:
    """The steps of every strategy's distribution of normalized errors."""
    rows = []
    for strategy in strategies:
        ratios, weights = normalized_errors(compared, strategy)
        rows += [(strategy, ratio, share) for ratio, share in zip(ratios, weights.cumsum(), strict=True)]
    return csv_text(["strategy", "normalized_error", "cumulative_weight"], rows)


def csv_text(header: Sequence[str], rows: Iterable[Iterable]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def accuracy_table(curves: Curves) -> str:
    """Mean test accuracy in percent, a row for each number of labels and a column for each strategy."""
    blocks = []
    for head in dict.fromkeys(setting[:3] for setting in curves):
        columns = {s.strategy: points for s, points in curves.items() if s[:3] == head}
        cells = {name: {p.num_labeled: f"{100 * p.mean:.1f}" for p in pts} for name, pts in columns.items()}
        widths = [max(8, len(name) + 2) for name in columns]
        lines = [f"{head[0]}, {head[1]}, batches of {head[2]}: mean test accuracy (%)"]
        lines.append(f"{'labels':>8}" + "".join(f"{n:>{w}}" for n, w in zip(columns, widths, strict=True)))
        for num_labeled in sorted({n for column in cells.values() for n in column}):
            row = [column.get(num_labeled, "–") for column in cells.values()]
            lines.append(f"{num_labeled:>8}" + "".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
