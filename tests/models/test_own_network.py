"""A network of the user's own is a `Model` of two functions, whatever library it is written in."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from badge_jax import STRATEGIES, FitOptions, Model, linen_model, make_active_learner


def plain_functions() -> Model:
    def init(key, x):
        hidden_key, out_key = jax.random.split(key)
        return {
            "hidden": jax.random.normal(hidden_key, (x.shape[1], 16)) * 0.5,
            "out": jax.random.normal(out_key, (16, 3)) * 0.2,
        }

    def apply(variables, x, *, mask, train):
        features = jnp.tanh(x @ variables["hidden"])
        return features @ variables["out"], features, variables

    return Model(init, apply)


def equinox_model() -> Model:
    class Network(eqx.Module):
        hidden: eqx.nn.Linear
        out: eqx.nn.Linear

        def __call__(self, x):
            features = jax.nn.relu(self.hidden(x))
            return self.out(features), features

    def init(key, x):
        hidden_key, out_key = jax.random.split(key)
        return Network(eqx.nn.Linear(x.shape[1], 16, key=hidden_key), eqx.nn.Linear(16, 3, key=out_key))

    def apply(variables, x, *, mask, train):
        logits, features = jax.vmap(variables)(x)
        return logits, features, variables

    return Model(init, apply)


def nnx_model() -> Model:
    class Network(nnx.Module):
        def __init__(self, num_inputs, rngs):
            self.hidden = nnx.Linear(num_inputs, 16, rngs=rngs)
            self.out = nnx.Linear(16, 3, rngs=rngs)

        def __call__(self, x):
            features = nnx.relu(self.hidden(x))
            return self.out(features), features

    graph = nnx.graphdef(nnx.eval_shape(lambda: Network(2, nnx.Rngs(0))))

    def init(key, x):
        return nnx.state(Network(x.shape[1], nnx.Rngs(key)))

    def apply(variables, x, *, mask, train):
        logits, features = nnx.merge(graph, variables)(x)
        return logits, features, variables

    return Model(init, apply)


class WithBatchNorm(nn.Module):
    @nn.compact
    def __call__(self, x, *, mask, train):
        x = nn.Dense(16)(x)
        features = nn.relu(nn.BatchNorm(use_running_average=not train)(x, mask=_column(mask)))
        return nn.Dense(3)(features), features


def _column(mask):
    return None if mask is None else mask[:, None]


MODELS = {
    "plain functions": plain_functions,
    "equinox": equinox_model,
    "nnx": nnx_model,
    "linen with BatchNorm": lambda: linen_model(WithBatchNorm()),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_learns_actively(make):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 2)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int32) + (inputs[:, 1] > 0.5)
    learner = make_active_learner(
        make(), optax.adam(0.02), STRATEGIES["badge"](), 10, FitOptions(16, max_epochs=300)
    )
    data = jnp.asarray(inputs), jnp.asarray(labels, jnp.int32)
    state = learner.tell(learner.init(200, 2, 40), jnp.arange(20), data[1][:20])
    fit, query = jax.jit(learner.fit), jax.jit(learner.query)
    for _ in range(2):
        result = fit(jax.random.key(0), state, data[0])
        assert bool(result.converged)
        batch, state = query(jax.random.key(0), state, result.variables, *data)
        assert len(set(batch.tolist())) == 10
    assert int(state.num_labeled) == 40


def test_running_averages_are_carried_and_padding_is_masked():
    model = linen_model(WithBatchNorm())
    x = jax.random.normal(jax.random.key(0), (8, 2)) + 5
    variables = model.init(jax.random.key(1), x)
    mask = jnp.arange(8) < 5
    poisoned = jnp.where(mask[:, None], x, 1e6)
    for train in (True, False):
        clean = model.apply(variables, x, mask=mask, train=train)
        dirty = model.apply(variables, poisoned, mask=mask, train=train)
        np.testing.assert_array_equal(clean[0][:5], dirty[0][:5])
        for a, b in zip(jax.tree.leaves(clean[2]), jax.tree.leaves(dirty[2]), strict=True):
            np.testing.assert_array_equal(a, b)
    before, after = (
        variables["batch_stats"],
        model.apply(variables, x, mask=mask, train=True)[2]["batch_stats"],
    )
    assert (before["BatchNorm_0"]["mean"] != after["BatchNorm_0"]["mean"]).any()
