"""Rows that are equal, or nearly so: how many copies a pick has, and batches without them."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.errors import InputError
from badge_jax.rows import tiles
from badge_jax.samplers.streamed import Watch, tile_size
from badge_jax.selection.choose import Chosen, choose
from badge_jax.selection.matrices import Matrix
from badge_jax.selection.survey import Survey
from badge_jax.selection.task import Task

_AT_ONCE = 4096  # rows
DIGEST = 16  # bytes: among 10⁹ different rows, two share one with probability 10⁻²¹


def choose_apart(task: Task, survey: Survey, digests: np.ndarray | None, watch: Watch) -> Chosen:
    """Chooses the rows of a selection, apart from each other as ``task.unique`` says.

    Of equal rows only the first may be chosen, and none that is equal to a labeled row. Where a cosine below 1
    is wanted, picks that are too near to an earlier one are dropped, what is near to the picks kept is left
    out, and the strategy chooses again, with those picks as labeled ones, until there are k.

    Args:
        task: the selection.
        survey: the survey of its pool.
        digests: [n] of the rows, see `row_digests`; None if rows may be equal.
        watch: called with the progress.

    Returns:
        `Chosen`.

    Raises:
        InputError: if there are not k rows that are apart.
    """
    key, cosine = jax.random.key(task.seed), task.unique
    if cosine is None:
        return choose(task, survey, key, watch)
    assert digests is not None
    task = task._replace(available=_first_of_equals(digests, task.available, task.is_labeled))
    _check_left(task, task.k)
    if cosine == 1:
        return choose(task, survey, key, watch)
    space = task.features if task.features is not None else task.representation
    assert space is not None  # checked with the options
    kept, turn = np.zeros(0, np.int64), 0
    while True:
        part = task._replace(k=min(task.k, int(task.available.sum())))
        picks = choose(part, survey, jax.random.fold_in(key, turn), watch).indices
        new = _apart(space, kept, picks, cosine)[: task.k - len(kept)]
        kept, turn = np.append(kept, new), turn + 1
        if len(kept) == task.k:
            return Chosen(kept, task.k)
        is_out = _near(space, new, cosine, watch) if len(new) else np.zeros(len(task.available), bool)
        is_out[picks] = True
        is_labeled = task.is_labeled.copy()
        is_labeled[new] = True
        task = task._replace(available=task.available & ~is_out, is_labeled=is_labeled)
        _check_left(task, task.k - len(kept))


def row_digests(task: Task, watch: Watch) -> np.ndarray:
    """A digest of what is read of each row, as float32: equal for equal rows, different for others.

    Args:
        task: the selection.
        watch: called with the progress.

    Returns:
        [n] of two uint64.
    """
    n = len(task.available)
    digests = np.empty((n, 2), np.uint64)
    tile = tile_size(n, sum(matrix.shape[1] for matrix in task.needed))
    for start in tiles(n, tile):
        watch("comparing rows", start + tile, n)
        digests[start : start + tile] = _digests(
            np.hstack([_plain(matrix.read(start, start + tile)) for matrix in task.needed])
        )
    return digests


def num_copies(digests: np.ndarray, among: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """How many rows are equal to each pick, besides itself.

    Args:
        digests: [n] of two uint64.
        among: [m] int64, the rows to count, each once.
        picks: [k] int64, row numbers.

    Returns:
        [k] int64.
    """
    wanted = {digests[pick].tobytes(): 0 for pick in picks}
    for row in among[np.isin(digests[among, 0], digests[picks, 0])]:
        if (digest := digests[row].tobytes()) in wanted:
            wanted[digest] += 1
    return np.array([wanted[digests[pick].tobytes()] for pick in picks], np.int64) - np.isin(picks, among)


def remarks_on_repeats(task: Task, picks: np.ndarray, digests: np.ndarray | None = None) -> list[str]:
    """A remark if picks are equal, in what is read of them, to earlier picks or to labeled rows.

    Args:
        task: the selection.
        picks: [k] int64, row numbers.
        digests: [n] of all rows, see `row_digests`, where they are known. Else rows are read.
    """
    if not task.needed or task.unique is not None:  # then none was to be chosen
        return []
    seen = _contents(task, task.labeled, digests)
    different = _contents(task, picks, digests) - seen
    count = len(picks) - len(different)
    if not count:
        return []
    of = "earlier picks or of labeled rows" if seen else "earlier picks"
    return [f"{count} of the {task.k} picks are copies of {of}; unique = 1 leaves them out"]


def _contents(task: Task, rows: np.ndarray, digests: np.ndarray | None) -> set[bytes]:
    """The digests of some rows."""
    found: set[bytes] = set()
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        if digests is not None:
            known = digests[part]
        else:
            known = _digests(np.hstack([_plain(matrix.take(part)) for matrix in task.needed]))
        found |= {digest.tobytes() for digest in known}
    return found


def _plain(rows: np.ndarray) -> np.ndarray:
    """float32, with 0 for −0."""
    return rows.astype(np.float32) + np.float32(0)


def _digests(rows: np.ndarray) -> np.ndarray:
    content = b"".join(hashlib.blake2b(row.tobytes(), digest_size=DIGEST).digest() for row in rows)
    return np.frombuffer(content, np.uint64).reshape(-1, 2)


def _first_of_equals(digests: np.ndarray, available: np.ndarray, is_labeled: np.ndarray) -> np.ndarray:
    """The available rows that are equal to no labeled row and to no available one before them: [n] bool."""
    order = np.lexsort((np.arange(len(digests)), ~is_labeled, digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    found = np.empty(len(order), bool)
    found[order] = is_first
    return found & available


def _check_left(task: Task, k: int) -> None:
    if (left := int(task.available.sum())) < k:
        how = "copies of each other or of labeled rows" if task.unique == 1 else f"nearer than {task.unique:g}"
        raise InputError(
            f"k = {task.k}, but only {task.k - k + left} rows can be chosen that are not {how}; wanted a "
            "smaller k, or no unique"
        )


def _apart(space: Matrix, kept: np.ndarray, picks: np.ndarray, cosine: float) -> np.ndarray:
    """The picks, in order, whose cosine with every pick kept before them is below ``cosine``: [m] int64."""
    units = _unit(space.take(np.append(kept, picks)).astype(np.float64))
    is_kept = np.zeros(len(units), bool)
    is_kept[: len(kept)] = True
    for i in range(len(kept), len(units)):
        is_kept[i] = not (units[is_kept] @ units[i] >= cosine).any()
    return picks[is_kept[len(kept) :]]


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def _near(space: Matrix, picks: np.ndarray, cosine: float, watch: Watch) -> np.ndarray:
    """The rows of the pool whose cosine with a pick is ``cosine`` or more: [n] bool."""
    n, width = space.shape
    centers = jnp.asarray(_unit(space.take(picks).astype(np.float64)), jnp.float32)
    is_near, tile = np.zeros(n, bool), tile_size(n, width)
    for start in tiles(n, tile):
        watch("leaving out", start + tile, n)
        is_near[start : start + tile] = _near_any(space.read(start, start + tile), centers, cosine)
    return is_near


@jax.jit
def _near_any(rows: jax.Array, centers: jax.Array, cosine: jax.Array) -> jax.Array:
    rows = rows.astype(jnp.float32)
    scale = jnp.max(jnp.abs(rows), axis=1, keepdims=True)
    rows = rows / jnp.where(scale > 0, scale, 1.0)
    lengths = jnp.linalg.norm(rows, axis=1)
    products = jnp.matmul(rows, centers.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.max(products, axis=1) >= cosine * jnp.where(lengths > 0, lengths, jnp.inf)
