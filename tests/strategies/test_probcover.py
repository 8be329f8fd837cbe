"""probcover against balls counted one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import coverage_greedy as plain_greedy
from pools import make_pool

from badge_jax import dense_rows
from badge_jax.rows import as_points, nearest_of_another_group
from badge_jax.strategies import probcover
from badge_jax.strategies._probcover import purity_radius


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)


def blobs(num=97, seed=0):
    """Unit vectors in four blobs that touch."""
    rng = np.random.default_rng(seed)
    middles = 2.5 * np.eye(4, 6)
    return unit(middles[np.arange(num) % 4] + rng.normal(size=(num, 6))).astype(np.float32)


@pytest.mark.parametrize("radius", [0.4, 0.9])
def test_it_is_greedy_cover_and_then_furthest_first(radius):
    pool = make_pool("signed", n=61)
    picks = probcover(radius=radius).query(jax.random.key(0), (), pool, 40)[0].tolist()
    masks = {"free": pool.available, "centers": pool.labeled}
    assert picks == plain_greedy(unit(pool.features), 40, bandwidth=radius, kernel="top_hat", **masks)


def test_distance_to_another_group():
    x, rng = blobs(), np.random.default_rng(1)
    groups, among = rng.integers(0, 3, len(x)), rng.random(len(x)) < 0.7
    x[~among] = np.nan
    found = nearest_of_another_group(
        as_points(dense_rows(jnp.asarray(x))), jnp.asarray(groups), jnp.asarray(among)
    )
    distances = np.sqrt(((x[:, None].astype(float) - x[None]) ** 2).sum(-1))
    counts = among[:, None] & among[None] & (groups[:, None] != groups[None])
    expected = np.where(counts, distances, np.inf).min(axis=1)
    np.testing.assert_allclose(found, np.where(among, expected, np.inf), rtol=1e-5)


@pytest.mark.parametrize("purity", [0.5, 0.95])
def test_the_radius_is_the_largest_of_that_purity(purity):
    """By a scan of every radius at which a ball may change."""
    from badge_jax.samplers import kmeans

    x = blobs()
    groups = np.asarray(kmeans(jax.random.key(0), jnp.asarray(x), 4).assignment)
    distances = np.sqrt(((x[:, None].astype(float) - x[None]) ** 2).sum(-1))
    differs = groups[:, None] != groups[None]

    def share(radius):
        return 1 - ((distances < radius) & differs).any(axis=1).mean()

    found = float(
        purity_radius(jax.random.key(0), dense_rows(jnp.asarray(x)), jnp.ones(len(x), bool), 4, purity)
    )
    assert share(found - 1e-5) >= purity
    larger = np.unique(distances[distances > found + 1e-5])
    assert all(share(radius + 1e-9) < purity for radius in larger)
    if purity > 0.9:  # the last radius tried by a coarse search is none
        assert share(found + 0.05) < purity


def test_wrong_options_are_refused():
    for options, message in (
        ({"embedding": "gradients"}, "embedding is 'gradients'; wanted one of features, representation"),
        ({"radius": "auto"}, r"radius is 'auto'; wanted a number from 1e-15 to 1e\+15, or 'purity'"),
        ({"radius": -1.0}, r"radius is -1.0; wanted a number from 1e-15 to 1e\+15, or 'purity'"),
        ({"purity": 1.0}, "purity is 1.0; wanted a number between 0 and 1"),
        ({"num_clusters": 1}, "num_clusters is 1; wanted 2 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            probcover(**options)
