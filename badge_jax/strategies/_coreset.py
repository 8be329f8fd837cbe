"""CORESET: furthest-first traversal over features."""

import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.rows import Rows, dense_rows
from badge_jax.samplers import KCenterGreedy
from badge_jax.strategies.base import Spread, Strategy, planned


def coreset() -> Strategy:
    """CORESET: furthest-first traversal over the penultimate features, from all labeled rows. Diverse batches
    that ask nothing of the model's uncertainty.

    References:
        Sener and Savarese, ICLR 2018; Ash et al., ICLR 2020, section 4.

    Example:
        >>> from badge_jax.strategies import coreset
        >>> coreset().plan.centers
        'labeled'
    """
    return planned("coreset", Spread(_features, KCenterGreedy(), "labeled"), needs=("features",))


def _features(pool: Pool) -> Rows:
    return dense_rows(pool.features.astype(jnp.float32))
