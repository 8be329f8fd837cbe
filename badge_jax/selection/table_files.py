"""Columns of Parquet, Arrow and CSV files: one of lists, one of numbers, or all, if all are of numbers."""

import contextlib
import csv
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from badge_jax.errors import InputError
from badge_jax.selection.stored import BLOCK, FLOATS, File, Held, InPlace, Rows, Stored

_PARQUET_BYTES = 100_000_000  # for pages and what is decoded, measured for 0.1 to 0.8 GB in one group of rows


def open_parquet(file: File) -> Stored:
    """Columns of a Parquet file, read by pyarrow."""
    parquet = file.library("pyarrow.parquet")

    def open_file() -> Any:
        # without these sizes, whole groups of rows are brought into memory
        return parquet.ParquetFile(
            file.path, buffer_size=BLOCK, pre_buffer=False, page_checksum_verification=True
        )

    with open_file() as content:
        columns = _columns(file, content.schema_arrow)
        n = content.metadata.num_rows
        batches = content.iter_batches(batch_size=1, columns=columns.names)
        shape = _row_shape(file, columns, (batch.select(columns.names) for batch in batches))
    columns = columns._replace(shape=shape)

    def blocks() -> Iterator[np.ndarray]:
        first, step = 0, max(1, BLOCK // max(1, math.prod(shape) * columns.dtype.itemsize))
        with open_file() as content:
            for batch in content.iter_batches(batch_size=step, columns=columns.names):
                # one named a.b comes with a column a
                picked = batch.select(columns.names)
                yield _rows_of(file, columns, picked, first)
                first += batch.num_rows

    return Held(file, (n, *shape), columns.dtype, "a Parquet file", blocks, _PARQUET_BYTES)


def open_arrow(file: File) -> Stored:
    """Columns of an Arrow or Feather file, or of a stream in a file, read by pyarrow."""
    pa, ipc = file.library("pyarrow"), file.library("pyarrow.ipc")
    with file.path.open("rb") as head:
        magic = head.read(6)
    if magic[:4] == b"FEA1":
        raise InputError(
            f"{file.where} is of the first version of Feather; wanted the second, or .npy (numpy.save)"
        )

    def batches_of(source: Any) -> tuple[Any, Iterator[Any]]:
        if magic != b"ARROW1":
            reader = ipc.open_stream(source)
            return reader.schema, iter(reader)
        reader = ipc.open_file(source)
        return reader.schema, (reader.get_batch(place) for place in range(reader.num_record_batches))

    with pa.memory_map(str(file.path)) as source:
        whole = source.read_buffer()
    schema, batches = batches_of(whole)
    columns = _columns(file, schema)
    shape = _row_shape(file, columns, [])
    n, is_mapped, largest = 0, True, 0
    for batch in batches:
        picked = batch.select(columns.places)
        if n == 0:
            shape = _row_shape(file, columns, [picked])
        is_mapped = is_mapped and all(
            buffer is None or not buffer.size or whole.address <= buffer.address < whole.address + whole.size
            for column in picked.columns
            for buffer in column.buffers()
        )
        n, largest = n + batch.num_rows, max(largest, batch.nbytes)
    del whole, batches
    columns = columns._replace(shape=shape)

    @contextlib.contextmanager
    def opened() -> Iterator[Rows]:
        with pa.memory_map(str(file.path)) as source:
            schema, batches = batches_of(source)
            table = pa.Table.from_batches(batches, schema).select(columns.places)

        def rows(start: int, stop: int) -> np.ndarray:
            blocks, first = [], start
            for batch in table.slice(start, stop - start).to_batches():
                blocks.append(_rows_of(file, columns, batch, first))
                first += batch.num_rows
            return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

        yield rows

    def blocks() -> Iterator[np.ndarray]:
        first = 0
        with pa.memory_map(str(file.path)) as source:
            for batch in batches_of(source)[1]:
                yield _rows_of(file, columns, batch.select(columns.places), first)
                first += batch.num_rows

    if is_mapped:
        return InPlace(file, (n, *shape), columns.dtype, opened)
    return Held(file, (n, *shape), columns.dtype, "compressed", blocks, piece_bytes=largest)


def open_csv(file: File) -> Stored:
    """Columns of a CSV file with a header, with commas, semicolons or tabs between fields."""
    with _text(file) as text:
        header, delimiter = _header(file, text)
        n = sum(1 for line in text if line != "\n")
    place = None if file.key is None else header.index(file.chosen(header))

    def blocks() -> Iterator[np.ndarray]:
        step = max(1, BLOCK // (64 * len(header)))
        with _text(file) as text:
            _header(file, text)
            lines = (line for line in text if line != "\n")
            first = 0
            while block := list(itertools.islice(lines, step)):
                yield _numbers(file, block, first, delimiter, header, place)
                first += len(block)

    shape = (n, len(header)) if place is None else (n,)
    return Held(file, shape, np.dtype(np.float32), "a CSV file", blocks)


def _text(file: File) -> IO[str]:
    return file.path.open(encoding="utf-8-sig")


def _header(file: File, text: IO[str]) -> tuple[list[str], str]:
    """The names of the columns of a CSV file, and what is between its fields."""
    line = text.readline()
    delimiter = max(",;\t", key=line.count)
    header = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    if not header:
        raise InputError(f"{file.where} is empty; wanted a header and rows of numbers")
    if any(_is_number(name) for name in header):
        raise InputError(f"{file.where} begins with numbers; wanted a header that names the columns")
    if len({*header}) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InputError(f"{file.where} has {header.count(twice)} columns {twice!r}; wanted different names")
    return header, delimiter


def _numbers(
    file: File, lines: Sequence[str], first: int, delimiter: str, header: Sequence[str], place: int | None
) -> np.ndarray:
    """The numbers of some lines of a CSV file, [m, width] or [m] float32."""
    rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    for row, fields in enumerate(rows, first):
        if len(fields) != len(header):
            raise InputError(
                f"{file.where} has {len(fields)} fields in row {row}, and {len(header)} in its header; wanted "
                "as many"
            )
    picked = rows if place is None else [row[place : place + 1] for row in rows]
    names = header if place is None else header[place : place + 1]
    try:
        if any(
            "_" in field for fields in picked for field in fields
        ):  # of which Python takes 1_000 for a number
            raise ValueError
        with np.errstate(over="ignore"):  # the survey reports what becomes infinite
            numbers = np.array(picked, np.float64).astype(np.float32).reshape(-1, len(names))
    except ValueError:
        for row, fields in enumerate(picked, first):
            for name, field in zip(names, fields, strict=True):
                if not _is_number(field):
                    raise InputError(
                        f"{file.where} has {field[:40]!r} in row {row} of the column {name}; wanted a number"
                    ) from None
        raise
    return numbers if place is None else numbers[:, 0]


def _is_number(text: str) -> bool:
    try:
        float(text if "_" not in text else "")
    except ValueError:
        return False
    return True


class _Columns(NamedTuple):
    """What is read from a table.

    Attributes:
        places: of the columns, in the order of the table.
        names: of these columns.
        are_lists: whether it is one column of lists.
        shape: of a row; None stands for the length of lists that is to be found.
        dtype: of what they make.
    """

    places: list[int]
    names: list[str]
    are_lists: bool
    shape: tuple[int | None, ...]
    dtype: np.dtype


def _columns(file: File, schema: Any) -> _Columns:
    """The columns of a table that are wanted. Raises InputError if that is not clear or no numbers."""
    types = file.library("pyarrow").types

    def is_list(kind: Any) -> bool:
        return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)

    names = list(schema.names)
    lists = [field.name for field in schema if is_list(field.type)]
    if file.key is None and not lists:
        places = list(range(len(names)))
    else:
        key = file.chosen(names if file.key is not None else lists)
        if names.count(key) > 1:
            raise InputError(f"{file.where} has {names.count(key)} columns {key}; wanted one")
        places = [names.index(key)]
    kinds = [schema.field(place).type for place in places]
    is_listed = [is_list(kind) for kind in kinds]
    for place, kind in zip(places, kinds, strict=True):
        number = kind.value_type if is_list(kind) else kind
        if not types.is_floating(number):
            other = f", or a column behind a colon: {file.path.name}:NAME" if len(names) > 1 else ""
            raise InputError(f"{file.where} has the column {names[place]} of {kind}; wanted {FLOATS}{other}")
    dtypes = [np.dtype((kind.value_type if is_list(kind) else kind).to_pandas_dtype()) for kind in kinds]
    if is_listed[:1] == [True]:
        is_fixed = types.is_fixed_size_list(kinds[0])
        shape: tuple[int | None, ...] = (kinds[0].list_size if is_fixed else None,)
    else:
        shape = () if file.key is not None else (len(places),)
    dtype = np.result_type(*dtypes) if dtypes else np.dtype(np.float32)
    return _Columns(places, [names[place] for place in places], any(is_listed), shape, dtype)


def _row_shape(file: File, columns: _Columns, batches: Iterable[Any]) -> tuple[int, ...]:
    """The shape of a row: that of the first, where lists have any length."""
    if columns.shape != (None,):
        return tuple(size for size in columns.shape if size is not None)
    for batch in batches:
        if batch.num_rows:
            return _rows_of(file, columns, batch.slice(0, 1), 0).shape[1:]
    return (0,)


def _rows_of(file: File, columns: _Columns, batch: Any, first: int) -> np.ndarray:
    """The rows of a batch; ``first`` is the number of its first row. Raises InputError for what is missing."""
    arrays = batch.columns
    for name, array in zip(columns.names, arrays, strict=True):
        array.validate(full=True)  # of a damaged file, places may lie outside it
        if array.null_count:
            row = first + int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
            raise InputError(f"{file.where} has no value in row {row} of the column {name}; wanted one in each")
    if columns.shape and not columns.are_lists:
        rows = np.empty((batch.num_rows, len(arrays)), columns.dtype)
        for place, array in enumerate(arrays):
            rows[:, place] = array.to_numpy(zero_copy_only=False)
        return rows
    if not columns.shape:
        return arrays[0].to_numpy(zero_copy_only=False)
    lists, entries = arrays[0], arrays[0].flatten()
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    width = int(lengths[0]) if columns.shape[0] is None else columns.shape[0]
    if (lengths != width).any():
        row = int(np.argmax(lengths != width))
        raise InputError(
            f"{file.where} has a list of {lengths[row]} in row {first + row} of the column {columns.names[0]}, "
            f"and {width} in others; wanted lists of one length"
        )
    if entries.null_count:
        row = int(np.argmax(entries.is_null().to_numpy(zero_copy_only=False))) // width
        raise InputError(
            f"{file.where} has a list without a value in row {first + row} of the column {columns.names[0]}; "
            "wanted a number in each place"
        )
    return entries.to_numpy(zero_copy_only=False).reshape(len(lists), width)
