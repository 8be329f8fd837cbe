import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import badge_embedding, softmax

from badge_jax import binary_logistic_embedding, gradient_embedding, last_layer_gradients


def random_outputs(n=40, c=6, d=9, spread=2.0, seed=0):
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(size=(n, c)) * spread, jnp.float32)
    return logits, jnp.asarray(rng.normal(size=(n, d)), jnp.float32)


def linear_head(kernel, z):
    return z @ kernel


@pytest.mark.parametrize("spread", [0.1, 2.0, 30.0])
def test_factored_equals_vmap_of_grad(spread):
    _, features = random_outputs()
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(9, 6)) * spread, jnp.float32)
    gradients = last_layer_gradients(linear_head, kernel, features)
    assert gradients.shape == (40, 9, 6)
    flat = jnp.swapaxes(gradients, 1, 2).reshape(40, -1)
    factored = gradient_embedding(features @ kernel, features).to_dense()
    norms = np.linalg.norm(features, axis=1)[:, None]
    assert (abs(factored - flat) <= 1e-6 * norms).all()


def test_own_loss_head_and_labels():
    _, features = random_outputs(d=9)
    params = {"kernel": jnp.ones((9, 2)) * 0.3, "bias": jnp.array([0.1, -0.2])}
    labels = jnp.asarray(np.random.default_rng(2).integers(0, 2, 40), jnp.int32)

    def head(params, z):
        return z @ params["kernel"] + params["bias"]

    def squared_error(logits, label):
        return jnp.sum((logits - jax.nn.one_hot(label, 2)) ** 2)

    gradients = last_layer_gradients(head, params, features, labels=labels, loss_fn=squared_error)
    logits = np.asarray(features, np.float64) @ np.full((9, 2), 0.3) + [0.1, -0.2]
    errors = 2 * (logits - np.eye(2)[np.asarray(labels)])
    np.testing.assert_allclose(gradients["bias"], errors, atol=1e-5)
    np.testing.assert_allclose(
        gradients["kernel"], np.asarray(features)[:, :, None] * errors[:, None, :], atol=1e-4
    )


@jax.jit
def gradients_at_every_label(logits, features):
    """[4, 3·4]: the gradient of the cross-entropy in the kernel at each of the labels 0, …, 3."""

    def head(kernel, z):
        return logits + z @ kernel

    def at_label(label):
        return last_layer_gradients(head, jnp.zeros((3, 4)), features[None], labels=label[None])

    return jax.vmap(at_label)(jnp.arange(4)).reshape(4, -1)


@hypothesis.given(
    st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4),
    st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3),
)
@hypothesis.settings(max_examples=200, deadline=None)
def test_proposition_1(logits, features):
    """The squared norm at label y is (Σp² + 1 − 2p_y)·‖z‖², least at the predicted label."""
    logits, features = np.array(logits, np.float32), np.array(features, np.float32)
    p = softmax(logits[None])[0]
    size = (features.astype(np.float64) ** 2).sum()
    bound = 4e-6 * size + 1e-30
    norms = (np.asarray(gradients_at_every_label(logits, features), np.float64) ** 2).sum(1)
    np.testing.assert_allclose(norms, ((p**2).sum() + 1 - 2 * p) * size, atol=bound)
    factored = gradient_embedding(jnp.asarray(logits[None]), jnp.asarray(features[None])).to_dense()
    least = (np.asarray(factored, np.float64) ** 2).sum()
    assert abs(least - norms[logits.argmax()]) < bound
    assert least < norms.min() + bound


@pytest.mark.parametrize("gap", [0.0, 1.0, 5.0, 15.0, 27.0, 60.0, 86.0])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_norms_are_right_at_any_confidence(gap, offset):
    rng = np.random.default_rng(3)
    logits = rng.uniform(-1, 0, size=(200, 10))
    logits[np.arange(200), rng.integers(0, 10, 200)] += gap
    logits = (logits + offset).astype(np.float32)
    features = rng.normal(size=(200, 16)).astype(np.float32)
    rows = gradient_embedding(jnp.asarray(logits), jnp.asarray(features))
    norms = np.sqrt(
        (np.asarray(rows.left, np.float64) ** 2).sum(1) * (np.asarray(rows.right, np.float64) ** 2).sum(1)
    )
    exact = np.linalg.norm(badge_embedding(logits, features), axis=1)
    np.testing.assert_allclose(norms, exact, rtol=1e-5)


def test_extreme_logits():
    logits = jnp.array([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0], [5.0, -jnp.inf, 5.0]])
    left = gradient_embedding(logits, jnp.ones((3, 2))).left
    np.testing.assert_allclose(left, [[0, 0, 0], [-2 / 3, 1 / 3, 1 / 3], [-0.5, 0, 0.5]], atol=1e-7)
    assert (gradient_embedding(jnp.ones((2, 1)), jnp.ones((2, 3))).left == 0).all()


def test_binary_logistic_equals_grad():
    rng = np.random.default_rng(4)
    weights, x = (
        jnp.asarray(rng.normal(size=5), jnp.float32),
        jnp.asarray(rng.normal(size=(30, 5)), jnp.float32),
    )
    predicted = jnp.where(x @ weights > 0, 1.0, -1.0)

    def loss(weights, x, y):
        return jnp.log1p(jnp.exp(-y * (weights @ x)))

    expected = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(weights, x, predicted)
    np.testing.assert_allclose(binary_logistic_embedding(weights, x), expected, atol=1e-6)


def test_binary_logistic_tie_and_confidence():
    # p(+1) = 1/2 counts as −1, so the embedding is +x/2; a margin of 40 must not cancel to 0
    embedding = binary_logistic_embedding(jnp.array([1.0, 0.0]), jnp.array([[0.0, 3.0], [40.0, 0.0]]))
    np.testing.assert_allclose(embedding[0], [0, 1.5])
    np.testing.assert_allclose(embedding[1, 0], -40 / (1 + np.exp(40.0)), rtol=1e-5)


def test_wrong_shapes_are_refused():
    logits, features = random_outputs()
    with pytest.raises(ValueError, match=r"logits have shape \(40, 6\) and features \(39, 9\)"):
        gradient_embedding(logits, features[1:])
    with pytest.raises(ValueError, match=r"features have shape \(9,\)"):
        last_layer_gradients(linear_head, jnp.ones((9, 6)), features[0])
    with pytest.raises(ValueError, match=r"labels have shape \(3,\)"):
        last_layer_gradients(linear_head, jnp.ones((9, 6)), features, labels=jnp.zeros(3, jnp.int32))
    with pytest.raises(ValueError, match=r"weights have shape \(4,\)"):
        binary_logistic_embedding(jnp.ones(4), features)
