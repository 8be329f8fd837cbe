"""Steps taken together are the greedy steps of the definition, and float32 keeps them so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from designs import add_greedily, information, remove_greedily, shortfalls

from badge_jax import Rows
from badge_jax.samplers import forward_backward as module
from badge_jax.samplers.fisher import FORMS
from badge_jax.samplers.forward_backward import Sizes, forward_backward

SIZES = (Sizes(1, 1), Sizes(4, 6), None)  # plain steps; several, often broken off; all rows in one look


def make_problem(name="binary", *, n=90, c=3, d=6, seed=0, free=0.8):
    """(form, rows, base, target, available), and the same in float64: I(x), base, target, available."""
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(2 * rng.normal(size=(n, c)), jnp.float32)
    features = jnp.asarray(rng.normal(size=(n, d)), jnp.float32)
    form, (b, e, _) = FORMS[name], FORMS[name].shape(c, d)
    rows, each = Rows(form.left(logits), features), information(name, logits, features)
    base, available = 0.5 * jnp.eye(e)[None].repeat(b, 0), rng.random(n) < free
    target = form.total(rows, jnp.ones(n) / n)
    return (form, rows, base, target, jnp.asarray(available)), (
        each,
        0.5 * np.eye(b * e),
        each.mean(0),
        available,
    )


def choose(problem, k, **options):
    form, rows, base, target, available = problem
    return forward_backward(form, rows, k, base, target, available=available, **options).tolist()


def expected(exact, k, num_forward):
    each, base, target, available = exact
    added = add_greedily(each, base, 1.0, target, available, num_forward)
    return remove_greedily(each, base, 1.0, target, added, k)


@pytest.mark.parametrize("sizes", SIZES)
def test_picks_are_those_of_the_definition(sizes):
    problem, exact = make_problem()
    assert choose(problem, 12, num_forward=24, sizes=sizes) == expected(exact, 12, 24)


@pytest.mark.parametrize(("name", "sizes"), [("block", SIZES[1]), ("full", SIZES[0])])
def test_picks_of_the_other_forms(name, sizes):
    problem, exact = make_problem(name, n=40, d=3)
    assert choose(problem, 7, num_forward=12, sizes=sizes) == expected(exact, 7, 12)


def mutant(monkeypatch, name, value):
    """The picks with a part of the module replaced, and the right ones."""
    monkeypatch.setattr(module, name, value)
    problem, exact = make_problem()
    form, rows, base, target, available = problem

    @jax.jit  # a new function, so that nothing traced before is taken
    def run(rows, base, target, available):
        return forward_backward.__wrapped__(
            form, rows, 12, base, target, available=available, num_forward=24, sizes=SIZES[1]
        )

    return run(rows, base, target, available).tolist(), expected(exact, 12, 24)


def test_mutant_that_takes_every_proposed_step(monkeypatch):
    picks, right = mutant(monkeypatch, "_EQUAL", 0.3)
    assert picks != right


def test_mutant_that_does_not_mask_what_it_chose(monkeypatch):
    def unmasked(form, scores, free, sign):
        return form.gains(scores, sign)

    picks, right = mutant(monkeypatch, "_gains", unmasked)
    assert picks != right
    assert len(set(picks)) < 12


def test_mutant_that_removes_by_adding(monkeypatch):
    change_of = module.change_of
    picks, right = mutant(monkeypatch, "change_of", lambda *args: change_of(*args[:2], 1.0))
    assert picks != right


POOLS = {
    "plain": lambda rng, n, d: np.maximum(rng.normal(size=(n, d)), 0) * rng.uniform(0.1, 0.5, (n, 1)),
    "long_tailed": lambda rng, n, d: rng.normal(size=(n, d)) * np.exp(rng.normal(size=(n, 1))),
    "sure": lambda rng, n, d: rng.normal(size=(n, d)) * np.exp(-30 * rng.random((n, 1))),
}


def many_picks(kind, run=forward_backward):
    """How far 300 picks of 800 rows in 24 dimensions are from the best, in float64."""
    vectors = jnp.asarray(POOLS[kind](np.random.default_rng(0), 800, 24), jnp.float32)
    rows, available = Rows(jnp.ones((800, 1)), vectors), jnp.arange(800) % 7 > 0
    exact = np.asarray(vectors, np.float64)
    target = exact.T @ exact / 800
    picks = np.asarray(
        run(
            FORMS["binary"], rows, 300, jnp.eye(24)[None], jnp.asarray(target, jnp.float32)[None],
            available=available,
        )
    )  # fmt: skip
    return shortfalls(exact, np.eye(24), target, picks, np.asarray(available))


@pytest.mark.parametrize("kind", POOLS)
def test_hundreds_of_picks_stay_the_best_ones(kind):
    """Gains fall by factors of up to 1e8 meanwhile. Four bits and rounding of 128 changes: 2e-5."""
    assert many_picks(kind).max() < 3e-5


def test_scores_that_are_never_computed_anew_drift(monkeypatch):
    for name in ("_UPDATES", "_SCORED", "_FALLEN"):
        monkeypatch.setattr(module, name, 10**9)
    found = many_picks("long_tailed", lambda *args, **options: jax.jit(
        lambda: forward_backward.__wrapped__(*args, **options))())  # fmt: skip
    assert found.max() > 1e-3


def test_copies_come_in_order_and_the_last_added_goes():
    rows = Rows(jnp.ones((700, 1)), jnp.broadcast_to(jnp.array([0.3, -1.2, 0.7]), (700, 3)))
    target = FORMS["binary"].total(rows, jnp.ones(700) / 700)
    picks = forward_backward(FORMS["binary"], rows, 9, jnp.eye(3)[None], target, num_forward=40)
    assert picks.tolist() == list(range(9))


def test_rows_without_information_come_in_order():
    (form, rows, base, target, _), _ = make_problem()
    nothing, odd = Rows(jnp.zeros_like(rows.left), rows.right), jnp.arange(90) % 2 == 1
    picks = choose((form, nothing, base, target, odd), 12, num_forward=24)
    assert picks == list(range(1, 25, 2))


def test_few_rows_and_rows_that_are_not_finite():
    (form, rows, base, target, available), _ = make_problem()
    few = jnp.arange(90) < 5
    lost = Rows(rows.left, jnp.where(few[:, None], rows.right, jnp.nan))
    picks = choose((form, lost, base, target, few), 12, num_forward=24)
    assert sorted(picks[:5]) == [0, 1, 2, 3, 4]
    assert picks[5:] == [-1] * 7
    assert choose((form, lost, base, target, available), 12, num_forward=24) == [-1] * 12


def test_wrong_counts_are_refused():
    problem, _ = make_problem()
    with pytest.raises(ValueError, match="num_forward is 11; wanted k = 12 to n = 90"):
        choose(problem, 12, num_forward=11)
    with pytest.raises(ValueError, match="k = 91 rows asked of a pool of 90"):
        choose(problem, 91)
