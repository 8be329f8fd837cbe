"""The figures of a report, read back."""

import numpy as np

from badge_jax.analysis import styles_of
from badge_jax.analysis._contrasts import Ranking
from badge_jax.analysis.intervals import Interval, rank, t_interval
from badge_jax.analysis.report_figures import (
    draw_curves,
    draw_intervals,
    draw_pairs,
    draw_ranks,
    not_told_apart,
)
from badge_jax.runs.setting import Setting


def values(**curves):
    """Strategy → label count → seed → value, of curves [seeds, m]."""
    return {
        name: {100 * (i + 1): dict(enumerate(column)) for i, column in enumerate(np.transpose(rows))}
        for name, rows in curves.items()
    }


def line_of(axes, name):
    return next(line for line in axes.lines if line.get_label() == name)


def test_bands_are_t_intervals_and_seeds_are_drawn():
    found = values(badge=[[0.1, 0.4, 0.5], [0.2, 0.5, 0.7], [0.1, 0.6, 0.6]])
    figure = draw_curves("letter", "accuracy (%)", found, styles_of(["badge"]), scale=100)
    (axes,) = figure.axes
    np.testing.assert_allclose(line_of(axes, "badge").get_ydata(), [40 / 3, 50, 60])
    assert len(axes.lines) == 4, "three seeds and their mean"
    (band,) = axes.collections
    interval = t_interval(np.array([50.0, 70.0, 60.0]))
    at_last = [y for x, y in band.get_paths()[0].vertices if x == 300]
    np.testing.assert_allclose([min(at_last), max(at_last)], interval[1:])


def test_one_run_has_no_band():
    figure = draw_curves("t", "y", values(badge=[[0.1, 0.4, 0.5]]), styles_of(["badge"]))
    assert not figure.axes[0].collections
    assert len(figure.axes[0].lines) == 1


def test_the_start_does_not_eat_the_axis_and_is_written_there():
    found = values(a=[[0.1, 0.80, 0.9]], b=[[0.1, 0.82, 0.88]])
    axes = draw_curves("t", "y", found, styles_of(found), scale=100).axes[0]
    low, high = axes.get_ylim()
    assert 70 < low < 80
    assert 90 < high < 95
    assert "at 100 labels: 10, below this picture" in [text.get_text() for text in axes.texts]
    even = draw_curves("t", "y", values(a=[[0.1, 0.2, 0.35]]), styles_of("a"), scale=100).axes[0]
    assert even.get_ylim()[0] < 10


def test_curves_that_coincide_are_told_apart():
    same = [[0.1, 0.4, 0.5]]
    found = values(badge=same, margin=same, coreset=same, entropy=[[0.1, 0.2, 0.3]])
    axes = draw_curves("t", "y", found, styles_of(found)).axes[0]
    looks = {name: line_of(axes, name).get_linestyle() for name in found}
    assert looks["badge"] == "-"
    assert looks["margin"] == looks["coreset"] == "--"
    patterns = {line_of(axes, name)._unscaled_dash_pattern for name in ("margin", "coreset")}
    assert len({(offset, tuple(dashes)) for offset, dashes in patterns}) == 2
    heights = sorted(text.xyann[1] for text in axes.texts)
    assert min(np.diff(heights)) > 0.03, "names at the ends do not overlap"
    assert {text.get_text() for text in axes.texts} == {*found}


def test_numbers_of_seeds_are_said_where_they_differ():
    found = values(badge=[[0.1, 0.4], [0.2, 0.5]], margin=[[0.1, 0.3]])
    axes = draw_curves("t", "y", found, styles_of(found)).axes[0]
    assert {text.get_text() for text in axes.texts} == {"badge (2 seeds)", "margin (1 seed)"}


def test_long_names_go_into_a_legend():
    name = "my_package.my_strategies:make(alpha=0.3)"
    figure = draw_curves("t", "y", values(**{name: [[0.1, 0.2]]}), styles_of([name]))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [name]
    assert not figure.axes[0].texts


def test_zeros_are_gaps_on_a_logarithmic_axis():
    found = values(a=[[0.0, 0.1, 0.2], [0.0, 0.3, 0.4]])
    axes = draw_curves("t", "y", found, styles_of("a"), is_log=True, has_band=False).axes[0]
    np.testing.assert_allclose(line_of(axes, "a").get_ydata(), [np.nan, 0.2, 0.3])


def test_intervals_that_go_on_beyond_the_picture_have_an_arrow():
    rows = {
        "badge": (np.array([1.0, 2.0]), t_interval(np.array([1.0, 2.0]))),
        "margin": (np.array([1.0]), t_interval(np.array([1.0]))),
        "random": (np.array([np.nan]), Interval(np.nan, np.nan, np.nan)),
    }
    axes = draw_intervals("t", "x", rows, styles_of(rows)).axes[0]
    arrows = [(line.get_marker(), line.get_ydata()[0]) for line in axes.lines if line.get_marker() in "<>"]
    assert [arrow for arrow in arrows if arrow[0] in ("<", ">")] == [("<", 0), (">", 0)]
    assert [text.get_text() for text in axes.texts] == ["  no number"]


def test_pairs_have_one_scale_about_zero_and_empty_cells():
    cells = np.array([[np.nan, 0.02, np.nan], [-0.02, np.nan, 0.1], [np.nan, -0.1, np.nan]])
    figure = draw_pairs("t", "better by", ["a", "b", "c"], cells, np.abs(cells) > 0.05, 100)
    axes, bar = figure.axes
    assert [text.get_text() for text in axes.texts] == ["+2.0", "−2.0", "+10.0", "−10.0"]
    assert axes.images[0].get_clim() == (-10, 10)
    assert len(axes.patches) == 2, "those that are clear"
    assert bar.get_xlabel() == "better by"


def test_bars_join_ranks_within_the_critical_difference():
    assert not_told_apart(np.array([1.0, 2.0, 2.5, 3.9]), 1.0) == [(1, 2)]
    assert not_told_apart(np.array([1.0, 2.0, 2.5, 3.9]), 1.6) == [(0, 2), (2, 3)]
    assert not_told_apart(np.array([1.0, 3.0]), 1.0) == []
    scores = np.arange(4) + np.zeros((6, 1))
    ranking = Ranking(list("dcba"), rank(scores[:, ::-1]), [Setting("d", "m", i) for i in range(6)])
    figure = draw_ranks(ranking)
    words = [text.get_text().strip() for text in figure.axes[0].texts]
    assert {"d 1.00", "c 2.00", "3.00 b", "4.00 a"} <= {*words}
    assert f"critical difference {ranking.ranks.critical_difference:.2f}" in words


def test_a_band_ends_where_values_do():
    found = values(badge=[[0.90, 0.99], [0.80, 1.00], [0.99, 0.94]])
    for bounds, top in (((0.0, 100.0), 100.0), ((-np.inf, np.inf), t_interval(np.array([99, 100, 94])).high)):
        figure = draw_curves("t", "y", found, styles_of(["badge"]), scale=100, bounds=bounds)
        (band,) = figure.axes[0].collections
        assert max(y for x, y in band.get_paths()[0].vertices if x == 200) == np.float64(top)
    assert top > 100


def test_means_of_fewer_seeds_are_dotted():
    """Two seeds have three label counts, one goes on to a fourth: the last step is of another mean."""
    found = values(badge=[[0.1, 0.4, 0.5], [0.2, 0.5, 0.7]])
    found["badge"][400] = {0: 0.2}
    axes = draw_curves("t", "y", found, styles_of(["badge"])).axes[0]
    np.testing.assert_allclose(line_of(axes, "badge").get_ydata(), [0.15, 0.45, 0.6, np.nan])
    (dotted,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(dotted.get_ydata(), [np.nan, np.nan, 0.6, 0.2])
