"""Which strategy when: tables and pictures of sweeps of many strategies.

    badge-jax sweep experiments/study/many_labels.toml --out runs/study     any seeds; resumes
    python -m experiments.regimes --runs runs/study                         tables of what there is
    python -m experiments.regimes --runs runs/study --curves experiments/results/study/curves.csv

curves.csv has a line for each run and round. It is read back by --curves, with the runs whose folders are gone.
tables.md has one table for each setting, and NAME.png the curves above random.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from badge_jax.analysis import Panel, Run, csv_text, plot_panels
from badge_jax.analysis.contrasts import Contrasts, Saving, Scores, area, contrasts, savings, scores
from badge_jax.analysis.intervals import Interval
from badge_jax.analysis.load import find_runs
from badge_jax.analysis.statistics import CurvePoint
from badge_jax.errors import InputError
from badge_jax.files import check_file, write_whole
from badge_jax.paper import BASELINE
from badge_jax.runs import Setting
from experiments.embeddings import GROUPS
from experiments.repeats import execute

OF_RUN: dict[str, Any] = {"dataset": str, "model": str, "batch_size": int, "strategy": str, "seed": int}
OF_ROUND: dict[str, Any] = {
    "num_labeled": int,
    "test_accuracy": float,
    "test_macro_f1": float,
    "test_log_loss": float,
    "test_calibration_error": float,
    "worst_class_recall": float,
    "query_seconds": float,
}
LEVEL = 0.05  # of a corrected p-value


def runs_in(folders: list[Path]) -> list[Run]:
    """The runs of folders, each round with the lowest recall of a class."""
    found = []
    for folder, run in find_runs(folders).runs.items():
        lines = [json.loads(line) for line in (folder / "per_class.jsonl").read_text().splitlines()]
        worst = {line["round"]: min(r for r in line["recall"] if r is not None) for line in lines}
        rounds = [{**line, "worst_class_recall": worst[line["round"]]} for line in run.rounds]
        found.append(Run(run.config, rounds))
    return found


def curves_csv(runs: Iterable[Run]) -> str:
    """Every round of every run."""
    rows = []
    for run in sorted(runs, key=_name):
        for line in run.rounds:
            values = [line[name] for name in OF_ROUND]
            rows.append([*_name(run), *(f"{v:.5g}" if isinstance(v, float) else v for v in values)])
    return csv_text([*OF_RUN, *OF_ROUND], rows)


def read_curves(path: Path) -> list[Run]:
    """The runs of a file that `curves_csv` made.

    Raises:
        InputError: if it is not there, or another file.
    """
    check_file(path, "--curves", "a curves.csv of this script")
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != [*OF_RUN, *OF_ROUND]:
            raise InputError(f"{path} has other columns; wanted {', '.join([*OF_RUN, *OF_ROUND])}")
        lines = [{name: kind(row[name]) for name, kind in (OF_RUN | OF_ROUND).items()} for row in rows]
    return [
        Run(dict(zip(OF_RUN, name, strict=True)), list(group))
        for name, group in groupby(lines, lambda line: tuple(line[key] for key in OF_RUN))
    ]


def _name(run: Run) -> tuple:
    return tuple(run.config[name] for name in OF_RUN)


# a table


def table(found: Scores, seconds: dict[str, float], worst: dict[str, float]) -> list[str]:
    """Markdown: a line for each strategy, the largest area under the curve first.

    Args:
        found: the curves of a setting, as accuracies.
        seconds: strategy -> median seconds of a query.
        worst: strategy -> mean over seeds of the lowest recall of a class at the end.
    """
    pairs, saved = contrasts(found), savings(found)
    areas = {name: pairs[name, BASELINE].interval.mean for name in found.curves if (name, BASELINE) in pairs}
    order = sorted([*areas, BASELINE], key=lambda name: -areas.get(name, 0.0))
    last = len(found.labels) - 1
    shown = sorted({min(1, last), last // 2, last})
    header = [
        "strategy",
        *(f"{found.labels[i]:,}" for i in shown),
        "above random",
        "labels saved",
        "worst class",
        "s a query",
    ]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for name in order:
        curves = np.array(list(found.curves[name].values()))
        cells = [name, *(f"{100 * curves[:, i].mean():.1f}" for i in shown)]
        cells += ["", ""] if name == BASELINE else [_difference(pairs, name), _saving(saved[name])]
        cells += [f"{100 * worst[name]:.0f}", f"{seconds[name]:.2g}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def best(found: Scores) -> tuple[str, list[str]]:
    """The strategy with the largest mean area, and those whose difference from it may be nothing: the 95 %
    interval of the difference, paired by seed, holds zero."""
    pairs = contrasts(found)
    areas = {
        name: np.mean([area(found.labels, curve) for curve in seeds.values()])
        for name, seeds in found.curves.items()
    }
    first = max(areas, key=lambda name: areas[name])
    others = [name for name in areas if (first, name) in pairs]
    near = [name for name in others if pairs[first, name].interval.low <= 0]
    return first, sorted(near, key=lambda name: pairs[first, name].interval.mean)


def _difference(pairs: Contrasts, name: str) -> str:
    pair = pairs[name, BASELINE]
    mark = "**" if pair.p_holm is not None and pair.p_holm < LEVEL else ""
    return f"{mark}{_points(pair.interval)}{mark}"


def _points(interval: Interval) -> str:
    if not interval.is_known:
        return f"{100 * interval.mean:+.1f}"
    return f"{100 * interval.mean:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def _saving(saving: Saving) -> str:
    return "" if np.isnan(saving.interval.mean) else f"{saving.interval.mean:.0f}"


# everything of a setting


def section(setting: Setting, runs: list[Run]) -> list[str]:
    """Title, a sentence and the table of a setting."""
    (found,) = scores(runs).values()
    by_strategy = defaultdict(list)
    for run in runs:
        by_strategy[run.config["strategy"]].append(run)
    seconds = {
        name: float(np.median([line["query_seconds"] for run in group for line in run.rounds[1:]]))
        for name, group in by_strategy.items()
    }
    worst = {
        name: float(np.mean([run.rounds[-1]["worst_class_recall"] for run in group]))
        for name, group in by_strategy.items()
    }
    numbers = sorted({len(curves) for curves in found.curves.values()})
    seeds = f"{numbers[0]} seeds" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} seeds"
    first, near = best(found)
    level = f"; level with it: {', '.join(near)}" if near else "; no other is level with it"
    return [f"## {setting.title}", "", f"{seeds}. Best: {first}{level}.", "", *table(found, seconds, worst), ""]


def panels(setting: Setting, runs: list[Run]) -> list[Panel]:
    """Accuracy above that of random with the same seed, by groups of strategies."""
    (found,) = scores(runs).values()
    base = found.curves[BASELINE]
    gains = {}
    for name, curves in found.curves.items():
        seeds = sorted(curves.keys() & base.keys())
        if name != BASELINE and seeds:
            above = np.array([curves[seed] - base[seed] for seed in seeds])
            spread = above.std(axis=0, ddof=1) if len(seeds) > 1 else np.zeros(above.shape[1])
            points = zip(found.labels.tolist(), above.mean(axis=0), spread, strict=True)
            gains[name] = [
                CurvePoint(count, len(seeds), float(mean), float(std)) for count, mean, std in points
            ]
    drawn = [
        Panel(title, "points above random", {name: gains[name] for name in group if name in gains}, scale=100)
        for title, group in GROUPS.items()
    ]
    return [panel for panel in drawn if panel.curves]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="*", default=[Path("runs/study")], help="folders of runs")
    parser.add_argument("--curves", type=Path, help="a file that this script wrote")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/study"))
    options = parser.parse_args()
    known = {_name(run): run for run in (read_curves(options.curves) if options.curves else [])}
    known |= {_name(run): run for run in (runs_in(options.runs) if options.runs else [])}
    by_setting: dict[Setting, list[Run]] = defaultdict(list)
    for name, run in sorted(known.items()):
        by_setting[Setting(*name[:3])].append(run)
    text: list[str] = []
    options.out.mkdir(parents=True, exist_ok=True)
    for setting, runs in by_setting.items():
        if all(run.config["strategy"] != BASELINE for run in runs):
            raise InputError(f"{setting.title} has no run of {BASELINE}, which the others are measured from")
        text += section(setting, runs)
        plot_panels(panels(setting, runs), options.out / setting.slug)
        (options.out / f"{setting.slug}.pdf").unlink()
    write_whole(options.out / "curves.csv", curves_csv(known.values()).encode())
    write_whole(options.out / "tables.md", "\n".join(text).encode())
    print("\n".join(text))


if __name__ == "__main__":
    execute(main)
