"""The figures of a report. Each is narrow enough to be read on a phone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from badge_jax.analysis._contrasts import Ranking
from badge_jax.analysis.drawing import literal, make_figure, make_plain, title_of
from badge_jax.analysis.intervals import CONFIDENCE, Interval, t_interval
from badge_jax.analysis.statistics import Values
from badge_jax.analysis.styles import Style, in_order
from badge_jax.paper import MIN_SEEDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.3  # inches: letters of 8 points are read at 400 pixels
BAND = f"{CONFIDENCE:.0%} interval".replace("%", " %")
_LONGEST = 24  # letters of a name that is written beside its curve; longer ones go into a legend
_HALO = 0.12


def draw_curves(
    title: str,
    ylabel: str,
    values: Values,
    styles: Mapping[str, Style],
    *,
    scale: float = 1.0,
    first: int | None = None,
    has_band: bool = True,
    is_log: bool = False,
    has_zero: bool = False,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> "Figure":
    """Mean curves over the seeds with 95 % bands, and the single seeds faintly.

    Each curve has its name at its end. Where fewer seeds got so far it is dotted, without markers. Curves that
    run on one another are drawn in turns of dashes. A start far
    below the rest is left out of the axis, and its value is written there.

    Args:
        title: Above the diagram.
        ylabel: What is drawn, with its unit.
        values: Strategy → label count → seed → value.
        styles: Strategy → look.
        scale: Factor of the values.
        first: Draw from this number of labels on.
        has_band: Whether to draw the band.
        is_log: Whether the vertical axis is logarithmic; values of zero are then gaps.
        has_zero: Whether to draw a line at zero.
        bounds: What a value can be, after scaling: bands end there.
    """
    names = [name for name in in_order(values) if values[name]]
    figure = make_figure(WIDTH, max(3.2, 0.9 + 0.15 * len(names)))
    axes = figure.subplots()
    if is_log:
        axes.set_yscale("log")
    curves = {name: _Curve(values[name], scale, first or 0, is_log) for name in names}
    curves = {name: curve for name, curve in curves.items() if len(curve.labels)}
    for curve in curves.values():
        curve.low, curve.high = np.clip(curve.low, *bounds), np.clip(curve.high, *bounds)
    words = _with_seeds(curves)
    low, high, is_cut = _limits(curves.values(), has_band, is_log)
    if np.isfinite([low, high]).all():
        axes.set_ylim(low, high)
    ends = {}
    for place, (name, curve) in enumerate(curves.items()):
        style = styles[name]
        for seed in curve.seeds if curve.runs > 1 else ():
            axes.plot(*seed, color=style.colour, linewidth=0.6, alpha=0.3, zorder=1)
        if has_band and curve.runs > 1:
            axes.fill_between(
                curve.labels,
                curve.low,
                curve.high,
                color=style.colour,
                alpha=_HALO if curve.runs >= MIN_SEEDS else _HALO / 2,
                linewidth=0,
                zorder=2,
            )
        before = [other for other in list(curves.values())[:place] if curve.runs_on(other, high - low)]
        if not curve.is_whole.all():
            axes.plot(curve.labels, curve.rest, color=style.colour, linestyle=":", linewidth=1.2, zorder=2.9)
        axes.plot(
            curve.labels,
            np.where(curve.is_whole, curve.mean, np.nan),
            color=style.colour,
            linestyle=(4 * len(before), (4, 4 * len(before))) if before else style.dashes,
            marker=style.marker,
            markersize=4 if len(curve.labels) <= 15 else 2,
            linewidth=1.6,
            zorder=3 + place / 100,
            label=literal(words[name]),
        )
        known = np.flatnonzero(np.isfinite(curve.mean))
        if len(known):
            ends[name] = (curve.labels[known[-1]], curve.mean[known[-1]])
    if has_zero:
        axes.axhline(0, color="#000000", linewidth=0.8, zorder=2.5)
    axes.set(title=title_of(title), xlabel="labels", ylabel=ylabel)
    axes.title.set_fontsize(10)
    make_plain(axes)
    if is_cut:
        _say_start(axes, curves.values())
    if max((len(words[name]) for name in ends), default=0) <= _LONGEST:
        _name_ends(axes, ends, styles, words)
    else:
        figure.legend(loc="outside lower center", frameon=False, fontsize=8, handlelength=3)
    return figure


class _Curve:
    """What is drawn of one strategy: labels [m], mean [m], low and high [m], whether a mean is of all seeds
    [m], the means that are not, with their neighbours [m], and the curve of each seed."""

    def __init__(self, by_labels: Mapping[int, Mapping[int, float]], scale: float, first: int, is_log: bool):
        def shown(values: Sequence[float]) -> np.ndarray:
            scaled = scale * np.asarray(values, np.float64)
            return np.where(scaled > 0, scaled, np.nan) if is_log else scaled

        by_labels = {count: found for count, found in by_labels.items() if count >= first}
        intervals = [t_interval(scale * np.array(list(found.values()))) for found in by_labels.values()]
        self.labels = np.array(list(by_labels), np.float64)
        self.mean = shown([interval.mean / scale for interval in intervals])
        self.low, self.high = np.array([interval[1:] for interval in intervals]).reshape(-1, 2).T
        seeds = np.array([len(found) for found in by_labels.values()])
        self.runs = int(seeds.max(initial=0))
        self.is_whole = seeds == self.runs
        joined = ~self.is_whole
        joined[1:] |= joined[:-1].copy()  # a step from or to a mean of fewer seeds is no step of the curve
        joined[:-1] |= ~self.is_whole[1:]
        self.rest = np.where(joined, self.mean, np.nan)
        self.seeds = []
        for seed in sorted({seed for found in by_labels.values() for seed in found}):
            counts = [count for count, found in by_labels.items() if seed in found]
            self.seeds.append((counts, shown([by_labels[count][seed] for count in counts])))

    def runs_on(self, other: "_Curve", span: float) -> bool:
        """Whether most of this curve lies on the other one: within a hundredth of the axis."""
        _, ours, theirs = np.intersect1d(self.labels, other.labels, return_indices=True)
        if not len(ours):
            return False
        return bool(np.mean(np.abs(self.mean[ours] - other.mean[theirs]) < 0.01 * span) > 0.5)


def _limits(curves: Iterable[_Curve], has_band: bool, is_log: bool) -> tuple[float, float, bool]:
    """Lower and upper end of the vertical axis, and whether the start is below it.

    The means and the single seeds are in it. Bands of few seeds may be far wider than all that was seen, so
    they widen it by half at most and may go beyond it.
    """
    curves = list(curves)
    start = min((curve.labels[0] for curve in curves), default=0)
    found = [(label, y) for curve in curves for seed in curve.seeds for label, y in zip(*seed, strict=True)]
    found = [(label, y) for label, y in found if np.isfinite(y)]
    if not found:
        return np.nan, np.nan, False
    inner = [y for label, y in found if label > start] or [y for _, y in found]
    low, high = min(inner), max(inner)
    all_low, all_high = min(y for _, y in found), max(y for _, y in found)
    is_cut = all_high <= high and high > low and low - all_low > high - low and not is_log
    if not is_cut:
        low, high = all_low, all_high
    if is_log:
        return low / 1.3, high * 1.3, False
    span = high - low or abs(high) or 1.0
    if has_band:
        kept = [curve.labels > start if is_cut else curve.labels >= start for curve in curves]
        lows = np.concatenate([curve.low[keep] for curve, keep in zip(curves, kept, strict=True)])
        highs = np.concatenate([curve.high[keep] for curve, keep in zip(curves, kept, strict=True)])
        low = max(low - 0.5 * span, min(low, np.nanmin(lows, initial=low)))
        high = min(high + 0.5 * span, max(high, np.nanmax(highs, initial=high)))
    margin = 0.05 * (high - low or span)
    return low - margin, high + margin, is_cut


def _say_start(axes: "Axes", curves: Iterable[_Curve]) -> None:
    """Writes the values of a start that is below the axis."""
    curves = list(curves)
    start = min(curve.labels[0] for curve in curves)
    values = [curve.mean[0] for curve in curves if curve.labels[0] == start]
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    axes.text(
        0.99,
        0.015,
        f"at {start:,.0f} labels: {low}" + ("" if low == high else f" to {high}") + ", below this picture",
        transform=axes.transAxes,
        ha="right",
        fontsize=7,
        color="#444444",
    )


def _with_seeds(curves: Mapping[str, _Curve]) -> dict[str, str]:
    """Name → what is written at its curve: the number of seeds too, where not all have as many."""
    if len({curve.runs for curve in curves.values()}) <= 1:
        return {name: name for name in curves}
    return {
        name: f"{name} ({curve.runs} seed{'s' if curve.runs != 1 else ''})" for name, curve in curves.items()
    }


def _name_ends(
    axes: "Axes",
    ends: Mapping[str, tuple[float, float]],
    styles: Mapping[str, Style],
    words: Mapping[str, str],
) -> None:
    """Writes each name to the right of its curve's end, names apart, with a thin line where it had to move."""
    if not ends:
        return
    height = axes.bbox.height / axes.figure.dpi * 72 * 0.95  # points, about
    apart = 9.5 / height
    to_axes = axes.transAxes.inverted()
    places = {
        name: float(np.clip(to_axes.transform(axes.transData.transform(end))[1], 0, 1))
        for name, end in ends.items()
    }
    order = sorted(places, key=lambda name: places[name])
    ys = _spread(np.array([places[name] for name in order]), apart)
    for name, y in zip(order, ys, strict=True):
        axes.annotate(
            literal(words[name]),
            xy=ends[name],
            xycoords="data",
            xytext=(1.05, y),
            textcoords="axes fraction",
            color=styles[name].colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": styles[name].colour,
                "linewidth": 0.6,
                "shrinkA": 0,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )


def _spread(places: np.ndarray, apart: float) -> np.ndarray:
    """The nearest places in least squares, in the same order, that are at least so far apart."""
    from scipy import optimize

    steps = apart * np.arange(len(places))
    return optimize.isotonic_regression(places - steps).x + steps


def draw_intervals(
    title: str,
    xlabel: str,
    rows: Mapping[str, tuple[np.ndarray, Interval]],
    styles: Mapping[str, Style],
    scale: float = 1.0,
) -> "Figure":
    """A row for each strategy: its mean, the 95 % interval, and the single values faintly.

    Args:
        title: Above the diagram.
        xlabel: What is drawn, with its unit.
        rows: Strategy → values [n] float64, of which NaN are not drawn, and the interval of their mean. In
            order from the top.
        styles: Strategy → look.
        scale: Factor of the values.
    """
    figure = make_figure(WIDTH, 1.1 + 0.26 * len(rows))
    axes = figure.subplots()
    found = np.concatenate(
        [scale * values[np.isfinite(values)] for values, _ in rows.values()] or [np.zeros(1)]
    )
    low, high = min(0.0, found.min(initial=0)), max(0.0, found.max(initial=0))
    span = high - low or 1.0
    limits = low - span, high + span
    for y, (name, (values, interval)) in enumerate(rows.items()):
        colour = styles[name].colour
        axes.plot(scale * values, np.full(len(values), y), "|", color=colour, alpha=0.6, markersize=6)
        if interval.is_known:
            ends = np.array([scale * interval.low, scale * interval.high])
            axes.plot(np.clip(ends, *limits), [y, y], color=colour, linewidth=2)
            if ends[0] < limits[0]:  # it goes on beyond the picture
                axes.plot(limits[0], y, "<", color=colour, markersize=6)
            if ends[1] > limits[1]:
                axes.plot(limits[1], y, ">", color=colour, markersize=6)
        if np.isfinite(interval.mean):
            axes.plot(scale * interval.mean, y, styles[name].marker, color=colour, markersize=6)
        else:
            axes.text(0, y, "  no number", va="center", fontsize=8, color=colour)
    axes.axvline(0, color="#000000", linewidth=0.8, zorder=0)
    known = [scale * end for _, interval in rows.values() for end in interval[1:] if np.isfinite(end)]
    low, high = min([low, *known]), max([high, *known])
    low, high = max(low, limits[0]), min(high, limits[1])
    margin = 0.04 * (high - low or 1.0)
    axes.set_xlim(low - margin, high + margin)
    axes.set_yticks(range(len(rows)), [literal(_short(name)) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}".replace("-", "−"))
    axes.set(title=title_of(title), xlabel=xlabel)
    axes.title.set_fontsize(10)
    make_plain(axes)
    axes.grid(visible=False, axis="y")
    return figure


def draw_pairs(
    title: str, bar: str, names: Sequence[str], cells: np.ndarray, is_clear: np.ndarray, scale: float = 1.0
) -> "Figure":
    """A matrix of differences, by how much the row is better, with one colour scale about zero and its bar.

    Args:
        title: Above the matrix.
        bar: What the colours mean, with the unit.
        names: The s strategies, in the order of rows and columns.
        cells: [s, s] float64; NaN is an empty cell.
        is_clear: [s, s] bool, cells to frame; the others are pale.
        scale: Factor of the cells.
    """
    names = [literal(_short(name)) for name in names]
    cells = scale * cells
    size = 0.46 * len(names) + 1.5
    figure = make_figure(max(3.6, size), max(3.2, size + 0.4))
    axes = figure.subplots()
    reach = float(np.nanmax(np.abs(cells), initial=0)) or 1.0
    axes.set_facecolor("#EEEEEE")
    image = axes.imshow(np.ma.masked_invalid(cells), cmap="PuOr_r", vmin=-reach, vmax=reach, aspect="equal")
    image.set_alpha(np.where(is_clear, 1.0, 0.4))  # what is not clear is pale
    digits = 1 if reach >= 1 else 3
    for (i, j), value in np.ndenumerate(cells):
        if np.isfinite(value):
            shown = f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")  # never −0.0
            axes.text(j, i, shown, ha="center", va="center", fontsize=7,
                      color="white" if is_clear[i, j] and abs(value) > 0.7 * reach else "black",
                      weight="bold" if is_clear[i, j] else "normal")  # fmt: skip
        if is_clear[i, j]:
            axes.add_patch(_frame(i, j))
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_title(title_of(title), fontsize=10)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.8, aspect=30).set_label(bar, fontsize=8)
    return figure


def _frame(i: int, j: int):  # type: ignore[no-untyped-def]  # a patch of matplotlib
    from matplotlib.patches import Rectangle

    return Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, edgecolor="black", linewidth=1.2)


def draw_ranks(found: Ranking) -> "Figure":
    """The critical-difference picture: mean ranks on a line, and bars over strategies that are not told apart.

    Args:
        found: The ranking.

    References:
        Demšar, JMLR 2006, figure 1.
    """
    ranks, limit = found.ranks.mean_ranks, found.ranks.critical_difference
    names = [literal(_short(name)) for name in found.strategies]
    groups = not_told_apart(ranks, limit)
    bars = 0.22 * len(groups)
    half = -(-len(names) // 2)
    figure = make_figure(WIDTH, 1.0 + bars + 0.24 * half)
    axes = figure.subplots()
    s = len(names)
    bottom = -(bars + 0.24 * half + 0.15)
    axes.set(xlim=(1 - 0.02 * s, s + 0.02 * s), ylim=(bottom, 0.55))
    axes.axis("off")
    axes.plot([1, s], [0, 0], color="black", linewidth=1)
    for tick in range(1, s + 1):
        axes.plot([tick, tick], [0, 0.07], color="black", linewidth=1)
        axes.text(tick, 0.1, str(tick), ha="center", va="bottom", fontsize=8)
    shown = min(limit, s - 1)
    axes.plot([1, 1 + shown], [0.4, 0.4], color="black", linewidth=2)
    axes.text(1 + shown + 0.02 * s, 0.4, f"critical difference {limit:.2f}", va="center", fontsize=8)
    for place, (left, right) in enumerate(groups):
        y = -0.12 - 0.22 * place
        axes.plot([ranks[left] - 0.03, ranks[right] + 0.03], [y, y], color="black", linewidth=3.5)
    for place, name in enumerate(names):
        is_left = place < half
        level = place if is_left else s - 1 - place
        y = -(bars + 0.24 * (level + 1))
        end = 1 - 0.02 * s if is_left else s + 0.02 * s
        axes.plot([ranks[place], ranks[place], end], [0, y, y], color="#666666", linewidth=0.8, clip_on=False)
        words = f"{name} {ranks[place]:.2f} " if is_left else f" {ranks[place]:.2f} {name}"
        axes.text(end, y, words, ha="right" if is_left else "left", va="center", fontsize=8)
    return figure


def not_told_apart(mean_ranks: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """The largest runs of strategies whose mean ranks differ by less than the critical difference.

    Args:
        mean_ranks: [s] float64, ascending.
        limit: The critical difference.

    Returns:
        First and last place of each run of two or more, none within another.

    Example:
        >>> not_told_apart(np.array([1.0, 1.5, 2.0, 4.0]), 0.8)
        [(0, 1), (1, 2)]
    """
    lasts = [int(np.flatnonzero(mean_ranks - rank < limit)[-1]) for rank in mean_ranks]
    runs = [(first, last) for first, last in enumerate(lasts) if last > first]
    return [run for i, run in enumerate(runs) if i == 0 or run[1] > runs[i - 1][1]]


def _short(name: str) -> str:
    """A name that leaves room for the diagram; tables have the whole of it."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 9]}…{name[-8:]}"
