import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import STRATEGIES, FitOptions, Model, Strategy, make_active_learner, make_optimizer, mlp
from badge_jax.strategies import stateless

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
    state, fits = begin(learner, data), []
    for _ in range(ROUNDS):
        fits.append(fit(key, state, data[0]))
        _, state = query(key, state, fits[-1].variables, *data)
    return state, fits


def begin(learner, data, rows=range(20), max_labels=20 + ROUNDS * BATCH):
    rows = jnp.array(rows)
    return learner.tell(learner.init(N, ROUNDS, max_labels), rows, data[1][rows])


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
    state = begin(learner, data)
    for round_number in range(ROUNDS):
        compilations.clear()
        _, state = query(key, state, fit(key, state, data[0]).variables, *data)
        jax.block_until_ready(state)
        assert (len(compilations) > 0) == (round_number == 0)


def test_nothing_happens_on_the_host():
    learner, data = make_learner(STRATEGIES["badge"]()), make_data()
    state = begin(learner, data)
    variables = jax.eval_shape(learner.fit, jax.random.key(0), state, data[0]).variables
    for jaxpr in (
        jax.make_jaxpr(learner.fit)(jax.random.key(0), state, data[0]),
        jax.make_jaxpr(learner.query)(jax.random.key(0), state, variables, *data),
    ):
        assert "callback" not in str(jaxpr)


def test_a_strategy_sees_no_label_that_was_not_asked_for():
    seen = []

    def query(key, state, pool, k):
        seen.append(pool)
        return jnp.argsort(~pool.available, stable=True)[:k].astype(jnp.int32), state + 1

    learner, (inputs, labels) = make_learner(Strategy(lambda n, rounds: jnp.int32(0), query)), make_data()
    state = begin(learner, (inputs, labels), [5, 7, 110])
    variables = learner.fit(jax.random.key(0), state, inputs).variables
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
            variables = learner.fit(key, state, data[0]).variables
            return learner.query(key, state, variables, *data)[::-1]

        return jax.lax.scan(one_round, begin(learner, data), None, ROUNDS)[0]

    keys = jax.random.split(jax.random.key(3), 2)
    together = jax.jit(jax.vmap(experiment))(keys)
    for i, key in enumerate(keys):
        alone, _ = run_rounds(learner, key, data)
        assert together.indices[i].tolist() == alone.indices.tolist()


def test_more_labels_than_rows_are_refused():
    with pytest.raises(ValueError, match="max_labels is 130, but the pool has 120 rows"):
        make_learner(STRATEGIES["random"]()).init(N, ROUNDS, 130)


def test_more_answers_than_room_are_refused():
    learner, data = make_learner(STRATEGIES["random"]()), make_data()
    state = begin(learner, data, range(5), max_labels=8)
    with pytest.raises(ValueError, match="9 rows would be labeled; the learner was made for 8 at most"):
        learner.tell(state, jnp.arange(5, 9), jnp.zeros(4, int))
    with pytest.raises(ValueError, match="row 120 is not in the pool of 120 rows"):
        learner.tell(state, jnp.array([N]), jnp.array([0]))
    for rows, answers, message in (
        (np.array([2**32 + 3]), [0], "row 4294967299 is not in the pool"),
        ([-4], [0], "row -4 is not in the pool"),
        ([1.7], [0], "rows are float32; wanted integers"),
        (np.ones(2, bool), [0, 1], "rows are bool; wanted integers"),
        ([1], [0.9], "labels are float32; wanted integers"),
        ([1], [-7], "label -7 was given"),
        ([1], np.array([2**32 + 2]), "label 4294967298 was given"),
    ):
        with pytest.raises(ValueError, match=message):
            learner.tell(state, np.asarray(rows), np.asarray(answers))
    with pytest.raises(ValueError, match=r"rows have shape \(2,\) and labels \(1,\)"):
        learner.tell(state, jnp.array([3, 4]), jnp.array([0]))


def test_asking_labels_nothing():
    learner, data = make_learner(STRATEGIES["margin"]()), make_data()
    state = begin(learner, data)
    variables = learner.fit(jax.random.key(0), state, data[0]).variables
    rows, after = learner.ask(jax.random.key(0), state, variables, data[0])
    assert len(set(rows.tolist())) == BATCH
    assert int(after.round) == 1
    for before, now in zip(state[1:5], after[1:5], strict=True):
        np.testing.assert_array_equal(before, now)
    queried, told = learner.query(jax.random.key(0), state, variables, *data)
    assert queried.tolist() == rows.tolist()
    for ours, theirs in zip(told, learner.tell(after, rows, data[1][rows]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def reference_tell(labeled, labels, excluded, rows, answers):
    """What telling means, one answer at a time: an ordered list, two dictionaries."""
    final = dict(zip(rows, answers, strict=True))  # the last answer of a row counts
    order = [row for i, row in enumerate(rows) if row not in rows[i + 1 :]]
    for row in order:
        if row < 0:
            continue
        answer = final[row]
        if answer < 0:
            labels.pop(row, None)
            excluded.add(row)
        else:
            excluded.discard(row)
            labels[row] = answer
    labeled[:] = [row for row in labeled if row in labels]
    labeled += [row for row in order if row in labels and row not in labeled]


@pytest.mark.parametrize("seed", range(4))
def test_telling_a_part_corrections_and_rows_without_a_label(seed):
    """Random answers, against a plain list: parts, rows never asked, corrections, −1, row −1, a row twice."""
    learner, rng = make_learner(STRATEGIES["random"]()), np.random.default_rng(seed)
    state, tell = learner.init(N, ROUNDS, N), jax.jit(learner.tell)
    labeled, labels, excluded = [], {}, set()
    for _ in range(12):
        rows, answers = rng.integers(-1, N, 15), rng.integers(-1, 3, 15)
        state = tell(state, jnp.asarray(rows), jnp.asarray(answers))
        reference_tell(labeled, labels, excluded, rows.tolist(), answers.tolist())
        assert state.indices[: int(state.num_labeled)].tolist() == labeled
        assert {i: y for i, y in enumerate(state.labels.tolist()) if y >= 0} == labels
        assert set(np.flatnonzero(state.excluded).tolist()) == excluded


def test_rows_that_cannot_be_labeled_are_not_offered_again():
    learner, data = make_learner(STRATEGIES["margin"]()), make_data()
    state, key = begin(learner, data), jax.random.key(0)
    variables = learner.fit(key, state, data[0]).variables
    rows, state = learner.ask(key, state, variables, data[0])
    state = learner.tell(state, rows[:3], jnp.array([-1, -1, 0]))
    again, _ = learner.ask(key, state, variables, data[0])
    assert not set(again.tolist()) & set(rows[:3].tolist())
    assert set(rows[3:].tolist()) <= set(again.tolist()), "what was not answered is still the best"
    assert int(state.num_labeled) == 21


SLOW_TO_COMPILE = ("albl", "badge", "badge_kdpp", "cluster_margin", "kmeans", "typiclust")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW_TO_COMPILE else []) for n in sorted(STRATEGIES)],
)
def test_outputs_that_are_not_finite_give_no_batch(name):
    """Under jit there is no error to raise: all rows are −1, whatever the strategy would make of them."""

    def apply(variables, x, *, mask, train):
        return x[:, :3], jnp.concatenate([x, x * x], axis=1), variables

    (inputs, labels), key = make_data(), jax.random.key(0)
    strategy = STRATEGIES[name]()
    learner = make_active_learner(Model(lambda key, x: {}, apply), make_optimizer(1e-2), strategy, BATCH)
    ask, state = jax.jit(learner.ask), begin(learner, (inputs, labels))
    rows, _ = ask(key, state, {}, inputs)
    assert min(rows.tolist()) >= 0
    for row in (5, 50):  # labeled, and not
        for value in (jnp.nan, jnp.inf, -jnp.inf):
            found, _ = ask(key, state, {}, inputs.at[row, 0].set(value))
            assert found.tolist() == (rows.tolist() if strategy.needs == () else [-1] * BATCH)
    # the way out: a row that is excluded may be anything
    state = learner.tell(state, jnp.array([50]), jnp.array([-1]))
    rows, _ = ask(key, state, {}, inputs)
    for value in (jnp.nan, jnp.inf):
        assert ask(key, state, {}, inputs.at[50, 0].set(value))[0].tolist() == rows.tolist()


def test_no_row_is_labeled_where_the_strategy_finds_none():
    """A −1 stands for no row. As an index of a mask or an array it would label the pool's last row."""
    learner, (inputs, labels) = make_learner(STRATEGIES["badge"]()), make_data()
    state = begin(learner, (inputs, labels))
    variables = jax.tree.map(lambda a: a * jnp.nan, learner.fit(jax.random.key(0), state, inputs).variables)
    rows, after = learner.query(jax.random.key(0), state, variables, inputs, labels)
    assert rows.tolist() == [-1] * BATCH
    assert bool(jnp.zeros(N, bool).at[rows].set(True)[-1]), "this is what indexing would do"
    assert int(after.num_labeled) == 20
    assert int(after.labels[-1]) == -1
    assert not bool(after.excluded.any())


def test_inside_jit_answers_beyond_the_room_are_skipped():
    learner, data = make_learner(STRATEGIES["random"]()), make_data()
    state = begin(learner, data, range(5), max_labels=8)
    state = jax.jit(learner.tell)(state, jnp.array([50, 2, 51, 52, 53, N, -1]), jnp.ones(7, int))
    assert state.indices.tolist() == [0, 1, 2, 3, 4, 50, 51, 52]
    assert int(state.num_labeled) == 8
    assert int(state.labels[53]) == -1


def test_a_strategy_that_needs_the_head_gets_it():
    seen = []

    def query(key, state, pool, k):
        seen.append(pool)
        return jnp.argsort(~pool.available, stable=True)[:k].astype(jnp.int32), state

    strategy = Strategy(lambda n, rounds: (), query, needs=("logits", "features", "head"))
    learner, (inputs, labels) = make_learner(strategy), make_data()
    state = begin(learner, (inputs, labels))
    learner.ask(jax.random.key(0), state, learner.fit(jax.random.key(0), state, inputs).variables, inputs)
    (pool,) = seen
    logits = np.asarray(pool.features) @ np.asarray(pool.head.kernel) + np.asarray(pool.head.bias)
    np.testing.assert_allclose(logits, pool.logits, rtol=1e-4, atol=1e-5)


def outermost():
    """The longest rows of the representation."""

    def choose(key, pool, k):
        lengths = jnp.sum(pool.representation**2, axis=1)
        return jax.lax.top_k(jnp.where(pool.available, lengths, -1.0), k)[1].astype(jnp.int32)

    return stateless("outermost", choose, needs=("representation",))


def test_a_strategy_that_needs_the_representation_gets_it():
    learner, data, key = make_learner(outermost()), make_data(), jax.random.key(0)
    fixed = np.random.default_rng(5).normal(size=(N, 7)).astype(np.float16)
    state = begin(learner, data)
    variables = learner.fit(key, state, data[0]).variables
    expected = 20 + np.argsort(-np.sum(fixed[20:].astype(np.float32) ** 2, axis=1))[:BATCH]
    ask, query = jax.jit(learner.ask), jax.jit(learner.query)
    assert ask(key, state, variables, data[0], fixed)[0].tolist() == expected.tolist()
    assert ask(key, state, variables, data[0], representation=fixed)[0].tolist() == expected.tolist()
    rows, after = query(key, state, variables, *data, representation=fixed)
    assert rows.tolist() == expected.tolist()
    assert int(after.num_labeled) == 20 + BATCH
    for row in (3, 50):  # labeled, and not
        broken = fixed.copy()
        broken[row, 2] = np.nan
        assert ask(key, state, variables, data[0], broken)[0].tolist() == [-1] * BATCH
    state = learner.tell(state, jnp.array([50]), jnp.array([-1]))  # a row that is excluded may be anything
    assert min(ask(key, state, variables, data[0], broken)[0].tolist()) >= 0


def test_a_representation_that_is_not_there_or_does_not_fit_is_named():
    learner, data, key = make_learner(outermost()), make_data(), jax.random.key(0)
    state = begin(learner, data)
    variables = jax.eval_shape(learner.fit, key, state, data[0]).variables
    for call in (learner.ask, lambda *args, **more: learner.query(*args, data[1], **more)):
        with pytest.raises(ValueError, match=r"needs pool.representation; wanted .*representation \[120, d\]"):
            call(key, state, variables, data[0])
        for shape in ((119, 4), (120,), (120, 2, 2)):
            with pytest.raises(ValueError, match=rf"shape {re.escape(str(shape))}; wanted \[120, d\]"):
                call(key, state, variables, data[0], representation=np.zeros(shape, np.float32))


def test_a_representation_that_is_not_needed_changes_no_program():
    learner, data, key = make_learner(STRATEGIES["margin"]()), make_data(), jax.random.key(0)
    state = begin(learner, data)
    variables = jax.eval_shape(learner.fit, key, state, data[0]).variables
    ask = jax.jit(learner.ask)
    plain, none = ask.lower(key, state, variables, data[0]), ask.lower(key, state, variables, data[0], None)
    assert plain.as_text() == none.as_text()
    given = ask.lower(key, state, variables, data[0], jnp.ones((N, 3)))
    assert given.as_text() == plain.as_text(), "an argument that nothing reads is dropped"


@pytest.mark.parametrize("need", ["head", "samples"])
def test_what_the_model_does_not_give_is_named(need):
    model = mlp(3, hidden=16)._replace(head=None)
    strategy = Strategy(lambda n, rounds: (), None, needs=("logits", need))
    with pytest.raises(ValueError, match=f"needs pool.{need}, which this model does not give"):
        make_active_learner(model, make_optimizer(1e-2), strategy, BATCH)
