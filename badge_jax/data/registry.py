"""Name → arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from badge_jax.data import kropt, random_rbf
from badge_jax.data.cache import cached_table, is_cached
from badge_jax.data.splits import random_split
from badge_jax.data.table import ENCODINGS, Table, encode
from badge_jax.errors import unknown_name


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before it is loaded.

    summary:        one line
    num_rows:       in all
    num_columns:    before encoding
    num_classes:    how many
    sources:        name → maker of the table; the first is the default
    hidden, learning_rate, minibatch_size: how the paper trains its perceptron on it
    """

    summary: str
    num_rows: int
    num_columns: int
    num_classes: int
    sources: Mapping[str, Callable[[], Table]]
    hidden: int = 1024
    learning_rate: float = 1e-4
    minibatch_size: int = 128

    @property
    def default_source(self) -> str:
        return next(iter(self.sources))


DATASETS: dict[str, DatasetInfo] = {
    "kropt": DatasetInfo(
        summary="chess endgame, king and rook against king: moves to mate (OpenML 184, from the rules)",
        num_rows=28_056,
        num_columns=6,
        num_classes=18,
        sources={"generated": kropt.generate},
    ),
    "random_rbf": DatasetInfo(
        summary="Gaussian clusters around 50 centroids (OpenML 156, MOA's stream drawn again)",
        num_rows=random_rbf.NUM_ROWS,
        num_columns=random_rbf.NUM_COLUMNS,
        num_classes=random_rbf.NUM_CLASSES,
        sources={"generated": random_rbf.generate},
    ),
}


class Dataset(NamedTuple):
    """A data set ready to learn from.

    inputs:          [n, ...] float32, the pool
    labels:          [n] int32
    test_inputs:     [t, ...] float32
    test_labels:     [t] int32
    classes:         names
    missing_classes: names of the classes that the pool lacks
    """

    inputs: np.ndarray
    labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    missing_classes: tuple[str, ...]


def dataset_info(name: str) -> DatasetInfo:
    """The registry's entry. Raises InputError, with the nearest name, where there is none."""
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    return DATASETS[name]


def resolve_source(name: str, source: str | None) -> str:
    """``source``, or the data set's default for None. Raises InputError for one it does not have."""
    info = dataset_info(name)
    if source is None:
        return info.default_source
    if source not in info.sources:
        raise unknown_name(f"source of {name}", source, info.sources)
    return source


def load_dataset(name: str, *, seed: int, encoding: str = "onehot", source: str | None = None) -> Dataset:
    """Loads a data set and splits it by ``seed``.

    encoding: "onehot" or "codes" (the category's number), for categorical columns
    source:   one of the data set's sources; None for its default
    Raises InputError for an unknown name, encoding or source.
    """
    if encoding not in ENCODINGS:
        raise unknown_name("encoding", encoding, ENCODINGS)
    table = fetch_table(name, source)
    split = random_split(table.labels, len(table.classes), seed)
    inputs = encode(table, encoding)
    return Dataset(
        inputs[split.pool],
        table.labels[split.pool],
        inputs[split.test],
        table.labels[split.test],
        table.classes,
        tuple(table.classes[label] for label in split.missing_classes),
    )


def fetch_table(name: str, source: str | None = None) -> Table:
    """The whole table, from the cache or else made and kept there."""
    source = resolve_source(name, source)
    info = DATASETS[name]
    return cached_table(f"{name}-{source}", info.sources[source], info.num_rows)


def on_this_machine(name: str, source: str | None = None) -> bool:
    """Whether the data set is in the cache."""
    return is_cached(f"{name}-{resolve_source(name, source)}")
