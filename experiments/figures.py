"""The paper's figures from the runs of paper.py, numbered as there, and the report of the same runs.

    python -m experiments.figures                                   runs/paper → runs/paper-figures
    python -m experiments.figures --runs DIR --out DIR
    python -m experiments.figures --runs DIR --curves curves.csv    also runs whose folders are gone

Figure 3 (six settings), 4 and 5 (penalty matrix, normalized errors), 6-12 (learning curves), 13-19 (the same,
enlarged), 20-23 (by batch size and network), as PNG and PDF; comparison.csv is behind figure 4. curves.csv has
every round of every run, and is read back by --curves; where the folders have the same run, theirs counts.
report.html and its tables are of the folders alone. Figures 1, 2 and 24-31 are made by kmeans_and_kdpp.py and
diversity.py. A figure without runs is left out, and a line says so.
"""

import argparse
from pathlib import Path

from badge_jax.analysis import (
    Comparison,
    Curves,
    Panel,
    compare,
    in_order,
    mean_curves,
    penalty_csv,
    plot_groups,
    plot_panels,
    read_runs,
    report,
    zoom_range,
)
from badge_jax.files import write_whole
from badge_jax.runs import Setting
from experiments.curves import Columns, curves_csv, merged, read_curves
from experiments.repeats import execute

FULL = dict(
    zip(range(6, 13), ("letter", "pokerhand", "random_rbf", "kropt", "svhn", "mnist", "cifar10"), strict=True)
)
ZOOMED = {number + 7: dataset for number, dataset in FULL.items()}
VARIED = (  # figure 3 shows data sets, networks and batch sizes of all kinds
    Setting("letter", "mlp", 1000),
    Setting("mnist", "mlp", 1000),
    Setting("kropt", "mlp", 100),
    Setting("svhn", "resnet18", 1000),
    Setting("cifar10", "vgg11", 10_000),
    Setting("cifar10", "resnet18", 100),
)
NETWORKS = {"mlp": "MLP", "resnet18": "ResNet-18", "vgg11": "VGG-11"}


def curve_figures(curves: Curves, comparisons: list[Comparison]) -> dict[int, list[Panel]]:
    """The panels of figures 3 and 6 to 19: number → panels, none if there are no runs."""
    networks = list(NETWORKS)
    settings = sorted(
        curves, key=lambda s: (networks.index(s.model) if s.model in NETWORKS else 9, s.batch_size)
    )
    full = {
        setting: Panel(setting.title, "test accuracy (%)", points, scale=100)
        for setting, points in curves.items()
    }
    ranges = {c.setting: zoom_range(curves[c.setting], c.saturation, c.setting.batch_size) for c in comparisons}
    zoomed = {setting: full[setting]._replace(labels=labels) for setting, labels in ranges.items() if labels}
    varied = [setting for setting in VARIED if setting in curves]
    varied += [setting for setting in settings if setting not in varied]
    figures = {3: [zoomed.get(setting, full[setting]) for setting in varied[:6]]}
    for numbers, panels in ((FULL, full), (ZOOMED, zoomed)):
        for number, dataset in numbers.items():
            figures[number] = [panels[s] for s in settings if s.dataset == dataset and s in panels]
    return figures


def groups_of(comparisons: list[Comparison]) -> dict[tuple[int, int], dict[str, list[Comparison]]]:
    """Numbers of the figures of penalty matrices and of normalized errors → title → comparisons."""
    by_size = {
        f"batches of {size:,}": [c for c in comparisons if c.setting.batch_size == size]
        for size in sorted({c.setting.batch_size for c in comparisons})
    }
    by_network = {
        title: [c for c in comparisons if c.setting.model == name] for name, title in NETWORKS.items()
    }
    return {
        (4, 5): {"all settings": comparisons},
        (20, 22): by_size,
        (21, 23): {title: group for title, group in by_network.items() if group},
    }


COLUMNS = Columns(
    {"learning_rate": float},
    {
        "num_labeled": int,
        "test_accuracy": float,
        "train_accuracy": float,
        "epochs": int,
        "fit_seconds": float,
        "query_seconds": float,
    },
)


def main() -> None:
    """Draws the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=Path, nargs="*", help="folders of runs (runs/paper, or none with --curves)"
    )
    parser.add_argument("--curves", type=Path, nargs="+", default=[], help="files that this script wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/paper-figures"))
    options = parser.parse_args()
    if options.runs is None:
        options.runs = [] if options.curves else [Path("runs/paper")]
    older = [run for file in options.curves for run in read_curves(file, COLUMNS)]
    runs = merged(older, read_runs(options.runs) if options.runs else [], COLUMNS)
    if options.runs:
        print(report(options.runs, options.out).page)
    curves, comparisons = mean_curves(runs), compare(runs)
    compared = [comparison for comparison in comparisons if comparison.counts]
    strategies = in_order(name for by_strategy in curves.values() for name in by_strategy)

    options.out.mkdir(parents=True, exist_ok=True)
    drawn: set[int] = set()

    def stem(number: int) -> Path:
        drawn.add(number)
        return options.out / f"figure_{number:02}"

    for number, panels in curve_figures(curves, comparisons).items():
        if panels:
            plot_panels(panels, stem(number), strategies)
    for (penalty_number, cdf_number), groups in groups_of(compared).items():
        if compared:
            plot_groups(groups, strategies, stem(penalty_number), stem(cdf_number))
    for number in range(3, 24):
        if number in drawn:
            print(options.out / f"figure_{number:02}.png")
        else:
            why = "no runs to draw it from" + (", or no part to enlarge" if number in ZOOMED else "")
            print(f"figure {number}: {why}")
    write_whole(options.out / "curves.csv", curves_csv(runs, COLUMNS).encode())
    write_whole(options.out / "comparison.csv", penalty_csv(compared, strategies).encode())
    print(options.out / "curves.csv", options.out / "comparison.csv", sep="\n")


if __name__ == "__main__":
    execute(main)
