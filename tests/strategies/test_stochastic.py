import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import badge_embedding, chi_square_p, draws_law, softmax
from pools import make_pool, pool_of_logits

from badge_jax import STRATEGIES
from badge_jax.strategies import _stochastic
from badge_jax.strategies.scores import SCORES

NUM_DRAWS = 60_000


def textbook(score, pool):
    p = softmax(pool.logits)
    ordered = np.sort(p, axis=1)
    if score == "gradnorm":
        return np.linalg.norm(badge_embedding(pool.logits, pool.features), axis=1)
    log_p = np.log(p, out=np.zeros_like(p), where=p > 0)
    return {
        "margin": 1 - (ordered[:, -1] - ordered[:, -2]),
        "entropy": -(p * log_p).sum(axis=1),
        "confidence": 1 - ordered[:, -1],
    }[score]


def law_of(pool, k, score, law, beta):
    """Every ordered batch and its probability, by the definition."""
    s, available = textbook(score, pool), np.asarray(pool.available)
    rank = np.array([1 + (s[available] > x).sum() for x in s])
    weights = {"power": s**beta, "softmax": np.exp(beta * s), "softrank": rank ** -float(beta)}[law]
    return draws_law(lambda picks: weights, len(s), k, available=available)


def draws_of(pool, k, **options):
    strategy = STRATEGIES["stochastic"](**options)

    @jax.jit
    def draw_all(keys, pool):
        return jax.vmap(lambda key: strategy.query(key, (), pool, k)[0])(keys)

    return np.asarray(draw_all(jax.random.split(jax.random.key(1), NUM_DRAWS), pool))


def small_pool(n=5):
    """The row of the highest margin score is not available, so that ranks among the available differ."""
    pool = make_pool("signed", n=n, c=3, d=2, num_labeled=0, seed=3)
    best = int(np.argmax(textbook("margin", pool)))
    return pool._replace(available=jnp.arange(n) != best)


CASES = [
    ("margin", "power", 1.0),
    ("entropy", "power", 0.5),
    ("confidence", "power", 2.0),
    ("gradnorm", "power", 1.0),
    ("margin", "softmax", 4.0),
    ("gradnorm", "softmax", 3.0),
    ("margin", "softrank", 1.0),
    ("entropy", "softrank", 3.0),
]


@pytest.mark.parametrize(("score", "law", "beta"), CASES)
def test_law(score, law, beta):
    pool = small_pool()
    options = {"score": score, "law": law, "beta": beta}
    draws = draws_of(pool, 3, **options)
    assert chi_square_p(draws, law_of(pool, 3, **options)) > 1e-4
    # and it is told from its neighbours
    for other in ({"beta": beta * 1.2}, {"law": "softrank" if law == "power" else "power"}):
        assert chi_square_p(draws, law_of(pool, 3, **(options | other))) < 1e-4, other


@pytest.mark.parametrize("n", [3, 4])
def test_law_of_all_rows(n):
    pool = make_pool("signed", n=n, c=3, d=2, num_labeled=0, seed=n)
    assert chi_square_p(draws_of(pool, n), law_of(pool, n, "margin", "power", 1.0)) > 1e-4


MUTANTS = {
    "log-odds": lambda score, law, pool: SCORES["margin"].order(pool),
    "margin itself": lambda score, law, pool: jnp.log(-jnp.expm1(score.log(pool))),
    "ranks from 0": lambda score, law, pool: (
        -jnp.log(jnp.maximum(_stochastic._ranks(score.order(pool), pool.available) - 1, 1e-6))
    ),
    "ranks of the whole pool": lambda score, law, pool: (
        -jnp.log(_stochastic._ranks(score.order(pool), jnp.ones(5, bool)))
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_rejected(mutant, monkeypatch):
    monkeypatch.setattr(_stochastic, "_log_weights", MUTANTS[mutant])
    law = "softrank" if "rank" in mutant else "power"
    pool = small_pool()
    assert chi_square_p(draws_of(pool, 3, law=law), law_of(pool, 3, "margin", law, 1.0)) < 1e-4


@pytest.mark.parametrize("law", ["power", "softmax", "softrank"])
@pytest.mark.parametrize("score", SCORES)
def test_a_large_beta_takes_the_highest_scores(score, law):
    pool = make_pool("signed", c=3)
    s = textbook(score, pool)
    assert (np.diff(np.sort(np.log(s))) > 1e-6).all(), "no two rows are as good as equal"
    expected = STRATEGIES[score]().query(jax.random.key(0), (), pool, 20)[0].tolist()
    strategy = STRATEGIES["stochastic"](score=score, law=law, beta=1e9)
    assert strategy.query(jax.random.key(0), (), pool, 20)[0].tolist() == expected


@pytest.mark.parametrize("law", ["power", "softmax", "softrank"])
def test_a_small_beta_draws_uniformly(law):
    pool = pool_of_logits(np.array([[0.0, 9.0], [0.0, 1.0], [0.0, 90.0], [0.0, 0.1]]))
    draws = draws_of(pool, 2, law=law, beta=1e-9)
    assert chi_square_p(draws, draws_law(lambda picks: np.ones(4), 4, 2)) > 1e-4


@pytest.mark.parametrize("score", ["margin", "entropy", "confidence"])
@pytest.mark.parametrize("law", ["power", "softrank"])
def test_rows_without_doubt_come_last_and_uniformly(score, law):
    sure = [5.0, -np.inf]
    pool = pool_of_logits(np.array([sure, [0.0, 1.0], sure, sure]))
    draws = draws_of(pool, 3, score=score, law=law)
    assert chi_square_p(draws, draws_law(lambda picks: np.array([0.0, 1, 0, 0]), 4, 3)) > 1e-4


def test_scores_of_which_float32_has_no_room():
    """s is 1e-44 to 1e-217 here, all 0 in float32; as its logarithm has digits, the ratios count."""
    gaps = np.array([100.0, 101.0, 102.0, 500.0])
    pool = pool_of_logits(np.stack([gaps, np.zeros(4)], axis=1))
    assert chi_square_p(draws_of(pool, 3), draws_law(lambda picks: np.exp(100 - gaps), 4, 3)) > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "bald"}, "score is 'bald'; wanted one of margin, entropy, confidence, gradnorm"),
        ({"law": "top"}, "law is 'top'; wanted one of power, softmax, softrank"),
        ({"beta": 0.0}, "beta is 0.0; wanted a number from 1e-30 to 1e"),
        ({"beta": -1}, "beta is -1"),
        ({"beta": float("nan")}, "beta is nan"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES["stochastic"](**options)
