"""What a page says of a batch, as plain data."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.rows import tiles
from badge_jax.samplers.streamed import Watch, tile_size
from badge_jax.selection._select import Selection
from badge_jax.selection.matrices import Matrix, in_memory
from badge_jax.selection.pictures import Picture
from badge_jax.selection.plane import PoolMap, pool_map
from badge_jax.selection.survey import as_logits
from badge_jax.selection.task import Task


class BatchSummary(NamedTuple):
    """A batch of k rows and the pool of n that it is from.

    Attributes:
        strategy: its name, with options.
        seed: of the selection.
        num_rows: n.
        num_labeled: rows labeled or left out before this batch.
        picks: [k] int64, row numbers in the order chosen.
        ids: k ids of the picks; None if the rows have none.
        columns: column -> [k] values, those that `explain` gives; any may be missing. A predicted class is −1
            where it is not to be shown.
        pool_classes: [c] int64, how many of the rows that could be chosen are predicted to be of each class;
            None if there are no predictions.
        map: the pool in a plane; None if there is nothing to draw it by.
        pictures: of the first picks; None if no pictures are wanted.
        classes: names of the classes; None to call them by number.
        model: what the predictions are of; None to say nothing of it.
    """

    strategy: str
    seed: int
    num_rows: int
    num_labeled: int
    picks: np.ndarray
    ids: Sequence[str] | None = None
    columns: Mapping[str, np.ndarray] = {}  # nothing writes to it
    pool_classes: np.ndarray | None = None
    map: PoolMap | None = None
    pictures: Sequence[Picture] | None = None
    classes: Sequence[str] | None = None
    model: str | None = None


def summarize(
    task: Task, selection: Selection, ids: Sequence[str] | None = None, watch: Watch = lambda *_: None
) -> BatchSummary:
    """The summary of a selection, for `batch_page`.

    Args:
        task: the selection, with ``explain``.
        selection: its answer.
        ids: n ids of the pool's rows; None if they have none.
        watch: called with the progress.

    Returns:
        `BatchSummary`, without pictures.

    Example:
        >>> import numpy as np
        >>> from badge_jax.selection import Inputs, SelectOptions, make_task, matrix_of, run_task, summarize
        >>> logits = matrix_of(np.array([[0.0, 9.0], [1.0, 1.1], [5.0, 0.0]]), "logits")
        >>> task = make_task(SelectOptions(1, "margin", explain=True), Inputs(logits=logits))
        >>> summary = summarize(task, run_task(task))
        >>> summary.picks.tolist(), summary.pool_classes.tolist()
        ([1], [1, 2])
    """
    task = task.with_each(lambda matrix: matrix if matrix.is_in_place else in_memory(matrix))
    space, name = (
        (task.features, "features") if task.features is not None else (task.representation, "representation")
    )
    return BatchSummary(
        task.name,
        task.seed,
        len(task.available),
        int(task.is_labeled.sum()),
        selection.indices,
        None if ids is None else [ids[row] for row in selection.indices],
        selection.explanation,
        None if task.outputs is None else _classes_of(task, task.outputs, watch),
        None if space is None else pool_map(space, name, selection.indices, task.is_labeled),
    )


def _classes_of(task: Task, outputs: Matrix, watch: Watch) -> np.ndarray:
    """How many available rows are predicted to be of each class: [c] int64."""
    n, width = outputs.shape
    classes, tile = np.empty(n, np.int32), tile_size(n, width)
    for start in tiles(n, tile):
        watch("counting classes", start + tile, n)
        classes[start : start + tile] = _predicted(outputs.read(start, start + tile), task.has_probabilities)
    return np.bincount(classes[task.available], minlength=max(2, width))


@partial(jax.jit, static_argnames="has_probabilities")
def _predicted(outputs: jax.Array, has_probabilities: bool) -> jax.Array:
    return jnp.argmax(as_logits(outputs, has_probabilities), axis=1)
