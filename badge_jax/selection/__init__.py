"""The next batch of a pool in memory or on a disk."""

from badge_jax.selection._forecast import Forecast, forecast
from badge_jax.selection._select import Selection, run_task, select
from badge_jax.selection.formats import split_name
from badge_jax.selection.matrices import matrix_of, open_matrix
from badge_jax.selection.row_lists import read_ids, read_labeled
from badge_jax.selection.task import Inputs, SelectOptions, Task, make_task, num_rows

__all__ = [
    "Forecast",
    "Inputs",
    "SelectOptions",
    "Selection",
    "Task",
    "forecast",
    "make_task",
    "matrix_of",
    "num_rows",
    "open_matrix",
    "read_ids",
    "read_labeled",
    "run_task",
    "select",
    "split_name",
]
