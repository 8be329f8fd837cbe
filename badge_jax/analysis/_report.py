"""From run directories to a folder of tables and figures, and a page that shows them all."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from badge_jax.analysis.figures import plot_groups, plot_learning_curves, require_matplotlib
from badge_jax.analysis.load import Directories, read_runs
from badge_jax.analysis.page import report_page
from badge_jax.analysis.statistics import Comparison, Curves, compare, mean_curves, zoom_range
from badge_jax.analysis.styles import in_order
from badge_jax.analysis.tables import accuracy_table, cdf_csv, penalty_csv, rounds_csv, summary_csv
from badge_jax.errors import InputError
from badge_jax.files import write_whole
from badge_jax.runs.setting import Setting, unique_slugs


class Report(NamedTuple):
    """What `report` wrote.

    Attributes:
        num_runs: Number of runs read.
        table: Mean accuracies by number of labels, as text.
        pictures: The PNG files.
        summary: The path of summary.csv.
        page: The path of report.html.
    """

    num_runs: int
    table: str
    pictures: list[Path]
    summary: Path
    page: Path


def report(directories: Directories, out: str | os.PathLike[str]) -> Report:
    """Writes tables, figures and a page about runs, from their config.json and rounds.jsonl alone.

    The folder ``out`` then holds, for all settings, rounds.csv, summary.csv, penalty_matrix.csv and cdf.csv; as
    PNG and PDF learning_curves_* of each setting, and penalty_matrix* and cdf* over all settings, by batch size
    and by network; and report.html, which shows all of it and contains the pictures. A run that is still going
    counts up to its last finished round. A run that is damaged or cannot be read is left out, with a warning.

    Args:
        directories: Run directories or folders of them, one or several.
        out: The folder of the report; made if it does not exist.

    Returns:
        The accuracies as text and the paths written.

    Raises:
        InputError: If no run can be read, if runs of one setting are not comparable (see `read_runs`), or if
            ``out`` is a file.
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
    runs, out = read_runs(directories), Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    out.mkdir(parents=True, exist_ok=True)
    has_earlier_report = (out / "report.html").exists()
    curves, comparisons = mean_curves(runs), compare(runs)
    strategies = in_order(name for by_strategy in curves.values() for name in by_strategy)
    compared = [comparison for comparison in comparisons if comparison.counts]
    of_settings = _plot_settings(curves, comparisons, strategies, out)
    overall = _plot_comparisons(compared, strategies, out) if compared else {}
    texts = {
        "rounds.csv": rounds_csv(runs),
        "summary.csv": summary_csv(curves),
        "penalty_matrix.csv": penalty_csv(compared, strategies),
        "cdf.csv": cdf_csv(compared, strategies),
        "report.html": report_page(runs, curves, comparisons, strategies, overall, of_settings),
    }
    for name, text in texts.items():
        write_whole(out / name, text.encode("utf-8", "backslashreplace"))  # a file's name may be no text
    pictures = [*overall.values(), *of_settings.values()]
    if has_earlier_report:
        _remove_stale(out, pictures)
    return Report(len(runs), accuracy_table(curves), pictures, out / "summary.csv", out / "report.html")


def _remove_stale(out: Path, pictures: Sequence[Path]) -> None:
    """Removes the pictures of an earlier report: beside new tables they would look like the new result."""
    new = {path.with_suffix(suffix) for path in pictures for suffix in (".png", ".pdf")}
    for pattern in ("learning_curves_*", "penalty_matrix*", "cdf*"):
        for path in out.glob(pattern):
            if path.suffix in (".png", ".pdf") and path not in new:
                path.unlink()


def _plot_settings(
    curves: Curves, comparisons: Sequence[Comparison], strategies: Sequence[str], out: Path
) -> dict[Setting, Path]:
    """Plots the learning curves of every setting: setting → PNG file."""
    saturations = {comparison.setting: comparison.saturation for comparison in comparisons}
    slugs = unique_slugs(curves)
    pictures = {}
    for setting, points in curves.items():
        zoom = None
        if setting in saturations:
            zoom = zoom_range(points, saturations[setting], setting.batch_size)
        stem = out / f"learning_curves_{slugs[setting]}"
        pictures[setting], _ = plot_learning_curves(setting.title, points, stem, zoom, strategies)
    return pictures


def _plot_comparisons(compared: Sequence[Comparison], strategies: Sequence[str], out: Path) -> dict[str, Path]:
    """Plots penalty matrices and normalized errors, over all settings and by group: name → PNG file."""
    by_batch_size: dict[int, list[Comparison]] = {}
    by_network: dict[str, list[Comparison]] = {}
    for comparison in compared:
        by_batch_size.setdefault(comparison.setting.batch_size, []).append(comparison)
        by_network.setdefault(comparison.setting.model, []).append(comparison)
    groupings: dict[str, dict[str, Sequence[Comparison]]] = {"": {"all settings": compared}}
    if len(by_batch_size) > 1:
        groupings["_by_batch_size"] = {
            f"batches of {size:,}": by_batch_size[size] for size in sorted(by_batch_size)
        }
    if len(by_network) > 1:
        groupings["_by_network"] = {model: by_network[model] for model in sorted(by_network)}
    pictures = {}
    for name, groups in groupings.items():
        stems = out / f"penalty_matrix{name}", out / f"cdf{name}"
        for stem, path in zip(stems, plot_groups(groups, strategies, *stems), strict=True):
            pictures[stem.name] = path
    return pictures
