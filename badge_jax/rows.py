"""Embeddings whose rows are outer products, and their geometry without ever forming the products."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST
_EPSILON = float(jnp.finfo(jnp.float32).eps)


class Rows(NamedTuple):
    """``n`` embedding vectors; the i-th is the outer product ``left[i] ⊗ right[i]``, of length ``c·d``.

    A BADGE gradient embedding is ``(softmax(logits) − onehot(ŷ)) ⊗ features``; an ordinary vector has
    ``left = 1`` (see `dense_rows`). Squared norms, inner products and squared distances factor, so they
    cost ``c + d`` and not ``c·d`` a row.

    left:  [n, c] float32
    right: [n, d] float32
    """

    left: jax.Array
    right: jax.Array

    def to_dense(self) -> jax.Array:
        """Every outer product written out: [n, c·d] float32, entry ``i·d + j`` is ``left_i · right_j``."""
        products = self.left[:, :, None] * self.right[:, None, :]
        return products.reshape(products.shape[0], -1)


def dense_rows(vectors: jax.Array) -> Rows:
    """Ordinary vectors [n, d] as `Rows`."""
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


def take_rows(rows: Rows, indices: jax.Array) -> Rows:
    """The rows at ``indices`` [m] int32, in that order."""
    return Rows(rows.left[indices], rows.right[indices])


def squared_norms(rows: Rows) -> jax.Array:
    """‖left‖²·‖right‖²: [n] float32."""
    return jnp.sum(rows.left**2, axis=1) * jnp.sum(rows.right**2, axis=1)


def inner_products(rows: Rows, others: Rows) -> jax.Array:
    """⟨left, left'⟩·⟨right, right'⟩ for every pair: [n, m] float32 for ``n`` rows and ``m`` others."""
    left = jnp.dot(rows.left, others.left.T, precision=HIGHEST)
    return left * jnp.dot(rows.right, others.right.T, precision=HIGHEST)


class Centers(NamedTuple):
    """Rows to which distances are taken.

    rows:  `Rows` [m]
    norms: [m] float32, their squared norms
    own:   [m] float32, their inner products with themselves, out of a matrix product
    """

    rows: Rows
    norms: jax.Array
    own: jax.Array


def as_centers(rows: Rows) -> Centers:
    """``rows`` [m] as `Centers`, at the cost of m² inner products."""
    return Centers(rows, squared_norms(rows), jnp.diagonal(inner_products(rows, rows)))


def squared_distances(rows: Rows, norms: jax.Array, centers: Centers) -> jax.Array:
    """Squared distance from every row x to every centre y, 0 within rounding of a copy: [n, m] float32.

    ‖x‖² + ‖y‖² − 2⟨x, y⟩ (Zhang et al. 2023, arXiv 2306.09910, appendix D), computed as
    (‖x‖² − ‖y‖²) + 2(⟨y, y⟩ − ⟨x, y⟩): the same number, but each bracket subtracts two that were computed in
    the same way. A copy of y then comes out within one unit in the last place of ‖x‖² + ‖y‖², where the plain
    formula leaves ten; what is below two counts as 0, so that a pool of copies has distances of 0 and not of
    rounding errors.

    norms: [n] float32, `squared_norms` of the rows
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


def at_unit_scale(rows: Rows, counted: jax.Array) -> Rows:
    """The rows times one power of two, so that the longest of those ``counted`` [n] bool has a norm near 1.

    Scaling by a power of two rounds nothing and changes no law that depends on ratios; it keeps the squares of
    very confident rows (norms under 1e-19) from underflowing. All of it goes into ``left``, so that ``right``
    need not be copied: the largest entry of ``right`` must lie between 1e-18 and 1e18.
    """

    def exponent(matrix: jax.Array) -> jax.Array:
        return jnp.frexp(jnp.max(jnp.abs(matrix), where=counted[:, None], initial=0.0))[1]

    left = jnp.ldexp(rows.left, -exponent(rows.left))
    return Rows(jnp.ldexp(left, -exponent(rows.right)), rows.right)
