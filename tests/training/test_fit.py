import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import softmax
from scipy import stats

from badge_jax import FitOptions, Model, make_fit, make_optimizer, make_predict, mlp
from badge_jax.training import make_evaluate, make_train_step
from badge_jax.training.fit import _shuffle


def make_data(n=200, num_inputs=5, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, num_inputs)).astype(np.float32)
    labels = np.argmax(inputs @ rng.normal(size=(num_inputs, num_classes)), axis=1)
    return jnp.asarray(inputs), jnp.asarray(labels, jnp.int32)


def fit_once(fit, inputs, labels, num_labeled, capacity=None, key=0):
    indices = jnp.arange(capacity or num_labeled, dtype=jnp.int32)
    return fit(jax.random.key(key), inputs, labels, indices, jnp.int32(num_labeled))


def numpy_losses(params, minibatches, learning_rate):
    """Losses before each step of Adam with gradients clipped elementwise to ±0.1, in float64."""
    params = [np.asarray(p, np.float64) for p in params]
    first, second = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    losses = []
    for t, (x, y) in enumerate(minibatches, start=1):
        w1, b1, w2 = params
        before = x @ w1 + b1
        features = np.maximum(before, 0)
        p = softmax(features @ w2)
        losses.append(-np.log(p[np.arange(len(y)), y]).mean())
        residual = (p - np.eye(w2.shape[1])[y]) / len(y)
        hidden = (residual @ w2.T) * (before > 0)
        gradients = [x.T @ hidden, hidden.sum(0), features.T @ residual]
        for i, gradient in enumerate(gradients):
            gradient = np.clip(gradient, -0.1, 0.1)
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            step = first[i] / (1 - 0.9**t) / (np.sqrt(second[i] / (1 - 0.999**t)) + 1e-8)
            params[i] = params[i] - learning_rate * step
    return losses


@pytest.mark.parametrize("scale", [1.0, 20.0], ids=["small gradients", "clipped gradients"])
def test_losses_follow_a_float64_twin(scale):
    """200 minibatches of 16, the last of every 10 padded with masked rows that hold nonsense. The output layer,
    13 x 3, is tall enough for its gradient to be made as 3 x 13."""
    inputs, labels = make_data(150)
    inputs = inputs * scale
    model, optimizer = mlp(3, hidden=13), make_optimizer(1e-3)
    variables = model.init(jax.random.key(0), inputs[:1])
    params = variables["params"]
    start = [params["hidden"]["kernel"], params["hidden"]["bias"], params["output"]["kernel"]]
    step, optimizer_state = jax.jit(make_train_step(model, optimizer)), optimizer.init(variables)
    rng, losses, minibatches = np.random.default_rng(1), [], []
    for t in range(200):
        rows, size = rng.choice(150, 16, replace=False), 6 if t % 10 == 9 else 16
        mask = jnp.arange(16) < size
        x = jnp.where(mask[:, None], inputs[rows], 1e3)
        variables, optimizer_state, metrics = step(variables, optimizer_state, x, labels[rows], mask)
        losses.append(float(metrics.loss))
        kept = rows[:size]
        minibatches.append((np.asarray(inputs, np.float64)[kept], np.asarray(labels)[kept]))
    np.testing.assert_allclose(losses, numpy_losses(start, minibatches, 1e-3), atol=1e-4)


def test_variables_may_be_plain_numbers():
    inputs, labels = make_data(20)

    def apply(variables, x, *, mask, train):
        return variables["scale"] * (x @ variables["kernel"]), x, variables

    variables = {"kernel": jnp.ones((inputs.shape[1], 3)), "scale": 1.0}
    model, optimizer = Model(lambda key, x: variables, apply), make_optimizer(1e-2)
    state = optimizer.init(variables)
    stepped, _, metrics = make_train_step(model, optimizer)(
        variables, state, inputs, labels, jnp.ones(20, bool)
    )
    assert np.isfinite(float(metrics.loss))
    assert float(stepped["scale"]) != 1.0 or not np.allclose(stepped["kernel"], 1.0)


def test_stops_at_the_target():
    inputs, labels = make_data()
    fit = jax.jit(make_fit(mlp(3, hidden=64), make_optimizer(1e-2), FitOptions(32)))
    result = fit_once(fit, inputs, labels, 120)
    assert bool(result.converged)
    assert 1 < int(result.epochs) < 3000
    assert 0.99 <= float(result.train_accuracy) <= 1
    predicted = make_predict(mlp(3, hidden=64))(result.variables, inputs[:120]).logits.argmax(1)
    assert (predicted == labels[:120]).mean() > 0.97


def test_labels_that_cannot_be_fitted_end_at_max_epochs():
    inputs, _ = make_data()
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 3, 200), jnp.int32)
    fit = jax.jit(make_fit(mlp(3, hidden=2), make_optimizer(1e-3), FitOptions(32, max_epochs=7)))
    result = fit_once(fit, inputs, labels, 200)
    assert int(result.epochs) == 7
    assert not bool(result.converged)


def test_one_epoch_counts_every_labeled_row_once():
    """With steps of size 0 the accuracy counted during an epoch is that of the initial weights."""
    inputs, labels = make_data()
    model = mlp(3, hidden=8)
    fit = jax.jit(make_fit(model, make_optimizer(0.0), FitOptions(32, max_epochs=1)))
    for num_labeled in (1, 31, 32, 33, 200):
        result = fit_once(fit, inputs, labels, num_labeled, capacity=200)
        exact = make_evaluate(model)(result.variables, inputs[:num_labeled], labels[:num_labeled])
        assert float(result.train_accuracy) == pytest.approx(int(exact.num_correct) / num_labeled)


def test_capacity_and_unlabeled_rows_change_nothing():
    inputs, labels = make_data()
    fit = jax.jit(make_fit(mlp(3, hidden=8), make_optimizer(1e-3), FitOptions(32, max_epochs=5)))
    tight = fit_once(fit, inputs, labels, 50, capacity=50)
    hidden = jnp.where(jnp.arange(200) < 50, labels, -1)
    roomy = fit_once(fit, inputs, hidden, 50, capacity=170)
    for a, b in zip(jax.tree.leaves(tight), jax.tree.leaves(roomy), strict=True):
        np.testing.assert_array_equal(a, b)


def test_more_labels_compile_nothing(compilations):
    inputs, labels = make_data()
    fit = jax.jit(make_fit(mlp(3, hidden=8), make_optimizer(1e-3), FitOptions(32, max_epochs=2)))
    args = [
        (jax.random.key(i), inputs, labels, jnp.arange(200, dtype=jnp.int32), jnp.int32(50 + i))
        for i in range(3)
    ]
    jax.block_until_ready(fit(*args[0]))
    compilations.clear()
    for more in args[1:]:
        jax.block_until_ready(fit(*more))
    assert compilations == []
    assert "callback" not in str(jax.make_jaxpr(fit)(jax.random.key(5), *args[0][1:]))


def test_every_order_is_equally_likely():
    indices = jnp.array([7, 3, 9, 100, 101], jnp.int32)

    @jax.jit
    def orders(keys):
        return jax.vmap(lambda key: _shuffle(key, indices, jnp.int32(3)))(keys)

    drawn = np.asarray(orders(jax.random.split(jax.random.key(0), 12_000)))
    assert (drawn[:, 3:] == [100, 101]).all()
    found, counts = np.unique(drawn[:, :3], axis=0, return_counts=True)
    assert len(found) == 6
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("n", [1, 7, 8, 9, 20])
def test_prediction_in_batches(n):
    inputs, labels = make_data(n)
    model = mlp(3, hidden=8)
    variables = model.init(jax.random.key(0), inputs[:1])
    logits, features, _ = model.apply(variables, inputs, mask=None, train=False)
    outputs = jax.jit(make_predict(model, batch_size=8))(variables, inputs)
    np.testing.assert_allclose(outputs.logits, logits, atol=1e-6)
    np.testing.assert_allclose(outputs.features, features, atol=1e-6)
    evaluation = make_evaluate(model)(variables, inputs, labels)
    assert int(evaluation.num_correct) == int((logits.argmax(1) == labels).sum())
    assert bool(evaluation.is_finite)


@pytest.mark.parametrize("part", ["logits", "features"])
@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_an_output_that_is_not_finite_is_told(part, value):
    def apply(variables, x, *, mask, train):
        outputs = {"logits": x[:, :3], "features": x}
        outputs[part] = jnp.where(x[:, :1] == 7, value, outputs[part])
        return outputs["logits"], outputs["features"], variables

    evaluate = make_evaluate(Model(lambda key, x: {}, apply))
    inputs = jnp.zeros((300, 4))
    assert bool(evaluate({}, inputs, jnp.zeros(300, int)).is_finite)
    wrong = inputs.at[299, 0].set(7)
    assert not bool(evaluate({}, wrong, jnp.zeros(300, int)).is_finite)
    assert bool(evaluate({}, wrong, jnp.zeros(300, int).at[299].set(-1)).is_finite), "a row that does not count"


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="minibatch_size is 0"):
        FitOptions(minibatch_size=0)
    with pytest.raises(ValueError, match=r"target_accuracy is 99"):
        FitOptions(target_accuracy=99)
    with pytest.raises(ValueError, match="max_epochs is 0"):
        FitOptions(max_epochs=0)
