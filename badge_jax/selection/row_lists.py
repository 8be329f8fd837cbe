"""Lists of rows, and ids of rows, from files."""

import csv
import math
import re
from pathlib import Path

import numpy as np

from badge_jax.errors import InputError
from badge_jax.selection.matrices import check_file, npy_layout


def read_vector(path: Path, name: str) -> np.ndarray:
    """Reads row numbers, or a mask, from a file.

    Args:
        path: of a ``.npy`` file with row numbers or a mask, of a text file with one row number a line, or of a
            CSV file with the column ``index``.
        name: its name in messages.

    Returns:
        The array of a ``.npy`` file as it is stored, else [m] int64.

    Raises:
        InputError: if the file is missing or damaged, or holds anything else.

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
    if _is_npy(path):
        return _small_array(path, name)
    lines = _lines(path, name)
    header = next(csv.reader(lines[:1]), [])
    if is_csv := "index" in header:
        lines = [dict(zip(header, row, strict=False)).get("index", "") for row in csv.reader(lines[1:]) if row]
    words = [line.strip() for line in lines if line.strip() or is_csv]
    for word in words:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", word):
            raise InputError(f"{name}: {path} holds {word[:40]!r}; wanted one row number a line")
    return np.array([int(word) for word in words], np.int64)


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
    if _is_npy(path):
        array = _small_array(path, name)
        if array.ndim != 1 or array.dtype.kind not in "iuU":
            raise InputError(
                f"{name}: {path} holds {array.dtype} of shape {array.shape}; wanted text or integers [n]"
            )
        ids = [str(entry) for entry in array.tolist()]
    else:
        ids = _lines(path, name)
    if len(ids) != n:
        raise InputError(f"{name}: {path} holds {len(ids)} ids for {n} rows; wanted one for each")
    return ids


def _is_npy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == np.lib.format.MAGIC_PREFIX


def _lines(path: Path, name: str) -> list[str]:
    """The lines of a text file, without line ends and byte order mark."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: {path} is neither a .npy file nor UTF-8 text") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _small_array(path: Path, name: str) -> np.ndarray:
    """The array in a ``.npy`` file, read into memory."""
    layout = npy_layout(path, name)
    content = path.read_bytes()[layout.offset :]
    return np.frombuffer(content, layout.dtype, count=math.prod(layout.shape)).reshape(layout.shape)
