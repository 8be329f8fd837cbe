"""Classification sets from OpenML, through openml-python and its cache."""

import hashlib
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from badge_jax.data.table import Table
from badge_jax.errors import EnvironmentFailure, InputError, missing_extra, one_line


def fetch(identifier: int) -> Table:
    """Loads the data set with this number from openml-python's cache, or else from openml.org.

    Numeric columns are unchanged. Categories are numbered as in the header of the file.

    Args:
        identifier: OpenML's number of the data set.

    Returns:
        The `Table`.

    Raises:
        InputError: if OpenML has no such data set, its target is not a class, a value is missing, or a column
            is neither numeric nor categorical.
        EnvironmentFailure: if openml-python is not installed or cannot load the data set.
    """
    name = f"openml:{identifier}"
    with warnings.catch_warnings(action="ignore"):
        return _fetch(name, identifier)


def to_table(name: str, columns: Any, labels: Any) -> Table:
    """Converts a pandas DataFrame of columns and the Series of its classes to a `Table`.

    Args:
        name: name of the data set, for error messages.
        columns: DataFrame of numeric and categorical columns.
        labels: Series of classes: categories, integers or text.

    Returns:
        The `Table`.

    Raises:
        InputError: if the labels are not classes, a value is missing, or a column is neither numeric nor
            categorical.
    """
    if not hasattr(labels, "cat"):
        if labels.dtype.kind not in "biuOUT":
            raise InputError(
                f"{name} has a target of {labels.dtype}, not of classes; wanted a classification data set"
            )
        labels = labels.astype("category")
    _check_complete(name, "the class", labels)
    codes, categories, numbers = [], [], []
    for column, values in columns.items():
        _check_complete(name, f"column {column!r}", values)
        if hasattr(values, "cat"):
            codes.append(values.cat.codes.to_numpy())
            categories.append(tuple(str(category) for category in values.cat.categories))
        elif values.dtype.kind in "biuf":
            numbers.append(values.to_numpy(np.float32))
        else:
            raise InputError(f"{name} has text in column {column!r}; wanted columns of numbers and categories")
    num_rows = len(labels)
    return Table(
        codes=np.stack(codes, axis=1) if codes else np.zeros((num_rows, 0), np.int8),
        categories=tuple(categories),
        labels=labels.cat.codes.to_numpy().astype(np.int32),
        classes=tuple(str(category) for category in labels.cat.categories),
        numbers=np.stack(numbers, axis=1) if numbers else None,
    )


def _fetch(name: str, identifier: int) -> Table:
    openml = _import_openml()
    try:
        dataset = openml.datasets.get_dataset(
            identifier, download_data=True, download_qualities=False, download_features_meta_data=False
        )
        _check_download(name, dataset)
        target = dataset.default_target_attribute
        if not target or "," in target:
            raise InputError(f"{name} names no single column as its class; wanted a classification data set")
        columns, labels, _, _ = dataset.get_data(target=target, dataset_format="dataframe")
    except (InputError, EnvironmentFailure):
        raise
    except Exception as error:  # openml, requests and minio raise errors of their own types
        if getattr(error, "code", None) == 111:
            raise InputError(
                f"{name} is unknown to OpenML; wanted the number of one of its data sets"
            ) from None
        raise EnvironmentFailure(
            f"{name} cannot be loaded ({one_line(error)}); without a network, run `badge-jax datasets fetch "
            f"{name}` on a machine that has one and copy its cache folder, or OpenML's "
            f"({openml.config.get_cache_directory()})"
        ) from None
    return to_table(name, columns, labels)


def _import_openml() -> Any:
    try:
        import openml
    except ImportError:
        raise missing_extra("OpenML needs the package openml, which is not installed", "data") from None
    openml.config.set_console_log_level(logging.ERROR)
    return openml


def _check_download(name: str, dataset: Any) -> None:
    """Raises EnvironmentFailure if the file is damaged. openml-python checks downloads, but not its cache."""
    path = Path(dataset.data_file)
    if dataset.md5_checksum and hashlib.md5(path.read_bytes()).hexdigest() != dataset.md5_checksum:
        raise EnvironmentFailure(
            f"{name}: {path} does not have the checksum of the download; remove its folder to download it again"
        )


def _check_complete(name: str, what: str, values: Any) -> None:
    num_missing = int(values.isna().sum())
    if num_missing:
        raise InputError(
            f"{name} has {num_missing} missing values in {what}; wanted a complete table (fill them in and "
            "give the arrays as an .npz file)"
        )
