"""Columns that explain the picks of a selection to a person."""

import numpy as np

from badge_jax.embeddings import prediction_residuals
from badge_jax.samplers.streamed import Watch, distances_when_chosen, nearest_pick
from badge_jax.selection.survey import Survey, as_logits
from badge_jax.selection.task import Task


def explain(task: Task, survey: Survey, picks: np.ndarray, watch: Watch) -> dict[str, np.ndarray]:
    """Explains the picks of a selection.

    - ``predicted_class``: argmax of the outputs.
    - ``uncertainty``: 1 − max p.
    - ``embedding_norm``: Euclidean norm of the pick's embedding: that of the strategy's plan, else the gradient
      embedding.
    - ``squared_distance``: from the nearest earlier pick, in that embedding; NaN for the first pick.
    - ``represents``: number of available rows whose nearest pick is this one, picks included. A row that has
      several nearest picks counts for the first of them.

    Args:
        task: the selection, made with ``is_explained=True``.
        survey: the survey of its pool.
        picks: [k] int64, in the order chosen.
        watch: called with the progress.

    Returns:
        Column → [k] values. Columns whose inputs the task lacks are left out.
    """
    columns = {}
    if task.outputs is not None:
        outputs = task.outputs.take(picks)
        residuals = np.asarray(prediction_residuals(as_logits(outputs, task.has_probabilities)))
        columns["predicted_class"] = outputs.argmax(axis=1)
        columns["uncertainty"] = np.abs(residuals.min(axis=1))
    if survey.rows is not None:
        taken, scale = survey.rows.take(picks), 1 / survey.scale
        lengths = [np.linalg.norm(np.asarray(part, np.float64), axis=1) for part in (taken.left, taken.right)]
        columns["embedding_norm"] = lengths[0] * lengths[1] * scale
        distances = distances_when_chosen(survey.rows, picks).astype(np.float64)
        columns["squared_distance"] = np.where(np.isfinite(distances), distances * scale**2, np.nan)
        nearest = nearest_pick(survey.rows, picks, watch)[task.available]
        columns["represents"] = np.bincount(nearest, minlength=len(picks))
    return columns
