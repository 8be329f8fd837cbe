"""CSV files as spreadsheets and labeling tools write them."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from badge_jax.errors import InputError

_DELIMITERS = (",", ";", "\t")
_SIGNED = re.compile(r"[+-][0-9.]+")  # a number, which a spreadsheet does not run
# what pandas reads as missing (its STR_NA_VALUES, as of version 3.1): R writes NA, Python None and nan
_MISSING = "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null"


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value: it is blank, or holds a word that programs write for that.
    The words are those that pandas reads as missing.

    Example:
        >>> from badge_jax.csv_files import is_missing
        >>> [is_missing(cell) for cell in ("", " nan ", "NA", "None", "none", "cat", "0")]
        [True, True, True, True, False, False, False]
    """
    cell = cell.strip()
    return not cell or cell in _MISSING.split("|")


def lines_of(text: str) -> list[str]:
    r"""The lines of a text, as people count them: another sign that ends a line for Unicode may be in an id.

    Example:
        >>> from badge_jax.csv_files import lines_of
        >>> lines_of("a b\r\nc\fd\n")
        ['a b', 'c\x0cd']
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


class CsvText(NamedTuple):
    """A CSV file with a header.

    Attributes:
        text: the file.
        delimiter: between its fields.
        header: names of its columns, in lower case and without spaces around them.
    """

    text: str
    delimiter: str
    header: list[str]

    def places(self, where: str, names: tuple[str, ...]) -> dict[str, int]:
        """Which columns have these names, of those that are there.

        Raises:
            InputError: if one is there twice.
        """
        for name in names:
            if (count := self.header.count(name)) > 1:
                raise InputError(f"{where} has {count} columns {name}; wanted one")
        return {name: self.header.index(name) for name in names if name in self.header}

    def rows(self, where: str) -> Iterator[tuple[int, list[str]]]:
        """The rows below the header with their line numbers, without those whose fields are all blank.

        Raises:
            InputError: if the file is damaged, or a row has not a field for each column.
        """
        width = len(self.header)
        reader = csv.reader(io.StringIO(self.text, newline=""), strict=True, delimiter=self.delimiter)
        try:
            rows = (fields for fields in reader if any(field.strip() for field in fields))
            next(rows, None)
            for fields in rows:
                if len(fields) < width or any(field.strip() for field in fields[width:]):
                    raise InputError(
                        f"{where}, line {reader.line_num}: {len(fields)} fields; wanted {width}, as in the "
                        "header"
                    )
                yield reader.line_num, fields
        except csv.Error as error:
            raise InputError(
                f"{where} is damaged at line {reader.line_num} ({error}); wanted a whole CSV file"
            ) from None


def read_text(path: Path, where: str, wanted: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Args:
        path: of the file.
        where: how messages begin.
        wanted: what would do, for messages.

    Raises:
        InputError: for a file that is no such text.
    """
    content = path.read_bytes()
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{where} is not UTF-8 text; wanted {wanted}") from None


def find_header(text: str, is_header: Callable[[list[str]], bool]) -> CsvText | None:
    """The text as a CSV file, with commas, semicolons or tabs between fields.

    Args:
        text: of the file.
        is_header: whether names of columns, in lower case, are those of a header.

    Returns:
        `CsvText`; None if the first line that is not blank is no header.
    """
    first = next((line for line in re.split(r"\r\n|\r|\n", text) if line.strip(" \t,;")), "")
    for delimiter in _DELIMITERS:
        try:
            names = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
        except csv.Error:
            continue
        if is_header(names):
            return CsvText(text, delimiter, names)
    return None


def formula_remarks(words: Sequence[str], flag: str, what: str, column: str) -> list[str]:
    """A remark where a spreadsheet would run what a column holds. It is written as it is, to be found again.

    Args:
        words: of the column.
        flag: the option that they come from, for the remark.
        what: they are, for the remark.
        column: its name.

    Returns:
        One remark or none.

    Example:
        >>> from badge_jax.csv_files import formula_remarks
        >>> formula_remarks(["a.png", "-7", "+7.5"], "--ids", "the ids picked", "id")
        []
        >>> formula_remarks(["=1+1", "@x"], "--ids", "the ids picked", "id")[0][:53]
        '--ids: 2 of the ids picked begin with =, +, - or @, s'
    """
    found = [word for word in words if word[:1] in ("=", "+", "-", "@") and not _SIGNED.fullmatch(word)]
    if not found:
        return []
    return [
        f"{flag}: {len(found)} of {what} begin with =, +, - or @, such as {found[0][:40]!r}; a spreadsheet "
        f"takes them as formulas, so import the column {column} as text"
    ]


def csv_bytes(columns: Mapping[str, list]) -> bytes:
    """A CSV file with a header and the rows of a table, in UTF-8.

    Args:
        columns: name -> values, equally many in each.
    """
    return csv_text([*columns], zip(*columns.values(), strict=True)).encode()


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    r"""A table as CSV, each line ended by ``\n``.

    Args:
        header: names of the columns.
        rows: cells, written as ``str`` writes them; None and NaN become empty cells.

    Example:
        >>> csv_text(["strategy", "labels"], [("badge", 100), ("random", None)])
        'strategy,labels\nbadge,100\nrandom,\n'
    """
    table = [tuple(None if cell != cell else cell for cell in row) for row in rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(header)
    # before Python 3.13 the writer leaves a carriage return bare, which a reader takes for the end of the line
    has_return = any("\r" in value for row in table for value in row if isinstance(value, str))
    quoting: Any = csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(table)
    return text.getvalue()
