"""Tables kept on disk once made."""

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from badge_jax.data.table import Table
from badge_jax.files import cache_folder, write_whole

_FORMAT = 2  # part of the file's name: a change of format leaves old files alone
_log = logging.getLogger("badge_jax")


def is_cached(name: str) -> bool:
    """Whether the table's file is on this machine."""
    return _path(name).is_file()


def cached_table(name: str, make: Callable[[], Table], num_rows: int) -> Table:
    """The table kept under ``name``, or else ``make()``, which is then kept.

    A file that is damaged or does not hold ``num_rows`` rows is made again, with one logged line saying so. A
    cache folder that cannot be written costs one logged line and nothing else.
    """
    path = _path(name)
    if path.is_file():
        try:
            table = _from_bytes(path.read_bytes())
            if len(table.codes) == len(table.labels) == num_rows:
                return table
            problem = f"{len(table.codes)} rows where {num_rows} belong"
        except Exception as error:  # the file is ours: whatever fails to read it means damage
            problem = f"not readable, {type(error).__name__}"
        _log.warning("cache file %s is damaged (%s): making it again", path, problem)
    table = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _to_bytes(table))
    except OSError as error:
        _log.warning("cannot keep %s in the cache (%s): it will be made again next time", name, error)
    return table


def _path(name: str) -> Path:
    return cache_folder() / f"{name}-v{_FORMAT}.npz"


def _to_bytes(table: Table) -> bytes:
    buffer = io.BytesIO()
    names = json.dumps([table.categories, table.classes])
    numbers = {} if table.numbers is None else {"numbers": table.numbers}
    np.savez(
        buffer, allow_pickle=False, codes=table.codes, labels=table.labels, names=np.array(names), **numbers
    )
    return buffer.getvalue()


def _from_bytes(content: bytes) -> Table:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        categories, classes = json.loads(str(arrays["names"]))
        return Table(
            arrays["codes"],
            tuple(tuple(names) for names in categories),
            arrays["labels"],
            tuple(classes),
            arrays.get("numbers"),
        )
