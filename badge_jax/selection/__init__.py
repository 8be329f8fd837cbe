"""The next batch of a pool in memory or on a disk."""

from badge_jax.selection._select import (
    Forecast,
    Inputs,
    Selection,
    SelectOptions,
    Task,
    forecast,
    make_task,
    run_task,
    select,
)

__all__ = [
    "Forecast",
    "Inputs",
    "SelectOptions",
    "Selection",
    "Task",
    "forecast",
    "make_task",
    "run_task",
    "select",
]
