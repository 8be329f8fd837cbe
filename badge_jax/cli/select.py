"""``badge-jax select``: chooses the next batch from a pool in files."""

import csv
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from badge_jax.cli.numbers import num_bytes
from badge_jax.cli.progress import Progress
from badge_jax.compiled import keep_compiled_programs
from badge_jax.devices import find_devices
from badge_jax.errors import InputError
from badge_jax.files import file_to_write, write_whole
from badge_jax.selection import (
    Inputs,
    Selection,
    SelectOptions,
    Task,
    forecast,
    make_task,
    num_rows,
    open_matrix,
    read_ids,
    read_labeled,
    run_task,
    split_name,
)

_BASE_BYTES = 300_000_000  # memory of a process with JAX and the compiled programs


@dataclass(frozen=True)
class Select:
    """Choose the rows of a pool to label next, from features and logits in files."""

    k: int
    """How many rows to choose."""
    out: Path
    """CSV file to write the picks to, best first: rank, index, and further columns by --ids and --explain."""
    features: Path | None = None
    """Features [n, d], the input of the output layer, of float16, float32 or float64: .npy, .npz, .parquet,
    .arrow, .feather, .csv, .h5, .zarr, .safetensors or .pt. FILE:NAME names an array or column of a file."""
    logits: Path | None = None
    """Logits [n, classes], in the same formats; [n] or [n, 1] for two classes."""
    probabilities: Path | None = None
    """Probabilities [n, classes], in place of logits, in the same formats; [n] or [n, 1] for two classes."""
    representation: Path | None = None
    """Features [n, d] that stay the same from batch to batch, such as self-supervised ones, for strategies that
    need them; in the same formats."""
    labeled: tuple[Path, ...] = ()
    """Files of rows that are labeled already, or to leave out: row numbers (.npy, text with one a line, or CSV,
    such as earlier picks), or a mask (.npy of bool). With --ids they name rows by id."""
    ids: Path | None = None
    """Ids of all rows (text with one a line, CSV with a column id, or .npy). Picks and --labeled go by them."""
    skipped: Literal["exclude", "offer"] = "exclude"
    """Rows of --labeled whose column label is empty: left out like the others, or offered again."""
    strategy: str = "badge"
    """How to choose: a name that `badge-jax strategies` lists, with options in parentheses, such as
    'badge(first=norm)', or your own function that makes a strategy, module:function."""
    seed: int = 0
    """Seed of strategies that draw."""
    memory: str | None = None
    """Memory for pool and work, such as 4GB or 500MB; a larger pool is read from its files in tiles."""
    explain: bool = False
    """Add columns that explain each pick: its two likeliest classes, uncertainty, copies, neighbors."""
    unique: float | None = None
    """1 leaves out copies of labeled rows and of other picks; a cosine below 1 also what is nearer than it."""
    force: bool = False
    """Replace the file --out if it is there already."""
    dry_run: bool = False
    """Print the memory, reading and time that the selection would need, and choose nothing."""

    def execute(self) -> None:
        """Writes the picks.

        Raises:
            InputError: for wrong options or files.
            EnvironmentFailure: if JAX finds no device.
        """
        keep_compiled_programs()
        find_devices()
        options = SelectOptions(
            self.k,
            self.strategy,
            self.seed,
            None if self.memory is None else num_bytes(self.memory, "--memory"),
            self.explain,
            self.unique,
        )
        names = ("features", "logits", "probabilities", "representation")
        given = {name: path for name in names if (path := getattr(self, name)) is not None}
        matrices: dict[str, Any] = {
            name: open_matrix(path, f"--{name}", is_column=name in ("logits", "probabilities"))
            for name, path in given.items()
        }
        inputs = Inputs(**matrices)
        n = num_rows(inputs)
        ids = None if self.ids is None else read_ids(self.ids, "--ids", n)
        if self.labeled:
            labeled = read_labeled(self.labeled, "--labeled", n, ids=ids, skipped=self.skipped)
            inputs = inputs._replace(labeled=labeled)
        task = make_task(options, inputs)
        out = file_to_write(self.out)
        for path in (*(split_name(path)[0] for path in given.values()), *self.labeled, self.ids):
            if path is not None and path.resolve() == out:
                raise InputError(f"--out is {path}, which is read as input; wanted another file")
        if self.dry_run:
            _print_forecast(task)
            return
        if out.exists() and not self.force:
            raise InputError(
                f"--out {self.out} is there already, perhaps a batch that is being labeled; wanted another "
                "name, or --force to replace it"
            )
        with Progress("reading") as progress:
            selection = run_task(task, progress.show)
        for remark in (*selection.remarks, *_formula_remarks(selection, ids)):
            warnings.warn(remark, UserWarning, stacklevel=2)
        write_whole(out, _picks_csv(selection, ids).encode())
        left = int(task.available.sum()) - self.k
        print(f"{self.out}: {self.k:,} rows to label, of {n:,}; {left:,} are left")


def _picks_csv(selection: Selection, ids: list[str] | None) -> str:
    """The header and a line for each pick, as CSV; NaN gives an empty field."""
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
    text.write(",".join(columns) + "\n")
    # before Python 3.13 the writer leaves a carriage return bare, which a reader takes for the end of the line
    has_return = any("\r" in id for id in columns.get("id", ()))
    csv.writer(
        text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL
    ).writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _formula_remarks(selection: Selection, ids: list[str] | None) -> list[str]:
    """A remark on picked ids that a spreadsheet would run. They are written as they are, to be found again."""
    picked = [] if ids is None else [ids[index] for index in selection.indices]
    formulas = [id for id in picked if id[:1] in ("=", "+", "-", "@") and not re.fullmatch(r"[+-][0-9.]+", id)]
    if not formulas:
        return []
    return [
        f"--ids: {len(formulas)} of the ids picked begin with =, +, - or @, such as {formulas[0][:40]!r}; a "
        "spreadsheet takes them as formulas, so import the column id as text"
    ]


def _print_forecast(task: Task) -> None:
    """Prints the size of the pool and the memory, reading and time that a selection would need."""
    expected = forecast(task)
    held = f", {task.held_bytes / 1e6:,.0f} MB of it held in memory" if task.held_bytes else ""
    where = f"read in tiles{held}" if task.is_streamed else "held in memory"
    print(f"pool: {len(task.available):,} rows, {task.pool_bytes / 1e6:,.0f} MB, {where}")
    print(
        f"peak memory: about {(expected.memory + _BASE_BYTES) / 1e6:,.0f} MB, interpreter and programs included"
    )
    print(f"read from files: at least {expected.read / 1e6:,.0f} MB, in {expected.num_passes} passes")
    known = expected.seconds is not None
    seconds = f"about {expected.seconds:,.1f} s" if known else "one reading of the pool"
    print(f"time: {seconds}, and a few more seconds for start and compilation")
