"""Lists of rows, and ids of rows, from files."""

import csv
import io
import re
import warnings
from pathlib import Path

import numpy as np

from badge_jax.array_files import is_npy, open_npy
from badge_jax.errors import InputError
from badge_jax.files import check_file


def read_vector(path: Path, name: str) -> np.ndarray:
    """Reads row numbers, or a mask, from a file.

    Args:
        path: of a ``.npy`` file with row numbers or a mask, of a text file with one row number a line, or of a
            CSV file with the column ``index``.
        name: its name in messages.

    Returns:
        The array of a ``.npy`` file as it is stored, else [m] int64.

    Raises:
        InputError: if the file is missing or damaged, or holds anything else. A UserWarning is given for a
            list that names no row.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from badge_jax.selection import read_vector
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "picks.csv"
        ...     _ = path.write_text("rank,index\\n0,7\\n1,3\\n")
        ...     read_vector(path, "labeled").tolist()
        [7, 3]
    """
    check_file(path, name, "a .npy file or one row number a line")
    if is_npy(path) or path.suffix == ".npy":
        rows = open_npy(path, name).read()
        _warn_if_empty(rows.size, path, name)
        return rows
    text = _text(path, name)
    words = _index_column(text, f"{name}: {path}")
    if words is None:
        words = [line.strip() for line in text.split("\n") if line.strip()]
    _warn_if_empty(len(words), path, name)
    for word in words:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", word):
            raise InputError(f"{name}: {path} holds {word[:40]!r}; wanted one row number a line")
    return np.array([int(word) for word in words], np.int64)


def _warn_if_empty(num_rows: int, path: Path, name: str) -> None:
    if not num_rows:
        warnings.warn(f"{name}: {path} names no row, so none counts as labeled", UserWarning, stacklevel=3)


def read_ids(path: Path, name: str, n: int) -> list[str]:
    """Reads one id for each row of the pool from a file.

    Args:
        path: of a text file with one id a line, or of a ``.npy`` file with [n] text or integers.
        name: its name in messages.
        n: rows of the pool.

    Returns:
        n ids, in the order of the rows.

    Raises:
        InputError: if the file is missing or damaged, holds anything else, or does not hold n ids.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.selection import read_ids
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "ids.npy"
        ...     np.save(path, np.array(["cat.png", "dog.png"]))
        ...     read_ids(path, "ids", 2)
        ['cat.png', 'dog.png']
    """
    check_file(path, name, "a .npy file or one id a line")
    if is_npy(path) or path.suffix == ".npy":
        stored = open_npy(path, name)
        if len(stored.shape) != 1 or stored.dtype.kind not in "iuU":
            raise InputError(
                f"{name}: {path} holds {stored.dtype} of shape {stored.shape}; wanted text or integers [n]"
            )
        ids = [str(entry) for entry in stored.read().tolist()]
    else:
        ids = [line.removesuffix("\r") for line in _text(path, name).split("\n")]
        ids = ids[:-1] if ids[-1] == "" else ids
    if len(ids) != n:
        raise InputError(f"{name}: {path} holds {len(ids)} ids for {n} rows; wanted one for each")
    return ids


def _index_column(text: str, where: str) -> list[str] | None:
    """The column ``index`` of a CSV file; None where the first line does not name it."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(rows, [])
        if "index" not in header:
            return None
        place = header.index("index")
        return ["".join(row[place : place + 1]).strip() for row in rows if row]
    except csv.Error as error:
        raise InputError(
            f"{where} is damaged at line {rows.line_num} ({error}); wanted a CSV file with a column index, or "
            "one row number a line"
        ) from None


def _text(path: Path, name: str) -> str:
    """The content of a text file, without byte order mark."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: {path} is neither a .npy file nor UTF-8 text") from None
