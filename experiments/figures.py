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

from badge_jax.analysis import (
    Comparison,
    Curves,
    Panel,
    Run,
    compare,
    csv_text,
    in_order,
    mean_curves,
    plot_groups,
    plot_panels,
    read_runs,
    report,
    zoom_range,
)
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.files import write_whole
from badge_jax.runs import Setting, setting_of

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


def rounds_csv(runs: list[Run]) -> str:
    """Every round of every run, without the rows that were labeled."""
    numbers = ("num_labeled", "test_accuracy", "train_accuracy", "epochs", "fit_seconds", "query_seconds")
    rows = []
    for run in runs:
        config = run.config
        head = [*setting_of(config), config["strategy"], config["seed"], config.get("learning_rate")]
        for line in run.rounds:
            values = [line.get(name) for name in numbers]
            rows.append([*head, *(f"{v:.6g}" if isinstance(v, float) else v for v in values)])
    return csv_text([*Setting._fields, "strategy", "seed", "learning_rate", *numbers], rows)


def main() -> int:
    """Draws the figures and returns the exit code."""
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
    strategies = in_order(name for by_strategy in curves.values() for name in by_strategy)

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
    write_whole(options.out / "rounds.csv", rounds_csv(runs).encode())
    print(options.out / "rounds.csv", page, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
