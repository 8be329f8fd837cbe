"""The two seeders, `kmeans_plusplus` and `lazy_kmeans_plusplus`, against one law and one contract."""

import dataclasses
import functools
import itertools
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import chi_square_p, kmeans_plusplus_law
from scipy import stats

from badge_jax import Rows, dense_rows, kmeans_plusplus, lazy_kmeans_plusplus
from badge_jax import rows as rows_module
from badge_jax.rows import as_points, squared_distances, squared_distances_to_row
from badge_jax.samplers import rejection
from badge_jax.samplers._kmeans_plusplus import FIRST_POINTS
from badge_jax.samplers.rejection import Sizes

# sizes so small that on six rows every path is taken: two blocks of the fold overlap, blocks are padded,
# batches are rejected and broken off. FOLDING folds after every batch with a pick, PENDING never does, SKIPPING
# folds into blocks of two rows, which centres of other norms leave alone
FOLDING = Sizes(
    row_block=4,
    fold_block=2,
    test_block=2,
    test_tile=2,
    proposals=3,
    draw_block=2,
    capacity=3,
    stride=1,
    pass_cost=0,
    batch_cost=0,
)
SKIPPING = FOLDING._replace(row_block=2, fold_block=1, stride=3)
PENDING = FOLDING._replace(proposals=2, draw_block=4, capacity=512, pass_cost=10**6)
SEEDERS = {
    "incremental": kmeans_plusplus,
    "incremental, small blocks": partial(kmeans_plusplus, _block=2),
    "lazy": lazy_kmeans_plusplus,
    "lazy, folding": partial(lazy_kmeans_plusplus, _sizes=FOLDING),
    "lazy, skipping": partial(lazy_kmeans_plusplus, _sizes=SKIPPING),
    "lazy, pending": partial(lazy_kmeans_plusplus, _sizes=PENDING),
}
lazy_module = sys.modules["badge_jax.samplers._lazy_kmeans_plusplus"]
MASK = np.array([True, True, False, True, True, True])


def asymmetric_rows(kind):
    rng = np.random.default_rng(5)
    scale = np.array([0.2, 0.5, 3.0, 1.0, 0.7, 1.5])[:, None]
    if kind == "dense":
        return dense_rows(jnp.asarray(rng.normal(size=(6, 4)) * scale, jnp.float32))
    left, right = rng.normal(size=(6, 3)) * scale, rng.normal(size=(6, 4))
    return Rows(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))


@pytest.fixture(params=["incremental", "lazy", "lazy, folding"])
def seeder(request):
    return SEEDERS[request.param]


@functools.cache
def drawer(seeder, k, first):
    """Rows and mask are arguments of the jit: XLA would fold constants for seconds."""

    @jax.jit
    def draw_all(keys, rows, available):
        return jax.vmap(lambda key: seeder(key, rows, k, available=available, first=first))(keys)

    return draw_all


def draws_of(seeder, rows, k, num, *, available=None, first="uniform"):
    """``num`` draws: [num, k]."""
    available = jnp.asarray(np.ones(len(rows.left), bool) if available is None else available)
    return np.asarray(drawer(seeder, k, first)(jax.random.split(jax.random.key(0), num), rows, available))


@pytest.mark.parametrize(
    ("name", "kind", "first"),
    # the first point is drawn alike whatever the sizes, and distances are the same function for both kinds
    [(name, "factored", "uniform") for name in SEEDERS]
    + [(name, "dense", "uniform") for name in ("incremental", "lazy")]
    + [(name, "factored", first) for name in ("incremental", "lazy") for first in ("max_norm", "norm")],
)
def test_law(name, kind, first):
    rows = asymmetric_rows(kind)
    for mask in (None, MASK):
        law = kmeans_plusplus_law(rows.to_dense(), 3, available=mask, first=first)
        assert sum(law.values()) == pytest.approx(1)
        draws = draws_of(SEEDERS[name], rows, 3, 100_000, available=mask, first=first)
        assert chi_square_p(draws, law) > 1e-4


def rows_at_the_edge(kind):
    """Six rows whose distances a matrix product in float32 does not know."""
    rng = np.random.default_rng(5)
    apart = np.array([0.2, 0.5, 3.0, 1.0, 0.7, 1.5])[:, None] * rng.normal(size=(6, 4))
    if kind == "a giant":
        return dense_rows(jnp.asarray(apart, jnp.float32).at[2].set(1e9))
    if kind == "offset":
        return dense_rows(jnp.asarray(1e4 + apart, jnp.float32))
    clusters = np.array([0, 0, 0, 1, 1, 1])
    if kind == "clusters":
        return dense_rows(jnp.asarray(10 * np.eye(4)[clusters] + 1e-3 * apart, jnp.float32))
    left = np.eye(3)[clusters] + 1e-4 * apart[:, :3]
    return Rows(jnp.asarray(left, jnp.float32), jnp.asarray(1 + 1e-4 * rng.normal(size=(6, 4)), jnp.float32))


@pytest.mark.parametrize(
    "name", [*(pytest.param(n, marks=pytest.mark.slow) for n in ("incremental", "lazy")), "lazy, folding"]
)
@pytest.mark.parametrize("kind", ["offset", "a giant", "clusters", "clusters of outer products"])
def test_law_at_the_edge_of_float32(name, kind):
    """Offsets of 10⁴ times the spread, a row of 10⁹ times the others, clusters of 10⁻⁴ of their norm."""
    rows = rows_at_the_edge(kind)
    points = np.einsum("ni,nj->nij", *(np.asarray(a, np.float64) for a in (rows.left, rows.right)))
    law = kmeans_plusplus_law(points.reshape(6, -1), 3)
    assert chi_square_p(draws_of(SEEDERS[name], rows, 3, 100_000), law) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clusters", "clusters of outer products"])
def test_the_law_at_the_edge_has_teeth(monkeypatch, kind):
    """With distances by matrix products alone."""
    monkeypatch.setattr(rows_module, "NEAR", 0.0)
    rows = rows_at_the_edge(kind)
    points = np.einsum("ni,nj->nij", *(np.asarray(a, np.float64) for a in (rows.left, rows.right)))
    forget_compiled()
    draws = draws_of(SEEDERS["lazy, folding"], rows, 3, 20_000)
    forget_compiled()
    assert chi_square_p(draws, kmeans_plusplus_law(points.reshape(6, -1), 3)) < 1e-4


@pytest.mark.parametrize("slip", ["distance", "fourth_power", "origin_is_a_center", "uniform"])
def test_the_law_test_has_teeth(slip):
    """Draws by laws that other implementations follow by mistake are told apart from k-means++."""
    points = np.asarray(asymmetric_rows("factored").to_dense(), np.float64)
    law = kmeans_plusplus_law(points, 3)
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    norms = (points**2).sum(1)
    wrong = {}
    for picks in law:
        probability = 1 / 6
        for t in (1, 2):
            nearest = squared[:, list(picks[:t])].min(axis=1)
            weights = {
                "distance": nearest**0.5,
                "fourth_power": nearest**2,
                "origin_is_a_center": np.minimum(nearest, norms),
                "uniform": (nearest > 0) * 1.0,
            }[slip]
            probability *= weights[picks[t]] / weights[np.setdiff1d(range(6), picks[:t])].sum()
        wrong[picks] = probability
    wrong_p = np.array(list(wrong.values()))
    draws = np.array(list(wrong))[
        np.random.default_rng(0).choice(len(wrong), 100_000, p=wrong_p / wrong_p.sum())
    ]
    assert chi_square_p(draws, law) < 1e-4


@pytest.mark.parametrize("seeder", [kmeans_plusplus, SEEDERS["lazy, folding"]])
def test_copies_are_drawn_uniformly_once_every_distinct_row_is_chosen(seeder):
    base = asymmetric_rows("factored")
    rows = jax.tree.map(lambda a: a[jnp.array([0, 1, 1, 1, 0])], base)
    draws = draws_of(seeder, rows, 4, 50_000)
    points = np.asarray(base.to_dense(), np.float64)[[0, 1, 1, 1, 0]]
    assert chi_square_p(draws, kmeans_plusplus_law(points, 4)) > 1e-4


def degenerate_pools(n):
    """Name, then left [n, 3] and right [n, 5]."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(n, 3)), rng.normal(size=(n, 5))
    nearly = rng.normal(size=(n, 3)) * 1e-7
    return {
        "zeros": (left * 0, right),
        "copies": (left[:1].repeat(n, 0), right[:1].repeat(n, 0)),
        "near copies": (left[:1].repeat(n, 0) + nearly, right[:1].repeat(n, 0)),
        "distinct": (left, right),
        "tiny": (left * 1e-35, right),
        "norms from 1e-12 to 1e3": (left * 10.0 ** rng.uniform(-12, 3, size=(n, 1)), right),
    }


@pytest.mark.parametrize(
    ("name", "first"),
    [(name, "uniform") for name in ("incremental", "lazy", "lazy, folding")]
    + [("incremental", first) for first in ("max_norm", "norm")],
)
def test_never_a_repeat_and_never_unavailable(name, first):
    n = 40
    available = np.random.default_rng(1).random(n) < 0.6
    for what, (left, right) in degenerate_pools(n).items():
        pool = Rows(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))
        draws = draws_of(SEEDERS[name], pool, int(available.sum()), 20, available=available, first=first)
        for picks in draws:
            assert sorted(picks) == np.flatnonzero(available).tolist(), what


@pytest.mark.parametrize("seeder", [kmeans_plusplus, lazy_kmeans_plusplus])
def test_tiny_norms_keep_the_law(seeder):
    """Gradient norms of 1e-30 have squares that float32 cannot hold."""
    rows = asymmetric_rows("factored")
    tiny = Rows(rows.left * 1e-30, rows.right)
    law = kmeans_plusplus_law(rows.to_dense(), 3)
    assert chi_square_p(draws_of(seeder, tiny, 3, 50_000), law) > 1e-4


def test_scale_of_dense_rows_keeps_the_law():
    rows = asymmetric_rows("dense")
    law = kmeans_plusplus_law(rows.to_dense(), 3)
    for scale in (1e-15, 1e15):
        scaled = dataclasses.replace(rows, right=rows.right * scale)
        assert chi_square_p(draws_of(kmeans_plusplus, scaled, 3, 50_000), law) > 1e-4


@pytest.mark.parametrize("seeder", [kmeans_plusplus, lazy_kmeans_plusplus])
def test_rows_that_are_not_available_have_no_influence(seeder):
    rows = asymmetric_rows("factored")
    wild = Rows(rows.left.at[2].set(1e30), rows.right.at[2].set(jnp.nan))
    law = kmeans_plusplus_law(rows.to_dense(), 3, available=MASK)
    assert chi_square_p(draws_of(seeder, wild, 3, 50_000, available=MASK), law) > 1e-4


def test_rows_that_are_not_finite_are_not_passed_off_as_a_law(seeder):
    rows = asymmetric_rows("factored")
    broken = Rows(rows.left, rows.right.at[2].set(jnp.nan))
    assert seeder(jax.random.key(0), broken, 4).tolist()[1:] == [-1, -1, -1]


def test_surplus_is_minus_one(seeder):
    available = jnp.array([False, True, False, False, True, False])
    picks = seeder(jax.random.key(0), asymmetric_rows("dense"), 4, available=available)
    assert sorted(picks.tolist()) == [-1, -1, 1, 4]
    for first in FIRST_POINTS:
        none = kmeans_plusplus(
            jax.random.key(0), asymmetric_rows("dense"), 2, available=jnp.zeros(6, bool), first=first
        )
        assert none.tolist() == [-1, -1]


def test_no_mask_is_a_mask_of_all(seeder):
    rows, key = asymmetric_rows("factored"), jax.random.key(9)
    masked = seeder(key, rows, 4, available=jnp.ones(6, bool))
    assert seeder(key, rows, 4).tolist() == masked.tolist()


@pytest.mark.parametrize("seeder", [kmeans_plusplus, lazy_kmeans_plusplus])
def test_one_point(seeder):
    assert seeder(jax.random.key(0), dense_rows(jnp.ones((1, 3))), 1).tolist() == [0]


def test_prefix(seeder):
    rng = np.random.default_rng(1)
    rows = dense_rows(jnp.asarray(rng.normal(size=(300, 6)), jnp.float32))
    key = jax.random.key(3)
    longest = seeder(key, rows, 50).tolist()
    for j in (1, 17):
        assert seeder(key, rows, j).tolist() == longest[:j]


@pytest.mark.parametrize("seeder", [kmeans_plusplus, lazy_kmeans_plusplus])
def test_inside_the_users_transformations(seeder):
    rows, keys = asymmetric_rows("factored"), jax.random.split(jax.random.key(0), 2)
    plain = [seeder(key, rows, 3).tolist() for key in keys]
    with jax.disable_jit():
        eager = [seeder(key, rows, 3).tolist() for key in keys]
    jitted = jax.jit(lambda key, rows: seeder(key, rows, 3))
    _, scanned = jax.lax.scan(lambda _, key: (None, seeder(key, rows, 3)), None, keys)
    assert eager == plain
    assert [jitted(key, rows).tolist() for key in keys] == plain
    assert jax.vmap(lambda key: seeder(key, rows, 3))(keys).tolist() == plain
    assert scanned.tolist() == plain


def test_one_compilation_for_every_mask_and_key(seeder, compilations):
    rows = dense_rows(jnp.arange(33, dtype=jnp.float32).reshape(11, 3))
    masks = [jnp.arange(11) != i for i in range(3)]
    keys = [jax.random.key(i) for i in range(3)]
    seeder(keys[0], rows, 4, available=masks[0]).block_until_ready()
    compilations.clear()
    for key, mask in zip(keys, masks, strict=True):
        seeder(key, rows, 4, available=mask).block_until_ready()
    assert compilations == []


def test_wrong_arguments_are_refused(seeder):
    key, rows = jax.random.key(0), asymmetric_rows("dense")
    for k in (0, -1, 7):
        with pytest.raises(ValueError, match=rf"k = {k} rows asked of a pool of 6; wanted 1 to 6"):
            seeder(key, rows, k)
    with pytest.raises(ValueError, match="first is 'greedy'; wanted one of uniform, max_norm, norm"):
        seeder(key, rows, 2, first="greedy")
    with pytest.raises(ValueError, match=r"available is bool of shape \(5,\); wanted bool of shape \(6,\)"):
        seeder(key, rows, 2, available=jnp.ones(5, bool))
    with pytest.raises(ValueError, match="available is int32"):
        seeder(key, rows, 2, available=jnp.ones(6, jnp.int32))


def rows_and_an_outlier():
    """Once the outlier is chosen, the others' bounds are far below 1, the scale of the longest row."""
    rows = asymmetric_rows("factored")
    return dataclasses.replace(rows, left=rows.left.at[2].multiply(10))


def test_four_picks_by_the_lazy_seeder():
    """Long enough for a fold, then pending centres, then another fold."""
    for sizes, rows in (
        (FOLDING._replace(capacity=4), asymmetric_rows("factored")),
        (SKIPPING, rows_and_an_outlier()),
    ):
        law = kmeans_plusplus_law(rows.to_dense(), 4)
        draws = draws_of(partial(lazy_kmeans_plusplus, _sizes=sizes), rows, 4, 100_000)
        assert chi_square_p(draws, law) > 1e-4


def forget_compiled():
    jax.clear_caches()
    drawer.cache_clear()


def start_between(least, most):
    def bounds(points, index):
        return squared_distances_to_row(points, index) * jnp.linspace(least, most, len(points))

    return bounds


def no_pending(points, blocks, start):
    return start


least_squared_distance = rejection._least_squared_distance


@pytest.mark.parametrize(
    ("name", "function", "mutant"),
    [
        ("lazy, pending", "nearest_center", no_pending),
        ("lazy, pending", "upper_bounds_to_row", start_between(0.5, 1)),
        ("lazy, skipping", "_least_squared_distance", lambda *args: jnp.sqrt(least_squared_distance(*args))),
    ],
    ids=["acceptance without the pending centres", "a bound below D²", "skipping without the square"],
)
def test_the_lazy_law_test_has_teeth(monkeypatch, name, function, mutant):
    module = lazy_module if function == "upper_bounds_to_row" else rejection
    monkeypatch.setattr(module, function, mutant)
    rows = rows_and_an_outlier() if name == "lazy, skipping" else asymmetric_rows("factored")
    law = kmeans_plusplus_law(rows.to_dense(), 4)
    forget_compiled()
    draws = draws_of(SEEDERS[name], rows, 4, 100_000)
    forget_compiled()
    assert chi_square_p(draws, law) < 1e-4


@pytest.mark.slow
def test_bounds_need_not_be_distances(monkeypatch):
    monkeypatch.setattr(lazy_module, "upper_bounds_to_row", start_between(1, 2))
    rows = asymmetric_rows("factored")
    forget_compiled()
    draws = draws_of(SEEDERS["lazy, folding"], rows, 4, 100_000)
    forget_compiled()
    assert chi_square_p(draws, kmeans_plusplus_law(rows.to_dense(), 4)) > 1e-4


@pytest.mark.parametrize(("distance", "num_accepted"), [(2.0**-18, 0), (2.0**-16, 1)])
def test_the_smallest_draw_accepts_no_row_of_negligible_distance(distance, num_accepted):
    """Where u·U < D² decides, u = 0 would accept whatever is not 0. The least u is 2⁻³⁴, here with U = 1."""
    points = as_points(dense_rows(jnp.array([[0.0], [distance]])))
    state = rejection.start_seeding(
        points[jnp.array([0])], jnp.int32(0), 2, jnp.ones(2, bool), 2, PENDING, jnp.zeros(1)
    )
    state = rejection.with_sums(state._replace(bound=jnp.ones(2).at[0].set(0)), jnp.ones(2, bool), PENDING)
    proposals = rejection.Proposals(jnp.array([1, 1]), jnp.full(2, 2.0**-34))
    state = rejection.accept(state, proposals, points[jnp.array([1, 1])], jnp.int32(2), PENDING)
    assert int(state.num_chosen) == 1 + num_accepted


def test_proposals_never_draw_zero(monkeypatch):
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype=jnp.float32: jnp.zeros(shape, dtype))
    points = as_points(asymmetric_rows("factored"))
    state = rejection.start_seeding(
        points[jnp.array([0])], jnp.int32(0), 2, jnp.ones(6, bool), 6, PENDING, jnp.zeros(4)
    )
    state = rejection.with_sums(state._replace(bound=jnp.ones(6)), jnp.ones(6, bool), PENDING)
    with jax.disable_jit():
        assert rejection.propose(jax.random.key(0), state, PENDING).uniforms.tolist() == [2.0**-34] * 2


def test_blocks_of_other_norms_are_skipped():
    """On the pool of the law test, some centre is left out of some block, and rightly so."""
    rows = asymmetric_rows("factored")
    points = np.asarray(rows.to_dense(), np.float64)
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    order = np.argsort((points**2).sum(1))
    num_skipped = 0
    for first, second in itertools.permutations(range(6), 2):
        bound = jnp.asarray(squared[:, first], jnp.float32)
        center = as_points(rows[jnp.array([second])])
        state = rejection.start_seeding(
            center, jnp.int32(second), 3, jnp.ones(6, bool), 3, SKIPPING, jnp.zeros(4)
        )
        for block in order.reshape(3, 2):
            extents = rejection.extent_of(rows.squared_norms[block], bound[block])
            matters = rejection.centers_that_matter(state, extents)[0]
            assert not matters[1:].any(), "padding is no centre"
            num_skipped += not matters[0]
            assert matters[0] or (squared[block, second] >= squared[block, first]).all()
    assert num_skipped > 5


def random_pool(n, seed=0):
    """Long-tailed gradient-like rows."""
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(n, 4)) * rng.lognormal(sigma=1.5, size=(n, 1))
    return Rows(jnp.asarray(left, jnp.float32), jnp.asarray(rng.normal(size=(n, 8)), jnp.float32))


def statistic_of(seeder, statistic, rows, k, num, seed):
    keys = jax.random.split(jax.random.key(seed), num)

    @jax.jit
    def draw_all(keys, rows):
        return jax.lax.map(lambda key: statistic(rows, seeder(key, rows, k)), keys, batch_size=250)

    return np.asarray(draw_all(keys, rows))


@pytest.mark.slow
@pytest.mark.parametrize("lazy", ["lazy", "lazy, folding"])
def test_order_of_long_batches(lazy):
    """20,000 batches of 50 from 2,000 rows: Σ t·ln‖x_t‖, which weighs late picks more, has one distribution."""

    def late_norms(rows, picks):
        return jnp.sum(jnp.arange(50) * jnp.log(rows[picks].squared_norms))

    rows, seeder = random_pool(2000), SEEDERS[lazy]
    if lazy == "lazy, folding":
        sizes = FOLDING._replace(
            row_block=300, fold_block=8, test_block=16, proposals=16, draw_block=64, capacity=24
        )
        seeder = partial(lazy_kmeans_plusplus, _sizes=sizes._replace(stride=20))
    ours = statistic_of(seeder, late_norms, rows, 50, 20_000, 1)
    reference = statistic_of(kmeans_plusplus, late_norms, rows, 50, 20_000, 2)
    assert stats.ks_2samp(ours, reference).pvalue > 1e-4


@pytest.mark.slow
def test_potential_of_large_batches():
    """Φ after 100 picks from 20,000 rows has one distribution under both seeders."""

    def potential(rows, picks):
        all_pairs = jnp.ones((len(rows), len(picks)), bool)
        distances = squared_distances(
            as_points(rows), as_points(rows[picks]), all_pairs, jnp.zeros(rows.right.shape[1])
        )
        return jnp.sum(jnp.min(distances, axis=1))

    rows = random_pool(20_000)
    ours, reference = (
        [
            float(jax.jit(potential)(rows, seeder(jax.random.key(seed), rows, 100)))
            for seed in range(first, first + 400)
        ]
        for seeder, first in ((lazy_kmeans_plusplus, 0), (kmeans_plusplus, 1000))
    )
    assert stats.ks_2samp(ours, reference).pvalue > 1e-4
