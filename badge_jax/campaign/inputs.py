"""The files that a campaign reads, and its configuration, which says what they were when it began."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax import names
from badge_jax._version import __version__
from badge_jax.array_files import is_npy, open_npy
from badge_jax.campaign.answers import LabelNames
from badge_jax.campaign.head import TILE, TrainedHead, head_outputs
from badge_jax.campaign.options import CampaignOptions, check_options
from badge_jax.campaign.pools import FrozenPool, ready_to_read
from badge_jax.csv_files import lines_of, read_text
from badge_jax.errors import InputError
from badge_jax.files import check_file
from badge_jax.names import checksum
from badge_jax.selection import open_matrix, read_ids, split_name
from badge_jax.selection.matrices import Matrix
from badge_jax.strategies import STRATEGIES

FORMAT = 1  # of config.json and log.jsonl
OPTIONS = tuple(option.name for option in fields(CampaignOptions))


@dataclass(frozen=True)
class CampaignFiles:
    """The files that a campaign reads. One of features and representation must be given; it stands in for the
    other.

    Attributes:
        features: [n, d], what the head is trained on.
        representation: [n, d'], what cold starts and strategies with embedding=representation read.
        ids: one for each row.
        test_features: [t, d] of held-out rows.
        test_labels: [t] labels of these, names or numbers of classes.
    """

    features: Path | None = None
    representation: Path | None = None
    ids: Path | None = None
    test_features: Path | None = None
    test_labels: Path | None = None


def new_config(directory: Path, options: CampaignOptions, files: CampaignFiles) -> dict[str, Any]:
    """What config.json of a new campaign holds, but for its checksum.

    Args:
        directory: of the campaign.
        options: of it.
        files: that it reads.

    Raises:
        InputError: where something does not fit.
    """
    if files.features is None and files.representation is None:
        raise InputError("neither --features nor --representation is given; wanted one of them, or both")
    if (files.test_features is None) != (files.test_labels is None):
        raise InputError("--test-features and --test-labels go together; wanted both or none")
    given = {name: path for name, path in vars(files).items() if path is not None}
    matrices = {
        name: open_matrix(path, _flag(name))
        for name, path in given.items()
        if name in ("features", "representation", "test_features")
    }
    for name in matrices:
        if split_name(given[name])[0].is_dir():
            raise InputError(
                f"{_flag(name)}: {given[name]} is a folder; wanted a file, of which a checksum is kept"
            )
    pool = _pool_of(matrices)
    checked = check_options(options, pool)
    n, d = pool.features.shape
    if "test_features" in matrices:
        size, width = matrices["test_features"].shape
        if width != d:
            raise InputError(f"--test-features has {width} columns; wanted {d}, as {pool.features.name} has")
        _test_labels(given["test_labels"], size, options.classes)
    if files.ids is not None:
        _check_distinct(read_ids(files.ids, "--ids", n))
    for matrix in matrices.values():
        _check_finite(matrix)
    return {
        "format": FORMAT,
        "kind": "campaign",
        "rows": n,
        **{name: getattr(checked, name) for name in OPTIONS},
        "classes": list(checked.classes),
        "files": {
            name: {"path": _stored_path(path, directory), "crc32": checksum(split_name(path)[0])}
            for name, path in given.items()
        },
        "code": code_of(checked),
        "badge_jax": __version__,
    }


def code_of(options: CampaignOptions) -> dict[str, dict[str, Any]]:
    """The user's files that the strategies come from, with their checksums."""
    named = {"strategy": options.strategy, "cold_start": options.cold_start}
    sources = {
        what: names.find(what.replace("_", " "), text, STRATEGIES).source for what, text in named.items()
    }
    return {what: source._asdict() for what, source in sources.items() if source is not None}


def open_pool(directory: Path, config: Mapping[str, Any]) -> FrozenPool:
    """The features of a campaign, in memory unless it has a memory budget.

    Args:
        directory: of the campaign.
        config: content of its config.json.

    Raises:
        InputError: for files that are missing, or have changed since the campaign began.
    """
    is_streamed = config["memory_budget"] is not None
    given = [name for name in ("features", "representation") if name in config["files"]]
    opened = {name: open_matrix(_checked_path(directory, config, name), _flag(name)) for name in given}
    return _pool_of({name: ready_to_read(matrix, is_streamed=is_streamed) for name, matrix in opened.items()})


def check_rows(directory: Path, config: Mapping[str, Any]) -> None:
    """Checks that rows are still those that they were: by their ids, or else by the features.

    Raises:
        InputError: for files that are missing, or have changed since the campaign began.
    """
    if "ids" in config["files"]:  # they are checked when they are read
        return
    for name in ("features", "representation"):
        if name in config["files"]:
            _checked_path(directory, config, name)


def held_out(directory: Path, config: Mapping[str, Any], head: TrainedHead | None) -> tuple[int, int] | None:
    """Tries a head on the held-out rows.

    Args:
        directory: of the campaign.
        config: content of its config.json.
        head: what was trained, if anything was.

    Returns:
        Rows that it has right, and how many there are; None without a head, or without held-out rows.
    """
    if head is None or "test_features" not in config["files"]:
        return None
    opened = open_matrix(_checked_path(directory, config, "test_features"), _flag("test_features"))
    features = ready_to_read(opened, is_streamed=True)
    path = _checked_path(directory, config, "test_labels")
    labels = _test_labels(path, features.shape[0], tuple(config["classes"]))
    num_correct = 0
    for start in range(0, len(labels), TILE):
        part = labels[start : start + TILE]
        logits, _ = head_outputs(head, features.read(start, start + len(part)))
        num_correct += int((logits.argmax(axis=1) == part).sum())
    return num_correct, len(labels)


class OwnOutputs(NamedTuple):
    """A file with what a model of the user's own says of all rows.

    Attributes:
        kind: "logits" or "probabilities".
        path: of the file.
        matrix: `Matrix` [n, c], or [n, 1] of the second of two classes.
        crc32: checksum of the file.
    """

    kind: str
    path: Path
    matrix: Matrix
    crc32: int


def open_own_outputs(logits: Path | None, probabilities: Path | None) -> OwnOutputs | None:
    """Opens the file with the outputs of a model of the user's own; None if none is given.

    Raises:
        InputError: if both are given, or the file cannot be read.
    """
    if logits is not None and probabilities is not None:
        raise InputError("both --logits and --probabilities are given; wanted one of the two")
    path = logits or probabilities
    if path is None:
        return None
    kind = "probabilities" if logits is None else "logits"
    matrix = open_matrix(path, _flag(kind), is_column=True)
    return OwnOutputs(kind, path, matrix, checksum(split_name(path)[0]))


def open_ids(directory: Path, config: Mapping[str, Any]) -> list[str] | None:
    """The ids of all rows; None where they have none."""
    if "ids" not in config["files"]:
        return None
    return read_ids(_checked_path(directory, config, "ids"), "--ids", config["rows"])


def input_paths(directory: Path, config: Mapping[str, Any]) -> dict[str, Path]:
    """Name → path of the files that a campaign reads."""
    around = directory.resolve().parent
    return {name: around / file["path"] for name, file in config["files"].items()}


def _pool_of(matrices: Mapping[str, Matrix]) -> FrozenPool:
    """Features and representation; each stands in for the other."""
    features = matrices.get("features", matrices.get("representation"))
    assert features is not None
    fixed = matrices.get("representation", features)
    if fixed.shape[0] != features.shape[0]:
        raise InputError(
            f"{features.name} has {features.shape[0]} rows and {fixed.name} has {fixed.shape[0]}; wanted the "
            "same number"
        )
    return FrozenPool(features, fixed)


def _stored_path(path: Path, directory: Path) -> str:
    """Relative to the folder around the campaign's where it lies in that, so that both can move together."""
    path, around = Path(os.path.realpath(path)), directory.resolve().parent
    return os.fspath(path.relative_to(around) if path.is_relative_to(around) else path)


def _checked_path(directory: Path, config: Mapping[str, Any], name: str) -> Path:
    """Path of a file. Raises InputError if it is missing, or has changed since the campaign began."""
    path = input_paths(directory, config)[name]
    file, _ = split_name(path)
    if not file.is_file():
        raise InputError(f"{_flag(name)}: {file} is missing; wanted the file that the campaign began with")
    if checksum(file) != config["files"][name]["crc32"]:
        raise InputError(
            f"{_flag(name)}: {path} has changed since the campaign began; wanted the file that it began with"
        )
    return path


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_finite(matrix: Matrix) -> None:
    """Raises InputError for values that are not finite as float32."""
    matrix = ready_to_read(matrix, is_streamed=True)
    for start in range(0, matrix.shape[0], TILE):
        rows = matrix.read(start, min(start + TILE, matrix.shape[0]))
        is_finite = np.isfinite(rows).all(axis=1)
        if not is_finite.all():
            first = start + int(is_finite.argmin())
            raise InputError(
                f"{matrix.name}: row {first} holds NaN or infinity (as float32); wanted finite values"
            )


def _check_distinct(ids: list[str]) -> None:
    """Raises InputError for an id that stands for two rows, but for spaces around it."""
    seen: dict[str, int] = {}
    for row, id in enumerate(ids):
        first = seen.setdefault(id.strip(), row)
        if first != row:
            raise InputError(
                f"--ids: {id[:40]!r} stands for the rows {first} and {row}; wanted one id for each row"
            )


def _test_labels(path: Path, num_rows: int, classes: tuple[str, ...]) -> np.ndarray:
    """Labels [t] int32 of the held-out rows. Raises InputError for one that is missing or unknown."""
    words, are_numbers = _words(path, "--test-labels")
    known, labels = LabelNames(classes, by_number=are_numbers), np.empty(num_rows, np.int32)
    if len(words) != num_rows:
        raise InputError(
            f"--test-labels: {path} holds {len(words)} labels for {num_rows} rows; wanted one for each"
        )
    for row, word in enumerate(words):
        try:
            labels[row] = known.find(word)
        except InputError as error:
            raise InputError(f"--test-labels: {path}, row {row}: {error}") from None
        if labels[row] < 0:
            raise InputError(f"--test-labels: {path} has no label for row {row}; wanted one for each")
    return labels


def _words(path: Path, name: str) -> tuple[list[str], bool]:
    """The entries of a ``.npy`` file with [t] text or integers, or the lines of a text file; and whether they
    are the numbers of an array, which count from 0."""
    check_file(path, name, "a .npy file or one label a line")
    if is_npy(path) or path.suffix == ".npy":
        stored = open_npy(path, name)
        if len(stored.shape) != 1 or stored.dtype.kind not in "iuU":
            raise InputError(
                f"{name}: {path} holds {stored.dtype} of shape {stored.shape}; wanted text or integers [t]"
            )
        return [str(entry) for entry in stored.read().tolist()], stored.dtype.kind != "U"
    text = read_text(path, f"{name}: {path}", "a .npy file, or text with one label a line")
    return lines_of(text), False
