"""The bandit by hand: weights, probabilities, arm and reward of three queries, and its draws."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from badge_jax import STRATEGIES, Pool

N, INITIAL = 10, (0, 1)
CORESET, CONFIDENCE = 0, 1


def make_pool(labeled, right):
    """Rows on a line. The model is wrong about all but the rows ``right``, and less sure at low indices, which
    CONF prefers; CORESET is drawn to the far end."""
    logits = np.zeros((N, 2), np.float32)
    logits[:, 0] = 1 + 0.1 * np.arange(N)  # class 0 everywhere, less surely at low indices
    labeled = np.isin(np.arange(N), labeled)
    labels = np.where(labeled, np.where(np.isin(np.arange(N), right), 0, 1), -1)
    features = np.arange(N, dtype=np.float32)[:, None]
    arrays = (logits, features, labels.astype(np.int32), labeled, ~labeled)
    return Pool(*map(jnp.asarray, arrays))


def play(variant, arms, rights, num_rounds):
    """Three queries of two rows with keys under which the arms drawn are ``arms``: [(state, batch)]."""
    strategy = STRATEGIES["albl"](variant=variant)
    query = jax.jit(lambda key, state, pool: strategy.query(key, state, pool, 2))
    state, labeled, trace = strategy.init(N, num_rounds), list(INITIAL), []
    for arm, right in zip(arms, rights, strict=True):
        pool = make_pool(labeled, right)
        for seed in itertools.count():
            batch, after = query(jax.random.key(seed), state, pool)
            if int(after.arm) == arm:
                break
        state = after
        labeled += batch.tolist()
        trace.append((state, batch.tolist()))
    return trace


def check(state, weights, probabilities, arm, reward):
    np.testing.assert_allclose(np.exp(state.log_weights), weights, rtol=1e-6)
    np.testing.assert_allclose(state.probabilities, probabilities, rtol=1e-6)
    np.testing.assert_allclose(state.reward, reward, rtol=1e-6)
    assert int(state.arm) == arm


def test_reference_by_hand():
    trace = play(
        "reference", (CORESET, CONFIDENCE, CONFIDENCE), rights=((0,), (0, 9), (0, 1, 9, 2)), num_rounds=7
    )
    assert [batch for _, batch in trace] == [[9, 5], [2, 3], [4, 6]]
    check(trace[0][0], [0.5, 0.5], [0.5, 0.5], CORESET, 0)

    # right about row 0 (initial, a = 1) and row 9 (queried with p = 1/2), of four labeled rows
    reward = (1 / 1 + 1 / 0.5) / 4
    gain = math.exp(0.05 / 2 * (reward + math.sqrt(math.log(20) / 2) / 0.5))
    w = np.array([gain, 1.0]) / (gain + 1)
    p = 0.9 * w + 0.05
    check(trace[1][0], w, p, CONFIDENCE, reward)

    # rows 0 and 1 (a = 1), 9 (1/2) and 2 (the second query's probability of CONF), of six
    reward = (1 + 1 + 1 / 0.5 + 1 / p[1]) / 6
    w = w * [1, math.exp(0.05 / 2 * (reward + math.sqrt(math.log(20) / 2) / p[1]))]
    w = w / w.sum()
    check(trace[2][0], w, 0.9 * w + 0.05, CONFIDENCE, reward)


def test_exp4p_by_hand():
    rounds = 30
    trace = play(
        "exp4p", (CORESET, CONFIDENCE, CORESET), rights=((0,), (0, 9), (0, 1, 9, 2)), num_rounds=rounds
    )
    assert [batch for _, batch in trace] == [[9, 5], [2, 3], [7, 4]]
    least = math.sqrt(math.log(2) / (2 * rounds))
    root = math.sqrt(math.log(20) / (2 * rounds))
    check(trace[0][0], [0.5, 0.5], [0.5, 0.5], CORESET, 0)

    # CORESET's batch was (9, 5), CONF's would have been (2, 3): q = p/2 for both rows, of CORESET alone
    reward = 1 / (0.5 / 2) / (10 * rounds)  # right about row 9; initial rows do not count
    credit = np.array([(1 / 2) / (0.5 / 2), 0])
    w = 0.5 * np.exp(least / 2 * (reward * credit + root / 0.5))
    w = w / w.sum()
    p = (1 - 2 * least) * w + least
    check(trace[1][0], w, p, CONFIDENCE, reward)

    # CONF's batch was (2, 3), CORESET's would have been (7, 3): row 3 is in both, q = 1/2
    reward = (1 / (0.5 / 2) + 1 / (p[1] / 2)) / (10 * rounds)  # rows 9 and 2
    credit = np.array([(0 + 0.5 / 0.5) / 2, (0.5 / (p[1] / 2) + 0.5 / 0.5) / 2])
    w = w * np.exp(least / 2 * (reward * credit + root / p))
    w = w / w.sum()
    check(trace[2][0], w, (1 - 2 * least) * w + least, CORESET, reward)


@pytest.mark.parametrize("variant", ["reference", "exp4p"])
def test_arms_are_drawn_by_their_probabilities(variant):
    state = play(variant, (CORESET,), rights=((),), num_rounds=8)[-1][0]
    state = state._replace(log_weights=jnp.log(jnp.array([0.8, 0.2])))
    strategy, pool = STRATEGIES["albl"](variant=variant), make_pool((0, 1, 9, 5, 7, 4), (0, 1, 9))
    keys = jax.random.split(jax.random.key(3), 5000)
    after = jax.jit(jax.vmap(lambda key: strategy.query(key, state, pool, 2)[1]))(keys)
    p = np.asarray(after.probabilities[0], np.float64)
    assert p[0] > 0.65, "the arms should differ"
    assert stats.binomtest(int(np.sum(np.asarray(after.arm) == CORESET)), 5000, p[0]).pvalue > 1e-4


@pytest.mark.parametrize("variant", ["reference", "exp4p"])
def test_the_batch_is_the_arms_own(variant):
    pool, strategy = make_pool((0, 1), (0,)), STRATEGIES["albl"](variant=variant)
    query = jax.jit(lambda key, state, pool: strategy.query(key, state, pool, 3))
    seen = set()
    for seed in range(12):
        batch, state = query(jax.random.key(seed), strategy.init(N, 5), pool)
        arm = ("coreset", "confidence")[int(state.arm)]
        own = STRATEGIES[arm]()
        assert batch.tolist() == own.query(jax.random.key(0), (), pool, 3)[0].tolist()
        seen.add(arm)
    assert seen == {"coreset", "confidence"}


def test_weights_survive_hundreds_of_rewards_to_one_arm():
    strategy = STRATEGIES["albl"]()
    query = jax.jit(lambda key, state, pool: strategy.query(key, state, pool, 1))
    pool, state = make_pool((0, 1), (0, 1)), strategy.init(N, 5)
    state = state._replace(importance=jnp.full(N, 20.0), arm=jnp.int32(0))
    for seed in range(300):
        state = state._replace(credit=jnp.array([1.0, 0.0]), arm=jnp.int32(0))
        _, state = query(jax.random.key(seed), state, pool)
        state = state._replace(importance=jnp.full(N, 20.0))
    np.testing.assert_allclose(state.probabilities, [0.95, 0.05], rtol=1e-5)
    assert np.isfinite(state.log_weights).all()


def test_wrong_variant_is_refused():
    with pytest.raises(ValueError, match="variant is 'exp3'; wanted one of reference, exp4p"):
        STRATEGIES["albl"](variant="exp3")
