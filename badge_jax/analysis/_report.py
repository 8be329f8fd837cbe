"""From run directories to a folder of tables and figures, and a page that shows them all."""

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax._version import __version__
from badge_jax.analysis.contrast_tables import overall_csv, pairs_csv, savings_csv
from badge_jax.analysis.drawing import FORMATS, render, require_matplotlib
from badge_jax.analysis.figures import draw_groups
from badge_jax.analysis.folder import write_folder
from badge_jax.analysis.load import Directories, find_runs
from badge_jax.analysis.page import Origin, Picture, report_page
from badge_jax.analysis.quantities import metric_named, with_metric
from badge_jax.analysis.report_figures import draw_curves, draw_intervals, draw_pairs, draw_ranks
from badge_jax.analysis.results import DIAGNOSTICS, TIMES, Results, SettingResults, results_of
from badge_jax.analysis.statistics import Comparison, gains_over_baseline, mean_curves
from badge_jax.analysis.styles import Style, in_order, styles_of
from badge_jax.analysis.tables import accuracy_table, cdf_csv, penalty_csv, rounds_csv, summary_csv
from badge_jax.errors import InputError
from badge_jax.paper import BASELINE, SIGNIFICANT
from badge_jax.runs.setting import Setting, unique_slugs

_LATE = 4  # a late part is drawn where it has so many label counts


class Report(NamedTuple):
    """What `report` wrote.

    Attributes:
        num_runs: Number of runs read.
        table: Means of the metric by number of labels, as text.
        pictures: The PNG files.
        summary: The path of summary.csv.
        page: The path of report.html.
        skipped: A line for every run that was found and left out.
    """

    num_runs: int
    table: str
    pictures: list[Path]
    summary: Path
    page: Path
    skipped: list[str]


class _Drawn(NamedTuple):
    """A figure as files: name without suffix, suffix → content, and what it shows."""

    name: str
    files: dict[str, bytes]
    caption: str

    @property
    def picture(self) -> Picture:
        return Picture(self.files[".png"], self.caption)


def report(directories: Directories, out: str | os.PathLike[str], *, metric: str = "accuracy") -> Report:
    """Writes tables, figures and a page about runs, from their config.json and rounds.jsonl alone.

    The folder ``out`` then holds report.html, which has everything; rounds.csv, summary.csv, pairs.csv,
    overall.csv, labels_saved.csv, penalty_matrix.csv and cdf.csv; and every picture as PNG and PDF. What
    an earlier report wrote there is replaced, and removed if this one has no such file; report_files.json
    lists what was written. Files that a report did not write, or that were changed since, stay. A run
    that is still going counts up to its last finished round. A run that is damaged or cannot be read is
    left out, with a warning.

    Args:
        directories: Run directories or folders of them, one or several. Links are followed.
        out: The folder of the report; made if it does not exist.
        metric: What is compared: accuracy, balanced_accuracy, macro_f1, log_loss or calibration_error.
            summary.csv, and the paper's comparison, are of accuracy all the same.

    Returns:
        The means of the metric as text, and the paths written.

    Raises:
        InputError: If no run can be read or none records the metric, if runs of one setting are not comparable
            (see `read_runs`), or if ``out`` is a file.
        EnvironmentFailure: Without matplotlib.

    Example:
        >>> import json, tempfile
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge", "seed": 0}
        >>> line = {"round": 0, "num_labeled": 100, "test_accuracy": 0.5}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text(json.dumps(config))
        ...     _ = Path(folder, "rounds.jsonl").write_text(json.dumps(line))
        ...     result = report(folder, Path(folder, "report"))
        >>> result.page.name, [path.name for path in result.pictures]
        ('report.html', ['learning_curves_letter_mlp_100.png'])
    """
    require_matplotlib()
    of, out = metric_named(metric), Path(out)
    found = find_runs(directories)
    everything = list(found.runs.values())
    runs, without = with_metric(everything, of)
    places = {id(run): path for path, run in found.runs.items()}
    skipped = [*found.skipped, *(f"{places[id(run)]}: does not record {of.title}" for run in without)]
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    results = results_of(runs, of, everything)
    styles = styles_of(results.strategies)
    slugs = unique_slugs(results.settings)
    of_settings = {
        setting: list(_draw_setting(setting, one, results, styles, slugs[setting]))
        for setting, one in results.settings.items()
    }
    of_times = {
        setting: list(_draw_others(setting, one, styles, slugs[setting]))
        for setting, one in results.settings.items()
    }
    of_all = list(_draw_overall(results))
    of_paper = list(_draw_paper(results))
    page = report_page(
        runs,
        results,
        {setting: [one.picture for one in drawn] for setting, drawn in of_settings.items()},
        {setting: [one.picture for one in drawn] for setting, drawn in of_times.items()},
        [one.picture for one in of_all],
        [one.picture for one in of_paper],
        skipped,
        Origin(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", _command(directories, out, metric), _version()),
    )
    curves, table = mean_curves(everything), accuracy_table(mean_curves(runs, of.field), of)
    texts = {
        "rounds.csv": rounds_csv(everything),
        "summary.csv": summary_csv(curves),
        "pairs.csv": pairs_csv(results),
        "overall.csv": overall_csv(results.overall),
        "labels_saved.csv": savings_csv(results),
        "penalty_matrix.csv": penalty_csv(results.compared, results.strategies),
        "cdf.csv": cdf_csv(results.compared, results.strategies),
        "report.html": page,
    }
    drawn = [
        *of_paper,
        *of_all,
        *(one for some in (of_settings, of_times) for many in some.values() for one in many),
    ]
    files = {f"{one.name}{suffix}": one.files[suffix] for one in drawn for suffix in FORMATS}
    files |= {
        name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()
    }  # a data set may be a file whose name is no text
    write_folder(out, files)
    pictures = [out / f"{one.name}.png" for one in drawn]
    return Report(len(runs), table, pictures, out / "summary.csv", out / "report.html", skipped)


def _drawn(name: str, figure: Any, caption: str) -> _Drawn:
    """The files of a figure of matplotlib."""
    return _Drawn(name, {suffix: render(figure, suffix) for suffix in FORMATS}, caption)


def _draw_setting(
    setting: Setting, found: SettingResults, results: Results, styles: dict[str, Style], slug: str
) -> Iterator[_Drawn]:
    """Learning curves, the difference to the baseline, their late part, and the comparisons by area."""
    metric, values = results.metric, found.values
    counts = sorted({count for by_labels in values.values() for count in by_labels})
    several = any(len(by_seed) > 1 for by_labels in values.values() for by_seed in by_labels.values())
    band = ", mean with 95 % interval over the seeds, single seeds faintly" if several else ", one run each"
    yield _drawn(
        f"learning_curves_{slug}",
        draw_curves(setting.title, metric.axis, values, styles, scale=metric.scale, bounds=metric.bounds),
        f"{_sentence(metric.title)} against labels{band}: {setting.title}.",
    )
    unit = f" ({metric.unit_of_differences})" if metric.unit_of_differences else ""
    gains = gains_over_baseline(values, metric.sign)
    if len(counts) > 1 and gains:
        yield _drawn(
            f"difference_{slug}",
            draw_curves(
                f"difference to {BASELINE}, paired by seed",
                f"better than {BASELINE} by{unit}",
                gains,
                styles,
                scale=metric.scale,
                has_zero=True,
            ),
            f"How much better than {BASELINE} in the same seed{band}: {setting.title}.",
        )
    yield from _draw_advantages(setting, found, results, styles, slug)
    late = [count for count in counts if 2 * count >= counts[0] + counts[-1]]
    if len(late) >= _LATE and len(values) > 1:
        yield _drawn(
            f"late_{slug}",
            draw_curves(
                f"enlarged: from {late[0]:,} labels on",
                metric.axis,
                values,
                styles,
                scale=metric.scale,
                first=late[0],
                bounds=metric.bounds,
            ),
            f"The late part of the learning curves, enlarged{band}: {setting.title}.",
        )
    yield from _draw_setting_pairs(setting, found, results, slug)


def _draw_advantages(
    setting: Setting, found: SettingResults, results: Results, styles: dict[str, Style], slug: str
) -> Iterator[_Drawn]:
    """Areas and labels saved against the baseline."""
    metric, labels = results.metric, found.scores.labels
    if len(labels) < 2:
        return
    unit = f" ({metric.unit_of_differences})" if metric.unit_of_differences else ""
    pairs = {
        name: found.contrasts[name, BASELINE]
        for name in results.strategies
        if (name, BASELINE) in found.contrasts
    }
    order = sorted(pairs, key=lambda name: -pairs[name].interval.mean)
    span = f"{labels[0]:,} to {labels[-1]:,} labels"
    if pairs:
        yield _drawn(
            f"areas_{slug}",
            draw_intervals(
                f"mean over {span}",
                f"better than {BASELINE} by{unit}",
                {name: (pairs[name].differences, pairs[name].interval) for name in order},
                styles,
                metric.scale,
            ),
            f"Mean {metric.title} over {span}, difference to {BASELINE} paired by seed: mean, 95 % interval "
            f"and single seeds: {setting.title}.",
        )
    if found.savings:
        yield _drawn(
            f"labels_saved_{slug}",
            draw_intervals(
                f"labels saved, up to {labels[-1]:,}",
                f"fewer labels than {BASELINE} for the same {metric.title}",
                {name: (found.savings[name].saved, found.savings[name].interval) for name in order},
                styles,
            ),
            f"Labels saved against {BASELINE} at equal score: mean, 95 % interval and single seeds: "
            f"{setting.title}.",
        )


def _draw_setting_pairs(
    setting: Setting, found: SettingResults, results: Results, slug: str
) -> Iterator[_Drawn]:
    """Every pair of strategies by area."""
    names = [name for name in results.strategies if found.scores.curves.get(name)]
    if len(names) > 2 and len(found.scores.labels) > 1:
        yield _pairs_drawn(
            f"pairs_{slug}",
            names,
            {key: (pair.interval.mean, pair.p_holm) for key, pair in found.contrasts.items()},
            results,
            setting.title,
        )


def _pairs_drawn(
    name: str,
    names: Sequence[str],
    pairs: dict[tuple[str, str], tuple[float, float | None]],
    results: Results,
    where: str,
) -> _Drawn:
    """The matrix of all pairs: differences, and which are clear after Holm's correction."""
    metric = results.metric
    cells = np.full((len(names), len(names)), np.nan)
    is_clear = np.zeros_like(cells, bool)
    for (ours, theirs), (mean, p) in pairs.items():
        if ours in names and theirs in names:
            place = names.index(ours), names.index(theirs)
            cells[place], is_clear[place] = mean, p is not None and p < SIGNIFICANT
    tested = [p is not None for _, p in pairs.values()]
    unit = f" ({metric.unit_of_differences})" if metric.unit_of_differences else ""
    bar = f"row better than column by{unit}"
    framed = (
        f"Framed and bold: p < {SIGNIFICANT} after Holm's correction."
        + ("" if all(tested) else " Some pairs have too few seeds or settings and are not tested.")
        if any(tested)
        else "None is tested: there are too few seeds or settings."
    )
    figure = draw_pairs(f"all pairs: {where}", bar, names, cells, is_clear, metric.scale)
    return _drawn(name, figure, f"Mean over the curve, row less column, paired by seed: {where}. {framed}")


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _draw_others(
    setting: Setting, found: SettingResults, styles: dict[str, Style], slug: str
) -> Iterator[_Drawn]:
    """Times and diagnostics, as far as they are recorded."""
    for field, ylabel in (*TIMES.items(), *DIAGNOSTICS.items()):
        values = {
            name: by for name, by in found.others.get(field, {}).items() if _has_number(by, field in TIMES)
        }
        if values:
            has_band = field in DIAGNOSTICS
            figure = draw_curves(ylabel, ylabel, values, styles, has_band=has_band, is_log=field in TIMES)
            gaps = "; a gap where a determinant is 0" if field == "gram_log_det" else ""
            yield _drawn(
                f"{field}_{slug}",
                figure,
                f"{_sentence(ylabel)}, mean and single seeds{gaps}: {setting.title}.",
            )


def _has_number(by_labels: Mapping[int, Mapping[int, float]], is_positive: bool) -> bool:
    found = np.array([value for by_seed in by_labels.values() for value in by_seed.values()], np.float64)
    return bool((np.isfinite(found) & ((found > 0) | (not is_positive))).any())


def _draw_overall(results: Results) -> Iterator[_Drawn]:
    """Ranks and all pairs, over settings."""
    if not isinstance(results.ranking, str):
        yield _drawn(
            "critical_difference",
            draw_ranks(results.ranking),
            f"Mean ranks over {len(results.ranking.settings)} settings with Nemenyi's critical difference.",
        )
    names = in_order({name for pair in results.overall for name in pair})
    if len(names) > 2:
        pairs = {key: (pair.over_settings.mean, pair.p_holm) for key, pair in results.overall.items()}
        numbers = sorted({len(pair.means) for pair in results.overall.values()})
        where = "over all settings"
        if len(numbers) > 1:  # a strategy is lacking somewhere
            where = (
                f"over the settings that have both, {numbers[0]} to {numbers[-1]} of {len(results.settings)}"
            )
        yield _pairs_drawn("pairs", names, pairs, results, where)


def _draw_paper(results: Results) -> Iterator[_Drawn]:
    """Penalty matrices and normalized errors, over all settings and by group."""
    if not results.compared:
        return
    by_batch_size: dict[int, list[Comparison]] = {}
    by_network: dict[str, list[Comparison]] = {}
    for comparison in results.compared:
        by_batch_size.setdefault(comparison.setting.batch_size, []).append(comparison)
        by_network.setdefault(comparison.setting.model, []).append(comparison)
    groupings: dict[str, dict[str, Sequence[Comparison]]] = {"": {"all settings": results.compared}}
    if len(by_batch_size) > 1:
        groupings["_by_batch_size"] = {
            f"batches of {size:,}": by_batch_size[size] for size in sorted(by_batch_size)
        }
    if len(by_network) > 1:
        groupings["_by_network"] = {model: by_network[model] for model in sorted(by_network)}
    for name, groups in groupings.items():
        penalties, cdfs = draw_groups(groups, results.strategies)
        by = name.replace("_", " ")
        yield _drawn(
            f"penalty_matrix{name}",
            penalties,
            f"How often the row beats the column{by}; the number of settings is in parentheses.",
        )
        yield _drawn(f"cdf{name}", cdfs, f"Errors relative to {BASELINE}{by}.")


def _command(directories: Directories, out: Path, metric: str) -> str:
    folders = [directories] if isinstance(directories, (str, os.PathLike)) else list(directories)
    words = ["badge-jax", "report", *(str(Path(folder)) for folder in folders), "--out", str(out)]
    return shlex.join(words if metric == "accuracy" else [*words, "--metric", metric])


def _version() -> str:
    """The version, with the commit if this is a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return f"badge_jax {__version__}"
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"badge_jax {__version__}"
    return f"badge_jax {__version__}, commit {done.stdout.strip()}"
