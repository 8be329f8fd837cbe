"""Arrays in ``.npy`` and ``.npz`` files, opened by their headers; entries are read when they are wanted.

Files are never mapped, because the pages of a mapped file count as memory of the process. Nothing is unpickled.
"""

import ast
import contextlib
import errno
import math
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from badge_jax.errors import InputError
from badge_jax.files import check_file

_LONGEST_HEADER = 10_000
_BLOCK = 2**22  # bytes read at once


def open_array(path: Path, name: str, key: str | None = None) -> "StoredArray":
    """The array in a ``.npy`` or ``.npz`` file; only its header is read now.

    Args:
        path: of the file.
        name: its name in messages. In a ``.npz`` file of several arrays, the one of this name is taken, without
            the dashes of an option.
        key: name of the array in a ``.npz`` file, in place of ``name``.

    Returns:
        `StoredArray`.

    Raises:
        InputError: if the file is missing, damaged or pickled, or holds no such array.
    """
    check_file(path, name, "a .npy or .npz file")
    if not is_npy(path) and (path.suffix == ".npz" or zipfile.is_zipfile(path)):
        archive, wanted = Archive(path, name), name.lstrip("-") if key is None else key
        if wanted not in archive and len(archive) == 1 and key is None:
            [wanted] = archive
        if wanted not in archive:
            one = f"one array, or one called {wanted}" if key is None else f"{wanted!r} among them"
            raise InputError(f"{name}: {path} holds {', '.join(archive) or 'nothing'}; wanted {one}")
        return archive[wanted]
    if key is not None:
        raise InputError(f"{name}: {path} is one array, without a name; wanted the path alone, without :{key}")
    return open_npy(path, name)


def open_npy(path: Path, name: str) -> "StoredArray":
    """The array in a ``.npy`` file; only its header is read now.

    Args:
        path: of the file.
        name: its name in messages.

    Returns:
        `StoredArray`.

    Raises:
        InputError: if the file is missing, damaged or pickled.
    """
    check_file(path, name, "a .npy file")
    with path.open("rb") as file:
        header = _read_header(file, f"{name}: {path}")
        size = file.seek(0, 2)
    stored = StoredArray(name, path, None, *header, offset=header.size)
    stored._check_length(size)
    return stored


def is_npy(path: Path) -> bool:
    """Whether a file begins as a ``.npy`` file does."""
    with path.open("rb") as file:
        return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX


class Archive(Mapping[str, "StoredArray"]):
    """The arrays of a ``.npz`` file by name. The header of an array is read when it is asked for.

    Raises:
        InputError: if the file is missing or no archive; and for an array that is damaged or pickled, or a
            member that is no array, when it is asked for.
    """

    def __init__(self, path: Path, name: str):
        """
        Args:
            path: of the file.
            name: its name in messages.
        """
        check_file(path, name, "an .npz file")
        self._path, self._name = path, name
        with _archive(path, name) as archive:
            self._members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}

    def __getitem__(self, key: str) -> "StoredArray":
        info = self._members[key]
        with _archive(self._path, self._name) as archive, archive.open(info) as member:
            header = _read_header(member, f"{self._name}: {info.filename} in {self._path}")
        stored = StoredArray(self._name, self._path, info.filename, *header, offset=None)
        stored._check_length(info.file_size)
        if info.compress_type != zipfile.ZIP_STORED:
            return stored
        with self._path.open("rb") as file:  # the member follows its own header, two fields of which vary
            file.seek(info.header_offset + 26)
            varying = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
        return replace(stored, offset=info.header_offset + 30 + varying + header.size)

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


class _Header(NamedTuple):
    """The header of an array.

    Attributes:
        size: in bytes; the entries follow.
        shape: of the array.
        dtype: of the array, as stored.
        is_fortran: whether columns lie together rather than rows.
    """

    size: int
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool


@dataclass(frozen=True)
class StoredArray:
    """An array in a file.

    ``numpy.asarray`` reads it whole.

    Attributes:
        name: of the file, in messages.
        path: of the file.
        member: its name in the archive; None in a ``.npy`` file.
        header_size: bytes before the entries, in the ``.npy`` file or the member.
        shape: of the array.
        dtype: of the array, as stored.
        is_fortran: whether columns lie together rather than rows.
        offset: where in the file the entries begin, in bytes; None if they are compressed.
    """

    name: str
    path: Path
    member: str | None
    header_size: int
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool
    offset: int | None

    @property
    def num_bytes(self) -> int:
        """Size as stored and not compressed, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def why_whole(self) -> str | None:
        """Why the array can only be read whole; None if its rows can be read where they lie."""
        if self.offset is None:
            return "compressed"
        return "in Fortran order" if self.is_fortran else None

    @property
    def piece_bytes(self) -> int:
        """Memory for what must be unpacked to read a row, besides the rows, in bytes: none."""
        return 0

    def read(self) -> np.ndarray:
        """The array in memory, as stored.

        Raises:
            InputError: for a member of an archive that is damaged, and for text that is not Unicode.
        """
        content = np.empty(self.num_bytes, np.uint8)
        with self._entries() as file:
            _fill(file, content, self.name)
            if self.member is not None:
                _read_to_end(file)
        if self.dtype.kind == "U":
            self._check_text(content.view(np.uint32))
        return content.view(self.dtype).reshape(self.shape, order="F" if self.is_fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read() if dtype is None else self.read().astype(dtype)

    def check(self) -> None:
        """Raises InputError if the file has a checksum of the array, and it is not that of the content."""
        if self.member is not None:
            with self._entries() as file:
                _read_to_end(file)

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        """The rows from ``start`` up to, but not including, ``stop``, read where they lie."""
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            self._read_at(file, start, rows)
        return rows

    def take_rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows at ``indices`` [m], read where they lie."""
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for place in np.argsort(indices, kind="stable"):  # in the order of the file
                self._read_at(file, int(indices[place]), rows[place : place + 1])
        return rows

    def _read_at(self, file: IO[bytes], start: int, rows: np.ndarray) -> None:
        assert self.offset is not None
        file.seek(self.offset + start * rows[:1].nbytes)
        _fill(file, rows.view(np.uint8).reshape(-1), self.name)

    @contextlib.contextmanager
    def _entries(self) -> Iterator[IO[bytes]]:
        """The file, at the first entry; what is compressed is unpacked as it is read."""
        if self.member is None:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.header_size)
                yield file
        else:
            with _archive(self.path, self.name) as archive, archive.open(self.member) as member:
                member.read(self.header_size)
                yield member

    def _check_text(self, codes: np.ndarray) -> None:
        """Raises InputError for numbers of no sign, and for halves of pairs, which cannot be written."""
        codes = codes if self.dtype.isnative else codes.byteswap()
        is_sign = (codes < 0xD800) | ((codes > 0xDFFF) & (codes <= sys.maxunicode))
        if not is_sign.all():
            raise InputError(
                f"{self.name}: {self.path} holds text that is not Unicode; wanted what can be written"
            )

    def _check_length(self, size: int) -> None:
        """Raises InputError unless ``size`` bytes, of the header and the entries, are enough."""
        if size - self.header_size < self.num_bytes:
            raise InputError(
                f"{self.name}: {self.path} is cut off: {size - self.header_size} bytes of data where "
                f"{self.num_bytes} are expected"
            )


def _read_header(file: IO[bytes], where: str) -> _Header:
    """Reads the header of an array, at the start of ``file``; ``where`` begins the messages."""
    try:
        version = np.lib.format.read_magic(file)
        length_bytes = 2 if version == (1, 0) else 4
        length = int.from_bytes(file.read(length_bytes), "little")
        text = file.read(length) if length <= _LONGEST_HEADER else b""
        if len(text) != length or version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError("its header is cut off or has an unknown version")
        fields = ast.literal_eval(text.decode("latin1" if version < (3, 0) else "utf-8"))
        dtype = np.lib.format.descr_to_dtype(fields["descr"])
        shape, is_fortran = fields["shape"], fields["fortran_order"]
        if len(fields) != 3:
            raise ValueError(f"its header holds {', '.join(map(str, fields))}")
        if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
            raise ValueError(f"its shape is {shape!r}")
        largest = math.prod(max(1, size) for size in shape) * dtype.itemsize
        if not isinstance(is_fortran, bool) or dtype.subdtype is not None or not 0 < largest < 2**62:
            raise ValueError("its header is not valid")
    except OSError:
        raise
    except Exception as error:  # a damaged header makes the parser raise many kinds of errors
        raise InputError(f"{where} is not a .npy file ({_first_line(error)})") from None
    if dtype.hasobject:
        raise InputError(
            f"{where} holds pickled Python objects, which are never loaded; wanted plain numbers or text"
        )
    is_fortran = is_fortran and sum(size > 1 for size in shape) > 1
    return _Header(8 + length_bytes + length, shape, dtype, is_fortran)


@contextlib.contextmanager
def _archive(path: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """An open archive. Raises InputError for whatever shows that it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises many kinds of errors
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
            raise  # trouble of the machine, not of the file
        raise InputError(
            f"{name}: {path} cannot be read ({_first_line(error)}); wanted a complete .npz file"
        ) from None


def _fill(file: IO[bytes], content: np.ndarray, name: str) -> None:
    """Fills an array [m] uint8 from the file."""
    view, done = content.data, 0
    while done < len(view):
        count = file.readinto(view[done : done + _BLOCK])  # type: ignore[attr-defined]
        if not count:
            raise InputError(f"{name} was cut off while it was read; wanted a file that does not change")
        done += count


def _read_to_end(file: IO[bytes]) -> None:
    """Reads what is left: at its end, a member of an archive is compared with its checksum."""
    while file.read(_BLOCK):
        pass


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:120]
