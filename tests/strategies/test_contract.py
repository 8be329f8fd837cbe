"""What every registered strategy must keep; a new one is tested by being registered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import STRATEGIES, Pool

N, C, D = 60, 4, 16
LAWS_OF_SETS = {"badge_kdpp"}  # their batches have no order of preference


def make_pool(kind="plain", seed=0, num_labeled=15):
    rng = np.random.default_rng(seed)
    logits, features = rng.normal(size=(N, C)) * 3, np.maximum(rng.normal(size=(N, D)), 0)
    if kind == "copies":
        logits[:], features[:] = logits[0], features[0]
    if kind == "dead":
        features[:] = 0
    if kind == "certain":
        logits[:] = np.where(np.arange(C) == 2, 1e4, -1e4)
    if kind == "clueless":
        logits[:] = 0
    labeled = np.isin(np.arange(N), rng.choice(N, num_labeled, replace=False))
    labels = np.where(labeled, rng.integers(0, C, N), -1)
    return Pool(
        jnp.asarray(logits, jnp.float32),
        jnp.asarray(features, jnp.float32),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(labeled),
        jnp.asarray(~labeled),
    )


def query_once(name, pool, k, key=None):
    strategy = STRATEGIES[name]()
    return strategy.query(jax.random.key(0) if key is None else key, strategy.init(N, 3), pool, k)


@pytest.fixture(params=sorted(STRATEGIES))
def name(request):
    return request.param


@pytest.mark.parametrize("kind", ["plain", "copies", "dead", "certain", "clueless"])
def test_picks_every_available_row_once(name, kind):
    pool = make_pool(kind)
    picks, _ = query_once(name, pool, 45)
    assert picks.dtype == jnp.int32
    assert sorted(picks.tolist()) == np.flatnonzero(pool.available).tolist()


def test_surplus_is_minus_one(name):
    picks = query_once(name, make_pool(num_labeled=55), 10)[0].tolist()
    assert picks[5:] == [-1] * 5
    assert len(set(picks[:5])) == 5


def test_neither_labeled_nor_available_rows_are_left_alone(name):
    pool = make_pool()
    pool = pool._replace(available=pool.available & (jnp.arange(N) % 3 != 0))
    picks = np.asarray(query_once(name, pool, 10)[0])
    assert np.asarray(pool.available)[picks].all()
    assert len(set(picks.tolist())) == 10


@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - LAWS_OF_SETS))
def test_prefix(name):
    pool = make_pool()
    longest = query_once(name, pool, 45)[0].tolist()
    for j in (1, 10):
        assert query_once(name, pool, j)[0].tolist() == longest[:j]


def test_same_key_same_picks_and_jit_equals_eager(name):
    strategy, pool = STRATEGIES[name](), make_pool()
    state = strategy.init(N, 3)
    plain = strategy.query(jax.random.key(5), state, pool, 10)[0].tolist()
    jitted = jax.jit(lambda key, state, pool: strategy.query(key, state, pool, 10))
    assert jitted(jax.random.key(5), state, pool)[0].tolist() == plain


def test_nothing_happens_on_the_host(name, compilations):
    strategy, pools = STRATEGIES[name](), [make_pool(seed=seed) for seed in range(3)]
    keys = [jax.random.key(seed) for seed in range(3)]
    query = jax.jit(lambda key, state, pool: strategy.query(key, state, pool, 10))
    state = strategy.init(N, 3)
    jaxpr = jax.make_jaxpr(lambda key, state, pool: strategy.query(key, state, pool, 10))(
        jax.random.key(9), state, pools[0]
    )
    assert "callback" not in str(jaxpr)
    _, state = query(keys[0], state, pools[0])
    compilations.clear()
    for key, pool in zip(keys[1:], pools[1:], strict=True):
        _, state = query(key, state, pool)
    jax.block_until_ready(state)
    assert compilations == []


def test_half_precision_outputs_are_taken(name):
    pool = make_pool()
    pool = pool._replace(logits=pool.logits.astype(jnp.float16), features=pool.features.astype(jnp.bfloat16))
    picks = query_once(name, pool, 10)[0].tolist()
    assert len(set(picks)) == 10


def test_wrong_count_is_refused(name):
    for k in (0, N + 1):
        with pytest.raises(ValueError, match=rf"k = {k} rows asked of a pool of {N}"):
            query_once(name, make_pool(), k)
