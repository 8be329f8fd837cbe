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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.errors import DirectoryInUse, InputError
from badge_jax.files import write_whole

ADDED_SINCE = {"precision": "float32", "diagnostics": False}  # what a run did before there was the option
MAY_DIFFER = ("rounds", "horizon", "environment", "missing_classes")
# what a report reads, and what only going on with a run needs
_CONFIG_FIELDS = {"dataset": str, "model": str, "strategy": str, "batch_size": int, "seed": int}
_ROUND_FIELDS = {"round": int, "num_labeled": int, "test_accuracy": float}
_MORE_CONFIG_FIELDS = {"initial": int, "rounds": int, "learning_rate": float}
_MORE_ROUND_FIELDS = {"fit_seconds": float, "query_seconds": float, "indices": list}
_REMEDY = "remove the folder or give another"


class Queried(NamedTuple):
    """A batch and what the strategy remembers after choosing it.

    round:         the round that the batch is for
    indices:       [k] int32
    query_seconds: how long it took
    strategy:      leaves of the strategy's state
    diversity:     [2] float64, log det and mean norm of its gradient embeddings; empty where not asked for
    """

    round: int
    indices: np.ndarray
    query_seconds: float
    strategy: list[np.ndarray]
    diversity: np.ndarray


@contextlib.contextmanager
def open_run(directory: Path, config: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Makes or reopens the directory for this configuration, locks it, and yields its finished rounds.

    Raises InputError for a directory with another configuration or with damaged files, and DirectoryInUse
    when another process holds it.
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
        yield _reopen(directory, config)


def read_config(directory: Path) -> dict[str, Any]:
    """The run's configuration. Raises InputError when it is damaged."""
    config = _parse_json(directory / "config.json", (directory / "config.json").read_bytes())
    _check_fields(directory / "config.json", "", config, _CONFIG_FIELDS)
    return config


def read_rounds(directory: Path) -> list[dict[str, Any]]:
    """The finished rounds, in order. Raises InputError when the file is damaged."""
    path = directory / "rounds.jsonl"
    if not path.exists():
        return []
    rounds = [_parse_json(path, line) for line in path.read_bytes().splitlines()]
    for number, line in enumerate(rounds):
        _check_fields(path, f"line {number + 1}: ", line, _ROUND_FIELDS)
        if line["round"] != number:
            raise InputError(f"{path} is damaged: line {number + 1} is not round {number}; {_REMEDY}")
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
            return Queried(
                int(arrays["round"]),
                arrays["indices"],
                float(arrays["query_seconds"]),
                leaves,
                arrays["diversity"]
                if "diversity" in arrays
                else np.empty(0),  # as before there were diagnostics
            )
    except Exception as error:  # the file is ours: whatever fails to read it means damage
        problem = type(error).__name__
        raise InputError(f"{path} is damaged ({problem}); remove it to make its query again") from None


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
    _check_fields(path, "", known, _MORE_CONFIG_FIELDS)
    known = {**ADDED_SINCE, **known}
    for name in {**config, **known}:
        if name not in MAY_DIFFER and config.get(name) != known.get(name):
            raise InputError(
                f"--out {directory} holds a run with {name} = {known.get(name)!r}, not {config.get(name)!r}; "
                "give another folder"
            )
    rounds = read_rounds(directory)
    for number, line in enumerate(rounds, start=1):
        _check_fields(directory / "rounds.jsonl", f"line {number}: ", line, _MORE_ROUND_FIELDS)
    if config["rounds"] > known["rounds"]:
        write_whole(path, _json_bytes({**known, "rounds": config["rounds"]}))
    return rounds


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


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
