"""Sweeps: workers killed at random moments lose no run and repeat none; what cannot run is refused first."""

import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import pytest
from sweeping import (
    GRID,
    NUM_LINES,
    PROCESSORS,
    ROOT,
    SMALL,
    children_of,
    finished,
    hearing_ctrl_c,
    is_alive,
    num_lines,
    start,
    sweep_arguments,
    wait_for,
    what_is_left,
)
from toy import make_toy, toy

import badge_jax
from badge_jax.cli import main
from badge_jax.data import DATASETS, Source
from badge_jax.errors import InputError
from badge_jax.runs import _sweep, folder_of, make_runs, read_config, read_rounds, status, sweep
from badge_jax.runs.directory import write_config
from badge_jax.runs.options import resolve, to_config

TOY = {
    **GRID,
    "dataset": "toy",
    "batch_size": 5,
    "initial": 10,
    "strategy": ["margin", "random"],
    "max_epochs": 2,
}
ELSEWHERE = json.dumps({"machine": "elsewhere", "pid": 1, "started": "1"})


@pytest.fixture(autouse=True)
def _no_compilation_cache():
    """A sweep turns it on for the whole process."""
    yield
    jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", toy(Source(make_toy, 64), 1e-3))


def silent(*_):
    """For what a sweep says."""


def runs_of(**changes):
    return make_runs([{**GRID, **changes}])


def toys(**changes):
    return make_runs([{**TOY, **changes}])


def write_lines(directory, number, seconds=0.0):
    """Finished rounds, as far as a sweep reads them."""
    directory.mkdir(parents=True, exist_ok=True)
    line = {"num_labeled": 1, "test_accuracy": 0.5, "fit_seconds": seconds, "query_seconds": 0.0}
    text = "".join(json.dumps({"round": i, **line}) + "\n" for i in range(number))
    (directory / "rounds.jsonl").write_text(text)


def finish(options, directory):
    """In place of `run`."""
    write_lines(directory, options.rounds + 1)
    return read_rounds(directory)


def alone(folder):
    """`what_is_left` without the list of runs and what the runs were started for."""
    found = {name: value for name, value in what_is_left(folder).items() if not name.startswith(".sweeps")}
    for name, value in found.items():
        if name.endswith("config.json"):
            value.pop("rounds_at_start", None)
    return found


# one process: what a sweep does when runs fail, and while others are at them


def test_a_failed_run_leaves_its_error_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    ran = []

    def fail_once(options, directory):
        ran.append(directory.name)
        if options.strategy == "albl" and ran.count(directory.name) == 1:
            raise RuntimeError("the second\nline")
        return finish(options, directory)

    monkeypatch.setattr(_sweep, "run", fail_once)
    args = sweep_arguments(tmp_path)
    assert main(args) == 1
    assert ran == ["badge-seed0", "albl-seed0", "random-seed0"]
    printed = capsys.readouterr()
    assert "kropt-linear-100/albl-seed0: FAILED: RuntimeError: the second, " in printed.out
    assert printed.err == (
        f"badge-jax: 1 runs have failed; their error.txt says why: {tmp_path}/kropt-linear-100/albl-seed0\n"
    )
    error = tmp_path / "kropt-linear-100" / "albl-seed0" / "error.txt"
    assert "the second\nline" in error.read_text()
    past = time.time() - 60
    os.utime(error, (past, past))
    assert main(args) == 0, "a worker started later tries it again"
    assert not error.exists()
    assert ran[3:] == ["albl-seed0"]


def test_the_directories_of_failed_runs_are_returned(tmp_path, monkeypatch):
    def fail(options, directory):
        if options.strategy != "albl":
            raise RuntimeError
        return finish(options, directory)

    monkeypatch.setattr(_sweep, "run", fail)
    folder = tmp_path / "kropt-linear-100"
    assert sweep(runs_of(), tmp_path, say=silent) == [folder / "badge-seed0", folder / "random-seed0"]


@pytest.mark.parametrize(("number", "text"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")])
def test_trouble_with_the_disk_stops_the_worker_in_one_line(tmp_path, monkeypatch, capsys, number, text):
    def full(options, directory):
        raise OSError(number, os.strerror(number), str(directory / "rounds.jsonl"))

    monkeypatch.setattr(_sweep, "run", full)
    assert main(sweep_arguments(tmp_path)) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert text in message
    assert "rounds.jsonl" in message
    assert not list(tmp_path.rglob("error.txt"))
    assert not list(tmp_path.rglob("claim-*"))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(sweep_arguments(tmp_path / "file" / "runs")) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_worker_waits_for_the_last_run_and_takes_it_over(tmp_path, monkeypatch, capsys):
    """Its owner, on another machine, falls silent."""
    claim = tmp_path / "kropt-linear-100" / "random-seed0" / "claim-1"
    claim.parent.mkdir(parents=True)
    claim.write_text(ELSEWHERE)
    naps = []

    def fall_silent(seconds):
        naps.append(seconds)
        if len(naps) == 5:
            os.utime(claim, (1, 1))

    monkeypatch.setattr(_sweep.time, "sleep", fall_silent)
    monkeypatch.setattr(_sweep, "run", finish)
    assert main(sweep_arguments(tmp_path, strategy="random")) == 0
    assert capsys.readouterr().out.count("waiting for 1 runs that other workers hold") == 1
    assert naps == sorted(naps)
    assert naps[0] >= 0.5
    assert max(naps) == 15
    assert not claim.exists()
    assert len(read_rounds(claim.parent)) == 3


def test_a_run_that_another_worker_finishes_is_not_run_again(tmp_path, monkeypatch):
    directory = tmp_path / "kropt-linear-100" / "random-seed0"
    directory.mkdir(parents=True)
    (directory / "claim-1").write_text(ELSEWHERE)
    monkeypatch.setattr(_sweep.time, "sleep", lambda seconds: write_lines(directory, 3))
    monkeypatch.setattr(_sweep, "run", None)
    assert sweep(runs_of(strategy="random"), tmp_path, say=silent) == []


def test_a_run_that_ends_just_before_it_is_claimed_is_not_run_again(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def too_late(directory):
        write_lines(directory, 3)
        yield True

    monkeypatch.setattr(_sweep, "claimed", too_late)
    monkeypatch.setattr(_sweep, "run", None)
    assert sweep(runs_of(), tmp_path, say=silent) == []


def test_a_worker_with_failures_behind_it_waits_too(tmp_path, monkeypatch):
    """Two runs fail, the third is another machine's: it is looked at once a wait, not without end."""
    claim = tmp_path / "kropt-linear-100" / "random-seed0" / "claim-1"
    claim.parent.mkdir(parents=True)
    claim.write_text(ELSEWHERE)
    looks = []

    def fail(options, directory):
        raise RuntimeError

    def look(job):
        looks.append(job)
        assert len(looks) < 50, "it spins"
        return False

    monkeypatch.setattr(_sweep, "run", fail)
    monkeypatch.setattr(_sweep, "is_done", look)
    monkeypatch.setattr(_sweep.time, "sleep", lambda seconds: os.utime(claim, (1, 1)))
    assert len(sweep(runs_of(), tmp_path, say=silent)) == 3


def test_an_error_file_from_a_slow_clock_is_not_tried_again_and_again(tmp_path, monkeypatch):
    ran = []

    def fail(options, directory):
        ran.append(directory.name)
        raise RuntimeError

    def write_late(path, content):
        path.write_bytes(content)
        os.utime(path, (1, 1))

    monkeypatch.setattr(_sweep, "run", fail)
    monkeypatch.setattr(_sweep, "write_whole", write_late)
    assert main(sweep_arguments(tmp_path)) == 1
    assert len(ran) == 3


def test_damaged_files_fail_their_run_alone(tmp_path):
    (first, second), said = toys(), []
    damaged = tmp_path / folder_of(first)
    damaged.mkdir(parents=True)
    (damaged / "rounds.jsonl").write_text("{")
    assert sweep([first, second], tmp_path, say=said.append) == [damaged]
    assert f"{damaged.parent.name}/{damaged.name}: FAILED: InputError: --out {damaged} holds" in said[0]
    assert len(read_rounds(tmp_path / folder_of(second))) == 3


def test_a_file_damaged_later_fails_its_run_alone(tmp_path):
    first, second = toys()
    sweep([first], tmp_path, say=silent)
    (tmp_path / folder_of(first) / "rounds.jsonl").write_text("{")
    assert sweep([first, second], tmp_path, say=silent) == [tmp_path / folder_of(first)]
    assert [run.state for run in status(tmp_path)] == ["failed", "done"]


def test_a_sweep_further_than_the_last_extends_its_runs(tmp_path):
    sweep(toys(strategy="margin"), tmp_path / "grown", say=silent)
    for folder in ("grown", "whole"):
        assert sweep(toys(strategy="margin", rounds=4), tmp_path / folder, say=silent) == []
    for folder in ("grown", "whole"):
        assert {len(read_rounds(path.parent)) for path in (tmp_path / folder).rglob("rounds.jsonl")} == {5}
    assert alone(tmp_path / "grown") == alone(tmp_path / "whole")


def test_finished_runs_are_not_run_again(tmp_path, monkeypatch):
    said = []
    sweep(toys(), tmp_path, say=said.append)
    assert [line.partition(":")[0] for line in said] == [
        "toy-linear-5/margin-seed0",
        "toy-linear-5/random-seed0",
    ]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(_sweep, "run", None)
    assert sweep(toys(), tmp_path, say=said.append) == []
    assert sweep(toys(rounds=1), tmp_path, say=said.append) == [], "nor for fewer rounds"
    assert len(said) == 2
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before


def test_what_a_run_warns_of_is_said_in_its_line(tmp_path, monkeypatch):
    def warn(options, directory):
        warnings.warn("own.py has changed since", UserWarning, stacklevel=2)
        warnings.warn("not for users", DeprecationWarning, stacklevel=2)
        return finish(options, directory)

    monkeypatch.setattr(_sweep, "run", warn)
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        sweep(runs_of(strategy="random"), tmp_path, say=said.append)
    assert said == ["kropt-linear-100/random-seed0: 1 labels, 50.0 %; own.py has changed since, 0 s"]


def test_a_run_of_a_sweep_is_that_of_badge_jax_run(tmp_path):
    (options,) = toys(strategy="margin")
    sweep([options], tmp_path, say=silent)
    badge_jax.run(options, tmp_path / "alone")
    assert what_is_left(tmp_path / folder_of(options)) == what_is_left(tmp_path / "alone")


# shards and progress


def test_shards_are_a_partition(tmp_path, monkeypatch):
    ran = []

    def note(options, directory):
        ran.append(options)
        return finish(options, directory)

    monkeypatch.setattr(_sweep, "run", note)
    runs = runs_of(seeds="0-4")
    for i in range(4):
        before = len(ran)
        assert sweep(runs, tmp_path / str(i), shard=(i, 4), say=silent) == []
        assert len(ran) - before in (3, 4)
    assert sorted(map(repr, ran)) == sorted(map(repr, runs))
    assert len(status(tmp_path / "0")) == 15, "each records the whole grid"


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (2, 2), (0, 0)])
def test_a_shard_that_cannot_be_is_refused(tmp_path, shard):
    with pytest.raises(InputError, match="wanted i/n with i from 0 to n − 1"):
        sweep(runs_of(), tmp_path / "runs", shard=shard)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shard", "8/8"], "--shard is '8/8'; wanted i/n"),
        (["--shard", "a/8"], "--shard is 'a/8'; wanted i/n"),
        (["--shard", "3"], "--shard is '3'; wanted i/n"),
        (["--shard", "-1/3"], "--shard is '-1/3'; wanted i/n"),
        (["--workers", "0"], "--workers is 0; it must be at least 1"),
        (["--seeds", "0-"], "seeds are '0-'"),
        (["no_such.toml"], "no_such.toml does not exist; wanted a TOML file"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, capsys, flags, message):
    assert main(sweep_arguments(tmp_path / "runs", *flags)) == 2
    problem = capsys.readouterr().err
    assert problem.startswith("badge-jax: ")
    assert message in problem
    assert problem.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shard", [(0, 1), (0, 2), (1, 2)])
def test_progress_ends_at_the_total(tmp_path, monkeypatch, shard):
    """Rounds behind the last that is asked for do not count. A part of a grid counts its own runs."""
    monkeypatch.setattr(_sweep, "run", finish)
    runs, seen = runs_of(), []
    if shard == (0, 1):
        write_lines(tmp_path / folder_of(runs[0]), 7)
    sweep(runs, tmp_path, shard=shard, say=silent, watch=lambda *counts: seen.append(counts))
    total = 3 * len(list(tmp_path.rglob("rounds.jsonl")))
    assert 0 < total <= 9
    assert seen[-1] == (total, total)


def test_progress_counts_what_failed_runs_have_done(tmp_path, monkeypatch):
    def fail(options, directory):
        write_lines(directory, 2)
        raise RuntimeError

    monkeypatch.setattr(_sweep, "run", fail)
    seen = []
    sweep(runs_of(), tmp_path, say=silent, watch=lambda *counts: seen.append(counts))
    assert seen[-1] == (6, 9)


def test_progress_is_shown_while_a_run_goes_on(tmp_path, monkeypatch):
    seen = []

    def wait_to_be_seen(options, directory):
        write_lines(directory, 1)
        while (1, 3) not in seen:
            time.sleep(0.01)
        return finish(options, directory)

    monkeypatch.setattr(_sweep, "run", wait_to_be_seen)
    monkeypatch.setattr(_sweep, "_PROGRESS_EVERY", 0.01)
    sweep(runs_of(strategy="random"), tmp_path, say=silent, watch=lambda *counts: seen.append(counts))
    assert seen[-1] == (3, 3)


# refused before the first run


def refuse_to_run(monkeypatch):
    monkeypatch.setattr(_sweep, "run", lambda options, directory: pytest.fail("a run was begun"))


def test_two_runs_that_would_share_a_directory_are_refused(tmp_path, monkeypatch):
    refuse_to_run(monkeypatch)
    grids = [{**GRID, "learning_rate": rate, "max_epochs": epochs} for rate, epochs in ((1e-3, 5), (1e-2, 6))]
    with pytest.raises(
        InputError, match=r"share the directory .*badge-seed0: they differ in learning_rate, max_epochs"
    ):
        sweep(make_runs(grids), tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_two_strategies_whose_names_make_one_folder_are_refused(tmp_path, monkeypatch):
    refuse_to_run(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_twins.py").write_text(
        "from badge_jax.strategies import margin\ndef make(*, a): return margin()\n"
    )
    runs = runs_of(strategy=["own_twins:make(a='x y')", "own_twins:make(a='x/y')"])
    with pytest.raises(InputError, match="they differ in strategy"):
        sweep(runs, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.5}, "holds a run with learning_rate = 0.0001, not 0.5; give another folder"),
        ({"max_epochs": 3}, "holds a run with max_epochs = 2, not 3; give another folder"),
        ({"initial": 11}, "holds a run with initial = 10, not 11; give another folder"),
        ({"encoding": "codes"}, "holds a run with encoding = 'onehot', not 'codes'; give another folder"),
        ({"diagnostics": True}, "holds a run with diagnostics = False, not True; give another folder"),
    ],
)
def test_a_directory_with_another_configuration_is_refused(tmp_path, monkeypatch, changes, message):
    """The first run of the grid is not begun, though the third is the one that does not fit."""
    grid = {**TOY, "strategy": ["margin", "random", "entropy"], "learning_rate": 1e-4}
    directory = tmp_path / folder_of(make_runs([grid])[2])
    directory.mkdir(parents=True)
    config = to_config(resolve(make_runs([grid])[2]))
    write_config(directory, config)
    before = what_is_left(tmp_path)
    refuse_to_run(monkeypatch)
    with pytest.raises(InputError) as caught:
        sweep(make_runs([{**grid, **changes}]), tmp_path)
    assert str(caught.value) == f"--out {directory} {message}"
    assert what_is_left(tmp_path) == before


def test_a_sweep_that_is_refused_changes_no_other_directory(tmp_path, monkeypatch):
    """The first run would be extended, were the second not another run."""
    refuse_to_run(monkeypatch)
    for options in toys(rounds=1):
        directory = tmp_path / folder_of(options)
        directory.mkdir(parents=True)
        config = to_config(resolve(options)) | ({"clip": 9.0} if options.strategy == "random" else {})
        write_config(directory, config)
    before = what_is_left(tmp_path)
    with pytest.raises(InputError, match=r"holds a run with clip = 9\.0, not 0\.1"):
        sweep(toys(rounds=4), tmp_path)
    assert what_is_left(tmp_path) == before


def test_a_run_of_0_1_is_not_extended(tmp_path, monkeypatch):
    refuse_to_run(monkeypatch)
    (options,) = runs_of(strategy="badge")
    config = {
        "dataset": "kropt",
        "model": "linear",
        "strategy": "badge",
        "batch_size": 100,
        "seed": 0,
        "rounds": 2,
    }
    directory = tmp_path / folder_of(options)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match=r"badge-seed0 holds a run of badge_jax 0\.1, which this version can report"
    ):
        sweep([options], tmp_path)
    assert not (tmp_path / ".sweeps").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": ["random", "bagde"]}, "unknown strategy 'bagde'; did you mean badge?"),
        (
            {"strategy": ["random", "badge(frist=norm)"]},
            "strategy badge has no option 'frist' (its options: first=",
        ),
        ({"strategy": ["random", "badge(first=longest)"]}, "longest"),
        ({"strategy": ["random", "no_such_module:make"]}, "there is no module no_such_module"),
        ({"dataset": ["kropt", "kropd"]}, "unknown dataset 'kropd'; did you mean kropt?"),
        ({"model": ["linear", "mlp(hiden=8)"]}, "model mlp has no option 'hiden'"),
        ({"rounds": 253}, "need 25400 labels; the pool of kropt has 25250"),
        ({"batch_size": [100, 26_000]}, "the pool of kropt has 25250"),
        ({"initial": 0}, "--initial is 0; it must be at least 1"),
        ({"learning_rate": -1}, "--learning-rate is -1.0; it must be a positive number"),
        ({"source": "generatd"}, "did you mean generated"),
        (
            {"max_labels": 199},
            "max_labels 199 leaves kropt (a pool of 25250) no room for 100 initial labels and one ",
        ),
    ],
)
def test_what_cannot_run_is_refused_and_leaves_nothing(tmp_path, monkeypatch, capsys, changes, message):
    refuse_to_run(monkeypatch)
    assert main(sweep_arguments(tmp_path / "runs", **changes)) == 2
    problem = capsys.readouterr().err
    assert problem.startswith("badge-jax: ")
    assert message in problem
    assert problem.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_flags_take_the_place_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_sweep, "run", finish)
    spec = tmp_path / "sweep.toml"
    spec.write_text(
        'seed = 7\nrounds = 9\nmodel = "linear"\n'
        '[[grid]]\ndataset = "kropt"\nstrategy = ["badge", "random"]\nbatch_size = 100\n'
        '[[grid]]\ndataset = "letter"\nstrategy = "margin"\nbatch_size = 50\n'
    )
    assert main(["sweep", str(spec), "--out", str(tmp_path / "runs"), "--rounds", "1", "--seeds", "0-1"]) == 0
    found = [(run.setting.dataset, run.strategy, run.seed, run.rounds) for run in status(tmp_path / "runs")]
    assert found == [
        ("kropt", "badge", 0, 1),
        ("kropt", "badge", 1, 1),
        ("kropt", "random", 0, 1),
        ("kropt", "random", 1, 1),
        ("letter", "margin", 0, 1),
        ("letter", "margin", 1, 1),
    ]


# real processes


def workers_of(parent):
    """The processes of a sweep that hold claims or may come to."""
    return [
        pid for pid in children_of(parent.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A sweep by one worker with one thread."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finished(start(sweep_arguments(folder, **SMALL)))
    return folder


def test_two_workers_leave_the_files_of_one(tmp_path, undisturbed):
    output = finished(start(sweep_arguments(tmp_path, "--workers", 2, **SMALL), PROCESSORS[:2]))
    assert what_is_left(tmp_path) == what_is_left(undisturbed)
    assert sorted(line.partition(":")[0] for line in output.splitlines()) == sorted(
        f"kropt-linear-100/{strategy}-seed{seed}" for strategy in ("badge", "random") for seed in (0, 1)
    )
    for path in (*tmp_path.rglob("config.json"), *undisturbed.rglob("config.json")):
        assert read_config(path.parent)["environment"]["threads"] == 1


def kill(parent):
    """Kills the parent of two workers and waits for them to end."""
    workers = workers_of(parent)
    parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, workers)), "the workers live on", seconds=15)
    parent.communicate()
    assert len(workers) == 2


def test_workers_end_with_a_parent_that_is_killed_and_the_same_command_resumes(tmp_path, undisturbed):
    args = sweep_arguments(tmp_path, "--workers", 2, **SMALL)
    parent = start(args, PROCESSORS[:2])
    wait_for(lambda: num_lines(tmp_path) >= 3, "some rounds")
    kill(parent)
    assert num_lines(tmp_path) < NUM_LINES, "the sweep was over before it was killed"
    finished(start(args, PROCESSORS[:2]))
    assert what_is_left(tmp_path) == what_is_left(undisturbed)


def test_workers_end_with_a_parent_that_is_killed_while_they_start(tmp_path):
    """They have not looked yet who their parent is."""
    parent = start(sweep_arguments(tmp_path, "--workers", 2, **SMALL), PROCESSORS[:2])
    wait_for(lambda: len(workers_of(parent)) == 2, "two workers")
    kill(parent)
    assert num_lines(tmp_path) < NUM_LINES


def test_a_worker_that_is_killed_leaves_its_run_to_the_others(tmp_path, undisturbed):
    parent = start(sweep_arguments(tmp_path, "--workers", 2, **SMALL), PROCESSORS[:2])
    wait_for(lambda: num_lines(tmp_path) >= 2, "some rounds")
    os.kill(json.loads(next(tmp_path.rglob("claim-*")).read_text())["pid"], signal.SIGKILL)
    output = finished(parent)
    assert "a worker was ended by signal 9" in output
    assert what_is_left(tmp_path) == what_is_left(undisturbed)


@pytest.mark.parametrize("moment", ["while they start", "while they work"])
def test_ctrl_c_ends_parent_and_workers(tmp_path, moment):
    command = [sys.executable, "-m", "badge_jax", *sweep_arguments(tmp_path, "--workers", 2, **SMALL)]
    with hearing_ctrl_c():
        parent = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
    wait_for(lambda: len(workers_of(parent)) == 2, "two workers")
    if moment == "while they work":
        wait_for(lambda: num_lines(tmp_path) >= 1, "a round")
    time.sleep(0.3)
    workers = workers_of(parent)
    os.killpg(parent.pid, signal.SIGINT)
    message = parent.communicate()[1]
    assert parent.returncode == 130
    assert message.startswith("badge-jax: interrupted; the same command resumes the runs\n")
    assert "Traceback" not in message
    assert "KeyboardInterrupt" not in message
    wait_for(lambda: not any(map(is_alive, workers)), "the workers live on", seconds=15)


OWN = """
import jax.numpy as jnp
import numpy as np
from badge_jax.strategies import Strategy

def data(n=200):
    inputs = np.random.default_rng(0).normal(size=(n, 3))
    return inputs, (inputs[:, 0] > 0).astype(int)

def make(step=7):
    def query(key, state, pool, k):
        score = (jnp.arange(len(pool.labels)) * step + state * 13) % 997
        return jnp.argsort(jnp.where(pool.available, score, 10_000))[:k].astype(jnp.int32), state + 1
    return Strategy(lambda n, rounds: jnp.int32(0), query, needs=())
"""


ON_TWO_GPUS = """
import os
import time
from pathlib import Path
import numpy as np
from jax._src import xla_bridge
from badge_jax.runs import _sweep, make_runs

SEEN_AT_IMPORT = os.environ.get("CUDA_VISIBLE_DEVICES")

def data():
    if SEEN_AT_IMPORT is not None:  # in a worker, which waits until the other works too
        Path(f"saw-{SEEN_AT_IMPORT}").touch()
        while len([*Path().glob("saw-*")]) < 2:
            time.sleep(0.1)
    return np.eye(40, dtype=np.float32), np.arange(40) % 2

if __name__ == "__main__":
    _sweep.count_devices = lambda: ("gpu", 2)
    grid = {"dataset": "mine:data", "model": "linear", "strategy": ["random", "margin"], "batch_size": 5}
    runs = make_runs([{**grid, "initial": 10, "rounds": 1, "max_epochs": 1}])
    assert _sweep.sweep(runs, "runs", workers=2, say=print) == []
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not xla_bridge.backends_are_initialized(), "the devices are the workers'"
"""


def test_each_worker_sees_its_own_device(tmp_path):
    """From its first import on: a module of the user's may take hold of what it sees. Two GPUs are made up."""
    (tmp_path / "mine.py").write_text(ON_TWO_GPUS)
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "mine.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.glob("saw-*")) == ["saw-0", "saw-1"]


def test_what_the_current_folder_holds_runs_in_worker_processes(tmp_path):
    """A strategy and a data set of the user's own."""
    (tmp_path / "own_steps.py").write_text(OWN)
    grid = {"dataset": "own_steps:data", "strategy": ["own_steps:make", "own_steps:make(step=3)"]}
    grid |= {"batch_size": 9, "initial": 10, "rounds": 1, "max_epochs": 1, "seeds": 0}
    finished(start(sweep_arguments("runs", "--workers", 2, **grid), PROCESSORS[:2], folder=tmp_path))
    folder = tmp_path / "runs" / "own_steps_data-linear-9"
    names = ("own_steps_make-seed0", "own_steps_make_step=3-seed0")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    configs = [read_config(folder / name) for name in names]
    assert [config["strategy"] for config in configs] == grid["strategy"]
    assert [config["strategy_options"] for config in configs] == [{"step": 7}, {"step": 3}]
    assert {config["code"]["strategy"]["file"] for config in configs} == {"own_steps.py"}
    picks = [read_rounds(folder / name)[1]["indices"] for name in names]
    assert all(len(set(rows)) == 9 for rows in picks)
    assert picks[0] != picks[1]


def kill_at_random(folder, args, num_workers, num_kills, total, seed):
    """Workers on one sweep. Again and again, when some more rounds are done, one of those at work is killed and
    another is started. Then they are left alone. Returns what all of them have printed."""
    rng = random.Random(seed)
    workers, output = [start(args) for _ in range(num_workers)], ""
    for kill in range(num_kills):
        least = (kill + rng.uniform(0.2, 0.9)) * 0.9 * total / num_kills
        wait_for(lambda least=least: num_lines(folder) >= least, "rounds")
        time.sleep(rng.uniform(0, 0.3))
        at_work = []
        for path in folder.rglob("claim-*"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                at_work.append(json.loads(path.read_text())["pid"])
        busy = [worker for worker in workers if worker.pid in at_work and worker.poll() is None]
        victim = rng.choice(busy or workers)
        victim.send_signal(signal.SIGKILL)
        output += victim.communicate()[0]
        assert victim.returncode == -signal.SIGKILL, "the sweep was over before enough workers were killed"
        workers[workers.index(victim)] = start(args)
    output += "".join(finished(worker) for worker in workers)
    output += finished(start(args))
    return output


def check_killed(killed, undisturbed, output, number):
    left = what_is_left(killed)
    assert left == what_is_left(undisturbed)
    assert len(left) == 5 * number + 1  # config, rounds, by class, state, lock; the list of runs
    ended = [line.partition(":")[0] for line in output.splitlines() if " labels, " in line]
    assert len(ended) == len(set(ended)), "a run ended twice"
    assert "FAILED" not in output


def test_two_workers_killed_five_times(tmp_path, undisturbed):
    output = kill_at_random(tmp_path, sweep_arguments(tmp_path, **SMALL), 2, 5, NUM_LINES, seed=0)
    check_killed(tmp_path, undisturbed, output, 4)


@pytest.mark.slow
def test_three_workers_killed_thirty_times(tmp_path):
    grid = {**SMALL, "strategy": ["badge", "albl", "random", "coreset", "margin", "entropy"], "rounds": 20}
    finished(start(sweep_arguments(tmp_path / "undisturbed", **grid)))
    args = sweep_arguments(tmp_path / "killed", **grid)
    output = kill_at_random(tmp_path / "killed", args, 3, 30, 12 * 21, seed=1)
    check_killed(tmp_path / "killed", tmp_path / "undisturbed", output, 12)


def test_runs_of_one_setting_share_their_programs(tmp_path, compilations):
    counts = []
    sweep(toys(seeds="0-2"), tmp_path, say=lambda line: counts.append(len(compilations)))
    assert len(counts) == 6
    assert counts[0] == counts[1] == counts[2] < counts[3] == counts[4] == counts[5]
    seconds = [read_rounds(path)[0]["compile_seconds"] for path in sorted(tmp_path.glob("toy-*/margin-*"))]
    assert seconds[0] > 0 == max(seconds[1:])


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_begin_with_different_settings_and_see_every_run(workers, tmp_path):
    jobs = [
        _sweep.Job(run, tmp_path / folder_of(run))
        for run in toys(seeds="0-2", strategy=["margin", "random", "entropy"])
    ]
    by_seed = sorted(jobs, key=lambda job: job.options.seed)
    for i in range(workers):
        order = _sweep._in_turn(by_seed, i, workers)
        assert {*order} == {*jobs}
        settings = [job.options.strategy for job in order]
        assert [*dict.fromkeys(settings)] == settings[::3]  # one after another, three runs each
        assert settings[0] == ["margin", "random", "entropy"][i * 3 // workers]
