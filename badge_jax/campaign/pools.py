"""The frozen features of a campaign's pool, and parts of them, read by the row."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from badge_jax.campaign.head import TILE, TrainedHead, head_outputs, output_widths
from badge_jax.selection import matrix_of, open_matrix
from badge_jax.selection.matrices import Matrix, in_memory
from badge_jax.selection.survey import as_logits


class FrozenPool(NamedTuple):
    """Features of n rows that stay the same from batch to batch.

    Attributes:
        features: `Matrix` [n, d], what the head is trained on.
        representation: `Matrix` [n, d'], what cold starts and strategies with embedding=representation read.
    """

    features: Matrix
    representation: Matrix


class Outputs(NamedTuple):
    """What a model says of all rows of a pool.

    Attributes:
        scores: `Matrix` [n, c] of logits or probabilities, or [n, 1] of the second of two classes.
        hidden: `Matrix` [n, d'], the input of the output layer; None if it was not wanted.
        predictions: [n] int32, the classes with the largest scores.
        has_probabilities: whether the scores are probabilities.
    """

    scores: Matrix
    hidden: Matrix | None
    predictions: np.ndarray
    has_probabilities: bool = False


def part_of(matrix: Matrix, keep: np.ndarray) -> Matrix:
    """Some rows of a matrix, as a matrix.

    Args:
        matrix: [n, width].
        keep: [m] int64, rows in ascending order.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign.pools import part_of
        >>> from badge_jax.selection import matrix_of
        >>> part = part_of(matrix_of(np.array([[0.0], [1.0], [2.0]], np.float32), "features"), np.array([0, 2]))
        >>> part.read(0, 2).tolist()
        [[0.0], [2.0]]
    """
    if len(keep) == matrix.shape[0]:
        return matrix

    def read(start: int, stop: int) -> np.ndarray:
        rows = keep[start:stop]
        first, span = int(rows[0]), int(rows[-1]) + 1 - int(rows[0])
        if span > 2 * len(rows):
            return matrix.take(rows)
        return matrix.read(first, first + span)[rows - first]  # read with those between them, then left out

    return matrix._replace(
        shape=(len(keep), matrix.shape[1]),
        read=read,
        take=lambda indices: matrix.take(keep[indices]),
        stored=None,
    )


def ready_to_read(matrix: Matrix, *, is_streamed: bool) -> Matrix:
    """The matrix in memory, unless it is to be read from its file, tile by tile, and can be."""
    return matrix if is_streamed and matrix.is_in_place else in_memory(matrix)


def outputs_of(head: TrainedHead, features: Matrix, scratch: Path | None, *, with_hidden: bool) -> Outputs:
    """Computes what a head says of all rows, tile by tile.

    Args:
        head: what `fit_head` returned.
        features: `Matrix` [n, d].
        scratch: folder for files that hold the outputs; None to hold them in memory.
        with_hidden: whether to keep the input of the output layer.

    Example:
        >>> import jax, numpy as np
        >>> from badge_jax.campaign import fit_head
        >>> from badge_jax.campaign.pools import outputs_of
        >>> from badge_jax.selection import matrix_of
        >>> features = np.eye(4, dtype=np.float32)
        >>> head = fit_head(jax.random.key(0), "linear", 3, features, np.array([0, 1, 2, 2]))
        >>> outputs_of(head, matrix_of(features, "features"), None, with_hidden=False).scores.shape
        (4, 3)
    """
    n = features.shape[0]
    widths = dict(zip(("logits", "hidden"), output_widths(head), strict=True))
    wanted = {name: width for name, width in widths.items() if name == "logits" or with_hidden}
    stores = {name: _store(name, (n, width), scratch) for name, width in wanted.items()}
    predictions = np.empty(n, np.int32)
    for start in range(0, n, TILE):
        stop = min(start + TILE, n)
        first = max(0, stop - TILE)  # the last tile overlaps the one before it, so that all have one shape
        logits, hidden = (part[start - first :] for part in head_outputs(head, features.read(first, stop)))
        for name, part in (("logits", logits), ("hidden", hidden)):
            if name in stores:
                stores[name].write(start, part)
        predictions[start:stop] = logits.argmax(axis=1)
    matrices = {name: store.matrix() for name, store in stores.items()}
    return Outputs(matrices["logits"], matrices.get("hidden"), predictions)


class _InMemory:
    def __init__(self, name: str, shape: tuple[int, int]):
        self._name, self._array = name, np.empty(shape, np.float32)

    def write(self, start: int, rows: np.ndarray) -> None:
        self._array[start : start + len(rows)] = rows

    def matrix(self) -> Matrix:
        return matrix_of(self._array, self._name)


class _InFile:
    """A ``.npy`` file, written from start to end. Its name is that of a temporary file: the lock's next holder
    removes it."""

    def __init__(self, name: str, shape: tuple[int, int], folder: Path):
        self._name, self._path = name, folder / f".{name}.tmp"
        with self._path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)

    def write(self, start: int, rows: np.ndarray) -> None:
        with self._path.open("ab") as file:
            file.write(rows.astype("<f4").tobytes())

    def matrix(self) -> Matrix:
        return open_matrix(self._path, self._name)


def _store(name: str, shape: tuple[int, int], folder: Path | None) -> "_InMemory | _InFile":
    return _InMemory(name, shape) if folder is None else _InFile(name, shape, folder)


def own_outputs(scores: Matrix, *, has_probabilities: bool) -> Outputs:
    """The outputs of a model of the user's own.

    Args:
        scores: `Matrix` [n, c] of logits or probabilities, or [n, 1] of the second of two classes.
        has_probabilities: whether they are probabilities.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign.pools import own_outputs
        >>> from badge_jax.selection import matrix_of
        >>> scores = matrix_of(np.array([[0.2], [0.9]]), "probabilities")
        >>> own_outputs(scores, has_probabilities=True).predictions.tolist()
        [0, 1]
    """
    n, predictions = scores.shape[0], np.empty(scores.shape[0], np.int32)
    for start in range(0, n, TILE):
        part = scores.read(start, min(start + TILE, n))
        predictions[start : start + TILE] = np.asarray(as_logits(part, has_probabilities)).argmax(axis=1)
    return Outputs(scores, None, predictions, has_probabilities)
