"""TypiClust beside its definition in float64, given the clusters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pools import make_pool

from badge_jax import STRATEGIES, kmeans
from badge_jax.strategies import _typiclust as module

N, D, MOST = 211, 8, 12  # n is prime


def clusters_of(seed, pool, k):
    """As the strategy makes them: of rows of length 1, labeled ones too."""
    lengths = jnp.linalg.norm(pool.features, axis=1, keepdims=True)
    points = pool.features / jnp.where(lengths > 0, lengths, 1)
    counted = (pool.labeled | pool.available).astype(jnp.float32)
    number = min(int(pool.labeled.sum()) + k, MOST)
    found = kmeans(jax.random.key(seed), points, MOST, num_clusters=jnp.int32(number), weights=counted)
    assert len(np.unique(found.assignment[counted > 0])) <= number
    return np.asarray(found.assignment)


def literal(pool, assignment, k, neighbors, defect=None):
    """The loop of the paper, with the rules for exhausted and small clusters."""
    points = np.asarray(pool.features, np.float64)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-300)
    labeled, free = np.asarray(pool.labeled), np.asarray(pool.available).copy()
    numbers = np.unique(assignment[assignment >= 0])
    sizes = {c: np.sum(assignment == c) for c in numbers}
    counts = {c: np.sum(labeled & (assignment == c)) for c in numbers}
    order = sorted(numbers, key=lambda c: (counts[c], -sizes[c], c))
    if defect == "largest first":
        order = sorted(numbers, key=lambda c: (-sizes[c], c))
    large, small = [c for c in order if sizes[c] > 5], [c for c in order if sizes[c] <= 5]
    if defect == "small ones too":
        large, small = order, []
    first_typicality, picks = {}, []
    for kept in (large, small):
        position = 0
        while len(picks) < k and any(free[assignment == c].any() for c in kept):
            c = kept[position % len(kept)]
            position += 1
            members = np.flatnonzero((assignment == c) & free)
            if len(members):
                values = typicality(points, members, neighbors, defect)
                if defect == "once":
                    known = first_typicality.setdefault(c, dict(zip(members, values, strict=True)))
                    values = [known[i] for i in members]
                picks.append(int(members[np.argmax(values)]))
                free[picks[-1]] = False
    return picks + [-1] * (k - len(picks))


def typicality(points, members, neighbors, defect):
    distances = np.linalg.norm(points[members][:, None] - points[members][None], axis=2)
    if (neighbors == "reference") != (defect == "other power"):
        distances = distances**2
    number = min(20, len(members) // 2) if neighbors == "reference" else min(20, len(members) - 1)
    if defect != "self":
        np.fill_diagonal(distances, np.inf)
    if number == 0:
        return np.zeros(len(members))
    return 1 / (np.sort(distances, axis=1)[:, :number].mean(1) + 1e-5)


def some_pool(seed, num_labeled=15, num_out=40):
    """Features with a few dense places, some rows labeled, some neither labeled nor available."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(9, D))[rng.integers(0, 9, N)] + 0.4 * rng.normal(size=(N, D))
    points[:4] = (
        20 * rng.normal(size=(4, D)) * [[1], [-1], [1], [-1]]
    )  # directions of their own: small clusters
    row = rng.permutation(N)
    labeled, out = np.isin(np.arange(N), row[:num_labeled]), np.isin(np.arange(N), row[N - num_out :])
    points[out] = np.nan
    return make_pool(n=N)._replace(
        features=jnp.asarray(points, jnp.float32),
        labels=jnp.asarray(np.where(labeled, 0, -1), jnp.int32),
        labeled=jnp.asarray(labeled),
        available=jnp.asarray(~labeled & ~out),
    )


def query(seed, pool, k, neighbors="paper"):
    strategy = STRATEGIES["typiclust"](neighbors=neighbors, max_clusters=MOST)
    return strategy.query(jax.random.key(seed), (), pool, k)[0].tolist()


DEFECTS = ("other power", "self", "once", "largest first", "small ones too")


@pytest.mark.parametrize("neighbors", ["paper", "reference"])
@pytest.mark.parametrize("k", [30, 180])  # 180: every cluster is exhausted, and 24 picks are a surplus
def test_equals_the_definition(k, neighbors):
    wrong = dict.fromkeys(DEFECTS, 0)
    for seed in range(6):
        pool = some_pool(seed)
        assignment, picks = clusters_of(seed, pool, k), query(seed, pool, k, neighbors)
        assert picks == literal(pool, assignment, k, neighbors), seed
        for defect in DEFECTS:
            wrong[defect] += picks != literal(pool, assignment, k, neighbors, defect)
    assert min(wrong.values()) >= 3, wrong


def test_few_labels_make_few_clusters():
    """As many clusters as labeled rows and picks, and one pick each."""
    pool = some_pool(0, num_labeled=0)
    for k in (1, 4):
        assignment = clusters_of(0, pool, k)
        assert len(np.unique(assignment[assignment >= 0])) == k
        assert query(0, pool, k) == literal(pool, assignment, k, "paper")


def blobs(sizes):
    rng = np.random.default_rng(0)
    blob = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return np.eye(len(sizes), D)[blob] + 0.05 * rng.normal(size=(len(blob), D)), blob


def test_a_blob_with_labels_waits():
    points, blob = blobs((50, 41, 40, 40, 40))
    labeled = np.isin(np.arange(N), np.flatnonzero(blob == 0)[:1])
    pool = some_pool(0)._replace(
        features=jnp.asarray(points, jnp.float32), labeled=jnp.asarray(labeled), available=jnp.asarray(~labeled)
    )
    picks = query(0, pool, 4)
    assert set(blob[picks]) == {1, 2, 3, 4}
    assert blob[picks[0]] == 1
    assert picks == literal(pool, clusters_of(0, pool, 4), 4, "paper")


def test_five_distinct_points_and_more_picks():
    """Copies are neighbours at distance 0, so the lowest index of each point comes first."""
    place = np.arange(N) % 5
    points = np.random.default_rng(0).normal(size=(5, D)).astype(np.float32)[place]
    everything = jnp.ones(N, bool)
    pool = some_pool(0)._replace(features=jnp.asarray(points), labeled=~everything, available=everything)
    picks = query(0, pool, 30)
    assert sorted(picks) == list(range(30))
    assert sorted(place[picks[:5]].tolist()) == [0, 1, 2, 3, 4]


def test_tiles_do_not_matter(monkeypatch):
    """One cluster of 171 rows is compared in tiles of 16, as in one of 128 and more."""
    pool = some_pool(0, num_labeled=0)
    expected = literal(pool, clusters_of(0, pool, 1), 1, "paper")
    assert query(0, pool, 1) == expected
    monkeypatch.setattr(module, "_tile_for", lambda n, num_clusters: 16)
    monkeypatch.setattr(module, "_typical_rows", module._typical_rows.__wrapped__)
    assert query(0, pool, 1) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": "logits"}, "embedding is 'logits'; wanted one of features, representation"),
        ({"neighbors": "all"}, "neighbors is 'all'; wanted one of paper, reference"),
        ({"max_clusters": 0}, "max_clusters is 0; wanted 1 or more"),
        ({"max_clusters": 2.5}, "max_clusters is 2.5; wanted 1 or more"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES["typiclust"](**options)
