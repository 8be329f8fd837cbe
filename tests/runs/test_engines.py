"""Sweeps on a cluster: jobs and tasks that die lose no run and repeat none; what cannot start is one line."""

import contextlib
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_slurm
import jax
import pytest
import yaml
from sweeping import (
    GRID,
    NUM_LINES,
    PROCESSORS,
    ROOT,
    SMALL,
    children_of,
    finished,
    is_alive,
    num_lines,
    pinned,
    start,
    sweep_arguments,
    wait_for,
    what_is_left,
)

from badge_jax.cli import main
from badge_jax.errors import EnvironmentFailure
from badge_jax.runs import _sweep, engines, make_runs, read_rounds, status
from badge_jax.runs.engines import Dask, Slurm, engine_of

NEEDED = {
    package: pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"needs {package} (extra {extra})"
    )
    for package, extra in (("submitit", "slurm"), ("distributed", "dask"))
}
ELSEWHERE = json.dumps({"machine": "elsewhere", "pid": 1, "started": "1"})


@pytest.fixture(autouse=True)
def _no_compilation_cache():
    """A sweep turns it on for the whole process."""
    yield
    jax.config.update("jax_compilation_cache_dir", None)


def silent(*_):
    """For what a sweep says."""


# what ``--on`` says


def test_the_engine_that_is_named():
    engine = engine_of(["slurm(timeout_min=240, partition=gpu, constraint='a100&nvlink', mem_gb=1.5)"])
    assert engine == Slurm(timeout_min=240, partition="gpu", constraint="a100&nvlink", mem_gb=1.5)
    for address in ("tcp://10.0.0.1:8786", "tls://head.cluster.org:1", "head:8786", "tcp://[fe80::1]:8786"):
        assert engine_of(["dask", address]) == Dask(address)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["slrum"], "unknown engine 'slrum'; did you mean slurm? (known: slurm, dask)"),
        (["mine:make"], "unknown engine 'mine:make'"),
        (["slurm"], "engine slurm needs the option timeout_min: slurm(timeout_min=…)"),
        (["slurm(timeout_min=5, tiem=3)"], "engine slurm has no option 'tiem' (its options: timeout_min, "),
        (["slurm(timeout_min=0)"], "timeout_min is 0; wanted a positive number"),
        (["slurm(timeout_min=True)"], "timeout_min is True; wanted a positive number"),
        (["slurm(timeout_min=2.5)"], "timeout_min is 2.5; wanted a positive number"),
        (["slurm(timeout_min=5, gpus_per_node=a100)"], "gpus_per_node is 'a100'; wanted a positive number"),
        (["slurm(timeout_min=5, partition=3)"], "partition is 3; wanted text without spaces"),
        (["slurm(timeout_min=5, partition='a\\n#SBATCH b')"], "wanted text without spaces"),
        (["slurm(timeout_min=5", "partition=gpu)"], "--on slurm takes no 'partition=gpu)'; wanted 'slurm(tim"),
        (["slurm(timeout_min=5"], "cannot be read"),
        (["dask"], "--on is 'dask'; wanted dask tcp://HOST:PORT, the address of a scheduler"),
        (["dask", "localhost"], "--on is 'dask localhost'; wanted dask tcp://HOST:PORT"),
        (["dask", "http://localhost:8786"], "wanted dask tcp://HOST:PORT"),
        (["dask", "tcp://localhost:87860"], "wanted dask tcp://HOST:PORT"),
        (["dask", "tcp://a:1", "tcp://b:1"], "wanted dask tcp://HOST:PORT"),
        (["dask(address=a)"], "wanted dask tcp://HOST:PORT"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(tmp_path, capsys, words, message):
    assert main(sweep_arguments(tmp_path / "runs", "--on", *words)) == 2
    assert message in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_is_not_for_engines(tmp_path, capsys):
    assert main(sweep_arguments(tmp_path / "runs", "--shard", "0/2", "--on", "dask", "tcp://a:1")) == 2
    assert "--on and --shard are both given" in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "package"), [(["slurm(timeout_min=5)"], "submitit"), (["dask", "tcp://a:1"], "distributed")]
)
def test_a_missing_extra_is_one_line(tmp_path, monkeypatch, capsys, words, package):
    fake_slurm.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(sweep_arguments(tmp_path / "runs", "--on", *words)) == 1
    message = one_line(capsys.readouterr().err)
    assert f"--on {words[0][:5].strip('(')} needs the package {package} (" in message
    assert message.endswith(f"pip install --editable '.[{words[0][:5].strip('(')}]'\n")
    assert not (tmp_path / "runs").exists()


def test_slurm_needs_its_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(sweep_arguments(tmp_path / "runs", "--on", "slurm(timeout_min=5)")) == 1
    assert "--on slurm needs the command sbatch, which is not found here" in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def one_line(text):
    assert text.startswith("badge-jax: "), text
    assert text.count("\n") == 1, text
    return text


PAGE = (ROOT / "docs" / "experiments.md").read_text("utf-8")


def test_the_engines_of_the_docs():
    given = re.findall(r"^badge-jax sweep .* --on (.*)$", PAGE, re.MULTILINE)
    assert [engine_of(shlex.split(words)) for words in given] == [
        Slurm(timeout_min=240, partition="gpu", gpus_per_node=1),
        Dask("tcp://HOST:8786"),
    ]


def test_the_manifest_and_the_script_of_the_docs(tmp_path, monkeypatch, capsys):
    """Its command runs a sweep here."""
    (manifest,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    job = yaml.safe_load(manifest)["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"]
    (container,) = job["template"]["spec"]["containers"]
    assert [volume["name"] for volume in job["template"]["spec"]["volumes"]] == ["runs"]
    program, *words = [word.replace("/runs", str(tmp_path)) for word in container["command"]]
    assert program == "badge-jax"
    grid = {**GRID, "strategy": "random"}
    (tmp_path / "grid.toml").write_text("".join(f"{name} = {json.dumps(grid[name])}\n" for name in grid))
    monkeypatch.setattr(_sweep, "run", finish)
    assert main(words) == 0
    assert [run.state for run in status(tmp_path / "grid")] == ["done"]
    (script,) = re.findall(r"```py\n([^`]*import ray\n.*?)```", PAGE, re.DOTALL)
    compile(script, "ray", "exec")


# a worker of an engine


@pytest.fixture
def held(tmp_path):
    """A sweep of two runs, the second claimed by another machine: the record, and the claim."""
    jobs, record = _sweep.prepare(make_runs([{**GRID, "strategy": ["badge", "random"]}]), tmp_path, 1)
    claim = jobs[1].directory / "claim-1"
    claim.parent.mkdir(parents=True)
    claim.write_text(ELSEWHERE)
    return record, claim


def finish(options, directory):
    """In place of `run`."""
    directory.mkdir(parents=True, exist_ok=True)
    line = {"num_labeled": 1, "test_accuracy": 0.5, "fit_seconds": 0.0, "query_seconds": 0.0}
    lines = [json.dumps({"round": i, **line}) for i in range(options.rounds + 1)]
    (directory / "rounds.jsonl").write_text("\n".join(lines) + "\n")
    return read_rounds(directory)


def test_a_worker_of_an_engine_does_not_idle(held, monkeypatch):
    """It ends when the claim has been touched for longer than a dead one could look alive."""
    record, claim = held
    naps, said = [], []

    def nap(seconds):
        naps.append(seconds)
        os.utime(claim)

    monkeypatch.setattr(_sweep, "run", finish)
    monkeypatch.setattr(_sweep.time, "sleep", nap)
    _sweep.work(record, (0, 1), said.append)
    assert [line.partition(":")[0] for line in said] == [
        "kropt-linear-100/badge-seed0",
        "waiting for 1 runs that other workers hold",
        "leaves 1 runs to the workers that hold them",
    ]
    assert 120 < sum(naps) < 200
    assert claim.exists()


def test_a_worker_of_an_engine_takes_over_what_a_dead_machine_held(held, monkeypatch):
    """The claim was touched just before the machine died, and looks alive for two minutes."""
    record, claim = held
    elapsed = []

    def nap(seconds):
        elapsed.append(seconds)
        age = sum(elapsed) - 1
        os.utime(claim, (time.time() - age, time.time() - age))

    monkeypatch.setattr(_sweep, "run", finish)
    monkeypatch.setattr(_sweep.time, "sleep", nap)
    _sweep.work(record, (0, 1), silent)
    assert not claim.exists()
    assert len(read_rounds(claim.parent)) == 3


def test_a_folder_that_a_worker_does_not_see(tmp_path):
    record = tmp_path / "runs" / ".sweeps" / "0123abcd.json"
    with pytest.raises(EnvironmentFailure, match=r"0123abcd\.json is not on .*; the folder of a sweep must be"):
        _sweep.work(record, (0, 1), silent)
    assert list(tmp_path.iterdir()) == []


def test_workers_of_an_engine_begin_with_different_settings(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(
        _sweep, "run", lambda options, directory: (ran.append(options), finish(options, directory))[1]
    )
    _, record = _sweep.prepare(make_runs([GRID]), tmp_path, 3)
    _sweep.work(record, (1, 3), silent)
    assert [options.strategy for options in ran] == ["albl", "random", "badge"]
    assert ran == make_runs([GRID])[1:] + make_runs([GRID])[:1]


# real jobs and tasks


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A sweep by one worker with one thread."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finished(start(sweep_arguments(folder, **SMALL)))
    return what_is_left(folder)


def runs_in(folder):
    """`what_is_left` without the logs of jobs."""
    return {name: value for name, value in what_is_left(folder).items() if not name.startswith(engines.LOGS)}


def check_each_ended_once(text):
    ended = re.findall(r"^(kropt-\S+): \d+ labels, ", text, re.MULTILINE)
    assert len(ended) == len(set(ended)) == 4, text
    assert "FAILED" not in text


def pids_at_work(folder):
    pids = []
    for path in folder.rglob("claim-*"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            pids.append(json.loads(path.read_text())["pid"])
    return pids


def wait_for_work(folder, num_rounds, num_workers):
    """Waits until that many rounds are done and workers are at it. Returns the workers' process numbers."""
    found = []

    def look():
        found[:] = pids_at_work(folder)
        return num_lines(folder) >= num_rounds and len(found) == num_workers

    wait_for(look, f"{num_rounds} rounds, and {num_workers} workers")
    return found


def kill_with_children(process):
    """The process first, since it might start others."""
    for pid in (process.pid, *children_of(process.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def logs_of(folder):
    return "".join(path.read_text() for path in sorted((folder / engines.LOGS).glob("*.out")))


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder in which jobs are held back while it has a file ``hold``."""
    fake_slurm.install(tmp_path / "bin")
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return state


@pytest.mark.extras
@NEEDED["submitit"]
def test_jobs_of_slurm_are_preempted_and_the_same_command_adds_none(slurm, tmp_path, capsys, undisturbed):
    out = tmp_path / "runs"
    on = ["--on", "slurm(timeout_min=60, partition=gpu, mem_gb=4, gpus_per_node=1)"]

    def command(workers):
        with pinned(PROCESSORS[:1]):
            assert main(sweep_arguments(out, "--workers", workers, *on, **SMALL)) == 0
        return capsys.readouterr().out

    (slurm / "hold").touch()
    assert f"2 workers submitted as job 1; their logs will be in {out / 'slurm'}\n" in command(2)
    script = (out / "slurm" / "1_submission.sh").read_text()
    for line in ("array=0-1%2", "partition=gpu", "time=60", "mem=4GB", "gpus-per-node=1"):
        assert f"#SBATCH --{line}\n" in script
    again = command(2)
    assert "2 workers of this sweep are queued or running (job name badge-jax-" in again
    assert "submitted" not in again
    assert "1 workers submitted as job 2" in command(3), "it adds what is lacking"
    assert num_lines(out) == 0
    assert [run.state for run in status(out)] == ["missing"] * 4
    (slurm / "hold").unlink()
    os.kill(wait_for_work(out, 2, 2)[0], signal.SIGUSR2)
    wait_for(lambda: not [*slurm.glob("job-*")], "the jobs go on", seconds=120)
    assert len([*slurm.glob("requeued-*")]) == 1
    assert runs_in(out) == undisturbed
    check_each_ended_once(logs_of(out))
    assert command(2) == "all runs are done\n"


@pytest.mark.extras
@NEEDED["submitit"]
def test_a_job_that_sbatch_refuses_is_one_line(slurm, tmp_path, capsys):
    arguments = sweep_arguments(tmp_path / "runs", "--on", "slurm(timeout_min=60, partition=refused)", **SMALL)
    for workers in (1, 2):
        assert main([*arguments, "--workers", str(workers)]) == 1
        message = one_line(capsys.readouterr().err)
        assert "sbatch does not take the jobs: sbatch: error: invalid partition specified: refused" in message


def submit_here(out, **grid):
    """A worker on submitit's executor for one machine."""
    _, record = _sweep.prepare(make_runs([{**GRID, **SMALL, **grid}]), out, 1)
    executor = engines.import_submitit().LocalExecutor(out / engines.LOGS)
    executor.update_parameters(timeout_min=10)
    with pinned(PROCESSORS[:1]):
        return executor.submit(engines._Job(record, (0, 1)))


@pytest.mark.extras
@NEEDED["submitit"]
def test_a_job_that_is_signalled_is_requeued_and_resumes(tmp_path, monkeypatch, undisturbed):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    out = tmp_path / "runs"
    job = submit_here(out)
    (first,) = wait_for_work(out, 3, 1)
    os.kill(first, signal.SIGUSR2)
    wait_for(lambda: not is_alive(first), "it works on", seconds=15)
    assert num_lines(out) < NUM_LINES, "the sweep was over before the signal"
    assert job.result() is None
    text = logs_of(out)
    assert text.count("Requeued job") == 1
    assert runs_in(out) == undisturbed
    check_each_ended_once(text)


@pytest.mark.extras
@NEEDED["submitit"]
def test_a_signal_is_heard_in_the_middle_of_a_program(tmp_path, monkeypatch):
    """A fit without end: Python's main thread must not be the one that waits for it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    out = tmp_path / "runs"
    job = submit_here(out, strategy="random", seeds="0", max_epochs=10**9, learning_rate=1e-9)
    try:
        (worker,) = wait_for_work(out, 0, 1)
        wait_for(lambda: [*out.rglob("config.json")], "no run")
        time.sleep(5)  # the program is compiled
        os.kill(worker, signal.SIGUSR2)
        wait_for(lambda: not is_alive(worker), "it waits for its program", seconds=5)
        assert num_lines(out) == 0
        wait_for(lambda: "Requeued job" in logs_of(out), "it is not requeued")
    finally:
        kill_with_children(job._process)


@contextlib.contextmanager
def dask_cluster(folder, num_workers):
    """A scheduler and workers, each a process with one thread under a supervisor.

    Yields:
        The scheduler's address and its process.
    """
    file, processes = folder / "scheduler.json", []

    def start_process(kind, *words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", "--scheduler-file"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (folder / "log").open("a") as log, pinned(PROCESSORS[:1]):
            processes.append(
                subprocess.Popen([*command, file, *words], cwd=folder, env=environment, stdout=log, stderr=log)
            )

    try:
        start_process("scheduler", "--host", "127.0.0.1", "--port", "0")
        wait_for(file.exists, "no scheduler")
        for i in range(num_workers):
            start_process("worker", "--nthreads", "1", "--local-directory", str(folder / str(i)))
        wait_for(lambda: (folder / "log").read_text().count("Register worker") == num_workers, "no workers")
        yield json.loads(file.read_text())["address"], processes[0]
    finally:
        for process in reversed(processes):
            kill_with_children(process)


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """The address of a scheduler with two workers."""
    with dask_cluster(tmp_path_factory.mktemp("dask"), 2) as (address, _):
        yield address


def start_on_dask(address, out, *, folder=ROOT, **grid):
    return start(sweep_arguments(out, "--workers", 2, "--on", "dask", address, **grid), folder=folder)


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.extras
@NEEDED["distributed"]
def test_a_dask_worker_that_is_killed_leaves_its_run_to_the_other(dask, tmp_path, undisturbed):
    sweep = start_on_dask(dask, tmp_path, **SMALL)
    victim = wait_for_work(tmp_path, 2, 2)[0]
    os.kill(parent_of(victim), signal.SIGKILL)
    wait_for(lambda: not is_alive(victim), "its process lives on", seconds=15)
    assert num_lines(tmp_path) < NUM_LINES, "the sweep was over before the worker was killed"
    check_each_ended_once(finished(sweep))
    assert what_is_left(tmp_path) == undisturbed


@pytest.mark.extras
@NEEDED["distributed"]
def test_ctrl_c_ends_the_tasks(dask, tmp_path):
    sweep = start_on_dask(dask, tmp_path, **{**SMALL, "rounds": 200})
    workers = wait_for_work(tmp_path, 2, 2)
    sweep.send_signal(signal.SIGINT)
    assert "the same command resumes the runs" in sweep.communicate()[0]
    assert sweep.returncode == 130
    wait_for(lambda: not any(map(is_alive, workers)), "the workers live on", seconds=15)


@pytest.mark.extras
@NEEDED["distributed"]
def test_a_scheduler_that_is_lost_is_one_line_and_the_runs_are_resumed_elsewhere(tmp_path, undisturbed):
    """By a plain sweep, while the worker may still be at it."""
    (tmp_path / "dask").mkdir()
    out = tmp_path / "runs"
    with dask_cluster(tmp_path / "dask", 1) as (address, scheduler):
        sweep = start_on_dask(address, out, **SMALL)
        wait_for(lambda: num_lines(out) >= 2, "some rounds")
        scheduler.kill()
        output = sweep.communicate()[0]
        assert sweep.returncode == 1
        message = output.splitlines()[-1]
        assert re.fullmatch(
            r"badge-jax: \d runs are not done: the connection to the scheduler was lost; .*", message
        )
        assert "Traceback" not in output
        finished(start(sweep_arguments(out, **SMALL)))
    assert what_is_left(out) == undisturbed


@pytest.mark.extras
@NEEDED["distributed"]
def test_no_scheduler_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines, "_ANSWER_WITHIN", 0.5)
    assert main(sweep_arguments(tmp_path / "runs", "--on", "dask", "tcp://127.0.0.1:9")) == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9 (" in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


OWN = """
import jax.numpy as jnp
from badge_jax.strategies import Ranked, planned

def make():
    return planned("last", Ranked(lambda pool: jnp.arange(len(pool.labels))), needs=())

def breaks():
    return planned("breaks", Ranked(lambda pool: 1 / 0), needs=())
"""


@pytest.mark.extras
@NEEDED["distributed"]
def test_tasks_find_what_the_current_folder_holds_and_report_what_fails(dask, tmp_path):
    (tmp_path / "own_last.py").write_text(OWN)
    grid = {"strategy": ["own_last:make", "own_last:breaks"], "rounds": 1, "max_epochs": 1}
    sweep = start_on_dask(dask, "runs", folder=tmp_path, **grid)
    output = sweep.communicate()[0]
    assert sweep.returncode == 1
    assert "own_last_make-seed0: 200 labels, " in output
    assert "own_last_breaks-seed0: FAILED: " in output
    assert "badge-jax: 1 runs have failed; their error.txt says why: " in output
    assert [run.state for run in status(tmp_path / "runs")] == ["failed", "done"]
