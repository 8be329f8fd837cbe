"""The active learner: fit, ask, tell."""

from badge_jax.learner.active import ActiveLearner, LearnerState, make_active_learner

__all__ = ["ActiveLearner", "LearnerState", "make_active_learner"]
