"""Experiments, each in a directory of its own, one or many."""

import importlib
from typing import TYPE_CHECKING, Any

from badge_jax.runs.directory import read_config, read_per_class, read_rounds
from badge_jax.runs.setting import Setting, setting_of

if TYPE_CHECKING:
    from badge_jax.runs._run import run
    from badge_jax.runs._status import RunStatus, status, status_lines
    from badge_jax.runs._sweep import sweep
    from badge_jax.runs.grid import folder_of, make_runs, parse_seeds, read_grids
    from badge_jax.runs.options import RunOptions, from_config

__all__ = [
    "RunOptions",
    "RunStatus",
    "Setting",
    "folder_of",
    "from_config",
    "make_runs",
    "parse_seeds",
    "read_config",
    "read_grids",
    "read_per_class",
    "read_rounds",
    "run",
    "setting_of",
    "status",
    "status_lines",
    "sweep",
]

_LAZY = {
    "_run": ("run",),
    "_status": ("RunStatus", "status", "status_lines"),
    "_sweep": ("sweep",),
    "grid": ("folder_of", "make_runs", "parse_seeds", "read_grids"),
    "options": ("RunOptions", "from_config"),
}


def __getattr__(name: str) -> Any:
    """What trains networks is imported when first asked for: who only reads finished runs needs no Flax."""
    for module, names in _LAZY.items():
        if name in names:
            value = getattr(importlib.import_module(f"badge_jax.runs.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'badge_jax.runs' has no attribute {name!r}")
