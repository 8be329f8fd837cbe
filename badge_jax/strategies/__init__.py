"""What to label next. A strategy sees arrays, never a network."""

from collections.abc import Callable

from badge_jax.pool import Head, Pool
from badge_jax.strategies._albl import albl
from badge_jax.strategies._badge import badge
from badge_jax.strategies._badge_kcenter import badge_kcenter
from badge_jax.strategies._badge_kdpp import badge_kdpp
from badge_jax.strategies._bait import bait
from badge_jax.strategies._cluster_margin import cluster_margin
from badge_jax.strategies._confidence import confidence
from badge_jax.strategies._coreset import coreset
from badge_jax.strategies._entropy import entropy
from badge_jax.strategies._falcun import falcun
from badge_jax.strategies._gradnorm import gradnorm
from badge_jax.strategies._kmeans import kmeans
from badge_jax.strategies._margin import margin
from badge_jax.strategies._maxherding import maxherding
from badge_jax.strategies._probcover import probcover
from badge_jax.strategies._random import random
from badge_jax.strategies._stochastic import stochastic
from badge_jax.strategies._typiclust import typiclust
from badge_jax.strategies._uherding import uherding
from badge_jax.strategies.base import (
    Init,
    Query,
    Ranked,
    Spread,
    Strategy,
    check_needs,
    on_devices,
    planned,
    stateless,
)

STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "badge": badge,
    "random": random,
    "confidence": confidence,
    "margin": margin,
    "entropy": entropy,
    "coreset": coreset,
    "albl": albl,
    "badge_kdpp": badge_kdpp,
    "badge_kcenter": badge_kcenter,
    "maxherding": maxherding,
    "uherding": uherding,
    "probcover": probcover,
    "gradnorm": gradnorm,
    "stochastic": stochastic,
    "falcun": falcun,
    "kmeans": kmeans,
    "typiclust": typiclust,
    "cluster_margin": cluster_margin,
    "bait": bait,
}
"""Name → maker: ``STRATEGIES[name](**options) -> Strategy``. Append new ones: colours in figures follow this
order."""

__all__ = [
    "STRATEGIES",
    "Head",
    "Init",
    "Pool",
    "Query",
    "Ranked",
    "Spread",
    "Strategy",
    "albl",
    "badge",
    "badge_kcenter",
    "badge_kdpp",
    "bait",
    "check_needs",
    "cluster_margin",
    "confidence",
    "coreset",
    "entropy",
    "falcun",
    "gradnorm",
    "kmeans",
    "margin",
    "maxherding",
    "on_devices",
    "planned",
    "probcover",
    "random",
    "stateless",
    "stochastic",
    "typiclust",
    "uherding",
]
