import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import k_center

from badge_jax import Rows, dense_rows, k_center_greedy


def random_rows(n=60, seed=0):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(n, 3)), rng.normal(size=(n, 4))
    return Rows(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_centers", [None, 0, 1, 17])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_float64_greedy(seed, num_centers, masked):
    rows, rng = random_rows(seed=seed), np.random.default_rng(seed)
    available = rng.random(60) < 0.7 if masked else None
    centers = (
        None if num_centers is None else np.isin(np.arange(60), rng.choice(60, num_centers, replace=False))
    )
    picks = k_center_greedy(
        rows,
        12,
        available=None if available is None else jnp.asarray(available),
        centers=None if centers is None else jnp.asarray(centers),
    )
    assert picks.tolist() == k_center(rows.to_dense(), 12, available=available, centers=centers)


def test_many_blocks_of_centers():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1500, 5)).astype(np.float32)
    centers = rng.random(1500) < 0.5
    picks = k_center_greedy(dense_rows(jnp.asarray(points)), 10, centers=jnp.asarray(centers))
    assert picks.tolist() == k_center(points, 10, centers=centers)


def test_ties_go_to_the_lower_index_and_never_repeat():
    copies = dense_rows(jnp.ones((6, 2)))
    assert k_center_greedy(copies, 6).tolist() == [0, 1, 2, 3, 4, 5]
    zeros = dense_rows(jnp.zeros((4, 2)))
    assert k_center_greedy(zeros, 4, available=jnp.array([False, True, True, True])).tolist() == [1, 2, 3, -1]


def test_centers_are_never_chosen():
    centers = jnp.array([True, False, True, False])
    picks = k_center_greedy(dense_rows(jnp.eye(4)), 4, centers=centers)
    assert picks.tolist() == [1, 3, -1, -1]


def test_prefix_jit_and_vmap():
    rows = random_rows()
    picks = k_center_greedy(rows, 20).tolist()
    assert k_center_greedy(rows, 7).tolist() == picks[:7]
    with jax.disable_jit():
        assert k_center_greedy(rows, 7).tolist() == picks[:7]
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), rows)
    both = jax.vmap(lambda rows: k_center_greedy(rows, 7))(stacked)
    assert both.tolist() == [picks[:7]] * 2


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="k = 61 rows asked of a pool of 60"):
        k_center_greedy(random_rows(), 61)
    with pytest.raises(ValueError, match=r"available is bool of shape \(3,\)"):
        k_center_greedy(random_rows(), 2, centers=jnp.ones(3, bool))
