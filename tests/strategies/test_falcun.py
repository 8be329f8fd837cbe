import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import chi_square_p, draws_law, softmax
from pools import make_pool, pool_of_logits

from badge_jax import STRATEGIES
from badge_jax.samplers.draw import gumbels
from badge_jax.strategies import _falcun

NUM_DRAWS = 60_000


def normalised(d, left):
    """(d − min) / (max − min) over the rows left, or 0."""
    spread = np.ptp(d[left])
    return (d - d[left].min()) / spread if spread > 0 else 0 * d


def weights_after(picks, p, gamma, available, mutant=None):
    """The weights of the next draw [n] after ``picks``, in float64 from the definition."""
    ordered = np.sort(p, axis=1)
    u = 1 - (ordered[:, -1] - ordered[:, -2])
    d = np.abs(p - p[picks[0]]).sum(axis=1) if mutant == "no start" and picks else u
    if mutant == "scaled doubt":
        u = normalised(u, available)
    left = available.copy()
    for pick in picks:
        if mutant == "written back":  # public defect: what was normalised is kept
            d = normalised(d, left)
        d = np.minimum(d, np.abs(p - p[pick]).sum(axis=1))
        if mutant != "drawn rows count":
            left[pick] = False
    if d[left].sum() == 0:
        return np.ones(len(p))
    spread = d if mutant == "plain start" and not picks else normalised(d, left)
    return np.maximum(spread if mutant == "distance alone" else spread + u, 0) ** gamma


def picks_of(pool, k, gamma, seed):
    return STRATEGIES["falcun"](gamma=gamma).query(jax.random.key(seed), (), pool, k)[0].tolist()


def literal_loop(pool, k, gamma, seed, mutant=None):
    """One row after the other in float64, with the Gumbel numbers of the strategy."""
    p, available, picks = softmax(pool.logits), np.asarray(pool.available), []
    for t in range(k):
        key = jax.random.split(jax.random.fold_in(jax.random.key(seed), t))[1]  # the first draws a block: one
        left = available & ~np.isin(np.arange(len(p)), picks)
        weights = weights_after(picks, p, gamma, available, mutant)
        if weights[left].sum() == 0:
            weights = np.ones(len(p))
        with np.errstate(divide="ignore"):
            values = np.log(weights) + np.asarray(gumbels(key, len(p)), np.float64)
        picks.append(int(np.argmax(np.where(left, values, -np.inf))))
    return picks


@pytest.mark.parametrize("kind", ["plain", "copies", "clueless"])
def test_equals_the_literal_loop(kind):
    for seed in range(3):
        pool = make_pool(kind, seed=seed)
        assert picks_of(pool, 45, 10.0, seed) == literal_loop(pool, 45, 10.0, seed)


MUTANTS = ["written back", "plain start", "distance alone", "scaled doubt", "drawn rows count"]


@pytest.mark.parametrize("mutant", ["written back", "distance alone", "scaled doubt"])
def test_mutants_draw_other_rows(mutant):
    """The other mutants differ in few draws: the test of the law rejects them."""
    wrong = 0
    for seed in range(5):
        pool = make_pool(seed=seed)
        pool = pool._replace(logits=0.2 * pool.logits)  # no u is near 0
        picks = picks_of(pool, 45, 2.0, seed)
        assert picks == literal_loop(pool, 45, 2.0, seed)
        wrong += picks != literal_loop(pool, 45, 2.0, seed, mutant)
    assert wrong >= 4


def test_drawn_rows_are_masked(monkeypatch):
    """Public defect: a draw over all rows may take one again, above all among copies."""
    pool, draw = make_pool("copies"), _falcun._draw
    unjitted = _falcun._draw_all.__wrapped__

    def picks():
        return unjitted(jax.random.key(0), pool.logits, pool.available, jnp.float32(10), 45).tolist()

    assert len(set(picks())) == 45
    monkeypatch.setattr(
        _falcun,
        "_draw",
        lambda key, distance, doubt, free, gamma: draw(key, distance, doubt, pool.available, gamma),
    )
    assert len(set(picks())) < 45


@jax.jit
def draw_all(keys, logits, available, gamma):
    draw = jax.vmap(lambda key: _falcun._draw_all(key, logits, available, gamma, 3))
    return draw(keys)


def draws_of(pool, gamma, seed=1):
    keys = jax.random.split(jax.random.key(seed), NUM_DRAWS)
    return np.asarray(draw_all(keys, pool.logits, pool.available, jnp.float32(gamma)))


def law_of(pool, gamma, mutant=None):
    p, available = softmax(pool.logits), np.asarray(pool.available)
    return draws_law(
        lambda picks: weights_after(list(picks), p, gamma, available, mutant), len(p), 3, available=available
    )


LOGITS = np.array([[0.3, 0, 0], [0, 1, 0.9], [4, 0, 1], [0, 0.5, 2], [-3, 2, 2.5], [0, 0, 0.1]])
AVAILABLE = np.arange(6) != 5


@pytest.mark.parametrize("gamma", [1.0, 3.0, 10.0])
def test_law(gamma):
    pool = pool_of_logits(LOGITS, AVAILABLE)
    assert chi_square_p(draws_of(pool, gamma), law_of(pool, gamma)) > 1e-4


@pytest.mark.parametrize("mutant", MUTANTS)
def test_other_laws_are_told_apart(mutant):
    pool = pool_of_logits(LOGITS, AVAILABLE)
    assert chi_square_p(draws_of(pool, 3.0), law_of(pool, 3.0, mutant)) < 1e-4


def test_law_of_the_first_draw():
    pool = pool_of_logits(LOGITS, AVAILABLE)
    weights = weights_after([], softmax(LOGITS), 10.0, AVAILABLE)[AVAILABLE]
    law = {(i,): weight / weights.sum() for i, weight in enumerate(weights)}
    assert chi_square_p(draws_of(pool, 10.0, seed=2)[:, :1], law) > 1e-4


def test_copies_of_drawn_rows_are_drawn_uniformly():
    """Two points, of which every row is a copy: once both are drawn, nothing is left to tell the rows apart."""
    logits = np.array([[0.5, 0], [3, 0], [0.5, 0], [3, 0], [3, 0], [3, 0]])
    pool = pool_of_logits(logits)
    law = law_of(pool, 3.0)
    draws = draws_of(pool, 3.0)
    assert chi_square_p(draws, law) > 1e-4
    # u alone would prefer the copies of row 0
    u_counts = draws_law(
        lambda picks: (
            weights_after(list(picks), softmax(logits), 3.0, np.ones(6, bool))
            if len(picks) < 2
            else np.where(logits[:, 0] < 1, 1.0, 0.01)
        ),
        6,
        3,
    )
    assert chi_square_p(draws, u_counts) < 1e-4


def test_rows_without_doubt():
    """Logits ± 100: of 1 − m = 1e-87 nothing is left in float32. Such rows come last, and uniformly."""
    sure = np.array([[100.0, -100.0], [-100.0, 100.0]])[[0, 1, 0, 1]]
    draws = draws_of(pool_of_logits(np.concatenate([sure, [[0.0, 0.1], [0.0, 3.0]]])), 3.0)
    assert (np.sort(draws[:, :1], axis=1) >= 4).mean() > 0.999
    pool = pool_of_logits(np.full((6, 2), 100.0) * [1, -1])
    assert chi_square_p(draws_of(pool, 3.0), draws_law(lambda picks: np.ones(6), 6, 3)) > 1e-4


def confident_pool():
    """Rows sure of the same class, 1 − p = 1e-5 to 1e-9, that differ in the other classes."""
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(60, 4)) * 2
    logits[:, 1] += rng.uniform(12, 20, 60)
    return pool_of_logits(logits)


def test_confident_rows_are_told_apart(monkeypatch):
    pool = confident_pool()
    expected = literal_loop(pool, 45, 10.0, 3)
    assert picks_of(pool, 45, 10.0, 3) == expected

    def plain(probabilities, index):  # as if the row's own class had its digits
        return jnp.sum(jnp.abs(probabilities - probabilities[:, :, index][:, :, None]), axis=(0, 1))

    monkeypatch.setattr(_falcun, "_distances_to", plain)
    unjitted = _falcun._draw_all.__wrapped__
    assert unjitted(jax.random.key(3), pool.logits, pool.available, jnp.float32(10), 45).tolist() != expected


def test_gamma():
    """A large one takes the highest sum of both, a small one any row."""
    pool = make_pool()
    available = np.asarray(pool.available)
    weights = weights_after([], softmax(pool.logits), 1.0, available)
    assert picks_of(pool, 1, 1e9, 0) == [int(np.argmax(np.where(available, weights, 0)))]
    law = draws_law(lambda picks: np.ones(6), 6, 3)
    assert chi_square_p(draws_of(pool_of_logits(LOGITS), 1e-9), law) > 1e-4
    for gamma in (0.0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"gamma is {gamma}"):
            STRATEGIES["falcun"](gamma=gamma)
