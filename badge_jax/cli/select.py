"""``badge-jax select``: chooses the next batch from a pool in files."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import tyro

from badge_jax.cli.numbers import num_bytes
from badge_jax.cli.processes import Processes
from badge_jax.cli.progress import Progress
from badge_jax.compiled import keep_compiled_programs
from badge_jax.csv_files import csv_bytes, formula_remarks
from badge_jax.devices import find_devices
from badge_jax.errors import InputError
from badge_jax.files import file_to_write, write_whole
from badge_jax.selection import (
    NUM_SHOWN,
    BatchSummary,
    Inputs,
    Selection,
    SelectOptions,
    Task,
    batch_page,
    check_image_folder,
    forecast,
    make_task,
    num_rows,
    open_matrix,
    pictures,
    read_ids,
    read_labeled,
    remarks_on_pictures,
    run_distributed,
    run_task,
    split_name,
    summarize,
)
from badge_jax.selection.explain import cells_of

_BASE_BYTES = 300_000_000  # memory of a process with JAX and the compiled programs


@dataclass(frozen=True)
class Select:
    """Choose the rows of a pool to label next, from features and logits in files."""

    k: int
    """How many rows to choose."""
    out: Path
    """CSV file to write the picks to, in the order chosen: rank, index, and more by --ids and --explain."""
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
    page: Path | None = None
    """HTML file to write a page about the picks to: a map of the pool, predicted classes, a table."""
    images: Path | None = None
    """Folder with an image file for each id, under that name, to be shown on the page."""
    unique: float | None = None
    """1 leaves out copies of labeled rows and of other picks; a cosine below 1 also what is nearer than it."""
    force: bool = False
    """Replace the files --out and --page if they are there already. With --distributed, an --out that holds the
    same picks is left as it is."""
    dry_run: bool = False
    """Print the memory, reading and time that the selection would need, and choose nothing."""
    processes: tyro.conf.OmitArgPrefixes[Processes] = field(default_factory=Processes)

    def execute(self) -> None:
        """Writes the picks.

        Raises:
            InputError: for wrong options or files.
            EnvironmentFailure: if JAX finds no device.
        """
        keep_compiled_programs()
        with self.processes.joined():
            self._choose()

    def _choose(self) -> None:
        find_devices()
        self.processes.check_shared(
            memory=self.memory,
            explain=self.explain,
            unique=self.unique,
            dry_run=self.dry_run,
            page=self.page,
        )
        options = SelectOptions(
            self.k,
            self.strategy,
            self.seed,
            None if self.memory is None else num_bytes(self.memory, "--memory"),
            self.explain or self.page is not None,
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
        given_files = [split_name(path)[0] for path in given.values()]
        read = [path for path in (*given_files, *self.labeled, self.ids) if path is not None]
        is_writer = jax.process_index() == 0
        out = self._checked_output("--out", self.out, read, ids) if is_writer else None
        page = None if self.page is None else self._checked_output("--page", self.page, read, ids)
        if page is not None and page == out:
            raise InputError(f"--page is {self.page}, which --out is too; wanted another file")
        self._check_images()
        if self.dry_run:
            _print_forecast(task)
            return
        for name, path, target in (("--out", self.out, out), ("--page", self.page, page)):
            if target is not None and target.exists() and not self.force and not self.processes.distributed:
                raise _is_there(name, path)
        summary = None
        if self.processes.distributed:
            selection = run_distributed(task)
        else:
            with Progress("reading") as progress:
                selection = run_task(task, progress.show)
                summary = None if page is None else summarize(task, selection, ids, progress.show)
        if out is None:
            return
        picked = [] if ids is None else [ids[index] for index in selection.indices]
        for remark in (*selection.remarks, *formula_remarks(picked, "--ids", "the ids picked", "id")):
            warnings.warn(remark, UserWarning, stacklevel=2)
        # both are made before one is written
        table = _picks_csv(selection if self.explain else selection._replace(explanation={}), ids)
        content = b"" if summary is None else self._page_of(summary).encode()
        # of several processes, one may have been lost when the picks were written: the command is given again
        if self.processes.distributed and out.exists() and not self.force:
            if out.read_bytes() != table:
                raise _is_there("--out", self.out)
            print(f"{self.out}: already written, with the same {self.k:,} rows")
            return
        write_whole(out, table)
        left = int(task.available.sum()) - self.k
        out_before = "" if self.labeled else "; no row was left out (--labeled)"
        print(f"{self.out}: {self.k:,} rows to label, of {n:,}; {left:,} are left{out_before}")
        if page is not None:
            write_whole(page, content)
            print(f"{self.page}: a page about them, {len(content) / 1e6:,.1f} MB")

    def _checked_output(self, name: str, path: Path, read: list[Path], ids: list[str] | None) -> Path:
        """The file to write. Raises InputError if it cannot be written, or is an input."""
        target = file_to_write(path)
        images = None if self.images is None else self.images.resolve()
        is_image = (
            images is not None
            and target.is_relative_to(images)
            and str(target.relative_to(images)) in (ids or [])
        )
        if is_image or any(other.resolve() == target for other in read):
            raise InputError(f"{name} is {path}, which is read as input; wanted another file")
        return target

    def _check_images(self) -> None:
        if self.images is None:
            return
        if self.page is None:
            raise InputError("--images are shown on the page; wanted --page as well")
        if self.ids is None:
            raise InputError("--images are found by id; wanted --ids as well")
        check_image_folder(self.images)

    def _page_of(self, summary: BatchSummary) -> str:
        if self.images is None or summary.ids is None:
            return batch_page(summary)
        ids = summary.ids[:NUM_SHOWN]
        found = pictures(self.images, ids)
        for remark in remarks_on_pictures(found, ids):
            warnings.warn(remark, UserWarning, stacklevel=2)
        return batch_page(summary._replace(pictures=found))


def _is_there(name: str, path: Path | None) -> InputError:
    why = ", perhaps a batch that is being labeled" if name == "--out" else ""
    return InputError(f"{name} {path} is there already{why}; wanted another name, or --force to replace it")


def _picks_csv(selection: Selection, ids: list[str] | None) -> bytes:
    """The header and a line for each pick, as CSV; NaN gives an empty field."""
    columns: dict[str, list] = {
        "rank": list(range(len(selection.indices))),
        "index": selection.indices.tolist(),
    }
    if ids is not None:
        columns["id"] = [ids[index] for index in columns["index"]]
    columns |= {name: cells_of(values) for name, values in selection.explanation.items()}
    return csv_bytes(columns)


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
