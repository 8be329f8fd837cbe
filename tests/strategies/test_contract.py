"""What every registered strategy must keep, and a user's own: a new one is tested by being registered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pools import KINDS, make_pool

from badge_jax import STRATEGIES, Strategy, names
from badge_jax.strategies import Ranked
from badge_jax.strategies.base import NEEDS

N = 60


OWN = "mine:doubt(alpha=0.1)"


def make(name):
    return names.make("strategy", names.find("strategy", name, STRATEGIES), Strategy)


def query_once(name, pool, k, key=None):
    strategy = make(name)
    return strategy.query(jax.random.key(0) if key is None else key, strategy.init(N, 3), pool, k)


@pytest.fixture(params=[*sorted(STRATEGIES), OWN])
def name(request):
    if request.param == OWN:
        request.getfixturevalue("own_module")
    return request.param


@pytest.mark.parametrize("kind", KINDS)
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


def test_prefix(name):
    """The first j picks are the picks for ``k = j``, where the strategy says so."""
    if not make(name).is_prefix_consistent:
        pytest.skip("its batches are sets")
    pool = make_pool()
    longest = query_once(name, pool, 45)[0].tolist()
    for j in (1, 10):
        assert query_once(name, pool, j)[0].tolist() == longest[:j]


def test_same_key_same_picks_and_jit_equals_eager(name):
    strategy, pool = make(name), make_pool()
    state = strategy.init(N, 3)
    plain = strategy.query(jax.random.key(5), state, pool, 10)[0].tolist()
    jitted = jax.jit(lambda key, state, pool: strategy.query(key, state, pool, 10))
    assert jitted(jax.random.key(5), state, pool)[0].tolist() == plain


def test_nothing_happens_on_the_host(name, compilations):
    strategy, pools = make(name), [make_pool(seed=seed) for seed in range(3)]
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


def test_only_what_it_needs_is_read(name):
    """Everything else of the pool may be None; what is needed and None is named."""
    strategy, pool = make(name), make_pool()
    lean = pool._replace(**{field: None for field in NEEDS if field not in strategy.needs})
    state = strategy.init(N, 3)
    picks = strategy.query(jax.random.key(0), state, lean, 10)[0].tolist()
    assert picks == query_once(name, pool, 10)[0].tolist()
    for need in strategy.needs:
        with pytest.raises(ValueError, match=f"needs pool.{need}, which is None"):
            strategy.query(jax.random.key(0), state, lean._replace(**{need: None}), 10)


def test_the_plan_is_the_query(name):
    strategy, pool = make(name), make_pool()
    plan = strategy.plan
    if plan is None:
        pytest.skip("it has no plan")
    assert strategy.is_prefix_consistent
    assert jax.tree.leaves(strategy.init(N, 3)) == []
    key = jax.random.key(4)
    if isinstance(plan, Ranked):
        scores = np.where(pool.available, plan.score(pool), -np.inf)
        expected = np.argsort(-scores, kind="stable")[:10]
    else:
        centers = pool.labeled if plan.centers == "labeled" else None
        expected = plan.sampler.sample(key, plan.embed(pool), 10, available=pool.available, centers=centers)
    assert strategy.query(key, (), pool, 10)[0].tolist() == expected.tolist()


def test_a_plan_takes_any_part_of_the_pool(name):
    """Row by row, so that a pool can be read in tiles."""
    strategy, pool = make(name), make_pool()
    if strategy.plan is None:
        pytest.skip("it has no plan")
    part = jax.tree.map(lambda a: a[20:31], pool)
    by_row = strategy.plan.score if isinstance(strategy.plan, Ranked) else strategy.plan.embed
    whole, piece = (jax.tree.leaves(by_row(rows)) for rows in (pool, part))
    for a, b in zip(whole, piece, strict=True):
        np.testing.assert_allclose(a[20:31], b, rtol=1e-6)


def test_equal_options_make_equal_plans(name):
    """So that compiled programs are shared from call to call."""
    if name == OWN:
        pytest.skip("its score is a new function each time: it compiles each time")
    assert make(name).plan == make(name).plan
