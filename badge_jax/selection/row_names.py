"""Rows of a pool, found by what people and programs write for them: ids, or numbers from 0."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")  # spreadsheets, and pandas for a column with gaps, write 7.0


class RowNames:
    """The rows of a pool by their ids. Spaces around an id do not matter, unless they tell two ids apart.

    Args:
        ids: [n], distinct.

    Example:
        >>> from badge_jax.selection.row_names import RowNames
        >>> names = RowNames(["cat.png", "dog.png"])
        >>> names.find(" dog.png"), names.find("cow.png")
        (1, None)
    """

    def __init__(self, ids: Sequence[str]):
        self._rows = {id.strip(): row for row, id in enumerate(ids)} | {id: row for row, id in enumerate(ids)}

    def find(self, word: str) -> int | None:
        """The row with this id; None if there is none."""
        return self._rows.get(word, self._rows.get(word.strip()))


def row_number(word: str) -> int | None:
    """The whole number that a word says, which may lie outside of the pool; None if it says none.

    Example:
        >>> from badge_jax.selection.row_names import row_number
        >>> row_number(" 7.0"), row_number("-1"), row_number("7.5")
        (7, -1, None)
    """
    word = word.strip()
    return int(word.partition(".")[0]) if _NUMBER.fullmatch(word) else None
