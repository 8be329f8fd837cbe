"""maxherding and uherding: what they hand to `coverage_greedy`, which has tests of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import badge_embedding, similarities, softmax
from oracles import coverage_greedy as plain_greedy
from pools import make_pool
from scipy.optimize import minimize_scalar

from badge_jax import STRATEGIES
from badge_jax.rows import as_points, dense_rows, nearest_distinct
from badge_jax.strategies import maxherding, uherding
from badge_jax.strategies.calibration import calibrate_temperature, probe_temperature


def picks_of(strategy, pool, k=20, seed=0):
    return strategy.query(jax.random.key(seed), (), pool, k)[0].tolist()


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)


@pytest.mark.parametrize(("embedding", "width"), [("features", 0.8), ("gradients", 1.5)])
def test_maxherding_covers_rows_of_length_1(embedding, width):
    """Every pick gains the most in float64, up to rounding: two rows near each other and far from all others
    gain exactly the same."""
    pool = make_pool("signed")
    x = pool.features if embedding == "features" else badge_embedding(pool.logits, pool.features)
    found = similarities(unit(x), width, "rbf")
    covered, free = found[:, pool.labeled].max(axis=1), np.array(pool.available)
    for pick in picks_of(maxherding(embedding=embedding, bandwidth=width), pool):
        gains = np.maximum(found - covered[:, None], 0).sum(axis=0)
        assert pick >= 0
        assert free[pick]
        assert gains[pick] > (1 - 1e-5) * gains[free].max()
        covered, free[pick] = np.maximum(covered, found[:, pick]), False


def test_a_representation_is_read_in_place_of_the_features():
    pool = make_pool("signed")
    other = pool._replace(representation=pool.features, features=None, logits=None)
    assert picks_of(maxherding(embedding="representation"), other) == picks_of(maxherding(), pool)
    assert maxherding(embedding="representation").needs == ("representation",)


def test_few_targets_are_drawn_from_rows_that_count():
    pool = make_pool("signed")
    pool = pool._replace(available=pool.available & (jnp.arange(60) % 4 != 0))
    counted = np.flatnonzero(pool.available | pool.labeled)
    everything, some = maxherding(num_targets=60), maxherding(num_targets=7)
    assert picks_of(everything, pool) == picks_of(maxherding(), pool)
    drawn = {tuple(picks_of(some, pool, seed=seed)) for seed in range(5)}
    assert len(drawn) == 5
    spoilt = pool._replace(
        features=jnp.where(jnp.isin(jnp.arange(60), counted)[:, None], pool.features, jnp.nan)
    )
    assert picks_of(some, spoilt) == picks_of(some, pool)


def textbook(logits, name):
    p = np.sort(softmax(logits), axis=1)
    return {
        "margin": 1 - (p[:, -1] - p[:, -2]),
        "confidence": 1 - p[:, -1],
        "entropy": -(p * np.log(p)).sum(axis=1),
    }[name]


@pytest.mark.parametrize("name", ["margin", "confidence", "entropy"])
def test_uherding_weighs_rows_by_uncertainty(name):
    pool = make_pool("signed", n=61)
    worth = np.where(pool.labeled, 0, textbook(pool.logits / 1.7, name))
    expected = plain_greedy(
        unit(pool.features), 20, bandwidth=0.9, weights=worth, free=pool.available, centers=pool.labeled
    )
    assert picks_of(uherding(uncertainty=name, temperature=1.7, bandwidth=0.9), pool) == expected


def test_without_labels_it_is_maxherding():
    pool = make_pool("signed", num_labeled=0)
    assert picks_of(uherding(), pool) == picks_of(maxherding(bandwidth=1.0), pool)


def test_only_uncertain_rows_are_worth_covering():
    """Coverage counted for the candidate and not for the target would pick outside of the cluster."""
    pool = make_pool("signed")
    is_doubted = jnp.arange(60) < 20
    logits = jnp.where(is_doubted[:, None], 0.0, 40.0 * jax.nn.one_hot(jnp.arange(60) % 4, 4))
    features = jnp.where(is_doubted[:, None], jnp.abs(pool.features), -jnp.abs(pool.features))
    pool = pool._replace(logits=logits, features=features)
    num = int(jnp.sum(is_doubted & pool.available))
    picks = picks_of(uherding(temperature=1.0, bandwidth=0.3), pool, num)
    assert sorted(picks) == np.flatnonzero(is_doubted & pool.available).tolist()


def test_with_near_copies_labeled_it_is_margin():
    """The bandwidth is then so small that each row covers itself alone."""
    pool = make_pool("signed")
    labeled = np.flatnonzero(pool.labeled)
    near = pool.features[labeled[0]] * (1 + 1e-4 * jnp.arange(16) / 16)
    pool = pool._replace(features=pool.features.at[labeled[1]].set(near))
    assert picks_of(uherding(temperature=1.0), pool) == picks_of(STRATEGIES["margin"](), pool)


def test_bandwidth_of_the_labeled_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    x[7] = x[3]  # copies say nothing of a width
    among = rng.random(300) < 0.5
    among[[3, 7]] = True
    found = np.asarray(nearest_distinct(as_points(dense_rows(jnp.asarray(x))), jnp.asarray(among)))
    distances = np.sqrt(((x[:, None].astype(float) - x[None]) ** 2).sum(-1))
    distances[:, ~among] = np.inf
    expected = np.where(distances > 0, distances, np.inf).min(axis=1)
    np.testing.assert_allclose(found[among], expected[among], rtol=1e-5)
    assert np.isinf(found[~among]).all()


def test_temperature_is_that_of_least_loss():
    rng = np.random.default_rng(0)
    labels, noise = rng.integers(0, 4, 200), rng.normal(size=(200, 4))
    logits = (6 * (np.eye(4)[labels] + noise)).astype(np.float32)
    counted = rng.random(200) < 0.7

    def loss(inverse):
        p = softmax(inverse * logits[counted])
        return -np.log(p[np.arange(counted.sum()), labels[counted]]).sum()

    best = 1 / minimize_scalar(loss, bounds=(0.05, 1), method="bounded", options={"xatol": 1e-7}).x
    logits[~counted] = np.nan
    found = calibrate_temperature(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(counted))
    np.testing.assert_allclose(found, best, rtol=1e-4)
    assert best > 1.5
    assert calibrate_temperature(jnp.asarray(logits), jnp.asarray(labels), jnp.zeros(200, bool)) == 1
    sound = jnp.asarray(100.0 * np.eye(4)[labels])
    assert calibrate_temperature(sound, jnp.asarray(labels), jnp.ones(200, bool)) == 1


def test_probe_doubts_labels_that_features_do_not_tell():
    pool = make_pool("signed", n=400, num_labeled=300)
    told = jnp.argmax(pool.features[:, :4], axis=1)
    clear = probe_temperature(jax.random.key(0), pool._replace(labels=jnp.where(pool.labeled, told, -1)))
    noise = probe_temperature(jax.random.key(0), pool)  # make_pool draws labels at random
    assert 1 <= clear < 2 < noise <= 20
    features = jnp.where(pool.labeled[:, None], pool.features, jnp.nan)  # of labeled rows alone
    assert probe_temperature(jax.random.key(0), pool._replace(features=features)) == noise
    assert probe_temperature(jax.random.key(0), make_pool(num_labeled=0)) == 1


def test_wrong_options_are_refused():
    for options, message in (
        ({"embedding": "pixels"}, "embedding is 'pixels'; wanted one of features, representation, gradients"),
        ({"uncertainty": "bald"}, "uncertainty is 'bald'; wanted one of margin, entropy, confidence"),
        ({"bandwidth": "auto"}, "bandwidth is 'auto'; wanted 'min_labeled', 'median_labeled' or a number"),
        ({"bandwidth": 0}, "bandwidth is 0; wanted a number from 1e-15"),
        ({"bandwidth": True}, "bandwidth is True; wanted a number from 1e-15"),
        ({"bandwidth": "wide"}, "bandwidth is 'wide'; wanted"),
        ({"temperature": -1.0}, "temperature is -1.0; wanted a number from 1e-15 to 1e\\+15, or 'probe'"),
        ({"kernel": "tophat"}, "kernel is 'tophat'; wanted one of rbf, top_hat"),
        ({"num_targets": 0}, "num_targets is 0; wanted 1 or more, or None for all rows"),
    ):
        with pytest.raises(ValueError, match=message):
            uherding(**options)
