"""``badge-jax campaign``: batch after batch with people who label, in a folder."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from badge_jax.campaign import (
    Campaign,
    CampaignFiles,
    CampaignOptions,
    Taken,
    campaign_status,
    next_batch,
    open_campaign,
    start_campaign,
    status_lines,
    tell_answers,
    withdraw_answers,
    write_batch,
    write_labels,
    write_page,
)
from badge_jax.campaign.tables import BatchFormat, check_batch_file
from badge_jax.cli.numbers import num_bytes
from badge_jax.compiled import keep_compiled_programs
from badge_jax.csv_files import formula_remarks, lines_of, read_text
from badge_jax.devices import find_devices
from badge_jax.errors import InputError
from badge_jax.files import check_file
from badge_jax.selection import check_image_folder, split_name

_Directory = tyro.conf.Positional[Path]
_NUM_CORRECTIONS = 10  # that are named


@dataclass(frozen=True)
class Start:
    """Begin a campaign in a folder."""

    directory: _Directory
    """Folder of the campaign."""
    classes: str
    """Names of the classes, such as cat,dog, or a file with one name a line."""
    features: Path | None = None
    """Features [n, d] of the pool that stay the same: .npy or .npz of float16, float32 or float64. The head is
    trained on them."""
    representation: Path | None = None
    """Features [n, d] for the cold start and for strategies with embedding=representation, in the same formats.
    Without --features, the head is trained on them too."""
    ids: Path | None = None
    """Ids of all rows (text with one a line, CSV with a column id, or .npy), for the column id."""
    strategy: str = CampaignOptions.strategy
    """How to choose: a name that `badge-jax strategies` lists, with options in parentheses, such as
    'badge(first=norm)', or your own function that makes a strategy, module:function."""
    cold_start: str = CampaignOptions.cold_start
    """How to choose before there are labels: kmeans, typiclust, random, or another strategy that reads the
    features alone."""
    audit: float = CampaignOptions.audit
    """Share of each batch, such as 0.1, that is drawn at random, kept out of training, and used to estimate how
    good the model is. It cannot be added later."""
    unique: float | None = None
    """1 leaves out copies of labeled rows and of other picks, a cosine below 1 also what is nearer than it, as
    in select."""
    head: str = CampaignOptions.head
    """What is trained on the features between batches: linear or mlp."""
    seed: int = CampaignOptions.seed
    """Seed of everything that is drawn."""
    memory: str | None = None
    """Memory for pool and work, such as 4GB or 500MB; a larger pool is read from its files in tiles."""
    test_features: Path | None = None
    """Features [t, d] of held-out rows, in the same formats."""
    test_labels: Path | None = None
    """Their labels: names of classes (text with one a line, or .npy), or their numbers from 0 (.npy)."""

    def execute(self) -> None:
        """Writes config.json."""
        options = CampaignOptions(
            classes=_classes_of(self.classes),
            strategy=self.strategy,
            cold_start=self.cold_start,
            head=self.head,
            audit=self.audit,
            seed=self.seed,
            memory_budget=None if self.memory is None else num_bytes(self.memory, "--memory"),
            unique=self.unique,
        )
        files = CampaignFiles(
            self.features, self.representation, self.ids, self.test_features, self.test_labels
        )
        start_campaign(self.directory, options, files)
        with open_campaign(self.directory) as campaign:
            n, reserve = len(campaign.state.labels), len(campaign.state.reserve)
        for remark in formula_remarks(options.classes, "--classes", "the names", "label"):
            warnings.warn(remark, UserWarning, stacklevel=2)
        audit = f", {reserve:,} of them reserved for the audit" if reserve else ", no audit"
        print(f"{self.directory}: {n:,} rows{audit}, {len(options.classes)} classes")


@dataclass(frozen=True)
class Next:
    """Write the next batch, or the open one again."""

    directory: _Directory
    """Folder of the campaign."""
    k: int
    """How many rows."""
    logits: Path | None = None
    """Logits [n, classes] of a model of your own, in place of the head's; [n] or [n, 1] for two classes. Any
    format that select reads."""
    probabilities: Path | None = None
    """Probabilities in place of logits, in the same shapes and formats."""
    format: BatchFormat = "csv"
    """What to write: csv, a table to fill in; label-studio, tasks to import, .json, and the labeling interface
    beside them, .xml."""
    image_urls: str | None = None
    """With label-studio: where it finds the images, up to the id, such as https://images.example/ or
    '/data/local-files/?d=pets/'. Without it, the ids are shown."""
    out: Path | None = None
    """File to write; without it, batch-N.csv or batch-N.json in the folder."""
    force: bool = False
    """Overwrite a file that is not this batch."""
    images: Path | None = None
    """Folder that holds a picture for each id, to be shown on the batch's page."""

    def execute(self) -> None:
        """Writes the batch, and a page about it, batch-N.html in the folder."""
        keep_compiled_programs()
        find_devices()
        with open_campaign(self.directory) as campaign:
            self._check_images(campaign)
            self._check_out()
            is_again = bool(campaign.state.is_open.any())
            check_batch_file(campaign, self.out, format=self.format, images=self.image_urls, force=self.force)
            campaign, batch = next_batch(campaign, self.k, self.logits, probabilities=self.probabilities)
            path = write_batch(
                campaign, batch, self.out, format=self.format, images=self.image_urls, force=self.force
            )
            page = write_page(campaign, batch, self.images)
        for remark in batch.remarks:
            warnings.warn(remark, UserWarning, stacklevel=2)
        audit = f", {int(batch.is_audit.sum())} of them for the audit" if batch.is_audit.any() else ""
        answered = int((~batch.is_open).sum())
        known = f"; {answered} have an answer already" if answered else ""
        again = " again" if is_again else ""
        print(f"batch {batch.number}{again}: {len(batch.rows)} rows{audit}{known}: {path}")
        print(f"a page about it: {page}")

    def _check_out(self) -> None:
        for name, path in (("--logits", self.logits), ("--probabilities", self.probabilities)):
            if path is None or self.out is None:
                continue
            if split_name(path)[0].resolve() == self.out.resolve():
                raise InputError(f"--out is {self.out}, which {name} is too; wanted another file")

    def _check_images(self, campaign: Campaign) -> None:
        if self.images is None:
            return
        if campaign.ids is None:
            raise InputError(
                "--images are found by id, and the campaign has no ids; wanted it without --images"
            )
        check_image_folder(self.images)


@dataclass(frozen=True)
class Tell:
    """Take the answers in CSV files (columns label, and id or index) or in exports of Label Studio."""

    directory: _Directory
    """Folder of the campaign."""
    files: tyro.conf.Positional[tuple[Path, ...]]
    """CSV files, or exports of Label Studio: JSON, JSON-MIN or CSV."""
    skipped: Literal["exclude", "offer"] | None = None
    """Rows that were skipped, or have an empty label: exclude never offers them again, offer may. Without it,
    those that a labeling tool calls skipped are excluded, an empty label is no answer yet, and files with no
    label at all are refused."""
    withdraw: tuple[Path, ...] = ()
    """In place of files with answers, files that list rows (CSV with a column id or index, or text with one a
    line): their answers are taken back, so they have no label, and may be asked for again."""

    def execute(self) -> None:
        """Takes all of the answers or none."""
        if self.withdraw and (self.files or self.skipped is not None):
            other = str(self.files[0]) if self.files else "--skipped"
            raise InputError(
                f"--withdraw takes answers back, and {other} gives some; wanted a command for each"
            )
        if self.withdraw:
            self._take_back()
            return
        if not self.files:
            raise InputError("tell wants a file; wanted one file or more after the folder")
        with open_campaign(self.directory) as campaign:
            before = campaign.state.labels
            campaign, taken = tell_answers(campaign, self.files, self.skipped)
        print(*_lines(campaign, taken), *_corrections(campaign, before, taken), sep="\n")

    def _take_back(self) -> None:
        with open_campaign(self.directory) as campaign:
            before = campaign.state
            campaign, rows = withdraw_answers(campaign, self.withdraw)
        num_labels = int((before.labels[rows] >= 0).sum())
        audit = int((before.labels[np.intersect1d(rows, before.reserve)] >= 0).sum())
        of_audit = f" ({audit:,} of the audit)" if audit else ""
        num_skips = len(rows) - num_labels
        skips = f", and {num_skips:,} skipped row{'s' if num_skips != 1 else ''}" if num_skips else ""
        print(f"withdrawn: {num_labels:,} labels{of_audit}{skips}", *_batch_lines(campaign), sep="\n")


@dataclass(frozen=True)
class Status:
    """Say where the campaign stands: labels, how good the model is, whether its predictions have settled."""

    directory: _Directory
    """Folder of the campaign."""
    logits: Path | None = None
    """Logits [n, classes] of a model of your own, in place of the head's; [n] or [n, 1] for two classes. Any
    format that select reads."""
    probabilities: Path | None = None
    """Probabilities in place of logits, in the same shapes and formats."""

    def execute(self) -> None:
        """Prints it."""
        keep_compiled_programs()
        find_devices()
        with open_campaign(self.directory) as campaign:
            status = campaign_status(campaign, self.logits, probabilities=self.probabilities)
        print(*status_lines(status), sep="\n")


@dataclass(frozen=True)
class Export:
    """Write all labels to a CSV file."""

    directory: _Directory
    """Folder of the campaign."""
    out: Path
    """CSV file to write: index, id where there are ids, label, and audit."""
    force: bool = False
    """Overwrite a file with other content."""

    def execute(self) -> None:
        """Writes the labels."""
        with open_campaign(self.directory) as campaign:
            count = write_labels(campaign, self.out, force=self.force)
        print(f"{count:,} labels: {self.out}")


_Action = (
    Annotated[Start, tyro.conf.subcommand("start")]
    | Annotated[Next, tyro.conf.subcommand("next")]
    | Annotated[Tell, tyro.conf.subcommand("tell")]
    | Annotated[Status, tyro.conf.subcommand("status")]
    | Annotated[Export, tyro.conf.subcommand("export")]
)


@dataclass(frozen=True)
class CampaignCommand:
    """Label batch after batch with people: start, next, tell, status, export."""

    action: Annotated[_Action, tyro.conf.arg(name="")]

    def execute(self) -> None:
        self.action.execute()


def _classes_of(text: str) -> tuple[str, ...]:
    """The names of the classes, from a list with commas or a file."""
    path = Path(text)
    if "," in text and not path.is_file():
        return tuple(name.strip() for name in text.split(","))
    check_file(path, "--classes", "two names or more with commas between them, or a file with one a line")
    lines = lines_of(read_text(path, f"--classes: {path}", "one name a line"))
    return tuple(line.strip() for line in lines if line.strip())


def _lines(campaign: Campaign, taken: Taken) -> list[str]:
    """What answers did, for people."""
    counts = (
        (taken.num_new, "new labels"),
        (taken.num_corrected, "corrected"),
        (taken.num_skipped, "skipped"),
        (taken.num_repeated, "known already"),
        (taken.num_kept, "empty, and keep the label they have"),
        (taken.num_blank, "without a label yet (--skipped says that they were skipped)"),
    )
    lines = [", ".join(f"{count:,} {what}" for count, what in counts if count) or "no answers"]
    state = campaign.state
    unasked = np.isin(taken.rows, state.reserve[state.num_audited :])
    if unasked.any():
        lines.append(
            f"{int(unasked.sum()):,} of rows reserved for the audit, not asked for yet: kept out of training"
        )
    asked = {row for line in campaign.batches for row in line["rows"]}
    if num_unasked := sum(row not in asked for row in taken.rows.tolist()):
        lines.append(f"{num_unasked:,} of rows that no batch has asked for")
    return [*lines, *_batch_lines(campaign)]


def _batch_lines(campaign: Campaign) -> list[str]:
    """How much of the last batch is answered, if there is one."""
    state, num_open = campaign.state, int(campaign.state.is_open.sum())
    rest = f"{num_open:,} of {len(state.batch):,} rows have no answer yet" if num_open else "all answered"
    return [f"batch {state.num_batches}: {rest}"] if state.num_batches else []


def _corrections(campaign: Campaign, before: np.ndarray, taken: Taken) -> list[str]:
    """A line for each label that was replaced, the first few."""
    classes, ids = campaign.options.classes, campaign.ids
    changed = [
        (row, label) for row, label in zip(taken.rows, taken.labels, strict=True) if label >= 0 <= before[row]
    ]
    lines = [
        f"corrected: {f'row {row}' if ids is None else ids[row][:40]}: {classes[before[row]]} is now "
        f"{classes[label]}"
        for row, label in changed[:_NUM_CORRECTIONS]
    ]
    rest = len(changed) - len(lines)
    return [*lines, f"corrected: {rest:,} more"] if rest else lines
