"""The strategy `kmeans`: the nearest members of k clusters of the available rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pools import make_pool

from badge_jax import STRATEGIES

N, K, D = 101, 7, 12


def query(pool, k=K, seed=0, **options):
    return STRATEGIES["kmeans"](**options).query(jax.random.key(seed), (), pool, k)[0].tolist()


def blobs(sizes, seed=0):
    """Rows of length 1 to 3 around as many directions, and the blob of each; rows are shuffled."""
    rng = np.random.default_rng(seed)
    blob = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = np.eye(len(sizes), D)[blob] + 0.05 * rng.normal(size=(len(blob), D))
    return (points * rng.uniform(1, 3, size=(len(blob), 1))).astype(np.float32), blob


def pool_with(points, *, labeled=(), out=()):
    row = np.arange(len(points))
    labeled, out = np.isin(row, labeled), np.isin(row, out)
    return make_pool(n=len(points))._replace(
        features=jnp.asarray(points),
        labels=jnp.asarray(np.where(labeled, 0, -1), jnp.int32),
        labeled=jnp.asarray(labeled),
        available=jnp.asarray(~labeled & ~out),
    )


def central(points, members, *, is_normalized=True):
    """The member nearest to their mean, in float64."""
    points = np.asarray(points, np.float64)
    if is_normalized:
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    distances = np.linalg.norm(points[members] - points[members].mean(0), axis=1)
    return int(members[np.argmin(distances)])


SIZES = (20, 8, 30, 5, 14, 13, 11)


def test_one_central_row_a_blob_the_largest_first():
    points, blob = blobs(SIZES)
    members = [np.flatnonzero(blob == i) for i in np.argsort(SIZES)[::-1]]
    picks = query(pool_with(points))
    assert picks == [central(points, rows) for rows in members]
    # a mutant: rows of their own lengths
    assert picks != [central(points, rows, is_normalized=False) for rows in members]


def test_labeled_rows_and_rows_that_are_out_are_left_out():
    """The largest blob is labeled, all but four rows; another has rows that are NaN."""
    points, blob = blobs(SIZES)
    labeled, out = np.flatnonzero(blob == 2)[4:], np.flatnonzero(blob == 0)[:3]
    points[out] = np.nan
    sizes = [np.sum((blob == i) & ~np.isin(np.arange(N), [*labeled, *out])) for i in range(K)]
    members = [
        np.setdiff1d(np.flatnonzero(blob == i), [*labeled, *out])
        for i in np.argsort(sizes, kind="stable")[::-1]
    ]
    assert query(pool_with(points, labeled=labeled, out=out)) == [central(points, rows) for rows in members]


def test_five_distinct_points_and_more_picks():
    """One copy of each, then the lowest indices that are left of each."""
    rng = np.random.default_rng(0)
    place = np.arange(N) % 5
    points = rng.normal(size=(5, D)).astype(np.float32)[place]
    picks = query(pool_with(points), 20)
    assert len(set(picks)) == 20
    assert sorted(place[picks[:5]].tolist()) == [0, 1, 2, 3, 4]
    for i in range(5):
        rows = [pick for pick in picks if place[pick] == i]
        assert rows == list(range(i, N, 5))[: len(rows)]


def test_representation_in_place_of_features():
    points, _ = blobs(SIZES)
    pool = pool_with(points)
    other = pool._replace(features=None, representation=pool.features)
    assert query(other, embedding="representation") == query(pool)


def test_wrong_option_is_refused():
    with pytest.raises(ValueError, match="embedding is 'logits'; wanted one of features, representation"):
        STRATEGIES["kmeans"](embedding="logits")
