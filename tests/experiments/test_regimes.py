"""Tables of many strategies: differences paired by seed, and curves that outlive the folders of their runs."""

import sys

import numpy as np
import pytest

from badge_jax.errors import InputError
from badge_jax.runs.directory import write_config, write_per_class, write_rounds
from experiments import regimes

SETTING = "letter-mlp-100"


def write_run(folder, strategy, seed, accuracies, worst=0.25, initial=100):
    directory = folder / SETTING / f"{strategy}-seed{seed}"
    directory.mkdir(parents=True)
    config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": strategy, "seed": seed}
    config |= {"initial": initial, "learning_rate": 0.001, "cold_start": "random", "max_epochs": 500}
    write_config(directory, config)
    others = dict.fromkeys(("test_macro_f1", "test_log_loss", "test_calibration_error"), 0.5)
    rounds = [
        {
            "round": i,
            "num_labeled": 100 + 100 * i,
            "test_accuracy": accuracy,
            "query_seconds": 0.5 * (i > 0),
            "train_accuracy": 0.985 if (strategy, seed, i) == ("entropy", 1, 2) else float(np.float32(0.99)),
            "epochs": 500 if (strategy, seed, i) == ("entropy", 1, 2) else 12,
            **others,
        }
        for i, accuracy in enumerate(accuracies)
    ]
    write_rounds(directory, rounds)
    write_per_class(directory, [{"round": i, "recall": [None, 0.75, worst]} for i in range(len(rounds))])


def curve(gain, seed):
    return [0.5, 0.6 + gain + 0.01 * seed, 0.7 + gain + 0.01 * seed]


@pytest.fixture
def folder(tmp_path):
    for seed in range(5):
        write_run(tmp_path / "runs", "random", seed, curve(0, seed))
        write_run(tmp_path / "runs", "badge", seed, curve(0.041 + 0.002 * seed, seed), worst=0.5)
        write_run(tmp_path / "runs", "margin", seed, curve(0.04 + 0.002 * (4 - seed), seed))
        write_run(tmp_path / "runs", "entropy", seed, curve(-0.1, seed))
    return tmp_path


def made(monkeypatch, folder, *words, draws=False):
    if not draws:  # pictures take most of the time
        monkeypatch.setattr(regimes, "draw", lambda setting, runs, out: None)
    monkeypatch.setattr(sys, "argv", ["regimes", *words, "--out", str(folder)])
    regimes.main()
    return (folder / "tables.txt").read_text(), (folder / "curves.csv").read_text()


def test_a_table_and_curves_that_are_read_back(folder, monkeypatch, capsys):
    tables, curves = made(monkeypatch, folder / "out", "--runs", str(folder / "runs"), draws=True)
    assert "Seeds: 5. Best: badge; not told apart from it: margin. Fits that ended at max_epochs" in tables
    assert "short of the target: 1 of 60." in tables
    (line,) = [line for line in tables.splitlines() if line.startswith("| badge ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    # gains of 4.1 to 4.9 points at two of three counts: the area has three quarters of them, by trapezoids
    gains = 0.75 * (0.041 + 0.002 * np.arange(5))
    assert cells[1:3] == [f"{100 * (0.62 + 0.045):.1f}", f"{100 * (0.72 + 0.045):.1f}"]
    half = 2.776 * gains.std(ddof=1) / 5**0.5  # the 97.5 % point of t with four degrees of freedom
    mean, low, high = (100 * x for x in (gains.mean(), gains.mean() - half, gains.mean() + half))
    assert cells[3] == f"**{mean:+.1f} ({low:+.1f} to {high:+.1f})**"
    assert cells[5:] == ["50", "0.5"]
    assert len(curves.splitlines()) == 1 + 4 * 5 * 3
    assert (folder / "out" / "letter_mlp_100.png").exists()

    # once more with the folders gone: the file has all that the tables are of
    assert made(monkeypatch, folder / "out") == (tables, curves)
    capsys.readouterr()


def test_more_seeds_join_those_of_the_file(folder, monkeypatch, capsys):
    _, curves = made(monkeypatch, folder / "out", "--runs", str(folder / "runs"))
    write_run(folder / "more", "badge", 5, curve(0.04, 5))
    write_run(folder / "more", "random", 0, curve(0, 0))  # the same as before
    tables, more = made(monkeypatch, folder / "out", "--runs", str(folder / "more"))
    assert "Seeds: 5 to 6." in tables
    assert len(more.splitlines()) == len(curves.splitlines()) + 3
    write_run(folder / "else", "random", 6, curve(0, 0), initial=50)
    with pytest.raises(InputError, match="differ in initial: 50 and 100"):
        made(monkeypatch, folder / "out", "--runs", str(folder / "else"))
    assert (folder / "out" / "curves.csv").read_text() == more
    capsys.readouterr()


def test_runs_that_have_not_ended_count_nowhere(folder, monkeypatch, capsys):
    whole, _ = made(monkeypatch, folder / "out", "--runs", str(folder / "runs"))
    write_run(folder / "runs", "margin", 5, curve(0, 5)[:1], worst=0.0)
    write_run(folder / "runs", "coreset", 0, curve(0, 0)[:2], worst=0.0)
    tables, _ = made(monkeypatch, folder / "out", "--runs", str(folder / "runs"))
    left_out = " Runs that are not finished, and left out: 2."
    assert tables == whole.replace("from it: margin.", f"from it: margin.{left_out}").replace("of 60", "of 63")
    capsys.readouterr()


def test_a_restarted_run_does_not_take_the_place_of_a_whole_one(folder, monkeypatch, capsys):
    before = made(monkeypatch, folder / "out", "--runs", str(folder / "runs"))
    write_run(folder / "again", "badge", 0, curve(0, 0)[:1])
    assert made(monkeypatch, folder / "out", "--runs", str(folder / "again")) == before
    capsys.readouterr()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-40],  # cut off
        lambda text: "".join(text.splitlines(True)[:2] + text.splitlines(True)[3:]),  # a round is missing
        lambda text: text + text.splitlines(True)[-1],  # a round comes twice
        lambda text: text + "".join(text.splitlines(True)[1:4]),  # a run comes twice
        lambda text: text.replace("0.5,", "1.5,"),
        lambda text: text.replace("0.5,", "nan,"),
    ],
)
def test_a_damaged_file_is_refused(folder, monkeypatch, capsys, damage):
    made(monkeypatch, folder / "out", "--runs", str(folder / "runs"))
    file = folder / "out" / "curves.csv"
    file.write_text(damage(file.read_text()))
    with pytest.raises(InputError, match="damaged"):
        made(monkeypatch, folder / "out")
    capsys.readouterr()


def test_strategies_of_other_seeds_are_not_compared(tmp_path, monkeypatch, capsys):
    """Badge ran with two hard seeds, margin with two easy ones: margin's higher scores say nothing."""
    for seed in range(4):
        hard = -0.2 if seed < 2 else 0.0
        write_run(tmp_path / "runs", "random", seed, curve(hard + 0.001 * seed, seed))
        name, gain = ("badge", 0.05) if seed < 2 else ("margin", 0.02)
        write_run(tmp_path / "runs", name, seed, curve(hard + gain, seed))
    tables, _ = made(monkeypatch, tmp_path / "out", "--runs", str(tmp_path / "runs"))
    assert "Best: badge, alone. No seed in common with it: margin." in tables
    capsys.readouterr()


def test_one_seed_says_nothing(tmp_path, monkeypatch, capsys):
    for strategy in ("badge", "random"):
        write_run(tmp_path / "runs", strategy, 0, curve(0.04 * (strategy == "badge"), 0))
    tables, _ = made(monkeypatch, tmp_path / "out", "--runs", str(tmp_path / "runs"))
    assert "Largest mean: badge; too few seeds to say more." in tables
    assert "| badge | 64.0 | 74.0 | +3.0 |" in tables
    capsys.readouterr()


def test_no_baseline_and_another_file(tmp_path, monkeypatch):
    write_run(tmp_path / "alone", "badge", 0, curve(0.04, 0))
    with pytest.raises(InputError, match="no run of random"):
        made(monkeypatch, tmp_path / "out", "--runs", str(tmp_path / "alone"))
    with pytest.raises(InputError, match="there are no runs"):
        made(monkeypatch, tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "curves.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="other columns"):
        made(monkeypatch, tmp_path / "out", "--runs", str(tmp_path / "alone"))
