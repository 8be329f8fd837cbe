"""Workers of a sweep on a cluster: jobs of SLURM, through submitit, or tasks of Dask.

An engine starts workers, and no more. Which of them makes which run is settled by the claims in the folder, as
in any sweep. So engines may be mixed, and started again while their workers are at it.
"""

import contextlib
import importlib
import io
import logging
import multiprocessing
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from badge_jax import names
from badge_jax.errors import EnvironmentFailure, InputError, missing_extra, one_line, unknown_name
from badge_jax.runs._sweep import Say, Watch, failed_runs, is_done, prepare, watched, work, work_for
from badge_jax.runs.claims import now_at
from badge_jax.runs.options import RunOptions

LOGS = "slurm"  # folder of what SLURM's jobs print
_ADDRESS = re.compile(r"(?:(?:tcp|tls|ucx|wss?)://)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", re.ASCII)
_ANSWER_WITHIN = 10  # seconds
_LOOK_EVERY = 0.5  # seconds


def engine_of(words: Sequence[str]) -> "Slurm | Dask":
    """What ``--on`` names.

    Args:
        words: ``slurm(timeout_min=240, …)``, or ``dask`` and the address of a scheduler.

    Raises:
        InputError: for anything else.

    Example:
        >>> from badge_jax.runs.engines import engine_of
        >>> engine_of(["dask", "tcp://10.0.0.1:8786"])
        Dask(address='tcp://10.0.0.1:8786')
    """
    name, *more = words
    kind = name.partition("(")[0].strip()
    if kind == "slurm":
        if more:
            raise InputError(f"--on slurm takes no {more[0]!r}; wanted 'slurm(timeout_min=240, …)', in quotes")
        engine: Slurm = names.make("engine", names.find("engine", name, {"slurm": Slurm}), Slurm)
        return engine
    if kind == "dask":
        match = _ADDRESS.fullmatch(more[0]) if len(more) == 1 and name == kind else None
        if match is None or int(match[1]) > 65535:
            found = " ".join(words)
            raise InputError(f"--on is {found!r}; wanted dask tcp://HOST:PORT, the address of a scheduler")
        return Dask(more[0])
    raise unknown_name("engine", kind, ("slurm", "dask"))


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """Workers as an array of SLURM's jobs. The names are those of submitit.

    Attributes:
        timeout_min: minutes that a job may take. One that runs out of time is requeued.
        partition: sbatch's, and so are the next four.
        account: to be charged.
        qos: quality of service.
        constraint: on nodes.
        gres: generic resources.
        gpus_per_node: GPUs of a worker.
        cpus_per_task: processors of a worker.
        mem_gb: memory of a worker.
        max_num_timeout: how often a job is requeued that has run out of time. One that was preempted always is.
    """

    timeout_min: int
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    max_num_timeout: int = 3

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if "str" in str(field.type):
                if not (isinstance(value, str) and re.fullmatch(r"[!-~]+", value)):
                    raise ValueError(f"{field.name} is {value!r}; wanted text without spaces")
            elif type(value) not in ((int, float) if field.name == "mem_gb" else (int,)) or value <= 0:
                raise ValueError(f"{field.name} is {value!r}; wanted a positive number")

    def sweep(self, runs: Sequence[RunOptions], out: Path, workers: int, say: Say, watch: Watch) -> list[Path]:
        """Submits the workers that are not queued or running yet, and returns at once: none has failed yet.

        Raises:
            InputError: see `badge_jax.runs.sweep`.
            EnvironmentFailure: if jobs cannot be submitted here.
        """
        for command in ("sbatch", "srun", "squeue"):
            if shutil.which(command) is None:
                raise EnvironmentFailure(
                    f"--on slurm needs the command {command}, which is not found here; start the sweep on a "
                    "machine that submits jobs"
                )
        submitit = import_submitit()
        out = out.absolute()
        jobs, record = prepare(runs, out, workers)
        with watched(jobs, watch):
            num_left = sum(not is_done(job) for job in jobs)
            if num_left == 0:
                say("all runs are done")
                return []
            name = f"badge-jax-{zlib.crc32(str(record).encode()):08x}"
            num_there = _num_queued(name)
            num_new = min(workers, num_left) - num_there
            if num_there > 0:
                say(f"{num_there} workers of this sweep are queued or running (job name {name})")
            if num_new > 0:
                turns = [(num_there + i, num_there + num_new) for i in range(num_new)]
                job = self._submit(submitit, name, [_Job(record, turn) for turn in turns], out / LOGS)
                say(f"{num_new} workers submitted as job {job}; their logs will be in {out / LOGS}")
            say(f"badge-jax status {out} says how far the runs are")
        return []

    def _submit(self, submitit: Any, name: str, jobs: "list[_Job]", logs: Path) -> str:
        """Submits an array of jobs and returns its number."""
        generic = ("timeout_min", "gpus_per_node", "cpus_per_task", "mem_gb")
        given = {
            key if key in generic else f"slurm_{key}": value
            for key, value in vars(self).items()
            if value is not None and key != "max_num_timeout"
        }
        executor = submitit.AutoExecutor(logs, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
        executor.update_parameters(name=name, slurm_array_parallelism=len(jobs), **given)
        refusals = (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # where submitit prints what it raises, too
                submitted = executor.submit_array(jobs)
        except refusals as error:
            raise EnvironmentFailure(f"sbatch does not take the jobs: {' '.join(str(error).split())}") from None
        return str(submitted[0].job_id).partition("_")[0]


def _num_queued(name: str) -> int:
    """How many of this user's jobs have the name and have not ended."""
    states = "--states=PENDING,CONFIGURING,RUNNING,SUSPENDED"
    command = ["squeue", "--noheader", "--array", "--me", f"--name={name}", states, "--format=%i"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EnvironmentFailure(f"squeue does not answer: {' '.join(done.stderr.split())}")
    return len(done.stdout.split())


@dataclass(frozen=True)
class _Job:
    """One worker, as submitit pickles it and calls it in a job."""

    record: Path
    turn: tuple[int, int]

    def __call__(self) -> None:
        """Works in a second thread. The main one is there for the signal that the job is to end, on which
        submitit requeues it: in a compiled program it would be heard too late."""
        problems: list[Exception] = []

        def work_here() -> None:
            try:
                work(self.record, self.turn, lambda line: print(line, flush=True))
            except Exception as error:
                problems.append(error)

        thread = threading.Thread(target=work_here, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_LOOK_EVERY)
        except SystemExit as stop:  # raised by submitit after it has requeued the job
            os._exit(stop.code if isinstance(stop.code, int) else 1)  # not waiting for the program
        if problems:
            raise problems[0]

    def checkpoint(self) -> Any:
        """What a requeued job is to do: the same. The folder knows how far the runs are."""
        return import_submitit().helpers.DelayedSubmission(self)


@dataclass(frozen=True)
class Dask:
    """Workers as tasks of Dask.

    Attributes:
        address: of the scheduler.
    """

    address: str

    def sweep(self, runs: Sequence[RunOptions], out: Path, workers: int, say: Say, watch: Watch) -> list[Path]:
        """`badge_jax.runs.sweep` with its workers there. They end when this process ends."""
        distributed = _import("distributed", "dask")
        for logger in ("distributed", "distributed.client"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)  # what matters is raised
        out = out.absolute()
        with contextlib.ExitStack() as stack:
            try:
                client = stack.enter_context(
                    distributed.Client(self.address, timeout=_ANSWER_WITHIN, set_as_default=False)
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise EnvironmentFailure(
                    f"no Dask scheduler answers at {self.address} ({one_line(error)})"
                ) from None
            jobs, record = prepare(runs, out, workers)
            started = now_at(out)
            name = f"badge-jax-{secrets.token_hex(8)}"
            client.subscribe_topic(name, lambda event: say(event[1]))
            if not client.nthreads():
                say("no worker has joined the scheduler yet")
            stack.enter_context(watched(jobs, watch))
            num_workers = min(workers, sum(not is_done(job) for job in jobs))
            tasks = [
                client.submit(
                    _work_in_task, record, (i, num_workers), Path.cwd(), name, key=f"{name}-{i}", pure=False
                )
                for i in range(num_workers)
            ]
            trouble = []
            for task in distributed.as_completed(tasks, loop=client.loop):
                try:
                    trouble += task.result()
                except distributed.CancelledError:
                    trouble.append("the connection to the scheduler was lost")
                except Exception as error:  # Dask's own, and what its worker could not import
                    trouble.append(f"Dask: {one_line(error)}")
            return failed_runs(jobs, started, trouble, say)


def _work_in_task(record: Path, turn: tuple[int, int], folder: Path, name: str) -> list[str]:
    """A worker as a task of Dask: in a process of its own, since a task is a thread, and cannot be ended.

    Args:
        record: see `work`.
        turn: see `work`.
        folder: where the sweep was started; modules and files of the user's own are looked for in it.
        name: under which Dask passes on what the worker says.

    Returns:
        What the worker could not cope with.
    """
    worker = _import("distributed", "dask").get_worker()
    key = worker.get_current_task()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    arguments = [str(record), *map(str, turn), str(theirs.fileno()), str(os.getpid())]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "badge_jax.runs.engines", *arguments],
        cwd=folder if folder.is_dir() else None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    trouble = []
    with contextlib.suppress(EOFError):
        while True:
            if ours.poll(_LOOK_EVERY):
                is_trouble, line = ours.recv()
                if is_trouble:
                    trouble.append(line)
                else:
                    worker.log_event(name, line)
            elif (task := worker.state.tasks.get(key)) is None or task.state == "cancelled":
                process.kill()  # nobody waits for it any more
    ours.close()
    if (code := process.wait()) != 0:
        trouble.append(f"a worker was ended by signal {-code}" if code < 0 else "a worker has crashed")
    return trouble


def _main() -> None:
    """The process of `_work_in_task`."""
    record, i, n, end, parent = sys.argv[1:]
    turn = int(i), int(n)
    work_for(int(parent), lambda say: work(Path(record), turn, say), Connection(int(end), readable=False))


def import_submitit() -> Any:
    """The package, which is kept from setting up the logging of this process: that closes others' streams."""
    name = "SUBMITIT_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ[name] = "NOCONFIG"
    try:
        return _import("submitit", "slurm")
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _import(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing_extra(f"--on {extra} needs the package {package} ({error})", extra) from None


if __name__ == "__main__":
    _main()
