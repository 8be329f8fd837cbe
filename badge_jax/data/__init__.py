"""Data sets by name, as NumPy arrays."""

from badge_jax.data.registry import (
    DATASETS,
    UNCACHED,
    Channels,
    Dataset,
    DatasetInfo,
    Source,
    dataset_info,
    fetch,
    load_dataset,
    on_this_machine,
    resolve_source,
    where_kept,
)

__all__ = [
    "DATASETS",
    "UNCACHED",
    "Channels",
    "Dataset",
    "DatasetInfo",
    "Source",
    "dataset_info",
    "fetch",
    "load_dataset",
    "on_this_machine",
    "resolve_source",
    "where_kept",
]
