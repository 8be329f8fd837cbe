"""k-means++ seeding against a k-DPP in gradient space: accuracy and selection time (figures 1 and 25-31).

    python -m experiments.kmeans_and_kdpp                                            figure 1, left; figure 25
    python -m experiments.kmeans_and_kdpp --dataset kropt --batch-size 1000 --rounds 10       figure 28
    python -m experiments.kmeans_and_kdpp --dataset mnist --batch-size 1000 --rounds 20       figure 30
    python -m experiments.kmeans_and_kdpp --dataset svhn --model resnet18 --batch-size 1000   figures 1 and 29

Works with any data set and network that `badge-jax run` takes. Runs are in runs/samplers, shared with
diversity.py; the same command resumes them.

letter, 20 rounds, seeds 0-4: 15 minutes of training and selection on 2 CPU cores. Expect the accuracies to
overlap, at 92 to 93 % with 2,100 labels. Times of single queries mean little on a busy machine: the samplers by
themselves are timed by benchmarks/k_dpp.py.
"""

from badge_jax.analysis import Panel, plot_panels
from experiments.repeats import arguments, curves_of, execute, run_all, setting

STRATEGIES = ("badge", "badge_kdpp")


def main() -> None:
    """Runs what is missing, draws the figure and prints its numbers."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    runs = run_all(options, STRATEGIES)
    options.out.mkdir(parents=True, exist_ok=True)
    title = setting(options).title
    accuracy, seconds = curves_of(runs), curves_of(runs, "query_seconds")
    paths = plot_panels(
        [
            Panel(title, "test accuracy (%)", accuracy, scale=100),
            Panel("time of a query, outputs of the network included", "seconds", seconds, is_log=True),
        ],
        options.out / f"kmeans_and_kdpp_{setting(options).slug}",
    )
    print(f"{'labels':>8}  accuracy (%), query seconds: {', '.join(accuracy)}")
    for i, points in enumerate(zip(*accuracy.values(), strict=True)):
        cells = [f"{100 * point.mean:.2f} ± {100 * point.standard_error:.2f}" for point in points]
        if i:
            cells += [f"{seconds[name][i - 1].mean:.3f}" for name in accuracy]
        print(f"{points[0].num_labeled:>8}  {'   '.join(cells)}")
    print(*paths, sep="\n")


if __name__ == "__main__":
    execute(main)
