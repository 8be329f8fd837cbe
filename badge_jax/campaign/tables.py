"""The files that a campaign writes: batches to answer, and labels."""

import json
import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from badge_jax.campaign.batches import Batch
from badge_jax.campaign.folder import Campaign
from badge_jax.campaign.inputs import check_rows, input_paths
from badge_jax.campaign.label_studio import label_studio_tasks, labeling_interface
from badge_jax.campaign.state import reserved
from badge_jax.csv_files import csv_bytes, formula_remarks
from badge_jax.errors import InputError
from badge_jax.files import file_to_write, write_whole

BatchFormat = Literal["csv", "label-studio"]


def check_batch_file(
    campaign: Campaign,
    out: Path | None,
    *,
    format: BatchFormat = "csv",
    images: str | None = None,
    force: bool = False,
) -> None:
    """Checks, before a batch is chosen, that it can be written.

    Args:
        campaign: an open one.
        out: as in `write_batch`.
        format: as in `write_batch`.
        images: as in `write_batch`.
        force: as in `write_batch`.

    Raises:
        InputError: where `write_batch` would refuse.
    """
    is_open = bool(campaign.state.is_open.any())
    path = _batch_path(campaign, campaign.state.num_batches + (not is_open), out, format)
    if format == "csv" and images is not None:
        raise InputError("--image-urls are shown by a labeling tool; wanted --format label-studio as well")
    if format == "label-studio":
        labeling_interface(campaign.options.classes)
        label_studio_tasks([], classes=(), ids=None if campaign.ids is None else [], images=images)
    for file in _files_of(path, format):
        if _output_file(campaign, file).exists() and not force and not is_open:
            raise InputError(f"{file} exists already; give another --out, or --force to overwrite it")


def write_batch(
    campaign: Campaign,
    batch: Batch,
    out: Path | None,
    *,
    format: BatchFormat = "csv",
    images: str | None = None,
    force: bool = False,
) -> Path:
    """Writes a batch for people to answer.

    "csv" is a table to fill in. Its columns are rank, index (the row, from 0), id where there are ids, audit
    (1 or 0), and an empty label. A UserWarning says how many ids a spreadsheet would take as formulas.

    "label-studio" is a file of tasks to import, see `label_studio_tasks`, and beside it, with the ending .xml,
    the labeling interface. What the model says is a pre-annotation of all rows but those of the audit: people
    who are shown a model's answers agree with it too often to be its judges.

    Args:
        campaign: an open one.
        batch: of it.
        out: file to write; None for ``batch-N.csv`` or ``batch-N.json`` in the campaign's folder.
        format: "csv" or "label-studio".
        images: where the images lie that Label Studio shows, see `label_studio_tasks`; None to show text.
        force: whether files with other content may be overwritten.

    Returns:
        Path of the file with the rows.

    Raises:
        InputError: if a file exists with other content, which may be labels, or there are no such tasks.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign
        >>> from badge_jax.campaign import next_batch, open_campaign, write_batch
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> options = CampaignOptions(("cat", "dog"), cold_start="random")
        >>> start_campaign(folder / "pets", options, CampaignFiles(folder / "features.npy"))
        >>> with open_campaign(folder / "pets") as campaign:
        ...     campaign, batch = next_batch(campaign, 10)
        ...     write_batch(campaign, batch, None).name
        'batch-1.csv'
    """
    path = _batch_path(campaign, batch.number, out, format)
    contents = (
        {path: _table(campaign, batch)}
        if format == "csv"
        else _label_studio_files(campaign, batch, path, images)
    )
    targets = {file: _output_file(campaign, file) for file in contents}
    for file, content in contents.items():
        if targets[file].exists() and not force and targets[file].read_bytes() != content:
            raise InputError(
                f"{file} exists and is not batch {batch.number} as it was written; `tell` it if it holds "
                "answers, and give another --out, or --force to overwrite it"
            )
    if format == "csv" and campaign.ids is not None:
        _warn_of_formulas([campaign.ids[row] for row in batch.rows], "--ids", "the ids of the batch", "id")
    for file, content in contents.items():
        write_whole(targets[file], content)
    return path


def write_labels(campaign: Campaign, out: Path, *, force: bool = False) -> int:
    """Writes all labels.

    The columns are index, id where there are ids, label (the class's name; empty for a row that was skipped and
    is not offered again), and audit (1 or 0). A UserWarning says what a spreadsheet would take as formulas.

    Args:
        campaign: an open one.
        out: CSV file.
        force: whether a file with other content may be overwritten.

    Returns:
        How many labels there are.

    Raises:
        InputError: if the file exists with other content, or the pool has changed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign
        >>> from badge_jax.campaign import open_campaign, write_labels
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> files = CampaignFiles(folder / "features.npy")
        >>> start_campaign(folder / "pets", CampaignOptions(("cat", "dog")), files)
        >>> with open_campaign(folder / "pets") as campaign:
        ...     write_labels(campaign, folder / "labels.csv")
        0
    """
    check_rows(campaign.directory, campaign.config)
    target, state = _output_file(campaign, out), campaign.state
    rows = np.flatnonzero((state.labels >= 0) | state.excluded)
    columns: dict[str, list] = {"index": rows.tolist()}
    if campaign.ids is not None:
        columns["id"] = [campaign.ids[row] for row in rows]
    columns["label"] = ["" if label < 0 else campaign.options.classes[label] for label in state.labels[rows]]
    columns["audit"] = reserved(state)[rows].astype(int).tolist()
    _warn_of_formulas(columns.get("id", []), "--ids", "the ids of labeled rows", "id")
    _warn_of_formulas(columns["label"], "--classes", "the labels", "label")
    content = csv_bytes(columns)
    if target.exists() and not force and target.read_bytes() != content:
        raise InputError(f"{out} exists and is not what it would be now; give another name, or --force")
    write_whole(target, content)
    return int((state.labels >= 0).sum())


def _batch_path(campaign: Campaign, number: int, out: Path | None, format: BatchFormat) -> Path:
    if out is None:
        return campaign.directory / f"batch-{number}.{'csv' if format == 'csv' else 'json'}"
    if format == "label-studio" and out.suffix.lower() != ".json":
        raise InputError(
            f"--out {out}: Label Studio reads tasks by the ending; wanted a name that ends in .json"
        )
    return out


def _warn_of_formulas(words: list[str], flag: str, what: str, column: str) -> None:
    for remark in formula_remarks(words, flag, what, column):
        warnings.warn(remark, UserWarning, stacklevel=3)


def _files_of(path: Path, format: BatchFormat) -> list[Path]:
    """The files of a batch: that with its rows, and for Label Studio the labeling interface."""
    return [path] if format == "csv" else [path, path.with_suffix(".xml")]


def _table(campaign: Campaign, batch: Batch) -> bytes:
    k = len(batch.rows)
    columns: dict[str, list] = {"rank": list(range(k)), "index": batch.rows.tolist()}
    if campaign.ids is not None:
        columns["id"] = [campaign.ids[row] for row in batch.rows]
    columns |= {"audit": batch.is_audit.astype(int).tolist(), "label": [""] * k}
    return csv_bytes(columns)


def _label_studio_files(campaign: Campaign, batch: Batch, path: Path, images: str | None) -> dict[Path, bytes]:
    """The tasks of a batch, and the labeling interface."""
    classes, ids, predicted = campaign.options.classes, campaign.ids, None
    if batch.predicted is not None:
        pairs = zip(batch.predicted.tolist(), batch.is_audit, strict=True)
        predicted = [None if is_audit else label for label, is_audit in pairs]
    tasks = label_studio_tasks(
        batch.rows,
        classes=classes,
        ids=None if ids is None else [ids[row] for row in batch.rows],
        images=images,
        predicted=predicted,
        scores=None if batch.scores is None else batch.scores.tolist(),
        model_version=f"batch {batch.number}",
    )
    interface = labeling_interface(classes, has_images=images is not None)
    contents = (f"{json.dumps(tasks, indent=1)}\n".encode(), interface.encode())
    return dict(zip(_files_of(path, "label-studio"), contents, strict=True))


def _output_file(campaign: Campaign, path: Path) -> Path:
    """The file to write, see `file_to_write`. Raises InputError for one that the campaign itself needs."""
    target, folder = file_to_write(path), campaign.directory.resolve()
    own = {folder / name for name in ("config.json", "log.jsonl", ".lock")}
    own |= {file.resolve() for file in input_paths(campaign.directory, campaign.config).values()}
    if target in own or (target.parent == folder and target.name.startswith("predictions-")):
        raise InputError(f"{path} is a file that the campaign needs; wanted another name")
    return target
