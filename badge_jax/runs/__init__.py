"""Experiments, each in a folder of its own."""

from badge_jax.runs._run import RunOptions, run

__all__ = ["RunOptions", "run"]
