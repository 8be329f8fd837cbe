"""How diverse and uncertain batches are in gradient space: log det of their Gram matrix and mean norm
(figures 2 and 24).

    python -m experiments.diversity                                              letter, batches of 100
    python -m experiments.diversity --dataset svhn --model resnet18 --batch-size 1000

Works with any data set and network that `badge-jax run` takes. Runs are in runs/samplers, shared with
kmeans_and_kdpp.py; the same command resumes them. A gap in a curve of the log det is a batch with determinant 0
in one of the runs.

letter, 20 rounds, seeds 0-4, five strategies: 33 minutes of training and selection on 2 CPU cores. Expect
confidence to have determinant 0 in two batches of three, random by far the least diverse of the others, and
badge and badge_kdpp ahead in accuracy (results/paper.md says what agrees with the paper).
"""

from badge_jax.analysis import Panel, plot_panels
from experiments.repeats import arguments, curves_of, execute, run_all, setting

STRATEGIES = ("badge", "badge_kdpp", "badge_kcenter", "confidence", "random")


def main() -> None:
    """Runs what is missing and draws the figure."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    runs = run_all(options, STRATEGIES)
    options.out.mkdir(parents=True, exist_ok=True)
    title = setting(options).title
    singular = {
        name: [r["gram_is_singular"] for run in runs if run.config["strategy"] == name for r in run.rounds[1:]]
        for name in STRATEGIES
    }
    notes = {
        name: f"determinant 0 in {sum(flags)} of {len(flags)} batches"
        for name, flags in singular.items()
        if any(flags)
    }
    log_dets, norms = curves_of(runs, "gram_log_det"), curves_of(runs, "mean_embedding_norm")
    paths = plot_panels(
        [
            Panel(f"{title}: diversity", "log det of the batch's Gram matrix", log_dets, notes=notes),
            Panel(f"{title}: magnitude", "mean norm of the batch's embeddings", norms),
            Panel(f"{title}: accuracy", "test accuracy (%)", curves_of(runs), scale=100),
        ],
        options.out / f"diversity_{setting(options).slug}",
    )
    print(*paths, sep="\n")


if __name__ == "__main__":
    execute(main)
