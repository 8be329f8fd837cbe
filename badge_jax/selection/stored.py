"""What an array in a file is to a matrix, and two kinds that serve for any format.

A library is imported when a file of its format is opened. Some of them map files, and the pages of a mapped
file count as memory of the process, so a file is opened anew for each reading. Nothing is ever unpickled.
"""

import contextlib
import errno
import importlib
import itertools
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from badge_jax.errors import EnvironmentFailure, InputError, missing_extra, one_line

BLOCK = 2**22  # bytes read at once
_LARGEST_PIECE = 2**26  # of chunks that are larger, an array is held in memory
_PIECES = 32  # read at one opening: a system may map a megabyte around each
FLOATS = "float16, float32 or float64"
_OF_THE_MACHINE = {errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ESTALE}


class Stored(Protocol):
    """An array in a file, such as `StoredArray`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""

    @property
    def dtype(self) -> np.dtype:
        """Of what is read."""

    @property
    def why_whole(self) -> str | None:
        """Why the array can only be read whole; None if its rows can be read where they lie."""

    @property
    def piece_bytes(self) -> int:
        """Memory for what must be unpacked to read a row, besides the rows, in bytes."""

    def read(self) -> np.ndarray:
        """The array in memory."""

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        """The rows from ``start`` up to, but not including, ``stop``."""

    def take_rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows at ``indices`` [m]."""

    def check(self) -> None:
        """Raises InputError if the file has a checksum of the array, and it is not that of the content."""


@dataclass(frozen=True)
class File:
    """A file to be opened.

    Attributes:
        path: of the file.
        name: its name in messages.
        key: name of what is wanted in it; None if none was given.
        what: what it is, with an article.
    """

    path: Path
    name: str
    key: str | None
    what: str

    @property
    def where(self) -> str:
        """The start of messages."""
        return f"{self.name}: {self.path}"

    @contextlib.contextmanager
    def errors_in_one_line(self) -> Iterator[None]:
        """Within it, whatever a library raises becomes an InputError, and its warnings are not shown."""
        try:
            with warnings.catch_warnings(action="ignore"):
                yield
        except (InputError, EnvironmentFailure):
            raise
        except Exception as error:  # a damaged file makes each library raise its own kinds, MemoryError too
            if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
                raise
            raise InputError(
                f"{self.where} cannot be read ({one_line(error)}); wanted {self.what} that is whole"
            ) from None

    def library(self, module: str) -> Any:
        """A module that reads the format. Raises EnvironmentFailure if it is not installed."""
        try:
            return importlib.import_module(module)
        except ImportError as error:
            package = module.partition(".")[0]
            if package == "torch":
                raise EnvironmentFailure(
                    f"{self.where} wants PyTorch ({error}); install it, or save a .npy file with numpy.save"
                ) from None
            raise missing_extra(f"{self.where} wants the package {package} ({error})", "formats") from None

    def other_rows(self) -> InputError:
        """The error for rows that are not as many, or as wide, as they were when the file was opened."""
        return InputError(
            f"{self.where} holds other rows than it says, or was changed while it was read; wanted a whole file"
        )

    def chosen(self, found: Collection[str]) -> str:
        """The wanted one of the arrays in the file, by name. Raises InputError if that is none or not clear."""
        wanted = self.name.lstrip("-") if self.key is None else self.key
        if wanted in found:
            return wanted
        if self.key is not None:
            raise InputError(f"{self.where} holds {listed(found)}; wanted {wanted!r} among them")
        if len(found) == 1:
            return next(iter(found))
        hint = f", or a name behind a colon: {self.path.name}:{next(iter(found))}" if found else ""
        raise InputError(f"{self.where} holds {listed(found)}; wanted one array, or one called {wanted}{hint}")


Rows = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class InPlace:
    """An array whose rows are read where they lie.

    Attributes:
        file: that it is in.
        shape: of the array.
        dtype: of what is read.
        opened: opens the file; within it, (start, stop) gives rows.
        rows_together: how many rows are unpacked together, counted from the first.
        reason: why it is to be read whole nevertheless; None if it is not.
    """

    file: File
    shape: tuple[int, ...]
    dtype: np.dtype
    opened: Callable[[], AbstractContextManager[Rows]]
    rows_together: int = 1
    reason: str | None = None

    @property
    def _row_bytes(self) -> int:
        return max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)

    @property
    def piece_bytes(self) -> int:
        # a piece as stored, unpacked, and on its way between the two
        return 3 * self._bytes_together if self.rows_together > 1 else 0

    @property
    def _bytes_together(self) -> int:
        return self.rows_together * self._row_bytes

    @property
    def why_whole(self) -> str | None:
        if self.reason is None and self.rows_together > 1 and self._bytes_together > _LARGEST_PIECE:
            return f"in chunks of {math.ceil(self._bytes_together / 1e6):,} MB"
        return self.reason

    def read(self) -> np.ndarray:
        found = np.empty(self.shape, self.dtype)
        step = self._step(_LARGEST_PIECE)
        for first in range(0, self.shape[0], step):  # opened anew for each step, for the sake of mapped pages
            self._fill(found[first : first + step], first)
        return found

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        found = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self._fill(found, start)
        return found

    def _fill(self, found: np.ndarray, start: int) -> None:
        """Reads rows from ``start`` on, some at a time, each time to a multiple, so that no piece is unpacked
        twice."""
        first, stop, step = start, start + len(found), self._step(BLOCK)
        with self.file.errors_in_one_line(), self.opened() as rows:
            while first < stop:
                last = min(stop, first - first % step + step)
                found[first - start : last - start] = self._checked(rows(first, last), last - first)
                first = last

    def _step(self, num_bytes: int) -> int:
        """About as many rows as this many bytes have: a multiple of those that are unpacked together."""
        return max(1, num_bytes // self._row_bytes // self.rows_together) * self.rows_together

    def take_rows(self, indices: np.ndarray) -> np.ndarray:
        found = np.empty((len(indices), *self.shape[1:]), self.dtype)
        order = np.argsort(indices, kind="stable")  # in the order of the file
        ends = np.flatnonzero(np.diff(indices[order] // self.rows_together)) + 1
        pieces = np.split(order, ends) if len(order) else []
        for some in range(0, len(pieces), _PIECES):
            with self.file.errors_in_one_line(), self.opened() as rows:
                for places in pieces[some : some + _PIECES]:
                    first, last = int(indices[places[0]]), int(indices[places[-1]]) + 1
                    found[places] = self._checked(rows(first, last), last - first)[indices[places] - first]
        return found

    def check(self) -> None:
        """Does nothing: the libraries compare the checksums that there are with each piece that they read."""

    def _checked(self, rows: np.ndarray, count: int) -> np.ndarray:
        if rows.shape != (count, *self.shape[1:]):
            raise self.file.other_rows()
        return rows


@dataclass(frozen=True)
class Held:
    """An array that can only be read whole.

    Attributes:
        file: that it is in.
        shape: of the array.
        dtype: of what is read.
        why_whole: why.
        blocks: gives the rows, some at a time.
        piece_bytes: memory for what is unpacked at once.
    """

    file: File
    shape: tuple[int, ...]
    dtype: np.dtype
    why_whole: str
    blocks: Callable[[], Iterable[np.ndarray]]
    piece_bytes: int = BLOCK

    def read(self) -> np.ndarray:
        found = np.empty(self.shape, self.dtype)
        done = 0
        with self.file.errors_in_one_line():
            for block in self.blocks():
                if block.shape[1:] != self.shape[1:] or done + len(block) > len(found):
                    raise self.file.other_rows()
                found[done : done + len(block)] = block
                done += len(block)
        if done != len(found):
            raise self.file.other_rows()
        return found

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        return self.read()[start:stop]

    def take_rows(self, indices: np.ndarray) -> np.ndarray:
        return self.read()[indices]

    def check(self) -> None:
        """Does nothing: a checksum is compared when the array is read."""


def listed(names: Collection[str]) -> str:
    """Names for a message; of many, the first ones."""
    shown = ", ".join(name[:40] for name in itertools.islice(names, 8))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return " ".join(f"{shown}{more}".split()) or "nothing"
