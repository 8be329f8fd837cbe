"""Training a network on the labeled rows, and computing its outputs on all rows."""

from badge_jax.training.fit import (
    Fit,
    FitOptions,
    StepMetrics,
    make_fit,
    make_optimizer,
    make_train_step,
)
from badge_jax.training.predict import Evaluation, Outputs, make_evaluate, make_predict

__all__ = [
    "Evaluation",
    "Fit",
    "FitOptions",
    "Outputs",
    "StepMetrics",
    "make_evaluate",
    "make_fit",
    "make_optimizer",
    "make_predict",
    "make_train_step",
]
