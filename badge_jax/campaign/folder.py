"""A campaign in a folder, from which it resumes after a crash at any moment.

- ``config.json``: all options, the files that the campaign reads with their checksums, and a checksum of these.
- ``log.jsonl``: batches, answers and withdrawals in the order in which they came, see `log`. The state
  is made from it.
- ``predictions-N.npy``: the classes that the model behind batch N gives all rows.
- ``batch-N.csv``: the batch, for people to fill in, unless another file was named; or ``batch-N.json`` and
  ``batch-N.xml``, its tasks for Label Studio.
- ``batch-N.html``: a page about it.
- ``.lock``: locked while a process works here.

A batch is in the log before its file is written, and answers before anybody is told that they were taken. So a
batch whose file was never written is given again, and answers that were cut off are told again.
"""

import contextlib
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.array_files import open_npy
from badge_jax.campaign.inputs import (
    FORMAT,
    OPTIONS,
    CampaignFiles,
    new_config,
    open_ids,
)
from badge_jax.campaign.log import Log, append_line, read_log
from badge_jax.campaign.options import CampaignOptions
from badge_jax.campaign.state import CampaignState, ask, begin, reserved, take, withdraw
from badge_jax.errors import InputError
from badge_jax.files import locked, write_whole
from badge_jax.names import checksum
from badge_jax.records import config_checksum, parse_object

_MAY_DIFFER = ("memory_budget", "code", "badge_jax")  # what another `start` may say


class Campaign(NamedTuple):
    """A campaign that is open.

    Attributes:
        directory: its folder.
        config: content of config.json.
        options: its options.
        ids: [n] ids of the rows; None if they have none.
        log: its log.
        state: what follows from the log.
        labels_before: [n] int32, the labels known when the last batch was chosen.
        excluded_before: [n] bool, the rows that were skipped and not offered then.
    """

    directory: Path
    config: dict[str, Any]
    options: CampaignOptions
    ids: list[str] | None
    log: Log
    state: CampaignState
    labels_before: np.ndarray
    excluded_before: np.ndarray

    @property
    def batches(self) -> list[dict[str, Any]]:
        """The lines of the log that open a batch."""
        return [line for line in self.log.lines if line["kind"] == "batch"]


def start_campaign(directory: Path | str, options: CampaignOptions, files: CampaignFiles) -> None:
    """Begins a campaign in a folder. The same call again changes nothing but the memory budget.

    Args:
        directory: made if need be.
        options: of the campaign.
        files: that it reads.

    Raises:
        InputError: for options and files that do not fit, and for a folder that holds another campaign.
        EnvironmentFailure: for a folder in use.
        OSError: when the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, open_campaign, start_campaign
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> files = CampaignFiles(folder / "features.npy")
        >>> start_campaign(folder / "pets", CampaignOptions(("cat", "dog")), files)
        >>> with open_campaign(folder / "pets") as campaign:
        ...     campaign.options.cold_start
        'kmeans'
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; give a folder")
    config = new_config(directory, options, files)
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory, str(directory)):
        if (directory / "config.json").exists():
            known = _read_config(directory)
            for name in config:
                if name not in _MAY_DIFFER and known.get(name) != config[name]:
                    raise InputError(
                        f"{directory} holds a campaign with {_difference(name, known.get(name), config[name])}"
                        "; give another folder"
                    )
            if known["memory_budget"] != config["memory_budget"]:
                _write_config(directory, {**known, "memory_budget": config["memory_budget"]})
            return
        if (directory / "log.jsonl").exists():
            raise InputError(f"{directory} holds log.jsonl but no config.json; give another folder")
        _write_config(directory, config)


@contextlib.contextmanager
def open_campaign(directory: Path | str) -> Iterator[Campaign]:
    """Locks the folder of a campaign and reads what is known.

    Args:
        directory: of the campaign.

    Raises:
        InputError: if there is none, or what is there is damaged. A UserWarning says that the last line of the
            log was cut off, or that lines seem to be lost.
        EnvironmentFailure: if another process works there.

    Example:
        >>> from badge_jax.campaign import open_campaign
        >>> with open_campaign("nowhere") as campaign:
        ...     pass
        Traceback (most recent call last):
        badge_jax.errors.InputError: nowhere holds no campaign; `badge-jax campaign start` begins one
    """
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory} holds no campaign; `badge-jax campaign start` begins one")
    with locked(directory, str(directory)):
        campaign = _read(directory)
        if campaign.log.is_cut:
            warnings.warn(
                f"the last line of {directory / 'log.jsonl'} was cut off while it was written, and is dropped; "
                "give the command that was interrupted once more",
                UserWarning,
                stacklevel=3,
            )
        number = campaign.state.num_batches + 1
        for name in (f"batch-{number}.csv", f"batch-{number}.json", f"batch-{number}.html"):
            if (directory / name).exists():  # it is written after the line of the log
                warnings.warn(
                    f"{directory / 'log.jsonl'} does not know of {name}, which is there: lines at its end are "
                    "lost, and may be asked again; put back a copy of it if you have one",
                    UserWarning,
                    stacklevel=3,
                )
                break
        yield campaign


def append(campaign: Campaign, line: dict[str, Any]) -> Campaign:
    """The campaign with one more line in its log, which is then on the disk.

    Args:
        campaign: an open one.
        line: a batch, answers, or rows whose answers are withdrawn.

    Raises:
        ValueError: for a line that cannot follow.
        OSError: if it cannot be written.
    """
    after = _after(campaign, line)
    log = append_line(campaign.directory / "log.jsonl", campaign.log, line, _identity(campaign.config))
    return after._replace(log=log)


@contextlib.contextmanager
def scratch_folder(campaign: Campaign) -> Iterator[Path | None]:
    """Where a model's outputs go that may not fit in memory; None for a campaign without a memory budget."""
    if campaign.options.memory_budget is None:
        yield None
        return
    try:
        yield campaign.directory
    finally:
        for file in campaign.directory.glob(".*.tmp"):
            file.unlink()


def write_predictions(campaign: Campaign, number: int, predictions: np.ndarray) -> int:
    """Writes the classes that the model behind a batch gives all rows.

    Args:
        campaign: an open one.
        number: of the batch.
        predictions: [n] int.

    Returns:
        The file's checksum.
    """
    path, buffer = _predictions_file(campaign, number), io.BytesIO()
    np.save(buffer, predictions.astype(np.min_scalar_type(len(campaign.options.classes) - 1)))
    write_whole(path, buffer.getvalue())
    return checksum(path)


def read_predictions(campaign: Campaign, line: Mapping[str, Any]) -> np.ndarray | None:
    """The classes that the model behind a batch gives all rows.

    Args:
        campaign: an open one.
        line: of the log, which opens the batch.

    Returns:
        [n] int; None where there was no model, or the file is not there as it was written.
    """
    path = _predictions_file(campaign, line["batch"])
    if line["predictions"] is None or not path.is_file() or checksum(path) != line["predictions"]:
        return None
    return open_npy(path, "predictions").read().astype(np.int32)


def _difference(name: str, known: Any, given: Any) -> str:
    """How a known value of the configuration differs from the one given, in words."""
    if name != "files" or not isinstance(known, dict):
        return f"{name} = {known!r}, not {given!r}"
    file = next(key for key in {**known, **given} if known.get(key) != given.get(key))
    flag = f"--{file.replace('_', '-')}"
    if file not in known:
        return f"no {flag}"
    if file not in given:
        return f"{flag} {known[file]['path']}"
    return f"another content of {flag}, or another path ({known[file]['path']})"


def _predictions_file(campaign: Campaign, number: int) -> Path:
    return campaign.directory / f"predictions-{number}.npy"


def _write_config(directory: Path, config: Mapping[str, Any]) -> None:
    content = {**config, "check": config_checksum(config)}
    write_whole(directory / "config.json", (json.dumps(content, indent=2) + "\n").encode())


def _read_config(directory: Path) -> dict[str, Any]:
    """The configuration. Raises InputError for one that is damaged, or of another format."""
    path = directory / "config.json"
    try:
        config = parse_object(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); put back a copy of it") from None
    check = config.pop("check", None)
    if config.get("kind") != "campaign":
        raise InputError(f"{path} is not a campaign's; give another folder")
    if config.get("format") != FORMAT:
        raise InputError(f"{path} is of format {config.get('format')!r}; this version reads format {FORMAT}")
    if check != config_checksum(config):
        raise InputError(
            f"{path} is damaged, or was edited: it does not have its checksum; put back a copy of it"
        )
    return config


def _read(directory: Path) -> Campaign:
    """The campaign in a folder, from its configuration and its log."""
    config, path = _read_config(directory), directory / "log.jsonl"
    options = CampaignOptions(
        **{name: config[name] for name in OPTIONS} | {"classes": tuple(config["classes"])}
    )
    log = read_log(path, _identity(config))
    state = begin(config["rows"], audit=options.audit, seed=options.seed)
    ids = open_ids(directory, config)
    campaign = Campaign(directory, config, options, ids, log, state, state.labels, state.excluded)
    for number, line in enumerate(log.lines):
        try:
            campaign = _after(campaign, line)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged (line {number + 1}: {error}); put back a copy of it") from None
    return campaign


def _after(campaign: Campaign, line: Mapping[str, Any]) -> Campaign:
    """The campaign after a line of its log. Raises ValueError for one that cannot follow."""
    state, rows = campaign.state, np.array(line["rows"], np.int64)
    if line["kind"] == "answers":
        labels = np.array(line["labels"], np.int64)
        if labels.max(initial=-1) >= len(campaign.options.classes):
            raise ValueError(f"label {labels.max()}, of {len(campaign.options.classes)} classes")
        return campaign._replace(state=take(state, rows, labels, skipped=line["skipped"])[0])
    if line["kind"] == "withdrawn":
        return campaign._replace(state=withdraw(state, rows)[0])
    if line["kind"] != "batch" or line["batch"] != state.num_batches + 1:
        raise ValueError(f"not batch {state.num_batches + 1}")
    if line["audit"] != rows[reserved(state)[rows]].tolist():
        raise ValueError("its rows for the audit are not those of the campaign")
    asked = ask(state, rows)
    return campaign._replace(state=asked, labels_before=state.labels, excluded_before=state.excluded)


def _identity(config: Mapping[str, Any]) -> str:
    """What the lines of the log belong to: all of the configuration but what may change."""
    fixed = {name: value for name, value in config.items() if name != "memory_budget"}
    return f"{config_checksum(fixed):08x}"
