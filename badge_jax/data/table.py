"""A table of categorical columns, as codes, and its two numeric encodings."""

from typing import NamedTuple

import numpy as np

ENCODINGS = ("onehot", "codes")


class Table(NamedTuple):
    """N labeled rows of categorical columns.

    codes:      [N, m] int8, each column's categories numbered in the order of the source file
    categories: for each column, the names of its categories
    labels:     [N] int32, numbered as in ``classes``
    classes:    the names of the classes
    """

    codes: np.ndarray
    categories: tuple[tuple[str, ...], ...]
    labels: np.ndarray
    classes: tuple[str, ...]


def encode(table: Table, encoding: str) -> np.ndarray:
    """The columns as network inputs, float32: "onehot" [N, Σ categories], or "codes" [N, m]."""
    if encoding == "codes":
        return table.codes.astype(np.float32)
    columns = [
        np.eye(len(names), dtype=np.float32)[codes]
        for names, codes in zip(table.categories, table.codes.T, strict=True)
    ]
    return np.concatenate(columns, axis=1)
