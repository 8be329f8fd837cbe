"""From run directories to a folder of tables and figures."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.evaluation import CurvePoint, Run, Setting, mean_curves
from badge_jax.files import write_whole
from badge_jax.run_directory import MAY_DIFFER, read_config, read_rounds

Curves = dict[Setting, list[CurvePoint]]


class Report(NamedTuple):
    """num_runs: runs read. table: accuracies by labels, as text. pictures: PNG files. summary: the CSV file."""

    num_runs: int
    table: str
    pictures: list[Path]
    summary: Path


def report(directories: Sequence[Path], out: Path) -> Report:
    """Reads the runs in ``directories`` (run directories, or folders of them at any depth) and writes to
    ``out`` summary.csv and, for each data set, network and batch size, the learning curves as PNG and PDF.

    Reads nothing but config.json and rounds.jsonl; a run still going counts as far as it came.
    Raises InputError where there is no run to read, EnvironmentFailure without matplotlib.
    """
    try:
        from badge_jax.plots import plot_learning_curves
    except ImportError as error:
        raise EnvironmentFailure(f"pictures need matplotlib ({error}); install badge_jax[plots]") from None
    runs = read_runs(directories)
    curves = mean_curves(runs)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for dataset, model, batch_size in dict.fromkeys(setting[:3] for setting in curves):
        of_strategy = {
            s.strategy: points for s, points in curves.items() if s[:3] == (dataset, model, batch_size)
        }
        title = f"{dataset}, {model}, batches of {batch_size}"
        name = re.sub(r"[^\w.-]+", "_", dataset)  # openml:ID, or the path of a file
        stem = out / f"learning_curves_{name}_{model}_{batch_size}"
        pictures.append(plot_learning_curves(title, of_strategy, stem)[0])
    summary = out / "summary.csv"
    write_whole(summary, summary_csv(curves).encode())
    return Report(len(runs), accuracy_table(curves), pictures, summary)


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
        setting = tuple(run.config[name] for name in Setting._fields)
        name = "/".join(map(str, setting))
        other = first.setdefault(setting, path)
        for option in sorted((run.config.keys() & runs[other].config.keys()) - {"seed", *MAY_DIFFER}):
            ours, theirs = run.config[option], runs[other].config[option]
            if ours != theirs:
                raise InputError(
                    f"{path} and {other} are both {name} but have {option} = {ours!r} and {theirs!r}; "
                    "report them separately"
                )
        same_seed = seeds.setdefault((*setting, run.config["seed"]), path)
        if same_seed != path:
            raise InputError(
                f"{path} and {same_seed} are both {name} with seed {run.config['seed']}; report them separately"
            )


def summary_csv(curves: Curves) -> str:
    """The points of all curves, a row each."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["dataset", "model", "batch_size", "strategy", "num_labeled", "runs", "mean_accuracy", "std_accuracy"]
    )
    for setting, points in curves.items():
        for point in points:
            writer.writerow([*setting, *point])
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
