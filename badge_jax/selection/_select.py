"""The next batch to label from a pool of features and logits, in memory or on a disk, under a memory budget.

The pool is read in tiles whose size depends on its shape alone, so the picks do not depend on the budget.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.embeddings import prediction_residuals
from badge_jax.errors import InputError, unknown_name
from badge_jax.rows import Rows
from badge_jax.samplers._kmeans_plusplus import FIRST_POINTS
from badge_jax.samplers._lazy_kmeans_plusplus import make_plan
from badge_jax.samplers.streamed import (
    StreamedRows,
    Watch,
    distances_when_chosen,
    nearest_pick,
    streamed_k_center,
    streamed_kmeans_plusplus,
    tile_size,
    time_of_a_pass,
)
from badge_jax.selection.matrices import Matrix, in_memory, matrix_of
from badge_jax.strategies.pointwise import highest, score, uniform

_NEEDS = {  # what each strategy reads
    "badge": ("features", "outputs"),
    "badge_kcenter": ("features", "outputs"),
    "coreset": ("features",),
    "confidence": ("outputs",),
    "margin": ("outputs",),
    "entropy": ("outputs",),
    "random": (),
}
_RANKING = ("confidence", "margin", "entropy")  # strategies that score every row by itself
_SUM_TOLERANCE = 1e-2  # of the sum of a row of probabilities: float16 with a thousand classes


@dataclass(frozen=True)
class SelectOptions:
    """How to choose.

    k:             how many rows
    strategy:      badge, badge_kcenter, margin, confidence, entropy, random or coreset
    seed:          for badge and random
    first:         the first row of badge: uniform, max_norm or norm; see `kmeans_plusplus`
    memory_budget: bytes for the pool and the work on it, besides the interpreter and compiled programs (about
                   0.3 GB); None for no limit
    """

    k: int
    strategy: str = "badge"
    seed: int = 0
    first: str = "uniform"
    memory_budget: int | None = None


class Inputs(NamedTuple):
    """features [n, d]; logits or probabilities [n, c]; labeled: row numbers or a mask [n] bool."""

    features: Matrix | None = None
    logits: Matrix | None = None
    probabilities: Matrix | None = None
    labeled: np.ndarray | None = None

    @property
    def outputs(self) -> Matrix | None:
        return self.logits if self.logits is not None else self.probabilities


class Task(NamedTuple):
    """A selection that can be made: what is to be read, and which rows may be chosen.

    features, outputs: what is needed of the inputs
    available: [n] bool
    labeled:   row numbers
    work_bytes, pool_bytes: memory that the work takes, and the needed inputs
    is_streamed: whether the inputs are read from their files again and again, for want of memory
    """

    options: SelectOptions
    features: Matrix | None
    outputs: Matrix | None
    has_probabilities: bool
    available: np.ndarray
    labeled: np.ndarray
    work_bytes: int
    pool_bytes: int
    is_streamed: bool


class Selection(NamedTuple):
    """indices: [k] int64, in the order chosen. remarks: what looks wrong in a way that is no error.
    explanation: column → [k] values, see `_explain`; empty unless asked for."""

    indices: np.ndarray
    remarks: list[str]
    explanation: dict[str, np.ndarray]


class Forecast(NamedTuple):
    """memory: bytes at the peak, without interpreter and compiled programs. read: bytes read from files.
    seconds: without compilation. num_passes: over the pool, at the least."""

    memory: int
    read: int
    seconds: float
    num_passes: int


def select(
    k: int,
    *,
    features: Any = None,
    logits: Any = None,
    probabilities: Any = None,
    strategy: str = "badge",
    labeled: Any = None,
    seed: int = 0,
    first: str = "uniform",
    memory_budget: int | None = None,
) -> np.ndarray:
    """The ``k`` rows of a pool to label next.

    Arrays may be NumPy's, JAX's, or anything with ``__dlpack__`` (PyTorch tensors on the CPU), float16, float32
    or float64, and stay as they are: tiles of them are converted. The picks depend on the values, the shapes
    and the seed only. What looks wrong in a way that is no error is warned of.

    features:      [n, d], the input of the output layer; for badge, badge_kcenter and coreset
    logits:        [n, c], or ``probabilities`` [n, c] in their stead; for all strategies but coreset and random
    strategy:      "badge" (Ash et al., ICLR 2020), "badge_kcenter", "margin", "confidence", "entropy", "random"
                   or "coreset"
    labeled:       rows that are labeled already or excluded: row numbers, or a mask [n] bool. The centres that
                   coreset starts from
    seed:          for badge and random
    first:         the first row of badge: "uniform" (the paper), "max_norm" or "norm"
    memory_budget: bytes, see `SelectOptions`
    Returns [k] int64, distinct rows in the order chosen; the first j equal the answer for ``k = j``.
    Raises InputError (a ValueError) for input that does not fit or is not finite.
    """
    given = {"features": features, "logits": logits, "probabilities": probabilities}
    matrices = {name: matrix_of(array, name) for name, array in given.items() if array is not None}
    options = SelectOptions(_whole(k), strategy, _whole(seed), first, _whole(memory_budget))
    rows = None if labeled is None else _as_rows(labeled)
    selection = run_task(make_task(options, Inputs(**matrices, labeled=rows)))
    for remark in selection.remarks:
        warnings.warn(remark, UserWarning, stacklevel=2)
    return selection.indices


def make_task(options: SelectOptions, inputs: Inputs, *, is_explained: bool = False) -> Task:
    """Checks all that can be checked before the pool is read. Raises InputError for what does not fit.

    is_explained: whether all that an explanation can use is to be read as well
    """
    _check_options(options)
    given = [m for m in (inputs.features, inputs.logits, inputs.probabilities) if m is not None]
    if inputs.logits is not None and inputs.probabilities is not None:
        raise InputError("both logits and probabilities are given; wanted one of the two")
    for need in _NEEDS[options.strategy]:
        if getattr(inputs, need) is None:
            wanted = "logits or probabilities" if need == "outputs" else need
            raise InputError(f"strategy {options.strategy} wants {wanted}, and there are none")
    if not given:
        raise InputError("no features, logits or probabilities are given; wanted at least one of them")
    n = given[0].shape[0]
    for other in given[1:]:
        if other.shape[0] != n:
            raise InputError(
                f"{given[0].name} has {n} rows and {other.name} has {other.shape[0]}; wanted the same number"
            )
    labeled = _row_numbers(inputs.labeled, n)
    available = np.ones(n, bool)
    available[labeled] = False
    if options.k > available.sum():
        raise InputError(f"k = {options.k}, but {available.sum()} of {n} rows are left to choose from")
    needs = ("features", "outputs") if is_explained else _NEEDS[options.strategy]
    features = inputs.features if "features" in needs else None
    outputs = inputs.outputs if "outputs" in needs else None
    needed = [m for m in (features, outputs) if m is not None]
    work_bytes = _work_bytes(options, n, needed, len(labeled), is_explained)
    pool_bytes = sum(m.num_bytes for m in needed)
    budget = math.inf if options.memory_budget is None else options.memory_budget
    if work_bytes > budget:
        raise InputError(
            f"the memory budget of {_megabytes(budget)} is too small; wanted {_megabytes(work_bytes)} at least"
        )
    return Task(
        options,
        features,
        outputs,
        inputs.logits is None,
        available,
        labeled,
        work_bytes,
        pool_bytes,
        is_streamed=work_bytes + pool_bytes > budget and not all(m.is_in_memory for m in needed),
    )


def run_task(task: Task, watch: Watch = lambda *_: None, *, is_explained: bool = False) -> Selection:
    """Reads the pool and chooses. Raises InputError for values that are not finite, or no probabilities.

    watch: told of the progress
    """
    if not task.is_streamed:
        features, outputs = (m and in_memory(m) for m in (task.features, task.outputs))
        task = task._replace(features=features, outputs=outputs)
    survey = _survey(task, watch)
    rows = _embedding(task, survey)
    indices, num_distinct = _choose(task, survey, rows, watch)
    remarks = list(survey.remarks)
    if num_distinct < task.options.k:
        remarks.append(
            f"only {num_distinct} of the {task.options.k} picks differ: the available rows left were copies of "
            "rows chosen or labeled, or all zero"
        )
    explanation = _explain(task, survey, rows, indices, watch) if is_explained else {}
    return Selection(indices, remarks, explanation)


def _choose(task: Task, survey: "_Survey", rows: StreamedRows | None, watch: Watch) -> tuple[np.ndarray, int]:
    """The picks [k] int64, and how many were made before only copies were left."""
    options, available = task.options, jnp.asarray(task.available)
    key = jax.random.key(options.seed)
    if options.strategy == "random":
        return np.asarray(uniform(key, available, options.k), np.int64), options.k
    if options.strategy in _RANKING:
        return np.asarray(highest(jnp.asarray(survey.scores), available, options.k), np.int64), options.k
    assert rows is not None  # make_task asked for its inputs
    if options.strategy == "badge":
        batch = streamed_kmeans_plusplus(key, rows, options.k, task.available, options.first, watch)
    else:
        centers = task.labeled if options.strategy == "coreset" else np.zeros(0, np.int64)
        batch = streamed_k_center(rows, options.k, task.available, centers, watch)
    return batch.indices.astype(np.int64), batch.num_distinct


def forecast(task: Task, *, is_explained: bool = False) -> Forecast:
    """What the task will take, from its sizes and the time that reading a tile takes on this machine."""
    passes = {"badge": 2 + (task.options.first != "uniform"), "badge_kcenter": 3, "coreset": 2, "random": 0}
    rows, seconds = _embedding(task, _Survey([], None, 0, 0)), 0.0
    num_passes = passes.get(task.options.strategy, 1) + (is_explained and rows is not None)
    if rows is not None:
        a_pass, a_distance = time_of_a_pass(rows)
        num_tests = task.options.k**2 if task.options.strategy == "badge" else 0
        num_tests += task.options.k * rows.num_rows if is_explained else 0
        seconds = num_passes * a_pass + num_tests * a_distance
    return Forecast(
        memory=task.work_bytes + (0 if task.is_streamed else task.pool_bytes),
        read=task.pool_bytes * (num_passes if task.is_streamed else 1),
        seconds=seconds,
        num_passes=num_passes,
    )


def _explain(
    task: Task, survey: "_Survey", rows: StreamedRows | None, picks: np.ndarray, watch: Watch
) -> dict[str, np.ndarray]:
    """What a person wants to know of each pick; a column needs its inputs to be there.

    predicted_class:  argmax of the outputs
    uncertainty:      1 − max p
    embedding_norm:   norm of the embedding that the strategy draws from (the gradient embedding for those that
                      draw from none)
    squared_distance: to the nearest pick before it; NaN for the first
    represents:       available rows, picks included, to which no pick is nearer; of equals the first counts
    """
    columns = {}
    if task.outputs is not None:
        outputs = task.outputs.take(picks)
        residuals = np.asarray(_residuals(outputs, task.has_probabilities))
        columns["predicted_class"] = outputs.argmax(axis=1)
        columns["uncertainty"] = np.abs(residuals.min(axis=1))
    if rows is not None:
        scale = 1 / math.prod(map(float, _scales(survey)))
        taken = rows.take(picks)
        lengths = [np.linalg.norm(np.asarray(part, np.float64), axis=1) for part in taken]
        columns["embedding_norm"] = lengths[0] * lengths[1] * scale
        distances = distances_when_chosen(rows, picks).astype(np.float64)
        columns["squared_distance"] = np.where(np.isfinite(distances), distances * scale**2, np.nan)
        nearest = nearest_pick(rows, picks, watch)[task.available]
        columns["represents"] = np.bincount(nearest, minlength=len(picks))
    return columns


class _Survey(NamedTuple):
    """What one look at the whole pool tells.

    scores: [n] float32 of a strategy that ranks rows, else None
    left_exponent, right_exponent: the embedding's largest entries of left and right are below 2 to these
    """

    remarks: list[str]
    scores: np.ndarray | None
    left_exponent: int
    right_exponent: int


def _survey(task: Task, watch: Watch) -> _Survey:
    """Reads everything once: checks it, ranks rows where that is the strategy, and finds the scale."""
    counted = np.ones(len(task.available), bool) if task.options.strategy == "coreset" else task.available
    survey = _Survey([], None, 0, 0)
    if task.outputs is not None:
        survey = _survey_outputs(task, task.outputs, counted, survey, watch)
    if task.features is not None:
        survey = _survey_features(task.features, counted, survey, watch)
    return survey


def _survey_outputs(task: Task, outputs: Matrix, counted: np.ndarray, survey: _Survey, watch: Watch) -> _Survey:
    ranked_by = task.options.strategy if task.options.strategy in _RANKING else None
    is_finite, is_distribution, residual, scores = _by_row(
        outputs, partial(_look_at_outputs, is_probability=task.has_probabilities, ranked_by=ranked_by), watch
    )
    _refuse(outputs, ~is_finite, "with NaN or infinity (as float32)", "wanted finite values")
    remarks = _constant_remark(outputs)
    if task.has_probabilities:
        wanted = "wanted values from 0 to 1 that sum to 1"
        _refuse(outputs, ~is_distribution, "that are no probabilities", wanted)
    elif outputs.shape[1] > 1 and is_distribution.all():
        remarks.append(f"{outputs.name}: taken as logits, but every row looks like probabilities")
    exponent = math.frexp(residual[counted].max())[1]
    return _Survey(survey.remarks + remarks, scores, exponent, survey.right_exponent)


def _survey_features(features: Matrix, counted: np.ndarray, survey: _Survey, watch: Watch) -> _Survey:
    is_finite, greatest = _by_row(features, _look_at_features, watch)
    _refuse(features, ~is_finite, "with NaN or infinity (as float32)", "wanted finite values")
    largest = float(greatest[counted].max())
    remarks = survey.remarks + _constant_remark(features)
    return survey._replace(remarks=remarks, right_exponent=math.frexp(largest)[1])


def _by_row(matrix: Matrix, look: Callable[[np.ndarray], tuple], watch: Watch) -> list[np.ndarray]:
    """What ``look`` tells of each row, tile by tile: arrays [n]."""
    n = matrix.shape[0]
    found: list[np.ndarray] = []
    tile = tile_size(n, matrix.shape[1])
    for start in (min(start, n - tile) for start in range(0, n, tile)):
        watch(f"checking {matrix.name}", start + tile, n)
        parts = look(matrix.read(start, start + tile))
        found = found or [np.empty(n, part.dtype) for part in parts]
        for whole, part in zip(found, parts, strict=True):
            whole[start : start + tile] = part
    return found


@jax.jit
def _look_at_features(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of each row: whether it is finite, greatest magnitude."""
    # as integers, since a maximum of floats may lose a NaN: magnitudes keep their order, then ∞, then NaN
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32) & 0x7FFFFFFF
    greatest = jax.lax.bitcast_convert_type(jnp.max(bits, axis=1), jnp.float32)
    return jnp.isfinite(greatest), greatest


@partial(jax.jit, static_argnames=("is_probability", "ranked_by"))
def _look_at_outputs(
    values: jax.Array, *, is_probability: bool, ranked_by: str | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Of each row: whether it is finite, whether it is a distribution, greatest residual, score."""
    values = values.astype(jnp.float32)
    logits = jnp.log(values) if is_probability else values
    return (
        jnp.all(jnp.isfinite(values), axis=1),
        jnp.all(values >= 0, axis=1) & (jnp.abs(jnp.sum(values, axis=1) - 1) < _SUM_TOLERANCE),
        jnp.max(jnp.abs(prediction_residuals(logits)), axis=1),
        score(ranked_by, logits) if ranked_by else jnp.zeros(len(values), jnp.float32),
    )


def _constant_remark(matrix: Matrix) -> list[str]:
    """A remark if all rows are the same; most pools are cleared by a look at two rows."""
    n, tile = matrix.shape[0], tile_size(*matrix.shape)
    first = matrix.read(0, 1)
    if n == 1 or not np.array_equal(matrix.read(n - 1, n), first):
        return []
    if all((matrix.read(start, min(n, start + tile)) == first).all() for start in range(0, n, tile)):
        return [f"{matrix.name}: all {n} rows are the same"]
    return []


def _refuse(matrix: Matrix, is_bad: np.ndarray, what: str, wanted: str) -> None:
    if is_bad.any():
        first = int(is_bad.argmax())
        count = int(is_bad.sum())
        raise InputError(f"{matrix.name}: {count} of {len(is_bad)} rows {what}, first row {first}; {wanted}")


def _embedding(task: Task, survey: _Survey) -> StreamedRows | None:
    """What the strategy, or an explanation, draws distances from; None if its inputs are not all there."""
    features, outputs = task.features, task.outputs
    if task.options.strategy == "coreset":
        outputs = None
    elif outputs is None:
        return None
    if features is None:
        return None

    scales = _scales(survey)

    def rows_of(read: Callable[[Matrix], np.ndarray]) -> Rows:
        return _rows_of(
            None if outputs is None else read(outputs),
            read(features),
            scales,
            task.has_probabilities,
        )

    return StreamedRows(
        num_rows=features.shape[0],
        num_left=1 if outputs is None else outputs.shape[1],
        num_right=features.shape[1],
        read=lambda start, stop: rows_of(lambda matrix: matrix.read(start, stop)),
        take=lambda indices: rows_of(lambda matrix: matrix.take(indices)),
    )


def _scales(survey: _Survey) -> tuple[np.float32, np.float32]:
    """Powers of two that bring the largest entries of left and right near 1."""
    exponents = survey.left_exponent, survey.right_exponent
    left, right = (np.float32(2.0 ** max(-126, min(126, -exponent))) for exponent in exponents)
    return left, right


@partial(jax.jit, static_argnames="has_probabilities")
def _rows_of(
    outputs: jax.Array | None,
    features: jax.Array,
    scales: tuple[jax.Array, jax.Array],
    has_probabilities: bool,
) -> Rows:
    """The embedding at unit scale; see `at_unit_scale`, which knows only pools in memory."""
    right = features.astype(jnp.float32)
    left = jnp.ones((len(right), 1), jnp.float32) if outputs is None else _residuals(outputs, has_probabilities)
    return Rows(left * scales[0], right * scales[1])


@partial(jax.jit, static_argnames="has_probabilities")
def _residuals(outputs: jax.Array, has_probabilities: bool) -> jax.Array:
    outputs = outputs.astype(jnp.float32)
    return prediction_residuals(jnp.log(outputs) if has_probabilities else outputs)


def _as_rows(labeled: Any) -> np.ndarray:
    try:
        return np.asarray(labeled)
    except Exception:  # each library refuses in its own way
        raise InputError(
            f"labeled is a {type(labeled).__name__} that NumPy cannot read; wanted row numbers or a mask"
        ) from None


def _whole(value: Any) -> Any:
    """NumPy's integers as Python's; what is no integer is left for `_check_options`."""
    return int(value) if isinstance(value, np.integer) else value


def _check_options(options: SelectOptions) -> None:
    if isinstance(options.k, bool) or not isinstance(options.k, int) or options.k < 1:
        raise InputError(f"k is {options.k!r}; wanted a whole number, 1 or more")
    if not isinstance(options.strategy, str) or options.strategy not in _NEEDS:
        raise unknown_name("strategy", str(options.strategy), _NEEDS)
    if options.first not in FIRST_POINTS:
        raise unknown_name("first", str(options.first), FIRST_POINTS)
    if isinstance(options.seed, bool) or not isinstance(options.seed, int) or not 0 <= options.seed < 2**32:
        raise InputError(f"seed is {options.seed!r}; wanted a whole number from 0 to 4294967295")
    budget = options.memory_budget
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
        raise InputError(f"memory_budget is {budget!r}; wanted a number of bytes")


def _row_numbers(labeled: np.ndarray | None, n: int) -> np.ndarray:
    """Row numbers from row numbers or a mask [n] bool."""
    if labeled is None:
        return np.zeros(0, np.int64)
    if labeled.dtype == bool:
        if labeled.shape != (n,):
            raise InputError(f"labeled is a mask of shape {labeled.shape}; wanted ({n},)")
        return np.flatnonzero(labeled)
    if labeled.ndim != 1 or (labeled.dtype.kind not in "iu" and labeled.size):
        raise InputError(
            f"labeled is {labeled.dtype} of shape {labeled.shape}; wanted row numbers, or a mask [n] bool"
        )
    if labeled.size == n > 2 and labeled.max() <= 1:
        raise InputError("labeled holds only 0 and 1, one for each row; wanted row numbers, or a mask as bool")
    outside = (labeled < 0) | (labeled >= n)
    if outside.any():
        raise InputError(f"labeled holds row {labeled[outside.argmax()]}; wanted 0 to {n - 1}")
    numbers, counts = np.unique(labeled.astype(np.int64), return_counts=True)
    if (counts > 1).any():
        raise InputError(f"labeled holds row {numbers[counts.argmax()]} {counts.max()} times; wanted it once")
    return numbers


def _work_bytes(
    options: SelectOptions, n: int, needed: list[Matrix], num_labeled: int, is_explained: bool
) -> int:
    """Memory besides the pool: a few numbers for each row, the chosen rows, and the tiles in flight."""
    width = sum(matrix.shape[1] for matrix in needed)
    if not width:
        return 16 * n
    source = max(matrix.dtype.itemsize for matrix in needed)
    tile = tile_size(n, max(matrix.shape[1] for matrix in needed))
    num_held = {
        "badge": 3 * (min(options.k, make_plan(n, 0, width).capacity) + 512),
        "badge_kcenter": 2 * 2048,
        "coreset": 4 * num_labeled + 2 * 2048,
    }.get(options.strategy, 0)
    explaining = 16 * width * options.k + 24 * 1024 * options.k if is_explained else 0
    return 40 * n + 4 * width * num_held + explaining + tile * width * (source + 12) + 4 * tile * 256


def _megabytes(num_bytes: float) -> str:
    return f"{math.ceil(num_bytes / 1e6):,} MB"
