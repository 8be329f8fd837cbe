"""Lists of rows, and ids of rows, from files."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from badge_jax.array_files import is_npy, open_npy
from badge_jax.csv_files import find_header, is_missing, lines_of, read_text
from badge_jax.errors import InputError
from badge_jax.files import check_file
from badge_jax.selection.row_names import RowNames, row_number

ON_SKIPPED = ("exclude", "offer")
_WANTED = "a .npy file, CSV or text"


def read_labeled(
    paths: Sequence[Path], name: str, n: int, *, ids: Sequence[str] | None = None, skipped: str = "exclude"
) -> np.ndarray:
    """Reads which rows are labeled already, or to be left out, from files.

    Each file is one of: a ``.npy`` file with row numbers or a mask [n] bool; a text file with one row number a
    line; a CSV file whose header names the column ``index``, with commas, semicolons or tabs between fields.
    Where there are ids, they name the rows in place of row numbers, in a CSV file in the column ``id``; a mask
    still goes by position. A row may be named more than once.

    A CSV file with the column ``label`` holds answers: a row whose label is empty in all files, or a word for
    a missing value (see `is_missing`), was skipped.

    Args:
        paths: of the files.
        name: their name in messages.
        n: rows of the pool.
        ids: n ids, see `read_ids`.
        skipped: "exclude" leaves skipped rows out like labeled ones, "offer" does not.

    Returns:
        [m] int64, row numbers in ascending order.

    Raises:
        InputError: if a file is missing or damaged, holds anything else, or names a row that is not in the
            pool. Of ids, one in the pool is enough: the others give a UserWarning. So does a list that names no
            row, and one with skipped rows.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from badge_jax.selection import read_labeled
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "picks.csv"
        ...     _ = path.write_text("rank,index\\n0,7\\n1,3\\n")
        ...     read_labeled([path], "labeled", 10).tolist()
        [3, 7]
    """
    if skipped not in ON_SKIPPED:
        raise InputError(f"skipped is {skipped!r}; wanted one of {', '.join(ON_SKIPPED)}")
    row_of = None if ids is None else RowNames(ids)
    is_labeled, is_skipped, missing = np.zeros(n, bool), np.zeros(n, bool), dict[str, None]()
    for path in paths:
        rows, has_label, words = _read_list(path, name, n, row_of)
        is_labeled[rows[has_label]] = True
        is_skipped[rows[~has_label]] = True
        missing |= dict.fromkeys(words)
    is_skipped &= ~is_labeled
    if count := int(is_skipped.sum()):
        what = (
            "they are offered again" if skipped == "offer" else "they are left out; --skipped offer offers them"
        )
        found = f", or {', '.join(missing)}" if missing else ""
        warnings.warn(f"{name}: {count} rows have an empty label{found}; {what}", UserWarning, stacklevel=2)
    return np.flatnonzero(is_labeled | is_skipped if skipped == "exclude" else is_labeled)


def read_ids(path: Path, name: str, n: int) -> list[str]:
    """Reads one id for each row of the pool from a file.

    Args:
        path: of a text file with one id a line, of a CSV file whose header names the column ``id`` (with
            commas, semicolons or tabs between fields), or of a ``.npy`` file with [n] text or integers.
        name: its name in messages.
        n: rows of the pool.

    Returns:
        n different ids, in the order of the rows.

    Raises:
        InputError: if the file is missing or damaged, holds anything else, does not hold n ids, or holds an id
            that is blank or there twice.

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
    if _is_array(path):
        stored = open_npy(path, name)
        if len(stored.shape) != 1 or stored.dtype.kind not in "iuU":
            raise InputError(
                f"{name}: {path} holds {stored.dtype} of shape {stored.shape}; wanted text or integers [n]"
            )
        ids = [str(entry) for entry in stored.read().tolist()]
    else:
        text = read_text(path, f"{name}: {path}", _WANTED)
        columns = _columns(text, f"{name}: {path}", ("id",))
        ids = lines_of(text) if columns is None else columns["id"]
    if len(ids) != n:
        raise InputError(f"{name}: {path} holds {len(ids)} ids for {n} rows; wanted one for each")
    first_row: dict[str, int] = {}
    for row, id in enumerate(ids):
        if not id.strip():
            raise InputError(f"{name}: {path} has no id for row {row}; wanted one for each")
        if first_row.setdefault(id, row) != row:
            raise InputError(
                f"{name}: {path} holds {id[:40]!r} for rows {first_row[id]} and {row}; wanted an id once"
            )
    return ids


def row_numbers(rows: np.ndarray, n: int, name: str = "labeled") -> np.ndarray:
    """Different row numbers, from row numbers or a mask.

    Args:
        rows: row numbers [m] of integers, in any order and any number of times; or a mask [n] bool.
        n: rows of the pool.
        name: what they are called in messages.

    Returns:
        int64, in ascending order.

    Raises:
        InputError: for an array of another kind, or a row that is not in the pool.
    """
    if rows.dtype == bool:
        if rows.shape != (n,):
            raise InputError(f"{name} is a mask of shape {rows.shape}; wanted ({n},)")
        return np.flatnonzero(rows)
    if rows.shape == (0,):  # of any type: an empty list has none
        return np.zeros(0, np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise InputError(
            f"{name} is {rows.dtype} of shape {rows.shape}; wanted row numbers, or a mask [n] bool"
        )
    if rows.size == n > 2 and rows.max() <= 1:
        raise InputError(f"{name} holds only 0 and 1, one for each row; wanted row numbers, or a mask as bool")
    is_outside = (rows < 0) | (rows >= n)
    if is_outside.any():
        raise InputError(f"{name} holds row {rows[is_outside.argmax()]}; wanted 0 to {n - 1}")
    return np.unique(rows.astype(np.int64))


def _read_list(
    path: Path, name: str, n: int, row_of: RowNames | None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The rows that a file names [m] int64, whether they have a label [m] bool (without a column ``label``, all
    have), and the words in that column that stand for a missing one."""
    one = "row number" if row_of is None else "id"
    check_file(path, name, f"a .npy file or one {one} a line")
    where, labels = f"{name}: {path}", None
    if _is_array(path):
        rows = _rows_of_array(open_npy(path, name).read(), where, n, row_of)
    else:
        words, labels = _words(
            read_text(path, f"{name}: {path}", _WANTED),
            where,
            "index" if row_of is None else "id",
        )
        if row_of is None:
            rows = _numbers_of(words, where, n)
        else:
            rows, is_known = _places(words, where, row_of)
            labels = None if labels is None else [labels[place] for place in np.flatnonzero(is_known)]
    if not len(rows):
        warnings.warn(f"{where} names no row, so none counts as labeled", UserWarning, stacklevel=3)
    if labels is None:
        return rows, np.ones(len(rows), bool), []
    is_empty = np.array([is_missing(label) for label in labels], bool)
    return rows, ~is_empty, sorted({labels[place].strip() for place in np.flatnonzero(is_empty)} - {""})


def _rows_of_array(array: np.ndarray, where: str, n: int, row_of: RowNames | None) -> np.ndarray:
    if row_of is None or array.dtype == bool or array.shape == (0,):
        return row_numbers(array, n, where)
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise InputError(f"{where} is {array.dtype} of shape {array.shape}; wanted ids, or a mask [n] bool")
    return _places([str(entry) for entry in array.tolist()], where, row_of)[0]


def _numbers_of(words: Sequence[str], where: str, n: int) -> np.ndarray:
    """Row numbers [m] int64 of text. Raises InputError for other text and for rows that are not in the pool."""
    numbers = []
    for word in words:
        number = row_number(word)
        if number is None:
            raise InputError(f"{where} holds {word[:40]!r}; wanted one row number a line")
        numbers.append(number)
    rows = np.array(numbers, np.int64)
    row_numbers(rows, n, where)
    return rows


def _places(words: Sequence[str], where: str, row_of: RowNames) -> tuple[np.ndarray, np.ndarray]:
    """The rows of those ids that are in the pool [m'] int64, and which these are [m] bool."""
    places = [row_of.find(word) for word in words]
    is_known = np.array([place is not None for place in places], bool)
    if count := int((~is_known).sum()):
        first = words[int((~is_known).argmax())][:40]
        if not is_known.any():
            raise InputError(f"{where} holds {first!r} and no id of the pool; wanted ids as --ids has them")
        warnings.warn(
            f"{where} holds {count} ids that are not in the pool, the first {first!r}",
            UserWarning,
            stacklevel=5,
        )
    return np.array([place for place in places if place is not None], np.int64), is_known


def _words(text: str, where: str, column: str) -> tuple[list[str], list[str] | None]:
    """What a text or CSV file names rows by, and its column ``label``; None where it has none."""
    columns = _columns(text, where, (column, "label", *(("id",) if column == "index" else ())))
    if columns is None:
        other = "id" if column == "index" else "index"
        if _columns(text, where, (other,)) is not None:
            hint = "or --ids" if column == "index" else "or no --ids"
            raise InputError(f"{where} has the column {other} and no column {column}; wanted one, {hint}")
        lines = [line for line in lines_of(text) if line.strip()]
        return lines, None
    if column == "index" and any(id.strip() for id in columns.get("id", [])):
        warnings.warn(
            f"{where} has ids, and there is no --ids; its row numbers are used", UserWarning, stacklevel=5
        )
    return columns[column], columns.get("label")


def _columns(text: str, where: str, names: tuple[str, ...]) -> dict[str, list[str]] | None:
    """Those columns of a CSV file that are in ``names``; None where its header lacks the first of them."""
    table = find_header(text, lambda header: names[0] in header)
    if table is None:
        return None
    places, rows = table.places(where, names), [fields for _, fields in table.rows(where)]
    return {name: [fields[place] for fields in rows] for name, place in places.items()}


def _is_array(path: Path) -> bool:
    return is_npy(path) or path.suffix == ".npy"
