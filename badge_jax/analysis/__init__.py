"""From finished runs to statistics, tables, figures and a page."""

from badge_jax.analysis._report import read_runs, report

__all__ = ["read_runs", "report"]
