"""A user's own module, as text: strategies by a plan, one with a state, a network and data sets."""

MODULE = '''
import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import Model, Strategy
from badge_jax.strategies import Ranked, planned


def doubt(alpha=0.3):
    def score(pool):
        return -jax.nn.logsumexp(alpha * pool.logits, axis=1)

    return planned("doubt", Ranked(score), needs=("logits",))


def outermost(power=2):
    def score(pool):
        return jnp.sum(jnp.abs(pool.representation) ** power, axis=1)

    return planned("outermost", Ranked(score), needs=("representation",))


def unsure_head():
    """The least margin between the head's own logits, which it makes of the features."""

    def score(pool):
        top = jax.lax.top_k(pool.features @ pool.head.kernel + pool.head.bias[None], 2)[0]
        return top[:, 1] - top[:, 0]

    return planned("unsure_head", Ranked(score), needs=("features", "head"))


def unlike_passes():
    """The rows whose logits differ most from pass to pass."""

    def score(pool):
        return jnp.sum(jnp.var(pool.samples, axis=0), axis=1)

    return planned("unlike_passes", Ranked(score), needs=("samples",))


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


def pictures(n=90, width=5):
    rng = np.random.default_rng(1)
    labels = np.arange(n) % 3
    data = {"inputs": rng.integers(0, 99, (n, 4, 4)).astype(np.uint8), "labels": labels}
    return {**data, "representation": rng.normal(size=(n, width))} if width else data
'''
