"""Matrices that are read by the row, from memory or from files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.errors import InputError
from badge_jax.selection.formats import open_stored
from badge_jax.selection.stored import Stored

_DTYPES = ("float16", "float32", "float64")


class Matrix(NamedTuple):
    """A matrix [n, width] that is read by the row.

    Attributes:
        name: its name in messages.
        shape: (n, width).
        dtype: as stored.
        read: (start, stop) -> [stop − start, width] float16 or float32, in the machine's byte order.
        take: indices [m] -> [m, width] float16 or float32, in the machine's byte order.
        stored: the array in a file that the rows are read from; None if they are in memory.
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype
    read: Callable[[int, int], np.ndarray]
    take: Callable[[np.ndarray], np.ndarray]
    stored: Stored | None

    @property
    def num_bytes(self) -> int:
        """Size as stored, in bytes."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def why_whole(self) -> str | None:
        """Why a file can only be read whole; None if its rows can be read where they lie, or are in memory."""
        return None if self.stored is None else self.stored.why_whole

    @property
    def piece_bytes(self) -> int:
        """Memory for what must be unpacked to read a row of a file, besides the rows, in bytes."""
        return 0 if self.stored is None else self.stored.piece_bytes

    @property
    def is_in_place(self) -> bool:
        """Whether rows are read from a file, where they lie."""
        return self.stored is not None and self.why_whole is None


def matrix_of(array: Any, name: str, *, is_column: bool = False) -> Matrix:
    """An array in memory as a `Matrix`.

    Args:
        array: [n, width] float16, float32 or float64, from NumPy, JAX, or any library with ``__dlpack__`` or
            ``__array__``.
        name: its name in messages.
        is_column: whether an array [n] is taken as [n, 1].

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
    array = _as_numpy(array, name)
    return _in_memory(array[:, None] if is_column and array.ndim == 1 else array, name)


def open_matrix(path: Path, name: str, *, is_column: bool = False) -> Matrix:
    """The matrix in a file: ``.npy``, ``.npz``, Parquet, Arrow, CSV, HDF5, zarr, safetensors or PyTorch's.

    Little more than its shape is read now; `Matrix.read` and `Matrix.take` read its rows. One that has the
    property `Matrix.why_whole` is to be brought into memory first, by `in_memory`.

    Args:
        path: of the file. It holds [n, width] float16, float32 or float64. Behind a colon it may name the
            array, tensor or column that is wanted, as in ``data.parquet:embedding``.
        name: its name in messages. Of several arrays, the one of this name is read, without the dashes of an
            option, unless ``path`` names one.
        is_column: whether an array [n] is taken as [n, 1].

    Returns:
        `Matrix`.

    Raises:
        InputError: if the file is missing, damaged or pickled, or holds anything else.
        EnvironmentFailure: if the library that reads its format is not installed.

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
    stored = open_stored(path, name)
    shape = (*stored.shape, 1) if is_column and len(stored.shape) == 1 else stored.shape
    n, width = _checked_shape(shape, stored.dtype, name)
    return Matrix(
        name,
        (n, width),
        stored.dtype,
        lambda start, stop: _converted(stored.read_rows(start, stop)).reshape(-1, width),
        lambda indices: _converted(stored.take_rows(indices)).reshape(-1, width),
        stored,
    )


def in_memory(matrix: Matrix) -> Matrix:
    """The same matrix, read into memory if it is in a file."""
    return (
        matrix if matrix.stored is None else _in_memory(matrix.stored.read().reshape(matrix.shape), matrix.name)
    )


def blank(matrix: Matrix) -> Matrix:
    """Zeros in the shape of a matrix, which take no memory."""
    return _in_memory(np.broadcast_to(np.zeros((), matrix.dtype), matrix.shape), matrix.name)


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
    return Matrix(
        name,
        _checked_shape(array.shape, array.dtype, name),
        array.dtype,
        lambda start, stop: _converted(array[start:stop]),
        lambda indices: _converted(array[indices]),
        None,
    )


def _converted(rows: np.ndarray) -> np.ndarray:
    """``rows`` in the machine's byte order, and float64 as float32."""
    if rows.dtype.itemsize == 8:
        with np.errstate(over="ignore"):  # the survey reports what becomes infinite
            return rows.astype(np.float32)
    return rows if rows.dtype.isnative else rows.astype(rows.dtype.newbyteorder("="))


def _checked_shape(shape: tuple[int, ...], dtype: np.dtype, name: str) -> tuple[int, int]:
    """The shape (n, width). Raises InputError for what is no matrix of numbers."""
    if dtype.hasobject:
        raise InputError(f"{name} holds Python objects; wanted an array of {', '.join(_DTYPES)}")
    if len(shape) != 2:
        raise InputError(f"{name} has shape {shape}; wanted a matrix, one row for each example")
    if dtype.name not in _DTYPES:
        raise InputError(f"{name} is {dtype}; wanted {', '.join(_DTYPES)}")
    if 0 in shape:
        raise InputError(f"{name} has shape {shape}; wanted at least one row and one column")
    return shape[0], shape[1]
