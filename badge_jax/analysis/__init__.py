"""From finished runs to statistics, tables, figures and a page."""

from badge_jax.analysis._report import (
    csv_text,
    draw_groups,
    read_runs,
    report,
    setting_name,
    setting_title,
)

__all__ = ["csv_text", "draw_groups", "read_runs", "report", "setting_name", "setting_title"]
