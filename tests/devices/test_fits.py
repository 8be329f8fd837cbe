"""Networks trained by 1, 2, 4 and 8 devices. ``tests/test_devices.py`` runs this with eight made-up ones."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from meshes import collectives_of, mesh_of

from badge_jax import (
    STRATEGIES,
    FitOptions,
    Model,
    make_active_learner,
    make_fit,
    make_optimizer,
    mlp,
    shard_pool,
)
from badge_jax.models.layers import BatchNorm, Convolution, dense, torch_model
from badge_jax.models.resnet import Block

pytestmark = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices: tests/test_devices.py")

N, CAPACITY, COUNT, SIZE = (
    5003,
    100,
    76,
    20,
)  # four steps an epoch, the last with 16 rows; 20 is no multiple of 8
OPTIONS = FitOptions(SIZE, max_epochs=2, target_accuracy=1.0)
AXES = [AxisType.Auto, AxisType.Explicit]


class Residual(nn.Module):
    """A stem, a block of a ResNet with its shortcut, and a linear layer: four norms."""

    @nn.compact
    def __call__(self, x, *, mask, train):
        x = nn.relu(BatchNorm()(Convolution(4)(x), mask=mask, train=train))
        x = Block(6, 2, jnp.float32)(x, mask=mask, train=train)
        features = jnp.mean(x, axis=(1, 2))
        return dense(features, 3, name="output"), features


MODELS = {"mlp": mlp(3, hidden=16), "residual": torch_model(Residual())}


def data_of(name):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(N, 5) if name == "mlp" else (N, 4, 4, 2)).astype(np.float32)
    labels = (inputs.reshape(N, -1)[:, 0] > 0) + (inputs.reshape(N, -1)[:, 1] > 0)
    indices = rng.choice(N, CAPACITY, replace=False)
    return inputs, labels.astype(np.int32), indices.astype(np.int32)


def fit_of(model, **options):
    # no Adam: where a gradient is nearly 0 it makes much of rounding
    return jax.jit(make_fit(model, optax.sgd(0.1), OPTIONS, **options))


def weights_of(result):
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(result.variables)]
    return np.concatenate(leaves)


def in_another_order(model):
    """The same function of every row; sums over a minibatch are rounded otherwise."""
    order = jax.random.permutation(jax.random.key(5), SIZE)
    back = jnp.argsort(order)

    def apply(variables, x, *, mask, train):
        logits, features, updated = model.apply(variables, x[order], mask=mask[order], train=train)
        return logits[back], features[back], updated

    return Model(model.init, apply)


def in_halves(model):
    """Each half of a minibatch has its own statistics: what two devices do that do not tell each other."""

    def apply(variables, x, *, mask, train):
        half = len(x) // 2
        first = model.apply(variables, x[:half], mask=mask[:half], train=train)
        second = model.apply(variables, x[half:], mask=mask[half:], train=train)
        return *(jnp.concatenate(parts) for parts in zip(first[:2], second[:2], strict=True)), first[2]

    return Model(model.init, apply)


@pytest.mark.parametrize("name", ["mlp", pytest.param("residual", marks=pytest.mark.slow)])
def test_devices_that_share_a_minibatch_differ_by_rounding(name):
    """As much as one device does that adds the rows of a minibatch in another order, or as the last digit."""
    model, (inputs, labels, indices) = MODELS[name], data_of(name)

    def trained(model, inputs=inputs, labels=labels, **options):
        arguments = jax.random.key(1), jnp.asarray(inputs), jnp.asarray(labels), indices, jnp.int32(COUNT)
        result = fit_of(model, **options)(*arguments)
        assert int(result.epochs) == 2
        return weights_of(result)

    alone = trained(model)
    last_digit = np.finfo(np.float32).eps * np.abs(alone).max()
    rounding = max(np.abs(trained(in_another_order(model)) - alone).max(), last_digit)
    assert rounding < 1e-5
    for count, axis_type in (
        (1, AxisType.Auto),
        (2, AxisType.Explicit),
        (4, AxisType.Auto),
        (8, AxisType.Explicit),
    ):
        mesh = mesh_of(count, axis_type, "batch")
        pool, _ = shard_pool((inputs, labels), mesh)
        together = trained(model, *pool, minibatch_sharding=NamedSharding(mesh, P("batch")))
        assert np.abs(together - alone).max() <= (10 * rounding if count > 1 else 0), count
    if name == "residual":
        assert np.abs(trained(in_halves(model)) - alone).max() > 1000 * rounding, "statistics of parts"


@pytest.mark.parametrize("axis_type", AXES)
def test_a_step_gathers_its_minibatch_alone(axis_type):
    """From a pool that lies on the devices that share the work. Both gather; the gradients are summed."""
    inputs, labels, indices = data_of("mlp")
    mesh = mesh_of(8, axis_type, "batch")
    (inputs, labels), _ = shard_pool((inputs, labels), mesh)
    width, most = inputs.shape[1], 24 * inputs.shape[1]  # 20 rows and 4 of padding
    arguments = (jax.random.key(1), inputs, labels, indices, jnp.int32(COUNT))
    kernels = {16 * width, 3 * 16}
    for options, sums in (({}, set()), ({"minibatch_sharding": NamedSharding(mesh, P("batch"))}, kernels)):
        sizes = collectives_of(fit_of(MODELS["mlp"], **options).lower(*arguments).compile())
        assert max(sizes) <= most, options
        assert sums <= {*sizes}, options


@pytest.mark.parametrize("axis_type", AXES)
@pytest.mark.parametrize("is_shared", [False, True])
def test_rounds_of_a_learner(axis_type, is_shared, compilations):
    """The pool, and labels to simulate with, lie on four devices. The weights, and so the picks, are those of
    one device to the last bit, unless the devices share the work of the fit. Round 2 compiles nothing."""
    inputs, labels, told = data_of("mlp")
    mesh, key = mesh_of(4, axis_type), jax.random.key(3)
    rows, everywhere = NamedSharding(mesh, P("pool")), NamedSharding(mesh, P())
    options = {"minibatch_sharding": rows} if is_shared else {}

    def rounds(inputs, labels, place, **options):
        learner = make_active_learner(
            MODELS["mlp"], make_optimizer(1e-2), STRATEGIES["margin"](), 10, OPTIONS, **options
        )
        fit, query, n = jax.jit(learner.fit), jax.jit(learner.query), len(inputs)
        state = learner.init(n, 3, CAPACITY + 30)
        state = learner.tell(state, np.arange(N, n), np.full(n - N, -1))  # no rows
        state = place(learner.tell(state, told, told % 3))
        for number in range(3):
            compilations.clear()
            result = fit(key, state, inputs)
            picks, state = query(key, state, result.variables, inputs, labels)
            assert (len(compilations) > 0) == (number == 0)
            yield weights_of(result), picks.tolist()
        state = learner.tell(state, picks[:1], labels_alone[picks[:1]])  # outside jit
        assert int(state.num_labeled) == CAPACITY + 30

    labels_alone = jnp.asarray(labels)
    alone = [*rounds(jnp.asarray(inputs), labels_alone, lambda state: state)]
    (inputs, labels), _ = shard_pool((inputs, labels), mesh)
    there = [*rounds(inputs, labels, lambda state: jax.device_put(state, everywhere), sharding=rows, **options)]
    for (weights, picks), (weights_there, picks_there) in zip(alone, there, strict=True):
        assert min(picks_there) >= 0
        if not is_shared:
            assert picks_there == picks
            np.testing.assert_array_equal(weights_there, weights)


@pytest.mark.slow
def test_numbers_of_64_bits():
    """With JAX's switch on, four devices that share fit and query choose what one does."""
    inputs, _, told = data_of("mlp")
    rows = NamedSharding(mesh_of(4), P("pool"))

    def picks_of(inputs, **options):
        learner = make_active_learner(
            MODELS["mlp"], make_optimizer(1e-2), STRATEGIES["coreset"](), 10, OPTIONS, **options
        )
        state = learner.init(len(inputs), 1, CAPACITY)
        state = learner.tell(state, np.arange(N, len(inputs)), np.full(len(inputs) - N, -1))  # no rows
        state = learner.tell(state, told, told % 3)
        variables = jax.jit(learner.fit)(jax.random.key(3), state, inputs).variables
        return jax.jit(learner.ask)(jax.random.key(3), state, variables, inputs)[0].tolist()

    with jax.enable_x64(True):
        assert jnp.arange(1).dtype == jnp.int64
        alone = picks_of(jnp.asarray(inputs))
        there, _ = shard_pool(inputs, rows.mesh)
        assert picks_of(there, sharding=rows, minibatch_sharding=rows) == alone


def test_what_does_not_spread_rows_is_refused():
    for wrong in (P(), P(None), P("batch", None)):
        with pytest.raises(
            ValueError, match=r"minibatch_sharding is .*; wanted NamedSharding\(mesh, Partition"
        ):
            make_fit(
                MODELS["mlp"],
                make_optimizer(1e-3),
                minibatch_sharding=NamedSharding(mesh_of(2, axis="batch"), wrong),
            )
