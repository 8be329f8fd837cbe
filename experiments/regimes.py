"""Which strategy when: tables and pictures of sweeps of many strategies.

    python -m experiments.coates_ng make runs/coates_ng.npz                  once: a data set of few_labels
    badge-jax sweep experiments/study/many_labels.toml --out runs/many       any --seeds; resumes
    badge-jax sweep experiments/study/few_labels.toml --out runs/few
    python -m experiments.regimes --runs runs/many runs/few                  of what there is

OUT/curves.csv has a line for each run and round. Runs that it holds already stay in it, so it grows with runs
whose folders are gone. OUT/tables.txt has one table for each setting, and OUT/NAME.png its curves above random.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from badge_jax.analysis import (
    Contrasts,
    Interval,
    Panel,
    Run,
    Scores,
    contrasts,
    find_runs,
    gains_over_baseline,
    plot_panels,
    points_of,
    savings,
    scores,
    values_of,
)
from badge_jax.errors import InputError
from badge_jax.files import write_whole
from badge_jax.paper import BASELINE, TARGET_ACCURACY
from badge_jax.runs import Setting, read_per_class, setting_of
from experiments.curves import Columns, curves_csv, merged, read_curves
from experiments.embeddings import GROUPS
from experiments.repeats import execute

COLUMNS = Columns(
    {"learning_rate": float, "initial": int, "cold_start": str, "max_epochs": int},
    {
        "num_labeled": int,
        "test_accuracy": float,
        "test_macro_f1": float,
        "test_log_loss": float,
        "test_calibration_error": float,
        "worst_class_recall": float,
        "train_accuracy": float,
        "epochs": int,
        "query_seconds": float,
    },
)
LEVEL = 0.05  # of a corrected p-value


def runs_in(folders: list[Path]) -> list[Run]:
    """The runs of folders, each round with the lowest recall of a class."""
    found = []
    for folder, run in find_runs(folders).runs.items():
        by_class = read_per_class(folder)[: len(run.rounds)]
        if len(by_class) < len(run.rounds):
            raise InputError(f"{folder} has no per_class.jsonl of all its rounds; leave it out")
        worst = [min(recall for recall in line["recall"] if recall is not None) for line in by_class]
        rounds = [
            {**line, "worst_class_recall": lowest} for line, lowest in zip(run.rounds, worst, strict=True)
        ]
        found.append(Run(run.config, rounds))
    return found


def section(setting: Setting, runs: list[Run]) -> list[str]:
    """Title, sentences and table of a setting, as Markdown.

    Raises:
        InputError: if no run of the baseline covers the range of labels.
    """
    (found,) = scores(runs).values()
    found = found._replace(curves={name: curves for name, curves in found.curves.items() if curves})
    if BASELINE not in found.curves:
        raise InputError(f"{setting.title} has no run of {BASELINE}, which the others are measured from")
    numbers = sorted({len(curves) for curves in found.curves.values()})
    pairs = contrasts(found)
    words = f"Seeds: {' to '.join(map(str, numbers[:: max(1, len(numbers) - 1)]))}. {best(found, pairs)}"
    if found.left_out:
        words += f" Runs that are not finished, and left out: {len(found.left_out)}."
    fits = [line for run in runs for line in run.rounds]
    if short := sum(line["train_accuracy"] < TARGET_ACCURACY for line in fits):
        words += f" Fits that ended at max_epochs, short of the target: {short} of {len(fits)}."
    whole = [run for run in runs if run.config["seed"] in found.curves.get(run.config["strategy"], {})]
    return [f"## {setting.title}", "", words, "", *table(found, pairs, whole), ""]


def best(found: Scores, pairs: Contrasts) -> str:
    """Which strategy gains most on the baseline in the same seeds, by the area under the curve, and which
    others are not told apart from it: the 95 % interval of the difference, paired by seed, holds zero."""
    gains = {name: pairs[name, BASELINE].interval.mean for name in found.curves if (name, BASELINE) in pairs}
    first = max([*gains, BASELINE], key=lambda name: gains.get(name, 0.0))
    others = [pairs[first, name] for name in found.curves if (first, name) in pairs]
    if not others or not all(pair.interval.is_known for pair in others):
        return f"Largest mean: {first}; too few seeds to say more."
    near = sorted((pair for pair in others if pair.interval.low <= 0), key=lambda pair: pair.interval.mean)
    words = f"Best: {first}" + (
        f"; not told apart from it: {', '.join(pair.other for pair in near)}." if near else ", alone."
    )
    alien = [name for name in found.curves if name != first and (first, name) not in pairs]
    return words + (f" No seed in common with it: {', '.join(alien)}." if alien else "")


def table(found: Scores, pairs: Contrasts, runs: list[Run]) -> list[str]:
    """A line for each strategy, the largest area under the curve first.

    Args:
        found: the curves of the setting, as accuracies.
        pairs: its strategies against one another.
        runs: those that the curves are of.
    """
    saved = savings(found)
    gains = {name: pairs[name, BASELINE].interval.mean for name in found.curves if (name, BASELINE) in pairs}
    seconds = _of_each(runs, lambda run: [line["query_seconds"] for line in run.rounds[1:]])
    worst = _of_each(runs, lambda run: [run.rounds[len(found.labels) - 1]["worst_class_recall"]])
    last = len(found.labels) - 1
    shown = sorted({min(1, last), last // 2, last})
    header = ["strategy", *(f"{found.labels[i]:,}" for i in shown)]
    header += ["above random", "labels saved", "worst class", "s a query"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for name in sorted([*gains, BASELINE], key=lambda name: -gains.get(name, 0.0)):
        curves = np.array(list(found.curves[name].values()))
        cells = [name.replace("|", "\\|"), *(f"{100 * curves[:, i].mean():.1f}" for i in shown)]
        if name == BASELINE:
            cells += ["", ""]
        else:
            mean = saved[name].interval.mean if name in saved else np.nan
            cells += [_difference(pairs, name), "" if np.isnan(mean) else f"{mean:.0f}"]
        cells += [f"{100 * np.mean(worst[name]):.0f}", f"{np.median(seconds[name]):.2g}"]
        lines.append("| " + " | ".join([cells[0], *(cell.replace("-", "−") for cell in cells[1:])]) + " |")
    return lines


def _of_each(runs: list[Run], numbers: Callable[[Run], list[float]]) -> dict[str, list[float]]:
    by_strategy: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        by_strategy[run.config["strategy"]] += numbers(run)
    return by_strategy


def _difference(pairs: Contrasts, name: str) -> str:
    pair = pairs[name, BASELINE]
    mark = "**" if pair.p_holm is not None and pair.p_holm < LEVEL else ""
    return f"{mark}{_points(pair.interval)}{mark}"


def _points(interval: Interval) -> str:
    mean = f"{100 * interval.mean:+.1f}"
    return f"{mean} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})" if interval.is_known else mean


def panels(setting: Setting, runs: list[Run]) -> list[Panel]:
    """Accuracy above that of random with the same seed, by groups of strategies."""
    gains = {name: points_of(values) for name, values in gains_over_baseline(values_of(runs)[setting]).items()}
    known = {name for group in GROUPS.values() for name in group}
    groups = {**GROUPS, "others": [name for name in gains if name not in known]}
    drawn = [
        Panel(title, "points above random", {name: gains[name] for name in group if name in gains}, scale=100)
        for title, group in groups.items()
    ]
    return [panel for panel in drawn if panel.curves]


def draw(setting: Setting, runs: list[Run], out: Path) -> None:
    """Writes the picture of a setting."""
    _, pdf = plot_panels(panels(setting, runs), out / setting.slug)
    pdf.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of runs")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/study"))
    options = parser.parse_args()
    file = options.out / "curves.csv"
    older = read_curves(file, COLUMNS) if file.exists() else []
    runs = merged(older, runs_in(options.runs) if options.runs else [], COLUMNS)
    if not runs:
        raise InputError(f"there are no runs in {file}, and none are given; wanted --runs FOLDER")
    by_setting: dict[Setting, list[Run]] = defaultdict(list)
    for run in runs:
        by_setting[setting_of(run.config)].append(run)
    text = [line for setting, group in by_setting.items() for line in section(setting, group)]
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(file, curves_csv(runs, COLUMNS).encode())
    write_whole(options.out / "tables.txt", "\n".join(text).encode())
    for setting, group in by_setting.items():
        draw(setting, group, options.out)
    print("\n".join(text))


if __name__ == "__main__":
    execute(main)
