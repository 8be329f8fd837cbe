"""Matrices that are read by the row, from memory or from ``.npy`` and ``.npz`` files, and lists of rows.

Files are read and never mapped: the pages of a mapped file count as memory of the process. Nothing is
unpickled.
"""

import ast
import csv
import io
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.errors import InputError

_DTYPES = ("float16", "float32", "float64")
_LONGEST_HEADER = 10_000


class Matrix(NamedTuple):
    """A matrix [n, width] read by the row.

    name:  how messages call it
    dtype: as stored
    read:  (start, stop) -> [stop − start, width] float16 or float32, in the machine's byte order
    take:  indices [m] -> [m, width], likewise
    is_in_memory: whether reading costs no access to a file
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype
    read: Callable[[int, int], np.ndarray]
    take: Callable[[np.ndarray], np.ndarray]
    is_in_memory: bool

    @property
    def num_bytes(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


class _Layout(NamedTuple):
    """Where the array of a ``.npy`` file starts, and what it holds."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


def matrix_of(array: Any, name: str) -> Matrix:
    """An array in memory as a `Matrix`: NumPy's, JAX's, or of anything with ``__dlpack__`` or ``__array__``.

    Raises InputError unless it is a matrix of float16, float32 or float64 with at least one row and column.
    """
    return _in_memory(_as_numpy(array, name), name)


def open_matrix(path: Path, name: str) -> Matrix:
    """The matrix in a ``.npy`` file, or in a ``.npz`` file (the member ``name``, or the only one; read whole).

    Raises InputError for a file that is missing, damaged, pickled, or holds something else.
    """
    _check_file(path, name, "a .npy or .npz file")
    if zipfile.is_zipfile(path):
        return _in_memory(_from_npz(path, name), name)
    if path.suffix == ".npz":
        raise InputError(f"{name}: {path} cannot be read; wanted a whole .npz file")
    layout = _npy_layout(path, name)
    _check(layout.shape, layout.dtype, name)
    (n, width), row_bytes = layout.shape, layout.shape[1] * layout.dtype.itemsize

    def read(start: int, stop: int) -> np.ndarray:
        rows = np.empty((stop - start, width), layout.dtype)
        with path.open("rb", buffering=0) as file:
            _read_into(file, layout.offset + start * row_bytes, rows, name)
        return _converted(rows)

    def take(indices: np.ndarray) -> np.ndarray:
        rows = np.empty((len(indices), width), layout.dtype)
        with path.open("rb", buffering=0) as file:
            for place in np.argsort(indices, kind="stable"):  # in the order of the file
                _read_into(file, layout.offset + int(indices[place]) * row_bytes, rows[place], name)
        return _converted(rows)

    return Matrix(name, (n, width), layout.dtype, read, take, False)


def in_memory(matrix: Matrix) -> Matrix:
    """The same matrix, read once and held."""
    if matrix.is_in_memory:
        return matrix
    return _in_memory(matrix.read(0, matrix.shape[0]), matrix.name)


def read_vector(path: Path, name: str) -> np.ndarray:
    """Row numbers, or a mask, from a ``.npy`` file; row numbers from text with one a line, or from the column
    ``index`` of a CSV file.

    Raises InputError for anything else.
    """
    _check_file(path, name, "a .npy file or one row number a line")
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
    """``n`` ids: the lines of a text file, or a ``.npy`` vector of text or integers.

    Raises InputError for anything else.
    """
    _check_file(path, name, "a .npy file or one id a line")
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


def _check_file(path: Path, name: str, wanted: str) -> None:
    if not path.is_file():
        found = (
            "does not exist" if not path.exists() else "is a folder" if path.is_dir() else "is no plain file"
        )
        raise InputError(f"{name}: {path} {found}; wanted {wanted}")


def _lines(path: Path, name: str) -> list[str]:
    """The lines as they are, but for line ends and a byte order mark."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: {path} is neither a .npy file nor UTF-8 text") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _as_numpy(array: Any, name: str) -> np.ndarray:
    if hasattr(array, "detach"):  # a PyTorch tensor that requires a gradient gives away no memory
        array = array.detach()
    for read in (np.from_dlpack, np.asarray):
        if read is np.asarray or (hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray)):
            try:
                return read(array)
            except Exception:  # each library refuses in its own way
                continue
    raise InputError(
        f"{name} is a {type(array).__name__} that NumPy cannot read; wanted an array of {', '.join(_DTYPES)} "
        "in the host's memory (from PyTorch: .float().cpu())"
    )


def _in_memory(array: np.ndarray, name: str) -> Matrix:
    _check(array.shape, array.dtype, name)
    return Matrix(
        name,
        array.shape,
        array.dtype,
        lambda start, stop: _converted(array[start:stop]),
        lambda indices: _converted(array[indices]),
        True,
    )


def _converted(rows: np.ndarray) -> np.ndarray:
    """In the machine's byte order, float64 as float32."""
    if rows.dtype.itemsize == 8:
        with np.errstate(over="ignore"):  # what becomes infinite is found by who looks at the values
            return rows.astype(np.float32)
    return rows if rows.dtype.isnative else rows.astype(rows.dtype.newbyteorder("="))


def _check(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    if dtype.hasobject:
        raise InputError(f"{name} holds Python objects; wanted an array of {', '.join(_DTYPES)}")
    if len(shape) != 2:
        raise InputError(f"{name} has shape {shape}; wanted a matrix, one row for each example")
    if dtype.name not in _DTYPES:
        raise InputError(f"{name} is {dtype}; wanted {', '.join(_DTYPES)}")
    if 0 in shape:
        raise InputError(f"{name} has shape {shape}; wanted at least one row and one column")


def _from_npz(path: Path, name: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as members:
            names = list(members.files)
            if name.lstrip("-") not in names and len(names) != 1:
                raise InputError(
                    f"{name}: {path} holds {', '.join(names) or 'nothing'}; wanted one array, or one called "
                    f"{name.lstrip('-')}"
                )
            return members[name.lstrip("-") if name.lstrip("-") in names else names[0]]
    except InputError:
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise InputError(
            f"{name}: {path} cannot be read ({_first_line(error)}); wanted a whole .npz file"
        ) from None


def _small_array(path: Path, name: str) -> np.ndarray:
    layout = _npy_layout(path, name)
    content = path.read_bytes()[layout.offset :]
    return np.frombuffer(content, layout.dtype, count=math.prod(layout.shape)).reshape(layout.shape)


def _npy_layout(path: Path, name: str) -> _Layout:
    """Reads the header. Raises InputError where the file is not what its header says."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            length_bytes = 2 if version == (1, 0) else 4
            length = int.from_bytes(file.read(length_bytes), "little")
            header = file.read(length) if length <= _LONGEST_HEADER else b""
            if len(header) != length or version not in ((1, 0), (2, 0), (3, 0)):
                raise ValueError("its header is cut off or of an unknown version")
            fields = ast.literal_eval(header.decode("latin1" if version < (3, 0) else "utf-8").strip())
            dtype = np.lib.format.descr_to_dtype(fields["descr"])
            shape, is_fortran = fields["shape"], fields["fortran_order"]
            if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
                raise ValueError(f"its shape is {shape!r}")
            largest = math.prod(max(1, size) for size in shape) * dtype.itemsize
            if not isinstance(is_fortran, bool) or not 0 < largest < 2**62:
                raise ValueError("its header makes no sense")
            offset, size = file.tell(), file.seek(0, 2)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged header makes the parser raise
        raise InputError(f"{name}: {path} is not a .npy file ({_first_line(error)})") from None
    if dtype.hasobject:
        raise InputError(
            f"{name}: {path} holds pickled Python objects, which are never loaded; wanted plain numbers or text"
        )
    if is_fortran and len(shape) > 1 and min(shape) > 1:
        raise InputError(f"{name}: {path} is in Fortran order; save numpy.ascontiguousarray of it")
    wanted = math.prod(shape) * dtype.itemsize
    if size - offset < wanted:
        raise InputError(f"{name}: {path} is cut off: {size - offset} bytes of data where {wanted} belong")
    return _Layout(offset, shape, dtype)


def _read_into(file: io.RawIOBase, offset: int, array: np.ndarray, name: str) -> None:
    """Fills a contiguous array from the file."""
    file.seek(offset)
    view, done = array.data.cast("B"), 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise InputError(f"{name} was cut off while it was read; wanted a file that does not change")
        done += count


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:120]
