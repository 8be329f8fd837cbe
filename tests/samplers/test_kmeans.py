"""`kmeans` beside Lloyd's iterations and mini-batches written out in float64, from the same seeds."""

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import dense_rows, kmeans, lazy_kmeans_plusplus
from badge_jax.samplers import _kmeans as module
from badge_jax.samplers.draw import shuffled

N, K, D = 601, 80, 6  # more clusters than are compared with every row in each iteration; n is prime


def points_of(seed, n=N, d=D):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def run(
    seed, points, *, k=K, number=None, weights=None, num_iters=100, tolerance=1e-4, batch=None, call=kmeans
):
    """`kmeans` with all its arguments, so that calls of one shape share a program."""
    weights = np.ones(len(points), np.float32) if weights is None else weights
    return call(
        jax.random.key(seed),
        jnp.asarray(points),
        k,
        num_clusters=jnp.int32(k if number is None else number),
        weights=jnp.asarray(weights),
        num_iters=num_iters,
        tolerance=tolerance,
        batch=batch,
    )


def seeds_of(seed, points, k=K, weights=None):
    available = jnp.ones(len(points), bool) if weights is None else jnp.asarray(weights) > 0
    key = jax.random.split(jax.random.key(seed))[0]
    return np.asarray(lazy_kmeans_plusplus(key, dense_rows(jnp.asarray(points)), k, available=available))


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


def fresh():
    """`kmeans`, compiled anew with the module as it now is."""
    return jax.jit(
        lambda *args, **options: kmeans.__wrapped__(*args, **options), static_argnums=2, static_argnames="batch"
    )


def equal(clusters, others):
    return all((a == b).all() for a, b in zip(clusters, others, strict=True))


@pytest.mark.parametrize("num_iters", [1, 3, 100])
@pytest.mark.parametrize("seed", range(4))
def test_equals_lloyd_from_the_same_seeds(seed, num_iters):
    points = points_of(seed)
    check(run(seed, points, num_iters=num_iters), lloyd(points, seeds_of(seed, points), num_iters=num_iters))


def test_tolerance_ends_it_early():
    points = points_of(1)
    early, late = (lloyd(points, seeds_of(1, points), tolerance=tolerance) for tolerance in (3.0, 1e-4))
    assert early[1].tolist() != late[1].tolist()
    check(run(1, points, tolerance=3.0), early)


@pytest.fixture
def small_tiles(monkeypatch):
    """Sizes so small that tiles overlap, clusters span tiles, and most centres are no movers."""
    for name, size in {"_ROWS": 64, "_CENTERS": 16, "_SORTED_ROWS": 8, "_MOVERS": 5}.items():
        monkeypatch.setattr(module, name, size)


def test_equals_lloyd_whatever_the_tiles(small_tiles):
    call = fresh()
    for seed in range(4):
        points = points_of(seed)
        check(run(seed, points, call=call), lloyd(points, seeds_of(seed, points)))


def test_a_bound_that_does_not_fall_is_rejected(small_tiles, monkeypatch):
    """A mutant: rows are looked at again as if the centres had hardly moved."""
    real = module._reassigned

    def as_if_still(pool, state, count):
        return real(pool, state._replace(moves=0 * state.moves), count)

    monkeypatch.setattr(module, "_reassigned", as_if_still)
    call, wrong = fresh(), 0
    for seed in range(4):
        points = points_of(seed)
        expected = lloyd(points, seeds_of(seed, points))[1]
        wrong += run(seed, points, call=call).assignment.tolist() != expected.tolist()
    assert wrong == 4


def test_weights_count_and_rows_of_weight_0_do_not():
    """Whatever those hold, the result is the same to the last bit."""
    points, rng = points_of(5), np.random.default_rng(5)
    weights = np.where(rng.random(N) < 0.3, 0, 3 * rng.random(N)).astype(np.float32)
    found, seeds = run(5, points, weights=weights), seeds_of(5, points, weights=weights)
    check(found, lloyd(points, seeds, weights=weights))
    assert found.assignment.tolist() != lloyd(points, seeds, weights=weights > 0)[1].tolist()
    for value in (np.nan, np.inf, 1e30, 0.0):
        others = np.where(weights[:, None] > 0, points, np.float32(value))
        assert equal(run(5, others, weights=weights), found), value


def test_a_traced_number_of_clusters(compilations):
    """The clusters are those of that many; the others do not exist. No number compiles anew."""
    points = points_of(2)
    check(run(2, points), lloyd(points, seeds_of(2, points)))
    compilations.clear()
    found = {number: run(2, points, number=number) for number in (1, 7, 79)}
    assert compilations == []
    for number, clusters in found.items():
        centers, assignment = lloyd(points, seeds_of(2, points)[:number])
        assert clusters.assignment.tolist() == assignment.tolist()
        np.testing.assert_allclose(clusters.centers[:number], centers, atol=1e-5)
        assert not clusters.centers[number:].any()
        assert not clusters.sizes[number:].any()


def test_the_same_call_gives_the_same_bits():
    """Also without the arguments that may be left out."""
    points = points_of(3)
    found = run(3, points)
    assert equal(run(3, points), found)
    assert equal(kmeans(jax.random.key(3), jnp.asarray(points), K), found)


def test_inertia_never_rises():
    points = points_of(4)
    values = [inertia(points, run(4, points, num_iters=number)) for number in (*range(9), 100)]
    # the sum of 600 squares near 1, each to float32's rounding
    assert (np.diff(values) <= 1e-6 * values[0]).all()
    assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize("is_weighted", [False, True])
def test_five_distinct_points_in_twenty_clusters(is_weighted):
    """Copies stay together, each in a cluster at distance 0; 15 clusters are empty and have finite centres."""
    place = np.arange(N) % 5
    points = points_of(0, 5)[place]
    weights = np.where(is_weighted & (np.arange(N) % 3 == 0), 0, 1).astype(np.float32)
    clusters = run(0, points, number=20, weights=weights)
    assignment, is_in = np.asarray(clusters.assignment), weights > 0
    assert ((assignment >= 0) == is_in).all()
    assert len(np.unique(assignment[is_in])) == 5
    for i in range(5):
        assert len(np.unique(assignment[is_in & (place == i)])) == 1
    # a mean of 121 copies, whose entries are 3 at most: as many roundings of 2⁻²⁴
    np.testing.assert_allclose(clusters.centers[assignment[is_in]], points[is_in], atol=3 * 121 * 2.0**-24)
    assert np.isfinite(clusters.centers).all()


def test_fewer_rows_than_clusters():
    points, weights = points_of(0), (np.arange(N) % 100 == 7).astype(np.float32)
    clusters = run(0, points, weights=weights)
    assert sorted(clusters.sizes.tolist()) == [0] * (K - 6) + [1] * 6
    np.testing.assert_allclose(clusters.centers[clusters.assignment[7::100]], points[7::100], atol=1e-6)
    none = run(0, points, weights=0 * weights)
    assert (none.assignment == -1).all()
    assert not none.sizes.any()
    assert not none.centers.any()


@pytest.mark.parametrize("exponent", [-40, 40])
def test_the_scale_does_not_matter(exponent):
    points = points_of(6)
    plain, scaled = run(6, points), run(6, np.ldexp(points, exponent))
    assert (scaled.assignment == plain.assignment).all()
    assert (scaled.centers == jnp.ldexp(plain.centers, exponent)).all()


def test_a_common_offset():
    points = points_of(7) + np.float32(1e3)
    clusters = run(7, points)
    check_nearest(points, clusters)
    centers, _ = lloyd(points, seeds_of(7, points))
    best = squared_distances(points.astype(np.float64), centers).min(1).sum()
    assert inertia(points, clusters) < 1.01 * best


def check_nearest(points, clusters):
    """Every row is with its nearest centre, to float32's rounding of the numbers given."""
    squared = squared_distances(np.asarray(points, np.float64), np.asarray(clusters.centers, np.float64))
    own = squared[np.arange(len(points)), clusters.assignment]
    rounding = np.abs(points).max() * np.finfo(np.float32).eps
    assert (np.sqrt(own) <= np.sqrt(squared.min(1)) + 4 * rounding * np.sqrt(D)).all()


@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 3)])
def test_smallest_pools(n, k):
    clusters = run(0, points_of(0, n), k=k)
    assert clusters.sizes.tolist() == [n // k] * k
    assert sorted(set(clusters.assignment.tolist())) == list(range(k))


# mini-batches


def by_batches(seed, points, num_passes, batch=100):
    """Sculley's updates over the batches of the seed's key: the centres and, for every pass, the sum of squared
    distances when they were seen."""
    n, counts, values = len(points), np.zeros(K), []
    centers, points = points[seeds_of(seed, points)].astype(np.float64), points.astype(np.float64)
    for iteration in range(num_passes):
        key = jax.random.fold_in(jax.random.split(jax.random.key(seed))[1], iteration)
        order = np.asarray(shuffled(key, jnp.ones(n, bool)))
        assert sorted(order) == list(range(n))
        values.append(0)
        for start in range(0, n, batch):
            rows = points[order[start : start + batch]]
            squared = squared_distances(rows, centers)
            nearest = squared.argmin(1)
            values[-1] += squared.min(1).sum()
            for j in np.unique(nearest):
                members = rows[nearest == j]
                counts[j] += len(members)
                centers[j] += (members - centers[j]).sum(0) / counts[j]
    return centers, values


def test_equals_mini_batches_from_the_same_seeds():
    points = points_of(0)
    ends = [by_batches(0, points, num_passes)[0] for num_passes in (1, 3)]
    assert np.abs(ends[1] - ends[0]).max() > 0.01
    for num_passes, centers in zip((1, 3), ends, strict=True):
        found = run(0, points, batch=100, num_iters=num_passes, tolerance=0.0)
        np.testing.assert_allclose(found.centers, centers, atol=1e-5)
        check_nearest(points, found)


def test_passes_end_when_they_no_longer_help():
    points = points_of(1)
    values = by_batches(1, points, 60)[1]
    last = next(i for i in range(1, 60) if values[i] >= values[i - 1] * (1 - 1e-3))
    found = run(1, points, batch=100)
    np.testing.assert_allclose(found.centers, by_batches(1, points, last + 1)[0], atol=1e-5)
    assert inertia(points, found) < 1.05 * inertia(points, run(1, points))


def test_mini_batches_take_no_row_of_weight_0():
    points, weights = points_of(2), (np.arange(N) % 3 > 0).astype(np.float32)
    found = run(2, points, batch=100, weights=weights)
    assert equal(run(2, np.where(weights[:, None] > 0, points, np.nan), batch=100, weights=weights), found)
    assert ((np.asarray(found.assignment) >= 0) == (weights > 0)).all()


def test_a_batch_that_holds_the_pool_is_lloyd():
    points = points_of(0)
    assert equal(run(0, points, batch=N), run(0, points))


@pytest.mark.extras
def test_as_good_as_scikit_learn_on_letter(shared_data):
    """The best of ten, each."""
    cluster = pytest.importorskip("sklearn.cluster", reason="wants scikit-learn (group peers)")
    with gzip.open(shared_data / "openml" / "letter.arff.gz", "rt") as file:
        rows = file.read().lower().partition("@data\n")[2].splitlines()
    points = np.array([row.split(",")[:16] for row in rows], np.float32)
    assert points.shape == (20_000, 16)
    ours = min(inertia(points, run(seed, points, k=26)) for seed in range(10))
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
