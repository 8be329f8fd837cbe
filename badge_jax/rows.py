"""Embeddings whose rows are outer products, and their geometry without ever forming the products."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST
_EPSILON = float(jnp.finfo(jnp.float32).eps)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Rows:
    """``n`` embedding vectors; the i-th is the outer product ``left[i] ⊗ right[i]``, of length ``c·d``.

    A BADGE gradient embedding is ``(softmax(logits) − onehot(ŷ)) ⊗ features``. An ordinary vector has
    ``left = 1`` (see `dense_rows`). Norms, inner products and squared distances factor, so they cost ``c + d``
    and not ``c·d`` a row. A pytree: works inside ``jit``, ``vmap`` and ``scan``.

    Attributes:
        left: [n, c] float32.
        right: [n, d] float32.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import Rows
        >>> rows = Rows(left=jnp.ones((5, 2)), right=jnp.ones((5, 3)))
        >>> len(rows), len(rows[jnp.array([0, 4])]), rows.to_dense().shape
        (5, 2, (5, 6))
    """

    left: jax.Array
    right: jax.Array

    __iter__ = None  # without this, iteration would never end: JAX clamps indices

    def __len__(self) -> int:
        return self.left.shape[0]

    def __getitem__(self, indices: jax.Array | slice) -> "Rows":
        """The rows at ``indices`` [m] int32, or of a slice, in that order."""
        if not isinstance(indices, slice) and jnp.ndim(indices) != 1:
            raise ValueError(f"rows[{indices}]: wanted indices [m] or a slice, such as rows[3:4]")
        return Rows(self.left[indices], self.right[indices])

    @property
    def squared_norms(self) -> jax.Array:
        """‖left‖²·‖right‖²: [n] float32."""
        return jnp.sum(self.left**2, axis=1) * jnp.sum(self.right**2, axis=1)

    @property
    def norms(self) -> jax.Array:
        """Euclidean norms ‖left‖·‖right‖: [n] float32. They do not underflow where their squares do."""
        return jnp.linalg.norm(self.left, axis=1) * jnp.linalg.norm(self.right, axis=1)

    def to_dense(self) -> jax.Array:
        """Every outer product written out: [n, c·d] float32, entry ``i·d + j`` is ``left_i · right_j``."""
        products = self.left[:, :, None] * self.right[:, None, :]
        return products.reshape(products.shape[0], -1)


def dense_rows(vectors: jax.Array) -> Rows:
    """Ordinary vectors as `Rows`.

    Args:
        vectors: [n, d] float32.

    Returns:
        `Rows` with ``left = 1`` [n, 1] and ``right = vectors``.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import dense_rows
        >>> dense_rows(jnp.ones((4, 3))).left.shape
        (4, 1)
    """
    return Rows(jnp.ones((vectors.shape[0], 1), vectors.dtype), vectors)


def check_rows(rows: Rows) -> None:
    """Raises ValueError (at trace time) unless ``rows`` holds two float32 matrices of equal length."""
    for name, matrix in (("left", rows.left), ("right", rows.right)):
        if matrix.ndim != 2:
            raise ValueError(f"rows.{name} has shape {matrix.shape}; wanted a matrix, [n, {name[0]}]")
        if matrix.dtype != jnp.float32:
            raise ValueError(f"rows.{name} is {matrix.dtype}; wanted float32")
    if rows.left.shape[0] != rows.right.shape[0]:
        raise ValueError(
            f"rows.left has {rows.left.shape[0]} rows and rows.right has {rows.right.shape[0]}; "
            "wanted the same number"
        )


def mark_rows(n: int, indices: jax.Array, marks: jax.Array | bool = True) -> jax.Array:
    """A mask with the rows at ``indices`` marked; negative indices are dropped.

    NumPy's and JAX's own indexing counts −1 from the end: a −1 that stands for "no row" would mark the last.

    Args:
        n: length of the mask.
        indices: [m] int32; negative ones stand for no row.
        marks: [m] bool, or one bool for all.

    Returns:
        [n] bool, False where nothing was marked.
    """
    places = jnp.where(indices >= 0, indices, n)
    return jnp.zeros(n, bool).at[places].set(marks, mode="drop")


def tiles(n: int, size: int) -> list[int]:
    """Where each tile of ``size`` rows starts. The last tile overlaps its neighbour, so all have one shape."""
    size = min(n, size)
    return [min(start, n - size) for start in range(0, n, size)]


def inner_products(rows: Rows, others: Rows) -> jax.Array:
    """⟨left, left'⟩·⟨right, right'⟩ for every pair: [n, m] float32 for ``n`` rows and ``m`` others."""
    left = jnp.dot(rows.left, others.left.T, precision=HIGHEST)
    return left * jnp.dot(rows.right, others.right.T, precision=HIGHEST)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Centers:
    """Rows to which distances are taken.

    Attributes:
        rows: `Rows` [m].
        norms: [m] float32, their squared norms.
        own: [m] float32, their inner products with themselves, out of a matrix product.
    """

    rows: Rows
    norms: jax.Array
    own: jax.Array

    def __len__(self) -> int:
        return self.norms.shape[0]

    __iter__ = None

    def __getitem__(self, indices: jax.Array | slice) -> "Centers":
        return jax.tree.map(lambda part: part[indices], self)

    def block(self, start: jax.Array, size: int) -> "Centers":
        """The ``size`` centres from ``start`` (traced) on."""
        return jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, start, size), self)


def as_centers(rows: Rows) -> Centers:
    """``rows`` [m] as `Centers`, at the cost of m² inner products."""
    return Centers(rows, rows.squared_norms, jnp.diagonal(inner_products(rows, rows)))


def squared_distances(rows: Rows, norms: jax.Array, centers: Centers) -> jax.Array:
    """Squared distance from every row x to every centre y: [n, m] float32, 0 for a copy of a centre.

    ‖x‖² + ‖y‖² − 2⟨x, y⟩, computed as (‖x‖² − ‖y‖²) + 2(⟨y, y⟩ − ⟨x, y⟩). It is the same number, but each
    bracket subtracts two numbers that were computed in the same way: a copy of y comes out within one unit in
    the last place of ‖x‖² + ‖y‖², where the plain formula leaves ten. What is below two such units counts as 0,
    so that copies are at distance 0 and not at a rounding error.

    Args:
        rows: `Rows` [n].
        norms: [n] float32, their squared norms.
        centers: `Centers` [m].

    Returns:
        [n, m] float32.

    References:
        The factored distance: Zhang et al. 2023, arXiv 2306.09910, appendix D.
    """
    inner = inner_products(rows, centers.rows)
    return _from_inner(norms[:, None], centers.norms[None, :], inner, centers.own[None, :])


def squared_distances_to_row(rows: Rows, norms: jax.Array, index: jax.Array) -> jax.Array:
    """`squared_distances` from every row to the one at ``index``, in one pass: [n] float32."""
    left = jnp.dot(rows.left, rows.left[index], precision=HIGHEST)
    inner = left * jnp.dot(rows.right, rows.right[index], precision=HIGHEST)
    return _from_inner(norms, norms[index], inner, inner[index])


def _from_inner(norms: jax.Array, other_norms: jax.Array, inner: jax.Array, own: jax.Array) -> jax.Array:
    squared = (norms - other_norms) + 2 * (own - inner)
    return jnp.where(squared <= 2 * _EPSILON * (norms + other_norms), 0.0, squared)


def nearest_center(
    rows: Rows,
    norms: jax.Array,
    block_at: Callable[[jax.Array], Centers],
    count: jax.Array,
    block: int,
    start: jax.Array,
) -> jax.Array:
    """min(start, squared distance to the nearest of ``count`` centres), a block of centres at a time.

    Args:
        rows: `Rows` [n].
        norms: [n] float32, their squared norms.
        block_at: first place -> the `Centers` [block] from there on.
        count: scalar int32, how many centres count.
        block: centres in one matrix product.
        start: [n] float32, the distance known so far.

    Returns:
        [n] float32.
    """

    def nearer(first: jax.Array, distances: jax.Array, nearest: jax.Array) -> jax.Array:
        return jnp.minimum(nearest, jnp.min(distances, axis=1))

    return _over_blocks(rows, norms, block_at, count, block, nearer, start)


def nearest_place(rows: Rows, norms: jax.Array, centers: Centers, count: jax.Array, block: int) -> jax.Array:
    """Which of the first ``count`` centres is nearest to each row, the first of equals: [n] int32."""

    def nearer(first: jax.Array, distances: jax.Array, carry: tuple) -> tuple:
        nearest, place = carry
        best = jnp.min(distances, axis=1)
        best_place = (first + jnp.argmin(distances, axis=1)).astype(jnp.int32)
        return jnp.minimum(nearest, best), jnp.where(best < nearest, best_place, place)

    unknown = jnp.full(norms.shape, jnp.inf, jnp.float32), jnp.zeros(norms.shape, jnp.int32)
    return _over_blocks(rows, norms, lambda i: centers.block(i, block), count, block, nearer, unknown)[1]


def _over_blocks(
    rows: Rows,
    norms: jax.Array,
    block_at: Callable[[jax.Array], Centers],
    count: jax.Array,
    block: int,
    fold: Callable,
    start: Any,
) -> Any:
    """Folds ``(first place, distances [n, block], carry) -> carry`` over the blocks; ∞ beyond ``count``."""

    def step(i: jax.Array, carry: Any) -> Any:
        distances = squared_distances(rows, norms, block_at(i * block))
        is_counted = i * block + jnp.arange(block) < count
        return fold(i * block, jnp.where(is_counted[None, :], distances, jnp.inf), carry)

    return jax.lax.fori_loop(0, (count + block - 1) // block, step, start)


def at_unit_scale(rows: Rows, counted: jax.Array) -> Rows:
    """The rows times one power of two, so that the longest of those ``counted`` [n] bool has a norm near 1.

    Scaling by a power of two rounds nothing and changes no law that depends on ratios. It keeps the squares of
    very confident rows (norms under 1e-19) from underflowing. All of it goes into ``left``, so that ``right``
    need not be copied: the largest entry of ``right`` must lie between 1e-18 and 1e18.
    """

    def exponent(matrix: jax.Array) -> jax.Array:
        return jnp.frexp(jnp.max(jnp.abs(matrix), where=counted[:, None], initial=0.0))[1]

    left = jnp.ldexp(rows.left, -exponent(rows.left))
    return Rows(jnp.ldexp(left, -exponent(rows.right)), rows.right)
