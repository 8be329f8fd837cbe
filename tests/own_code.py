"""A user's own module, as text: a strategy by a plan, one with a state, a network and a data set."""

MODULE = """
import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import Model, Strategy
from badge_jax.strategies import Ranked, planned


def doubt(alpha=0.3):
    def score(pool):
        return -jax.nn.logsumexp(alpha * pool.logits, axis=1)

    return planned("doubt", Ranked(score), needs=("logits",))


def in_turn():
    def query(key, state, pool, k):
        order = jnp.argsort(jnp.where(pool.available, (jnp.arange(len(pool.labels)) + 5 * state) % 89, 1000))
        return order[:k].astype(jnp.int32), state + 1

    return Strategy(lambda n, num_rounds: jnp.int32(0), query, needs=())


def broken():
    raise RuntimeError("no luck")


def breaks():
    def query(key, state, pool, k):
        return {}["lost"], state

    return Strategy(lambda n, num_rounds: (), query)


def network(num_classes, width=4):
    def init(key, x):
        first, second = jax.random.split(key)
        return (
            jax.random.normal(first, (x.shape[1], width)) * 0.3,
            jax.random.normal(second, (width, num_classes)) * 0.3,
        )

    def apply(variables, x, *, mask, train):
        features = jnp.tanh(x @ variables[0])
        return features @ variables[1], features, variables

    return Model(init, apply)


def blobs(n=90):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    return {"inputs": rng.normal(size=(n, 2)) + 2 * labels[:, None], "labels": labels}
"""
