"""The next batch of a pool in memory or on a disk."""

from badge_jax.selection._forecast import Forecast, forecast
from badge_jax.selection._select import Selection, run_task, select
from badge_jax.selection.distributed import run_distributed
from badge_jax.selection.formats import split_name
from badge_jax.selection.matrices import matrix_of, open_matrix
from badge_jax.selection.page import NUM_SHOWN, batch_page
from badge_jax.selection.pictures import Picture, check_image_folder, pictures, remarks_on_pictures
from badge_jax.selection.plane import PoolMap, pool_map
from badge_jax.selection.row_lists import read_ids, read_labeled
from badge_jax.selection.summary import BatchSummary, summarize
from badge_jax.selection.task import Inputs, SelectOptions, Task, make_task, num_rows

__all__ = [
    "NUM_SHOWN",
    "BatchSummary",
    "Forecast",
    "Inputs",
    "Picture",
    "PoolMap",
    "SelectOptions",
    "Selection",
    "Task",
    "batch_page",
    "check_image_folder",
    "forecast",
    "make_task",
    "matrix_of",
    "num_rows",
    "open_matrix",
    "pictures",
    "pool_map",
    "read_ids",
    "read_labeled",
    "remarks_on_pictures",
    "run_distributed",
    "run_task",
    "select",
    "split_name",
    "summarize",
]
