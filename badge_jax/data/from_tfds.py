"""Images from TensorFlow Datasets (TFDS). It is needed once: our own cache then holds the arrays."""

import contextlib
import io
import logging
import os
import socket
import sys
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from badge_jax.data.table import Arrays
from badge_jax.errors import EnvironmentFailure, missing_extra, one_line

DIGITS = tuple("0123456789")


def fetch(name: str) -> Arrays:
    """Loads an image data set with the splits train and test from TFDS' data folder, or else downloads it.

    Args:
        name: TFDS' name of the data set.

    Returns:
        The `Arrays`, with a test set.

    Raises:
        EnvironmentFailure: if TFDS is not installed or cannot load the data set.
    """
    with _tensorflow_datasets(name) as tfds:
        builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
        if not builder.data_path.exists():
            _check_network(builder, list(builder.url_infos))
            builder.download_and_prepare()
        train, test = tfds.as_numpy(builder.as_dataset(split=["train", "test"], batch_size=-1))
        classes = tuple(builder.info.features["label"].names)
    return Arrays(
        train["image"], train["label"].astype(np.int32), classes, test["image"], test["label"].astype(np.int32)
    )


def fetch_svhn() -> Arrays:
    """Loads the cropped digits of SVHN, training and test set, without the 531,131 extra images.

    TFDS only downloads the two files here: it would prepare the extra images too.

    Returns:
        The `Arrays`, with a test set.

    Raises:
        EnvironmentFailure: if TFDS is not installed or cannot load the data set.
    """
    with _tensorflow_datasets("svhn") as tfds:
        builder = tfds.builder("svhn_cropped", data_dir=os.environ.get("TFDS_DATA_DIR"))
        urls = {split: _url_of(builder, f"{split}_32x32.mat") for split in ("train", "test")}
        _check_network(builder, list(urls.values()))
        manager = tfds.download.DownloadManager(
            download_dir=_downloads(builder), url_infos=builder.url_infos, dataset_name=builder.name
        )
        paths = manager.download(urls)
        train, test = (read_svhn(Path(paths[split])) for split in ("train", "test"))
    return Arrays(*train, DIGITS, *test)


def read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads one of SVHN's .mat files, in which the label 10 stands for the digit 0.

    Args:
        path: the .mat file.

    Returns:
        Images [n, 32, 32, 3] uint8 and labels [n] int32 in 0 … 9.

    Raises:
        EnvironmentFailure: if the file does not hold SVHN's cropped digits.

    References:
        Netzer et al., Reading Digits in Natural Images, 2011, format 2.
    """
    from scipy.io import loadmat  # rarely needed and slow to import

    arrays = loadmat(path)
    images, labels = np.moveaxis(arrays["X"], -1, 0), arrays["y"].ravel().astype(np.int32)
    if images.shape != (len(labels), 32, 32, 3) or labels.min() < 1 or labels.max() > 10:
        raise EnvironmentFailure(f"{path} does not hold cropped digits of SVHN; remove it and try again")
    return np.ascontiguousarray(images), labels % 10


@contextlib.contextmanager
def _tensorflow_datasets(name: str) -> Iterator[Any]:
    """The module tensorflow_datasets, without its output; its errors become EnvironmentFailure in one line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN announces itself at every level
    with contextlib.ExitStack() as quiet:
        quiet.enter_context(warnings.catch_warnings(action="ignore"))
        try:
            with _silent_stderr():
                import tensorflow as tf
                import tensorflow_datasets as tfds

                tf.config.set_visible_devices([], "GPU")  # leaves the GPU to JAX
        except ImportError as error:
            what = f"{name} needs tensorflow-datasets once, to prepare its files, and {error.name}"
            raise missing_extra(f"{what} is not installed", "data") from None
        tfds.disable_progress_bar()
        for logger in map(logging.getLogger, ("absl", "tensorflow", "urllib3")):
            quiet.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
        folder = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
        try:
            yield tfds
        except EnvironmentFailure:
            raise
        except Exception as error:  # tfds, requests and tensorflow raise errors of their own types
            if "Checksum" in type(error).__name__:
                raise EnvironmentFailure(
                    f"{name}: a download does not have its checksum; remove it from {folder}/downloads and try "
                    "again"
                ) from None
            raise EnvironmentFailure(
                f"{name} cannot be loaded ({one_line(error)}); if {folder} holds an incomplete copy, remove it "
                f"and try again; without a network, run `badge-jax datasets fetch {name}` on a machine that "
                "has one and copy its cache folder"
            ) from None


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Sends the process's own standard error to nowhere: TensorFlow's C++ part writes there as it starts."""
    sys.stderr.flush()
    original = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)


def _downloads(builder: Any) -> Path:
    return Path(builder.data_path).parents[1] / "downloads"  # where download_and_prepare puts them


def _url_of(builder: Any, file: str) -> str:
    return next(url for url in builder.url_infos if url.endswith(f"/{file}"))


def _check_network(builder: Any, urls: list[str]) -> None:
    """Raises ConnectionError if a file is not downloaded yet and there is no network.

    Without this check TFDS would retry for minutes.
    """
    from tensorflow_datasets.core.download.resource import get_dl_fname

    for url in urls:
        if not (_downloads(builder) / get_dl_fname(url, builder.url_infos[url].checksum)).exists():
            address = urllib.parse.urlsplit(url)
            port = 443 if address.scheme == "https" else 80
            try:
                socket.create_connection((address.hostname, port), timeout=30).close()
            except OSError:
                raise ConnectionError(f"{address.hostname} cannot be reached") from None
            return
