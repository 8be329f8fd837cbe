"""What every registered strategy must keep, and a user's own: a new one is tested by being registered.

Compiling is most of the time. So all pools have one shape, batches one size where they can, and a strategy's
query is jitted once for all tests.
"""

import math
import re
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pools
import pytest
from pools import KINDS, rows_at, with_everything

from badge_jax import STRATEGIES, Pool, Strategy, names
from badge_jax.embeddings import pool_gradients
from badge_jax.pool import Head
from badge_jax.strategies import Ranked, Spread, stateless
from badge_jax.strategies.base import NEEDS, highest

N, K = 61, 20  # a prime, which no tile divides
OWN = ("mine:doubt(alpha=0.1)", "mine:outermost", "mine:unsure_head", "mine:unlike_passes")
VARIANTS = ("gradnorm(expected=True)", "stochastic(score=entropy, law=softrank)")  # other programs by options


def make(name):
    return names.make("strategy", names.find("strategy", name, STRATEGIES), Strategy)


@lru_cache
def program(name):
    """The jitted query of a strategy, and its first state."""
    strategy = make(name)
    return jax.jit(strategy.query, static_argnums=3), strategy.init(N, 3)


def query_once(name, pool, k=K, seed=0):
    query, state = program(name)
    return query(jax.random.key(seed), state, pool, k)[0].tolist()


def make_pool(kind="plain", *, num_labeled=15, seed=0):
    """A pool that has every field that there is."""
    return with_everything(pools.make_pool(kind, n=N, num_labeled=num_labeled, seed=seed), seed=seed)


@pytest.fixture(params=[*sorted(STRATEGIES), *VARIANTS, *OWN])
def name(request):
    if request.param in OWN:
        request.getfixturevalue("own_module")
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_picks_every_available_row_once(name, kind):
    pool = make_pool(kind, num_labeled=N - K)
    query, state = program(name)
    picks, _ = query(jax.random.key(0), state, pool, K)
    assert picks.dtype == jnp.int32
    assert sorted(picks.tolist()) == np.flatnonzero(pool.available).tolist()


@pytest.mark.parametrize("num_available", [6, 0])
def test_surplus_is_minus_one(name, num_available):
    pool = make_pool(num_labeled=N - num_available)
    picks = query_once(name, pool)
    assert picks[num_available:] == [-1] * (K - num_available)
    assert sorted(picks[:num_available]) == np.flatnonzero(pool.available).tolist()


def test_the_last_rows_are_reached(name):
    """As they would not be, were the remainder of a division by a tile's size left out."""
    row = jnp.arange(N)
    pool = make_pool()._replace(labels=jnp.where(row < 3, 0, -1), labeled=row < 3, available=row >= N - K)
    assert sorted(query_once(name, pool)) == list(range(N - K, N))


def test_neither_labeled_nor_available_rows_have_no_influence(name):
    """Whatever they hold, the picks are the same, and none of them is picked."""
    pool, is_out = make_pool(), jnp.arange(N) % 3 == 0
    pool = pool._replace(
        labels=jnp.where(is_out, -1, pool.labels),
        labeled=pool.labeled & ~is_out,
        available=pool.available & ~is_out,
    )
    expected = query_once(name, pool)
    assert len(set(expected)) == K
    assert np.asarray(pool.available)[expected].all()
    for value in (1e4, -1e4, np.nan, np.inf, -np.inf):
        assert query_once(name, with_rows(pool, is_out, value)) == expected, value


def with_rows(pool, is_marked, value):
    """The pool with a value in place of all that it says of the marked rows."""
    rows = np.flatnonzero(is_marked)
    fields = {field: getattr(pool, field) for field in ("logits", "features", "representation")}
    changed = {field: array.at[rows].set(value) for field, array in fields.items() if array is not None}
    if pool.samples is not None:
        changed["samples"] = pool.samples.at[:, rows].set(value)
    return pool._replace(**changed)


def test_ties_go_to_the_lower_index(name):
    """20 rows of a pool of five points, each of which comes twelve times or more: an index comes after all
    copies of lower index."""
    point = np.arange(N) % 5
    pool = rows_at(make_pool(), point)
    pool = pool._replace(labels=jnp.full(N, -1), labeled=jnp.zeros(N, bool), available=jnp.ones(N, bool))
    batches = [query_once(name, pool, seed=seed) for seed in range(3)]
    for picks in batches:
        assert len(set(picks)) == K
        assert min(picks) >= 0
    strategy = make(name)
    if isinstance(strategy.plan, Spread):  # a copy is at distance 0, and so comes last
        assert set(point[batches[0][:5]]) == set(range(5))
    if not batches[0] == batches[1] == batches[2]:
        pytest.skip("it draws")
    picks = batches[0] if strategy.is_prefix_consistent else sorted(batches[0])
    for i in range(5):
        copies = [pick for pick in picks if point[pick] == i]
        assert copies == list(range(i, N, 5))[: len(copies)]


def test_prefix(name):
    """The first j picks are the picks for ``k = j``, where the strategy says so."""
    if not make(name).is_prefix_consistent:
        pytest.skip("its batches are sets")
    pool = make_pool()
    longest = query_once(name, pool)
    for j in (1, 7):
        assert query_once(name, pool, j) == longest[:j]


def test_same_key_same_picks_and_jit_equals_eager(name):
    """With masks that are traced, and so may differ from call to call."""
    strategy, pool = make(name), make_pool()
    state = strategy.init(N, 3)
    for other in (pool, pool._replace(available=pool.available & (jnp.arange(N) > 10))):
        plain = strategy.query(jax.random.key(5), state, other, K)[0].tolist()
        assert query_once(name, other, seed=5) == plain


def test_no_second_compilation(name, compilations):
    sizes = (15, 30, 5)
    made = [(jax.random.key(i), make_pool(num_labeled=sizes[i], seed=i)) for i in range(3)]
    query, state = program(name)
    _, state = query(made[0][0], state, made[0][1], K)
    compilations.clear()
    for key, pool in made[1:]:
        _, state = query(key, state, pool, K)
    jax.block_until_ready(state)
    assert compilations == []


LARGE = {"n": 200_000, "c": 32, "d": 128}


def lowered(strategy):
    """The text of a query's program for a large pool, which is neither compiled nor run."""
    n, c, d = LARGE.values()

    def array(shape, dtype=jnp.float32):
        return jax.ShapeDtypeStruct(shape, dtype)

    pool = Pool(
        array((n, c)),
        array((n, d)),
        array((n,), jnp.int32),
        array((n,), jnp.bool_),
        array((n,), jnp.bool_),
        Head(array((d, c)), array((c,))),
        array((n, d)),
        array((4, n, c)),
    )
    key, state = jax.eval_shape(lambda: (jax.random.key(0), strategy.init(n, 3)))
    return jax.jit(strategy.query, static_argnums=3).lower(key, state, pool, 100).as_text()


def has_giant(text):
    """Whether an array of this program has n × n or n × c·d entries."""
    n, c, d = LARGE.values()
    shapes = set(re.findall(r"tensor<(\d+(?:x\d+)*)x[a-z]", text))
    assert shapes
    return max(math.prod(map(int, shape.split("x"))) for shape in shapes) >= n * min(n, c * d)


def test_no_giant_array_and_nothing_on_the_host(name):
    text = lowered(make(name))
    assert not has_giant(text)
    assert "callback" not in text


def test_traces_with_64_bit_types(name):
    """Where they are switched on, what says no type is float64 or int64."""
    with jax.enable_x64(True):
        lowered(make(name))


def furthest_from_all(key, pool, k):
    return jax.lax.top_k(-jnp.sum(pool.features @ pool.features.T, axis=1), k)[1]


def longest(key, pool, k):
    return jax.lax.top_k(jnp.sum(pool_gradients(pool).to_dense() ** 2, axis=1), k)[1]


@pytest.mark.parametrize("choose", [furthest_from_all, longest])
def test_a_giant_array_would_be_seen(choose):
    assert has_giant(lowered(stateless("giant", choose, needs=("logits", "features"))))


def mean_of_all(key, pool, k):
    middle = jnp.mean(pool.features, axis=0)
    return highest(jnp.sum((pool.features - middle[None]) ** 2, axis=1), pool.available, k)


def last_of_equals(key, pool, k):
    lengths = jnp.sum(pool.features**2, axis=1)
    return N - 1 - highest(lengths[::-1], pool.available[::-1], k)


def whole_tiles_only(key, pool, k):
    is_in_tile = jnp.arange(N) < N // 4 * 4
    return highest(jnp.sum(pool.features**2, axis=1), pool.available & is_in_tile, k)


@pytest.mark.parametrize(
    ("mutant", "rejects"),
    [
        (mean_of_all, test_neither_labeled_nor_available_rows_have_no_influence),
        (last_of_equals, test_ties_go_to_the_lower_index),
        (whole_tiles_only, test_the_last_rows_are_reached),
    ],
)
def test_mutants_are_rejected(mutant, rejects, monkeypatch):
    made = stateless(mutant.__name__, mutant, needs=("features",))
    monkeypatch.setitem(STRATEGIES, mutant.__name__, lambda: made)
    with pytest.raises(AssertionError):
        rejects(mutant.__name__)


def test_half_precision_outputs_are_taken(name):
    pool, strategy = make_pool(), make(name)
    pool = pool._replace(logits=pool.logits.astype(jnp.float16), features=pool.features.astype(jnp.bfloat16))
    picks = strategy.query(jax.random.key(0), strategy.init(N, 3), pool, K)[0].tolist()
    assert len(set(picks)) == K


def test_wrong_count_is_refused(name):
    for k in (0, N + 1):
        with pytest.raises(ValueError, match=rf"k = {k} rows asked of a pool of {N}"):
            query_once(name, make_pool(), k)


def test_only_what_it_needs_is_read(name):
    """Everything else of the pool may be None; what is needed and None is named."""
    strategy, pool = make(name), make_pool()
    lean = pool._replace(**{field: None for field in NEEDS if field not in strategy.needs})
    state = strategy.init(N, 3)
    picks = strategy.query(jax.random.key(0), state, lean, K)[0].tolist()
    assert picks == query_once(name, pool)
    for need in strategy.needs:
        with pytest.raises(ValueError, match=f"needs pool.{need}, which is None"):
            strategy.query(jax.random.key(0), state, lean._replace(**{need: None}), K)


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
        expected = np.argsort(-scores, kind="stable")[:K]
    else:
        centers = pool.labeled if plan.centers == "labeled" else None
        expected = plan.sampler.sample(key, plan.embed(pool), K, available=pool.available, centers=centers)
    assert strategy.query(key, (), pool, K)[0].tolist() == expected.tolist()


def test_a_plan_takes_any_part_of_the_pool(name):
    """Row by row, so that a pool can be read in tiles."""
    strategy, pool = make(name), make_pool()
    if strategy.plan is None:
        pytest.skip("it has no plan")
    part = rows_at(pool, slice(20, 31))
    by_row = strategy.plan.score if isinstance(strategy.plan, Ranked) else strategy.plan.embed
    whole, piece = (jax.tree.leaves(by_row(rows)) for rows in (pool, part))
    for a, b in zip(whole, piece, strict=True):
        np.testing.assert_allclose(a[20:31], b, rtol=1e-6, atol=1e-6 * np.abs(a).max())  # sums of products


def test_equal_options_make_equal_plans(name):
    """So that compiled programs are shared from call to call."""
    if name in OWN:
        pytest.skip("its score is a new function each time: it compiles each time")
    assert make(name).plan == make(name).plan
