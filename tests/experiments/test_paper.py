"""The grid: what it holds, and that workers killed at random moments lose no run and repeat none."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import paper

ROOT = Path(paper.__file__).resolve().parents[1]
TIMINGS = ("fit_seconds", "query_seconds")


def arguments(runs, *more, command="run", strategies=("badge", "albl", "random"), seeds=(0, 1), labels=300):
    chosen = [f"dataset=kropt,batch_size=100,strategy={s},seed={seed}" for s in strategies for seed in seeds]
    only = [part for text in chosen for part in ("--only", text)]
    return [command, "--runs", str(runs), "--max-labels", str(labels), "--learning-rate", "1e-2", *only, *more]


def jobs_of(*args):
    return paper.grid(paper.parse(["list", *map(str, args)]))


def what_is_left(folder):
    """Every file of a grid, without timings and the machine."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "config.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "environment"}
        elif path.name == "rounds.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]
        elif path.name == "state.npz":
            with np.load(path) as arrays:
                found[name] = {k: arrays[k].tolist() for k in arrays if k != "query_seconds"}
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def test_the_grid_is_the_papers():
    jobs = jobs_of()
    assert len(paper.SETTINGS) == 33
    assert len(jobs) == 33 * 7 * 5
    assert len({job.directory for job in jobs}) == len(jobs)
    assert {job.seed for job in jobs[: 33 * 7]} == {0}, "the first seed of everything first"
    rounds = {job[:3]: job.rounds for job in jobs}
    assert rounds["mnist", "mlp", 100] == 499
    assert rounds["cifar10", "vgg11", 10_000] == 4
    assert rounds["letter", "mlp", 1000] == 17  # 18,000 rows in the pool
    assert rounds["kropt", "mlp", 10_000] == 2  # 25,250
    assert rounds["pokerhand", "mlp", 1000] == 49


def test_shards_are_a_partition():
    whole = jobs_of()
    parts = [jobs_of("--shard", f"{part}/8") for part in range(8)]
    assert sorted(job for jobs in parts for job in jobs) == sorted(whole)


def test_only_and_max_labels():
    jobs = jobs_of("--only", "dataset=letter,batch_size=1000", "--only", "seed=3,strategy=badge,model=vgg11")
    assert len(jobs) == 35 + 6
    assert {
        job.rounds for job in jobs_of("--only", "dataset=letter,batch_size=1000", "--max-labels", 8150)
    } == {8}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "dataset=lettr"], "no run of the grid has"),
        (["--only", "data=letter"], "wanted key=value"),
        (["--only", "dataset"], "wanted key=value"),
        (["--shard", "8/8"], "wanted I/N"),
        (["--shard", "a/8"], "wanted I/N"),
        (["--max-labels", "99"], "--max-labels is 99; it must be at least 100"),
    ],
)
def test_bad_options(args, message, capsys):
    with pytest.raises(SystemExit) as caught:
        paper.main(["list", *args])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_failed_run_leaves_its_error_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    ran = []

    def fail_once(options, directory):
        ran.append(directory.name)
        if options.strategy == "albl" and ran.count(directory.name) == 1:
            raise RuntimeError("the second\nline")
        (directory / "rounds.jsonl").write_text(
            "".join(json.dumps({"round": i, "num_labeled": 1, "test_accuracy": 0.5}) + "\n" for i in range(3))
        )
        return paper.read_rounds(directory)

    monkeypatch.setattr(paper, "run", fail_once)
    args = arguments(tmp_path, seeds=(0,))
    assert paper.main(args) == 1
    assert ran == ["badge-seed0", "albl-seed0", "random-seed0"]
    assert "albl-seed0: FAILED: RuntimeError: the second, " in capsys.readouterr().out
    error = tmp_path / "kropt-mlp-100" / "albl-seed0" / "error.txt"
    assert "the second\nline" in error.read_text()
    past = time.time() - 60
    os.utime(error, (past, past))
    assert paper.main(args) == 0, "a worker started later tries it again"
    assert not error.exists()
    assert ran[3:] == ["albl-seed0"]


@pytest.mark.parametrize(("number", "text"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")])
def test_trouble_with_the_disk_stops_the_worker_in_one_line(tmp_path, monkeypatch, capsys, number, text):
    def full(options, directory):
        raise OSError(number, os.strerror(number), str(directory / "rounds.jsonl"))

    monkeypatch.setattr(paper, "run", full)
    assert paper.main(arguments(tmp_path)) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert text in message
    assert "rounds.jsonl" in message
    assert not list(tmp_path.rglob("error.txt"))
    assert not list(tmp_path.rglob("claim-*"))


def test_a_worker_waits_for_the_last_run_and_takes_it_over(tmp_path, monkeypatch, capsys):
    """Its owner, on another machine, falls silent."""
    args = arguments(tmp_path, strategies=("random",), seeds=(0,), labels=100)
    directory = tmp_path / "kropt-mlp-100" / "random-seed0"
    directory.mkdir(parents=True)
    claim = directory / "claim-1"
    claim.write_text(json.dumps({"machine": "elsewhere", "pid": 1, "started": "1"}))

    def fall_silent(seconds):
        past = time.time() - 1000
        os.utime(claim, (past, past))

    monkeypatch.setattr(paper.time, "sleep", fall_silent)
    monkeypatch.setattr(
        paper, "run", lambda options, directory: (write_lines(directory, 1), paper._rounds(JOB))[1]
    )
    JOB = jobs_of(*args[1:])[0]
    assert paper.main(args) == 0
    printed = capsys.readouterr().out
    assert "waiting for 1 runs" in printed
    assert not claim.exists()


def test_a_worker_with_failures_behind_it_waits_too(tmp_path, monkeypatch):
    """Two runs fail, the third is another machine's: it is looked at once a wait, not without end."""
    claim = tmp_path / "kropt-mlp-100" / "random-seed0" / "claim-1"
    claim.parent.mkdir(parents=True)
    claim.write_text(json.dumps({"machine": "elsewhere", "pid": 1, "started": "1"}))
    looks = []

    def fail(options, directory):
        raise RuntimeError

    def look(job):
        looks.append(job)
        assert len(looks) < 50, "it spins"
        return False

    def fall_silent(seconds):
        os.utime(claim, (1, 1))

    monkeypatch.setattr(paper, "run", fail)
    monkeypatch.setattr(paper, "is_done", look)
    monkeypatch.setattr(paper.time, "sleep", fall_silent)
    assert paper.main(arguments(tmp_path, seeds=(0,))) == 1


def test_an_error_file_from_a_slow_clock_is_not_tried_again_and_again(tmp_path, monkeypatch):
    ran = []

    def fail(options, directory):
        ran.append(directory.name)
        raise RuntimeError

    def write_late(path, content):
        path.write_bytes(content)
        os.utime(path, (1, 1))

    monkeypatch.setattr(paper, "run", fail)
    monkeypatch.setattr(paper, "write_whole", write_late)
    assert paper.main(arguments(tmp_path, seeds=(0,))) == 1
    assert len(ran) == 3


def write_lines(directory, number, seconds=1800.0):
    line = {"num_labeled": 1, "test_accuracy": 0.5, "fit_seconds": seconds, "query_seconds": 0.0}
    (directory / "rounds.jsonl").write_text(
        "".join(json.dumps({"round": i, **line}) + "\n" for i in range(number))
    )


def write_rounds(directory, number):
    directory.mkdir(parents=True)
    write_lines(directory, number)


def test_status(tmp_path, capsys):
    folder = tmp_path / "kropt-mlp-100"
    write_rounds(folder / "badge-seed0", 3)
    write_rounds(folder / "albl-seed0", 1)
    write_rounds(folder / "random-seed0", 0)
    (folder / "random-seed0" / "error.txt").write_text("Traceback\nRuntimeError: no luck\n")
    with paper.claimed(folder / "badge-seed1"):
        assert paper.main(arguments(tmp_path, command="status")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == "kropt-mlp-100 to 300 labels 1 done 1 running 1 failed 3 missing"
    assert lines[1] == "failed: kropt-mlp-100/random-seed0: RuntimeError: no luck"
    assert lines[2] == "6 runs: 1 done, 1 running, 1 failed, 3 missing"
    assert lines[3] == "left: about 7.0 hours of one worker, compilation aside"  # five runs, half an hour done


def test_damaged_files_fail_their_run_alone(tmp_path, capsys):
    args = arguments(tmp_path, strategies=("random",), seeds=(0,), labels=100)
    folder = tmp_path / "kropt-mlp-100" / "random-seed0"
    folder.mkdir(parents=True)
    (folder / "rounds.jsonl").write_text("{")
    assert paper.main(args) == 1
    assert "FAILED: InputError" in capsys.readouterr().out


def kill_at_random(tmp_path, num_workers, num_kills, args, seed):
    """Workers on one grid, one of them killed and started again every few seconds; then left alone."""
    rng = random.Random(seed)

    def start():
        command = [sys.executable, "-m", "experiments.paper", *args]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)

    workers, output, num_killed = [start() for _ in range(num_workers)], "", 0
    for _ in range(num_kills):
        time.sleep(rng.uniform(1.5, 4))
        victim = rng.randrange(num_workers)
        workers[victim].send_signal(signal.SIGKILL)
        output += workers[victim].communicate()[0]
        num_killed += workers[victim].returncode == -signal.SIGKILL
        workers[victim] = start()
    print(f"{num_killed} of {num_kills} kills met a worker at work")
    assert num_killed >= num_kills // 2, "the grid was done before enough workers were killed"
    for worker in workers:
        output += worker.communicate()[0]
        assert worker.returncode == 0, output
    assert (
        subprocess.run([sys.executable, "-m", "experiments.paper", *args], check=False, cwd=ROOT).returncode
        == 0
    )
    return output


def test_two_workers_killed_five_times(tmp_path):
    assert paper.main(arguments(tmp_path / "undisturbed", labels=2100)) == 0
    output = kill_at_random(tmp_path, 2, 5, arguments(tmp_path / "killed", labels=2100), seed=0)
    check(tmp_path, output, 6)


@pytest.mark.slow
def test_three_workers_killed_thirty_times(tmp_path):
    more = {"strategies": ("badge", "albl", "random", "coreset", "margin", "entropy"), "labels": 2100}
    assert paper.main(arguments(tmp_path / "undisturbed", **more)) == 0
    output = kill_at_random(tmp_path, 3, 30, arguments(tmp_path / "killed", **more), seed=1)
    check(tmp_path, output, 12)


def check(tmp_path, output, number):
    killed, undisturbed = what_is_left(tmp_path / "killed"), what_is_left(tmp_path / "undisturbed")
    assert killed.keys() == undisturbed.keys()
    assert len(killed) == 4 * number  # config, rounds, state, lock
    assert killed == undisturbed
    ended = [line.partition(":")[0] for line in output.splitlines() if " labels, " in line]
    assert len(ended) == len(set(ended)), "a run ended twice"
    assert "FAILED" not in output
