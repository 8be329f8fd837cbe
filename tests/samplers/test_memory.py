"""What a sampler holds beside the pool at ImageNet's size, as its compiled program says: nothing is run."""

import jax
import jax.numpy as jnp
import pytest
from compiling import as_users_do

from badge_jax import Rows, k_center_greedy, k_dpp_swap, kmeans, kmeans_plusplus, lazy_kmeans_plusplus

N, C, D, K = 1_281_167, 1000, 2048, 10_000
SAMPLERS = {
    "kmeans_plusplus": lambda key, rows, mask: kmeans_plusplus(key, rows, K, available=mask),
    "lazy_kmeans_plusplus": lambda key, rows, mask: lazy_kmeans_plusplus(key, rows, K, available=mask),
    "k_center_greedy": lambda key, rows, mask: k_center_greedy(rows, K, centers=mask),
    # its k × k matrices are what it holds; more than this is too slow to be wanted
    "k_dpp_swap": lambda key, rows, mask: k_dpp_swap(key, rows, 1000, available=mask),
    "kmeans": lambda key, rows, mask: kmeans(key, rows.right, 1000, weights=mask.astype(jnp.float32)),
    "kmeans in batches": lambda key, rows, mask: kmeans(key, rows.right, K),
}


def memory_of(sampler):
    rows = Rows(*(jax.ShapeDtypeStruct((N, width), jnp.float32) for width in (C, D)))
    key, mask = jax.eval_shape(lambda: jax.random.key(0)), jax.ShapeDtypeStruct((N,), jnp.bool_)
    memory = as_users_do(jax.jit(sampler).lower(key, rows, mask)).memory_analysis()
    return memory.temp_size_in_bytes / memory.argument_size_in_bytes


@pytest.mark.parametrize("name", SAMPLERS)
def test_little_is_held_beside_the_pool(name):
    assert memory_of(SAMPLERS[name]) < 0.05


def test_a_scaled_copy_would_be_seen():
    assert memory_of(lambda key, rows, mask: jnp.max(jnp.sort(2 * rows.left, axis=1))) > 0.05
