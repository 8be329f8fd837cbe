"""A table of categorical and numeric columns, and its two encodings as network inputs."""

from typing import NamedTuple

import numpy as np

ENCODINGS = ("onehot", "codes")


class Table(NamedTuple):
    """N labeled rows.

    codes:      [N, m] int8, the categorical columns, each one's categories numbered in the order of the source
                file
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


def encode(table: Table, encoding: str) -> np.ndarray:
    """The columns as network inputs, float32, numeric ones first and as they are: then the categorical ones,
    "onehot" [N, q + Σ categories] or "codes" [N, q + m]."""
    numbers = [] if table.numbers is None else [table.numbers]
    if encoding == "codes":
        return np.concatenate([*numbers, table.codes.astype(np.float32)], axis=1)
    columns = [
        np.eye(len(names), dtype=np.float32)[codes]
        for names, codes in zip(table.categories, table.codes.T, strict=True)
    ]
    return np.concatenate([*numbers, *columns], axis=1)
