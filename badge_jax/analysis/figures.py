"""The figures of the paper. matplotlib is imported when the first one is made."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from badge_jax.analysis.drawing import LETTER, literal, make_figure, make_plain, save, title_of
from badge_jax.analysis.statistics import (
    Comparison,
    CurvePoint,
    column_means,
    normalized_errors,
    num_compared,
    penalty_matrix,
)
from badge_jax.analysis.styles import Style, in_order, styles_of
from badge_jax.paper import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


class Panel(NamedTuple):
    """One diagram: curves against the number of labels.

    Attributes:
        title: Above the diagram; a ``$`` is a dollar sign, not mathematics.
        ylabel: What is drawn, with its unit.
        curves: Strategy → points; a NaN is a gap.
        scale: Factor of the values drawn.
        is_log: Whether the vertical axis is logarithmic.
        labels: First and last number of labels to draw; None draws all.
        notes: Strategy → a remark for its legend entry.
    """

    title: str
    ylabel: str
    curves: Mapping[str, Sequence[CurvePoint]]
    scale: float = 1.0
    is_log: bool = False
    labels: tuple[int, int] | None = None
    notes: Mapping[str, str] = {}


def plot_panels(panels: Sequence[Panel], stem: Path, strategies: Iterable[str] = ()) -> tuple[Path, Path]:
    """Plots diagrams in rows of three: a line for each strategy, with a band of one standard error.

    Args:
        panels: The diagrams.
        stem: Path to write to, without ``.png`` and ``.pdf``.
        strategies: All strategies of the report, see `styles_of`; by default those of the panels.

    Returns:
        The PNG file and the PDF file.

    Raises:
        EnvironmentFailure: Without matplotlib.

    Example:
        >>> import tempfile
        >>> seconds = [CurvePoint(100, 5, 0.02, 0.001), CurvePoint(200, 5, 0.03, 0.001)]
        >>> panel = Panel("letter, mlp", "seconds a query", {"badge": seconds}, is_log=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = plot_panels([panel], Path(folder, "seconds"))
        >>> [path.name for path in paths]
        ['seconds.png', 'seconds.pdf']
    """
    styles = styles_of([*strategies, *(name for panel in panels for name in panel.curves)])
    columns, rows = min(3, len(panels)), -(-len(panels) // 3)
    width = 6.4 if columns == 1 else 5.2 * columns
    figure = make_figure(width, 4.4 * rows)
    lines: dict[str, Line2D] = {}
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if place < len(panels):
            lines |= _draw_panel(axes, panels[place], styles)
        else:
            axes.set_axis_off()
    legend = {f"{name} ({_remarks(name, panels)})": lines[name] for name in in_order(lines)}
    points = (point for panel in panels for curve in panel.curves.values() for point in curve)
    title = "mean ± 1 standard error" if any(point.runs > 1 for point in points) else None
    _add_legend(figure, legend, title)
    return save(figure, stem)


def plot_penalties(
    matrices: Mapping[str, np.ndarray],
    strategies: Sequence[str],
    stem: Path,
    compared: Mapping[str, np.ndarray] | None = None,
) -> tuple[Path, Path]:
    """Plots penalty matrices below one another, each with its column means in a last row, in one colour scale.

    Args:
        matrices: Title → [s, s] float64, how often the row beats the column. A pair that was never compared is
            NaN, and its cell is empty.
        strategies: The s strategies, in the order of rows and columns.
        stem: Path to write to, without ``.png`` and ``.pdf``.
        compared: Title → [s, s] int64, in how many settings each pair was compared; by default each in one.

    Returns:
        The PNG file and the PDF file.

    Raises:
        EnvironmentFailure: Without matplotlib.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = plot_penalties({"all": np.eye(2)}, ["badge", "random"], Path(folder, "matrix"))
        >>> [path.name for path in paths]
        ['matrix.png', 'matrix.pdf']
    """
    return save(draw_penalties(matrices, strategies, compared), stem)


def draw_penalties(
    matrices: Mapping[str, np.ndarray],
    strategies: Sequence[str],
    compared: Mapping[str, np.ndarray] | None = None,
) -> "Figure":
    """The figure of `plot_penalties`."""
    # room for the names: that of 13 letters, and more for longer ones
    size = 0.5 * len(strategies) + 1.6 + LETTER * (max(13, *map(len, strategies)) - 13)
    names = [literal(name) for name in strategies]
    figure = make_figure(size, (size + 0.6) * len(matrices) + 0.5)
    all_axes = figure.subplots(len(matrices), 1, squeeze=False)[:, 0]
    for axes, (title, matrix) in zip(all_axes, matrices.items(), strict=True):
        numbers = np.where(np.isnan(matrix), 0, 1) if compared is None else compared[title]
        most = max(1, numbers.max(initial=0))
        cells = np.vstack([matrix, column_means(matrix, None if compared is None else numbers)])
        shares = cells / np.vstack([np.maximum(numbers, 1), np.full(len(names), most)])
        axes.set_facecolor("#EEEEEE")
        image = axes.imshow(np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=1, aspect="equal")
        axes.axhline(len(names) - 0.5, color="white", linewidth=4)
        for (i, j), value in np.ndenumerate(cells):
            if np.isnan(value):
                continue
            few = i < len(names) and numbers[i, j] < most
            axes.text(j, i, f"{value:.2f}" + (f"\nof {numbers[i, j]}" if few else ""), ha="center", va="center",
                      fontsize=8, color="white" if shares[i, j] > 0.6 else "black")  # fmt: skip
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(names) + 1), [*names, "mean"])
        axes.set_title(title_of(title), fontsize=10)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=list(all_axes), orientation="horizontal", shrink=0.7, aspect=30)
    bar.set_label("share of the settings", fontsize=8)
    return figure


def plot_cdfs(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    stem: Path,
    strategies: Iterable[str] = (),
) -> tuple[Path, Path]:
    """Plots distribution functions of normalized errors below one another.

    Args:
        panels: Title → strategy → ratios [m] float64, ascending, and weights [m] float64 of sum 1.
        stem: Path to write to, without ``.png`` and ``.pdf``.
        strategies: All strategies of the report, see `styles_of`; by default those of the panels.

    Returns:
        The PNG file and the PDF file.

    Raises:
        EnvironmentFailure: Without matplotlib.

    Example:
        >>> import tempfile
        >>> errors = {"badge": (np.array([0.5, 0.9]), np.array([0.5, 0.5]))}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = plot_cdfs({"all": errors}, Path(folder, "cdf"))
        >>> [path.name for path in paths]
        ['cdf.png', 'cdf.pdf']
    """
    return save(draw_cdfs(panels, strategies), stem)


def draw_cdfs(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], strategies: Iterable[str] = ()
) -> "Figure":
    """The figure of `plot_cdfs`."""
    styles = styles_of([*strategies, *(name for errors in panels.values() for name in errors)])
    figure = make_figure(5.2, 3.4 * len(panels) + 0.8)
    lines: dict[str, Line2D] = {}
    all_axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, (title, errors) in zip(all_axes, panels.items(), strict=True):
        for name in in_order(errors):
            ratios, weights = errors[name]
            if not len(ratios):
                continue
            colour, dashes, _ = styles[name]
            x, y = np.concatenate([[0], ratios, [1e9]]), np.concatenate([[0], np.cumsum(weights)])
            lines[name] = axes.step(x, [*y, y[-1]], where="post", color=colour, linestyle=dashes)[0]
        finite = [ratio for ratios, _ in errors.values() for ratio in ratios[np.isfinite(ratios)]]
        margin = 0.05 * (max(finite, default=1) - min(finite, default=0)) + 0.01
        axes.set_xlim(min(finite, default=0) - margin, max(finite, default=1) + margin)
        axes.set(title=title_of(title), ylim=(0, 1.02))
        axes.set(xlabel=f"error relative to {BASELINE}", ylabel="share of comparisons")
        make_plain(axes)
    _add_legend(figure, {name: lines[name] for name in in_order(lines)})
    return figure


def plot_groups(
    groups: Mapping[str, Sequence[Comparison]], strategies: Sequence[str], penalty_stem: Path, cdf_stem: Path
) -> tuple[Path, Path]:
    """Plots the penalty matrix and the normalized errors of each group of settings.

    Args:
        groups: Title → comparisons.
        strategies: All strategies of the report, in the order of rows and columns.
        penalty_stem: Path of the penalty matrices, without ``.png`` and ``.pdf``.
        cdf_stem: Path of the normalized errors, likewise.

    Returns:
        The two PNG files.

    Raises:
        EnvironmentFailure: Without matplotlib.

    Example:
        >>> import tempfile
        >>> from badge_jax.runs.setting import Setting
        >>> accuracies = {n: {20: dict.fromkeys(range(5), a)} for n, a in (("badge", 0.8), ("random", 0.7))}
        >>> groups = {"all settings": [Comparison(Setting("letter", "mlp", 10), accuracies, 40, 40, (20,))]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     stems = Path(folder, "matrix"), Path(folder, "cdf")
        ...     paths = plot_groups(groups, ["badge", "random"], *stems)
        >>> [path.name for path in paths]
        ['matrix.png', 'cdf.png']
    """
    penalties, cdfs = draw_groups(groups, strategies)
    return save(penalties, penalty_stem)[0], save(cdfs, cdf_stem)[0]


def draw_groups(
    groups: Mapping[str, Sequence[Comparison]], strategies: Sequence[str]
) -> tuple["Figure", "Figure"]:
    """The two figures of `plot_groups`."""
    compared = {title: num_compared(some, strategies) for title, some in groups.items()}
    titles = {title: f"{title} ({numbers.max(initial=0)})" for title, numbers in compared.items()}
    matrices = {titles[title]: penalty_matrix(some, strategies) for title, some in groups.items()}
    errors = {
        title: {name: normalized_errors(some, name) for name in strategies} for title, some in groups.items()
    }
    penalties = draw_penalties(
        matrices, strategies, {titles[title]: numbers for title, numbers in compared.items()}
    )
    return penalties, draw_cdfs(errors, strategies)


def _add_legend(figure: "Figure", lines: Mapping[str, "Line2D"], title: str | None = None) -> None:
    """A legend of label → line below the diagrams, in rows as long as the figure is wide."""
    entry = max(2.6, 0.6 + LETTER * max(map(len, lines), default=0))
    columns = max(1, min(len(lines), int(figure.get_figwidth() // entry)))
    figure.legend(
        list(lines.values()),
        [literal(label) for label in lines],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        title=title,
        handlelength=2.6,
    )


def _remarks(strategy: str, panels: Sequence[Panel]) -> str:
    """What the legend adds to a strategy's name: its number of runs, and notes."""
    runs = {max(p.runs for p in panel.curves[strategy]) for panel in panels if panel.curves.get(strategy)}
    numbers = f"{min(runs)}–{max(runs)}" if len(runs) > 1 else f"{max(runs)}"
    notes = [panel.notes[strategy] for panel in panels if strategy in panel.notes]
    return "; ".join([f"{numbers} run{'' if max(runs) == 1 else 's'}", *notes])


def _draw_panel(axes: "Axes", panel: Panel, styles: Mapping[str, Style]) -> dict[str, "Line2D"]:
    """Draws the panel and returns its lines by strategy."""
    low_label, high_label = panel.labels or (0, sys.maxsize)
    curves = {
        name: [point for point in points if low_label <= point.num_labeled <= high_label]
        for name, points in panel.curves.items()
    }
    curves = {name: points for name, points in curves.items() if points}
    lines = {}
    for strategy in in_order(curves):
        colour, dashes, marker = styles[strategy]
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
    axes.set(title=title_of(panel.title), xlabel="labels", ylabel=panel.ylabel)
    if panel.is_log:
        axes.set_yscale("log")
    make_plain(axes)
    return lines
