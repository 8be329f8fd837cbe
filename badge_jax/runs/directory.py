"""A run's directory: its configuration, its finished rounds, and what it takes to resume after a crash.

- ``config.json``: all options, the environment, and a checksum of these.
- ``rounds.jsonl``: one object a finished round, each with a checksum of itself.
- ``per_class.jsonl``: likewise, with recall, precision and support of each class.
- ``state.npz``: the last batch and the strategy's state after it, with a checksum.
- ``.lock``: locked while a process works here.

Every file is written whole and then renamed, so a process killed at any moment leaves a directory from which
the run resumes. With line t written, state.npz holds either the batch for round t + 1, or that of round t and
the query is made again. A round's line in per_class.jsonl is written before the one in rounds.jsonl, which says
that the round is finished. What was changed since it was written is refused, see `fields`.
"""

import contextlib
import io
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.errors import InputError
from badge_jax.files import locked, write_whole
from badge_jax.records import config_checksum, line_checksum, parse_object
from badge_jax.runs.fields import (
    BEFORE,
    REMEDY,
    check_config_fields,
    check_lines,
    check_per_class,
    code_checksum,
    has_checksum,
    identity_of,
)

MAY_DIFFER = (
    "format",
    "rounds",
    "rounds_at_start",
    "horizon",
    "environment",
    "resumed",
    "missing_classes",
    "code",
)


class Queried(NamedTuple):
    """A batch, and what the strategy remembers after choosing it.

    Attributes:
        round: the round that the batch is for; 0 for the initial labels.
        indices: [k] int32, rows of the pool.
        query_seconds: how long it took; 0 for random initial labels.
        strategy: leaves of the strategy's state.
        diversity: [2] float64, log det and mean norm of its gradient embeddings; empty where not asked for.
    """

    round: int
    indices: np.ndarray
    query_seconds: float
    strategy: list[np.ndarray]
    diversity: np.ndarray


@contextlib.contextmanager
def open_directory(directory: Path) -> Iterator[None]:
    """Makes the directory if need be and locks it.

    Raises:
        InputError: if it is a file.
        DirectoryInUse: if another process has it locked.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--out {directory} is a file; give a folder")
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory, f"--out {directory}"):
        yield


def check_config(directory: Path, known: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Checks that a directory holds this configuration.

    Args:
        directory: of a run that was started.
        known: its configuration.
        config: of the run to resume.

    Returns:
        What has changed since and may change the numbers: the user's files, the version, the number of threads
        or devices.

    Raises:
        InputError: for another configuration.
    """
    if "format" not in known:
        raise InputError(
            f"--out {directory} holds a run of badge_jax 0.1, which this version can report and not extend; "
            "give another folder"
        )
    known = {**BEFORE, **known}
    for name in {**config, **known}:
        if name not in MAY_DIFFER and json.dumps(config.get(name)) != json.dumps(known.get(name)):  # NaN is NaN
            raise InputError(
                f"--out {directory} holds a run with {name} = {known.get(name)!r}, not {config.get(name)!r}; "
                "give another folder"
            )
    now = config.get("code", {})
    changed = [what for what in now if now[what]["crc32"] != code_checksum(known, what)]
    remarks = [f"{file} has changed" for file in dict.fromkeys(now[what]["file"] for what in changed)]
    for name, what in (
        ("badge_jax", "the version of badge_jax, and perhaps the numbers,"),
        ("threads", "the number of threads, and with it the rounding,"),
        ("devices", "the number of devices that share the run, and with it the rounding,"),
    ):
        before, after = ({"devices": 1, **last_environment(part)}.get(name) for part in (known, config))
        if None not in (before, after) and before != after:
            remarks.append(f"{what} has changed from {before} to {after}")
    return remarks


def last_environment(config: Mapping[str, Any]) -> dict[str, Any]:
    """The environment that a run's last rounds were made in; empty where none is recorded."""
    resumed = config.get("resumed", [])
    return resumed[-1]["environment"] if resumed else config.get("environment", {})


def note_environment(directory: Path, environment: dict[str, Any], first: int) -> None:
    """Writes into config.json the environment of the rounds from ``first`` on, if it is another than before."""
    known = read_config(directory)
    if last_environment(known) != environment:
        entry = {"round": first, "environment": environment}
        write_config(directory, {**known, "resumed": [*known.get("resumed", []), entry]})


def read_config(directory: Path) -> dict[str, Any]:
    """The run's configuration.

    Args:
        directory: of the run.

    Raises:
        InputError: if the file is damaged, or was edited.

    Example:
        >>> import pathlib, tempfile
        >>> from badge_jax import RunOptions, run
        >>> from badge_jax.runs import read_config
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = run(RunOptions("kropt", "random", 10, rounds=0, model="linear", max_epochs=1), folder)
        >>> read_config(folder)["strategy"]
        'random'
    """
    path = directory / "config.json"
    content = _bytes_of(path)
    try:
        config, is_as_written = parse_config(content)
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); {REMEDY}") from None
    check_config_fields(path, config)
    if is_as_written is False or (is_as_written is None and has_checksum(config)):
        raise InputError(f"{path} is damaged, or was edited: it does not have its checksum; {REMEDY}")
    return config


def parse_config(content: bytes) -> tuple[dict[str, Any], bool | None]:
    """A configuration, not yet believed.

    Args:
        content: of the file.

    Returns:
        What it says, and whether it says so since it was written; None where it has no checksum.

    Raises:
        ValueError: for what is no JSON object.
    """
    config = parse_object(content)
    if "check" not in config:
        return config, None
    checksum = config.pop("check")
    return config, checksum == config_checksum(config)


def write_config(directory: Path, config: dict[str, Any]) -> None:
    """Writes config.json, with a checksum where its format has one."""
    if has_checksum(config):
        config = {**config, "check": config_checksum(config)}
    write_whole(directory / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def read_rounds(directory: Path, *, to_resume: bool = False) -> list[dict[str, Any]]:
    """The finished rounds, in order; none where there is no file.

    Args:
        directory: of the run.
        to_resume: whether every field that resuming needs must be there, as it is in all files of this version.

    Raises:
        InputError: if the file is damaged: a line that cannot be read, lacks a field, has a value that cannot
            be, or does not have its checksum. Lines of 0.1 have no checksum.

    Example:
        >>> import pathlib, tempfile
        >>> from badge_jax import RunOptions, run
        >>> from badge_jax.runs import read_rounds
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = run(RunOptions("kropt", "random", 10, rounds=0, model="linear", max_epochs=1), folder)
        >>> [line["num_labeled"] for line in read_rounds(folder)]
        [100]
    """
    path = directory / "rounds.jsonl"
    return check_lines(path, _read_lines(path), _config_or_nothing(directory), to_resume=to_resume)


def write_rounds(directory: Path, rounds: list[dict[str, Any]]) -> None:
    """Writes rounds.jsonl, a checksum at the end of each line."""
    _write_lines(directory, "rounds.jsonl", rounds)


def read_per_class(directory: Path) -> list[dict[str, Any]]:
    """The finished rounds by class, in order; none where there is no file, as in runs of a former format.

    Each has the fields ``round``; ``classes``, their names; and lists in the same order: ``support``,
    ``num_predicted``, ``num_correct``, ``recall`` (None where the test set lacks the class) and ``precision``
    (None where it is never predicted). There may be one round more than in rounds.jsonl.

    Args:
        directory: of the run.

    Raises:
        InputError: if the file is damaged.

    Example:
        >>> import pathlib, tempfile
        >>> from badge_jax import RunOptions, run
        >>> from badge_jax.runs import read_per_class
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = run(RunOptions("kropt", "random", 10, rounds=0, model="linear", max_epochs=1), folder)
        >>> [(line["round"], len(line["classes"]), len(line["recall"])) for line in read_per_class(folder)]
        [(0, 18, 18)]
    """
    path = directory / "per_class.jsonl"
    return check_per_class(path, _read_lines(path), _config_or_nothing(directory))


def write_per_class(directory: Path, lines: list[dict[str, Any]]) -> None:
    """Writes per_class.jsonl, a checksum at the end of each line."""
    _write_lines(directory, "per_class.jsonl", lines)


def read_queried(directory: Path) -> Queried | None:
    """The last batch, or None where there is no file. Raises InputError when the file is damaged."""
    path = directory / "state.npz"
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(_bytes_of(path)), allow_pickle=False) as file:
            return _queried_of(dict(file), _config_or_nothing(directory))
    except _Unbelievable as error:
        problem = str(error)
    except Exception as error:  # the file is ours: whatever fails to read it means damage
        problem = type(error).__name__
    raise InputError(f"{path} is damaged ({problem}); remove it to make its query again")


def write_queried(directory: Path, queried: Queried) -> None:
    """Writes state.npz."""
    config, buffer = _config_or_nothing(directory), io.BytesIO()
    arrays: dict[str, Any] = {f"strategy_{i}": leaf for i, leaf in enumerate(queried.strategy)}
    arrays |= {"num_leaves": len(queried.strategy), "run": identity_of(config), **queried._asdict()}
    del arrays["strategy"]
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    if has_checksum(config):
        arrays["check"] = np.asarray(_checksum_of_arrays(arrays))
    np.savez(buffer, **arrays)
    write_whole(directory / "state.npz", buffer.getvalue())


def _bytes_of(path: Path) -> bytes:
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe might never answer
        raise InputError(f"{path} is not a regular file; {REMEDY}")
    return path.read_bytes()


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects in a file, one a line, not yet believed; none where there is no file."""
    if not path.exists():
        return []
    lines = []
    if not path.stat().st_size:
        raise InputError(f"{path} is damaged: it is empty; {REMEDY}")
    for number, text in enumerate(_bytes_of(path).splitlines()):
        try:
            lines.append(parse_object(text))
        except ValueError as error:
            raise InputError(f"{path} is damaged (line {number + 1}: {error}); {REMEDY}") from None
    return lines


def _write_lines(directory: Path, name: str, lines: list[dict[str, Any]]) -> None:
    identity = identity_of(_config_or_nothing(directory))
    content = "".join(json.dumps({**line, "check": line_checksum(line, identity)}) + "\n" for line in lines)
    write_whole(directory / name, content.encode())


class _Unbelievable(Exception):
    """What can be read and must not be used."""


def _queried_of(arrays: dict[str, np.ndarray], config: Mapping[str, Any]) -> Queried:
    """The batch that the arrays of state.npz hold."""
    if str(arrays["run"]) != identity_of(config):
        raise _Unbelievable("of another run")
    checksum = arrays.pop("check", None)
    if has_checksum(config) and (checksum is None or checksum != _checksum_of_arrays(arrays)):
        raise _Unbelievable("it does not have its checksum")
    queried = Queried(
        int(arrays["round"]),
        arrays["indices"],
        float(arrays["query_seconds"]),
        [arrays[f"strategy_{i}"] for i in range(int(arrays["num_leaves"]))],
        arrays["diversity"],
    )
    if queried.round < 0 or queried.indices.ndim != 1 or queried.indices.dtype != np.int32:
        raise _Unbelievable("no batch of rows")
    if not 0 <= queried.query_seconds < math.inf or queried.diversity.shape not in ((0,), (2,)):
        raise _Unbelievable("no measurements of a batch")
    return queried


def _checksum_of_arrays(arrays: Mapping[str, np.ndarray]) -> int:
    """CRC-32 of names, dtypes, shapes and values."""
    checksum = 0
    for name, array in sorted(arrays.items()):
        checksum = zlib.crc32(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes(), checksum)
    return checksum


def _config_or_nothing(directory: Path) -> dict[str, Any]:
    try:
        return read_config(directory)
    except FileNotFoundError:
        return {}
