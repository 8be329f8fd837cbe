"""The paper's grid: 33 settings × 7 algorithms × 5 repeats, each run in a directory of its own.

    python -m experiments.paper list
    python -m experiments.paper run                                   everything
    python -m experiments.paper run --shard $SLURM_ARRAY_TASK_ID/64   one of 64 parts, counted from 0
    python -m experiments.paper run --only dataset=letter,batch_size=1000 --max-labels 8100
    python -m experiments.paper status

The runs are those of `badge-jax sweep`: any number of workers may share one folder, on one machine or many, and
a worker may be killed at any moment. `badge-jax status runs/paper` says the same as ``status`` here.
"""

import argparse
from pathlib import Path

from badge_jax import cli, paper
from badge_jax.errors import InputError
from badge_jax.runs import RunOptions, folder_of, make_runs, status, status_lines

STRATEGIES = ("badge", "albl", "coreset", "confidence", "margin", "entropy", "random")
NETWORKS = {
    "mnist": ("mlp",),
    "svhn": ("mlp", "resnet18", "vgg11"),
    "cifar10": ("mlp", "resnet18", "vgg11"),
    "letter": ("mlp",),
    "pokerhand": ("mlp",),
    "random_rbf": ("mlp",),
    "kropt": ("mlp",),
}
BATCH_SIZES, SEEDS = (100, 1000, 10_000), range(5)
KEYS = ("dataset", "model", "batch_size", "strategy", "seed")


def grid(options: argparse.Namespace) -> list[RunOptions]:
    """The runs that the command line asks for, the first seed of everything first."""
    least, most = paper.NUM_INITIAL + min(BATCH_SIZES), paper.MAX_LABELS
    if options.max_labels is not None:
        if options.max_labels < least:
            raise InputError(f"--max-labels is {options.max_labels}; it must be at least {least}")
        most = min(options.max_labels, most)
    grids = [
        {
            "dataset": dataset,
            "model": models,
            "batch_size": size,
            "strategy": STRATEGIES,
            "seeds": SEEDS,
            "max_labels": most,
            "learning_rate": options.learning_rate,
        }
        for dataset, models in NETWORKS.items()
        for size in BATCH_SIZES
        if paper.NUM_INITIAL + size <= most
        and any(_may_match(dataset, size, wanted) for wanted in options.only or [{}])
    ]
    runs = make_runs(grids)
    return [run for run in runs if not options.only or any(_matches(run, wanted) for wanted in options.only)]


def main(args: list[str] | None = None) -> int:
    """Does what is asked and returns the exit code."""
    options = parse(args)
    return cli.execute(lambda: _execute(options), "paper")


def parse(args: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("list", "run", "status"))
    parser.add_argument("--runs", type=Path, default=Path("runs/paper"), help="folder of the runs")
    parser.add_argument(
        "--shard", type=_shard, default=(0, 1), metavar="I/N", help="part I of N, counted from 0"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes on this machine")
    parser.add_argument(
        "--only", type=_only, action="append", metavar="KEY=VALUE,…", help=f"{', '.join(KEYS)}; may be repeated"
    )
    parser.add_argument("--max-labels", type=int, help="cut the curves short")
    parser.add_argument("--learning-rate", type=float, help="another than the paper's")
    return parser.parse_args(args)


def _execute(options: argparse.Namespace) -> None:
    if options.command == "status":
        print(*status_lines(status(options.runs)), sep="\n")
        return
    runs = grid(options)
    if not runs:
        raise InputError(f"no run of the grid has {options.only}; `list` shows them")
    if options.command == "run":
        cli.sweep_with_bar(runs, options.runs, options.workers, options.shard)
    else:
        for run in runs:
            print(f"{folder_of(run)}  {run.rounds} rounds")


def _matches(run: RunOptions, wanted: dict[str, str]) -> bool:
    return all(str(getattr(run, key)) == value for key, value in wanted.items())


def _may_match(dataset: str, size: int, wanted: dict[str, str]) -> bool:
    """Whether a grid can hold a wanted run."""
    return wanted.get("dataset", dataset) == dataset and wanted.get("batch_size", str(size)) == str(size)


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r}; wanted I/N with I from 0 to N − 1, such as 0/8")
    return int(part), int(parts)


def _only(text: str) -> dict[str, str]:
    pairs = dict(item.partition("=")[::2] for item in text.split(","))
    if not set(pairs) <= set(KEYS) or not all(pairs.values()):
        raise argparse.ArgumentTypeError(f"{text!r}; wanted key=value,… with keys {', '.join(KEYS)}")
    return pairs


if __name__ == "__main__":
    cli.run_interruptibly(main, "interrupted; the same command resumes")
