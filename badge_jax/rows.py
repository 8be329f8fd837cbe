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


def squared_distances(rows: Rows, others: Rows) -> jax.Array:
    """‖x‖² + ‖y‖² − 2⟨x, y⟩ for every pair, clipped at 0: [n, m] float32.

    Zhang et al. 2023, arXiv 2306.09910, appendix D.
    """
    norms = squared_norms(rows)[:, None] + squared_norms(others)[None, :]
    return jnp.maximum(norms - 2 * inner_products(rows, others), 0.0)


def squared_distances_to_row(rows: Rows, norms: jax.Array, index: jax.Array) -> jax.Array:
    """Squared distance from every row to the row at ``index``, 0 within rounding of a copy: [n] float32.

    ``norms`` are the rows' squared norms, which a caller in a loop computes once. With y the row at ``index``
    this is (‖x‖² − ‖y‖²) + 2(⟨y, y⟩ − ⟨x, y⟩): equal to the formula above, but each bracket subtracts two
    numbers computed in the same way. A copy of y then comes out within one unit in the last place of
    ‖x‖² + ‖y‖², where the formula above leaves ten; what is below two counts as 0, so that a pool of copies
    has distances of 0 and not of rounding errors.
    """
    left = jnp.dot(rows.left, rows.left[index], precision=HIGHEST)
    inner = left * jnp.dot(rows.right, rows.right[index], precision=HIGHEST)
    squared = (norms - norms[index]) + 2 * (inner[index] - inner)
    return jnp.where(squared > 2 * _EPSILON * (norms + norms[index]), squared, 0.0)


def at_unit_scale(rows: Rows) -> Rows:
    """The rows times one power of two, so that the longest has a norm near 1.

    Scaling by a power of two rounds nothing and changes no law that depends on ratios; it keeps the squares
    of very confident rows (norms under 1e-19) from underflowing, and those of very long rows from overflowing.
    """
    _, left_exponent = jnp.frexp(jnp.max(jnp.abs(rows.left)))
    _, right_exponent = jnp.frexp(jnp.max(jnp.abs(rows.right)))
    return Rows(jnp.ldexp(jnp.ldexp(rows.left, -left_exponent), -right_exponent), rows.right)
