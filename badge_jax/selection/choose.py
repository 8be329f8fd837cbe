"""Chooses the rows of a selection, after the survey of its pool."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import names
from badge_jax.errors import InputError
from badge_jax.samplers.streamed import Watch
from badge_jax.selection.survey import Survey, part_of, pool_of
from badge_jax.selection.task import Task
from badge_jax.strategies import Spread
from badge_jax.strategies.base import highest


class Chosen(NamedTuple):
    """The rows that were chosen.

    Attributes:
        indices: [k] int64, in the order chosen.
        num_distinct: how many were chosen before every row left was a copy of one chosen or labeled; k if that
            did not happen.
    """

    indices: np.ndarray
    num_distinct: int


def choose(task: Task, survey: Survey, key: jax.Array, watch: Watch) -> Chosen:
    """Chooses the rows of a selection, by the strategy's plan if it has one.

    Args:
        task: the selection.
        survey: the survey of its pool.
        key: typed PRNG key.
        watch: called with the progress.

    Returns:
        `Chosen`.

    Raises:
        InputError: if a strategy without a plan refuses its input or does not find k available rows.
    """
    plan = task.strategy.plan
    if survey.scores is not None:
        picks = highest(jnp.asarray(survey.scores), jnp.asarray(task.available), task.k)
        return Chosen(np.asarray(picks, np.int64), task.k)
    if isinstance(plan, Spread) and survey.rows is not None:
        centers = task.labeled if plan.centers == "labeled" else np.zeros(0, np.int64)
        batch = plan.sampler.stream(
            key, survey.rows, task.k, available=task.available, centers=centers, watch=watch
        )
        return Chosen(batch.indices.astype(np.int64), batch.num_distinct)
    return Chosen(_query(task, key), task.k)


def _query(task: Task, key: jax.Array) -> np.ndarray:
    """The picks of a strategy without a plan, from the whole pool in memory: [k] int64."""
    n = len(task.available)
    pool = pool_of(jax.tree.map(jnp.asarray, part_of(task, slice(0, n))), task.has_probabilities)
    try:
        picks, _ = task.strategy.query(key, task.strategy.init(n, 1), pool, task.k)
    except Exception as error:
        raise InputError(f"strategy {task.name}: {names.problem_of(error, task.code)}") from error
    if jnp.shape(picks) != (task.k,) or not jnp.issubdtype(jnp.asarray(picks).dtype, jnp.integer):
        given = f"{jnp.asarray(picks).dtype}{list(jnp.shape(picks))}"
        raise InputError(f"strategy {task.name} gives {given}; wanted int32[{task.k}], row numbers")
    indices = np.asarray(picks, np.int64)
    found = indices[(indices >= 0) & (indices < n)]
    if len(np.unique(found)) < task.k or not task.available[found].all():
        raise InputError(
            f"strategy {task.name} found {int(task.available[np.unique(found)].sum())} of the {task.k} rows"
        )
    return indices
