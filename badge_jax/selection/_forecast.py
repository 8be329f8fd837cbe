"""The memory and time that a selection will need, before it is made."""

from typing import NamedTuple

import numpy as np

from badge_jax.samplers.streamed import time_of_a_pass
from badge_jax.selection.matrices import blank
from badge_jax.selection.survey import embedding_of, streamed_rows
from badge_jax.selection.task import Task
from badge_jax.strategies import Spread


class Forecast(NamedTuple):
    """The expected cost of a selection.

    Attributes:
        memory: peak memory in bytes, without the interpreter and compiled programs.
        read: bytes read from files, unpacked.
        seconds: time, without compilation. None where no time was taken.
        num_passes: least number of passes over the pool.
    """

    memory: int
    read: int
    seconds: float | None
    num_passes: int


def forecast(task: Task) -> Forecast:
    """Forecasts the cost of a selection from its sizes and the time of one tile on this machine.

    Args:
        task: the selection.

    Returns:
        `Forecast`.

    Example:
        >>> import numpy as np
        >>> from badge_jax.selection import Inputs, SelectOptions, forecast, make_task, matrix_of
        >>> features = matrix_of(np.ones((5, 4), np.float32), "features")
        >>> logits = matrix_of(np.ones((5, 3), np.float32), "logits")
        >>> expected = forecast(make_task(SelectOptions(2), Inputs(features, logits)))
        >>> expected.num_passes, expected.read  # 5·(4 + 3) numbers of 4 bytes, held in memory after one pass
        (2, 140)
    """
    needed = task.needed
    n, num_distances, num_passes = len(task.available), 0, 1 if needed else 0
    if isinstance(task.strategy.plan, Spread):
        width, sampler = sum(matrix.shape[1] for matrix in needed), task.strategy.plan.sampler
        num_centers = len(task.labeled) if task.strategy.plan.centers else 0
        _, num_passes, num_distances = sampler.cost(task.k, n, width, num_centers)
    # an array that can only be read whole is not read for a forecast: its shape is all that matters
    task = task.with_each(lambda matrix: blank(matrix) if matrix.why_whole else matrix)
    seconds = None if needed else 0.0
    if embedding_of(task) is not None:
        a_pass, a_distance = time_of_a_pass(streamed_rows(task, (np.float32(1), np.float32(1))))
        num_passes += 2 * task.explain + (task.unique is not None)
        num_distances += task.k * n // 10 if task.explain else 0
        seconds = num_passes * a_pass + num_distances * a_distance
    return Forecast(
        memory=task.work_bytes + (task.held_bytes if task.is_streamed else task.pool_bytes),
        read=task.pool_bytes
        + (task.pool_bytes - task.held_bytes) * (num_passes - 1 if task.is_streamed else 0),
        seconds=seconds,
        num_passes=num_passes,
    )
