"""A cache of data sets on disk. Arrays in the cache are memory-mapped.

Each data set has a folder with one ``.npy`` file for each array and an ``index.json``, written last, with the
other fields and the checksums.
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

_FORMAT = 3  # part of the folder's name, so that a new format ignores old folders
_KINDS: dict[str, type] = {"table": Table, "arrays": Arrays}
_log = logging.getLogger("badge_jax")


def cache_path(name: str) -> Path:
    """The cache folder of the data set ``name``; it need not exist."""
    return cache_folder() / f"{name}-v{_FORMAT}"


def is_cached(name: str) -> bool:
    """Whether the data set ``name`` is in the cache on this machine."""
    return (cache_path(name) / "index.json").is_file()


def cached(name: str, make: Callable[[], Table | Arrays]) -> Table | Arrays:
    """Reads the data set ``name`` from the cache, or makes it and adds it to the cache.

    A damaged entry is made again. If the cache cannot be written, the data set is returned all the same. Both
    cases log one warning.

    Args:
        name: name of the data set, a part of the folder's name.
        make: makes the data set if it is not in the cache.

    Returns:
        The `Table` or `Arrays`; from the cache, its arrays are memory-mapped.
    """
    folder = cache_path(name)
    if is_cached(name):
        try:
            return _read(folder)
        except Exception as error:  # we wrote these files: any error in reading them means damage
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
    """A file in the cache has the wrong checksum."""


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
            raise _DamageError(f"{path.name} has the wrong checksum")
        fields[field] = np.load(path, mmap_mode="r", allow_pickle=False)
    return _KINDS[index["kind"]](**fields)


def _tuples(value: list | str | None) -> tuple | str | None:
    """Turns lists back into tuples, at every level: JSON has no tuples."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
