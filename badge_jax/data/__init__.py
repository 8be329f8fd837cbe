"""Data sets by name, as NumPy arrays."""

from badge_jax.data.registry import (
    DATASETS,
    Dataset,
    DatasetInfo,
    dataset_info,
    fetch_table,
    load_dataset,
    on_this_machine,
    resolve_source,
)

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetInfo",
    "dataset_info",
    "fetch_table",
    "load_dataset",
    "on_this_machine",
    "resolve_source",
]
