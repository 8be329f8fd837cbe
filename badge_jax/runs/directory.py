"""A run's directory: its configuration, its finished rounds, and what it takes to resume after a crash.

- ``config.json``: all options, and the environment.
- ``rounds.jsonl``: one object a finished round, each with a checksum of itself.
- ``state.npz``: the last batch and the strategy's state after it.
- ``.lock``: locked while a process works here.

Every file is written whole and then renamed, so a process killed at any moment leaves a directory from which
the run resumes. With line t written, state.npz holds either the batch for round t + 1, or that of round t and
the query is made again.
"""

import contextlib
import fcntl
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.errors import DirectoryInUse, InputError
from badge_jax.files import write_whole

MAY_DIFFER = ("rounds", "rounds_at_start", "horizon", "environment", "missing_classes", "code")
# what a report reads, and what only resuming a run needs
_CONFIG_FIELDS = {"dataset": str, "model": str, "strategy": str, "batch_size": int, "seed": int}
_ROUND_FIELDS = {"round": int, "num_labeled": int, "test_accuracy": float}
_MORE_ROUND_FIELDS = {"fit_seconds": float, "query_seconds": float, "indices": list}
_REMEDY = "remove the folder or give another"


class Queried(NamedTuple):
    """A batch, and what the strategy remembers after choosing it.

    Attributes:
        round: the round that the batch is for; 0 for the initial labels.
        indices: [k] int32, rows of the pool.
        query_seconds: how long it took; 0 for the initial labels.
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
    with (directory / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryInUse(
                f"--out {directory} is in use by another process; wait for it or give another folder"
            ) from None
        for leftover in directory.glob(".*.tmp"):  # of a process killed while it wrote
            leftover.unlink()
        yield


def check_config(directory: Path, known: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Checks that a directory holds this configuration.

    Args:
        directory: of a run that was started.
        known: its configuration.
        config: of the run to resume.

    Returns:
        What has changed since and may change the numbers: the user's files, the number of threads.

    Raises:
        InputError: for another configuration, and for a damaged file.
    """
    if "format" not in known:
        raise InputError(
            f"--out {directory} holds a run of badge_jax 0.1, which this version can report and not extend; "
            "give another folder"
        )
    _check_fields(directory / "config.json", "", known, {"rounds": int})
    for name in {**config, **known}:
        if name not in MAY_DIFFER and json.dumps(config.get(name)) != json.dumps(known.get(name)):  # NaN is NaN
            raise InputError(
                f"--out {directory} holds a run with {name} = {known.get(name)!r}, not {config.get(name)!r}; "
                "give another folder"
            )
    before, now = known.get("code") or {}, config.get("code", {})
    changed = [what for what in now if now[what]["crc32"] != before.get(what, {}).get("crc32")]
    remarks = [f"{file} has changed" for file in dict.fromkeys(now[what]["file"] for what in changed)]
    threads = [part.get("environment", {}).get("threads") for part in (known, config)]
    if None not in threads and threads[0] != threads[1]:
        remarks.append(
            f"the number of threads, and with it the rounding, has changed from {threads[0]} to {threads[1]}"
        )
    return remarks


def read_config(directory: Path) -> dict[str, Any]:
    """The run's configuration.

    Args:
        directory: of the run.

    Raises:
        InputError: if the file is damaged.

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
    config = _parse_json(path, path.read_bytes())
    _check_fields(path, "", config, _CONFIG_FIELDS)
    return config


def write_config(directory: Path, config: dict[str, Any]) -> None:
    """Writes config.json."""
    write_whole(directory / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def read_rounds(directory: Path, *, to_resume: bool = False) -> list[dict[str, Any]]:
    """The finished rounds, in order; none where there is no file.

    Args:
        directory: of the run.
        to_resume: whether every field that resuming needs must be there, as it is in all files of this version.

    Raises:
        InputError: if the file is damaged: a line that cannot be read, lacks a field, or does not have its
            checksum. Lines of 0.1 have no checksum, and are believed.

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
    if not path.exists():
        return []
    rounds, identity = [], _identity(directory)
    for number, text in enumerate(path.read_bytes().splitlines()):
        line, where = _parse_json(path, text), f"line {number + 1}: "
        _check_fields(path, where, line, _ROUND_FIELDS)
        if line["round"] != number:
            raise InputError(f"{path} is damaged: line {number + 1} is not round {number}; {_REMEDY}")
        if to_resume:
            _check_fields(path, where, line, _MORE_ROUND_FIELDS)
        if (to_resume or "check" in line) and line.pop("check", None) != _checksum(line, identity):
            raise InputError(f"{path} is damaged: {where}it does not have its checksum; {_REMEDY}")
        rounds.append(line)
    return rounds


def write_rounds(directory: Path, rounds: list[dict[str, Any]]) -> None:
    """Writes rounds.jsonl, a checksum at the end of each line."""
    identity = _identity(directory)
    content = "".join(json.dumps({**line, "check": _checksum(line, identity)}) + "\n" for line in rounds)
    write_whole(directory / "rounds.jsonl", content.encode())


def read_queried(directory: Path) -> Queried | None:
    """The last batch, or None where there is no file. Raises InputError when the file is damaged."""
    path = directory / "state.npz"
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            if str(arrays["run"]) != _identity(directory):
                raise ValueError("of another run")
            return Queried(
                int(arrays["round"]),
                arrays["indices"],
                float(arrays["query_seconds"]),
                [arrays[f"strategy_{i}"] for i in range(int(arrays["num_leaves"]))],
                arrays["diversity"],
            )
    except Exception as error:  # the file is ours: whatever fails to read it means damage
        problem = str(error) if str(error) == "of another run" else type(error).__name__
        raise InputError(f"{path} is damaged ({problem}); remove it to make its query again") from None


def write_queried(directory: Path, queried: Queried) -> None:
    """Writes state.npz."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"strategy_{i}": leaf for i, leaf in enumerate(queried.strategy)}
    arrays |= {"num_leaves": len(queried.strategy), "run": _identity(directory), **queried._asdict()}
    del arrays["strategy"]
    np.savez(buffer, **arrays)
    write_whole(directory / "state.npz", buffer.getvalue())


def _identity(directory: Path) -> str:
    """What a run's files belong to, so that those of another run, copied here, are not believed."""
    try:
        config = read_config(directory)
    except FileNotFoundError:
        return ""
    return json.dumps([config[name] for name in _CONFIG_FIELDS])


def _checksum(line: dict[str, Any], identity: str) -> int:
    """CRC-32 of a line without its checksum, and of the run that it belongs to."""
    return zlib.crc32((json.dumps(line) + identity).encode())


def _parse_json(path: Path, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); {_REMEDY}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged (not a JSON object); {_REMEDY}")
    return value


def _check_fields(path: Path, where: str, value: dict[str, Any], fields: dict[str, type]) -> None:
    for name, kind in fields.items():
        if name not in value:
            raise InputError(f"{path} is not a run's, or damaged: {where}it lacks {name}; {_REMEDY}")
        if not isinstance(value[name], (int, float) if kind is float else kind):
            raise InputError(f"{path} is damaged: {where}{name} is {value[name]!r}; {_REMEDY}")
