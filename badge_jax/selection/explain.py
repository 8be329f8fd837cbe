"""Columns that explain the picks of a selection to a person."""

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.embeddings import prediction_residuals
from badge_jax.rows import Rows, dense_rows, tiles
from badge_jax.samplers.streamed import StreamedRows, Watch, distances_when_chosen, nearest_pick, tile_size
from badge_jax.selection.copies import num_copies
from badge_jax.selection.survey import Survey, as_logits
from badge_jax.selection.task import Task

_UNCERTAIN_SHARE = 0.1


def explain(
    task: Task, survey: Survey, digests: np.ndarray | None, picks: np.ndarray, watch: Watch
) -> dict[str, np.ndarray]:
    """Explains the picks of a selection.

    - ``predicted_class``: argmax of the outputs.
    - ``uncertainty``: 1 − max p.
    - ``uncertainty_rank``: place among the available rows by uncertainty, from 1; equal ones share the best.
    - ``second_class``, ``second_probability``: the most probable of the other classes.
    - ``margin``: how much more probable the predicted class is.
    - ``embedding_norm``: Euclidean norm of the pick's embedding: that of the strategy's plan, else the gradient
      embedding.
    - ``squared_distance``: from the nearest earlier pick, in that embedding; NaN for the first pick.
    - ``uncertain_neighbors``: of the tenth of the available rows that is most uncertain (k rows at least), how
      many have this pick as their nearest, by features or else by representation; the pick counts if it is one
      of them. A row that has several nearest picks counts for the first of them.
    - ``copies_in_pool``: other available rows that are equal in all that is read of them.
    - ``copies_in_batch``: those of them that are picks.

    Args:
        task: the selection.
        survey: the survey of its pool.
        digests: [n] of the rows, see `row_digests`; None if nothing is read.
        picks: [k] int64, in the order chosen.
        watch: called with the progress.

    Returns:
        Column → [k] values. Columns whose inputs the task lacks are left out.
    """
    columns = {}
    doubts = None
    if task.outputs is not None:
        logits = as_logits(task.outputs.take(picks), task.has_probabilities)
        residuals = np.asarray(prediction_residuals(logits))
        doubts = _doubts(task, watch)
        predicted = np.asarray(logits).argmax(axis=1)
        columns["predicted_class"] = predicted
        columns["uncertainty"] = doubts[picks]
        ordered = np.sort(doubts[task.available])
        columns["uncertainty_rank"] = 1 + len(ordered) - np.searchsorted(ordered, doubts[picks], side="right")
        if residuals.shape[1] > 1:
            others = np.where(np.arange(residuals.shape[1])[None] == predicted[:, None], -1.0, residuals)
            columns["second_class"] = others.argmax(axis=1)
            columns["second_probability"] = others.max(axis=1)
            columns["margin"] = np.maximum(1 - doubts[picks] - others.max(axis=1), 0)
    if survey.rows is not None:
        taken, scale = survey.rows.take(picks), 1 / survey.scale
        lengths = [np.linalg.norm(np.asarray(part, np.float64), axis=1) for part in (taken.left, taken.right)]
        columns["embedding_norm"] = lengths[0] * lengths[1] * scale
        distances = distances_when_chosen(survey.rows, picks).astype(np.float64)
        columns["squared_distance"] = np.where(np.isfinite(distances), distances * scale**2, np.nan)
    if doubts is not None and (task.features is not None or task.representation is not None):
        columns["uncertain_neighbors"] = _uncertain_neighbors(task, doubts, picks, watch)
    if digests is not None:
        columns["copies_in_pool"] = num_copies(digests, np.flatnonzero(task.available), picks)
        columns["copies_in_batch"] = num_copies(digests, picks, picks)
    return columns


def cells_of(values: np.ndarray) -> list[str] | list[int]:
    """A column [k] as the CSV file and the page have it: whole numbers, or six digits, and nothing for NaN."""
    if values.dtype.kind != "f":
        return values.tolist()
    return ["" if np.isnan(value) else f"{value:.6g}" for value in values]


def _doubts(task: Task, watch: Watch) -> np.ndarray:
    """1 − max p of every row: [n] float32."""
    assert task.outputs is not None
    n, width = task.outputs.shape
    doubts, tile = np.empty(n, np.float32), tile_size(n, width)
    for start in tiles(n, tile):
        watch("ranking", start + tile, n)
        logits = as_logits(task.outputs.read(start, start + tile), task.has_probabilities)
        doubts[start : start + tile] = _doubts_of(logits)
    return doubts


@jax.jit
def _doubts_of(logits: jax.Array) -> jax.Array:
    return jnp.abs(jnp.min(prediction_residuals(logits), axis=1))


def _uncertain_neighbors(task: Task, doubts: np.ndarray, picks: np.ndarray, watch: Watch) -> np.ndarray:
    """How many of the most uncertain available rows have each pick as their nearest: [k] int64."""
    space = task.features if task.features is not None else task.representation
    assert space is not None
    available = np.flatnonzero(task.available)
    share = max(len(picks), round(_UNCERTAIN_SHARE * len(available)))
    uncertain = available[np.argsort(-doubts[available], kind="stable")[:share]]
    is_uncertain = np.zeros(len(task.available), bool)
    is_uncertain[uncertain] = True
    numbers = np.append(picks, np.setdiff1d(uncertain, picks))

    tile = tile_size(len(numbers), space.shape[1])
    largest = max(float(np.abs(space.take(numbers[at : at + tile])).max()) for at in tiles(len(numbers), tile))
    scale = np.float32(2.0 ** -np.ceil(np.log2(max(largest, 2.0**-100))))

    def rows_at(rows: np.ndarray) -> Rows:
        return dense_rows(jnp.asarray(space.take(rows).astype(np.float32) * scale))

    pool = StreamedRows(
        len(numbers),
        1,
        space.shape[1],
        lambda start, stop: rows_at(numbers[start:stop]),
        lambda i: rows_at(numbers[i]),
    )
    nearest = nearest_pick(pool, np.arange(len(picks)), watch)
    return np.bincount(nearest[is_uncertain[numbers]], minlength=len(picks))
