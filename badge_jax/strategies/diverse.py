"""Strategies that look at the batch as a whole: a sampler over an embedding of the pool."""

import jax
import jax.numpy as jnp

from badge_jax.gradients import gradient_embedding
from badge_jax.rows import dense_rows
from badge_jax.samplers import k_center_greedy, lazy_kmeans_plusplus
from badge_jax.samplers.kmeans_plusplus import check_first
from badge_jax.strategies.interface import Pool, Strategy, stateless


def badge(*, first: str = "uniform") -> Strategy:
    """BADGE: k-means++ seeding over the gradient embeddings (Ash et al., ICLR 2020, algorithm 1).

    first: the law of a batch's first point, "uniform" (the paper), "max_norm" (the authors' code) or "norm";
           see `kmeans_plusplus`.
    Raises ValueError for another value.
    """
    check_first(first)

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        rows = gradient_embedding(pool.logits, pool.features)
        return lazy_kmeans_plusplus(key, rows, k, available=pool.available, first=first)

    return stateless(choose)


def badge_kcenter() -> Strategy:
    """Furthest-first traversal over the gradient embeddings, no centres given: FF-k-center of the paper's
    figures 2 and 24."""

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        rows = gradient_embedding(pool.logits, pool.features)
        return k_center_greedy(rows, k, available=pool.available)

    return stateless(choose)


def coreset() -> Strategy:
    """CORESET: furthest-first traversal over the penultimate features, starting from all labeled rows (Sener
    and Savarese, ICLR 2018)."""

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        rows = dense_rows(pool.features.astype(jnp.float32))
        return k_center_greedy(rows, k, available=pool.available, centers=pool.labeled)

    return stateless(choose)
