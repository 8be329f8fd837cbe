"""Compiling as users do, where `make test` compiles more cheaply."""

import os

import jax


def as_users_do(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compiles with XLA's defaults whatever the environment's flags: what a program holds depends on them."""
    options = {"xla_cpu_use_fusion_emitters": True, "xla_backend_optimization_level": 3}
    flags = os.environ.get("XLA_FLAGS", "")
    return lowered.compile({name: value for name, value in options.items() if name in flags})
