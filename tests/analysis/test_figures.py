"""What is drawn, read back from the figure."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from badge_jax.analysis import CurvePoint, Panel, plot_cdfs, plot_panels, plot_penalties, styles_of

CURVE = [CurvePoint(n, 2, 0.1 * n, 0.01) for n in (1, 2, 3)]


@pytest.fixture
def drawn(monkeypatch):
    """The figures, in the order in which they are saved."""
    figures = []
    save = Figure.savefig

    def keep(self, *args, **options):
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def shown(text):
    """The characters that matplotlib draws."""
    content, is_math = text._preprocess_math(text.get_text())
    assert not is_math, content
    return content


def test_legend_entries_and_titles_are_the_names_as_they_are(tmp_path, drawn):
    names = ["badge(first=norm)", "$x$", r"a\$b$", "_own:make"]
    plot_panels([Panel("of $a$ and $b$", "y", dict.fromkeys(names, CURVE))], tmp_path / "panels")
    (legend,) = drawn[0].legends
    assert [shown(text) for text in legend.get_texts()] == [f"{name} (2 runs)" for name in sorted(names)]
    assert shown(drawn[0].axes[0].title) == "of $a$ and $b$"

    errors = dict.fromkeys(names, (np.array([0.5]), np.array([1.0])))
    plot_cdfs({"$a$ $b$": errors}, tmp_path / "cdf")
    assert [shown(text) for text in drawn[2].legends[0].get_texts()] == sorted(names)


def test_long_names_leave_room_for_the_diagram(tmp_path, drawn):
    names = [f"my_package.my_strategies:make(alpha={i}, beta='{'x' * 60}')" for i in range(3)]
    plot_panels([Panel("t", "y", dict.fromkeys(names, CURVE))] * 2, tmp_path / "panels")
    plot_penalties({"a": np.eye(3), "b": np.eye(3)}, names, tmp_path / "matrix")
    for figure in drawn:
        bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
        assert all(
            min(axes.get_position().size * figure.get_size_inches()) > 1
            for axes in figure.axes
            if axes not in bars
        )


def test_a_strategy_looks_the_same_in_all_figures_of_a_report(tmp_path, drawn):
    own = ["c:make", "a:make", "b:make"]
    plot_panels([Panel("", "y", {"b:make": CURVE})], tmp_path / "one", own)
    plot_panels([Panel("", "y", dict.fromkeys(own, CURVE))], tmp_path / "all")
    (line,) = drawn[0].axes[0].lines
    looks = {(other.get_color(), other.get_marker()) for other in drawn[2].axes[0].lines}
    assert (line.get_color(), line.get_marker()) == styles_of(own)["b:make"][::2]
    assert (line.get_color(), line.get_marker()) in looks
    assert len(looks) == 3


def test_penalty_matrices_name_rows_and_columns(tmp_path, drawn):
    png, pdf = plot_penalties({"$1$ setting": np.eye(2)}, ["badge", "$a$"], tmp_path / "matrix")
    assert (png.name, pdf.name) == ("matrix.png", "matrix.pdf")
    axes, bar = drawn[0].axes
    assert [shown(text) for text in axes.get_xticklabels()] == ["badge", "$a$"]
    assert [shown(text) for text in axes.get_yticklabels()] == ["badge", "$a$", "mean"]
    assert shown(axes.title) == "$1$ setting"
    assert bar.get_xlabel() == "share of the settings"


def test_matrices_share_one_scale_and_empty_is_not_zero(tmp_path, drawn):
    matrices = {"a": np.array([[0.0, np.nan], [np.nan, 0.0]]), "b": np.array([[0.0, 4.0], [1.0, 0.0]])}
    compared = {"a": np.eye(2, dtype=int), "b": np.full((2, 2), 4)}
    plot_penalties(matrices, ["badge", "random"], tmp_path / "matrix", compared)
    first, second, _ = drawn[0].axes
    assert [text.get_text() for text in first.texts] == ["0.00", "0.00"]
    assert [text.get_text() for text in second.texts] == ["0.00", "4.00", "1.00", "0.00", "0.50", "2.00"]
    (one,), (other,) = first.images, second.images
    assert one.get_clim() == other.get_clim() == (0, 1)
    assert other.get_array()[0, 1] == 1, "four of four settings"
