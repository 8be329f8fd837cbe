"""``badge-jax sweep`` and ``status``: a grid of runs in one folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from badge_jax.cli.progress import Progress
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.runs import (
    RunOptions,
    make_runs,
    read_grids,
    status,
    status_lines,
    sweep,
)
from badge_jax.runs.engines import Dask, Slurm, engine_of


@dataclass(frozen=True)
class Sweep:
    """Run a grid of experiments, or resume it. Any number of workers and machines may share the folder."""

    out: Path
    """Folder of the runs."""
    spec: tyro.conf.Positional[Path | None] = None
    """TOML file of the grid; options given here take the place of what it says."""
    dataset: tuple[str, ...] = ()
    """Data sets."""
    model: tuple[str, ...] = ()
    """Networks; mlp if none is given."""
    strategy: tuple[str, ...] = ()
    """Strategies."""
    batch_size: tuple[int, ...] = ()
    """Labels queried a round."""
    seeds: tuple[str, ...] = ()
    """Seeds, such as 0-4 or 0,3,7; 0 if none is given."""
    rounds: int | None = None
    """Number of queries."""
    max_labels: int | None = None
    """Queries end before more labels than this."""
    initial: int | None = None
    """Labels to start with."""
    cold_start: str | None = None
    """How the labels to start with are chosen: random, or kmeans or typiclust on the representation."""
    learning_rate: float | None = None
    """Adam's."""
    minibatch_size: int | None = None
    """Rows in a gradient step."""
    max_epochs: int | None = None
    """Epochs after which a fit stops even if it has not reached the target accuracy."""
    target_accuracy: float | None = None
    """Training accuracy at which a fit ends."""
    clip: float | None = None
    """Gradients are clipped elementwise to ± this."""
    encoding: str | None = None
    """Categorical columns: onehot or codes."""
    source: str | None = None
    """Where the data sets come from."""
    precision: str | None = None
    """Arithmetic inside the networks: float32 or bfloat16."""
    diagnostics: tyro.conf.FlagCreatePairsOff[bool] = False
    """Record how diverse and how uncertain each batch is."""
    shard: str = "0/1"
    """i/n: only the i-th of n parts of the grid, counted from 0."""
    workers: int = 1
    """Processes on this machine, among which processors, GPUs and TPU chips are divided; with --on, jobs or
    tasks."""
    on: tuple[str, ...] = ()
    """Where the workers run, if not here: 'slurm(timeout_min=240, partition=gpu)' or dask tcp://HOST:PORT."""

    def execute(self) -> None:
        given = {
            name: value
            for name, value in vars(self).items()
            if name not in ("out", "spec", "shard", "workers", "on")
            and not (value is None or value is False or value == ())
        }
        shard = shard_of(self.shard)
        engine = engine_of(self.on) if self.on else None
        if engine is not None and shard != (0, 1):
            raise InputError("--on and --shard are both given; the workers of --on share all runs")
        if "seeds" in given:
            given["seeds"] = ",".join(self.seeds)
        grids = [{}] if self.spec is None else read_grids(self.spec)
        if "seeds" in given:
            grids = [{key: value for key, value in grid.items() if key != "seed"} for grid in grids]
        runs = make_runs([{**grid, **given} for grid in grids])
        sweep_with_bar(runs, self.out, self.workers, shard, engine)


@dataclass(frozen=True)
class Status:
    """Say what is done, running, failed and missing in the folder of a sweep, and the time left."""

    directory: tyro.conf.Positional[Path]
    """Folder of the runs."""

    def execute(self) -> None:
        print(*status_lines(status(self.directory)), sep="\n")


def sweep_with_bar(
    runs: Sequence[RunOptions],
    out: Path,
    workers: int = 1,
    shard: tuple[int, int] = (0, 1),
    engine: Slurm | Dask | None = None,
) -> None:
    """`sweep` with a line for each run that ends, and progress over all rounds.

    Raises:
        EnvironmentFailure: at the end, if runs have failed.
    """
    with Progress("starting") as progress:

        def watch(done: int, total: int) -> None:
            progress.show("rounds", done, total)

        if engine is None:
            failed = sweep(runs, out, workers=workers, shard=shard, say=progress.say, watch=watch)
        else:
            failed = engine.sweep(runs, out, workers, progress.say, watch)
    if failed:
        names = ", ".join(str(directory) for directory in failed[:3]) + (", …" if len(failed) > 3 else "")
        raise EnvironmentFailure(f"{len(failed)} runs have failed; their error.txt says why: {names}")


def shard_of(text: str) -> tuple[int, int]:
    """The parts of "i/n".

    Raises:
        InputError: for other text.
    """
    part, _, parts = text.partition("/")
    if not (text.isascii() and part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise InputError(f"--shard is {text!r}; wanted i/n with i from 0 to n − 1, such as 0/8")
    return int(part), int(parts)
