"""Images from TensorFlow Datasets, which is needed once: the arrays are then kept in the cache."""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from badge_jax.data.table import Arrays
from badge_jax.errors import EnvironmentFailure

DIGITS = tuple("0123456789")


def fetch(name: str) -> Arrays:
    """A TFDS set of images with the splits train and test, from its data folder or else downloaded.

    Raises EnvironmentFailure when TFDS is not installed or cannot get the set.
    """
    with _tensorflow_datasets(name) as tfds:
        splits, info = tfds.load(name, split=["train", "test"], batch_size=-1, with_info=True)
        train, test = tfds.as_numpy(splits)
        classes = tuple(info.features["label"].names)
    return Arrays(
        train["image"], train["label"].astype(np.int32), classes, test["image"], test["label"].astype(np.int32)
    )


def fetch_svhn() -> Arrays:
    """SVHN's cropped digits, training and test set: TFDS' download without the 531,131 extra images, which it
    would prepare too."""
    with _tensorflow_datasets("svhn_cropped") as tfds:
        builder = tfds.builder("svhn_cropped")
        urls = {Path(url).name: url for url in builder.url_infos}
        manager = tfds.download.DownloadManager(
            download_dir=builder.data_path.parent.parent / "downloads",
            url_infos=builder.url_infos,
            dataset_name=builder.name,
        )
        paths = manager.download({split: urls[f"{split}_32x32.mat"] for split in ("train", "test")})
        train, test = (read_svhn(Path(paths[split])) for split in ("train", "test"))
    return Arrays(*train, DIGITS, *test)


def read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 32, 32, 3] uint8 and labels [n] int32 of one of SVHN's .mat files, where 10 stands for 0.

    Source: Netzer et al., Reading Digits in Natural Images, 2011, format 2.
    """
    arrays = loadmat(path)
    images, labels = np.ascontiguousarray(np.moveaxis(arrays["X"], -1, 0)), arrays["y"].ravel().astype(np.int32)
    if images.shape != (len(labels), 32, 32, 3) or labels.min() < 1 or labels.max() > 10:
        raise EnvironmentFailure(f"{path} does not hold cropped digits of SVHN; remove it to download it again")
    return images, labels % 10


@contextlib.contextmanager
def _tensorflow_datasets(name: str) -> Iterator[Any]:
    """The module, quiet, its errors turned into one line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise EnvironmentFailure(
            f"{name} is loaded once by tensorflow-datasets, which is not installed or lacks {error.name}; "
            "pip install 'badge_jax[data]'"
        ) from None
    tf.config.set_visible_devices([], "GPU")  # that is JAX's
    tfds.disable_progress_bar()
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield tfds
    except EnvironmentFailure:
        raise
    except Exception as error:  # tfds, requests and tensorflow each raise their own
        folder = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
        if "Checksum" in type(error).__name__:
            raise EnvironmentFailure(
                f"{name}: a download does not have its checksum; remove it from {folder}/downloads and try "
                "again"
            ) from None
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise EnvironmentFailure(
            f"{name} cannot be loaded ({problem}); with no network, run `badge-jax datasets fetch {name}` "
            f"where there is one and copy the cache folder, or {folder}"
        ) from None
    finally:
        logger.setLevel(level)
