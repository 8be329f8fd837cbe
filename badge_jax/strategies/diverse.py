"""Strategies that look at the batch as a whole: a sampler over an embedding of the pool."""

import jax
import jax.numpy as jnp

from badge_jax.embeddings import gradient_embedding
from badge_jax.rows import dense_rows, squared_norms
from badge_jax.samplers import k_center_greedy, k_dpp_swap, lazy_kmeans_plusplus
from badge_jax.samplers._kmeans_plusplus import check_first
from badge_jax.samplers.k_dpp import check_num_steps
from badge_jax.strategies.base import Pool, Strategy, stateless
from badge_jax.strategies.pointwise import uniform


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


def badge_kdpp(*, num_steps: int | None = None) -> Strategy:
    """A k-DPP over the gradient embeddings, by a chain of swaps (paper, section 3.1 and appendix G).

    Where fewer than k available rows have independent gradients there is no k-DPP: the batch is then those that
    were found, completed uniformly from the rest. k may not exceed the rank of the embedding, (c − 1)·d.
    A batch is a set, in no order of preference: its first j rows are not the batch for ``k = j``.

    num_steps: steps of the chain, None for max(50, ⌈5 k ln k⌉); see `k_dpp_swap`.
    Raises ValueError for a negative number.
    """
    if num_steps is not None:
        check_num_steps(num_steps)

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        rows = gradient_embedding(pool.logits, pool.features)
        chain_key, rest_key = jax.random.split(key)
        found = k_dpp_swap(chain_key, rows, k, available=pool.available, num_steps=num_steps)
        is_found = found >= 0
        free = pool.available.at[jnp.where(is_found, found, len(pool.available))].set(False, mode="drop")
        # no row at all although some are available: their gradients are zero, or not finite
        is_finite = jnp.all(jnp.isfinite(squared_norms(rows)) | ~pool.available)
        rest = uniform(rest_key, free, k)
        place = jnp.arange(k) - jnp.sum(is_found)  # those found come first
        return jnp.where(is_found, found, jnp.where(is_finite, rest[place % k], -1))

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
