import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import as_users_do
from designs import add_greedily, bait, information, objective, problem, remove_greedily
from pools import make_pool

from badge_jax import STRATEGIES
from badge_jax.strategies._random import uniform


def query(pool, k, *, key=0, **options):
    return STRATEGIES["bait"](**options).query(jax.random.key(key), (), pool, k)[0].tolist()


def small_pool(n=50, c=3, d=4, num_labeled=12, seed=0):
    return make_pool("signed", n=n, c=c, d=d, num_labeled=num_labeled, seed=seed)


def expected(pool, k, *, fisher="binary", **options):
    each = information(fisher, pool.logits, pool.features)
    return bait(each, pool.labeled, pool.available, k, **options)


@pytest.mark.parametrize("weighting", ["reference", "paper", "equal"])
def test_weightings(weighting):
    pool = small_pool()
    for regularization in (1.0, 0.01):
        options = {"weighting": weighting, "regularization": regularization}
        assert query(pool, 7, **options) == expected(pool, 7, **options)


@pytest.mark.parametrize("fisher", ["block", "full"])
def test_forms(fisher):
    pool = small_pool()
    assert query(pool, 7, fisher=fisher) == expected(pool, 7, fisher=fisher)


def test_regularization_relative_to_the_target():
    pool = small_pool()
    for fisher in ("binary", "block"):
        each = information(fisher, pool.logits, pool.features)
        mean = np.trace(each.mean(axis=0)) / each.shape[1]
        picks = query(pool, 7, fisher=fisher, regularization="relative")
        assert picks == expected(pool, 7, fisher=fisher, regularization=mean)


def test_prune():
    pool = small_pool()
    for prune in (1, 3.9):
        assert query(pool, 7, prune=prune) == expected(pool, 7, prune=prune)


def test_rows_neither_labeled_nor_available_count_nowhere():
    pool = small_pool()
    lost = np.arange(50) % 4 == 1
    features = jnp.where(jnp.asarray(lost)[:, None], jnp.nan, pool.features)
    logits = jnp.where(jnp.asarray(lost)[:, None], jnp.inf, pool.logits)
    masked = pool._replace(
        features=features, logits=logits, labeled=pool.labeled & ~lost, available=pool.available & ~lost
    )
    kept = np.flatnonzero(~lost)
    rest = jax.tree.map(lambda part: part[kept], pool)
    for fisher in ("binary", "full"):
        assert query(masked, 7, fisher=fisher) == kept[expected(rest, 7, fisher=fisher)].tolist()


def test_large_regularization_ranks_by_the_information_about_the_target():
    pool = small_pool()
    each = information("full", pool.logits, pool.features)
    score = np.einsum("nij,ij->n", each, each.mean(axis=0))
    ranked = np.argsort(np.where(pool.available, -score, np.inf))
    assert query(pool, 7, fisher="full", regularization=1e6) == ranked[:7].tolist()


@pytest.mark.parametrize(("factor", "strength"), [(1.0, 1e22), (1e-12, 1.0)])
def test_what_is_tiny_beside_the_regularization_is_not_lost(factor, strength):
    pool = small_pool()
    tiny = pool._replace(features=pool.features * factor)
    options = {"weighting": "paper", "prune": 1}
    expected = query(pool, 7, **options, regularization=1e6)
    assert query(tiny, 7, **options, regularization=strength) == expected


def test_the_scale_of_the_features_is_no_matter():
    """With λ as relative to it; and any λ beside huge features is as good as none."""
    pool, options = small_pool(), {"fisher": "full", "weighting": "paper"}
    expected = query(pool, 7, **options, regularization="relative")
    least = query(pool, 7, **options, regularization=1e-12)
    for exponent in (-60, 40, 100):
        scaled = pool._replace(features=pool.features * 2.0**exponent)
        assert query(scaled, 7, **options, regularization="relative") == expected
        if exponent > 0:
            assert query(scaled, 7, **options) == least


def test_a_rotation_of_the_features_changes_nothing():
    pool = small_pool()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0].astype(np.float32)
    turned = pool._replace(features=pool.features @ rotation)
    for fisher in ("binary", "block", "full"):
        assert query(turned, 7, fisher=fisher) == query(pool, 7, fisher=fisher)


@pytest.mark.parametrize("weighting", ["reference", "paper"])
def test_two_classes_are_one_task(weighting):
    """diag p − p pᵀ = 2 p̂ (1 − p̂) e eᵀ with e = (1, −1)/√2, so twice the λ is the same problem."""
    pool = small_pool(c=2)
    picks = [query(pool, 7, weighting=weighting, regularization=half) for half in (0.01, 5.0)]
    assert picks[0] != picks[1]
    for half, one in zip((0.01, 5.0), picks, strict=True):
        assert query(pool, 7, fisher="full", weighting=weighting, regularization=2 * half) == one


def test_equal_probabilities_make_all_blocks_alike():
    pool = small_pool()
    pool = pool._replace(logits=jnp.zeros_like(pool.logits))
    assert query(pool, 7, fisher="block") == query(pool, 7)


def test_removal_from_all_rows_is_nearly_the_best_set():
    """Against all 56 sets of 3 of 8 rows."""
    for seed in range(5):
        pool = small_pool(n=8, num_labeled=0, seed=seed)
        each = information("binary", pool.logits, pool.features)
        base, weight, target = problem(each, np.asarray(pool.labeled), np.asarray(pool.available), 3)

        def value(rows, base=base, weight=weight, each=each, target=target):
            return objective(base + weight * each[list(rows)].sum(axis=0), target)

        best = min(map(value, itertools.combinations(range(8), 3)))
        assert value(query(pool, 3, prune=8 / 3)) < 1.05 * best


def loaders_sum(each, labeled, k, batch=32):
    """M₀ with the labeled rows' information as a sum of means over the batches of a data loader."""
    rows = each[labeled]
    known = sum(rows[i : i + batch].mean(axis=0) for i in range(0, len(rows), batch))
    return np.eye(each.shape[1]) + known * len(rows) / (len(rows) + k)


def test_the_weight_of_labeled_rows_is_no_matter_of_batches(monkeypatch):
    """The public defect: the more batches, the less λ counts."""
    pool = small_pool(n=300, num_labeled=200)
    picks = query(pool, 7)
    assert picks == expected(pool, 7)

    def defect(each, labeled, *args, **options):
        _, weight, target = problem(each, labeled, *args, **options)
        return loaders_sum(each, labeled, 7), weight, target

    monkeypatch.setattr("designs.problem", defect)
    assert picks != expected(pool, 7)


def test_sure_pools_keep_their_order():
    """Logits times 30, so that the information of half of the rows is 1e-8 and less beside λ = 1."""
    pool = small_pool()
    pool = pool._replace(logits=30 * pool.logits)
    for fisher in ("binary", "block", "full"):
        each = information(fisher, pool.logits, pool.features)
        assert np.median(np.trace(each, axis1=1, axis2=2)) < 1e-8
        assert query(pool, 7, fisher=fisher) == expected(pool, 7, fisher=fisher)


def test_candidates_are_drawn_uniformly_and_the_target_is_the_pool_s():
    pool = small_pool()
    each = information("binary", pool.logits, pool.features)
    labeled, available = np.asarray(pool.labeled), np.asarray(pool.available)
    base, weight, target = problem(each, labeled, available, 7)
    for key in range(3):
        drawn = np.isin(np.arange(50), uniform(jax.random.key(key), pool.available, 20))
        assert drawn.sum() == 20
        added = add_greedily(each, base, weight, target, drawn, 14)
        picks = query(pool, 7, key=key, num_candidates=20)
        assert picks == remove_greedily(each, base, weight, target, added, 7)
    assert query(pool, 7, key=3, num_candidates=50) == query(pool, 7)
    with pytest.raises(ValueError, match="num_candidates is 4; wanted k = 7 or more"):
        query(pool, 7, num_candidates=4)


@pytest.mark.parametrize(
    ("fisher", "n", "c", "d", "message"),
    [
        (
            "full",
            100,
            100,
            512,
            r"1 matrices of 51200·51200 numbers: 20971520000 bytes.*wanted fisher='block' or fisher='binary'",
        ),
        (
            "full",
            200_000,
            100,
            8,
            r"100·100 numbers for each of 200000 rows: 16000000000 bytes.*wanted fisher='block'",
        ),
        ("block", 100, 1000, 2048, r"33554432000 bytes \(31\.2 GiB\), above 8 GiB; wanted fisher='binary'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed(fisher, n, c, d, message):
    mask = jax.ShapeDtypeStruct((n,), jnp.bool_)
    pool = make_pool(n=2, num_labeled=1)._replace(
        logits=jax.ShapeDtypeStruct((n, c), jnp.float32),
        features=jax.ShapeDtypeStruct((n, d), jnp.float32),
        labels=jax.ShapeDtypeStruct((n,), jnp.int32),
        labeled=mask,
        available=mask,
    )
    strategy = STRATEGIES["bait"](fisher=fisher)
    key = jax.eval_shape(lambda: jax.random.key(0))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda key, pool: strategy.query(key, (), pool, 10)[0], key, pool)


def test_little_is_held_beside_a_large_pool():
    n, c, d = 200_000, 10, 512
    mask = jax.ShapeDtypeStruct((n,), jnp.bool_)
    logits, features = (jax.ShapeDtypeStruct((n, width), jnp.float32) for width in (c, d))
    pool = make_pool(n=2, num_labeled=1)._replace(
        logits=logits, features=features, labels=None, labeled=mask, available=mask
    )
    strategy, key = STRATEGIES["bait"](), jax.eval_shape(lambda: jax.random.key(0))
    lowered = jax.jit(lambda key, pool: strategy.query(key, (), pool, 1000)[0]).lower(key, pool)
    memory = as_users_do(lowered).memory_analysis()
    # 32 products and a few scores a row, and the 2,000 rows to remove from; the pool has 522 numbers a row
    assert memory.temp_size_in_bytes < 0.3 * memory.argument_size_in_bytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fisher": "top"}, "fisher is 'top'; wanted one of binary, block, full"),
        ({"weighting": "none"}, "weighting is 'none'; wanted one of reference, paper, equal"),
        ({"regularization": 0}, "regularization is 0; wanted a number above 0, or 'relative'"),
        ({"regularization": float("nan")}, "regularization is nan"),
        ({"regularization": "absolute"}, "regularization is 'absolute'"),
        ({"prune": 0.5}, "prune is 0.5; wanted a number, 1 or more"),
        ({"num_candidates": 0}, "num_candidates is 0; wanted None, or a Python int above 0"),
        ({"num_candidates": True}, "num_candidates is True"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES["bait"](**options)


def test_prefix_consistency_is_said_of_the_right_options():
    assert STRATEGIES["bait"](prune=1, weighting="paper").is_prefix_consistent
    assert not STRATEGIES["bait"](prune=1).is_prefix_consistent
    assert not STRATEGIES["bait"](weighting="paper").is_prefix_consistent
    pool = small_pool()
    assert query(pool, 7, prune=1, weighting="paper") == query(pool, 30, prune=1, weighting="paper")[:7]
