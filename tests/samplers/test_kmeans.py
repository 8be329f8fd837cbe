"""`kmeans` beside Lloyd's iterations and mini-batches written out in float64, from the same seeds."""

import gzip
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import dense_rows, kmeans, lazy_kmeans_plusplus
from badge_jax.samplers import _kmeans as module

N, K, D = 601, 80, 6  # more clusters than are compared with every row in each iteration; n is prime


def points_of(seed, n=N, d=D):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def seeds_of(key, points, k, weights=None):
    available = None if weights is None else jnp.asarray(weights) > 0
    return np.asarray(
        lazy_kmeans_plusplus(jax.random.split(key)[0], dense_rows(jnp.asarray(points)), k, available=available)
    )


def squared_distances(points, centers):
    return ((points[:, None] - centers[None]) ** 2).sum(-1)


def lloyd(points, seeds, *, weights=None, num_iters=100, tolerance=1e-4):
    """(centres, assignment), written from the definition."""
    points = np.asarray(points, np.float64)
    weights = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    is_in = weights > 0
    mean = np.average(points[is_in], axis=0, weights=weights[is_in])
    variance = np.average((points[is_in] - mean) ** 2, axis=0, weights=weights[is_in]).mean()
    centers = points[seeds]
    for _ in range(num_iters):
        nearest = squared_distances(points[is_in], centers).argmin(1)
        moved = centers.copy()
        for j in np.unique(nearest):
            members = nearest == j
            moved[j] = np.average(points[is_in][members], axis=0, weights=weights[is_in][members])
        shift = ((moved - centers) ** 2).sum()
        centers = moved
        if shift <= tolerance * variance:
            break
    assignment = np.full(len(points), -1)
    assignment[is_in] = squared_distances(points[is_in], centers).argmin(1)
    return centers, assignment


def inertia(points, clusters):
    points, centers = np.asarray(points, np.float64), np.asarray(clusters.centers, np.float64)
    is_in = np.asarray(clusters.assignment) >= 0
    return ((points[is_in] - centers[np.asarray(clusters.assignment)[is_in]]) ** 2).sum()


def check(clusters, expected, weights=None):
    centers, assignment = expected
    assert clusters.assignment.tolist() == assignment.tolist()
    # means of rows of length about 1 in float32
    np.testing.assert_allclose(clusters.centers, centers, atol=1e-5)
    assert clusters.sizes.tolist() == np.bincount(assignment[assignment >= 0], minlength=len(centers)).tolist()


@lru_cache
def fresh(**sizes):
    """`kmeans`, compiled anew with the module as it now is; ``sizes`` name what is special about it."""
    return jax.jit(
        lambda *args, **options: kmeans.__wrapped__(*args, **options), static_argnums=2, static_argnames="batch"
    )


@pytest.mark.parametrize("num_iters", [1, 3, 100])
@pytest.mark.parametrize("seed", range(4))
def test_equals_lloyd_from_the_same_seeds(seed, num_iters):
    key, points = jax.random.key(seed), points_of(seed)
    found = kmeans(key, jnp.asarray(points), K, num_iters=num_iters)
    check(found, lloyd(points, seeds_of(key, points, K), num_iters=num_iters))


def test_tolerance_ends_it_early():
    key, points = jax.random.key(1), points_of(1)
    ends = [lloyd(points, seeds_of(key, points, K), tolerance=tolerance) for tolerance in (1e-4, 3.0)]
    assert ends[0][1].tolist() != ends[1][1].tolist()
    check(kmeans(key, jnp.asarray(points), K, tolerance=3.0), ends[1])


SMALL = {"_ROWS": 64, "_CENTERS": 16, "_SORTED_ROWS": 8, "_MOVERS": 5}


@pytest.fixture
def small_tiles(monkeypatch):
    for name, size in SMALL.items():
        monkeypatch.setattr(module, name, size)


@pytest.mark.parametrize("seed", range(4))
def test_equals_lloyd_whatever_the_tiles(seed, small_tiles):
    """Sizes so small that tiles overlap, clusters span tiles, and most centres are no movers."""
    key, points = jax.random.key(seed), points_of(seed)
    check(fresh(**SMALL)(key, jnp.asarray(points), K), lloyd(points, seeds_of(key, points, K)))


def test_a_bound_that_does_not_fall_is_rejected(small_tiles, monkeypatch):
    """A mutant: rows are looked at again as if the centres had hardly moved."""
    real = module._reassigned

    def as_if_still(pool, state, count):
        return real(pool, state._replace(moves=0 * state.moves), count)

    monkeypatch.setattr(module, "_reassigned", as_if_still)
    mutant, wrong = fresh(mutant="bound"), 0
    for seed in range(4):
        key, points = jax.random.key(seed), points_of(seed)
        expected = lloyd(points, seeds_of(key, points, K))
        wrong += mutant(key, jnp.asarray(points), K).assignment.tolist() != expected[1].tolist()
    assert wrong == 4


def test_weights_count_and_rows_of_weight_0_do_not():
    """Whatever those hold, the result is the same to the last bit."""
    key, points = jax.random.key(5), points_of(5)
    rng = np.random.default_rng(5)
    weights = np.where(rng.random(N) < 0.3, 0, 3 * rng.random(N)).astype(np.float32)
    found = kmeans(key, jnp.asarray(points), K, weights=jnp.asarray(weights))
    expected = lloyd(points, seeds_of(key, points, K, weights), weights=weights)
    check(found, expected)
    unweighted = lloyd(points, seeds_of(key, points, K, weights), weights=weights > 0)
    assert found.assignment.tolist() != unweighted[1].tolist()
    for value in (np.nan, np.inf, 1e30, 0.0):
        others = jnp.asarray(np.where(weights[:, None] > 0, points, np.float32(value)))
        again = kmeans(key, others, K, weights=jnp.asarray(weights))
        assert all((a == b).all() for a, b in zip(again, found, strict=True)), value


def test_a_traced_number_of_clusters(compilations):
    """The clusters are those of that many; the others do not exist. No number compiles anew."""
    key, points = jax.random.key(2), jnp.asarray(points_of(2))
    whole = kmeans(key, points, K, num_clusters=jnp.int32(80))
    check(whole, lloyd(points, seeds_of(key, points, K)))
    compilations.clear()
    numbers = [jnp.int32(number) for number in (1, 7, 79)]
    found = [kmeans(key, points, K, num_clusters=number) for number in numbers]
    assert len(compilations) == 0
    for number, clusters in zip((1, 7, 79), found, strict=True):
        centers, assignment = lloyd(points, seeds_of(key, points, K)[:number])
        assert clusters.assignment.tolist() == assignment.tolist()
        np.testing.assert_allclose(clusters.centers[:number], centers, atol=1e-5)
        assert not clusters.centers[number:].any()
        assert not clusters.sizes[number:].any()


def test_the_same_call_gives_the_same_bits_under_jit_too():
    key, points = jax.random.key(3), jnp.asarray(points_of(3))
    calls = [kmeans(key, points, K), kmeans(key, points, K), fresh()(key, points, K)]
    for clusters in calls[1:]:
        assert all((a == b).all() for a, b in zip(clusters, calls[0], strict=True))


def test_inertia_never_rises():
    key, points = jax.random.key(4), jnp.asarray(points_of(4))
    values = [inertia(points, kmeans(key, points, K, num_iters=number)) for number in (*range(9), 100)]
    # the sum of 600 squares near 1, each to float32's rounding
    assert (np.diff(values) <= 1e-6 * values[0]).all()
    assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize("weights", [None, "some"])
def test_five_distinct_points_in_twenty_clusters(weights):
    """Copies stay together, each in a cluster at distance 0; 15 clusters are empty and have finite centres."""
    place = np.arange(N) % 5
    points = points_of(0, 5)[place]
    weights = None if weights is None else jnp.asarray(np.arange(N) % 3 > 0, jnp.float32)
    clusters = kmeans(jax.random.key(0), jnp.asarray(points), K, num_clusters=20, weights=weights)
    assignment = np.asarray(clusters.assignment)
    is_in = assignment >= 0
    assert is_in.sum() == (N if weights is None else weights.sum())
    assert len(np.unique(assignment[is_in])) == 5
    for i in range(5):
        assert len(np.unique(assignment[is_in & (place == i)])) == 1
    np.testing.assert_allclose(clusters.centers[assignment[is_in]], points[is_in], rtol=1e-6)
    assert np.isfinite(clusters.centers).all()


def test_fewer_rows_than_clusters():
    weights = jnp.asarray(np.arange(N) % 100 == 7, jnp.float32)
    points = jnp.asarray(points_of(0))
    clusters = kmeans(jax.random.key(0), points, K, weights=weights)
    assert sorted(clusters.sizes.tolist()) == [0] * (K - 6) + [1] * 6
    np.testing.assert_allclose(clusters.centers[clusters.assignment[7::100]], points[7::100], rtol=1e-6)
    none = kmeans(jax.random.key(0), points, K, weights=0 * weights)
    assert (none.assignment == -1).all()
    assert not none.sizes.any()
    assert not none.centers.any()


@pytest.mark.parametrize("exponent", [-40, 40])
def test_the_scale_does_not_matter(exponent):
    key, points = jax.random.key(6), points_of(6)
    plain = kmeans(key, jnp.asarray(points), K)
    scaled = kmeans(key, jnp.asarray(np.ldexp(points, exponent)), K)
    assert (scaled.assignment == plain.assignment).all()
    assert (scaled.centers == jnp.ldexp(plain.centers, exponent)).all()


def test_a_common_offset():
    key, points = jax.random.key(7), points_of(7) + np.float32(1e3)
    check_nearest(points, kmeans(key, jnp.asarray(points), K))
    plain = inertia(points - 1e3, kmeans(key, jnp.asarray(points - np.float32(1e3)), K))
    assert inertia(points, kmeans(key, jnp.asarray(points), K)) < 1.1 * plain


def check_nearest(points, clusters):
    """Every row is with its nearest centre, to float32's rounding of the numbers given."""
    squared = squared_distances(np.asarray(points, np.float64), np.asarray(clusters.centers, np.float64))
    own = squared[np.arange(len(points)), clusters.assignment]
    rounding = np.abs(points).max() * np.finfo(np.float32).eps
    assert (np.sqrt(own) <= np.sqrt(squared.min(1)) + 4 * rounding * np.sqrt(D)).all()


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 2), (3, 1)])
def test_smallest_pools(n, k):
    clusters = kmeans(jax.random.key(0), jnp.asarray(points_of(0, n)), k)
    assert clusters.sizes.sum() == n
    if n == k:
        assert sorted(clusters.assignment.tolist()) == list(range(n))


# mini-batches


def by_batches(key, points, k, batch, num_passes):
    """Sculley's updates over the batches that ``key`` gives; (centres, Σ squared distances when seen)."""
    points, n = np.asarray(points, np.float64), len(points)
    centers, seen, values = points[seeds_of(key, points.astype(np.float32), k)], np.zeros(k), []
    batch_key = jax.random.split(key)[1]
    for iteration in range(num_passes):
        order = np.asarray(module._shuffled(jax.random.fold_in(batch_key, iteration), jnp.ones(n, bool)))
        assert sorted(order) == list(range(n))
        values.append(0)
        for start in range(0, n, batch):
            rows = points[order[start : start + batch]]
            squared = squared_distances(rows, centers)
            nearest = squared.argmin(1)
            values[-1] += squared.min(1).sum()
            for j in np.unique(nearest):
                members = rows[nearest == j]
                seen[j] += len(members)
                centers[j] += (members - centers[j]).sum(0) / seen[j]
    return centers, values


@pytest.mark.parametrize("num_passes", [1, 3])
def test_equals_mini_batches_from_the_same_seeds(num_passes):
    key, points = jax.random.key(0), points_of(0)
    found = kmeans(key, jnp.asarray(points), K, batch=100, num_iters=num_passes)
    centers, _ = by_batches(key, points, K, 100, num_passes)
    np.testing.assert_allclose(found.centers, centers, atol=1e-5)
    check_nearest(points, found)
    # a mutant that begins to count anew in every pass
    mutant = by_batches(key, points, K, 100, 1)[0]
    assert (np.abs(mutant - centers).max() > 1e-3) == (num_passes > 1)


def test_passes_end_when_they_no_longer_help():
    key, points = jax.random.key(1), points_of(1)
    values = by_batches(key, points, K, 100, 60)[1]
    last = next(i for i in range(1, 60) if values[i] >= values[i - 1] * (1 - 1e-3))
    found = kmeans(key, jnp.asarray(points), K, batch=100)
    np.testing.assert_allclose(found.centers, by_batches(key, points, K, 100, last + 1)[0], atol=1e-5)
    assert inertia(points, found) < 1.05 * inertia(points, kmeans(key, jnp.asarray(points), K))


def test_mini_batches_take_no_row_of_weight_0():
    key, points = jax.random.key(2), points_of(2)
    weights = jnp.asarray(np.arange(N) % 3 > 0, jnp.float32)
    found = kmeans(key, jnp.asarray(points), K, batch=100, weights=weights)
    others = jnp.asarray(np.where(weights[:, None] > 0, points, np.float32(np.nan)))
    again = kmeans(key, others, K, batch=100, weights=weights)
    assert all((a == b).all() for a, b in zip(again, found, strict=True))
    assert ((found.assignment >= 0) == (weights > 0)).all()


def test_a_batch_that_holds_the_pool_is_lloyd():
    key, points = jax.random.key(0), jnp.asarray(points_of(0))
    whole, plain = kmeans(key, points, K, batch=N), kmeans(key, points, K)
    assert all((a == b).all() for a, b in zip(whole, plain, strict=True))


@pytest.mark.extras
def test_as_good_as_scikit_learn_on_letter(shared_data):
    """The best of ten, each."""
    cluster = pytest.importorskip("sklearn.cluster", reason="wants scikit-learn (group peers)")
    with gzip.open(shared_data / "openml" / "letter.arff.gz", "rt") as file:
        rows = file.read().lower().partition("@data\n")[2].splitlines()
    points = np.array([row.split(",")[:16] for row in rows], np.float32)
    assert points.shape == (20_000, 16)
    keys = jax.random.split(jax.random.key(0), 10)
    ours = min(inertia(points, kmeans(key, jnp.asarray(points), 26)) for key in keys)
    theirs = cluster.KMeans(26, n_init=10, random_state=0).fit(points).inertia_
    assert ours < 1.02 * theirs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_clusters": 0}, r"max_clusters is 0; wanted 1 to 601"),
        ({"max_clusters": 602}, r"max_clusters is 602; wanted 1 to 601"),
        ({"batch": 0}, r"batch is 0; wanted 1 or more"),
        ({"batch": 2.5}, r"batch is 2.5; wanted 1 or more"),
        ({"weights": jnp.ones(5)}, r"weights are float32 of shape \(5,\); wanted float32 \[601\]"),
        ({"weights": jnp.ones(N, bool)}, r"weights are bool of shape \(601,\)"),
        ({"points": jnp.ones((N, 2), jnp.float16)}, r"points are float16 of shape \(601, 2\)"),
        ({"points": jnp.ones(N)}, r"points are float32 of shape \(601,\); wanted float32 \[n, d\]"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    arguments = {"points": jnp.ones((N, 2)), "max_clusters": 3} | change
    with pytest.raises(ValueError, match=message):
        kmeans(jax.random.key(0), **arguments)
