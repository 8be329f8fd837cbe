"""Name → arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from badge_jax.data import from_npz, from_openml, from_tfds, kropt, poker, random_rbf
from badge_jax.data.cache import cache_path, cached, is_cached
from badge_jax.data.splits import random_split
from badge_jax.data.table import ENCODINGS, Arrays, Table, encode
from badge_jax.errors import EnvironmentFailure, InputError, unknown_name


class Source(NamedTuple):
    """make: () -> Table or Arrays. num_rows: how many rows that gives, but for test rows; None if not known."""

    make: Callable[[], Table | Arrays]
    num_rows: int | None = None


class Channels(NamedTuple):
    """mean, sd: of every colour channel of images scaled to [0, 1]."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before it is loaded.

    summary:        one line
    sources:        name → where it comes from; the first is the default
    shape:          of a row: (columns,) before encoding, or (height, width, channels); () where not known
    num_classes:    how many; None where not known
    num_test:       rows of the test set that it comes with; 0 where the test set is drawn from the rows
    channels:       how images are standardized; None for tables
    hidden, learning_rate, minibatch_size: how the paper trains its perceptron on it
    """

    summary: str
    sources: Mapping[str, Source]
    shape: tuple[int, ...] = ()
    num_classes: int | None = None
    num_test: int = 0
    channels: Channels | None = None
    hidden: int = 1024
    learning_rate: float = 1e-4
    minibatch_size: int = 128

    @property
    def default_source(self) -> str:
        return next(iter(self.sources))


_images = partial(DatasetInfo, num_classes=10, hidden=256, learning_rate=1e-3)

DATASETS: dict[str, DatasetInfo] = {
    "mnist": _images(
        summary="handwritten digits",
        sources={"tfds": Source(partial(from_tfds.fetch, "mnist"), 60_000)},
        shape=(28, 28, 1),
        num_test=10_000,
        channels=Channels((0.1307,), (0.3081,)),
        minibatch_size=64,
    ),
    "svhn": _images(
        summary="house numbers, cropped digits, without the extra images",
        sources={"tfds": Source(from_tfds.fetch_svhn, 73_257)},
        shape=(32, 32, 3),
        num_test=26_032,
        channels=Channels((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        minibatch_size=64,
    ),
    "cifar10": _images(
        summary="small colour photographs",
        sources={"tfds": Source(partial(from_tfds.fetch, "cifar10"), 50_000)},
        shape=(32, 32, 3),
        num_test=10_000,
        channels=Channels((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
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
OPENML_PREFIX, FILE_SUFFIX = "openml:", ".npz"


class Dataset(NamedTuple):
    """A data set ready to learn from.

    inputs:          [n, ...] the pool: float32, or uint8 images
    labels:          [n] int32
    test_inputs:     [t, ...] like ``inputs``
    test_labels:     [t] int32
    classes:         names
    missing_classes: names of the classes that the pool lacks
    channels:        how a network is to see uint8 images; None for other inputs
    """

    inputs: np.ndarray
    labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    missing_classes: tuple[str, ...]
    channels: Channels | None = None


def dataset_info(name: str) -> DatasetInfo:
    """The registry's entry, or one made for ``openml:ID`` or for a path that ends in ``.npz``.

    Raises InputError, with the nearest name, for any other.
    """
    if name in DATASETS:
        return DATASETS[name]
    if name.startswith(OPENML_PREFIX):
        number = name.removeprefix(OPENML_PREFIX)
        if not (number.isascii() and number.isdigit() and 0 < int(number) < 2**31):
            raise InputError(f"dataset {name!r} has no number; wanted one such as openml:6")
        return DatasetInfo(f"OpenML {int(number)}", {"openml": Source(partial(from_openml.fetch, int(number)))})
    if name.endswith(FILE_SUFFIX):
        source = Source(partial(from_npz.load, Path(name)))
        return DatasetInfo("a file", {"file": source}, hidden=256, learning_rate=1e-3, minibatch_size=64)
    raise unknown_name("dataset", name, [*DATASETS, "openml:ID", "FILE.npz"])


def resolve_source(name: str, source: str | None) -> str:
    """``source``, or the data set's default for None. Raises InputError for one it does not have."""
    info = dataset_info(name)
    if source is None:
        return info.default_source
    if source not in info.sources:
        raise unknown_name(f"source of {name}", source, info.sources)
    return source


def load_dataset(name: str, *, seed: int, encoding: str = "onehot", source: str | None = None) -> Dataset:
    """Loads a data set, with the test set it comes with or else one split off by ``seed``.

    name:     one of `DATASETS`, ``openml:ID``, or the path of an ``.npz`` file
    encoding: "onehot" or "codes" (the category's number), for categorical columns
    source:   one of the data set's sources; None for its default
    Raises InputError for an unknown name, encoding or source and for files that hold something else,
    EnvironmentFailure when the data cannot be had here.
    """
    if encoding not in ENCODINGS:
        raise unknown_name("encoding", encoding, ENCODINGS)
    data = fetch(name, source)
    num_classes = len(data.classes)
    if isinstance(data, Arrays) and data.test_inputs is not None and data.test_labels is not None:
        missing = np.setdiff1d(np.arange(num_classes), data.labels)
        pool, labels, test, test_labels = data.inputs, data.labels, data.test_inputs, data.test_labels
    else:
        split = random_split(data.labels, num_classes, seed)
        missing = np.array(split.missing_classes, int)
        labels, test_labels = data.labels[split.pool], data.labels[split.test]
        if isinstance(data, Table):
            pool, test = (encode(data, encoding, rows) for rows in (split.pool, split.test))
        else:
            pool, test = data.inputs[split.pool], data.inputs[split.test]
    if len(test_labels) == 0:
        raise InputError(f"dataset {name} has only {len(labels)} rows; wanted enough for a pool and a test set")
    missing_classes = tuple(data.classes[label] for label in missing)
    channels = dataset_info(name).channels
    if channels is None and pool.dtype == np.uint8:
        channels = _measure_channels(pool)
    return Dataset(pool, labels, test, test_labels, data.classes, missing_classes, channels)


def fetch(name: str, source: str | None = None) -> Table | Arrays:
    """The whole data set, from the cache or else got from its source and kept there."""
    source = resolve_source(name, source)
    make, num_rows = dataset_info(name).sources[source]
    if source == "file":
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
    """Whether the data set is in the cache."""
    return is_cached(_cache_name(name, resolve_source(name, source)))


def where_kept(name: str, source: str | None = None) -> Path:
    """Its folder in the cache."""
    return cache_path(_cache_name(name, resolve_source(name, source)))


def _cache_name(name: str, source: str) -> str:
    return f"{name.replace(':', '-')}-{source}"


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
