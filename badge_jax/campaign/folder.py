"""A campaign in a folder, from which it goes on after a crash at any moment.

- ``config.json``: all options, the files that the campaign reads with their checksums, and a checksum of these.
- ``log.jsonl``: batches and answers in the order in which they came, see `log`. The state is made from it.
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
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.array_files import open_npy
from badge_jax.campaign.answers import read_answers
from badge_jax.campaign.inputs import (
    FORMAT,
    OPTIONS,
    CampaignFiles,
    check_rows,
    code_of,
    held_out,
    new_config,
    open_ids,
    open_pool,
)
from badge_jax.campaign.log import Log, append_line, read_log
from badge_jax.campaign.options import CampaignOptions
from badge_jax.campaign.pools import FrozenPool
from badge_jax.campaign.propose import guesses, propose
from badge_jax.campaign.state import CampaignState, Taken, ask, begin, reserved, take, training_rows
from badge_jax.errors import InputError
from badge_jax.files import locked, write_whole
from badge_jax.names import checksum
from badge_jax.records import config_checksum, parse_object
from badge_jax.selection import open_matrix, split_name

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


class Batch(NamedTuple):
    """A batch to label.

    Attributes:
        number: from 1.
        rows: [k] int64, in its order.
        is_audit: [k] bool.
        is_open: [k] bool, rows without an answer.
        predicted: [k] int32, the classes that the model behind the batch gives its rows; None without a model.
        scores: [k] float64, the model's probabilities of these classes; None without a model.
        remarks: what is valid and looks wrong.
        pool: what it was chosen from; None for a batch that was open already, for which no pool was read.
    """

    number: int
    rows: np.ndarray
    is_audit: np.ndarray
    is_open: np.ndarray
    predicted: np.ndarray | None
    scores: np.ndarray | None
    remarks: list[str]
    pool: FrozenPool | None = None


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


def next_batch(campaign: Campaign, k: int, logits: Path | None = None) -> tuple[Campaign, Batch]:
    """The open batch, or the next one, which is then in the log.

    Args:
        campaign: an open one.
        k: rows of a batch.
        logits: file with the logits [n, c] of a model of your own, in place of the head's.

    Returns:
        The campaign, and the batch.

    Raises:
        InputError: if a batch of another size, or from other logits, is open; and as `propose` does.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign
        >>> from badge_jax.campaign import next_batch, open_campaign
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> options = CampaignOptions(("cat", "dog"), cold_start="random")
        >>> start_campaign(folder / "pets", options, CampaignFiles(folder / "features.npy"))
        >>> with open_campaign(folder / "pets") as campaign:
        ...     campaign, batch = next_batch(campaign, 10)
        >>> batch.number, len(batch.rows)
        (1, 10)
    """
    if k < 1:
        raise InputError(f"--k is {k}; wanted 1 or more")
    matrix = None if logits is None else open_matrix(logits, "--logits")
    crc32 = None if logits is None else checksum(split_name(logits)[0])
    state, options = campaign.state, campaign.options
    if state.is_open.any():
        check_rows(campaign.directory, campaign.config)
        _check_same(campaign, k, crc32)
        return campaign, _last_batch(campaign, [])
    remarks = [
        f"{now['file']} has changed since the campaign began"
        for what, now in code_of(options).items()
        if now != campaign.config["code"].get(what)
    ]
    pool = open_pool(campaign.directory, campaign.config)
    with scratch_folder(campaign) as scratch:
        proposal = propose(options, state, pool, k, logits=matrix, scratch=scratch)
        said = None if proposal.model is None else guesses(proposal.model, proposal.rows)
    number, model = state.num_batches + 1, proposal.model
    line = {
        "kind": "batch",
        "batch": number,
        "rows": proposal.rows.tolist(),
        "audit": proposal.rows[reserved(state)[proposal.rows]].tolist(),
        "num_training": None if model is None else model.num_training,
        "labels": None if model is None or model.num_training is None else _checksum_of_labels(state),
        "predicted": None if said is None else said[0].tolist(),
        "scores": None if said is None else said[1].tolist(),
        "logits": crc32,
        "test": None if model is None else held_out(campaign.directory, campaign.config, model.head),
        "predictions": None
        if model is None
        else _write_predictions(campaign, number, model.outputs.predictions),
    }
    campaign = _append(campaign, line)
    return campaign, _last_batch(campaign, [*remarks, *proposal.remarks])._replace(pool=pool)


def tell_answers(
    campaign: Campaign, paths: Sequence[Path], skipped: str | None = None
) -> tuple[Campaign, Taken]:
    """Takes the answers in files into the log, all of them or none.

    Args:
        campaign: an open one.
        paths: of the files, see `read_answers`.
        skipped: what becomes of rows with an empty label, "exclude" or "offer", see `take`. None: an empty
            label is no answer, what a labeling tool calls skipped is excluded, and files without any label are
            refused.

    Returns:
        The campaign, and what the answers did.

    Raises:
        InputError: as `read_answers`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign
        >>> from badge_jax.campaign import open_campaign, tell_answers
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> files = CampaignFiles(folder / "features.npy")
        >>> start_campaign(folder / "pets", CampaignOptions(("cat", "dog")), files)
        >>> _ = (folder / "answers.csv").write_text("index,label\\n3,cat\\n40,dog\\n")
        >>> with open_campaign(folder / "pets") as campaign:
        ...     campaign, taken = tell_answers(campaign, [folder / "answers.csv"])
        >>> taken.num_new
        2
    """
    check_rows(campaign.directory, campaign.config)
    classes, n = campaign.options.classes, len(campaign.state.labels)
    rows, labels, is_blank = read_answers(paths, n=n, classes=classes, ids=campaign.ids)
    if skipped is None and not (labels >= 0).any():
        raise InputError(
            f"{', '.join(map(str, paths))}: no label in {len(rows)} rows; to skip them all, say "
            "--skipped exclude or --skipped offer"
        )
    policy, num_blank = skipped or "exclude", 0
    if skipped is None:
        num_blank = int((is_blank & (campaign.state.labels[rows] < 0)).sum())
        rows, labels = rows[~is_blank], labels[~is_blank]
    _, taken = take(campaign.state, rows, labels, skipped=policy)
    taken = taken._replace(num_blank=num_blank)
    if not len(taken.rows):
        return campaign, taken
    told = {"rows": taken.rows.tolist(), "labels": taken.labels.tolist(), "skipped": policy}
    return _append(campaign, {"kind": "answers", **told}), taken


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


def _checksum_of_labels(state: CampaignState) -> int:
    """CRC-32 of what a head is trained on."""
    rows = training_rows(state)
    return zlib.crc32(state.labels[rows].astype("<i4").tobytes(), zlib.crc32(rows.astype("<i8").tobytes()))


def _write_predictions(campaign: Campaign, number: int, predictions: np.ndarray) -> int:
    """Writes the classes [n] that a model gives all rows. Returns the file's checksum."""
    path, buffer = _predictions_file(campaign, number), io.BytesIO()
    np.save(buffer, predictions.astype(np.min_scalar_type(len(campaign.options.classes) - 1)))
    write_whole(path, buffer.getvalue())
    return checksum(path)


def _predictions_file(campaign: Campaign, number: int) -> Path:
    return campaign.directory / f"predictions-{number}.npy"


def _last_batch(campaign: Campaign, remarks: list[str]) -> Batch:
    state, line = campaign.state, campaign.batches[-1]
    predicted, scores = line.get("predicted"), line.get("scores")  # a log of an earlier version has none
    return Batch(
        state.num_batches,
        state.batch,
        reserved(state)[state.batch],
        state.is_open,
        None if predicted is None else np.array(predicted, np.int32),
        None if scores is None else np.array(scores, np.float64),
        remarks,
    )


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


def _append(campaign: Campaign, line: dict[str, Any]) -> Campaign:
    """The campaign with one more line in its log."""
    after = _after(campaign, line)
    log = append_line(campaign.directory / "log.jsonl", campaign.log, line, _identity(campaign.config))
    return after._replace(log=log)


def _after(campaign: Campaign, line: Mapping[str, Any]) -> Campaign:
    """The campaign after a line of its log. Raises ValueError for one that cannot follow."""
    state, rows = campaign.state, np.array(line["rows"], np.int64)
    if line["kind"] == "answers":
        labels = np.array(line["labels"], np.int64)
        if labels.max(initial=-1) >= len(campaign.options.classes):
            raise ValueError(f"label {labels.max()}, of {len(campaign.options.classes)} classes")
        return campaign._replace(state=take(state, rows, labels, skipped=line["skipped"])[0])
    if line["kind"] != "batch" or line["batch"] != state.num_batches + 1:
        raise ValueError(f"not batch {state.num_batches + 1}")
    if line["audit"] != rows[reserved(state)[rows]].tolist():
        raise ValueError("its rows for the audit are not those of the campaign")
    asked = ask(state, rows)
    return campaign._replace(state=asked, labels_before=state.labels, excluded_before=state.excluded)


def _check_same(campaign: Campaign, k: int, crc32: int | None) -> None:
    """Raises InputError unless the open batch is of this size and, where logits are given, from them."""
    state = campaign.state
    num_open, size = int(state.is_open.sum()), len(state.batch)
    what = f"batch {state.num_batches} of {size} rows is open, {num_open} of them without an answer"
    if k != size:
        raise InputError(f"{what}; tell its answers first, or give --k {size} to have it again")
    if crc32 is not None and crc32 != campaign.batches[-1]["logits"]:
        raise InputError(f"{what}, and was not chosen by these logits; tell its answers first")


def _identity(config: Mapping[str, Any]) -> str:
    """What the lines of the log belong to: all of the configuration but what may change."""
    fixed = {name: value for name, value in config.items() if name != "memory_budget"}
    return f"{config_checksum(fixed):08x}"
