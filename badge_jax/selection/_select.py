"""The next batch to label from a pool of features and logits, in memory or on a disk, under a memory budget.

The pool is read in tiles whose size depends on its shape alone, so the picks do not depend on the budget.
"""

import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from badge_jax.errors import InputError
from badge_jax.samplers.streamed import Watch
from badge_jax.selection.copies import choose_apart, remarks_on_repeats, row_digests
from badge_jax.selection.explain import explain
from badge_jax.selection.matrices import Matrix, in_memory, matrix_of, open_matrix
from badge_jax.selection.survey import survey
from badge_jax.selection.task import Inputs, SelectOptions, Task, make_task
from badge_jax.strategies import Strategy


class Selection(NamedTuple):
    """The answer to a `Task`.

    Attributes:
        indices: [k] int64, in the order chosen.
        remarks: what is valid and looks wrong.
        explanation: column -> [k] values, see `explain`; empty unless asked for.
    """

    indices: np.ndarray
    remarks: list[str]
    explanation: dict[str, np.ndarray]


@overload
def select(k: int, *, explain: Literal[False] = False, **options: Any) -> np.ndarray: ...


@overload
def select(k: int, *, explain: Literal[True], **options: Any) -> Selection: ...


def select(  # type: ignore[misc]  # what the overloads call options are the arguments named here
    k: int,
    *,
    features: Any = None,
    logits: Any = None,
    probabilities: Any = None,
    representation: Any = None,
    strategy: str | Strategy = "badge",
    labeled: Any = None,
    seed: int = 0,
    memory_budget: int | None = None,
    unique: float | None = None,
    explain: bool = False,
) -> np.ndarray | Selection:
    """The ``k`` rows of a pool to label next.

    Arrays may be NumPy's, JAX's, or anything with ``__dlpack__`` (PyTorch tensors on the CPU), of float16,
    float32 or float64; or the path of a file, see `open_matrix`. They stay as they are: tiles of them are
    converted. The picks depend on the values, the shapes and the seed only. Valid input that looks wrong gives
    a UserWarning.

    Args:
        k: how many rows.
        features: [n, d], the input of the output layer.
        logits: [n, c]; or [n] or [n, 1] of the second of two classes, whose first has logit 0.
        probabilities: in place of logits: [n, c], or [n] or [n, 1] of the second of two classes.
        representation: [n, d'], features that stay the same from batch to batch, for strategies that need them.
        strategy: what `badge-jax strategies` lists, with options in parentheses, such as "badge(first=norm)",
            or a `Strategy`. It must not remember earlier batches.
        labeled: rows that are labeled already or excluded: row numbers, or a mask [n] bool. Strategies such as
            coreset start from them.
        seed: of strategies that draw.
        memory_budget: bytes for the pool and the work on it, see `SelectOptions`.
        unique: 1 leaves out copies, a cosine below 1 also what is nearer than it, see `SelectOptions`.
        explain: whether to say more of each pick.

    Returns:
        [k] int64, distinct rows in the order chosen. For a strategy that is prefix-consistent the first j equal
        the answer for ``k = j``. With ``explain``, a `Selection`, which has them as ``indices``, and columns
        about them as ``explanation``.

    Raises:
        InputError: (a ValueError) for input that does not fit or is not finite.

    Example:
        >>> import numpy as np
        >>> from badge_jax import select
        >>> logits = np.array([[0.0, 9.0], [1.0, 1.1], [0.0, 5.0]], np.float32)
        >>> select(2, logits=logits, strategy="margin").tolist()
        [1, 2]
        >>> select(2, logits=logits, strategy="margin", explain=True).explanation["second_class"].tolist()
        [0, 0]
    """
    given = {"features": features, "logits": logits, "probabilities": probabilities}
    given["representation"] = representation
    matrices: dict[str, Any] = {}
    for name, array in given.items():
        is_column = name in ("logits", "probabilities")
        if isinstance(array, str | Path):
            matrices[name] = open_matrix(Path(array), name, is_column=is_column)
        elif array is not None:
            matrices[name] = matrix_of(array, name, is_column=is_column)
    options = SelectOptions(_as_int(k), strategy, _as_int(seed), _as_int(memory_budget), explain, unique)
    rows = None if labeled is None else _as_rows(labeled)
    selection = run_task(make_task(options, Inputs(**matrices, labeled=rows)))
    for remark in selection.remarks:
        warnings.warn(remark, UserWarning, stacklevel=2)
    return selection if explain else selection.indices


def run_task(task: Task, watch: Watch = lambda *_: None) -> Selection:
    """Reads the pool and chooses.

    Args:
        task: what to choose, and from what.
        watch: called with the progress.

    Raises:
        InputError: for values that are not finite, for rows that are no probabilities, and for files that are
            damaged.

    Example:
        >>> import numpy as np
        >>> from badge_jax.selection import Inputs, SelectOptions, make_task, matrix_of, run_task
        >>> features = matrix_of(np.array([[1.0], [2.0], [3.0]]), "features")
        >>> logits = matrix_of(np.array([[0.0, 9.0], [1.0, 1.1], [0.0, 5.0]]), "logits")
        >>> task = make_task(SelectOptions(2), Inputs(features, logits, labeled=np.array([0])))
        >>> sorted(run_task(task).indices.tolist())
        [1, 2]
    """
    task = task.with_each(lambda matrix: _made_ready(matrix, task.is_streamed))
    look = survey(task, watch)
    compares = task.needed and (task.explain or task.unique is not None)
    digests = row_digests(task, watch) if compares else None
    chosen = choose_apart(task, look, digests, watch)
    remarks = list(look.remarks)
    if chosen.num_distinct < task.k:
        remarks.append(
            f"only {chosen.num_distinct} of the {task.k} picks differ: the available rows left were copies of "
            "rows chosen or labeled, or all zero"
        )
    else:
        remarks += remarks_on_repeats(task, chosen.indices, digests)
    explanation = (
        {} if digests is None or not task.explain else explain(task, look, digests, chosen.indices, watch)
    )
    return Selection(chosen.indices, remarks, explanation)


def _made_ready(matrix: Matrix, is_streamed: bool) -> Matrix:
    """The matrix in memory, unless it is to stay in its file; either way, damage to an archive is found."""
    if not (is_streamed and matrix.is_in_place):
        return in_memory(matrix)
    assert matrix.stored is not None
    matrix.stored.check()
    return matrix


def _as_rows(labeled: Any) -> np.ndarray:
    try:
        return np.asarray(labeled)
    except Exception:  # each library refuses in its own way
        raise InputError(
            f"labeled is a {type(labeled).__name__} that NumPy cannot read; wanted row numbers or a mask"
        ) from None


def _as_int(value: Any) -> Any:
    """NumPy's integers as Python's; what is no integer is left for `make_task` to refuse."""
    return int(value) if isinstance(value, np.integer) else value
