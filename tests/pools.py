"""Pools for tests: what a strategy sees, rows of outer products, and arrays as users have them."""

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import Pool, Rows
from badge_jax.pool import Head

KINDS = ("plain", "signed", "copies", "dead", "certain", "clueless")


def make_pool(kind="plain", *, n=60, c=4, d=16, num_labeled=15, seed=0):
    """A `Pool` of n rows, ``num_labeled`` of them labeled, the others available.

    plain: features as after a ReLU. signed: features of both signs. copies: all rows the same. dead: features
    0. certain: every row surely of class 2. clueless: all logits equal.
    """
    rng = np.random.default_rng(seed)
    logits, features = rng.normal(size=(n, c)) * 3, rng.normal(size=(n, d))
    if kind != "signed":
        features = np.maximum(features, 0)
    if kind == "copies":
        logits[:], features[:] = logits[0], features[0]
    if kind == "dead":
        features[:] = 0
    if kind == "certain":
        logits[:] = np.where(np.arange(c) == 2, 1e4, -1e4)
    if kind == "clueless":
        logits[:] = 0
    labeled = np.isin(np.arange(n), rng.choice(n, num_labeled, replace=False))
    labels = np.where(labeled, rng.integers(0, c, n), -1)
    return Pool(
        jnp.asarray(logits, jnp.float32),
        jnp.asarray(features, jnp.float32),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(labeled),
        jnp.asarray(~labeled),
    )


def with_everything(pool, *, num_passes=3, seed=0):
    """The pool with a head, a representation and the logits of several passes."""
    rng = np.random.default_rng(seed)
    (n, c), d = pool.logits.shape, pool.features.shape[1]
    return pool._replace(
        head=Head(
            jnp.asarray(rng.normal(size=(d, c)), jnp.float32), jnp.asarray(rng.normal(size=c), jnp.float32)
        ),
        representation=jnp.asarray(rng.normal(size=(n, 3)), jnp.float32),
        samples=pool.logits[None] + jnp.asarray(rng.normal(size=(num_passes, n, c)), jnp.float32),
    )


def rows_at(pool, rows):
    """These rows of a pool, in this order."""
    head, samples = pool.head, pool.samples
    part = jax.tree.map(lambda array: array[rows], pool._replace(head=None, samples=None))
    return part._replace(head=head, samples=None if samples is None else samples[:, rows])


def pool_of_logits(logits, available=None):
    """A `Pool` of these logits and nothing else, no row labeled."""
    n = len(logits)
    available = jnp.ones(n, bool) if available is None else jnp.asarray(available)
    return Pool(jnp.asarray(logits, jnp.float32), None, jnp.full(n, -1), jnp.zeros(n, bool), available)


def random_rows(n=7, c=3, d=5, seed=0):
    """`Rows` with normal entries."""
    rng = np.random.default_rng(seed)
    return Rows(
        jnp.asarray(rng.normal(size=(n, c)), jnp.float32), jnp.asarray(rng.normal(size=(n, d)), jnp.float32)
    )


def pool_arrays(n=3000, c=5, d=12, seed=0):
    """features [n, d] and logits [n, c] float32, as `select` takes them."""
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.normal(size=(n, d)), 0).astype(np.float32)
    return {"features": features, "logits": (3 * rng.normal(size=(n, c))).astype(np.float32)}
