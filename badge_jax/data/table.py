"""What a source of data gives: a table of categorical and numeric columns, or arrays."""

from typing import NamedTuple

import numpy as np

ENCODINGS = ("onehot", "codes")


class Table(NamedTuple):
    """N labeled rows.

    codes:      [N, m] signed integers, the categorical columns, each one's categories numbered in the order of
                the source file
    categories: for each of them, the names of its categories
    labels:     [N] int32, numbered as in ``classes``
    classes:    the names of the classes
    numbers:    [N, q] float32, the numeric columns; None for none
    """

    codes: np.ndarray
    categories: tuple[tuple[str, ...], ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    numbers: np.ndarray | None = None


class Arrays(NamedTuple):
    """N labeled rows of any shape, and a test set where the source comes with one.

    inputs:      [N, ...] float32, or uint8 for images [N, height, width, channels] as they are stored
    labels:      [N] int32, numbered as in ``classes``
    classes:     the names of the classes
    test_inputs: [T, ...] like ``inputs``; None for none
    test_labels: [T] int32; None for none
    """

    inputs: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    test_inputs: np.ndarray | None = None
    test_labels: np.ndarray | None = None


def encode(table: Table, encoding: str, rows: np.ndarray) -> np.ndarray:
    """These rows as network inputs, float32, numeric columns first and as they are: then the categorical ones,
    "onehot" [rows, q + Σ categories] or "codes" [rows, q + m]."""
    numbers = [] if table.numbers is None else [table.numbers[rows]]
    codes = table.codes[rows]
    if encoding == "codes":
        return np.concatenate([*numbers, codes.astype(np.float32)], axis=1)
    columns = [
        np.eye(len(names), dtype=np.float32)[column]
        for names, column in zip(table.categories, codes.T, strict=True)
    ]
    return np.concatenate([*numbers, *columns], axis=1)
