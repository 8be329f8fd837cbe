import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import chi_square_p, kmeans_plusplus_law

from badge_jax import Rows, dense_rows, kmeans_plusplus
from badge_jax.samplers.kmeans_plusplus import FIRST_POINTS

MASK = np.array([True, True, False, True, True, True])


def asymmetric_rows(kind):
    rng = np.random.default_rng(5)
    scale = np.array([0.2, 0.5, 3.0, 1.0, 0.7, 1.5])[:, None]
    if kind == "dense":
        return dense_rows(jnp.asarray(rng.normal(size=(6, 4)) * scale, jnp.float32))
    left, right = rng.normal(size=(6, 3)) * scale, rng.normal(size=(6, 4))
    return Rows(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))


def draws_of(rows, k, num, *, available=None, first="uniform", tile=None):
    """``num`` draws [num, k]. Rows and mask are arguments of the jit: XLA would fold constants for seconds."""

    @jax.jit
    def draw_all(keys, rows, available):
        return jax.vmap(
            lambda key: kmeans_plusplus(key, rows, k, available=available, first=first, _tile=tile)
        )(keys)

    available = np.ones(len(rows.left), bool) if available is None else available
    return np.asarray(draw_all(jax.random.split(jax.random.key(0), num), rows, jnp.asarray(available)))


@pytest.mark.parametrize("tile", [2, None])
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("kind", ["dense", "factored"])
@pytest.mark.parametrize("first", FIRST_POINTS)
def test_law(first, kind, mask, tile):
    rows = asymmetric_rows(kind)
    law = kmeans_plusplus_law(rows.to_dense(), 3, available=mask, first=first)
    assert sum(law.values()) == pytest.approx(1)
    draws = draws_of(rows, 3, 100_000, available=mask, first=first, tile=tile)
    assert chi_square_p(draws, law) > 1e-4


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


@pytest.mark.parametrize("tile", [2, None])
def test_copies_are_drawn_uniformly_once_every_distinct_row_is_chosen(tile):
    base = asymmetric_rows("factored")
    rows = jax.tree.map(lambda a: a[jnp.array([0, 1, 1, 1, 0])], base)
    draws = draws_of(rows, 4, 50_000, tile=tile)
    points = np.asarray(base.to_dense(), np.float64)[[0, 1, 1, 1, 0]]
    assert chi_square_p(draws, kmeans_plusplus_law(points, 4)) > 1e-4


@pytest.mark.parametrize("first", FIRST_POINTS)
@pytest.mark.parametrize("rows", ["zeros", "copies", "distinct", "tiny", "mixed_scales"])
def test_never_a_repeat_and_never_unavailable(rows, first):
    n = 40
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(n, 3)), rng.normal(size=(n, 5))
    if rows == "zeros":
        left[:] = 0
    if rows == "copies":
        left[:], right[:] = left[0], right[0]
    if rows == "tiny":
        left *= 1e-35
    if rows == "mixed_scales":
        left *= 10.0 ** rng.uniform(-12, 3, size=(n, 1))
    pool = Rows(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))
    available = rng.random(n) < 0.6
    draws = draws_of(pool, int(available.sum()), 50, available=available, first=first, tile=8)
    for picks in draws:
        assert sorted(picks) == np.flatnonzero(available).tolist()


def test_tiny_norms_keep_the_law():
    """Gradient norms of 1e-30 have squares that float32 cannot hold."""
    rows = asymmetric_rows("factored")
    tiny = Rows(rows.left * 1e-30, rows.right)
    law = kmeans_plusplus_law(rows.to_dense(), 3)
    assert chi_square_p(draws_of(tiny, 3, 50_000), law) > 1e-4


def test_surplus_is_minus_one():
    available = jnp.array([False, True, False, False, True, False])
    picks = kmeans_plusplus(jax.random.key(0), asymmetric_rows("dense"), 4, available=available)
    assert sorted(picks.tolist()) == [-1, -1, 1, 4]
    for first in FIRST_POINTS:
        none = kmeans_plusplus(
            jax.random.key(0), asymmetric_rows("dense"), 2, available=jnp.zeros(6, bool), first=first
        )
        assert none.tolist() == [-1, -1]


def test_no_mask_is_a_mask_of_all():
    rows, key = asymmetric_rows("factored"), jax.random.key(9)
    masked = kmeans_plusplus(key, rows, 4, available=jnp.ones(6, bool))
    assert kmeans_plusplus(key, rows, 4).tolist() == masked.tolist()


def test_one_point():
    assert kmeans_plusplus(jax.random.key(0), dense_rows(jnp.ones((1, 3))), 1).tolist() == [0]


@pytest.mark.parametrize("first", FIRST_POINTS)
def test_prefix(first):
    rng = np.random.default_rng(1)
    rows = dense_rows(jnp.asarray(rng.normal(size=(300, 6)), jnp.float32))
    key = jax.random.key(3)
    longest = kmeans_plusplus(key, rows, 50, first=first).tolist()
    for j in (1, 2, 17):
        assert kmeans_plusplus(key, rows, j, first=first).tolist() == longest[:j]


def test_inside_the_users_transformations():
    rows, keys = asymmetric_rows("factored"), jax.random.split(jax.random.key(0), 2)
    plain = [kmeans_plusplus(key, rows, 3).tolist() for key in keys]
    with jax.disable_jit():
        eager = [kmeans_plusplus(key, rows, 3).tolist() for key in keys]
    jitted = jax.jit(lambda key, rows: kmeans_plusplus(key, rows, 3))
    _, scanned = jax.lax.scan(lambda _, key: (None, kmeans_plusplus(key, rows, 3)), None, keys)
    assert eager == plain
    assert [jitted(key, rows).tolist() for key in keys] == plain
    assert jax.vmap(lambda key: kmeans_plusplus(key, rows, 3))(keys).tolist() == plain
    assert scanned.tolist() == plain


def test_one_compilation_for_every_mask_and_key(compilations):
    rows = dense_rows(jnp.arange(33, dtype=jnp.float32).reshape(11, 3))
    masks = [jnp.arange(11) != i for i in range(3)]
    keys = [jax.random.key(i) for i in range(3)]
    kmeans_plusplus(keys[0], rows, 4, available=masks[0]).block_until_ready()
    compilations.clear()
    for key, mask in zip(keys, masks, strict=True):
        kmeans_plusplus(key, rows, 4, available=mask).block_until_ready()
    assert compilations == []


def test_wrong_arguments_are_refused():
    key, rows = jax.random.key(0), asymmetric_rows("dense")
    for k in (0, -1, 7):
        with pytest.raises(ValueError, match=rf"k = {k} rows asked of a pool of 6; wanted 1 to 6"):
            kmeans_plusplus(key, rows, k)
    with pytest.raises(ValueError, match="first is 'greedy'; wanted one of uniform, max_norm, norm"):
        kmeans_plusplus(key, rows, 2, first="greedy")
    with pytest.raises(ValueError, match=r"available is bool of shape \(5,\); wanted bool of shape \(6,\)"):
        kmeans_plusplus(key, rows, 2, available=jnp.ones(5, bool))
    with pytest.raises(ValueError, match="available is int32"):
        kmeans_plusplus(key, rows, 2, available=jnp.ones(6, jnp.int32))
