"""What an option or a default reads: each against the same choice, spelled out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pools import make_pool

from badge_jax.strategies import cluster_margin, kmeans, maxherding, probcover, typiclust, uherding
from badge_jax.strategies.calibration import probe_temperature

SEED = 3


def picks_of(strategy, pool, k=12):
    return jax.jit(strategy.query, static_argnums=3)(jax.random.key(SEED), strategy.init(60, 1), pool, k)[
        0
    ].tolist()


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (kmeans, {}),
        (typiclust, {}),
        (maxherding, {}),
        (probcover, {}),
        (uherding, {"temperature": 1.0}),
        (cluster_margin, {"num_clusters": 5, "num_margin": 40}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_representation_is_read_in_place_of_features(make, options):
    pool = make_pool("signed", n=60)
    other = jax.random.normal(jax.random.key(9), pool.features.shape)
    given = pool._replace(representation=other)
    there = picks_of(make(embedding="representation", **options), given)
    assert there == picks_of(make(**options), pool._replace(features=other))
    assert there != picks_of(make(**options), pool)


def test_cluster_margin_clusters_the_features():
    """Of two far groups, a row of each in turn."""
    pool = make_pool("signed", n=60)
    side = jnp.where(jnp.arange(60) % 2 == 0, 50.0, -50.0)
    pool = pool._replace(features=pool.features.at[:, 0].set(side))
    picks = np.array(picks_of(cluster_margin(num_clusters=2, num_margin=40), pool))
    assert (picks[::2] % 2 != picks[1::2] % 2).all()


def test_temperature_is_that_of_the_probe():
    pool = make_pool("signed", n=60, num_labeled=30)
    pool = pool._replace(logits=8 * pool.logits)
    probe_key = jax.random.split(jax.random.key(SEED))[1]
    tau = float(jax.jit(probe_temperature)(probe_key, pool))
    found = picks_of(uherding(bandwidth=0.5), pool)
    assert found == picks_of(uherding(bandwidth=0.5, temperature=tau), pool)
    assert found != picks_of(uherding(bandwidth=0.5, temperature=1.0), pool)


def test_widths_are_the_least_and_the_median_of_the_labeled_rows():
    pool = make_pool("signed", n=60, num_labeled=9)
    x = np.asarray(pool.features, np.float64)[np.asarray(pool.labeled)]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    distances = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1)) + np.where(np.eye(9), np.inf, 0)
    nearest = np.sort(distances.min(axis=1))
    for rule, width in (("min_labeled", nearest[0]), ("median_labeled", nearest[4])):
        expected = picks_of(uherding(bandwidth=float(width), temperature=1.0), pool)
        assert picks_of(uherding(bandwidth=rule, temperature=1.0), pool) == expected
