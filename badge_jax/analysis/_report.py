"""From run directories to a folder of tables and figures, and a page that shows them all."""

import os
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from badge_jax._version import __version__
from badge_jax.analysis.contrast_tables import overall_csv, pairs_csv, savings_csv
from badge_jax.analysis.drawing import FORMATS, require_matplotlib
from badge_jax.analysis.folder import write_folder
from badge_jax.analysis.load import Directories, find_runs
from badge_jax.analysis.page import Origin, report_page
from badge_jax.analysis.pictures import pictures_of
from badge_jax.analysis.quantities import metric_named, with_metric
from badge_jax.analysis.results import results_of
from badge_jax.analysis.statistics import mean_curves
from badge_jax.analysis.tables import accuracy_table, cdf_csv, penalty_csv, rounds_csv, summary_csv
from badge_jax.errors import InputError


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
    pictures = pictures_of(results)
    origin = Origin(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", _command(directories, out, metric), _version())
    curves, table = mean_curves(everything), accuracy_table(mean_curves(runs, of.field), of)
    texts = {
        "rounds.csv": rounds_csv(everything),
        "summary.csv": summary_csv(curves),
        "pairs.csv": pairs_csv(results),
        "overall.csv": overall_csv(results),
        "labels_saved.csv": savings_csv(results),
        "penalty_matrix.csv": penalty_csv(results.compared, results.strategies),
        "cdf.csv": cdf_csv(results.compared, results.strategies),
        "report.html": report_page(runs, results, pictures, skipped, found.remarks, origin),
    }
    files = {f"{one.name}{suffix}": one.files[suffix] for one in pictures.every() for suffix in FORMATS}
    # a data set may be a file whose name is no text
    files |= {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    write_folder(out, files)
    drawn = [out / f"{one.name}.png" for one in pictures.every()]
    return Report(len(runs), table, drawn, out / "summary.csv", out / "report.html", skipped)


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
