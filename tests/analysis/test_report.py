"""The folder that `report` writes."""

import base64
import csv
import errno
import json
import os
import shutil
import sys

import matplotlib.image
import pytest
from pages import Reader

from badge_jax.analysis import report
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.runs.directory import write_config, write_rounds


def write_run(directory, strategy, seed, accuracies, batch_size=10, **options):
    directory.mkdir(parents=True)
    config = {"dataset": "d", "model": "m", "batch_size": batch_size, "strategy": strategy, "seed": seed}
    config |= options
    lines = [
        {"round": i, "num_labeled": 5 + batch_size * i, "test_accuracy": accuracy, "indices": []}
        for i, accuracy in enumerate(accuracies)
    ]
    if "format" in options:
        write_config(directory, config)
        write_rounds(directory, lines)
        return
    (directory / "config.json").write_text(json.dumps(config))
    if lines:  # a run that has only started has no such file
        (directory / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def runs(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs" / f"badge{seed}", "badge", seed, [0.2, 0.5 + seed / 10])
        write_run(tmp_path / "runs" / "deep" / f"random{seed}", "random", seed, [0.2, 0.25])
    write_run(tmp_path / "runs" / "other", "badge", 0, [0.4], batch_size=99)
    write_run(tmp_path / "runs" / "started", "margin", 0, [])
    return tmp_path / "runs"


def test_summary_pictures_and_table(runs, tmp_path):
    result = report([runs], tmp_path / "a" / "report")
    assert result.num_runs == 5
    with result.summary.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "dataset", "model", "batch_size", "strategy", "num_labeled", "runs", "mean_accuracy", "std_accuracy",
    ]  # fmt: skip
    assert len(rows) == 5
    badge = next(row for row in rows if row["strategy"] == "badge" and row["num_labeled"] == "15")
    assert badge["runs"] == "2"
    assert float(badge["mean_accuracy"]) == pytest.approx(0.55)
    assert float(badge["std_accuracy"]) == pytest.approx(0.05)
    names = sorted(path.name for path in (tmp_path / "a" / "report").iterdir())
    assert names == [
        "cdf.csv", "learning_curves_d_m_10.pdf", "learning_curves_d_m_10.png", "learning_curves_d_m_99.pdf",
        "learning_curves_d_m_99.png", "penalty_matrix.csv", "report.html", "rounds.csv", "summary.csv",
    ]  # fmt: skip
    with (tmp_path / "a" / "report" / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert list(rows[0])[:8] == [
        "dataset", "model", "batch_size", "strategy", "seed", "round", "num_labeled", "test_accuracy",
    ]  # fmt: skip
    assert [path.suffix for path in result.pictures] == [".png", ".png"]
    for path in result.pictures:
        pixels = matplotlib.image.imread(path)
        assert pixels.shape[1] >= 1000
        assert len(set(map(tuple, pixels[::7, ::7, :3].reshape(-1, 3)))) > 3
    assert "labels   badge  random" in result.table
    assert "      15    55.0    25.0" in result.table


def test_a_failed_write_keeps_the_old_report(runs, tmp_path, monkeypatch):
    report([runs], tmp_path / "report")
    before = {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()}

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        report([runs], tmp_path / "report")
    assert str(caught.value.filename).endswith("learning_curves_d_m_10.png")
    assert {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()} == before


def test_nothing_to_read(tmp_path, runs):
    with pytest.raises(InputError, match="no run with a finished round"):
        report([runs / "started"], tmp_path / "report")
    with pytest.raises(InputError, match="missing is not a folder"):
        report([tmp_path / "missing"], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def five_repeats(folder, batch_size=10, **curves):
    for strategy, curve in curves.items():
        for seed, noise in enumerate((0, 0.01, -0.01, 0.02, -0.02)):
            name = f"{strategy}-{batch_size}-{seed}"
            write_run(folder / name, strategy, seed, [a + noise for a in curve], batch_size)
    return folder


def test_penalties_and_normalized_errors(tmp_path):
    """n_0 is 85 labels: compared at 15, 25 and 45, where badge is better, better and equal."""
    random = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9]
    five_repeats(tmp_path / "runs", random=random, badge=[0.1, 0.6, 0.65, *random[3:]])
    result = report([tmp_path / "runs"], tmp_path / "out")
    assert (tmp_path / "out" / "penalty_matrix.csv").read_text().splitlines() == [
        "strategy,badge,random", f"badge,0.0,{2 / 3}", "random,0.0,0.0", f"mean,0.0,{1 / 3}",
    ]  # fmt: skip
    with (tmp_path / "out" / "cdf.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["strategy"] for row in rows] == ["badge"] * 3 + ["random"] * 3
    assert [float(row["normalized_error"]) for row in rows[:3]] == pytest.approx([0.5, 0.5, 1.0])
    assert [float(row["cumulative_weight"]) for row in rows[:3]] == pytest.approx([1 / 3, 2 / 3, 1])
    names = [path.name for path in result.pictures]
    assert names == ["penalty_matrix.png", "cdf.png", "learning_curves_d_m_10.png"]
    assert matplotlib.image.imread(result.pictures[2]).shape[1] > 1500, "the part where they differ is enlarged"


def test_groups_are_drawn_where_there_are_several(tmp_path):
    curve = [0.1, 0.2, 0.3, 0.4, 0.5]
    five_repeats(tmp_path / "runs", random=curve, badge=curve)
    five_repeats(tmp_path / "runs", batch_size=20, random=curve, badge=curve)
    names = [path.name for path in report([tmp_path / "runs"], tmp_path / "out").pictures]
    assert names[:4] == [
        "penalty_matrix.png", "cdf.png", "penalty_matrix_by_batch_size.png", "cdf_by_batch_size.png",
    ]  # fmt: skip


def test_without_random_the_comparisons_are_empty_and_the_page_says_why(tmp_path):
    five_repeats(tmp_path / "runs", badge=[0.1, 0.2])
    page = report([tmp_path / "runs"], tmp_path / "out").page.read_text("utf-8")
    assert (tmp_path / "out" / "penalty_matrix.csv").read_text() == "strategy,badge\nbadge,\nmean,\n"
    assert (tmp_path / "out" / "cdf.csv").read_text() == "strategy,normalized_error,cumulative_weight\n"
    assert "there is no run of random" in page


def test_the_page_needs_nothing_else_and_names_what_is_missing(tmp_path):
    runs = five_repeats(tmp_path / "runs", random=[0.1, 0.2, 0.3, 0.4], badge=[0.1, 0.3, 0.4, 0.5])
    shutil.rmtree(runs / "badge-10-2")
    write_run(runs / "odd", "<b>&amp;", 0, [0.5])
    page = Reader(report([runs], tmp_path / "out").page.read_text("utf-8"))
    assert len(page.fetched) == 3
    for source in page.fetched:
        kind, _, data = source.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "<b>&amp;" in page.shown, "names are shown, not obeyed"
    assert "d/m/10/badge, seed 2: no run" in page.shown
    assert "d/m/10/<b>&amp;, seed 0: ends at 5 labels, others at 35" in page.shown
    assert "Incomplete: 5 runs are missing and 1 end early" in page.shown


def test_settings_with_one_slug_keep_their_pictures_apart(tmp_path):
    write_run(tmp_path / "runs" / "0", "badge", 0, [0.1, 0.9], dataset="a/b.npz")
    write_run(tmp_path / "runs" / "1", "badge", 0, [0.4, 0.5], dataset="a_b.npz")
    write_run(tmp_path / "runs" / "2", "badge", 0, [0.4, 0.5], dataset="A_b.npz")
    write_run(tmp_path / "runs" / "3", "badge", 0, [0.4, 0.5], dataset="c.npz")
    result = report(tmp_path / "runs", tmp_path / "out")
    names = [path.name for path in result.pictures]
    assert len({name.casefold() for name in names}) == 4
    assert "learning_curves_c.npz_m_10.png" in names
    assert len({path.read_bytes() for path in result.pictures}) == 4
    assert len(list((tmp_path / "out").glob("learning_curves_*.pdf"))) == 4


def test_names_are_text_and_not_mathematics_or_markup(tmp_path):
    names = [r"mine:$\frac$", "$", r"\$x_1$ y$", "_own(a='<i>')", "&lt;", "badge(first=norm)"]
    for strategy, gain in zip(["random", *names], range(7), strict=True):
        for seed in range(2):
            write_run(
                tmp_path / "runs" / f"{gain}-{seed}",
                strategy,
                seed,
                [0.1 * i + gain / 50 for i in range(5)],
                dataset=r"$\frac$/a.npz",
                model="m$<b>$",
            )
    result = report(str(tmp_path / "runs"), str(tmp_path / "out"))
    page = Reader(result.page.read_text("utf-8"))
    for name in names:
        assert name in page.shown
        assert name in result.table
    assert r"$\frac$/a.npz, m$<b>$, batches of 10" in page.shown


def test_a_name_that_no_encoding_has_is_shown_as_an_escape(tmp_path):
    """As of a data set in a file whose name is no text."""
    for strategy in ("random", "mine:\udcff"):
        for seed in range(2):
            name, accuracies = f"{strategy[0]}-{seed}", [0.1, 0.3, 0.5, 0.7]
            write_run(
                tmp_path / "runs" / name, strategy, seed, accuracies, dataset="\udcfe.npz", model="\ud800"
            )
    result = report(tmp_path / "runs", tmp_path / "out")
    assert r"mine:\udcff" in Reader(result.page.read_text("utf-8")).shown
    assert r"\udcfe.npz,\ud800,10,mine:\udcff,5" in result.summary.read_text("utf-8")
    assert len(result.pictures) == 3


def test_a_damaged_run_is_left_out(runs, tmp_path):
    (runs / "badge0" / "rounds.jsonl").write_text("{")
    with pytest.warns(UserWarning, match=r"left out: .*badge0/rounds\.jsonl is damaged"):
        assert report(runs, tmp_path / "out").num_runs == 4


def test_nested_options_do_not_disturb_the_page(tmp_path):
    nested = {
        "format": 2,
        "strategy_options": {"alpha": 0.3},
        "model_options": {"hidden": [64, 64]},
        "code": {"mine.py": "0badcafe"},
        "missing_classes": [3],
        "environment": {"jax": "0.10"},
    }
    write_run(tmp_path / "runs" / "new", "mine:make(alpha=0.3)", 0, [0.1, 0.2], **nested)
    write_run(tmp_path / "runs" / "old", "badge", 0, [0.1, 0.2])
    page = Reader(report([tmp_path / "runs"], tmp_path / "out").page.read_text("utf-8"))
    assert "0badcafe" in page.shown
    assert "1 runs: jax 0.10" in page.shown
    assert "1 runs: not recorded" in page.shown


def test_without_matplotlib_nothing_is_written(runs, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentFailure, match=r"pictures need matplotlib .*pip install .*plots"):
        report(runs, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_file_is_no_folder_for_a_report(runs, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken is a file; give a folder"):
        report(runs, tmp_path / "taken")


def test_pictures_of_an_earlier_report_are_removed(tmp_path):
    """Beside new tables they would look like the new result; files of the user's stay."""
    _write_one_run(tmp_path / "runs" / "one")
    out = tmp_path / "report"
    report(tmp_path / "runs", out)
    for name in ("penalty_matrix.png", "cdf_by_network.pdf", "learning_curves_old_mlp_9.png", "notes.png"):
        (out / name).write_bytes(b"")
    report(tmp_path / "runs", out)
    assert sorted(path.name for path in out.glob("*.p*")) == [
        "learning_curves_letter_mlp_100.pdf",
        "learning_curves_letter_mlp_100.png",
        "notes.png",
    ]


def test_a_folder_without_an_earlier_report_keeps_its_pictures(tmp_path):
    _write_one_run(tmp_path / "runs" / "one")
    out = tmp_path / "figures"
    out.mkdir()
    (out / "cdf_mine.png").write_bytes(b"mine")
    report(tmp_path / "runs", out)
    assert (out / "cdf_mine.png").read_bytes() == b"mine"


def _write_one_run(run_at):
    """Writes a run of badge on letter with one round."""
    run_at.mkdir(parents=True)
    config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge", "seed": 0}
    (run_at / "config.json").write_text(json.dumps(config))
    (run_at / "rounds.jsonl").write_text(json.dumps({"round": 0, "num_labeled": 100, "test_accuracy": 0.5}))
