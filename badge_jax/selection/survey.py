"""One pass over the pool, tile by tile: checks its values, finds its scale, and scores its rows."""

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import names
from badge_jax.embeddings import pool_gradients
from badge_jax.errors import InputError
from badge_jax.pool import Pool
from badge_jax.rows import Rows, tiles, unit_exponents
from badge_jax.samplers.streamed import StreamedRows, Watch, tile_size
from badge_jax.selection.matrices import Matrix
from badge_jax.selection.task import Task
from badge_jax.strategies import Ranked, Spread
from badge_jax.strategies.base import scores_of

_SUM_TOLERANCE = (
    1e-2  # error of the sum of a row of probabilities; float16 with a thousand classes needs this much
)

Embed = Callable[[Pool], Rows]


class Survey(NamedTuple):
    """The results of one pass over the pool.

    Attributes:
        remarks: suspicious but valid input, one line each.
        scores: [n] float32; None if the strategy's plan is not `Ranked`.
        rows: the embedding in which distances are computed, at unit scale: that of the strategy's plan, else
            the gradient embedding. None if the task lacks its inputs.
        scale: what the embedding was multiplied by to bring it to unit scale.
    """

    remarks: list[str]
    scores: np.ndarray | None
    rows: StreamedRows | None
    scale: float


class Part(NamedTuple):
    """Some rows of the pool as they are stored; None for what is not read.

    Attributes:
        outputs: [m, c] float, logits or probabilities.
        features: [m, d] float.
        representation: [m, d'] float.
        labeled: [m] bool.
        available: [m] bool, rows that may be chosen.
    """

    outputs: Any
    features: Any
    representation: Any
    labeled: Any
    available: Any


class Look(NamedTuple):
    """The results for the rows of one tile, or of the whole pool; a field that does not apply is None.

    Attributes:
        are_outputs_finite: [tile] bool.
        is_distribution: [tile] bool, whether the outputs are probabilities that sum to 1.
        are_features_finite: [tile] bool.
        is_representation_finite: [tile] bool.
        score: [tile] float32, of a `Ranked` plan.
        left: [tile] float32, greatest absolute entry of the left factor; NaN if one is not finite.
        right: [tile] float32, greatest absolute entry of the right factor, likewise.
    """

    are_outputs_finite: Any
    is_distribution: Any
    are_features_finite: Any
    is_representation_finite: Any
    score: Any
    left: Any
    right: Any


class Validity(NamedTuple):
    """Which rows are valid, [n] bool each; a field that does not apply is None.

    Attributes:
        are_outputs_finite: as in `Look`.
        is_distribution: as in `Look`.
        are_features_finite: as in `Look`.
        is_representation_finite: as in `Look`.
        is_score_number: whether the score is not NaN.
        is_left_finite: whether the left factor is finite.
        is_right_finite: whether the right factor is finite.
    """

    are_outputs_finite: Any
    is_distribution: Any
    are_features_finite: Any
    is_representation_finite: Any
    is_score_number: Any
    is_left_finite: Any
    is_right_finite: Any


def survey(task: Task, watch: Watch) -> Survey:
    """Reads the pool once: checks its values, finds its scale, and scores its rows.

    Args:
        task: the selection.
        watch: called with the progress.

    Returns:
        `Survey`.

    Raises:
        InputError: if a value is not finite, or a row of ``probabilities`` does not sum to 1.
    """
    with errors_of_strategy(task):
        found = _look_at_all(task, watch)
    counted = task.available
    if isinstance(task.strategy.plan, Spread) and task.strategy.plan.centers == "labeled":
        counted = np.ones(len(task.available), bool)
    remarks = check_values(task, validity_of(found))
    rows: StreamedRows | None = None
    scales: tuple[np.float32, ...] = ()
    if found.left is not None and found.right is not None:
        left, right = (jnp.where(counted, part, 0.0) for part in (found.left, found.right))
        exponents = unit_exponents(left, right)
        scales = tuple(_power_of_two(int(exponent)) for exponent in exponents)
        rows = streamed_rows(task, scales)
    return Survey(remarks, found.score, rows, math.prod(map(float, scales)))


@contextlib.contextmanager
def errors_of_strategy(task: Task) -> Iterator[None]:
    """Turns what a strategy's own code raises into an InputError."""
    try:
        yield
    except (InputError, OSError, jax.errors.JaxRuntimeError):  # of files and devices, not of the strategy
        raise
    except Exception as error:
        raise InputError(f"strategy {task.name}: {names.problem_of(error, task.code)}") from error


def embedding_of(task: Task) -> Embed | None:
    """The function that embeds a pool; None if the task lacks an input that it reads."""
    if isinstance(task.strategy.plan, Spread):
        return task.strategy.plan.embed
    return None if task.outputs is None or task.features is None else pool_gradients


def streamed_rows(task: Task, scales: tuple[np.float32, ...]) -> StreamedRows:
    """The embedding of a task's pool, read in tiles.

    Args:
        task: one for which `embedding_of` is not None.
        scales: two powers of two, which multiply the left and right factors.

    Returns:
        `StreamedRows`.
    """
    embed = embedding_of(task)
    assert embed is not None

    def rows_at(index: slice | np.ndarray) -> Rows:
        return _scaled(embed, part_of(task, index), scales, task.has_probabilities)

    def read(start: int, stop: int) -> Rows:
        return rows_at(slice(start, stop))

    shape = jax.eval_shape(lambda: read(0, 1))
    return StreamedRows(len(task.available), shape.left.shape[1], shape.right.shape[1], read, rows_at)


def as_logits(outputs: jax.Array | np.ndarray, has_probabilities: bool) -> jax.Array:
    """``outputs`` [m, c] as logits, float32: the logarithms of probabilities. One column z, of two classes,
    gives [0, z]; one column p gives the logarithms of [1 − p, p]."""
    values = jnp.asarray(outputs).astype(jnp.float32)
    if values.shape[1] == 1:
        values = jnp.concatenate([1 - values if has_probabilities else jnp.zeros_like(values), values], axis=1)
    return jnp.log(values) if has_probabilities else values


def part_of(task: Task, index: slice | np.ndarray) -> Part:
    """The rows of a slice, or at indices [m] in that order, read now."""

    def rows_of(matrix: Matrix) -> np.ndarray:
        return matrix.read(index.start, index.stop) if isinstance(index, slice) else matrix.take(index)

    outputs, features, representation = (
        m and rows_of(m) for m in (task.outputs, task.features, task.representation)
    )
    return Part(outputs, features, representation, task.is_labeled[index], task.available[index])


def pool_of(part: Part, has_probabilities: bool) -> Pool:
    """Some rows of the pool as a strategy sees them, float32; no label is known.

    Args:
        part: `Part` of m rows.
        has_probabilities: whether the outputs are probabilities.

    Returns:
        `Pool` of m rows.
    """
    logits: Any = None if part.outputs is None else as_logits(part.outputs, has_probabilities)
    features: Any
    features, representation = (
        None if rows is None else rows.astype(jnp.float32) for rows in (part.features, part.representation)
    )
    unknown = jnp.full(part.available.shape, -1, jnp.int32)
    return Pool(logits, features, unknown, part.labeled, part.available, None, representation)


def _look_at_all(task: Task, watch: Watch) -> Look:
    """`Look` of the whole pool, as NumPy arrays [n], tile by tile."""
    n = len(task.available)
    found = Look(None, None, None, None, None, None, None)
    if not task.needed:
        return found
    tile = tile_size(n, sum(matrix.shape[1] for matrix in task.needed))
    for start in tiles(n, tile):
        stop = start + tile
        watch("checking", stop, n)
        part = look_at(
            part_of(task, slice(start, stop)),
            score=task.strategy.plan if isinstance(task.strategy.plan, Ranked) else None,
            embed=embedding_of(task),
            has_probabilities=task.has_probabilities,
        )
        if start == 0:
            found = jax.tree.map(lambda values: np.empty(n, values.dtype), part)
        for whole, values in zip(jax.tree.leaves(found), jax.tree.leaves(part), strict=True):
            whole[start:stop] = values
    return found


@partial(jax.jit, static_argnames=("score", "embed", "has_probabilities"))
def look_at(part: Part, *, score: Ranked | None, embed: Embed | None, has_probabilities: bool) -> Look:
    """`Look` of one tile."""
    pool = pool_of(part, has_probabilities)
    rows = None if embed is None else embed(pool)
    return Look(
        _are_finite(part.outputs),
        None if part.outputs is None else _are_distributions(part.outputs.astype(jnp.float32)),
        _are_finite(part.features),
        _are_finite(part.representation),
        None if score is None else scores_of(score, pool),
        None if rows is None else _greatest(rows.left),
        None if rows is None else _greatest(rows.right),
    )


def _are_distributions(values: jax.Array) -> jax.Array:
    """Whether rows are probabilities: [m] bool from [m, c], or from [m, 1] of the second of two classes."""
    total = jnp.sum(values, axis=1)
    if values.shape[1] == 1:
        return (total >= 0) & (total <= 1)
    return jnp.all(values >= 0, axis=1) & (jnp.abs(total - 1) < _SUM_TOLERANCE)


def _greatest(factors: jax.Array) -> jax.Array:
    """Greatest absolute entry of each row; NaN where one is not finite: XLA's maximum may pass over a NaN."""
    return jnp.where(jnp.all(jnp.isfinite(factors), axis=1), jnp.max(jnp.abs(factors), axis=1), jnp.nan)


def _are_finite(rows: jax.Array | None) -> jax.Array | None:
    return None if rows is None else jnp.all(jnp.isfinite(rows), axis=1)


@partial(jax.jit, static_argnames=("embed", "has_probabilities"))
def _scaled(embed: Embed, part: Part, scales: tuple[jax.Array, ...], has_probabilities: bool) -> Rows:
    """The embedding at unit scale. `at_unit_scale` does the same for pools in memory."""
    rows = embed(pool_of(part, has_probabilities))
    return Rows(rows.left * scales[0], rows.right * scales[1])


def _power_of_two(exponent: int) -> np.float32:
    """2 to minus this exponent, as far as float32 has it."""
    return np.float32(2.0 ** max(-126, min(126, -exponent)))


def validity_of(found: Look) -> Validity:
    """Which rows are valid, from a `Look` of NumPy's or JAX's arrays."""
    score, left, right = found.score, found.left, found.right
    return Validity(
        found.are_outputs_finite,
        found.is_distribution,
        found.are_features_finite,
        found.is_representation_finite,
        None if score is None else score == score,
        None if left is None else left < math.inf,  # NaN is not
        None if right is None else right < math.inf,
    )


def check_values(task: Task, valid: Validity) -> list[str]:
    """Returns remarks on suspicious values. Raises InputError for invalid ones."""
    remarks = []
    if task.outputs is not None and valid.is_distribution is not None:
        _refuse(task.outputs, ~valid.are_outputs_finite, "with NaN or infinity (as float32)", "finite values")
        remarks += _constant_remark(task.outputs)
        if task.has_probabilities:
            _refuse_distributions(task.outputs, ~valid.is_distribution)
        elif task.outputs.shape[1] > 1 and valid.is_distribution.all():
            remarks.append(f"{task.outputs.name}: taken as logits, but every row looks like probabilities")
    for matrix, are_finite in (
        (task.features, valid.are_features_finite),
        (task.representation, valid.is_representation_finite),
    ):
        if matrix is not None:
            _refuse(matrix, ~are_finite, "with NaN or infinity (as float32)", "finite values")
            remarks += _constant_remark(matrix)
    for is_finite in (valid.is_left_finite, valid.is_right_finite):
        if is_finite is not None and not is_finite.all():
            first, count = int((~is_finite).argmax()), int((~is_finite).sum())
            raise InputError(
                f"strategy {task.name} embeds {count} rows as NaN or infinity, first row {first}; wanted "
                "finite values"
            )
    if valid.is_score_number is not None and not valid.is_score_number.all():
        raise InputError(f"strategy {task.name} scores {int((~valid.is_score_number).sum())} rows as NaN")
    return remarks


def check_outputs(outputs: Matrix, has_probabilities: bool, is_read: np.ndarray) -> None:
    """Checks outputs of a model, tile by tile, before a strategy is given some of them.

    Args:
        outputs: `Matrix` [n, c], or [n, 1] of the second of two classes.
        has_probabilities: whether they are probabilities; else logits.
        is_read: [n] bool, the rows that count.

    Raises:
        InputError: where such a row is not finite, or no distribution; where all logits look like
            probabilities.
    """
    n, tile = outputs.shape[0], tile_size(*outputs.shape)
    is_infinite, is_other = np.zeros(n, bool), np.zeros(n, bool)
    for start in tiles(n, tile):
        values = jnp.asarray(outputs.read(start, min(start + tile, n))).astype(jnp.float32)
        is_infinite[start : start + tile] = ~np.asarray(_are_finite(values))
        is_other[start : start + tile] = ~np.asarray(_are_distributions(values))
    _refuse(outputs, is_infinite & is_read, "with NaN or infinity (as float32)", "finite values")
    if has_probabilities:
        _refuse_distributions(outputs, is_other & is_read)
    elif outputs.shape[1] > 1 and not is_other.any():
        raise InputError(
            f"{outputs.name}: every row looks like probabilities; wanted logits, or these as probabilities"
        )


def _refuse_distributions(outputs: Matrix, is_bad: np.ndarray) -> None:
    wanted = "values from 0 to 1" + (" that sum to 1" if outputs.shape[1] > 1 else "")
    _refuse(outputs, is_bad, "that are no probabilities", wanted)


def _constant_remark(matrix: Matrix) -> list[str]:
    """A remark if all rows are the same; for most pools, two rows show that they are not."""
    n, tile = matrix.shape[0], tile_size(*matrix.shape)
    first = matrix.read(0, 1)
    if n == 1 or not np.array_equal(matrix.read(n - 1, n), first):
        return []
    if all((matrix.read(start, start + tile) == first).all() for start in tiles(n, tile)):
        return [f"{matrix.name}: all {n} rows are the same"]
    return []


def _refuse(matrix: Matrix, is_bad: np.ndarray, what: str, wanted: str) -> None:
    """Raises InputError if a row is marked in ``is_bad`` [n] bool."""
    if is_bad.any():
        first, count = int(is_bad.argmax()), int(is_bad.sum())
        raise InputError(
            f"{matrix.name}: {count} of {len(is_bad)} rows {what}, first row {first}; wanted {wanted}"
        )
