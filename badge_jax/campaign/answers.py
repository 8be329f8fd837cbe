"""The answers of people, from files as labeling tools and spreadsheets write them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from badge_jax.campaign.label_studio import ID, INDEX, export_records, parsed_json
from badge_jax.campaign.state import SKIPPED
from badge_jax.csv_files import CsvText, find_header, is_missing, lines_of, read_text
from badge_jax.errors import InputError, unknown_name
from badge_jax.files import check_file
from badge_jax.selection.row_names import RowNames, row_number

_NUMBER = re.compile(r"([0-9]{1,18})(?:\.0*)?")  # a column with gaps comes back from pandas as 7.0
_ROW_COLUMNS = frozenset({"id", "index", ID, INDEX})  # of a CSV file; the last two are Label Studio's
_BY_TOOL = "by tool"  # marks an answer that a labeling tool calls one: without a label, the row was skipped


class Answers(NamedTuple):
    """What people said.

    Attributes:
        rows: [m] int64, distinct rows of the pool.
        labels: [m] int32, numbers of classes, or −1 for skipped.
        is_blank: [m] bool, rows with an empty label in a table, of which nothing says that they were skipped.
    """

    rows: np.ndarray
    labels: np.ndarray
    is_blank: np.ndarray


def read_answers(
    paths: Sequence[Path], *, n: int, classes: Sequence[str], ids: Sequence[str] | None = None
) -> Answers:
    """Reads answers from files; all of them, or none.

    A CSV file has a header that names a column ``label`` and a column ``id`` or ``index``, or both; others are
    not read. Fields are separated by commas, semicolons or tabs. The text is UTF-8, or UTF-16 with a byte order
    mark. Where both columns say which row it is, they must agree; where rows have no ids, the index says it.
    A label is the name of a class. One that is empty, or a word for a missing value that no class is named, see
    `is_missing`, is −1. Spaces around a field do not matter. The same answer may
    stand there several times, and an empty label beside a label counts for nothing.

    An export of Label Studio, as JSON, JSON-MIN or CSV, is known by its fields ``badge_index`` and
    ``badge_id``, which stand for ``index`` and ``id``. Each annotation is an answer, a cancelled one is a
    skipped row, and a task without an annotation says nothing.

    Args:
        paths: of the files.
        n: rows of the pool.
        classes: names of the classes.
        ids: [n], distinct but for spaces around them; None if rows have none.

    Raises:
        InputError: for a file that cannot be read, an unknown row or class, or two labels for one row. The
            message names the first problem and counts the others.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from badge_jax.campaign import read_answers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "answers.csv"
        ...     _ = path.write_text("index;label\\r\\n7;dog\\r\\n3;\\r\\n")
        ...     answers = read_answers([path], n=10, classes=["cat", "dog"])
        ...     answers.rows.tolist(), answers.labels.tolist()
        ([7, 3], [1, -1])
    """
    rows_of = _Rows(n, ids)
    labels_of = LabelNames(classes, by_number=False)
    found: dict[int, tuple[int, str]] = {}
    skipped: set[int] = set()
    problems: list[str] = []
    for path in paths:
        for where, record in _records(path):
            try:
                row = rows_of.find(record)
                label = labels_of.find(record["label"], is_choice=_BY_TOOL in record)
                known, known_where = found.get(row, (SKIPPED, where))
                if SKIPPED not in (label, known) and label != known:
                    first, second = classes[known], classes[label]
                    raise InputError(f"{second!r} for {_named(record)}, which is {first!r} in {known_where}")
                if label != SKIPPED or row not in found:
                    found[row] = label, where
                if label == SKIPPED and _BY_TOOL in record:
                    skipped.add(row)
            except InputError as error:
                problems.append(f"{where}: {error}")
    _check_none(problems)
    labels = np.array([label for label, _ in found.values()], np.int32)
    is_said = np.array([row in skipped for row in found], bool)
    return Answers(np.array(list(found), np.int64), labels, (labels == SKIPPED) & ~is_said)


def read_rows(paths: Sequence[Path], *, n: int, ids: Sequence[str] | None = None) -> np.ndarray:
    """Reads which rows files name; all of them, or none.

    A CSV file has a header that names a column ``id`` or ``index``, or both, as in `read_answers`; labels in it
    are not read. Any other file has an id a line or, where rows have no ids, a row number.

    Args:
        paths: of the files.
        n: rows of the pool.
        ids: as in `read_answers`.

    Returns:
        [m] int64, distinct, in the order of the files.

    Raises:
        InputError: for a file that cannot be read, or an unknown row. The message names the first problem and
            counts the others.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from badge_jax.campaign.answers import read_rows
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "wrong.txt"
        ...     _ = path.write_text("7\\n3\\n7\\n")
        ...     read_rows([path], n=10).tolist()
        [7, 3]
    """
    rows_of = _Rows(n, ids)
    found: dict[int, None] = {}
    problems: list[str] = []
    for path in paths:
        for where, record in _listed(path, "index" if ids is None else "id"):
            try:
                found[rows_of.find(record)] = None
            except InputError as error:
                problems.append(f"{where}: {error}")
    _check_none(problems)
    return np.array(list(found), np.int64)


class _Rows:
    """Finds the row that a record is about."""

    def __init__(self, n: int, ids: Sequence[str] | None):
        self._n = n
        self._names = None if ids is None else RowNames(ids)

    def find(self, record: Mapping[str, str]) -> int:
        id, index = record.get("id", ""), record.get("index", "")
        if not id.strip() and not index.strip():
            what = f"the label {record['label'][:40]!r}" if "label" in record else "it"
            raise InputError(f"{what} has no id and no index")
        by_index = self._by_index(index) if index.strip() else None
        if self._names is None and by_index is None:
            raise InputError(f"id {id[:40]!r}, and the rows have no ids; wanted a column index")
        by_id = self._by_id(id, self._names) if id.strip() and self._names is not None else None
        if by_id is not None and by_index is not None and by_id != by_index:
            raise InputError(
                f"id {id[:40]!r} is row {by_id}, and the index is {by_index}; wanted the same, or no column "
                "index"
            )
        return by_id if by_id is not None else by_index  # type: ignore[return-value]  # one of them is there

    def _by_id(self, id: str, names: RowNames) -> int:
        row = names.find(id)
        if row is None:
            raise InputError(f"unknown id {id[:40]!r}")
        return row

    def _by_index(self, word: str) -> int:
        row = row_number(word)
        if row is None:
            raise InputError(f"index {word[:40]!r} is no row number")
        if not 0 <= row < self._n:
            raise InputError(f"index {row} is not in the pool; wanted 0 to {self._n - 1}")
        return row


def _check_none(problems: Sequence[str]) -> None:
    """Raises InputError if there are problems."""
    if problems:
        more = len(problems) - 1
        others = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
        raise InputError(f"{problems[0]}{others}; nothing was taken")


def _is_number(text: str) -> bool:
    """Whether a spreadsheet may take it for a number, and write it in another way."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class LabelNames:
    """Finds the number of the class that a label names."""

    def __init__(self, classes: Sequence[str], *, by_number: bool):
        self._classes = classes
        self._numbers = {name: number for number, name in enumerate(classes)}
        self._has_numbers = any(_is_number(name) for name in classes)
        self._takes_numbers = by_number and not self._has_numbers

    def find(self, text: str, *, is_choice: bool = False) -> int:
        """The number of a class, or −1 for no label.

        Args:
            text: the label.
            is_choice: whether somebody has chosen it, so that it is a class, and no program's word for none.

        Raises:
            InputError: for an unknown class.
        """
        word = text.strip()
        if word in self._numbers:
            return self._numbers[word]
        if not word or (is_missing(word) and not is_choice):
            return SKIPPED
        match = _NUMBER.fullmatch(word)
        if match is not None and match[1] in self._numbers:  # 3.0 for the class named 3
            return self._numbers[match[1]]
        if match is not None and self._takes_numbers and int(match[1]) < len(self._classes):
            return int(match[1])
        if match is not None and self._takes_numbers:
            raise InputError(
                f"class {word[:40]} does not exist; wanted 0 to {len(self._classes) - 1}, or a name"
            )
        if match is not None and not self._has_numbers:  # counted from 0 or from 1? nobody knows
            raise InputError(f"label {word[:40]!r} is a number; wanted a name: {', '.join(self._classes)}")
        raise unknown_name("class", word[:40], self._classes)


def _records(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The answers in a file: where each stands, and its id, index and label."""
    check_file(path, "answers", "a CSV file, or an export of Label Studio")
    text = read_text(path, str(path), "a CSV file, or an export of Label Studio, in UTF-8")
    tasks = parsed_json(text)
    if tasks is None:
        return _csv_records(text, path)
    return ((where, {**record, _BY_TOOL: ""}) for where, record in export_records(tasks, str(path)))


def _listed(path: Path, column: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows that a file lists: where each stands, and its id and index."""
    wanted = f"a CSV file with a column id or index, or text with one {column} a line"
    check_file(path, "--withdraw", wanted)
    text = read_text(path, str(path), wanted)
    table = find_header(text, lambda names: not _ROW_COLUMNS.isdisjoint(names))
    if table is not None:
        return _table_records(table, path, with_labels=False)
    lines = enumerate(lines_of(text), start=1)
    return ((f"{path}, line {number}", {column: line}) for number, line in lines if line.strip())


def _csv_records(text: str, path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of a CSV file that say anything."""
    table = find_header(text, lambda names: "label" in names and not _ROW_COLUMNS.isdisjoint(names))
    if table is None:
        first = next((line for line in lines_of(text) if line.strip(" \t,;")), "")
        found = f"begins with {first[:60]!r}" if first else "is empty"
        raise InputError(
            f"{path} {found}; wanted a header that names a column label, and a column id or index, or a whole "
            "export of Label Studio"
        )
    return _table_records(table, path, with_labels=True)


def _table_records(table: CsvText, path: Path, *, with_labels: bool) -> Iterator[tuple[str, dict[str, str]]]:
    names, more = {"id": "id", "index": "index"}, {}
    if not {ID, INDEX}.isdisjoint(table.header):  # Label Studio's, whose id is its own
        more = {_BY_TOOL: ""}
        names = {ID: "id", INDEX: "index"}
    if with_labels:
        names |= {"label": "label"} | ({"annotation_id": "annotation"} if more else {})
    places = table.places(str(path), tuple(names))
    for number, fields in table.rows(str(path)):
        record = {names[name]: fields[place] for name, place in places.items()}
        if record.pop("annotation", "one"):  # an export of all tasks has lines without
            yield f"{path}, line {number}", {**record, **more}


def _named(record: Mapping[str, str]) -> str:
    return (
        f"id {record['id'][:40]!r}" if record.get("id", "").strip() else f"index {record['index'].strip()[:40]}"
    )
