"""The paper's figures from the runs of paper.py, numbered as there, and the report of the same runs.

    python -m experiments.figures                                   runs/paper → runs/paper-figures
    python -m experiments.figures --runs DIR --out DIR

Figure 3 (six settings), 4 and 5 (penalty matrix, normalized errors), 6-12 (learning curves), 13-19 (the same,
enlarged), 20-23 (by batch size and network), as PNG and PDF, and report.html with the tables behind them.
rounds.csv has every round of every run. Figures 1, 2 and 24-31 are made by kmeans_and_kdpp.py and diversity.py.
A figure without runs is left out, with a line that says so.
"""

import argparse
import sys
from pathlib import Path

from badge_jax.analysis import csv_text, draw_groups, read_runs, report, setting_title
from badge_jax.analysis.figures import Panel, in_order, plot_panels
from badge_jax.analysis.statistics import (
    Comparison,
    CurvePoint,
    Run,
    Setting,
    compare,
    mean_curves,
    setting_of,
    zoom_range,
)
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.files import write_whole

FULL = dict(
    zip(range(6, 13), ("letter", "pokerhand", "random_rbf", "kropt", "svhn", "mnist", "cifar10"), strict=True)
)
ZOOMED = {number + 7: dataset for number, dataset in FULL.items()}
VARIED = (  # figure 3 is to show data sets, networks and batch sizes of all kinds
    ("letter", "mlp", 1000),
    ("mnist", "mlp", 1000),
    ("kropt", "mlp", 100),
    ("svhn", "resnet18", 1000),
    ("cifar10", "vgg11", 10_000),
    ("cifar10", "resnet18", 100),
)
NETWORKS = {"mlp": "MLP", "resnet18": "ResNet-18", "vgg11": "VGG-11"}
Curves = dict[Setting, list[CurvePoint]]


def curve_figures(curves: Curves, comparisons: list[Comparison]) -> dict[int, list[Panel]]:
    """Number → panels, none where there are no runs."""
    by_head: dict[tuple, dict[str, list[CurvePoint]]] = {}
    for setting, points in curves.items():
        by_head.setdefault(setting[:3], {})[setting.strategy] = points
    order = {head: (list(NETWORKS).index(head[1]) if head[1] in NETWORKS else 9, head[2]) for head in by_head}
    full = {
        head: Panel(setting_title(*head), "test accuracy (%)", by_head[head], scale=100) for head in by_head
    }
    ranges = {c[:3]: zoom_range(by_head[c[:3]], c.saturation, c.batch_size) for c in comparisons}
    zoomed = {head: full[head]._replace(labels=labels) for head, labels in ranges.items() if labels}
    heads = sorted(by_head, key=order.__getitem__)
    varied = [head for head in VARIED if head in by_head]
    varied += [head for head in heads if head not in varied]
    figures = {3: [zoomed.get(head, full[head]) for head in varied[:6]]}
    for numbers, panels in ((FULL, full), (ZOOMED, zoomed)):
        for number, dataset in numbers.items():
            figures[number] = [panels[head] for head in heads if head[0] == dataset and head in panels]
    return figures


def groups_of(comparisons: list[Comparison]) -> dict[tuple[int, int], dict[str, list[Comparison]]]:
    """Numbers of the figures of penalty matrices and of normalized errors → title → comparisons."""
    by_size = {
        f"batches of {c.batch_size:,}": c.batch_size for c in sorted(comparisons, key=lambda c: c.batch_size)
    }
    by_network = {title: name for name, title in NETWORKS.items() if any(c.model == name for c in comparisons)}
    return {
        (4, 5): {"all settings": comparisons},
        (20, 22): {title: [c for c in comparisons if c.batch_size == size] for title, size in by_size.items()},
        (21, 23): {title: [c for c in comparisons if c.model == name] for title, name in by_network.items()},
    }


def rounds_csv(runs: list[Run]) -> str:
    """Every round of every run, but for the rows that were labeled."""
    numbers = ("num_labeled", "test_accuracy", "train_accuracy", "epochs", "fit_seconds", "query_seconds")
    rows = []
    for run in runs:
        head = [*setting_of(run), run.config["seed"], run.config.get("learning_rate")]
        for line in run.rounds:
            values = [line.get(name) for name in numbers]
            rows.append([*head, *(f"{v:.6g}" if isinstance(v, float) else v for v in values)])
    return csv_text([*Setting._fields, "seed", "learning_rate", *numbers], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="+", default=[Path("runs/paper")])
    parser.add_argument("--out", type=Path, default=Path("runs/paper-figures"))
    options = parser.parse_args()
    try:
        page = report(options.runs, options.out).page
    except (InputError, EnvironmentFailure) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    runs = read_runs(options.runs)
    curves, comparisons = mean_curves(runs), compare(runs)
    compared = [comparison for comparison in comparisons if comparison.counts]
    strategies = in_order(setting.strategy for setting in curves)

    drawn: set[int] = set()

    def stem(number: int) -> Path:
        drawn.add(number)
        return options.out / f"figure_{number:02}"

    for number, panels in curve_figures(curves, comparisons).items():
        if panels:
            plot_panels(panels, stem(number))
    for (penalty_number, cdf_number), groups in groups_of(compared).items():
        if compared:
            draw_groups(groups, strategies, stem(penalty_number), stem(cdf_number))
    for number in range(3, 24):
        if number in drawn:
            print(options.out / f"figure_{number:02}.png")
        else:
            why = "no runs to draw it from" + (", or no part to enlarge" if number in ZOOMED else "")
            print(f"figure {number}: {why}")
    write_whole(options.out / "rounds.csv", rounds_csv(runs).encode())
    print(options.out / "rounds.csv", page, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
