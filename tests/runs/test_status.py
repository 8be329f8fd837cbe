"""What a sweep's folder holds, read from the folder alone."""

import json
import time
from pathlib import Path

import jax
import pytest

from badge_jax.cli import main
from badge_jax.errors import InputError
from badge_jax.runs import Setting, _sweep, folder_of, make_runs, read_rounds, status, status_lines, sweep
from badge_jax.runs import directory as directory_of_runs
from badge_jax.runs._status import RunStatus
from badge_jax.runs.claims import claimed
from badge_jax.runs.options import resolve, to_config

GRID = {
    "dataset": "kropt",
    "model": "linear",
    "batch_size": 100,
    "strategy": ["badge", "random"],
    "seeds": "0-1",
}
SETTING = Setting("kropt", "linear", 100)


@pytest.fixture(autouse=True)
def _no_compilation_cache():
    """A sweep turns it on for the whole process."""
    yield
    jax.config.update("jax_compilation_cache_dir", None)


def run_status(state="done", *, setting=SETTING, strategy="badge", seed=0, last=300, seconds=0.0, error=""):
    directory = Path("runs", str(setting.dataset), f"{strategy}-seed{seed}")
    return RunStatus(directory, setting, strategy, seed, 2, last, 3, seconds, state, error)


def write_rounds(directory, number, seconds=1800.0, batch_size=100):
    """Finished rounds, as far as a status reads them."""
    directory.mkdir(parents=True, exist_ok=True)
    line = {"test_accuracy": 0.5, "fit_seconds": seconds, "query_seconds": seconds / 2}
    lines = [{"round": i, "num_labeled": 100 + batch_size * i, **line} for i in range(number)]
    directory_of_runs.write_rounds(directory, lines)


def write_config(directory, **changes):
    """config.json, as of badge_jax 0.1 if nothing is changed."""
    config = {
        "dataset": "kropt", "model": "mlp", "strategy": "badge", "batch_size": 100, "initial": 100, "rounds": 2,
        "seed": 0, "learning_rate": 1e-2, "first": "uniform",
    }  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A folder in which a sweep has been started and nothing was run."""

    def refuse(options, directory):
        raise OSError(28, "No space left", str(directory))

    def start(*grids):
        with monkeypatch.context() as patch:
            patch.setattr(_sweep, "run", refuse)
            with pytest.raises(OSError, match="No space left"):
                sweep(make_runs(grids), tmp_path, say=lambda line: None)
        return tmp_path

    return start


def test_a_line_for_each_setting_and_the_totals():
    letter = Setting("letter", "mlp(hidden=8)", 1000)
    lines = status_lines(
        [
            run_status("done"),
            run_status("running", seed=1),
            run_status("missing", seed=2, last=500),
            run_status("done", setting=letter, last=18_100),
            run_status("failed", setting=letter, last=18_100, strategy="albl", error="RuntimeError: no luck"),
        ]
    )
    assert [" ".join(line.split()) for line in lines] == [
        "kropt, linear, batches of 100 to 300–500 labels 1 done 1 running 0 failed 1 missing",
        "letter, mlp(hidden=8), batches of 1,000 to 18100 labels 1 done 0 running 1 failed 0 missing",
        "failed: runs/letter/albl-seed0: RuntimeError: no luck",
        "5 runs: 2 done, 1 running, 1 failed, 1 missing",
        "left: about 0.0 minutes of one worker, compilation aside",
    ]


def test_the_time_left_is_what_finished_runs_of_the_setting_took():
    """Two done in 1 and 3 hours. One has half an hour behind it, one has 9 hours, one has not begun."""
    other = Setting("letter", "mlp", 100)
    runs = [run_status("done", seconds=hours * 3600) for hours in (1, 3)]
    runs += [run_status("running", seconds=hours * 3600) for hours in (0.5, 9)]
    runs += [run_status("missing"), run_status("missing", setting=other), run_status("running", setting=other)]
    assert status_lines(runs)[-2:] == [
        "left: about 3.5 hours of one worker, compilation aside",
        "      and 2 runs in settings of which no run is done, so their time is not known",
    ]
    assert status_lines(runs[5:6])[-1] == (
        "left: 1 run in a setting of which no run is done, so its time is not known"
    )
    assert "to 300–500 labels" in status_lines([run_status("done", last=300), run_status("done", last=500)])[0]
    assert status_lines(runs[:5])[-1] == "left: about 3.5 hours of one worker, compilation aside"


def test_each_state(started):
    folder = started({**GRID, "seeds": "0-2", "rounds": 2})
    directories = {(run.strategy, run.seed): run.directory for run in status(folder)}
    write_rounds(directories["badge", 0], 3)
    write_rounds(directories["badge", 1], 2)
    (directories["badge", 1] / "error.txt").write_text("Traceback\n  File\nRuntimeError: no luck\n")
    write_rounds(directories["random", 0], 1)
    write_rounds(directories["random", 1], 3)
    (directories["random", 1] / "error.txt").write_text("of an attempt before")
    with claimed(directories["random", 0]), claimed(directories["badge", 2]):
        runs = {(run.strategy, run.seed): run for run in status(folder)}
    assert {key: run.state for key, run in runs.items()} == {
        ("badge", 0): "done",
        ("badge", 1): "failed",
        ("badge", 2): "running",
        ("random", 0): "running",
        ("random", 1): "done",
        ("random", 2): "missing",
    }
    assert runs["badge", 1].error == "RuntimeError: no luck"
    assert [run.error for run in runs.values()].count("") == 5
    assert [run.num_done for run in runs.values()] == [3, 2, 0, 1, 3, 0]
    assert [run.seconds for run in runs.values()] == [8100, 5400, 0, 2700, 8100, 0]
    assert list(runs) == sorted(runs), "in order"


def test_a_run_that_failed_and_is_tried_again_is_running(started):
    folder = started({**GRID, "rounds": 2})
    directory = status(folder)[0].directory
    (directory / "error.txt").write_text("RuntimeError: no luck")
    with claimed(directory):
        assert status(folder)[0].state == "running"
    assert status(folder)[0].state == "failed"


def test_a_damaged_file_of_rounds_counts_as_none_and_is_named(started):
    folder = started({**GRID, "rounds": 2})
    directory = status(folder)[0].directory
    write_rounds(directory, 3)
    (directory / "rounds.jsonl").write_text("{")
    damaged = status(folder)[0]
    assert (damaged.state, damaged.num_done) == ("failed", 0)
    assert f"{directory / 'rounds.jsonl'} is damaged (line 1: " in damaged.error


def test_status_knows_the_options_of_the_sweep(tmp_path, monkeypatch, capsys):
    """After a sweep with --max-labels and --learning-rate, of which two runs are done, the folder alone says
    what belongs to it."""

    def run(options, directory):
        directory_of_runs.write_config(directory, to_config(resolve(options)))
        write_rounds(directory, options.rounds + 1, batch_size=options.batch_size)
        return read_rounds(directory)

    monkeypatch.setattr(_sweep, "run", run)
    grid = [
        "sweep", "--dataset", "kropt", "--model", "linear", "--strategy", "random", "margin",
        "--batch-size", "50", "--seeds", "0-1", "--max-labels", "210", "--learning-rate", "0.01",
        "--out", str(tmp_path),
    ]  # fmt: skip
    assert main([*grid, "--shard", "0/2"]) == 0
    capsys.readouterr()
    assert main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    counts = "kropt, linear, batches of 50 to 200 labels 2 done 0 running 0 failed 2 missing"
    assert " ".join(lines[0].split()) == counts
    assert lines[1] == "4 runs: 2 done, 0 running, 0 failed, 2 missing"
    assert main([*grid, "--shard", "1/2"]) == 0
    assert {run.state for run in status(tmp_path)} == {"done"}


def test_the_sweeps_of_a_folder_add_up(started):
    started({**GRID, "rounds": 2})
    folder = started({**GRID, "rounds": 2, "strategy": "margin"}, {**GRID, "rounds": 1, "dataset": "letter"})
    assert len(status(folder)) == 4 + 2 + 4


def test_a_sweep_further_than_the_last_is_not_done(started):
    folder = started({**GRID, "rounds": 2})
    for run in status(folder):
        write_rounds(run.directory, 3)
    assert {run.state for run in status(folder)} == {"done"}
    started({**GRID, "rounds": 4, "seeds": 0})
    assert [(run.seed, run.state, run.last) for run in status(folder) if run.strategy == "badge"] == [
        (0, "missing", 500),
        (1, "done", 300),
    ]


def test_a_damaged_record_does_no_harm(started):
    folder = started({**GRID, "rounds": 2})
    (record,) = (folder / ".sweeps").iterdir()
    for name, content in (("a", b"{"), ("b", b"[]"), ("c", b'{"runs": [{}, 3]}'), ("d", b"\xff"), ("e", b"3")):
        record.with_name(f"{name}.json").write_bytes(content)
    assert len(status(folder)) == 4


def test_runs_without_a_record_are_found_by_their_configuration(tmp_path):
    """Runs of 0.1, in the folders that they had then, and one made by `badge-jax run`."""
    write_config(tmp_path / "kropt-mlp-100" / "badge-seed0")
    write_rounds(tmp_path / "kropt-mlp-100" / "badge-seed0", 3)
    write_config(tmp_path / "deep" / "down" / "x", strategy="margin", seed=4)
    write_rounds(tmp_path / "deep" / "down" / "x", 1)
    write_config(tmp_path / "new", strategy="badge(first=norm)", format=2)
    runs = status(tmp_path)
    assert [(run.strategy, run.seed, run.state) for run in runs] == [
        ("badge", 0, "done"),
        ("badge(first=norm)", 0, "missing"),
        ("margin", 4, "missing"),
    ]
    assert {run.setting for run in runs} == {Setting("kropt", "mlp", 100)}
    assert [run.last for run in runs] == [300] * 3


def test_a_run_with_record_and_configuration_counts_once(started):
    folder = started({**GRID, "rounds": 2})
    for run in make_runs([{**GRID, "rounds": 2}]):
        write_config(folder / folder_of(run), model="linear", strategy=run.strategy, seed=run.seed)
    assert len(status(folder)) == 4


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"dataset": "kropt"}', "\0"])
def test_other_files_of_that_name_are_not_counted(tmp_path, content):
    write_config(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(content)
    assert len(status(tmp_path)) == 1


@pytest.mark.parametrize("changes", [{"rounds": None}, {"rounds": "2"}, {"initial": [100]}, {"seed": "0"}])
def test_damaged_configurations_are_not_counted(tmp_path, changes):
    write_config(tmp_path / "run")
    write_config(tmp_path / "other", **changes)
    assert len(status(tmp_path)) == 1
    (tmp_path / "other" / "rounds.jsonl").write_text("{}\n")  # now it is somebody's run, and lost
    with pytest.warns(UserWarning, match=r"left out: .*other.config.json is"):
        assert len(status(tmp_path)) == 1


def test_no_folder_no_runs(tmp_path, capsys):
    assert main(["status", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == (
        f"badge-jax: {tmp_path / 'none'} is not a folder; give the folder of a sweep\n"
    )
    with pytest.raises(InputError, match="is not a folder"):
        status(Path(__file__))
    assert main(["status", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"badge-jax: {tmp_path} holds no runs; `badge-jax sweep` makes some\n"
    assert list(tmp_path.iterdir()) == []


def test_a_status_changes_nothing(started):
    folder = started({**GRID, "rounds": 2})
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    time.sleep(0.01)
    status_lines(status(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
