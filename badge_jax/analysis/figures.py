"""Figures. The one module that needs matplotlib, which is imported when the first figure is made."""

import io
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from badge_jax.analysis.statistics import (
    Comparison,
    CurvePoint,
    column_means,
    normalized_errors,
    penalty_matrix,
)
from badge_jax.analysis.styles import Style, in_order, styles_of
from badge_jax.errors import missing_extra
from badge_jax.files import write_whole
from badge_jax.paper import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_LETTER = 0.085  # inches, the mean width of a letter at 10 points


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


def plot_learning_curves(
    title: str,
    curves: Mapping[str, Sequence[CurvePoint]],
    stem: Path,
    zoom: tuple[int, int] | None = None,
    strategies: Iterable[str] = (),
) -> tuple[Path, Path]:
    """Plots mean test accuracy against labels and, next to it, an enlarged part.

    Args:
        title: Above the diagram.
        curves: Strategy → points, accuracies from 0 to 1.
        stem: Path to write to, without ``.png`` and ``.pdf``.
        zoom: First and last number of labels of the enlarged part; None enlarges nothing.
        strategies: All strategies of the report, see `styles_of`; by default those of the curves.

    Returns:
        The PNG file and the PDF file.

    Raises:
        EnvironmentFailure: Without matplotlib.

    Example:
        >>> import tempfile
        >>> badge = [CurvePoint(100, 5, 0.5, 0.01), CurvePoint(200, 5, 0.6, 0.01)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = plot_learning_curves("letter, mlp", {"badge": badge}, Path(folder, "curves"))
        >>> [path.name for path in paths]
        ['curves.png', 'curves.pdf']
    """
    panels = [Panel(title, "test accuracy (%)", curves, scale=100)]
    if zoom is not None:
        panels.append(Panel("enlarged: where they differ", "test accuracy (%)", curves, scale=100, labels=zoom))
    return plot_panels(panels, stem, strategies)


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
    figure = _make_figure(width, 4.4 * rows)
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
    return _save(figure, stem)


def plot_penalties(
    matrices: Mapping[str, np.ndarray], strategies: Sequence[str], stem: Path
) -> tuple[Path, Path]:
    """Plots penalty matrices side by side, each with its column means in a last row.

    Args:
        matrices: Title → [s, s] float64, how often the row beats the column.
        strategies: The s strategies, in the order of rows and columns.
        stem: Path to write to, without ``.png`` and ``.pdf``.

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
    # room for the names: that of 13 letters, and more for longer ones
    size = 0.62 * len(strategies) + 1.6 + _LETTER * (max(13, *map(len, strategies)) - 13)
    names = [_literal(name) for name in strategies]
    figure = _make_figure(size * len(matrices), size + 0.6)
    all_axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (title, matrix) in zip(all_axes, matrices.items(), strict=True):
        cells = np.vstack([matrix, column_means(matrix)])
        highest = max(float(np.nanmax(cells, initial=0)), 1e-9)
        axes.imshow(cells, cmap="Blues", vmin=0, vmax=1.3 * highest, aspect="equal")
        axes.axhline(len(names) - 0.5, color="white", linewidth=4)
        for (i, j), value in np.ndenumerate(cells):
            if np.isnan(value):  # never compared
                continue
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8,
                      color="white" if value > 0.8 * highest else "black")  # fmt: skip
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(names) + 1), [*names, "mean"])
        axes.set_title(_title(title), fontsize=10)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return _save(figure, stem)


def plot_cdfs(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    stem: Path,
    strategies: Iterable[str] = (),
) -> tuple[Path, Path]:
    """Plots distribution functions of normalized errors side by side.

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
    styles = styles_of([*strategies, *(name for errors in panels.values() for name in errors)])
    width = 6.4 if len(panels) == 1 else 5.2 * len(panels)
    figure = _make_figure(width, 4.4)
    lines: dict[str, Line2D] = {}
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, errors) in zip(all_axes, panels.items(), strict=True):
        for name in in_order(errors):
            ratios, weights = errors[name]
            colour, dashes, _ = styles[name]
            x, y = np.concatenate([[0], ratios, [1e9]]), np.concatenate([[0], np.cumsum(weights)])
            lines[name] = axes.step(x, [*y, y[-1]], where="post", color=colour, linestyle=dashes)[0]
        finite = [ratio for ratios, _ in errors.values() for ratio in ratios[np.isfinite(ratios)]]
        margin = 0.05 * (max(finite, default=1) - min(finite, default=0)) + 0.01
        axes.set_xlim(min(finite, default=0) - margin, max(finite, default=1) + margin)
        axes.set(title=_title(title), ylim=(0, 1.02))
        axes.set(xlabel=f"error relative to {BASELINE}", ylabel="share of comparisons")
        _make_plain(axes)
    _add_legend(figure, {name: lines[name] for name in in_order(lines)})
    return _save(figure, stem)


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
    matrices = {f"{title} ({len(some)})": penalty_matrix(some, strategies) for title, some in groups.items()}
    errors = {
        title: {name: normalized_errors(some, name) for name in strategies} for title, some in groups.items()
    }
    penalties, _ = plot_penalties(matrices, strategies, penalty_stem)
    cdfs, _ = plot_cdfs(errors, cdf_stem, strategies)
    return penalties, cdfs


def require_matplotlib() -> None:
    """Raises EnvironmentFailure if matplotlib cannot be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise missing_extra(f"pictures need matplotlib ({error})", "plots") from None


def _make_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", stem: Path) -> tuple[Path, Path]:
    paths = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    for path in paths:
        picture = io.BytesIO()
        figure.savefig(picture, dpi=200, format=path.suffix[1:], bbox_inches="tight", pad_inches=0.08)
        write_whole(path, picture.getvalue())
    return paths


def _literal(text: str) -> str:
    """The text as it is. Without the backslashes, matplotlib reads what is between two ``$`` as mathematics;
    and it cannot draw a lone surrogate, which stands for a byte of a file's name that is no text."""
    return text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def _title(text: str) -> str:
    """The text in lines as long as a diagram is wide."""
    return _literal("\n".join(textwrap.wrap(text, 50)))


def _make_plain(axes: "Axes") -> None:
    """A light grid, and no frame above and to the right."""
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _add_legend(figure: "Figure", lines: Mapping[str, "Line2D"], title: str | None = None) -> None:
    """A legend of label → line below the diagrams, in rows as long as the figure is wide."""
    entry = max(2.6, 0.6 + _LETTER * max(map(len, lines), default=0))
    columns = max(1, min(len(lines), int(figure.get_figwidth() // entry)))
    figure.legend(
        list(lines.values()),
        [_literal(label) for label in lines],
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
    axes.set(title=_title(panel.title), xlabel="labels", ylabel=panel.ylabel)
    if panel.is_log:
        axes.set_yscale("log")
    _make_plain(axes)
    return lines
