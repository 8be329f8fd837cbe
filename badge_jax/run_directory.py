"""A run's directory: its configuration, its finished rounds, and what it takes to go on after a crash.

``config.json``   all options, and the environment
``rounds.jsonl``  one object a finished round
``state.npz``     the last batch queried and the strategy's state after it
``.lock``         held while a process works here

Every file is written whole and then renamed, so a process killed at any moment leaves a directory from which
the run goes on: with line t written, either state.npz holds the batch for round t + 1, or it holds that of
round t and the query is made again.
"""

import contextlib
import fcntl
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.files import write_whole

_MAY_DIFFER = ("rounds", "environment", "missing_classes")


class Queried(NamedTuple):
    """A batch and what the strategy remembers after choosing it.

    round:         the round that the batch is for
    indices:       [k] int32
    query_seconds: how long it took
    strategy:      leaves of the strategy's state
    """

    round: int
    indices: np.ndarray
    query_seconds: float
    strategy: list[np.ndarray]


@contextlib.contextmanager
def open_run(directory: Path, config: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Makes or reopens the directory for this configuration, locks it, and yields its finished rounds.

    Raises InputError for a directory with another configuration or with files that are not a run's, and
    EnvironmentFailure when another process holds it.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--out {directory} is a file; give a folder")
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentFailure(
                f"--out {directory} is in use by another process; wait for it or give another folder"
            ) from None
        rounds = _reopen(directory, config)
        yield rounds


def read_config(directory: Path) -> dict[str, Any]:
    """The run's configuration. Raises InputError when it is damaged."""
    config = _parse_json(directory / "config.json", (directory / "config.json").read_text("utf-8"))
    missing = [name for name in ("dataset", "model", "strategy", "batch_size", "seed") if name not in config]
    if missing:
        raise InputError(f"{directory / 'config.json'} lacks {', '.join(missing)}; it is not a run's")
    return config


def read_rounds(directory: Path) -> list[dict[str, Any]]:
    """The finished rounds, in order. Raises InputError when the file is damaged."""
    path = directory / "rounds.jsonl"
    if not path.exists():
        return []
    rounds = [_parse_json(path, line) for line in path.read_text("utf-8").splitlines()]
    needed = {"round", "num_labeled", "test_accuracy", "indices"}
    for number, line in enumerate(rounds):
        if not needed <= line.keys() or line["round"] != number:
            raise InputError(f"{path} is damaged: line {number + 1} is not round {number}; remove the folder")
    return rounds


def write_rounds(directory: Path, rounds: list[dict[str, Any]]) -> None:
    content = "".join(json.dumps(line) + "\n" for line in rounds)
    write_whole(directory / "rounds.jsonl", content.encode())


def read_queried(directory: Path) -> Queried | None:
    """The last batch queried, or None where there is none. Raises InputError when the file is damaged."""
    path = directory / "state.npz"
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            leaves = [arrays[f"strategy_{i}"] for i in range(int(arrays["num_leaves"]))]
            return Queried(int(arrays["round"]), arrays["indices"], float(arrays["query_seconds"]), leaves)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}); remove it to make its query again") from None


def write_queried(directory: Path, queried: Queried) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"strategy_{i}": leaf for i, leaf in enumerate(queried.strategy)}
    arrays |= {"num_leaves": len(queried.strategy), **queried._asdict()}
    del arrays["strategy"]
    np.savez(buffer, **arrays)
    write_whole(directory / "state.npz", buffer.getvalue())


def _reopen(directory: Path, config: dict[str, Any]) -> list[dict[str, Any]]:
    path = directory / "config.json"
    if not path.exists():
        if (directory / "rounds.jsonl").exists():
            raise InputError(f"--out {directory} holds rounds.jsonl but no config.json; give another folder")
        write_whole(path, _json_bytes(config))
        return []
    known = read_config(directory)
    for name in {**config, **known}:
        if name not in _MAY_DIFFER and config.get(name) != known.get(name):
            raise InputError(
                f"--out {directory} holds a run with {name} = {known.get(name)!r}, not {config.get(name)!r}; "
                "give another folder"
            )
    rounds = read_rounds(directory)
    if config["rounds"] > known["rounds"]:
        write_whole(path, _json_bytes({**known, "rounds": config["rounds"]}))
    return rounds


def _parse_json(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); remove the folder or give another") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged (not a JSON object); remove the folder or give another")
    return value


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
