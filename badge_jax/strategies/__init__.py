"""What to label next. A strategy sees arrays, never a network."""

from collections.abc import Callable

from badge_jax.strategies._albl import albl
from badge_jax.strategies.base import Pool, Strategy
from badge_jax.strategies.diverse import badge, badge_kcenter, badge_kdpp, coreset
from badge_jax.strategies.pointwise import confidence, entropy, margin, random

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
}
"""Name → maker: ``STRATEGIES[name](**options) -> Strategy``."""

__all__ = ["STRATEGIES", "Pool", "Strategy"]
