"""What to select, and from which pool: options and inputs, checked before the pool is read."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from badge_jax import names
from badge_jax.errors import InputError
from badge_jax.names import CodeFile
from badge_jax.samplers.checks import is_number
from badge_jax.selection.budget import held_bytes, pool_bytes, work_bytes
from badge_jax.selection.matrices import Matrix
from badge_jax.selection.row_lists import row_numbers
from badge_jax.strategies import STRATEGIES, Strategy

MEGABYTE = 1e6


@dataclass(frozen=True)
class SelectOptions:
    """How to choose.

    Attributes:
        k: how many rows to choose, 1 or more.
        strategy: a string such as "badge" or "badge(first=norm)", or a `Strategy`.
        seed: of strategies that draw, from 0 to 2³² − 1.
        memory_budget: bytes for the pool and the work on it. The interpreter and compiled programs need about
            0.3 GB more. None: no limit.
        explain: whether the picks are to be explained.
        unique: 1 leaves out copies of labeled rows and of other picks. A number below 1 also leaves out rows
            whose features (or else representation) have this cosine, or a greater one, with those of an earlier
            pick. None: rows may be equal.

    Example:
        >>> from badge_jax.selection import SelectOptions
        >>> SelectOptions(100, memory_budget=4 * 10**9).seed
        0
    """

    k: int
    strategy: str | Strategy = "badge"
    seed: int = 0
    memory_budget: int | None = None
    explain: bool = False
    unique: float | None = None


class Inputs(NamedTuple):
    """A pool of n rows. At least one of the matrices must be given.

    Attributes:
        features: `Matrix` [n, d], the input of the output layer.
        logits: `Matrix` [n, c]; [n, 1] is the logit of the second of two classes, whose first has logit 0.
        probabilities: `Matrix` [n, c], in place of logits; [n, 1] is of the second of two classes.
        labeled: rows that are labeled already or excluded: row numbers [m] int, which may repeat, or a mask [n]
            bool. None: no row.
        representation: `Matrix` [n, d'], features that stay the same from batch to batch, for strategies that
            need them.

    Example:
        >>> import numpy as np
        >>> from badge_jax.selection import Inputs, matrix_of
        >>> logits = matrix_of(np.zeros((5, 3), np.float32), "logits")
        >>> Inputs(logits=logits, labeled=np.array([4])).logits.shape
        (5, 3)
    """

    features: Matrix | None = None
    logits: Matrix | None = None
    probabilities: Matrix | None = None
    labeled: np.ndarray | None = None
    representation: Matrix | None = None


class Task(NamedTuple):
    """A selection whose options and inputs are checked, see `make_task`.

    Attributes:
        k: how many rows to choose.
        seed: of strategies that draw.
        name: name of the strategy.
        strategy: `Strategy`.
        code: the user's file that the strategy comes from; None for others.
        features: `Matrix` [n, d]; None if it is not read.
        outputs: `Matrix` [n, c] of logits or probabilities, or [n, 1] of two classes; None if it is not read.
        representation: `Matrix` [n, d']; None if it is not read.
        has_probabilities: whether the outputs are probabilities.
        available: [n] bool, rows that may be chosen.
        is_labeled: [n] bool, rows that are labeled or excluded.
        explain: whether the picks are to be explained.
        unique: as in `SelectOptions`.
        work_bytes: memory for the work, in bytes.
        pool_bytes: size of the inputs that are read, in bytes as stored.
        held_bytes: size of those inputs whose files are held in memory under every budget.
        is_streamed: whether every pass reads the other inputs from their files, because all together do not fit
            in memory.
    """

    k: int
    seed: int
    name: str
    strategy: Strategy
    code: CodeFile | None
    features: Matrix | None
    outputs: Matrix | None
    representation: Matrix | None
    has_probabilities: bool
    available: np.ndarray
    is_labeled: np.ndarray
    explain: bool
    unique: float | None
    work_bytes: int
    pool_bytes: int
    held_bytes: int
    is_streamed: bool

    @property
    def labeled(self) -> np.ndarray:
        """The rows that are labeled or excluded: [m] int64, in ascending order."""
        return np.flatnonzero(self.is_labeled)

    @property
    def needed(self) -> list[Matrix]:
        """The matrices that are read."""
        return [m for m in (self.features, self.outputs, self.representation) if m is not None]

    def with_each(self, change: Callable[[Matrix], Matrix]) -> "Task":
        """The task with another form of every matrix that is read."""
        features, outputs, fixed = (m and change(m) for m in (self.features, self.outputs, self.representation))
        return self._replace(features=features, outputs=outputs, representation=fixed)


def make_task(options: SelectOptions, inputs: Inputs) -> Task:
    """Checks options and inputs, as far as is possible before the pool is read.

    Args:
        options: how to choose.
        inputs: the pool.

    Returns:
        The `Task`, for `run_task` and `forecast`.

    Raises:
        InputError: if an option or a shape is not as described, the strategy needs more than there is, fewer
            than k rows are available, or the memory budget is too small.

    Example:
        >>> import numpy as np
        >>> from badge_jax.selection import Inputs, SelectOptions, make_task, matrix_of
        >>> features = matrix_of(np.ones((5, 4), np.float32), "features")
        >>> logits = matrix_of(np.ones((5, 3), np.float32), "logits")
        >>> task = make_task(SelectOptions(2), Inputs(features, logits, labeled=np.array([4])))
        >>> task.available.tolist(), task.pool_bytes
        ([True, True, True, True, False], 140)
    """
    _check_options(options)
    name, strategy, code = _strategy_of(options.strategy)
    outputs = inputs.logits if inputs.logits is not None else inputs.probabilities
    if inputs.logits is not None and inputs.probabilities is not None:
        raise InputError("both logits and probabilities are given; wanted one of the two")
    have = {"logits": outputs, "features": inputs.features, "representation": inputs.representation}
    _check_needs(name, strategy, have)
    n = num_rows(inputs)
    labeled = np.zeros(0, np.int64) if inputs.labeled is None else row_numbers(inputs.labeled, n)
    is_labeled = np.zeros(n, bool)
    is_labeled[labeled] = True
    available = ~is_labeled
    if options.k > available.sum():
        raise InputError(f"k = {options.k}, but {available.sum()} of {n} rows are left to choose from")
    compares = options.explain or options.unique is not None
    needs = have if compares else strategy.needs
    features, outputs, representation = (
        have[need] if need in needs else None for need in ("features", "logits", "representation")
    )
    needed = [m for m in (features, outputs, representation) if m is not None]
    if options.unique is not None:
        _check_unique(options.unique, needed, features if features is not None else representation)
    work = work_bytes(strategy, options.k, n, needed, len(labeled), compares)
    budget = math.inf if options.memory_budget is None else options.memory_budget
    if strategy.plan is None and needed and work + pool_bytes(needed) > budget:
        raise InputError(
            f"strategy {name} needs the whole pool in memory, "
            f"{_megabytes(work + pool_bytes(needed))}; the memory budget is {_size(budget)}"
        )
    held = held_bytes(needed)
    if work + held > budget:
        whole = " and ".join(f"{m.name} is {m.why_whole}" for m in needed if m.why_whole)
        reason = (
            f"; {whole}, so it is held in memory; a .npy file in C order is read in pieces" if whole else ""
        )
        raise InputError(
            f"the memory budget of {_size(budget)} is too small; wanted {_megabytes(work + held)} at least"
            f"{reason}"
        )
    return Task(
        options.k,
        options.seed,
        name,
        strategy,
        code,
        features,
        outputs,
        representation,
        inputs.logits is None,
        available,
        is_labeled,
        options.explain,
        options.unique,
        work,
        pool_bytes(needed),
        held,
        is_streamed=work + pool_bytes(needed) > budget and any(m.is_in_place for m in needed),
    )


def num_rows(inputs: Inputs) -> int:
    """The rows of a pool.

    Args:
        inputs: the pool.

    Returns:
        n.

    Raises:
        InputError: if no matrix is given, or the matrices have different numbers of rows.

    Example:
        >>> import numpy as np
        >>> from badge_jax.selection import Inputs, matrix_of, num_rows
        >>> num_rows(Inputs(logits=matrix_of(np.zeros((5, 3), np.float32), "logits")))
        5
    """
    matrices = (inputs.features, inputs.logits, inputs.probabilities, inputs.representation)
    given = [m for m in matrices if m is not None]
    if not given:
        raise InputError(
            "no features, logits, probabilities or representation are given; wanted at least one of them"
        )
    n = given[0].shape[0]
    for other in given[1:]:
        if other.shape[0] != n:
            raise InputError(
                f"{given[0].name} has {n} rows and {other.name} has {other.shape[0]}; wanted the same number"
            )
    return n


def _strategy_of(given: str | Strategy) -> tuple[str, Strategy, CodeFile | None]:
    """The name of the strategy, and the strategy. Raises InputError if it remembers its earlier batches."""
    if isinstance(given, Strategy):
        name, strategy, code = "(yours)", given, None
    else:
        found = names.find("strategy", str(given), STRATEGIES)
        name, strategy, code = found.text, names.make("strategy", found, Strategy), found.source
    state = jax.eval_shape(lambda: strategy.init(1, 1))
    if jax.tree.leaves(state):
        raise InputError(
            f"strategy {name} learns from batch to batch, and select makes a single one; it runs in "
            "`badge-jax run` and in make_active_learner"
        )
    return name, strategy, code


def _check_needs(name: str, strategy: Strategy, given: dict[str, Matrix | None]) -> None:
    """Raises InputError if ``given`` lacks a field that the strategy reads."""
    for need in strategy.needs:
        if need not in given:
            raise InputError(
                f"strategy {name} needs pool.{need}, which select does not have; other options may do without "
                "(`badge-jax strategies`)"
            )
        if given[need] is None:
            wanted = {
                "logits": "logits or probabilities, and there are none; without a model yet, kmeans chooses by "
                "features alone, or see badge-jax campaign",
                "features": "features, and there are none",
                "representation": "a representation, and there is none",
            }
            instead = ""
            if need == "features" and given["representation"] is not None:
                instead = "; many read the representation instead with embedding=representation"
            raise InputError(f"strategy {name} wants {wanted[need]}{instead}")
    others = [matrix for need, matrix in given.items() if need != "representation" and matrix is not None]
    counts_rows = not others and not strategy.needs  # as random's may
    if given["representation"] is not None and "representation" not in strategy.needs and not counts_rows:
        raise InputError(
            f"strategy {name} does not read a representation; wanted none, or a strategy that does, such as "
            "maxherding(embedding=representation)"
        )


def _check_options(options: SelectOptions) -> None:
    """Raises InputError if an option is not of its type or out of range."""
    if isinstance(options.k, bool) or not isinstance(options.k, int) or options.k < 1:
        raise InputError(f"k is {options.k!r}; wanted a whole number, 1 or more")
    if isinstance(options.seed, bool) or not isinstance(options.seed, int) or not 0 <= options.seed < 2**32:
        raise InputError(f"seed is {options.seed!r}; wanted a whole number from 0 to 4294967295")
    budget = options.memory_budget
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
        raise InputError(f"memory_budget is {budget!r}; wanted a number of bytes")


def _check_unique(unique: float, needed: list[Matrix], space: Matrix | None) -> None:
    """Raises InputError if ``unique`` is out of range, or there is nothing to compare rows by."""
    if not (is_number(unique) and 0 < unique <= 1):
        raise InputError(f"unique is {unique!r}; wanted 1 to leave out copies, or a cosine between 0 and 1")
    if not needed:
        raise InputError("unique compares rows, and there is nothing to read; wanted features or logits")
    if unique < 1 and space is None:
        raise InputError(f"unique = {unique:g} compares features; wanted features or a representation, or 1")


def _megabytes(num_bytes: float) -> str:
    return f"{math.ceil(num_bytes / MEGABYTE):,} MB"


def _size(num_bytes: float) -> str:
    """A size as a user may have written it."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.4g} {name}"
    return f"{num_bytes} bytes"
