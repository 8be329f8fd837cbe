"""The chain against enumeration, against an exact sampler, and step by step against float64 determinants."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import chi_square_p, draw_k_dpp, gram, k_dpp_law
from scipy import stats

from badge_jax import Rows, dense_rows, gradient_embedding, k_dpp_swap
from badge_jax.samplers import k_dpp
from badge_jax.samplers.k_dpp import (
    Chain,
    Proposals,
    _exchange,
    _inverse_by_cholesky,
    _inverse_by_sweeps,
    _refreshed,
    _shuffled,
    _unit_rows,
    run_chain,
)


def random_rows(n, c=3, d=4, seed=0, spread=0.5):
    """Outer products whose norms differ by a lognormal factor."""
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(n, c)) * np.exp(spread * rng.normal(size=(n, 1)))
    return Rows(jnp.asarray(left, jnp.float32), jnp.asarray(rng.normal(size=(n, d)), jnp.float32))


def sets_of_chains(rows, k, number, *, available=None, seed=1, num_steps=None):
    keys = jax.random.split(jax.random.key(seed), number)
    return np.sort(np.asarray(draw_sets(keys, rows, k, available, num_steps)), axis=1)


@partial(jax.jit, static_argnames=("k", "num_steps"))
def draw_sets(keys, rows, k, available, num_steps):
    one = partial(k_dpp_swap, rows=rows, k=k, available=available, num_steps=num_steps)
    return jax.lax.map(one, keys, batch_size=5000)


def exact_inverse(rows, chain):
    unit = _unit_rows(rows, chain.members).rows
    return np.linalg.inv(gram(unit.to_dense()))


@pytest.mark.slow
def test_law():
    """A set of probability 1 % comes 4,000 ± 63 times: an error of 5 % in it is more than three deviations."""
    rows = random_rows(8)
    law, sets = k_dpp_law(gram(rows.to_dense()), 3), sets_of_chains(rows, 3, 400_000)
    assert chi_square_p(sets, law) > 1e-4
    found = dict(zip(*(a.tolist() for a in np.unique(sets @ [64, 8, 1], return_counts=True)), strict=True))
    likely = [(s, probability) for s, probability in law.items() if probability >= 0.01]
    assert len(likely) >= 10
    for (a, b, c), probability in likely:
        assert found[64 * a + 8 * b + c] / 400_000 == pytest.approx(probability, rel=0.05)


def test_law_of_gradient_embeddings_among_available_rows():
    rng = np.random.default_rng(2)
    logits, features = 2 * rng.normal(size=(9, 3)), rng.normal(size=(9, 3))
    rows = gradient_embedding(jnp.asarray(logits, jnp.float32), jnp.asarray(features, jnp.float32))
    available = np.arange(9) % 4 != 1
    kernel = gram(rows.to_dense()) * np.outer(available, available)
    law = {s: p for s, p in k_dpp_law(kernel, 4).items() if p > 0}
    sets = sets_of_chains(rows, 4, 30_000, available=jnp.asarray(available), num_steps=100)
    assert chi_square_p(sets, law) > 1e-4


def test_copies_and_zero_rows_never_meet_in_a_set():
    points = np.random.default_rng(3).normal(size=(7, 4))
    points[4], points[5], points[6] = points[0], 0, 0
    kernel = gram(points)
    law = {s: p for s, p in k_dpp_law(kernel, 3).items() if 5 not in s and 6 not in s and not {0, 4} <= set(s)}
    rows = dense_rows(jnp.asarray(points, jnp.float32))
    assert chi_square_p(sets_of_chains(rows, 3, 30_000), law) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.02, 0.01])
def test_law_of_rows_that_are_nearly_parallel(spread):
    """The inverse of the Gram matrix has entries of 10⁴ here, and the complement is 10⁻³ and less."""
    points = (1 + spread * np.random.default_rng(0).normal(size=(7, 4))).astype(np.float32)
    law = k_dpp_law(gram(points), 3)
    draws = sets_of_chains(dense_rows(jnp.asarray(points)), 3, 30_000, num_steps=200)
    assert chi_square_p(draws, law) > 1e-4


@pytest.mark.slow
def test_the_law_of_nearly_parallel_rows_has_teeth(monkeypatch):
    """Without the correction of products with a large inverse."""
    monkeypatch.setattr(k_dpp, "_NEAR_DEPENDENT", 1e-30)
    points = (1 + 0.02 * np.random.default_rng(0).normal(size=(7, 4))).astype(np.float32)
    jax.clear_caches()
    draws = sets_of_chains(dense_rows(jnp.asarray(points)), 3, 30_000, num_steps=200)
    jax.clear_caches()
    assert chi_square_p(draws, k_dpp_law(gram(points), 3)) < 1e-4


@pytest.mark.slow
def test_log_determinants_are_those_of_an_exact_sampler():
    rows = random_rows(60, d=5)
    kernel = gram(rows.to_dense())
    rng = np.random.default_rng(0)
    exact = [
        np.linalg.slogdet(kernel[np.ix_(s, s)])[1] for s in (draw_k_dpp(rng, kernel, 6) for _ in range(4000))
    ]
    sets = sets_of_chains(rows, 6, 4000, num_steps=1000)
    ours = [np.linalg.slogdet(kernel[np.ix_(s, s)])[1] for s in sets]
    assert stats.ks_2samp(exact, ours).pvalue > 1e-4


def test_the_exact_sampler_itself():
    kernel = gram(random_rows(6).to_dense())
    rng = np.random.default_rng(0)
    draws = np.array([draw_k_dpp(rng, kernel, 3) for _ in range(4000)])
    assert chi_square_p(draws, k_dpp_law(kernel, 3)) > 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_steps_taken_together_are_those_taken_singly(seed):
    """Few places and candidates, so that one comes several times in a block, enters, leaves and comes back."""
    rng, n, k, m = np.random.default_rng(seed), 9, 4, 40
    rows = random_rows(n, seed=seed)
    kernel = gram(rows.to_dense())
    order = rng.permutation(n).astype(np.int32)
    members, others = order[:k].tolist(), order[k:].tolist()
    places, candidates = rng.integers(0, k, m), rng.integers(0, n - k, m)
    log_uniforms, is_live = np.log(rng.random(m)), np.arange(m) < 35
    start = Chain(jnp.asarray(members), jnp.asarray(others), jnp.zeros((k, k)))
    start = start._replace(inverse=jnp.asarray(exact_inverse(rows, start), jnp.float32))
    proposals = Proposals(*map(jnp.asarray, (places, candidates, log_uniforms, is_live)))
    end = jax.jit(_exchange)(rows, start, jax.tree.map(lambda a: a.astype(jnp.result_type(a)), proposals))
    num_exchanges = 0
    for place, candidate, log_uniform in zip(places[:35], candidates[:35], log_uniforms[:35], strict=True):
        proposed = members.copy()
        proposed[place] = others[candidate]
        ratio = np.linalg.det(kernel[np.ix_(proposed, proposed)]) / np.linalg.det(
            kernel[np.ix_(members, members)]
        )
        if log_uniform < np.log(ratio):
            others[candidate], members = members[place], proposed
            num_exchanges += 1
    assert num_exchanges >= 8
    assert (end.members.tolist(), end.others.tolist()) == (members, others)
    np.testing.assert_allclose(end.inverse, exact_inverse(rows, end), atol=1e-4)


@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_inverse_after_ten_thousand_steps(spread):
    rows = random_rows(3000, c=6, d=20, spread=spread)
    chain = jax.jit(partial(run_chain, k=60, num_steps=10_000))(jax.random.key(0), rows)
    exact = exact_inverse(rows, chain)
    np.testing.assert_allclose(chain.inverse, exact, atol=1e-4)
    assert len(set(chain.members.tolist())) == 60
    assert sorted(set(chain.members.tolist()) | set(chain.others.tolist())) == [-1, *range(3000)]


@pytest.mark.parametrize("num_steps", [1, 10_000])
def test_inverse_where_all_rows_are_much_alike(num_steps):
    """Condition numbers near 2e4: float32's own inverse is within 1e-3, and the chain's stays as near."""
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=32)) + 0.05 * rng.normal(size=(3000, 32))
    logits = rng.normal(size=(3000, 10))
    rows = gradient_embedding(jnp.asarray(logits, jnp.float32), jnp.asarray(features, jnp.float32))
    chain = jax.jit(partial(run_chain, k=100, num_steps=num_steps))(jax.random.key(0), rows)
    exact = exact_inverse(rows, chain)
    fresh = np.asarray(_refreshed(rows, chain).inverse)
    error, best = (np.max(np.abs(inverse - exact)) / np.max(exact) for inverse in (chain.inverse, fresh))
    assert best < 1e-3
    assert error < 4 * best + 1e-4


@pytest.mark.parametrize("invert", [_inverse_by_cholesky, _inverse_by_sweeps])
def test_inverses_of_either_kind(invert):
    """TPUs sweep. An inverse of float32 is right to about k roundings times the condition number."""
    rng, k = np.random.default_rng(0), 40
    for alike in (0.0, 3.0, 30.0):  # a common part: condition numbers from 1e2 to 1e5
        points = rng.normal(size=(k, 60)) + alike
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        products = (points @ points.T).astype(np.float32)
        exact = np.linalg.inv(products.astype(np.float64))
        error = np.linalg.norm(invert(jnp.asarray(products)) - exact, 2) / np.linalg.norm(exact, 2)
        assert error < k * np.finfo(np.float32).eps * np.linalg.cond(products)
    points[7] = points[3]
    singular = jnp.asarray(points @ points.T, jnp.float32) * jnp.float32(0.75)
    assert not np.isfinite(invert(singular.at[7].set(singular[3]).at[:, 7].set(singular[:, 3]))).all()


def test_a_pool_of_copies_and_zeros_is_left_behind():
    """The first sets of 20 are singular with all but certainty: 990 of 1,030 rows are of no use."""
    points = np.zeros((1030, 40), np.float32)
    points[:30] = np.random.default_rng(0).normal(size=(30, 40))
    points[30:500] = points[0]
    picks = k_dpp_swap(jax.random.key(0), dense_rows(jnp.asarray(points)), 20).tolist()
    assert len({min(pick, 30 if pick < 500 else 1030) if pick else 30 for pick in picks}) == 20
    assert max(picks) < 500


def test_without_k_independent_rows_the_rest_is_minus_one():
    zeros = dense_rows(jnp.zeros((6, 4)))
    assert k_dpp_swap(jax.random.key(0), zeros, 3).tolist() == [-1, -1, -1]
    points = np.random.default_rng(0).normal(size=(50, 2)) @ np.random.default_rng(1).normal(size=(2, 5))
    picks = k_dpp_swap(jax.random.key(0), dense_rows(jnp.asarray(points, jnp.float32)), 4).tolist()
    assert picks[2:] == [-1, -1]
    assert len({*picks[:2], -1}) == 3


def test_rows_of_very_different_lengths():
    """A confident network's rows are shorter by many orders of magnitude: a set holds the long ones."""
    rows = random_rows(40, spread=0.0)
    short = jnp.where(jnp.arange(40) < 35, 1e-15, 1.0)[:, None]
    picks = k_dpp_swap(
        jax.random.key(0), Rows(rows.left * short, rows.right * short), 6, num_steps=2000
    ).tolist()
    assert {35, 36, 37, 38, 39} < set(picks)
    tiny = Rows(rows.left * 1e-18, rows.right * 1e-18)
    assert k_dpp_swap(jax.random.key(0), tiny, 6).tolist() == k_dpp_swap(jax.random.key(0), rows, 6).tolist()


def test_k_equals_n_and_one_point():
    assert sorted(k_dpp_swap(jax.random.key(0), random_rows(8), 8).tolist()) == list(range(8))
    assert k_dpp_swap(jax.random.key(0), dense_rows(jnp.ones((1, 2))), 1).tolist() == [0]


def test_one_row_is_drawn_by_its_squared_norm():
    rows = random_rows(6)
    norms = (np.asarray(rows.to_dense(), np.float64) ** 2).sum(axis=1)
    law = {(i,): share for i, share in enumerate(norms / norms.sum())}
    assert chi_square_p(sets_of_chains(rows, 1, 20_000), law) > 1e-4


def test_no_steps_is_a_uniform_set():
    sets = sets_of_chains(random_rows(5), 2, 10_000, num_steps=0)
    law = {(i, j): 0.1 for i in range(5) for j in range(i + 1, 5)}
    assert chi_square_p(sets, law) > 1e-4


def test_no_steps_is_a_uniform_set_of_the_available_rows():
    """Five of eight rows, drawn four at a time, so that the fourth place is shuffled and never tried."""
    available = np.arange(8) % 3 != 1
    sets = sets_of_chains(random_rows(8), 3, 10_000, available=jnp.asarray(available), num_steps=0)
    law = dict.fromkeys(itertools.combinations(np.flatnonzero(available).tolist(), 3), 0.1)
    assert chi_square_p(sets, law) > 1e-4


@pytest.mark.parametrize("free", [(0, 3, 4, 7), (1, 2, 5, 6, 8)])
def test_law_with_hardly_a_row_outside(free):
    rows, available = random_rows(9), np.isin(np.arange(9), free)
    law = k_dpp_law(gram(rows.to_dense()) * np.outer(available, available), 3)
    law = {s: p for s, p in law.items() if set(s) <= set(free)}
    sets = sets_of_chains(rows, 3, 10_000, available=jnp.asarray(available), num_steps=100)
    assert chi_square_p(sets, law) > 1e-4


def orders_of_shuffles(shuffled):
    """What four places hold of a pool of 5 behind one row that stays, drawn three and then one at a time."""
    keys = jax.random.split(jax.random.key(5), 40_000)

    @jax.jit
    @jax.vmap
    def orders(key):
        pool = shuffled(jax.random.fold_in(key, 0), jnp.arange(7), jnp.int32(1), jnp.int32(6), 3)
        return shuffled(jax.random.fold_in(key, 1), pool, jnp.int32(4), jnp.int32(6), 1)

    return np.asarray(orders(keys))


def test_shuffled_places_are_drawn_without_replacement():
    orders = orders_of_shuffles(_shuffled)
    assert (np.sort(orders, axis=1) == np.arange(7)).all()
    assert (orders[:, [0, 6]] == [0, 6]).all()
    law = dict.fromkeys(itertools.permutations(range(1, 6), 4), 1 / 120)
    assert chi_square_p(orders[:, 1:5], law) > 1e-4


def test_the_law_of_shuffled_places_has_teeth():
    """Each place exchanged with any of them, not only with those not before it."""

    def any_partner(key, pool, start, stop, num):
        for t in range(num):
            pair = jnp.stack([start + t, jax.random.randint(jax.random.fold_in(key, t), (), 1, stop)])
            pool = pool.at[pair].set(pool[pair[::-1]])
        return pool

    law = dict.fromkeys(itertools.permutations(range(1, 6), 4), 1 / 120)
    assert chi_square_p(orders_of_shuffles(any_partner)[:, 1:5], law) < 1e-4


def test_masks_and_seeds_share_one_compilation(compilations):
    rows = random_rows(30)
    masks = [jnp.asarray(np.arange(30) % 3 != remainder) for remainder in range(3)]
    keys = [jax.random.key(seed) for seed in range(3)]
    k_dpp_swap(keys[0], rows, 5, available=masks[0]).block_until_ready()
    compilations.clear()
    for key, mask in zip(keys, masks, strict=True):
        picks = np.asarray(k_dpp_swap(key, rows, 5, available=mask))
        assert np.asarray(mask)[picks].all()
        assert len(set(picks.tolist())) == 5
    assert compilations == []


@pytest.mark.slow
def test_jit_equals_eager():
    rows = random_rows(8)
    with jax.disable_jit():
        eager = k_dpp_swap(jax.random.key(0), rows, 3, num_steps=4).tolist()
    assert k_dpp_swap(jax.random.key(0), rows, 3, num_steps=4).tolist() == eager


@pytest.mark.parametrize("bad", [2, 7])
def test_a_row_that_is_not_finite_ends_it(bad):
    rows = random_rows(8)
    rows = dataclasses.replace(rows, right=rows.right.at[bad, 0].set(jnp.nan))
    assert k_dpp_swap(jax.random.key(0), rows, 3).tolist() == [-1, -1, -1]
    without = jnp.arange(8) != bad
    assert min(k_dpp_swap(jax.random.key(0), rows, 3, available=without).tolist()) >= 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["left", "right"])
def test_an_entry_of_either_factor_that_is_not_finite_ends_it(part, bad):
    rows = random_rows(8)
    rows = dataclasses.replace(rows, **{part: getattr(rows, part).at[5, 2].set(bad)})
    assert k_dpp_swap(jax.random.key(0), rows, 3).tolist() == [-1, -1, -1]


def test_wrong_arguments_are_refused():
    rows = random_rows(60, c=3, d=4)
    with pytest.raises(ValueError, match=r"k = 9 rows cannot be independent.* 3 classes and 4 features .* = 8"):
        k_dpp_swap(jax.random.key(0), rows, 9)
    with pytest.raises(ValueError, match="no k-DPP beyond 5"):
        k_dpp_swap(jax.random.key(0), dense_rows(jnp.ones((9, 5))), 6)
    with pytest.raises(ValueError, match="k = 61 rows asked of a pool of 60"):
        k_dpp_swap(jax.random.key(0), rows, 61)
    with pytest.raises(ValueError, match="num_steps is -1; wanted"):
        k_dpp_swap(jax.random.key(0), rows, 3, num_steps=-1)
