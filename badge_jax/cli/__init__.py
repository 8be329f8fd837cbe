"""The command line. `execute`, `run_interruptibly` and `sweep_with_bar` also serve scripts."""

from typing import Any

from badge_jax.cli._main import entry, execute, main, run_interruptibly

__all__ = ["entry", "execute", "main", "run_interruptibly", "sweep_with_bar"]


def __getattr__(name: str) -> Any:
    """`sweep_with_bar` trains networks, and Flax and Optax take a while to load."""
    if name != "sweep_with_bar":
        raise AttributeError(f"module 'badge_jax.cli' has no attribute {name!r}")
    from badge_jax.cli.sweep import sweep_with_bar

    return sweep_with_bar
