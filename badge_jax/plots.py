"""Figures. The one module that needs matplotlib."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

from badge_jax.evaluation import CurvePoint
from badge_jax.files import write_whole

matplotlib.use("Agg")
from matplotlib.axes import Axes
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


class Panel(NamedTuple):
    """One diagram: curves over the number of labels.

    title:  above it
    ylabel: what is drawn, with its unit
    curves: strategy → points; a NaN is a gap
    scale:  factor of the values drawn
    is_log: whether the vertical axis is logarithmic
    """

    title: str
    ylabel: str
    curves: Mapping[str, Sequence[CurvePoint]]
    scale: float = 1.0
    is_log: bool = False


def plot_learning_curves(
    title: str, curves: Mapping[str, Sequence[CurvePoint]], stem: Path
) -> tuple[Path, Path]:
    """Mean test accuracy against labels; as `plot_panels`."""
    return plot_panels([Panel(title, "test accuracy (%)", curves, scale=100)], stem)


def plot_panels(panels: Sequence[Panel], stem: Path) -> tuple[Path, Path]:
    """Diagrams side by side, in each a line a strategy with a band of one standard error.

    stem: where to write; ``.png`` and ``.pdf`` are added
    Returns the two paths.
    """
    figure = Figure(figsize=(6.4 if len(panels) == 1 else 5.2 * len(panels), 4.4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw(axes, panel)
    paths = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    for path in paths:
        picture = io.BytesIO()
        figure.savefig(picture, dpi=200, format=path.suffix[1:])
        write_whole(path, picture.getvalue())
    return paths


def _draw(axes: Axes, panel: Panel) -> None:
    curves = panel.curves
    order = [name for name in STYLES if name in curves]
    for strategy in [*order, *sorted(set(curves) - set(order))]:
        colour, dashes, marker = STYLES.get(strategy, _OTHER)
        labels = [point.num_labeled for point in curves[strategy]]
        means = [panel.scale * point.mean for point in curves[strategy]]
        errors = [panel.scale * point.standard_error for point in curves[strategy]]
        runs = max(point.runs for point in curves[strategy])
        label = f"{strategy} ({runs} run{'s' if runs > 1 else ''})"
        size = 5 if len(labels) <= 15 else 2.5
        axes.plot(labels, means, color=colour, linestyle=dashes, marker=marker, markersize=size, label=label)
        low = [mean - error for mean, error in zip(means, errors, strict=True)]
        high = [mean + error for mean, error in zip(means, errors, strict=True)]
        axes.fill_between(labels, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(title=panel.title, xlabel="labels", ylabel=panel.ylabel)
    if panel.is_log:
        axes.set_yscale("log")
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    repeated = any(point.runs > 1 for points in curves.values() for point in points)
    axes.legend(frameon=False, title="mean ± 1 standard error" if repeated else None)
