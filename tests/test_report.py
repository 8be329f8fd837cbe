import csv
import errno
import json
import os

import matplotlib.image
import pytest

from badge_jax import STRATEGIES
from badge_jax.errors import InputError
from badge_jax.plots import STYLES
from badge_jax.report import read_runs, report


def write_run(directory, strategy, seed, accuracies, batch_size=10):
    directory.mkdir(parents=True)
    config = {"dataset": "d", "model": "m", "batch_size": batch_size, "strategy": strategy, "seed": seed}
    lines = [
        {"round": i, "num_labeled": 5 + batch_size * i, "test_accuracy": accuracy, "indices": []}
        for i, accuracy in enumerate(accuracies)
    ]
    (directory / "config.json").write_text(json.dumps(config))
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
        "learning_curves_d_m_99.png", "penalty_matrix.csv", "report.html", "summary.csv",
    ]  # fmt: skip
    assert [path.suffix for path in result.pictures] == [".png", ".png"]
    for path in result.pictures:
        pixels = matplotlib.image.imread(path)
        assert pixels.shape[1] >= 1000
        assert len(set(map(tuple, pixels[::7, ::7, :3].reshape(-1, 3)))) > 3
    assert "labels   badge  random" in result.table
    assert "      15    55.0    25.0" in result.table


def test_a_run_named_twice_counts_once(runs, tmp_path):
    assert len(read_runs([runs, runs / "badge0"])) == 5


def test_one_seed_in_two_directories_is_refused(runs):
    write_run(runs / "again", "badge", 0, [0.3])
    with pytest.raises(InputError, match=r"badge0 and .*again are both d/m/10/badge with seed 0"):
        read_runs([runs])


def test_runs_with_other_options_are_no_repeats(runs):
    write_run(runs / "badge7", "badge", 7, [0.3])
    for name, rate in (("badge0", 1e-4), ("badge7", 1e-2)):
        config = json.loads((runs / name / "config.json").read_text())
        (runs / name / "config.json").write_text(json.dumps({**config, "learning_rate": rate}))
    with pytest.raises(InputError, match=r"have learning_rate = 0\.01 and 0\.0001; report them separately"):
        read_runs([runs])


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


def test_every_strategy_has_a_look_of_its_own():
    assert set(STRATEGIES) <= set(STYLES)
    colours, dashes_and_markers = zip(*((style[0], style[1:]) for style in STYLES.values()), strict=True)
    assert len(set(colours)) == len(STYLES)
    assert len(set(dashes_and_markers)) == len(STYLES)
