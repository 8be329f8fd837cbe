"""Data sets by name."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from badge_jax import names, paper
from badge_jax.data import from_function, from_npz, from_openml, from_tfds, kropt, poker, random_rbf
from badge_jax.data.cache import cache_path, cached, is_cached
from badge_jax.data.splits import pool_size, random_split
from badge_jax.data.table import ENCODINGS, Arrays, Table, encode
from badge_jax.errors import EnvironmentFailure, InputError, unknown_name


class Source(NamedTuple):
    """Where a data set comes from.

    Attributes:
        make: () -> `Table` or `Arrays`.
        num_rows: how many rows that gives, test rows not counted; None if not known.
    """

    make: Callable[[], Table | Arrays]
    num_rows: int | None = None


class Channels(NamedTuple):
    """Mean and standard deviation of the channels of images scaled to [0, 1].

    Attributes:
        mean: one number for each channel.
        sd: one number for each channel.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before it is loaded.

    Attributes:
        summary: one line.
        sources: name -> `Source`; the first is the default.
        shape: of a row: (columns,) before encoding, or (height, width, channels); () where not known.
        num_classes: how many; None where not known.
        num_test: rows of the test set that it comes with; 0 where the test set is drawn from the rows.
        channels: how images are standardized; None for tables.
        recipe: how the paper trains on it.
        code: the user's file behind it; None for others.
        text: shortest form of its name where that is a function of the user's; None for others.
    """

    summary: str
    sources: Mapping[str, Source]
    shape: tuple[int, ...] = ()
    num_classes: int | None = None
    num_test: int = 0
    channels: Channels | None = None
    recipe: paper.Recipe = paper.TABLES
    code: names.CodeFile | None = None
    text: str | None = None

    @property
    def default_source(self) -> str:
        return next(iter(self.sources))

    def num_pool(self, source: str) -> int | None:
        """Rows of the pool that a source gives; None where that is not known before loading."""
        num_rows = self.sources[source].num_rows
        return num_rows if num_rows is None or self.num_test else pool_size(num_rows)


_images = partial(DatasetInfo, num_classes=10, recipe=paper.DIGITS)

DATASETS: dict[str, DatasetInfo] = {
    "mnist": _images(
        summary="handwritten digits",
        sources={"tfds": Source(partial(from_tfds.fetch, "mnist"), 60_000)},
        shape=(28, 28, 1),
        num_test=10_000,
        channels=Channels((0.1307,), (0.3081,)),
    ),
    "svhn": _images(
        summary="house numbers, cropped digits, without the extra images",
        sources={"tfds": Source(from_tfds.fetch_svhn, 73_257)},
        shape=(32, 32, 3),
        num_test=26_032,
        channels=Channels((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    ),
    "cifar10": _images(
        summary="small colour photographs",
        sources={"tfds": Source(partial(from_tfds.fetch, "cifar10"), 50_000)},
        shape=(32, 32, 3),
        num_test=10_000,
        channels=Channels((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        recipe=paper.PHOTOS,
    ),
    "letter": DatasetInfo(
        summary="letters from 16 measures of their images (OpenML 6)",
        sources={"openml": Source(partial(from_openml.fetch, 6), 20_000)},
        shape=(16,),
        num_classes=26,
    ),
    "pokerhand": DatasetInfo(
        summary="poker hands (OpenML 155; generated: all 2,598,960 hands, which is not the paper's set)",
        sources={
            "openml": Source(partial(from_openml.fetch, 155), 829_201),
            "generated": Source(poker.generate, poker.NUM_HANDS),
        },
        shape=(10,),
        num_classes=poker.NUM_CLASSES,
    ),
    "kropt": DatasetInfo(
        summary="chess endgame, king and rook against king: moves to mate (OpenML 184, from the rules)",
        sources={
            "generated": Source(kropt.generate, kropt.NUM_ROWS),
            "openml": Source(lambda: kropt.canonical(from_openml.fetch(184)), kropt.NUM_ROWS),
        },
        shape=(6,),
        num_classes=len(kropt.CLASSES),
    ),
    "random_rbf": DatasetInfo(
        summary="Gaussian clusters around 50 centroids (OpenML 156, MOA's stream drawn again)",
        sources={
            "generated": Source(random_rbf.generate, random_rbf.NUM_ROWS),
            "openml": Source(partial(from_openml.fetch, 156), random_rbf.NUM_ROWS),
        },
        shape=(random_rbf.NUM_COLUMNS,),
        num_classes=random_rbf.NUM_CLASSES,
    ),
}
"""Name → what a data set is, where it comes from, and how the paper trains on it."""
OPENML_PREFIX, FILE_SUFFIX = "openml:", ".npz"
UNCACHED = ("file", "function")
"""Sources of the user's own, which may change and so are not cached."""


class Dataset(NamedTuple):
    """A data set ready to learn from.

    Attributes:
        inputs: [n, ...] the pool: float32, or uint8 images.
        labels: [n] int32.
        test_inputs: [t, ...] like ``inputs``.
        test_labels: [t] int32.
        classes: names of the classes.
        missing_classes: names of the classes that the pool lacks.
        source_rows: [n] int64, the number that each row of the pool has in the source.
        representation: [n, d'] float32, features of the pool that stay the same from round to round: those that
            come with the data, else ``inputs`` if they are vectors, else None.
        channels: how a network is to see uint8 images; None for other inputs.
        crc32: checksum of the whole source, where it is the user's own and may change; None for others.
    """

    inputs: np.ndarray
    labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    missing_classes: tuple[str, ...]
    source_rows: np.ndarray
    representation: np.ndarray | None = None
    channels: Channels | None = None
    crc32: int | None = None


def dataset_info(name: str) -> DatasetInfo:
    """What is known of a data set before it is loaded.

    Args:
        name: one of `DATASETS`, ``openml:ID``, the path of an ``.npz`` file, or a function of yours, such as
            ``mypackage.module:load(n=100)``.

    Raises:
        InputError: for any other name; the message suggests the nearest.

    Example:
        >>> from badge_jax.data import dataset_info
        >>> dataset_info("kropt").num_classes
        18
    """
    if name in DATASETS:
        return DATASETS[name]
    if name.startswith(OPENML_PREFIX):
        number = name.removeprefix(OPENML_PREFIX)
        if not (number.isascii() and number.isdigit() and 0 < int(number) < 2**31):
            raise InputError(f"dataset {name!r}: wanted a number, as in openml:6")
        return DatasetInfo(f"OpenML {int(number)}", {"openml": Source(partial(from_openml.fetch, int(number)))})
    if name.endswith(FILE_SUFFIX):
        source = Source(partial(from_npz.load, Path(name)))
        return DatasetInfo("a file", {"file": source}, recipe=paper.DIGITS)
    if ":" in name:
        found = names.find("dataset", name, {})
        source = Source(partial(from_function.load, found))
        return DatasetInfo(
            "a function",
            {"function": source},
            recipe=paper.DIGITS,
            code=found.source,
            text=found.text,
        )
    raise unknown_name("dataset", name, [*DATASETS, "openml:ID", "FILE.npz", "module:function"])


def resolve_source(name: str, source: str | None) -> str:
    """Where a data set is to come from.

    Args:
        name: of the data set, see `dataset_info`.
        source: one of its sources. None: its default.

    Raises:
        InputError: for a source that it does not have.

    Example:
        >>> from badge_jax.data import resolve_source
        >>> resolve_source("kropt", None)
        'generated'
    """
    info = dataset_info(name)
    if source is None:
        return info.default_source
    if source not in info.sources:
        raise unknown_name(f"source of {name}", source, info.sources)
    return source


def load_dataset(name: str, *, seed: int, encoding: str = "onehot", source: str | None = None) -> Dataset:
    """Loads a data set, with the test set it comes with or else one split off by ``seed``.

    Args:
        name: see `dataset_info`.
        seed: of the split.
        encoding: "onehot" or "codes" (the category's number), for categorical columns.
        source: one of the data set's sources. None: its default.

    Returns:
        The `Dataset`.

    Raises:
        InputError: for an unknown name, encoding or source, and for files that hold something else.
        EnvironmentFailure: if the data cannot be loaded here.

    Example:
        >>> from badge_jax.data import load_dataset
        >>> dataset = load_dataset("kropt", seed=0)
        >>> dataset.inputs.shape, len(dataset.classes)
        ((25250, 48), 18)
    """
    if encoding not in ENCODINGS:
        raise unknown_name("encoding", encoding, ENCODINGS)
    data = fetch(name, source)
    num_classes = len(data.classes)
    representation = data.representation if isinstance(data, Arrays) else None
    if isinstance(data, Arrays) and data.test_inputs is not None and data.test_labels is not None:
        missing = np.setdiff1d(np.arange(num_classes), data.labels)
        pool, labels, test, test_labels = data.inputs, data.labels, data.test_inputs, data.test_labels
        rows = np.arange(len(labels))
    else:
        split = random_split(data.labels, num_classes, seed)
        missing = np.array(split.missing_classes, int)
        labels, test_labels, rows = data.labels[split.pool], data.labels[split.test], split.pool
        if isinstance(data, Table):
            pool, test = (encode(data, encoding, rows) for rows in (split.pool, split.test))
        else:
            pool, test = data.inputs[split.pool], data.inputs[split.test]
            representation = None if representation is None else representation[split.pool]
    if representation is None and pool.ndim == 2:
        representation = pool
    if len(test_labels) == 0:
        raise InputError(f"dataset {name} has only {len(labels)} rows; wanted enough for a pool and a test set")
    missing_classes = tuple(data.classes[label] for label in missing)
    channels = dataset_info(name).channels
    if channels is None and pool.dtype == np.uint8:
        channels = _measure_channels(pool)
    crc32 = _checksum(data) if resolve_source(name, source) in UNCACHED else None
    return Dataset(
        pool, labels, test, test_labels, data.classes, missing_classes, rows, representation, channels, crc32
    )


def fetch(name: str, source: str | None = None) -> Table | Arrays:
    """The whole data set, from the cache, or from its source and then cached.

    Args:
        name: see `dataset_info`.
        source: one of its sources. None: its default.

    Raises:
        InputError: for an unknown name or source, and for files that hold something else.
        EnvironmentFailure: if the data cannot be loaded here.

    Example:
        >>> from badge_jax.data import fetch
        >>> len(fetch("kropt").labels)
        28056
    """
    source = resolve_source(name, source)
    make, num_rows = dataset_info(name).sources[source]
    if source in UNCACHED:
        return make()

    def checked() -> Table | Arrays:
        data = make()
        if num_rows is not None and len(data.labels) != num_rows:
            raise EnvironmentFailure(
                f"{name} from {source} has {len(data.labels):,} rows where {num_rows:,} belong; remove its "
                "download and try again"
            )
        return data

    return cached(_cache_name(name, source), checked)


def on_this_machine(name: str, source: str | None = None) -> bool:
    """Whether a data set is in the cache.

    Args:
        name: see `dataset_info`.
        source: one of its sources. None: its default.

    Example:
        >>> from badge_jax.data import on_this_machine
        >>> on_this_machine("openml:1")
        False
    """
    return is_cached(_cache_name(name, resolve_source(name, source)))


def where_kept(name: str, source: str | None = None) -> Path:
    """The folder of a data set in the cache.

    Args:
        name: see `dataset_info`.
        source: one of its sources. None: its default.

    Example:
        >>> from badge_jax.data import where_kept
        >>> where_kept("kropt").name.startswith("kropt-generated")
        True
    """
    return cache_path(_cache_name(name, resolve_source(name, source)))


def _cache_name(name: str, source: str) -> str:
    return f"{name.replace(':', '-')}-{source}"


def _checksum(data: Table | Arrays) -> int:
    """CRC-32 of all arrays and the names of the classes."""
    found = zlib.crc32(repr(data.classes).encode())
    for array in data:
        if isinstance(array, np.ndarray):
            found = zlib.crc32(np.ascontiguousarray(array).data, found)
    return found


def _measure_channels(images: np.ndarray) -> Channels:
    """Mean and standard deviation of every channel of images [n, h, w, channels] uint8, in [0, 1]."""
    values = np.arange(256) / 255
    counts = [np.bincount(images[..., i].ravel(), minlength=256) for i in range(images.shape[3])]
    means = [float(np.average(values, weights=count)) for count in counts]
    sds = [
        float(np.sqrt(np.average((values - mean) ** 2, weights=count)))
        for mean, count in zip(means, counts, strict=True)
    ]
    return Channels(tuple(means), tuple(sd if sd > 0 else 1.0 for sd in sds))
