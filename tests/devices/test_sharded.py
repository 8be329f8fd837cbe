"""Pools spread over 1, 2, 4 and 8 devices. ``tests/test_devices.py`` runs this with eight made-up ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from meshes import collectives_of, mesh_of
from oracles import chi_square_p, kmeans_plusplus_law

from badge_jax import (
    STRATEGIES,
    Pool,
    Rows,
    gradient_embedding,
    k_center_greedy,
    kmeans_plusplus,
    lazy_kmeans_plusplus,
    make_active_learner,
    make_optimizer,
    mlp,
    shard_pool,
)
from badge_jax.strategies import Ranked, Spread, on_devices, planned
from benchmarks.cost_model import compiled_traffic, incremental_traffic, lazy_traffic, traffic_of

pytestmark = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices: tests/test_devices.py")

N, C, D, K = 5003, 3, 8, 200  # not a multiple of anything


def rows_of(kind):
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(N, C)), np.maximum(rng.normal(size=(N, D)), 0)
    if kind == "long tails":
        left *= rng.lognormal(sigma=3, size=(N, 1))
    elif kind == "copies":  # of fewer rows than are chosen
        left, right = left[rng.integers(0, K // 2, N)], np.ones((N, D))
    elif kind == "zero":
        left *= 0
    return Rows(left.astype(np.float32), right.astype(np.float32))


KINDS = ("plain", "long tails", "copies", "zero")
SAMPLERS = {
    "kmeans_plusplus": lambda key, rows, mask, **more: kmeans_plusplus(key, rows, 40, available=mask, **more),
    "kmeans_plusplus, max_norm": lambda key, rows, mask, **more: kmeans_plusplus(
        key, rows, 40, available=mask, first="max_norm", **more
    ),
    "lazy": lambda key, rows, mask, **more: lazy_kmeans_plusplus(key, rows, K, available=mask, **more),
    "lazy, norm": lambda key, rows, mask, **more: lazy_kmeans_plusplus(
        key, rows, K, available=mask, first="norm", **more
    ),
    "k-center": lambda key, rows, mask, **more: k_center_greedy(rows, K, available=mask, **more),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "lazy, norm" else name for name in SAMPLERS],
)
def test_picks_are_the_same_on_any_number_of_devices(name):
    """With a mask, a pool that does not divide evenly, copies, and distances that are all 0."""
    sampler, key, mask = SAMPLERS[name], jax.random.key(3), np.random.default_rng(1).random(N) < 0.8
    for kind in KINDS:
        rows = rows_of(kind)
        alone = sampler(key, jax.tree.map(jnp.asarray, rows), jnp.asarray(mask)).tolist()
        assert len({*alone}) == len(alone), kind
        for count in (2, 8) if "kmeans" in name else (1, 2, 4, 8):
            (there, free), is_row = shard_pool((rows, mask), mesh_of(count))
            assert sampler(key, there, free & is_row).tolist() == alone, (kind, count)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_centers_from_the_start(kind):
    centers, rows = np.random.default_rng(2).random(N) < 0.1, rows_of(kind)
    alone = k_center_greedy(jax.tree.map(jnp.asarray, rows), K, centers=jnp.asarray(centers)).tolist()
    for count in (1, 2, 4, 8):
        (there, marks), is_row = shard_pool((rows, centers), mesh_of(count))
        picks = k_center_greedy(there, K, available=is_row & ~marks, centers=marks)
        assert picks.tolist() == alone, count


@pytest.mark.parametrize("kind", ["plain", "copies", "zero"])
def test_margin(kind):
    """Copies have equal margins, and all rows where all logits are 0. The lowest row numbers come first."""
    logits, labeled = rows_of(kind).left, np.random.default_rng(2).random(N) < 0.1
    best = np.sort(logits.astype(np.float64), axis=1)
    p = np.exp(best - best[:, -1:])
    margins = np.where(labeled, np.inf, (p[:, -1] - p[:, -2]) / p.sum(1))
    margin = STRATEGIES["margin"]()

    def ask(logits, labeled, is_row):
        pool = Pool(logits, None, jnp.where(labeled, 0, -1), labeled, is_row & ~labeled)
        return margin.query(jax.random.key(0), (), pool, K)[0].tolist()

    alone = ask(jnp.asarray(logits), jnp.asarray(labeled), jnp.ones(N, bool))
    np.testing.assert_allclose(margins[alone], np.sort(margins)[:K], atol=1e-6)
    if kind == "zero":
        assert alone == np.flatnonzero(~labeled)[:K].tolist()
    for count in (1, 2, 4, 8):
        parts, is_row = shard_pool((logits, labeled), mesh_of(count))
        assert ask(*parts, is_row) == alone, count


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lazy", "k-center"])
def test_axes_that_are_in_the_types(name):
    """A mesh of Explicit axes: outside jit, and inside the caller's."""
    sampler, key, rows = SAMPLERS[name], jax.random.key(4), rows_of("plain")
    alone = sampler(key, jax.tree.map(jnp.asarray, rows), jnp.ones(N, bool)).tolist()
    for count in (1, 4):
        there, is_row = shard_pool(rows, mesh_of(count, AxisType.Explicit))
        assert sampler(key, there, is_row).tolist() == alone
        assert jax.jit(sampler)(key, there, is_row).tolist() == alone


@pytest.mark.parametrize("name", ["lazy", "k-center"])
def test_a_program_gathers_no_pool(name):
    """Inside jit the mesh is given. No collective has as many entries as the pool has rows."""
    mesh, key, rows = mesh_of(8), jax.random.key(4), rows_of("plain")
    there, is_row = shard_pool(rows, mesh)
    sharding = NamedSharding(mesh, P("pool"))
    call = jax.jit(lambda *args: SAMPLERS[name](*args, sharding=sharding))
    compiled = call.lower(key, there, is_row).compile()
    alone = SAMPLERS[name](key, jax.tree.map(jnp.asarray, rows), jnp.ones(N, bool))
    assert compiled(key, there, is_row).tolist() == alone.tolist()
    assert max(collectives_of(compiled)) < len(there), "entries"
    if name == "lazy":
        assert traffic_of(compiled.as_text()) == by_loops(lazy_traffic(len(there), C, D))

    gathering = jax.jit(lambda rows: jnp.sum(rows.left[::-1], axis=1)).lower(there).compile()
    assert max(collectives_of(gathering)) >= len(there) / 8, "the pattern finds collectives"


def by_loops(traffic):
    """Numbered by the loops around: folds are in one, batches in another within it."""
    return {loops: traffic[name] for loops, name in enumerate(("start", "fold", "batch"))}


def test_traffic_is_that_of_the_cost_model():
    """Collectives, and the numbers in them, of a larger pool on fewer devices."""
    n, c, d = 2**17, 10, 64
    counted = compiled_traffic(lazy_kmeans_plusplus, n, c, d, K, num_devices=2)
    assert counted == by_loops(lazy_traffic(n, c, d))
    counted = compiled_traffic(kmeans_plusplus, n, c, d, K, num_devices=4)
    assert counted[1] == incremental_traffic(n, c, d)


@pytest.mark.parametrize("first", ["uniform", pytest.param("norm", marks=pytest.mark.slow)])
def test_law_on_four_devices(first):
    """χ² against enumeration: six rows among blanks, so that each device has some; two are not available."""
    rng = np.random.default_rng(5)
    places = np.array([0, 15, 16, 33, 47, 50, 63, 7])
    left, right = np.zeros((64, 2), np.float32), np.zeros((64, 3), np.float32)
    left[places], right[places] = rng.normal(size=(8, 2)), rng.normal(size=(8, 3))
    free = np.isin(np.arange(64), places[:6])
    rows = Rows(left[places], right[places])
    law = kmeans_plusplus_law(rows.to_dense(), 3, available=np.arange(8) < 6, first=first)
    sharding = NamedSharding(mesh_of(4), P("pool"))
    there, mask = jax.device_put((Rows(left, right), free), sharding)

    @jax.jit
    def draw_all(keys, there, mask):
        return jax.vmap(
            lambda key: lazy_kmeans_plusplus(key, there, 3, available=mask, first=first, sharding=sharding)
        )(keys)

    draws = np.asarray(draw_all(jax.random.split(jax.random.key(0), 8_000), there, mask))
    number = np.full(64, -1)
    number[places] = np.arange(8)
    assert chi_square_p(number[draws], law) > 1e-4
    wrong = kmeans_plusplus_law(rows.to_dense() ** 3, 3, available=np.arange(8) < 6, first=first)
    assert chi_square_p(number[draws], wrong) < 1e-4, "another law is rejected"


@pytest.mark.parametrize(
    "name",
    ["badge", pytest.param("badge(first=norm)", marks=pytest.mark.slow), "coreset", "margin", "badge_kcenter"],
)
def test_strategies(name):
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(N, C)).astype(np.float32)
    features = rng.normal(size=(N, D)).astype(np.float32)
    labeled = rng.random(N) < 0.1
    maker, *option = name.rstrip(")").split("(first=")
    strategy = STRATEGIES[maker](**({"first": option[0]} if option else {}))

    def ask(logits, features, labeled, is_row):
        pool = Pool(logits, features, jnp.where(labeled, 0, -1), labeled, is_row & ~labeled)
        return strategy.query(jax.random.key(0), (), pool, K)[0].tolist()

    alone = ask(*map(jnp.asarray, (logits, features, labeled)), jnp.ones(N, bool))
    parts, is_row = shard_pool((logits, features, labeled), mesh_of(4))
    assert ask(*parts, is_row) == alone


def least_agreed(pool):
    """A score of several passes; it sees as many rows of them as of the labels."""
    assert pool.samples.shape == (4, *pool.logits.shape)
    return jnp.sum(jnp.var(pool.samples, axis=0), axis=1)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_samples_are_spread_along_their_rows(axis_type):
    rng = np.random.default_rng(9)
    logits = rng.normal(size=(N, C)).astype(np.float32)
    samples = rng.normal(size=(N, 4, C)).astype(np.float32)
    strategy = planned("unsure", Ranked(least_agreed), needs=("logits", "samples"))

    def ask(logits, samples, is_row):
        pool = Pool(logits, None, None, ~is_row, is_row, samples=jnp.swapaxes(samples, 0, 1))
        return strategy.query(jax.random.key(0), (), pool, K)[0].tolist()

    alone = ask(jnp.asarray(logits), jnp.asarray(samples), jnp.ones(N, bool))
    assert alone == np.argsort(-samples.var(1).sum(1), kind="stable")[:K].tolist()
    parts, is_row = shard_pool((logits, samples), mesh_of(4, axis_type))
    assert ask(*parts, is_row) == alone


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_a_strategy_that_needs_masks_alone(axis_type):
    """It has no plan; the picks are those of the padded pool on one device."""
    mesh, is_labeled = mesh_of(4, axis_type), np.random.default_rng(2).random(N) < 0.5
    labeled, is_row = shard_pool(is_labeled, mesh)[0], shard_pool(np.zeros(N), mesh)[1]
    strategy = on_devices(STRATEGIES["random"](), is_row.sharding)

    def ask(labeled, is_row):
        pool = Pool(None, None, jnp.where(labeled, 0, -1), labeled, is_row & ~labeled)
        return strategy.query(jax.random.key(0), (), pool, K)[0]

    alone = np.asarray(ask(*map(jnp.asarray, map(np.asarray, (labeled, is_row)))))
    assert len(set(alone)) == K
    assert not is_labeled[alone].any()
    assert ask(labeled, is_row).tolist() == alone.tolist()
    assert jax.jit(ask)(labeled, is_row).tolist() == alone.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_learner(axis_type):
    rng, key = np.random.default_rng(7), jax.random.key(1)
    inputs, told = rng.normal(size=(N, 6)).astype(np.float32), np.arange(0, N, 50)
    model, badge = mlp(C, hidden=8), STRATEGIES["badge"]()
    variables = model.init(jax.random.key(0), jnp.asarray(inputs[:2]))

    def ask(learner, inputs, call):
        state = learner.init(len(inputs), 1, len(told) + 30)
        state = learner.tell(state, told, told % C)
        state = learner.tell(state, np.arange(N, len(inputs)), np.full(len(inputs) - N, -1))  # no rows
        return call(key, state, variables, inputs)[0].tolist()

    learner = make_active_learner(model, make_optimizer(1e-3), badge, 30)
    alone = ask(learner, jnp.asarray(inputs), learner.ask)
    mesh = mesh_of(4, axis_type)
    there, _ = shard_pool(inputs, mesh)
    assert ask(learner, there, learner.ask) == alone
    if axis_type == AxisType.Auto:
        sharding = NamedSharding(mesh, P("pool"))
        learner = make_active_learner(model, make_optimizer(1e-3), badge, 30, sharding=sharding)
    assert ask(learner, there, jax.jit(learner.ask)) == alone


def test_gradient_embedding():
    rng = np.random.default_rng(8)
    arrays = rng.normal(size=(N, C)).astype(np.float32), rng.normal(size=(N, D)).astype(np.float32)
    for axis_type in (AxisType.Auto, AxisType.Explicit):
        parts, _ = shard_pool(arrays, mesh_of(8, axis_type))
        rows = gradient_embedding(*parts)
        assert rows.left.sharding.spec[0] == rows.right.sharding.spec[0] == "pool"
        alone = gradient_embedding(*map(jnp.asarray, arrays))
        np.testing.assert_array_equal(np.asarray(rows.left)[:N], alone.left)
        np.testing.assert_allclose(np.asarray(rows.norms)[:N], alone.norms, rtol=1e-6)


class Furthest:
    """A user's sampler, for one device."""

    def sample(self, key, rows, k, *, available, centers):
        return jnp.argsort(-rows.norms)[:k]


def test_refusals():
    def pool_of(logits):
        none = jnp.zeros(len(logits), bool)
        return Pool(logits, None, None, none, ~none)

    logits, _ = shard_pool(np.ones((N, C), np.float32), mesh_of(2))
    falcun = STRATEGIES["falcun"]()
    with pytest.raises(
        ValueError, match="falcun has no plan for a pool that lies on 2 devices; wanted the pool on"
    ):
        falcun.query(jax.random.key(0), (), pool_of(logits), 5)
    with pytest.raises(ValueError, match="this strategy has no plan for a pool that lies on 2 devices"):
        on_devices(falcun, logits.sharding)
    own = planned("own", Spread(lambda pool: Rows(pool.logits, pool.logits), Furthest()), needs=("logits",))
    with pytest.raises(ValueError, match="Furthest chooses on one device; wanted a sampler whose sample takes"):
        own.query(jax.random.key(0), (), pool_of(logits), 5)
    with pytest.raises(ValueError, match="Furthest chooses on one device"):
        on_devices(own, logits.sharding)
    ranked = planned("first", Ranked(lambda pool: pool.logits[:, 0]), needs=("logits",))
    assert ranked.query(jax.random.key(0), (), pool_of(logits), 5)[0].tolist() == [0, 1, 2, 3, 4]

    uneven = jax.device_put(np.ones((N + 1, C), np.float32), NamedSharding(mesh_of(4), P("pool")))
    with pytest.raises(
        ValueError, match="a pool of 5004 rows lies on 4 devices; wanted a multiple of 1024 rows"
    ):
        lazy_kmeans_plusplus(jax.random.key(0), Rows(uneven, uneven), 3)
    with pytest.raises(ValueError, match="'pool' has 3 devices; wanted 1, 2, 4, 8 or another power of two"):
        shard_pool(np.ones((9, 2)), mesh_of(3))
    with pytest.raises(ValueError, match=r"the arrays have \[8, 9\] rows; wanted the same number"):
        shard_pool((np.ones(8), np.ones(9)), mesh_of(2))
    with pytest.raises(ValueError, match="axis is 'rows'; wanted one of pool"):
        shard_pool(np.ones(8), mesh_of(2), "rows")
    both = jax.make_mesh((2, 2), ("pool", "batch"), devices=jax.devices()[:4])
    with pytest.raises(ValueError, match="the mesh has the axes pool, batch; wanted one of them as axis"):
        shard_pool(np.ones(8), both)
