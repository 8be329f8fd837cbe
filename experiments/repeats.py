"""What the scripts here share: several strategies over several seeds in one setting."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from badge_jax import cli
from badge_jax.analysis import CurvePoint, Run, mean_curves, read_runs
from badge_jax.runs import Setting, folder_of, make_runs


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that all scripts share; the defaults are the setting of the paper's figures 1, 2 and 24."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dataset", default="letter")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--learning-rate", type=float, help="the paper's for the data set, if not given")
    parser.add_argument("--runs", type=Path, default=Path("runs/samplers"), help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="where the figures go")
    return parser


def setting(options: argparse.Namespace) -> Setting:
    """The setting that the command line names."""
    return Setting(options.dataset, options.model, options.batch_size)


def run_all(options: argparse.Namespace, strategies: Sequence[str]) -> list[Run]:
    """The runs of every strategy and seed, made where they are missing.

    Finished rounds are not run again, so the scripts share their runs and can be stopped and started at will.
    """
    grid = {
        "dataset": options.dataset,
        "model": options.model,
        "batch_size": options.batch_size,
        "strategy": strategies,
        "seeds": options.seeds,
        "rounds": options.rounds,
        "learning_rate": options.learning_rate,
        "diagnostics": True,
    }
    runs = make_runs([grid])
    cli.sweep_with_bar(runs, options.runs)
    found = read_runs([options.runs / folder_of(run) for run in runs])
    return [run._replace(rounds=run.rounds[: options.rounds + 1]) for run in found]


def execute(main: Callable[[], None]) -> NoReturn:
    """Runs the script and exits: 2 for wrong input, 1 for trouble with the machine, 130 as soon as Ctrl-C is
    pressed, each reported in one line."""
    cli.run_interruptibly(lambda: cli.execute(main, "experiment"), "interrupted; run the same command again")


def curves_of(runs: Sequence[Run], quantity: str = "test_accuracy") -> dict[str, list[CurvePoint]]:
    """Strategy → its mean curve, of runs of one setting."""
    (curves,) = mean_curves(runs, quantity).values()
    return curves
