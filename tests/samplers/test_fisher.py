"""Scores, changes and totals of every form against dense matrices in float64."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from designs import information, objective

from badge_jax import Rows
from badge_jax.samplers import fisher
from badge_jax.samplers.fisher import FORMS, Information, after, change_of, refreshed

N, C, D = 24, 4, 3
ADDED, REMOVED = (3, 17, 8, 20, 11), (8, 3)


def make_rows(name, *, n=N, c=C, d=D, scale=2.0, seed=0):
    """The form's `Rows`, and I(x) of each in float64."""
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(scale * rng.normal(size=(n, c)), jnp.float32)
    features = jnp.asarray(rng.normal(size=(n, d)), jnp.float32)
    rows = Rows(jax.jit(FORMS[name].left)(logits), features)
    return rows, information(name, logits, features)


def dense(blocks):
    """[b, e, e] as one matrix with these blocks on its diagonal, float64."""
    b, e, _ = blocks.shape
    matrix = np.zeros((b * e, b * e))
    for i, block in enumerate(np.asarray(blocks, np.float64)):
        matrix[i * e : (i + 1) * e, i * e : (i + 1) * e] = block
    return matrix


def start_of(name, rows, regularization=0.7):
    form, (b, e, _) = FORMS[name], FORMS[name].shape(C, rows.right.shape[1])
    base = regularization * jnp.eye(e)[None].repeat(b, 0) + form.total(rows, jnp.arange(len(rows)) < 5) / 5
    return started(base, form.total(rows, jnp.full(len(rows), 1 / len(rows))))


def started(base, target):
    return refreshed(Information(base, jnp.zeros_like(base), target))


def steps(name, rows, sign_of_change=lambda sign: sign):
    """(sign, row, information, scores) before each of the steps, by updates alone."""
    form = FORMS[name]

    @partial(jax.jit, static_argnums=3)
    def step(information, scores, index, sign):
        change = change_of(information, form.factor(rows[index[None]]), sign_of_change(sign))
        u, t = form.project(rows, jnp.stack([change.moved, change.pulled]))
        changes = jax.tree.map(lambda part: part[None], change)
        scores = form.update(scores, change, u, t)
        return after(information, changes, sign, jnp.ones(1, bool)), scores

    information = jax.jit(partial(start_of, name))(rows)
    scores = jax.jit(form.scores)(information, rows)
    for sign, index in itertools.chain(zip(itertools.repeat(1.0), ADDED), zip(itertools.repeat(-1.0), REMOVED)):
        yield sign, index, information, scores
        information, scores = step(information, scores, jnp.int32(index), sign)


def largest_error(name, rows, each, **options):
    """Of gains and losses against the definition, relative to the greatest gain; of P M against 1."""
    gains_of = jax.jit(FORMS[name].gains, static_argnums=1)
    errors, members = [], []
    for sign, index, information_, scores in steps(name, rows, **options):
        total, target = dense(information_.total), dense(information_.target)
        now = objective(total, target)
        exact = np.array([now - objective(total + sign * one, target) for one in each])
        among = list(range(len(each))) if sign > 0 else members
        found = np.asarray(gains_of(scores, sign), np.float64)
        errors.append(np.abs(found - exact)[among].max() / np.abs(exact[among]).max())
        errors.append(np.abs(dense(information_.inverse) @ total - np.eye(len(total))).max())
        members = [*members, index] if sign > 0 else [row for row in members if row != index]
    return max(errors)


@pytest.mark.parametrize("name", FORMS)
def test_gains_and_losses_are_those_of_the_definition(name):
    """Seven updates of sums of 12 terms, conditions below 100: errors of float32 stay under 1e-5."""
    rows, each = make_rows(name)
    assert largest_error(name, rows, each) < 1e-5


@pytest.mark.parametrize("name", FORMS)
def test_a_removal_of_the_wrong_sign_is_seen(name):
    rows, each = make_rows(name)
    assert largest_error(name, rows, each, sign_of_change=lambda sign: 1.0) > 0.01


@pytest.mark.parametrize("name", FORMS)
def test_sums_and_scores_do_not_depend_on_tiles(name, monkeypatch):
    """151 is prime, so the last tile is not full. Rows of weight 0 need not be finite."""
    rows, each = make_rows(name, n=151)
    whole = FORMS[name].scores(start_of(name, rows), rows)
    monkeypatch.setattr(fisher, "_TILE_NUMBERS", 1)  # tiles of 64 rows
    in_tiles = FORMS[name].scores(start_of(name, rows), rows)
    for part, other in zip(whole, in_tiles, strict=True):
        np.testing.assert_allclose(part, other, atol=1e-5 * jnp.max(part))
    weights = np.random.default_rng(1).random(151) * (np.arange(151) % 5 > 0)
    lost = jnp.asarray(weights == 0)[:, None]
    some = Rows(jnp.where(lost, jnp.inf, rows.left), jnp.where(lost, jnp.nan, rows.right))
    total = dense(FORMS[name].total(some, jnp.asarray(weights, jnp.float32)))
    np.testing.assert_allclose(total, np.tensordot(weights, each, 1), atol=1e-5 * np.abs(total).max())


@pytest.mark.parametrize("name", FORMS)
def test_sure_rows_keep_their_digits(name):
    """Logits with gaps up to 80: information down to 1e-30, and each row's gain right to float32's rounding.

    The base is 1 and F near 1, so a gain is I(x) times a number that has no small difference in it.
    """
    rows, each = make_rows(name, n=64, scale=20.0)
    form, (b, e, _) = FORMS[name], FORMS[name].shape(C, D)
    target = jnp.eye(e)[None].repeat(b, 0)
    found = jax.jit(lambda rows: form.gains(form.scores(started(target, target), rows), 1.0))(rows)
    eye = np.eye(b * e)
    exact = np.array([np.trace(one @ np.linalg.inv(eye + one)) for one in each])
    assert exact.min() < 1e-12
    np.testing.assert_allclose(found, exact, rtol=2e-5)


def test_the_factor_of_the_full_form_is_exact_for_sure_rows():
    rows, each = make_rows("full", n=16, scale=20.0)
    for i, one in enumerate(each):
        factor = np.asarray(FORMS["full"].factor(rows[i : i + 1])[0], np.float64)
        scale = np.sqrt(np.outer(np.diag(one), np.diag(one)))
        assert (np.abs(factor @ factor.T - one) <= 1e-5 * scale + 1e-37).all()


def test_the_inverse_is_refreshed():
    """From a small error, from a large one, and not from a total that is not positive definite."""
    one = jnp.eye(3)[None]
    total = one + jnp.asarray(np.random.default_rng(0).normal(size=(5, 3, 3)), jnp.float32)[:1] / 5
    total = total @ jnp.swapaxes(total, 1, 2)
    exact = np.linalg.inv(np.asarray(total, np.float64))
    refresh = jax.jit(refreshed)
    for inverse in (exact + 1e-3, exact + 1):
        found = refresh(Information(total, jnp.asarray(inverse, jnp.float32), one)).inverse
        np.testing.assert_allclose(found, exact, atol=1e-5)
    assert refresh(Information(-total, one, one)).inverse.tolist() == one.tolist()


def test_projections_are_those_of_the_factors():
    rows, _ = make_rows("full")
    form = FORMS["full"]
    directions = jnp.asarray(np.random.default_rng(0).normal(size=(2, 1, C * D, 5)), jnp.float32)
    products = np.asarray(jax.jit(form.project)(rows, directions))
    for i in (0, 11):
        factor = np.asarray(form.factor(rows[i : i + 1])[0])
        for j in range(2):
            np.testing.assert_allclose(products[j, i], factor.T @ directions[j, 0], atol=1e-5)
