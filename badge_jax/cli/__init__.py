"""The command line: ``badge-jax run | select | report | datasets``, also ``python -m badge_jax``."""

import csv
import io
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import jax
import numpy as np
import tyro
from tqdm import tqdm

from badge_jax.data import DATASETS, DatasetInfo, fetch, on_this_machine, resolve_source, where_kept
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.files import cache_folder, check_writable, write_whole
from badge_jax.selection._select import Inputs, Selection, SelectOptions, Task, forecast, make_task, run_task
from badge_jax.selection.matrices import open_matrix, read_ids, read_vector


@dataclass(frozen=True)
class Run:
    """Run one experiment, or go on with it where it stopped."""

    dataset: str
    """Data set: a name that `badge-jax datasets` lists, openml:ID, or the path of an .npz file."""
    strategy: str
    """badge, random, confidence, margin, entropy, coreset, albl, badge_kdpp or badge_kcenter."""
    batch_size: int
    """Labels queried a round."""
    rounds: int
    """Number of queries; more than the folder holds extends the run."""
    out: Path
    """Folder of the run."""
    model: str = "mlp"
    """Network: mlp, resnet18, vgg11 or linear."""
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
    variant: str | None = None
    """Bandit of albl: reference (default) or exp4p."""
    num_steps: int | None = None
    """Steps of badge_kdpp's chain; None takes max(50, 5 k ln k)."""
    precision: str = "float32"
    """Arithmetic inside the network: float32 or bfloat16."""
    diagnostics: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Record how diverse and how uncertain each batch is: log det of its Gram matrix and mean norm in gradient
    space."""

    def execute(self) -> None:
        from badge_jax.runs._run import Line, RunOptions, run  # Flax and Optax, which `select` can do without

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
class Select:
    """Choose the rows of a pool to label next, from features and logits in files."""

    k: int
    """How many rows to choose."""
    out: Path
    """CSV file of the picks, best first: rank, index, and what else is asked for."""
    features: Path | None = None
    """Features [n, d], the input of the output layer: .npy or .npz of float16, float32 or float64."""
    logits: Path | None = None
    """Logits [n, classes], likewise."""
    probabilities: Path | None = None
    """Probabilities [n, classes], in place of logits."""
    labeled: Path | None = None
    """Rows labeled already, or to leave out: row numbers (.npy, text with one a line, or a CSV of earlier
    picks), or a mask (.npy of bool)."""
    ids: Path | None = None
    """Ids of the rows (text with one a line, or .npy), carried into the column id."""
    strategy: str = "badge"
    """badge, badge_kcenter, margin, confidence, entropy, random or coreset."""
    seed: int = 0
    """Seed of badge and random."""
    first: str = "uniform"
    """First point of badge: uniform, max_norm or norm."""
    memory: str | None = None
    """Memory for pool and work, such as 4GB or 500MB; a larger pool is read from its files in pieces."""
    explain: bool = False
    """Add what is known of each pick: class, uncertainty, norm, distance, rows represented."""
    dry_run: bool = False
    """Say what memory, reading and time it would take, and choose nothing."""

    def execute(self) -> None:
        keep_compiled_programs()
        options = SelectOptions(
            self.k,
            self.strategy,
            self.seed,
            self.first,
            None if self.memory is None else num_bytes(self.memory, "--memory"),
        )
        inputs = Inputs(
            features=None if self.features is None else open_matrix(self.features, "--features"),
            logits=None if self.logits is None else open_matrix(self.logits, "--logits"),
            probabilities=None
            if self.probabilities is None
            else open_matrix(self.probabilities, "--probabilities"),
            labeled=None if self.labeled is None else read_vector(self.labeled, "--labeled"),
        )
        task = make_task(options, inputs, is_explained=self.explain)
        ids = None if self.ids is None else read_ids(self.ids, "--ids", len(task.available))
        out = self.out.resolve()  # a link stays a link
        check_writable(out)
        for path in (self.features, self.logits, self.probabilities, self.labeled, self.ids):
            if path is not None and path.resolve() == out:
                raise InputError(f"--out is {path}, which is read as input; wanted another file")
        if self.dry_run:
            _print_forecast(task, self.explain)
            return
        with tqdm(disable=None, bar_format="{desc}: {percentage:3.0f} %|{bar}| {elapsed}") as bar:

            def watch(stage: str, done: int, total: int) -> None:
                bar.total, bar.n = total, done
                bar.set_description(stage, refresh=False)
                bar.update(0)

            selection = run_task(task, watch, is_explained=self.explain)
        for remark in selection.remarks:
            print(f"badge-jax: warning: {remark}", file=sys.stderr)
        write_whole(out, _picks_csv(selection, ids).encode())


@dataclass(frozen=True)
class Report:
    """Turn run directories into tables, learning curves, comparisons of strategies, and a page of all of it."""

    directories: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them."""
    out: Path
    """Folder of the report."""

    def execute(self) -> None:
        from badge_jax.analysis._report import report

        result = report(self.directories, self.out)
        print(result.table)
        print()
        for path in (*result.pictures, result.summary, result.page):
            print(path)


@dataclass(frozen=True)
class Datasets:
    """List the data sets, or fetch one into the cache."""

    action: tyro.conf.Positional[Literal["list", "fetch"]] = "list"
    """What to do."""
    name: tyro.conf.Positional[str | None] = None
    """The data set to fetch: a name that is listed, or openml:ID."""
    source: str | None = None
    """Where to fetch it from; None takes its default."""

    def execute(self) -> None:
        if self.action == "fetch":
            if self.name is None:
                raise InputError(f"datasets fetch wants a name (known: {', '.join(DATASETS)}, openml:ID)")
            if resolve_source(self.name, self.source) == "file":
                raise InputError(f"{self.name} is a file of yours already; there is nothing to fetch")
            data = fetch(self.name, self.source)
            print(f"{self.name}: {len(data.labels):,} rows, in {where_kept(self.name, self.source)}")
            return
        if self.name is not None or self.source is not None:
            raise InputError(f"datasets list takes no {self.name or '--source'}; `datasets fetch` does")
        rows = [("name", "source", "size", "shape", "classes", "here", "")]
        rows += [
            (
                name,
                source,
                *_size_and_shape(info, source),
                str(info.num_classes),
                "yes" if on_this_machine(name, source) else "no",
                info.summary,
            )
            for name, info in DATASETS.items()
            for source in info.sources
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        print("\nAlso openml:ID for any other classification set of OpenML, and the path of an .npz file with")
        print("inputs and labels. The first source listed is the default; --source takes another.")


def _size_and_shape(info: DatasetInfo, source: str) -> tuple[str, str]:
    num_rows = info.sources[source].num_rows
    size = f"{num_rows:,} + {info.num_test:,}" if info.num_test else f"{num_rows:,}"
    return size, " × ".join(map(str, info.shape)) if info.channels else f"{info.shape[0]} columns"


_BASE_BYTES = 300_000_000  # of a process with JAX and the compiled programs


Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Select, tyro.conf.subcommand("select")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Datasets, tyro.conf.subcommand("datasets")]
)


def _picks_csv(selection: Selection, ids: list[str] | None) -> str:
    """Header and a line for each pick; what is not known is left empty."""
    columns: dict[str, list] = {
        "rank": list(range(len(selection.indices))),
        "index": selection.indices.tolist(),
    }
    if ids is not None:
        columns["id"] = [ids[index] for index in columns["index"]]
    for name, values in selection.explanation.items():
        is_float = values.dtype.kind == "f"
        columns[name] = [
            "" if is_float and np.isnan(value) else f"{value:.6g}" if is_float else value for value in values
        ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _print_forecast(task: Task, is_explained: bool) -> None:
    expected = forecast(task, is_explained=is_explained)
    where = "read in pieces" if task.is_streamed else "held in memory"
    print(f"pool: {len(task.available):,} rows, {task.pool_bytes / 1e6:,.0f} MB, {where}")
    print(
        f"peak memory: about {(expected.memory + _BASE_BYTES) / 1e6:,.0f} MB, interpreter and programs included"
    )
    print(f"read from files: at least {expected.read / 1e6:,.0f} MB, in {expected.num_passes} passes")
    print(f"time: about {expected.seconds:,.1f} s, and a few for start and compilation")


def num_bytes(text: str, name: str) -> int:
    """A size such as 4GB or 1.5GiB. Raises InputError, which calls it ``name``, for another text."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not match or match[2] == "i":
        raise InputError(f"{name} is {text!r}; wanted a size such as 4GB, 500MB or 1.5GiB")
    exponent = " kmgt".index(match[2][:1] or " ")
    return int(float(match[1]) * (1024 if match[2].endswith("i") else 1000) ** exponent)


def keep_compiled_programs() -> None:
    """In the user's cache folder, if there can be one, so that the second call need not compile."""
    try:
        (cache_folder() / "compiled").mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def main(args: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 1 for the environment, 2 for wrong usage or input."""
    return _execute(_parse(args))


def entry() -> NoReturn:
    """What the shell calls: `main`, and 130 as soon as Ctrl-C is pressed."""
    command = _parse(None)
    is_run = isinstance(command, Run)
    rest = "a run goes on from its last finished round with the same command" if is_run else "nothing written"
    run_interruptibly(lambda: _execute(command), f"badge-jax: interrupted; {rest}")


def run_interruptibly(work: Callable[[], int], message: str) -> NoReturn:
    """Exits with what ``work`` returns, or with ``message`` and 130 as soon as Ctrl-C is pressed.

    The work is done in a thread of its own: a thread inside a compiled program hears of no signal before the
    program ends, which may take hours. To end at once is safe, since files are written whole.
    """
    codes: list[int] = []
    worker = threading.Thread(target=lambda: codes.append(work()), daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(0.1)
    except KeyboardInterrupt:
        print(message, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(130)
    sys.exit(codes[0] if codes else 1)


def _parse(args: list[str] | None) -> Run | Select | Report | Datasets:
    return tyro.cli(Command, args=args, prog="badge-jax", description="Batch active learning in JAX.")


def _execute(command: Run | Select | Report | Datasets) -> int:
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
