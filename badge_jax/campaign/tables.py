"""The CSV files that a campaign writes: batches to fill in, and labels."""

from pathlib import Path

import numpy as np

from badge_jax.campaign.folder import Batch, Campaign
from badge_jax.campaign.inputs import check_rows, input_paths
from badge_jax.campaign.state import reserved
from badge_jax.csv_files import csv_bytes
from badge_jax.errors import InputError
from badge_jax.files import file_to_write, write_whole


def check_batch_file(campaign: Campaign, out: Path | None, *, force: bool) -> None:
    """Checks, before a batch is chosen, that its file can be written.

    Args:
        campaign: an open one.
        out: as in `write_batch`.
        force: as in `write_batch`.

    Raises:
        InputError: where `write_batch` would refuse.
    """
    is_open = bool(campaign.state.is_open.any())
    path = _batch_path(campaign, campaign.state.num_batches + (not is_open), out)
    if _output_file(campaign, path).exists() and not force and not is_open:
        raise InputError(f"{path} exists already; give another --out, or --force to overwrite it")


def write_batch(campaign: Campaign, batch: Batch, out: Path | None, *, force: bool = False) -> Path:
    """Writes a batch for people to fill in.

    The columns are rank, index (the row, from 0), id where there are ids, audit (1 or 0), and an empty label.

    Args:
        campaign: an open one.
        batch: of it.
        out: CSV file; None for ``batch-N.csv`` in the campaign's folder.
        force: whether a file with other content may be overwritten.

    Returns:
        Path of the file.

    Raises:
        InputError: if the file exists with other content, which may be labels.

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
    path = _batch_path(campaign, batch.number, out)
    target = _output_file(campaign, path)
    k = len(batch.rows)
    columns: dict[str, list] = {"rank": list(range(k)), "index": batch.rows.tolist()}
    if campaign.ids is not None:
        columns["id"] = [campaign.ids[row] for row in batch.rows]
    columns |= {"audit": batch.is_audit.astype(int).tolist(), "label": [""] * k}
    content = csv_bytes(columns)
    if target.exists() and not force and target.read_bytes() != content:
        raise InputError(
            f"{path} exists and is not batch {batch.number} as it was written; `tell` it if it holds answers, "
            "and give another --out, or --force to overwrite it"
        )
    write_whole(target, content)
    return path


def write_labels(campaign: Campaign, out: Path, *, force: bool = False) -> int:
    """Writes all labels.

    The columns are index, id where there are ids, label (the class's name; empty for a row that was skipped and
    is not offered again), and audit (1 or 0).

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
    content = csv_bytes(columns)
    if target.exists() and not force and target.read_bytes() != content:
        raise InputError(f"{out} exists and is not what it would be now; give another name, or --force")
    write_whole(target, content)
    return int((state.labels >= 0).sum())


def _batch_path(campaign: Campaign, number: int, out: Path | None) -> Path:
    return campaign.directory / f"batch-{number}.csv" if out is None else out


def _output_file(campaign: Campaign, path: Path) -> Path:
    """The file to write, see `file_to_write`. Raises InputError for one that the campaign itself needs."""
    target, folder = file_to_write(path), campaign.directory.resolve()
    own = {folder / name for name in ("config.json", "log.jsonl", ".lock")}
    own |= {file.resolve() for file in input_paths(campaign.directory, campaign.config).values()}
    if target in own or (target.parent == folder and target.name.startswith("predictions-")):
        raise InputError(f"{path} is a file that the campaign needs; wanted another name")
    return target
