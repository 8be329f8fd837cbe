"""Fisher information of a linear layer's rows, and what one row more or less would change.

A row x with class probabilities p and features z has the information I(x) = (diag p − p pᵀ) ⊗ z zᵀ about the
layer's weights. With M the information of what is known, P = M⁻¹ and F that of a target, a design is good if

    tr(P F)

is small. A form writes I(x) = V Vᵀ with r columns, exactly or simplified, and keeps two small matrices a row,

    G = Vᵀ P V,   H = Vᵀ P F P V.

If the row is added, tr(P F) falls by tr(H (1 + G)⁻¹). If it is removed, it rises by tr(H (1 − G)⁻¹). A row *
that is added (σ = 1) or removed (σ = −1) changes P by −W A Wᵀ, with W = P V_* and A = σ (1 + σ V_*ᵀ W)⁻¹. The
scores of every other row follow from U = Vᵀ W and T = Vᵀ P F W:

    G ← G − U A Uᵀ,   H ← H − U A Tᵀ − T A Uᵀ + U A (Wᵀ F W) A Uᵀ.

No matrix of a row is as long as the weights: V factors, as rows of `Rows` do.

References:
    Ash, Goel, Krishnamurthy and Kakade, NeurIPS 2021. The top class or not: Huseljic, Hahn, Herde, Rauch and
    Sick, ECML-PKDD 2024.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.embeddings import prediction_residuals
from badge_jax.rows import HIGHEST, Rows

_TILE_NUMBERS = 2**19  # numbers in the largest array of a tile of rows
_NEAR = 0.01  # most that M P may differ from 1 (Frobenius norm) for one step of Newton's iteration to do
_LEAST_REST = 1e-6  # least 1 − G for which a row is removed; below it float32 has no digits of it


class Shape(NamedTuple):
    """The sizes of a form.

    Attributes:
        num_blocks: b, independent diagonal blocks of the information.
        width: e, rows and columns of a block.
        rank: r, columns of a row's factor in a block.
    """

    num_blocks: int
    width: int
    rank: int


class Information(NamedTuple):
    """What is known, and what is to be known.

    Attributes:
        total: [b, e, e] float32, M: that of the base and of all chosen rows.
        inverse: [b, e, e] float32, P = M⁻¹; see `refreshed`.
        target: [b, e, e] float32, F.
    """

    total: jax.Array
    inverse: jax.Array
    target: jax.Array


class Scores(NamedTuple):
    """What each row would tell.

    Attributes:
        known: [n, ...] float32, G of every row.
        pull: [n, ...] float32, H of every row.
    """

    known: jax.Array
    pull: jax.Array


class Change(NamedTuple):
    """A row that is added or removed.

    Attributes:
        factor: [b, e, r] float32, V of the row.
        moved: [b, e, r] float32, W = P V.
        pulled: [b, e, r] float32, P F W.
        weight: [b, r, r] float32, A.
        bend: [b, r, r] float32, Wᵀ F W.
    """

    factor: jax.Array
    moved: jax.Array
    pulled: jax.Array
    weight: jax.Array
    bend: jax.Array


class Form(NamedTuple):
    """One way to write the information of a row, as functions of `Rows` whose right factors are the features.

    Attributes:
        left: logits [n, c] -> left factors [n, ·] float32 of the rows.
        shape: (classes, features) -> `Shape`.
        total: (rows, weights [n]) -> [b, e, e], Σ weight · I(x). A row of weight 0 need not be finite.
        factor: row, `Rows` [1] -> V [b, e, r].
        project: (rows, directions [m, b, e, r]) -> Vᵀ D of every row for every direction, [m, n, ...].
        scores: (information, rows) -> `Scores`, from P.
        gains: (scores, sign) -> [n], by how much tr(P F) falls if a row is added (sign 1) or removed (−1).
        update: (scores, change, U, T) -> scores after the change, with the projections U of its ``moved`` and T
            of its ``pulled``.
    """

    left: Callable[[jax.Array], jax.Array]
    shape: Callable[[int, int], Shape]
    total: Callable[[Rows, jax.Array], jax.Array]
    factor: Callable[[Rows], jax.Array]
    project: Callable[[Rows, jax.Array], jax.Array]
    scores: Callable[[Information, Rows], Scores]
    gains: Callable[[Scores, float], jax.Array]
    update: Callable[[Scores, Change, jax.Array, jax.Array], Scores]


@partial(jax.jit, static_argnames=("form",))
def total_information(form: Form, rows: Rows, weights: jax.Array) -> jax.Array:
    """The information of many rows, Σ weight · I(x).

    Args:
        form: of `FORMS`.
        rows: `Rows` of n rows, with the form's left factors and the features on the right, float32.
        weights: [n] float32, 0 or more. A row of weight 0 need not be finite.

    Returns:
        [b, e, e] float32.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import Rows
        >>> from badge_jax.samplers.fisher import FORMS, total_information
        >>> rows = Rows(jnp.array([[1.0], [2.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]]))
        >>> total_information(FORMS["binary"], rows, jnp.ones(2)).tolist()
        [[[1.0, 0.0], [0.0, 4.0]]]
    """
    return form.total(rows, weights.astype(jnp.float32))


def refreshed(information: Information) -> Information:
    """``information`` with P right to float32's rounding again, after it was updated many times.

    P is a difference of many numbers, and M a sum. A step of Newton's iteration, P ← P + P (1 − M P), squares
    the error of P in two matrix products. If the error is too large for that, as at the start, P is computed by
    Cholesky's decomposition; it stays if float32 finds M not positive definite.
    """
    total, inverse = information.total, information.inverse
    rest = jnp.eye(total.shape[-1])[None] - _matmul(total, inverse)
    near = _symmetric(inverse + _matmul(inverse, rest))

    def computed() -> jax.Array:
        exact = _inverse(total)
        return jnp.where(jnp.all(jnp.isfinite(exact)), exact, inverse)

    is_near = jnp.max(jnp.sum(rest**2, axis=(1, 2))) < _NEAR**2
    return information._replace(inverse=jax.lax.cond(is_near, lambda: near, computed))


def _inverse(matrices: jax.Array) -> jax.Array:
    """The inverses of positive definite matrices [b, e, e]; NaN if one is not."""

    def invert(matrix: jax.Array) -> jax.Array:
        lower = jnp.linalg.cholesky(matrix)
        half = jax.scipy.linalg.solve_triangular(lower, jnp.eye(len(matrix), dtype=jnp.float32), lower=True)
        return jnp.dot(half.T, half, precision=HIGHEST)

    # one by one: in JAX 0.10, several batches of LAPACK calls at a time wait for each other on a CPU, for ever
    return _symmetric(jax.lax.map(invert, matrices))


def _inverses_of_small(matrices: jax.Array) -> jax.Array:
    """The inverses of positive definite matrices [n, r, r], by r sweeps of each (Goodnight 1979).

    A pivot is the share of a direction that is left, 1 or more if rows are added. It may round to 0 if a row is
    removed that alone tells of a direction; then it counts as `_LEAST_REST`, and the row is dear.
    """
    places = jnp.arange(matrices.shape[1])

    def sweep(p: jax.Array, swept: jax.Array) -> jax.Array:
        column = jax.lax.dynamic_index_in_dim(swept, p, 1, keepdims=False)
        pivot = jax.lax.dynamic_index_in_dim(column, p, 1)
        pivot = jnp.maximum(pivot, _LEAST_REST)
        scaled = column / pivot
        here = (places == p)[None, :]
        scaled_here = jnp.where(here, -1 / pivot, scaled)
        rest = swept - column[:, :, None] * scaled[:, None, :]
        rest = jnp.where(here[:, :, None], scaled_here[:, None, :], rest)
        return jnp.where(here[:, None, :], scaled_here[:, :, None], rest)

    return -jax.lax.fori_loop(0, matrices.shape[1], sweep, matrices)


def change_of(information: Information, factor: jax.Array, sign: float) -> Change:
    """What adding (``sign`` 1) or removing (−1) the row with this ``factor`` [b, e, r] changes: `Change`."""
    moved = _matmul(information.inverse, factor)
    pull = _matmul(information.target, moved)
    inner = _matmul(_transposed(factor), moved)
    if inner.shape[-1] == 1:
        rest = 1 + sign * inner
        weight = sign / jnp.maximum(rest, _LEAST_REST)
    else:
        weight = sign * jnp.linalg.inv(jnp.eye(inner.shape[-1])[None] + sign * _symmetric(inner))
        weight = _symmetric(weight)
    return Change(factor, moved, _matmul(information.inverse, pull), weight, _matmul(_transposed(moved), pull))


def after(information: Information, changes: Change, sign: float, happened: jax.Array) -> Information:
    """``information`` after the ``changes``, stacked along a first axis [m], that ``happened`` [m] bool."""
    mark = happened[:, None, None, None]
    moved, factor = (jnp.where(mark, part, 0.0) for part in (changes.moved, changes.factor))
    weighted = _matmul(moved, jnp.where(mark, changes.weight, 0.0))
    fall = jnp.einsum("mber,mbfr->bef", weighted, moved, precision=HIGHEST)
    rise = jnp.einsum("mber,mbfr->bef", factor, factor, precision=HIGHEST)
    return information._replace(
        total=information.total + sign * rise, inverse=information.inverse - _symmetric(fall)
    )


_matmul = partial(jnp.matmul, precision=HIGHEST)


def _transposed(matrices: jax.Array) -> jax.Array:
    return jnp.swapaxes(matrices, -1, -2)


def _symmetric(matrices: jax.Array) -> jax.Array:
    return (matrices + _transposed(matrices)) / 2


# Forms of rank one, a block for each left factor: I(x) is diag(left²) ⊗ z zᵀ.


def _top_or_not(logits: jax.Array) -> jax.Array:
    """√(p̂ (1 − p̂)) with p̂ = max p: [n, 1]. The residual of the top class is p̂ − 1, the greatest of all."""
    return jnp.max(_each_class(logits), axis=1, keepdims=True)


def _each_class(logits: jax.Array) -> jax.Array:
    """√(p (1 − p)) of each class: [n, c]. A residual is p, or p − 1 without loss of digits."""
    doubt = jnp.abs(prediction_residuals(logits))
    return jnp.sqrt(doubt * (1 - doubt))


def _total_by_blocks(rows: Rows, weights: jax.Array) -> jax.Array:
    def add(part: Rows, weights: jax.Array, total: jax.Array) -> jax.Array:
        def add_block(left: jax.Array) -> jax.Array:
            weighted = (weights * left**2)[:, None] * part.right
            return jnp.dot(weighted.T, part.right, precision=HIGHEST)

        return total + jax.lax.map(add_block, part.left.T)

    b, d = rows.left.shape[1], rows.right.shape[1]
    return _over_tiles(rows, weights, d, add, jnp.zeros((b, d, d), jnp.float32))


def _factor_by_blocks(row: Rows) -> jax.Array:
    return (row.left[0][:, None] * row.right[0][None, :])[:, :, None]


def _project_by_blocks(rows: Rows, directions: jax.Array) -> jax.Array:
    m, b, d, _ = directions.shape
    # directions first, so that what is read a step at a time lies together
    products = jnp.dot(directions.reshape(m * b, d), rows.right.T, precision=HIGHEST)
    return jnp.swapaxes(products.reshape(m, b, -1), 1, 2) * rows.left[None, :, :]


def _scores_by_blocks(information: Information, rows: Rows) -> Scores:
    def score(part: Rows) -> Scores:
        def score_block(block: tuple) -> tuple[jax.Array, jax.Array]:
            left, inverse, target = block
            moved = jnp.dot(part.right, inverse, precision=HIGHEST)
            pull = jnp.dot(moved, target, precision=HIGHEST)
            return left**2 * jnp.sum(moved * part.right, axis=1), left**2 * jnp.sum(moved * pull, axis=1)

        # block by block: XLA is slow at products with a batch axis
        blocks = part.left.T, information.inverse, information.target
        known, pull = jax.lax.map(score_block, blocks)
        return Scores(known.T, pull.T)

    return _map_tiles(rows, rows.right.shape[1], score)


def _gains_by_blocks(scores: Scores, sign: float) -> jax.Array:
    rest = jnp.maximum(1 + sign * scores.known, _LEAST_REST)
    return sign * jnp.sum(jnp.maximum(scores.pull, 0.0) / rest, axis=1)


def _update_by_blocks(scores: Scores, change: Change, u: jax.Array, t: jax.Array) -> Scores:
    weight, bend = (part[:, 0, 0][None, :] for part in (change.weight, change.bend))
    weighted = u * weight
    return Scores(scores.known - weighted * u, scores.pull + weighted * (weighted * bend - 2 * t))


# The full form: one block of c·d rows and columns. The factor of diag p − p pᵀ = S Sᵀ is taken as
# S = diag(√p) R, where R reflects −e_ŷ to √p, without its column ŷ. That column is kept as 0. In
#     R_ij = δ_ij − √p_i √p_j / (1 + √p_ŷ),   R_ŷj = −√p_j   for i, j other than ŷ
# nothing cancels, however sure the row is.


def _roots(logits: jax.Array) -> jax.Array:
    residuals = prediction_residuals(logits)
    return jnp.sqrt(jnp.where(residuals < 0, 1 + residuals, residuals))


def _is_top(root: jax.Array) -> jax.Array:
    return jnp.arange(root.shape[1])[None, :] == jnp.argmax(root, axis=1)[:, None]


def _through(root: jax.Array, matrices: jax.Array) -> jax.Array:
    """Sᵀ Y for ``root`` = √p [n, c] and Y = ``matrices`` [n, c, m]: [n, c, m], where row ŷ is 0."""
    is_top = _is_top(root)
    top = jnp.max(root, axis=1, keepdims=True)
    shares = jnp.where(is_top, root, root**2 / (1 + top))
    mean = jnp.sum(shares[:, :, None] * matrices, axis=1, keepdims=True)
    return jnp.where(is_top, 0.0, root)[:, :, None] * (matrices - mean)


def _covariance(root: jax.Array) -> jax.Array:
    """diag p − p pᵀ: [n, c, c]."""
    c = root.shape[1]
    p, is_top = root**2, _is_top(root)
    rest = jnp.where(is_top, jnp.sum(jnp.where(is_top, 0.0, p), axis=1, keepdims=True), 1 - p)
    return jnp.where(jnp.eye(c, dtype=bool)[None], (p * rest)[:, :, None], -p[:, :, None] * p[:, None, :])


def _total_of_all(rows: Rows, weights: jax.Array) -> jax.Array:
    c, d = rows.left.shape[1], rows.right.shape[1]

    def add(part: Rows, weights: jax.Array, total: jax.Array) -> jax.Array:
        covariance = (weights[:, None, None] * _covariance(part.left)).reshape(-1, c * c)
        products = (covariance[:, :, None] * part.right[:, None, :]).reshape(-1, c * c * d)
        return total + jnp.dot(products.T, part.right, precision=HIGHEST)

    total = _over_tiles(rows, weights, c * c * d, add, jnp.zeros((c * c * d, d), jnp.float32))
    return jnp.swapaxes(total.reshape(c, c, d, d), 1, 2).reshape(1, c * d, c * d)


def _factor_of_all(row: Rows) -> jax.Array:
    c = row.left.shape[1]
    columns = _through(row.left, jnp.eye(c, dtype=jnp.float32)[None])[0].T
    return (columns[:, None, :] * row.right[0][None, :, None]).reshape(1, -1, c)


def _project_of_all(rows: Rows, directions: jax.Array) -> jax.Array:
    m, _, width, r = directions.shape
    c, d = width // rows.right.shape[1], rows.right.shape[1]
    columns = jnp.swapaxes(directions.reshape(m, c, d, r), 2, 3).reshape(m * c * r, d)
    products = jnp.dot(rows.right, columns.T, precision=HIGHEST).reshape(-1, m, c, r)
    projected = _through(rows.left, jnp.swapaxes(products, 1, 2).reshape(-1, c, m * r))
    return jnp.moveaxis(projected.reshape(-1, c, m, r), 2, 0)


def _scores_of_all(information: Information, rows: Rows) -> Scores:
    c, d = rows.left.shape[1], rows.right.shape[1]
    pull = _matmul(_matmul(information.inverse[0], information.target[0]), information.inverse[0])
    by_classes = [
        jnp.transpose(matrix.reshape(c, d, c, d), (0, 2, 1, 3)).reshape(c * c * d, d)
        for matrix in (information.inverse[0], _symmetric(pull))
    ]

    def score(part: Rows) -> Scores:
        def quadratic(matrix: jax.Array) -> jax.Array:
            products = jnp.dot(part.right, matrix.T, precision=HIGHEST).reshape(-1, c * c, d)
            inner = jnp.sum(products * part.right[:, None, :], axis=2).reshape(-1, c, c)
            return _symmetric(_through(part.left, _transposed(_through(part.left, inner))))

        return Scores(*map(quadratic, by_classes))

    return _map_tiles(rows, c * c * d, score)


def _gains_of_all(scores: Scores, sign: float) -> jax.Array:
    c = scores.known.shape[1]
    identity = jnp.eye(c, dtype=jnp.float32)[None]

    def gain(part: Scores) -> jax.Array:
        rest = _inverses_of_small(identity + sign * part.known)
        return sign * jnp.maximum(jnp.sum(rest * part.pull, axis=(1, 2)), 0.0)

    return _map_tiles(scores, 8 * c**2, gain)


def _update_of_all(scores: Scores, change: Change, u: jax.Array, t: jax.Array) -> Scores:
    weighted = _matmul(u, change.weight[0])
    half = _matmul(weighted, change.bend[0] / 2) - t
    pull = _matmul(weighted, _transposed(half))
    return Scores(
        scores.known - _symmetric(_matmul(weighted, _transposed(u))), scores.pull + pull + _transposed(pull)
    )


def _over_tiles(
    rows: Rows,
    weights: jax.Array,
    width: int,
    add: Callable[[Rows, jax.Array, jax.Array], jax.Array],
    total: jax.Array,
) -> jax.Array:
    """Folds ``(tile of rows, their weights, total) -> total`` over the rows whose weight is not 0.

    A tile holds ``width`` numbers a row. Few labeled rows of a large pool cost little: others are not read.
    """
    n = len(rows)
    tile = _tile(n, width)
    counts = weights > 0
    num_tiles = (jnp.sum(counts) + tile - 1) // tile
    order = jnp.pad(jnp.argsort(~counts, stable=True), (0, tile))

    def step(i: jax.Array, total: jax.Array) -> jax.Array:
        here = jax.lax.dynamic_slice_in_dim(order, i * tile, tile)
        is_row = counts[here] & (i * tile + jnp.arange(tile) < n)
        part = jax.tree.map(lambda a: jnp.where(is_row[:, None], a[here], 0.0), rows)
        return add(part, jnp.where(is_row, weights[here], 0.0), total)

    return jax.lax.fori_loop(0, num_tiles, step, total)


def _map_tiles(rows: Any, width: int, function: Callable[[Any], Any]) -> Any:
    """``function`` of every row, computed a tile at a time; both are pytrees of arrays with an axis of rows."""
    n = len(jax.tree.leaves(rows)[0])
    tile = _tile(n, width)

    def part_at(first: jax.Array) -> Any:
        return function(jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, tile), rows))

    def step(i: jax.Array, out: Any) -> Any:
        first = jnp.minimum(i * tile, n - tile)
        part = part_at(first)
        return jax.tree.map(lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, first, 0), out, part)

    if n == tile:
        return function(rows)
    shapes = jax.eval_shape(part_at, jax.ShapeDtypeStruct((), jnp.int32))
    out = jax.tree.map(lambda s: jnp.zeros((n, *s.shape[1:]), s.dtype), shapes)
    return jax.lax.fori_loop(0, -(-n // tile), step, out)


def _tile(n: int, width: int) -> int:
    return min(n, max(64, _TILE_NUMBERS // width))


_BINARY = Form(
    left=_top_or_not,
    shape=lambda c, d: Shape(1, d, 1),
    total=_total_by_blocks,
    factor=_factor_by_blocks,
    project=_project_by_blocks,
    scores=_scores_by_blocks,
    gains=_gains_by_blocks,
    update=_update_by_blocks,
)
_BLOCK = _BINARY._replace(left=_each_class, shape=lambda c, d: Shape(c, d, 1))
_FULL = Form(
    left=_roots,
    shape=lambda c, d: Shape(1, c * d, c),
    total=_total_of_all,
    factor=_factor_of_all,
    project=_project_of_all,
    scores=_scores_of_all,
    gains=_gains_of_all,
    update=_update_of_all,
)

FORMS = {"binary": _BINARY, "block": _BLOCK, "full": _FULL}
"""Name → `Form`, the cheapest first.

binary: the task is "top class or not". I(x) = p̂ (1 − p̂) z zᵀ with p̂ = max p; b = 1, e = d, r = 1.
block: the blocks of I(x) on the diagonal, p_i (1 − p_i) z zᵀ for each class i; b = c, e = d, r = 1.
full: I(x) = (diag p − p pᵀ) ⊗ z zᵀ; b = 1, e = c·d, r = c.
"""
