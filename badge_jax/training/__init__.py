"""Training a network on the labeled rows, and computing its outputs on all rows."""

from badge_jax.training.fit import (
    Fit,
    FitOptions,
    StepMetrics,
    make_fit,
    make_optimizer,
    make_train_step,
)
from badge_jax.training.predict import Outputs, make_num_correct, make_predict

__all__ = [
    "Fit",
    "FitOptions",
    "Outputs",
    "StepMetrics",
    "make_fit",
    "make_num_correct",
    "make_optimizer",
    "make_predict",
    "make_train_step",
]
