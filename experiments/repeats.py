"""What the scripts here share: strategies beside one another over several seeds, each run in its own folder."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from badge_jax.analysis import read_runs, setting_name
from badge_jax.analysis.statistics import CurvePoint, Run, mean_curves
from badge_jax.cli import run_interruptibly
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.runs import RunOptions, run


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


def setting(options: argparse.Namespace) -> tuple[str, str, int]:
    return options.dataset, options.model, options.batch_size


def run_all(options: argparse.Namespace, strategies: Sequence[str]) -> list[Run]:
    """What every strategy and seed left, after running what is missing, the first seed of all strategies first.

    Finished rounds are not run again, so the scripts share their runs and can be stopped and started at will.
    """
    folder = options.runs / setting_name(*setting(options))
    jobs = {folder / f"{name}-seed{seed}": (name, seed) for seed in options.seeds for name in strategies}
    with tqdm(total=len(jobs) * (options.rounds + 1), unit="round", disable=None) as bar:
        for path, (strategy, seed) in jobs.items():
            bar.set_description(path.name)
            run(
                RunOptions(
                    options.dataset,
                    strategy,
                    options.batch_size,
                    options.rounds,
                    model=options.model,
                    seed=seed,
                    learning_rate=options.learning_rate,
                    diagnostics=True,
                ),
                path,
                lambda line: bar.update() and None,
            )
    runs = read_runs(jobs)
    return [found._replace(rounds=found.rounds[: options.rounds + 1]) for found in runs]


def execute(main: Callable[[], None]) -> NoReturn:
    """Runs the script and exits: 2 for wrong input, 1 for trouble with the machine, 130 as soon as Ctrl-C is
    pressed, each told in one line."""

    def work() -> int:
        try:
            main()
        except SystemExit as stop:  # of the option parser
            return int(stop.code or 0)
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
        except (EnvironmentFailure, OSError) as error:
            print(f"{error}; the same command goes on", file=sys.stderr)
            return 1
        return 0

    run_interruptibly(work, "interrupted; the same command goes on")


def curves_of(runs: Sequence[Run], quantity: str = "test_accuracy") -> dict[str, list[CurvePoint]]:
    """Strategy → its mean curve."""
    return {setting.strategy: points for setting, points in mean_curves(runs, quantity).items()}
