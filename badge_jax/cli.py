"""The command line: ``badge-jax run | report | datasets``, also ``python -m badge_jax``."""

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import jax
import tyro
from tqdm import tqdm

from badge_jax.data import DATASETS, fetch_table, on_this_machine
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.report import report
from badge_jax.runs import Line, RunOptions, run


@dataclass(frozen=True)
class Run:
    """Run one experiment, or go on with it where it stopped."""

    dataset: str
    """Data set; `badge-jax datasets` lists them."""
    strategy: str
    """Query strategy."""
    batch_size: int
    """Labels queried a round."""
    rounds: int
    """Number of queries; more than the folder holds extends the run."""
    out: Path
    """Folder of the run."""
    model: str = "mlp"
    """Network."""
    seed: int = 0
    """Seed of the split, the initial labels, the weights and the queries."""
    initial: int = 100
    """Random labels to start with."""
    learning_rate: float | None = None
    """Adam's; None takes the paper's for the data set."""
    max_epochs: int = 3000
    """Epochs after which a fit below 99 % training accuracy ends all the same."""
    encoding: str = "onehot"
    """Categorical columns: onehot or codes."""
    source: str | None = None
    """Where the data set comes from; None takes its default."""
    first: str | None = None
    """First point of a BADGE batch: uniform (default), max_norm or norm."""

    def execute(self) -> None:
        options = RunOptions(**{name: getattr(self, name) for name in RunOptions.__dataclass_fields__})
        layout = "{desc} {n_fmt}/{total_fmt} rounds [{elapsed}{postfix}]"
        with tqdm(total=self.rounds + 1, disable=None, bar_format=layout, desc="loading") as bar:

            def show(line: Line) -> None:
                bar.set_description(f"{self.strategy}:", refresh=False)
                bar.set_postfix_str(
                    f"{line['num_labeled']} labels, accuracy {100 * line['test_accuracy']:.1f} %, "
                    f"fit {line['fit_seconds']:.1f} s, query {line['query_seconds']:.2f} s",
                    refresh=False,
                )
                bar.update()

            run(options, self.out, show)


@dataclass(frozen=True)
class Report:
    """Turn run directories into summary.csv and learning curves."""

    directories: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them."""
    out: Path
    """Folder of the report."""

    def execute(self) -> None:
        result = report(self.directories, self.out)
        print(result.table)
        print()
        for path in (*result.pictures, result.summary):
            print(path)


@dataclass(frozen=True)
class Datasets:
    """List the data sets, or fetch one into the cache."""

    action: tyro.conf.Positional[Literal["list", "fetch"]] = "list"
    """What to do."""
    name: tyro.conf.Positional[str | None] = None
    """The data set to fetch."""

    def execute(self) -> None:
        if self.action == "fetch":
            if self.name is None:
                raise InputError(f"datasets fetch wants a name (known: {', '.join(DATASETS)})")
            table = fetch_table(self.name)
            print(f"{self.name}: {len(table.labels):,} rows, in the cache")
            return
        if self.name is not None:
            raise InputError(f"datasets list takes no name, but got {self.name!r}; `datasets fetch` takes one")
        print(f"{'name':<12}{'source':<12}{'rows':>10}{'columns':>9}{'classes':>9}  {'here':<5} summary")
        for name, info in DATASETS.items():
            here = "yes" if on_this_machine(name) else "no"
            print(
                f"{name:<12}{info.default_source:<12}{info.num_rows:>10,}{info.num_columns:>9}"
                f"{info.num_classes:>9}  {here:<5} {info.summary}"
            )


Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Datasets, tyro.conf.subcommand("datasets")]
)


def main(args: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 1 for the environment, 2 for wrong usage or input."""
    return _execute(_parse(args))


def entry() -> NoReturn:
    """What the shell calls: `main`, and 130 as soon as Ctrl-C is pressed.

    The command runs in a thread of its own: a thread inside a compiled program hears of no signal before the
    program ends, which may take hours. To end at once is safe, since files are written whole.
    """
    command = _parse(None)
    codes: list[int] = []
    worker = threading.Thread(target=lambda: codes.append(_execute(command)), daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(0.1)
    except KeyboardInterrupt:
        _fail("interrupted; a run goes on from its last finished round with the same command", 130)
        sys.stdout.flush()
        os._exit(130)
    sys.exit(codes[0] if codes else 1)


def _parse(args: list[str] | None) -> Run | Report | Datasets:
    return tyro.cli(Command, args=args, prog="badge-jax", description="Batch active learning in JAX.")


def _execute(command: Run | Report | Datasets) -> int:
    try:
        command.execute()
    except InputError as error:
        return _fail(str(error), 2)
    except EnvironmentFailure as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}", 1)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        return _fail(f"out of memory or device failure: {str(error).partition(chr(10))[0]}", 1)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"badge-jax: {message}", file=sys.stderr, flush=True)
    return code
