"""The folder that `report` writes."""

import base64
import csv
import errno
import json
import os
import shutil
import sys

import matplotlib.image
import numpy as np
import pytest
from pages import Reader

from badge_jax.analysis import pictures, report
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


@pytest.fixture(autouse=True)
def quick_pictures(request, monkeypatch):
    """Figures are made, but only the tests marked with ``real_pictures`` draw them."""
    if "real_pictures" not in request.fixturenames:
        made = iter(range(10_000))
        monkeypatch.setattr(pictures, "render", lambda figure, suffix: b"\x89PNG %d" % next(made))


@pytest.fixture
def real_pictures():
    """Asked for by a test that looks at pictures."""


@pytest.fixture
def runs(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs" / f"badge{seed}", "badge", seed, [0.2, 0.5 + seed / 10])
        write_run(tmp_path / "runs" / "deep" / f"random{seed}", "random", seed, [0.2, 0.25])
    write_run(tmp_path / "runs" / "other", "badge", 0, [0.4], batch_size=99)
    write_run(tmp_path / "runs" / "started", "margin", 0, [])
    return tmp_path / "runs"


def test_summary_pictures_and_table(runs, tmp_path, real_pictures):
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
    assert float(badge["std_accuracy"]) == pytest.approx(0.05 * 2**0.5)
    names = sorted(path.name for path in (tmp_path / "a" / "report").iterdir())
    assert names == [
        "areas_d_m_10.pdf", "areas_d_m_10.png", "cdf.csv", "difference_d_m_10.pdf", "difference_d_m_10.png",
        "labels_saved.csv", "labels_saved_d_m_10.pdf", "labels_saved_d_m_10.png", "learning_curves_d_m_10.pdf",
        "learning_curves_d_m_10.png", "learning_curves_d_m_99.pdf", "learning_curves_d_m_99.png", "overall.csv",
        "pairs.csv", "penalty_matrix.csv", "report.html", "report_files.json", "rounds.csv",
        "summary.csv",
    ]  # fmt: skip
    with (tmp_path / "a" / "report" / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert list(rows[0])[:8] == [
        "dataset", "model", "batch_size", "strategy", "seed", "round", "num_labeled", "test_accuracy",
    ]  # fmt: skip
    assert len(result.pictures) == 5
    for path in result.pictures:
        pixels = matplotlib.image.imread(path)
        assert 700 <= pixels.shape[1] <= 1100, "read on a phone"
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
    assert str(caught.value.filename).endswith("report_files.json")
    assert {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()} == before


def test_nothing_to_read(tmp_path, runs):
    with pytest.raises(InputError, match="no run with a finished round"):
        report([runs / "started"], tmp_path / "report")
    with pytest.raises(InputError, match="missing is not a folder"):
        report([tmp_path / "missing"], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def five_repeats(folder, batch_size=10, **curves):
    """What a seed has in common, and of all strategies but the first a little of their own."""
    for place, (strategy, curve) in enumerate(curves.items()):
        for seed, noise in enumerate((0, 0.01, -0.01, 0.02, -0.02)):
            name, own = f"{strategy}-{batch_size}-{seed}", place * (0, 1e-4, -1e-4, -2e-4, 2e-4)[seed]
            write_run(folder / name, strategy, seed, [a + noise + own for a in curve], batch_size)
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
    assert [path.name for path in result.pictures] == [
        "penalty_matrix.png", "cdf.png", "learning_curves_d_m_10.png", "difference_d_m_10.png",
        "areas_d_m_10.png", "labels_saved_d_m_10.png", "late_d_m_10.png",
    ]  # fmt: skip
    page = Reader(result.page.read_text("utf-8"))
    assert "better than random: badge by 8.33 points" in page.shown
    rows = page.tables["Over 5 to 95 labels, paired by seed, with 95 % intervals: d, m, batches of 10"]
    assert rows[1] == [
        "badge", "62.78", "+8.33 (+8.31 to +8.35)", "< 0.001", "5 of 5", "0 (0 to 0)", "3 of 5 seeds",
    ]  # fmt: skip


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
    assert "There is no run of random here" in page
    assert (tmp_path / "out" / "cdf.csv").read_text() == "strategy,normalized_error,cumulative_weight\n"
    assert "there is no run of random" in page


def test_the_page_needs_nothing_else_and_names_what_is_missing(tmp_path):
    runs = five_repeats(tmp_path / "runs", random=[0.1, 0.2, 0.3, 0.4], badge=[0.1, 0.3, 0.4, 0.5])
    shutil.rmtree(runs / "badge-10-2")
    write_run(runs / "odd", "<b>&amp;", 0, [0.5])
    page = Reader(report([runs], tmp_path / "out").page.read_text("utf-8"))
    assert len(page.fetched) == 4
    assert page.links == [f"#{name}" for name in ("curves", "paper", "method", "configuration", "missing")]
    assert {given["id"] for given in page.all("h2")} == {link[1:] for link in page.links}
    for source in page.fetched:
        kind, _, data = source.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "<b>&amp;" in page.shown, "names are shown, not obeyed"
    assert "d/m/10/badge, seed 2: no run" in page.shown
    assert "d/m/10/<b>&amp;, seed 0: ends at 5 labels, others at 35" in page.shown
    assert "Incomplete: 5 runs missing and 1 run that ended early" in page.shown


def test_settings_with_one_slug_keep_their_pictures_apart(tmp_path):
    write_run(tmp_path / "runs" / "0", "badge", 0, [0.1, 0.9], dataset="a/b.npz")
    write_run(tmp_path / "runs" / "1", "badge", 0, [0.4, 0.5], dataset="a_b.npz")
    write_run(tmp_path / "runs" / "2", "badge", 0, [0.4, 0.5], dataset="A_b.npz")
    write_run(tmp_path / "runs" / "3", "badge", 0, [0.4, 0.5], dataset="c.npz")
    result = report(tmp_path / "runs", tmp_path / "out")
    names = [path.name for path in result.pictures if path.name.startswith("learning_curves")]
    assert len({name.casefold() for name in names}) == 4
    assert "learning_curves_c.npz_m_10.png" in names
    assert len({path.read_bytes() for path in result.pictures}) == len(result.pictures)
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
    assert "1 run: jax 0.10" in page.shown
    assert "1 run: not recorded" in page.shown


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


def test_files_of_an_earlier_report_are_removed_and_no_others(tmp_path):
    """Beside new tables they would look like the new result."""
    five_repeats(tmp_path / "runs", random=[0.1, 0.2, 0.3, 0.4, 0.5], badge=[0.1, 0.3, 0.4, 0.5, 0.6])
    out = tmp_path / "report"
    before = report(tmp_path / "runs", out).pictures
    (out / "notes.png").write_bytes(b"mine")
    (out / "cdf_mine.png").write_bytes(b"mine")
    (out / "cdf.png").write_bytes(b"mine now")
    shutil.rmtree(tmp_path / "runs")
    _write_one_run(tmp_path / "runs" / "one")
    (picture,) = report(tmp_path / "runs", out).pictures
    assert len(before) > 5
    assert picture not in before
    assert sorted(path.name for path in out.glob("*.p*")) == [
        "cdf.png",
        "cdf_mine.png",
        "learning_curves_letter_mlp_100.pdf",
        "learning_curves_letter_mlp_100.png",
        "notes.png",
    ]
    listed = json.loads((out / "report_files.json").read_text())["crc32"]
    assert {*listed} == {path.name for path in out.iterdir()} - {
        "cdf.png", "cdf_mine.png", "notes.png", "report_files.json",
    }  # fmt: skip


def test_an_edited_list_removes_nothing_elsewhere(tmp_path):
    _write_one_run(tmp_path / "runs" / "one")
    out = tmp_path / "report"
    report(tmp_path / "runs", out)
    (tmp_path / "mine").write_bytes(b"")
    for text in ('{"crc32": {"../mine": 0, "/": 0}}', "{", "[]", '{"crc32": 7}'):
        (out / "report_files.json").write_text(text)
        report(tmp_path / "runs", out)
        assert (tmp_path / "mine").exists()


def test_pictures_of_a_report_without_a_list_are_named(tmp_path):
    """A report of an earlier version, or one of nobody's: it is not known whose they are."""
    _write_one_run(tmp_path / "runs" / "one")
    out = tmp_path / "figures"
    out.mkdir()
    (out / "cdf_by_network.png").write_bytes(b"mine?")
    report(tmp_path / "runs", out)
    (out / "report_files.json").unlink()
    with pytest.warns(UserWarning, match=r"earlier version.*remove what is not yours: cdf_by_network\.png$"):
        report(tmp_path / "runs", out)
    assert (out / "cdf_by_network.png").read_bytes() == b"mine?"


def test_one_run_has_no_deviation_and_no_interval(tmp_path):
    write_run(tmp_path / "runs" / "one", "badge", 0, [0.2, 0.5])
    result = report(tmp_path / "runs", tmp_path / "out")
    assert result.summary.read_text().splitlines()[1:] == ["d,m,10,badge,5,1,0.2,", "d,m,10,badge,15,1,0.5,"]
    page = Reader(result.page.read_text("utf-8"))
    assert "±" not in page.shown
    assert page.tables["Over 5 to 15 labels: d, m, batches of 10"][1:] == [["badge", "35.00"]]
    assert page.tables["Mean test accuracy (%): d, m, batches of 10"] == [
        ["labels", "badge"],
        ["5", "20.00"],
        ["15", "50.00"],
    ]
    assert "nan" not in page.shown.lower()


def test_two_seeds_are_not_tested(tmp_path):
    """Nothing is called beaten, or never beaten; the intervals of two seeds are as wide as they are."""
    for seed in range(2):
        write_run(
            tmp_path / "runs" / f"e{seed}", "entropy", seed, [0.2, 0.3 + seed / 50, 0.4, 0.57 + seed / 50]
        )
        write_run(tmp_path / "runs" / f"r{seed}", "random", seed, [0.2, 0.6, 0.7, 0.9])
    result = report(tmp_path / "runs", tmp_path / "out")
    assert (tmp_path / "out" / "penalty_matrix.csv").read_text().splitlines()[1:] == [
        "random,,", "entropy,,", "mean,,",
    ]  # fmt: skip
    assert not [path for path in result.pictures if path.name.startswith(("penalty", "cdf"))]
    page = Reader(result.page.read_text("utf-8"))
    assert "Too few seeds to test (2; 5 are needed)" in page.shown
    assert "too few seeds to test; a pair needs 5 in common" in page.shown
    rows = page.tables["Over 5 to 35 labels, paired by seed, with 95 % intervals: d, m, batches of 10"]
    assert rows[2][2:5] == ["−25.00 (−31.35 to −18.65)", "too few seeds", "0 of 2"]
    half = 12.706204736 * np.std([0.57, 0.59], ddof=1) / 2**0.5
    rows = page.tables["Mean test accuracy (%) ± half of its 95 % interval: d, m, batches of 10"]
    assert rows[-1] == ["35", "90.00", f"58.00 ± {100 * half:.2f}"]


def test_a_loss_is_compared_with_less_as_better(tmp_path):
    for strategy, end in (("random", 1.0), ("badge", 0.5)):
        for seed in range(5):
            folder = tmp_path / "runs" / f"{strategy}{seed}"
            folder.mkdir(parents=True)
            config = {"dataset": "d", "model": "m", "batch_size": 10, "strategy": strategy, "seed": seed}
            (folder / "config.json").write_text(json.dumps(config))
            lines = [
                {"round": i, "num_labeled": 5 + 10 * i, "test_accuracy": 0.5, "test_log_loss": loss}
                for i, loss in enumerate([2.0, end * (1 + (seed - 2) / 1000)])
            ]
            (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_run(tmp_path / "runs" / "old", "badge", 7, [0.5, 0.5])
    result = report(tmp_path / "runs", tmp_path / "out", metric="log_loss")
    page = Reader(result.page.read_text("utf-8"))
    assert "better than random: badge by 0.2500" in page.shown
    assert result.num_runs == 10
    assert result.table.splitlines()[0] == "d, m, batches of 10: mean log loss"
    assert result.table.splitlines()[-1].split() == ["15", "0.500", "1.000"]
    assert [line.split("/")[-1] for line in result.skipped] == ["old: does not record log loss"]
    assert "old: does not record log loss" in page.shown
    assert "--metric log_loss" in page.shown
    assert result.summary.read_text().splitlines()[1] == "d,m,10,badge,5,6,0.5,0.0", "accuracy, of all runs"
    by_accuracy = report(tmp_path / "runs", tmp_path / "accuracy").page.parent
    for name in ("summary.csv", "rounds.csv", "penalty_matrix.csv", "cdf.csv"):
        assert (tmp_path / "out" / name).read_text() == (by_accuracy / name).read_text(), name
    with pytest.raises(InputError, match="no run records macro-F1"):
        report(tmp_path / "runs", tmp_path / "other", metric="macro_f1")
    assert not (tmp_path / "other").exists()


def test_the_page_names_what_was_skipped(runs, tmp_path):
    (runs / "badge0" / "rounds.jsonl").write_text("{")
    with pytest.warns(UserWarning, match="left out"):
        result = report(runs, tmp_path / "out")
    page = Reader(result.page.read_text("utf-8"))
    assert len(result.skipped) == 2
    assert all(line in page.shown for line in result.skipped)
    assert "started: no round is finished" in page.shown


def _write_one_run(run_at):
    """Writes a run of badge on letter with one round."""
    run_at.mkdir(parents=True)
    config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge", "seed": 0}
    (run_at / "config.json").write_text(json.dumps(config))
    (run_at / "rounds.jsonl").write_text(json.dumps({"round": 0, "num_labeled": 100, "test_accuracy": 0.5}))


def test_fits_that_ended_before_their_target_are_counted(tmp_path):
    """By strategy, over every round that records it; nothing where all of them got there."""
    for strategy, ends in (("badge", [True, False]), ("random", [True, True])):
        write_run(tmp_path / "runs" / strategy, strategy, 0, [0.2, 0.5])
        file = tmp_path / "runs" / strategy / "rounds.jsonl"
        lines = zip(file.read_text().splitlines(), ends, strict=True)
        file.write_text(
            "".join(json.dumps(json.loads(line) | {"converged": end}) + "\n" for line, end in lines)
        )
    page = report(tmp_path / "runs", tmp_path / "out").page.read_text("utf-8")
    assert "Fits that ended at max_epochs, below the target accuracy on their labels: badge 1 of 2." in page
    page = report(tmp_path / "runs" / "random", tmp_path / "out").page.read_text("utf-8")
    assert "Fits that ended" not in page


def test_a_pipe_in_the_place_of_a_file_does_not_hang(runs, tmp_path):
    (runs / "pipe").mkdir()
    os.mkfifo(runs / "pipe" / "config.json")
    with pytest.warns(UserWarning, match="is not a regular file"):
        assert report(runs, tmp_path / "out").num_runs == 5


def test_means_of_fewer_seeds_say_so(tmp_path):
    for seed in range(3):
        write_run(tmp_path / "runs" / f"badge{seed}", "badge", seed, [0.2, 0.5])
    for seed in range(2):
        write_run(tmp_path / "runs" / f"random{seed}", "random", seed, [0.2, 0.25])
    page = report(tmp_path / "runs", tmp_path / "out").page.read_text("utf-8")
    assert "22.50 (2 seeds)" in page
    assert "35.00 (" not in page


def test_pairs_of_fewer_settings_say_so(tmp_path):
    """Margin ran in one of two settings: its cells are of one, the others of two."""
    for batch_size, strategies in ((10, ("badge", "margin", "random")), (20, ("badge", "random"))):
        for strategy in strategies:
            for seed in range(2):
                folder = tmp_path / "runs" / f"{strategy}{seed}-{batch_size}"
                write_run(folder, strategy, seed, [0.2, 0.5], batch_size)
    page = report(tmp_path / "runs", tmp_path / "out").page.read_text("utf-8")
    assert "over the settings that have both, 1 to 2 of 2" in page
    page = report([*(tmp_path / "runs").glob("badge*"), *(tmp_path / "runs").glob("random*")], tmp_path / "out")
    assert "over the settings that have both" not in page.page.read_text("utf-8")


def test_without_the_baseline_the_pairs_are_in_a_table(tmp_path):
    five_repeats(tmp_path / "runs", margin=[0.1, 0.3, 0.5], badge=[0.1, 0.4, 0.5])
    page = Reader(report([tmp_path / "runs"], tmp_path / "out").page.read_text("utf-8"))
    assert "There is no run of random here" in page.shown
    rows = page.tables["Pairs, 5 to 25 labels, by seed, with 95 % intervals: d, m, batches of 10"]
    assert rows[1:] == [["badge over margin", "+5.00 (+4.98 to +5.02)", "< 0.001", "5 of 5"]]


def test_what_the_correction_does_not_confirm_is_said(tmp_path):
    noise = np.array([-0.02, 0.01, 0, -0.01, 0.02])
    for seed in range(5):
        write_run(tmp_path / "runs" / f"r{seed}", "random", seed, [0.1, 0.3])
        for i, gain in enumerate([0, 0, 0, 0, 0, 0, 0.025, 0.3]):
            end = float(0.3 + gain + np.roll(noise, i)[seed])
            write_run(tmp_path / "runs" / f"{i}-{seed}", f"s{i}", seed, [0.1, end])
    page = Reader(report([tmp_path / "runs"], tmp_path / "out").page.read_text("utf-8"))
    assert "better than random: s7 by" in page.shown
    assert "better by its own interval, which the correction does not confirm: s6 by" in page.shown
    assert "not told apart from random: s0, s1, s2, s3, s4, s5" in page.shown


def test_strategies_that_share_one_seed_or_none_say_so(tmp_path):
    for strategy, seeds in (("random", (3, 4, 5)), ("badge", (0, 1, 2)), ("margin", (2, 3))):
        for seed in seeds:
            write_run(tmp_path / "runs" / f"{strategy}{seed}", strategy, seed, [0.1, 0.3 + seed / 100])
    result = report([tmp_path / "runs"], tmp_path / "out")
    page = Reader(result.page.read_text("utf-8"))
    assert "No strategy shares more than one seed with random" in page.shown
    rows = page.tables["Over 5 to 15 labels, paired by seed, with 95 % intervals: d, m, batches of 10"]
    assert {row[0]: row[2] for row in rows[1:]}["badge"] == "no seed in common with random"
    lines = result.table.splitlines()
    assert lines[2].split() == ["5", "10.0", "10.0*", "10.0"]
    assert lines[-1] == "  * of fewer than 3 runs, so not of the same seeds as the others"


def test_strategies_of_which_some_have_just_begun(tmp_path):
    for strategy, values in (("random", [0.1]), ("badge", [0.1, 0.3]), ("margin", [0.1, 0.2])):
        write_run(tmp_path / "runs" / strategy, strategy, 0, values)
    page = Reader(report([tmp_path / "runs"], tmp_path / "out").page.read_text("utf-8"))
    assert "random and most strategies have only 5 labels in common so far" in page.shown
