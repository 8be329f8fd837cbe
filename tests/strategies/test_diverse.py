import jax
import numpy as np
import pools
import pytest
from oracles import badge_embedding, chi_square_p, k_center, kmeans_plusplus_law

from badge_jax import STRATEGIES


def make_pool(n=6, num_labeled=1):
    return pools.make_pool("signed", n=n, c=3, d=4, num_labeled=num_labeled)


@pytest.mark.parametrize("first", ["uniform", "max_norm", "norm"])
def test_badge_draws_by_kmeans_plusplus_over_gradients(first):
    pool, strategy = make_pool(), STRATEGIES["badge"](first=first)

    @jax.jit
    def draw_all(keys, pool):
        return jax.vmap(lambda key: strategy.query(key, (), pool, 2)[0])(keys)

    law = kmeans_plusplus_law(
        badge_embedding(pool.logits, pool.features), 2, available=pool.available, first=first
    )
    assert chi_square_p(np.asarray(draw_all(jax.random.split(jax.random.key(1), 50_000), pool)), law) > 1e-4


def test_badge_kcenter_is_furthest_first_in_gradient_space():
    pool = make_pool(50, num_labeled=9)
    picks = STRATEGIES["badge_kcenter"]().query(jax.random.key(0), (), pool, 12)[0].tolist()
    points = badge_embedding(pool.logits, pool.features)
    assert picks == k_center(points, 12, available=np.asarray(pool.available))


def test_coreset_starts_from_all_labeled_rows_in_feature_space():
    pool = make_pool(50, num_labeled=9)
    picks = STRATEGIES["coreset"]().query(jax.random.key(0), (), pool, 12)[0].tolist()
    expected = k_center(
        pool.features, 12, available=np.asarray(pool.available), centers=np.asarray(pool.labeled)
    )
    assert picks == expected


def test_wrong_option_is_refused_at_once():
    with pytest.raises(ValueError, match="first is 'longest'"):
        STRATEGIES["badge"](first="longest")
