import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import STRATEGIES, FitOptions, Strategy, make_active_learner, make_optimizer, mlp

N, BATCH, ROUNDS = 120, 10, 3


def make_data(seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(N, 4)).astype(np.float32)
    return jnp.asarray(inputs), jnp.asarray((inputs[:, 0] > 0) * 1 + (inputs[:, 1] > 0) * 1, jnp.int32)


def make_learner(strategy):
    return make_active_learner(
        mlp(3, hidden=16), make_optimizer(1e-2), strategy, BATCH, FitOptions(16, max_epochs=20)
    )


def run_rounds(learner, key, data, fit=None, query=None):
    """The plain loop: states after each round and the fits."""
    fit, query = fit or jax.jit(learner.fit), query or jax.jit(learner.query)
    state, fits = learner.init(jnp.arange(20), N, ROUNDS), []
    for _ in range(ROUNDS):
        fits.append(fit(key, state, *data))
        _, state = query(key, state, fits[-1].variables, *data)
    return state, fits


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_labels_grow_without_repeats(name):
    state, _ = run_rounds(make_learner(STRATEGIES[name]()), jax.random.key(0), make_data())
    assert int(state.round) == ROUNDS
    assert int(state.num_labeled) == 50
    assert state.indices[:20].tolist() == list(range(20))
    assert len(set(state.indices.tolist())) == 50


def test_round_two_compiles_nothing(compilations):
    learner, data, key = make_learner(STRATEGIES["badge"]()), make_data(), jax.random.key(0)
    fit, query = jax.jit(learner.fit), jax.jit(learner.query)
    state = learner.init(jnp.arange(20), N, ROUNDS)
    for round_number in range(ROUNDS):
        compilations.clear()
        _, state = query(key, state, fit(key, state, *data).variables, *data)
        jax.block_until_ready(state)
        assert (len(compilations) > 0) == (round_number == 0)


def test_nothing_happens_on_the_host():
    learner, data = make_learner(STRATEGIES["badge"]()), make_data()
    state = learner.init(jnp.arange(20), N, ROUNDS)
    variables = jax.eval_shape(learner.fit, jax.random.key(0), state, *data).variables
    for jaxpr in (
        jax.make_jaxpr(learner.fit)(jax.random.key(0), state, *data),
        jax.make_jaxpr(learner.query)(jax.random.key(0), state, variables, *data),
    ):
        assert "callback" not in str(jaxpr)


def test_a_strategy_sees_no_label_that_was_not_asked_for():
    seen = []

    def query(key, state, pool, k):
        seen.append(pool)
        return jnp.argsort(~pool.available, stable=True)[:k].astype(jnp.int32), state + 1

    learner, (inputs, labels) = make_learner(Strategy(lambda n, rounds: jnp.int32(0), query)), make_data()
    state = learner.init(jnp.array([5, 7, 110]), N, ROUNDS)
    variables = learner.fit(jax.random.key(0), state, inputs, labels).variables
    batch, after = learner.query(jax.random.key(0), state, variables, inputs, labels)
    (pool,) = seen
    known = np.isin(np.arange(N), [5, 7, 110])
    np.testing.assert_array_equal(pool.labeled, known)
    np.testing.assert_array_equal(pool.available, ~known)
    np.testing.assert_array_equal(pool.labels, np.where(known, labels, -1))
    assert batch.tolist() == [0, 1, 2, 3, 4, 6, 8, 9, 10, 11]
    assert after.indices[:13].tolist() == [5, 7, 110, *batch.tolist()]
    assert int(after.strategy) == 1


def test_weights_at_the_start_do_not_depend_on_the_strategy():
    data, key = make_data(), jax.random.key(0)
    fits = [run_rounds(make_learner(STRATEGIES[name]()), key, data)[1] for name in ("badge", "random")]
    for a, b in zip(jax.tree.leaves(fits[0][0]), jax.tree.leaves(fits[1][0]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert jax.tree.leaves(fits[0][0])[0].ravel()[0] != jax.tree.leaves(fits[0][1])[0].ravel()[0]


def test_a_whole_experiment_scans_and_vmaps_over_seeds():
    learner, data = make_learner(STRATEGIES["badge"]()), make_data()

    def experiment(key):
        def one_round(state, _):
            variables = learner.fit(key, state, *data).variables
            return learner.query(key, state, variables, *data)[::-1]

        return jax.lax.scan(one_round, learner.init(jnp.arange(20), N, ROUNDS), None, ROUNDS)[0]

    keys = jax.random.split(jax.random.key(3), 2)
    together = jax.jit(jax.vmap(experiment))(keys)
    for i, key in enumerate(keys):
        alone, _ = run_rounds(learner, key, data)
        assert together.indices[i].tolist() == alone.indices.tolist()


def test_more_labels_than_rows_are_refused():
    with pytest.raises(
        ValueError, match="100 initial labels and 3 rounds of 10 ask for 130 labels; the pool has 120"
    ):
        make_learner(STRATEGIES["random"]()).init(jnp.arange(100), N, ROUNDS)
