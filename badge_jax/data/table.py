"""The two kinds of raw data: a table of categorical and numeric columns, or arrays."""

from typing import NamedTuple

import numpy as np

ENCODINGS = ("onehot", "codes")


class Table(NamedTuple):
    """N labeled rows of categorical and numeric columns.

    Attributes:
        codes: [N, m] signed integers, the categorical columns. Each column's categories are numbered in the
            order of the source file.
        categories: for each categorical column, the names of its categories.
        labels: [N] int32, places in ``classes``.
        classes: the names of the classes.
        numbers: [N, q] float32, the numeric columns; None if there are none.
    """

    codes: np.ndarray
    categories: tuple[tuple[str, ...], ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    numbers: np.ndarray | None = None


class Arrays(NamedTuple):
    """N labeled rows of any shape, and a test set if the source has one.

    Attributes:
        inputs: [N, ...] float32, or [N, height, width, channels] uint8 for images as they are stored.
        labels: [N] int32, places in ``classes``.
        classes: the names of the classes.
        test_inputs: [T, ...] like ``inputs``; None if there is no test set.
        test_labels: [T] int32; None if there is no test set.
        representation: [N, d'] float32, features that come with the rows; None if there are none.
    """

    inputs: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    test_inputs: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    representation: np.ndarray | None = None


def encode(table: Table, encoding: str, rows: np.ndarray) -> np.ndarray:
    """Encodes rows of a table as network inputs: the numeric columns, unchanged, then the categorical columns.

    Args:
        table: the table.
        encoding: "onehot", or "codes" for the numbers of the categories.
        rows: [r] integers, the rows to encode.

    Returns:
        [r, q + total number of categories] float32 for "onehot", [r, q + m] float32 for "codes".
    """
    numbers = [] if table.numbers is None else [table.numbers[rows]]
    codes = table.codes[rows]
    if encoding == "codes":
        return np.concatenate([*numbers, codes.astype(np.float32)], axis=1)
    columns = [
        np.eye(len(names), dtype=np.float32)[column]
        for names, column in zip(table.categories, codes.T, strict=True)
    ]
    return np.concatenate([*numbers, *columns], axis=1)
