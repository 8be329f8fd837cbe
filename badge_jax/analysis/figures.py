"""Figures. The one module that needs matplotlib."""

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

from badge_jax.analysis.statistics import CurvePoint, column_means
from badge_jax.files import write_whole

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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
    labels: first and last number of labels to draw; None for all
    notes:  strategy → what the legend says of it
    """

    title: str
    ylabel: str
    curves: Mapping[str, Sequence[CurvePoint]]
    scale: float = 1.0
    is_log: bool = False
    labels: tuple[int, int] | None = None
    notes: Mapping[str, str] = {}


def plot_learning_curves(
    title: str,
    curves: Mapping[str, Sequence[CurvePoint]],
    stem: Path,
    zoom: tuple[int, int] | None = None,
) -> tuple[Path, Path]:
    """Mean test accuracy against labels, and beside it enlarged between the label counts of ``zoom``."""
    panels = [Panel(title, "test accuracy (%)", curves, scale=100)]
    if zoom is not None:
        panels.append(Panel("enlarged: where they differ", "test accuracy (%)", curves, scale=100, labels=zoom))
    return plot_panels(panels, stem)


def plot_panels(panels: Sequence[Panel], stem: Path) -> tuple[Path, Path]:
    """Diagrams in rows of three, in each a line a strategy with a band of one standard error.

    stem: where to write; ``.png`` and ``.pdf`` are added
    Returns the two paths.
    """
    columns, rows = min(3, len(panels)), -(-len(panels) // 3)
    width = 6.4 if columns == 1 else 5.2 * columns
    figure = Figure(figsize=(width, 4.4 * rows), layout="constrained")
    lines: dict[str, Line2D] = {}
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if place < len(panels):
            lines |= _draw(axes, panels[place])
        else:
            axes.set_axis_off()
    for name, line in lines.items():
        line.set_label(f"{name} ({_told_of(name, panels)})")
    _legend(figure, [lines[name] for name in in_order(lines)], _legend_title(panels))
    return _save(figure, stem)


def plot_penalties(
    matrices: Mapping[str, np.ndarray], strategies: Sequence[str], stem: Path
) -> tuple[Path, Path]:
    """Penalty matrices side by side, each with its title, the column means in a last row; as `plot_panels`."""
    size = 0.62 * len(strategies) + 1.6
    figure = Figure(figsize=(size * len(matrices), size + 0.6), layout="constrained")
    for axes, (title, matrix) in zip(
        figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True
    ):
        cells = np.vstack([matrix, column_means(matrix)])
        highest = max(float(cells.max()), 1e-9)
        axes.imshow(cells, cmap="Blues", vmin=0, vmax=1.3 * highest, aspect="equal")
        axes.axhline(len(strategies) - 0.5, color="white", linewidth=4)
        for (i, j), value in np.ndenumerate(cells):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8,
                      color="white" if value > 0.8 * highest else "black")  # fmt: skip
        axes.set_xticks(range(len(strategies)), strategies, rotation=40, ha="right")
        axes.set_yticks(range(len(strategies) + 1), [*strategies, "mean"])
        axes.set_title(title, fontsize=10)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return _save(figure, stem)


def plot_cdfs(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], stem: Path
) -> tuple[Path, Path]:
    """Distribution functions of normalized errors, title → strategy → (ratios, weights); as `plot_panels`."""
    width = 6.4 if len(panels) == 1 else 5.2 * len(panels)
    figure = Figure(figsize=(width, 4.4), layout="constrained")
    axes_of, lines = figure.subplots(1, len(panels), squeeze=False)[0], {}
    for axes, (title, strategies) in zip(axes_of, panels.items(), strict=True):
        for name in in_order(strategies):
            ratios, weights = strategies[name]
            colour, dashes, _ = STYLES.get(name, _OTHER)
            x, y = np.concatenate([[0], ratios, [1e9]]), np.concatenate([[0], np.cumsum(weights)])
            lines[name] = axes.step(x, [*y, y[-1]], where="post", color=colour, linestyle=dashes, label=name)[0]
        finite = [r for ratios, _ in strategies.values() for r in ratios[np.isfinite(ratios)]]
        margin = 0.05 * (max(finite, default=1) - min(finite, default=0)) + 0.01
        axes.set_xlim(min(finite, default=0) - margin, max(finite, default=1) + margin)
        axes.set(title=title, xlabel="error over that of random", ylabel="share of comparisons", ylim=(0, 1.02))
        _clear(axes)
    _legend(figure, [lines[name] for name in in_order(lines)])
    return _save(figure, stem)


def in_order(strategies: Iterable[str]) -> list[str]:
    """The strategies in the order of all figures and tables."""
    strategies = set(strategies)
    known = [name for name in STYLES if name in strategies]
    return [*known, *sorted(strategies - set(known))]


def _save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    paths = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    for path in paths:
        picture = io.BytesIO()
        figure.savefig(picture, dpi=200, format=path.suffix[1:], bbox_inches="tight", pad_inches=0.08)
        write_whole(path, picture.getvalue())
    return paths


def _clear(axes: Axes) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, lines: Sequence[Line2D], title: str | None = None) -> None:
    """Below the diagrams, in rows as long as the figure is wide."""
    columns = min(len(lines), max(2, int(figure.get_figwidth() // 2.6)))
    figure.legend(handles=lines, loc="outside lower center", ncols=columns, frameon=False, title=title)


def _told_of(strategy: str, panels: Sequence[Panel]) -> str:
    """Number of runs and notes."""
    runs = {max(p.runs for p in panel.curves[strategy]) for panel in panels if panel.curves.get(strategy)}
    numbers = f"{min(runs)}–{max(runs)}" if len(runs) > 1 else f"{max(runs)}"
    notes = [panel.notes[strategy] for panel in panels if strategy in panel.notes]
    return "; ".join([f"{numbers} run{'' if max(runs) == 1 else 's'}", *notes])


def _legend_title(panels: Sequence[Panel]) -> str | None:
    points = (point for panel in panels for points in panel.curves.values() for point in points)
    return "mean ± 1 standard error" if any(point.runs > 1 for point in points) else None


def _draw(axes: Axes, panel: Panel) -> dict[str, Line2D]:
    """Draws the panel and returns its lines by strategy."""
    low_label, high_label = panel.labels or (0, sys.maxsize)
    curves = {
        name: [point for point in points if low_label <= point.num_labeled <= high_label]
        for name, points in panel.curves.items()
    }
    curves = {name: points for name, points in curves.items() if points}
    lines = {}
    for strategy in in_order(curves):
        colour, dashes, marker = STYLES.get(strategy, _OTHER)
        labels = [point.num_labeled for point in curves[strategy]]
        means = [panel.scale * point.mean for point in curves[strategy]]
        errors = [panel.scale * point.standard_error for point in curves[strategy]]
        size = 5 if len(labels) <= 15 else 2.5
        lines[strategy] = axes.plot(
            labels, means, color=colour, linestyle=dashes, marker=marker, markersize=size
        )[0]
        low = [mean - error for mean, error in zip(means, errors, strict=True)]
        high = [mean + error for mean, error in zip(means, errors, strict=True)]
        axes.fill_between(labels, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(title=panel.title, xlabel="labels", ylabel=panel.ylabel)
    if panel.is_log:
        axes.set_yscale("log")
    _clear(axes)
    return lines
