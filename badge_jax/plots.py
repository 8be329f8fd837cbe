"""Figures. The one module that needs matplotlib."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

from badge_jax.evaluation import CurvePoint
from badge_jax.files import write_whole

matplotlib.use("Agg")
from matplotlib.figure import Figure

# Okabe and Ito's palette, which the colour-blind can tell apart; dashes and markers serve grey print.
STYLES = {
    "badge": ("#0072B2", "-", "o"),
    "random": ("#000000", "--", "s"),
    "margin": ("#D55E00", "-", "^"),
    "confidence": ("#E69F00", "-.", "v"),
    "entropy": ("#CC79A7", ":", "D"),
    "coreset": ("#009E73", "-", "P"),
    "badge_kcenter": ("#56B4E9", "--", "X"),
    "albl": ("#7F7F7F", "-.", "<"),
    "badge_kdpp": ("#8B6508", ":", ">"),
}
_OTHER = ("#7F7F7F", ":", ".")


def plot_learning_curves(
    title: str, curves: Mapping[str, Sequence[CurvePoint]], stem: Path
) -> tuple[Path, Path]:
    """Mean test accuracy against labels, a line a strategy with a band of one standard error.

    curves: strategy → points
    stem:   where to write; ``.png`` and ``.pdf`` are added
    Returns the two paths.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    order = [name for name in STYLES if name in curves]
    for strategy in [*order, *sorted(set(curves) - set(order))]:
        colour, dashes, marker = STYLES.get(strategy, _OTHER)
        labels = [point.num_labeled for point in curves[strategy]]
        means = [100 * point.mean_accuracy for point in curves[strategy]]
        errors = [100 * point.standard_error for point in curves[strategy]]
        runs = max(point.runs for point in curves[strategy])
        label = f"{strategy} ({runs} run{'s' if runs > 1 else ''})"
        axes.plot(labels, means, color=colour, linestyle=dashes, marker=marker, markersize=5, label=label)
        low = [mean - error for mean, error in zip(means, errors, strict=True)]
        high = [mean + error for mean, error in zip(means, errors, strict=True)]
        axes.fill_between(labels, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(title=title, xlabel="labels", ylabel="test accuracy (%)")
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    repeated = any(point.runs > 1 for points in curves.values() for point in points)
    axes.legend(frameon=False, title="mean ± 1 standard error" if repeated else None)
    paths = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    for path in paths:
        picture = io.BytesIO()
        figure.savefig(picture, dpi=200, format=path.suffix[1:])
        write_whole(path, picture.getvalue())
    return paths
