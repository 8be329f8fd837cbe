"""Matrices that are read by the row, from memory or from ``.npy`` and ``.npz`` files.

Files are never mapped, because the pages of a mapped file count as memory of the process. Nothing is unpickled.
"""

import ast
import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.errors import InputError

_DTYPES = ("float16", "float32", "float64")
_LONGEST_HEADER = 10_000


class Matrix(NamedTuple):
    """A matrix [n, width] that is read by the row.

    Attributes:
        name: its name in messages.
        shape: (n, width).
        dtype: as stored.
        read: (start, stop) -> [stop − start, width] float16 or float32, in the machine's byte order.
        take: indices [m] -> [m, width] float16 or float32, in the machine's byte order.
        is_in_memory: whether reading needs no access to a file.
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype
    read: Callable[[int, int], np.ndarray]
    take: Callable[[np.ndarray], np.ndarray]
    is_in_memory: bool

    @property
    def num_bytes(self) -> int:
        """Size as stored, in bytes."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


class _Layout(NamedTuple):
    """The header of a ``.npy`` file.

    Attributes:
        offset: where the array starts, in bytes.
        shape: of the array.
        dtype: of the array, as stored.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


def matrix_of(array: Any, name: str) -> Matrix:
    """An array in memory as a `Matrix`.

    Args:
        array: [n, width] float16, float32 or float64, from NumPy, JAX, or any library with ``__dlpack__`` or
            ``__array__``.
        name: its name in messages.

    Returns:
        `Matrix`. It shares the memory of the array where the library allows it.

    Raises:
        InputError: if NumPy cannot read the array, if its shape or dtype is not as described, or if it has no
            row or no column.

    Example:
        >>> import numpy as np
        >>> from badge_jax.selection import matrix_of
        >>> matrix = matrix_of(np.array([[1.0, 2.0], [3.0, 4.0]]), "features")
        >>> matrix.read(1, 2)  # float64 is read as float32
        array([[3., 4.]], dtype=float32)
    """
    return _in_memory(_as_numpy(array, name), name)


def open_matrix(path: Path, name: str) -> Matrix:
    """The matrix in a ``.npy`` file, or in a ``.npz`` file.

    Only the header of a ``.npy`` file is read now; `Matrix.read` and `Matrix.take` read its rows. A ``.npz``
    file may be compressed, so its array is read into memory at once.

    Args:
        path: of the file. It holds [n, width] float16, float32 or float64.
        name: its name in messages. In a ``.npz`` file of several arrays, the one of this name is read, without
            the dashes of an option.

    Returns:
        `Matrix`.

    Raises:
        InputError: if the file is missing, damaged or pickled, or holds anything else.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.selection import open_matrix
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "features.npy"
        ...     np.save(path, np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
        ...     matrix = open_matrix(path, "features")
        ...     matrix.take(np.array([1, 0]))
        array([[3., 4.],
               [1., 2.]], dtype=float32)
    """
    check_file(path, name, "a .npy or .npz file")
    if zipfile.is_zipfile(path):
        return _in_memory(_from_npz(path, name), name)
    if path.suffix == ".npz":
        raise InputError(f"{name}: {path} cannot be read; wanted a complete .npz file")
    layout = npy_layout(path, name)
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
    """The same matrix, read into memory if it is in a file."""
    if matrix.is_in_memory:
        return matrix
    return _in_memory(matrix.read(0, matrix.shape[0]), matrix.name)


def check_file(path: Path, name: str, wanted: str) -> None:
    """Raises InputError unless ``path`` is a regular file; the message says ``name`` and what is ``wanted``."""
    if not path.is_file():
        found = (
            "does not exist"
            if not path.exists()
            else "is a folder"
            if path.is_dir()
            else "is not a regular file"
        )
        raise InputError(f"{name}: {path} {found}; wanted {wanted}")


def _as_numpy(array: Any, name: str) -> np.ndarray:
    if hasattr(array, "detach"):  # a PyTorch tensor that requires a gradient does not share its memory
        array = array.detach()
    for read in (np.from_dlpack, np.asarray):
        if read is np.asarray or (hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray)):
            try:
                return read(array)
            except Exception:  # each library raises its own kind of error
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
    """``rows`` in the machine's byte order, and float64 as float32."""
    if rows.dtype.itemsize == 8:
        with np.errstate(over="ignore"):  # the survey reports what becomes infinite
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
    except Exception as error:  # a damaged archive raises many kinds of errors
        raise InputError(
            f"{name}: {path} cannot be read ({_first_line(error)}); wanted a complete .npz file"
        ) from None


def npy_layout(path: Path, name: str) -> _Layout:
    """Reads the header of a ``.npy`` file.

    Args:
        path: of the file.
        name: its name in messages.

    Returns:
        `_Layout`.

    Raises:
        InputError: if the header is damaged, the file is shorter than it says, or the array is pickled or in
            Fortran order.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            length_bytes = 2 if version == (1, 0) else 4
            length = int.from_bytes(file.read(length_bytes), "little")
            header = file.read(length) if length <= _LONGEST_HEADER else b""
            if len(header) != length or version not in ((1, 0), (2, 0), (3, 0)):
                raise ValueError("its header is cut off or has an unknown version")
            fields = ast.literal_eval(header.decode("latin1" if version < (3, 0) else "utf-8").strip())
            dtype = np.lib.format.descr_to_dtype(fields["descr"])
            shape, is_fortran = fields["shape"], fields["fortran_order"]
            if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
                raise ValueError(f"its shape is {shape!r}")
            largest = math.prod(max(1, size) for size in shape) * dtype.itemsize
            if not isinstance(is_fortran, bool) or not 0 < largest < 2**62:
                raise ValueError("its header is not valid")
            offset, size = file.tell(), file.seek(0, 2)
    except OSError:
        raise
    except Exception as error:  # a damaged header makes the parser raise many kinds of errors
        raise InputError(f"{name}: {path} is not a .npy file ({_first_line(error)})") from None
    if dtype.hasobject:
        raise InputError(
            f"{name}: {path} holds pickled Python objects, which are never loaded; wanted plain numbers or text"
        )
    if is_fortran and len(shape) > 1 and min(shape) > 1:
        raise InputError(f"{name}: {path} is in Fortran order; save numpy.ascontiguousarray of it")
    wanted = math.prod(shape) * dtype.itemsize
    if size - offset < wanted:
        raise InputError(
            f"{name}: {path} is cut off: {size - offset} bytes of data where {wanted} are expected"
        )
    return _Layout(offset, shape, dtype)


def _read_into(file: io.RawIOBase, offset: int, array: np.ndarray, name: str) -> None:
    """Fills a contiguous array from the file, from byte ``offset`` on."""
    file.seek(offset)
    view, done = array.data.cast("B"), 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise InputError(f"{name} was cut off while it was read; wanted a file that does not change")
        done += count


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:120]
