"""From finished runs to statistics, tables, figures and a page. matplotlib is imported only to draw."""

from badge_jax.analysis._report import Report, report
from badge_jax.analysis.figures import (
    Panel,
    plot_cdfs,
    plot_groups,
    plot_panels,
    plot_penalties,
)
from badge_jax.analysis.load import Run, load_rounds, read_runs
from badge_jax.analysis.statistics import (
    Comparison,
    CurvePoint,
    Curves,
    MissingRun,
    beats,
    column_means,
    compare,
    gains_over_baseline,
    mean_curves,
    missing_runs,
    normalized_errors,
    num_compared,
    penalty_matrix,
    zoom_range,
)
from badge_jax.analysis.styles import Style, in_order, styles_of
from badge_jax.analysis.tables import accuracy_table, cdf_csv, csv_text, penalty_csv, rounds_csv, summary_csv

__all__ = [
    "Comparison",
    "CurvePoint",
    "Curves",
    "MissingRun",
    "Panel",
    "Report",
    "Run",
    "Style",
    "accuracy_table",
    "beats",
    "cdf_csv",
    "column_means",
    "compare",
    "csv_text",
    "gains_over_baseline",
    "in_order",
    "load_rounds",
    "mean_curves",
    "missing_runs",
    "normalized_errors",
    "num_compared",
    "penalty_csv",
    "penalty_matrix",
    "plot_cdfs",
    "plot_groups",
    "plot_panels",
    "plot_penalties",
    "read_runs",
    "report",
    "rounds_csv",
    "styles_of",
    "summary_csv",
    "zoom_range",
]
