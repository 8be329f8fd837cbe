"""Choose k of n rows. A sampler knows nothing of labels or networks."""

from badge_jax.samplers._gumbel_top_k import gumbel_top_k
from badge_jax.samplers._kmeans import Clusters, kmeans
from badge_jax.samplers._kmeans_plusplus import kmeans_plusplus
from badge_jax.samplers._lazy_kmeans_plusplus import lazy_kmeans_plusplus
from badge_jax.samplers._nearest_members import nearest_members
from badge_jax.samplers.base import KCenterGreedy, KMeansPlusPlus, Sampler
from badge_jax.samplers.coverage import coverage_greedy
from badge_jax.samplers.k_center import k_center_greedy
from badge_jax.samplers.k_dpp import k_dpp_swap

__all__ = [
    "Clusters",
    "KCenterGreedy",
    "KMeansPlusPlus",
    "Sampler",
    "coverage_greedy",
    "gumbel_top_k",
    "k_center_greedy",
    "k_dpp_swap",
    "kmeans",
    "kmeans_plusplus",
    "lazy_kmeans_plusplus",
    "nearest_members",
]
