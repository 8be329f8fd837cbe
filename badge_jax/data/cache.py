"""Data sets kept on disk once made, and memory-mapped from then on.

A folder a data set: one ``.npy`` a field, and ``index.json``, written last, with the other fields and the
checksums.
"""

import io
import json
import logging
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from badge_jax.data.table import Arrays, Table
from badge_jax.files import cache_folder, write_whole

_FORMAT = 3  # part of the folder's name: a change of format leaves old folders alone
_KINDS: dict[str, type] = {"table": Table, "arrays": Arrays}
_log = logging.getLogger("badge_jax")


def cache_path(name: str) -> Path:
    """The folder that ``name`` is kept in."""
    return cache_folder() / f"{name}-v{_FORMAT}"


def is_cached(name: str) -> bool:
    """Whether the data set is on this machine."""
    return (cache_path(name) / "index.json").is_file()


def cached(name: str, make: Callable[[], Table | Arrays]) -> Table | Arrays:
    """What is kept under ``name``, its arrays memory-mapped, or else ``make()``, which is then kept.

    What is damaged is made again, with one logged line saying so. A cache folder that cannot be written costs
    one logged line and nothing else.
    """
    folder = cache_path(name)
    if is_cached(name):
        try:
            return _read(folder)
        except Exception as error:  # the files are ours: whatever fails to read them means damage
            problem = str(error) if isinstance(error, _DamageError) else f"not readable, {type(error).__name__}"
            _log.warning("cache folder %s is damaged (%s): making it again", folder, problem)
    made = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, made)
    except OSError as error:
        _log.warning("cannot keep %s in the cache (%s): it will be made again next time", name, error)
    return made


class _DamageError(Exception):
    pass


def _write(folder: Path, made: Table | Arrays) -> None:
    checksums, fields = {}, {}
    for field, value in made._asdict().items():
        if isinstance(value, np.ndarray):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(value), allow_pickle=False)
            write_whole(folder / f"{field}.npy", buffer.getvalue())
            checksums[field] = zlib.crc32(buffer.getbuffer())
        else:
            fields[field] = value
    kind = "table" if isinstance(made, Table) else "arrays"
    index = {"kind": kind, "fields": fields, "checksums": checksums}
    write_whole(folder / "index.json", (json.dumps(index) + "\n").encode())


def _read(folder: Path) -> Table | Arrays:
    index = json.loads((folder / "index.json").read_text())
    fields = {field: _tuples(value) for field, value in index["fields"].items()}
    for field, checksum in index["checksums"].items():
        path = folder / f"{field}.npy"
        with path.open("rb") as file:
            found = 0
            while block := file.read(1 << 22):
                found = zlib.crc32(block, found)
        if found != checksum:
            raise _DamageError(f"{path.name} does not have its checksum")
        fields[field] = np.load(path, mmap_mode="r", allow_pickle=False)
    return _KINDS[index["kind"]](**fields)


def _tuples(value: list | str | None) -> tuple | str | None:
    """Lists, as JSON gives them, as the tuples they were."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
