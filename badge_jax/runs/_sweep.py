"""Many runs in one folder, by any number of workers on any number of machines.

Each worker claims a run before it works on it (see `claims`). A worker may be killed at any moment: the next
one resumes its run. A run that fails leaves error.txt in its directory, does not stop the others, and is tried
again by workers started later.
"""

import contextlib
import dataclasses
import errno
import json
import math
import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from badge_jax.compiled import keep_compiled_programs
from badge_jax.devices import count_devices, share_devices
from badge_jax.errors import DirectoryInUse, EnvironmentFailure, InputError, line_of
from badge_jax.files import write_whole
from badge_jax.runs._run import run
from badge_jax.runs.claims import STALE_AFTER, claimed, now_at, remove_dead_claims
from badge_jax.runs.directory import check_config, read_config, read_rounds
from badge_jax.runs.fields import FORMAT
from badge_jax.runs.grid import folder_of
from badge_jax.runs.options import RunOptions, from_config, resolve, to_config
from badge_jax.runs.programs import keeping_programs

RECORDS = ".sweeps"  # folder of the lists of runs that were asked for
_LOOK_AGAIN_AFTER = 15.0  # seconds at most, while others are at the runs that are left
_PATIENCE = STALE_AFTER + 2 * _LOOK_AGAIN_AFTER  # seconds, after which a claim is known to be alive
_PROGRESS_EVERY = 1.0  # seconds
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # other runs would fail likewise

Say = Callable[[str], None]
Watch = Callable[[int, int], None]  # rounds done, of how many


class Job(NamedTuple):
    """One run and its directory."""

    options: RunOptions
    directory: Path

    @property
    def name(self) -> str:
        return f"{self.directory.parent.name}/{self.directory.name}"

    @property
    def setting(self) -> RunOptions:
        """All but the seed: runs of one setting share their compiled programs."""
        return dataclasses.replace(self.options, seed=0)


def sweep(
    runs: Sequence[RunOptions],
    out: Path | str,
    *,
    workers: int = 1,
    shard: tuple[int, int] = (0, 1),
    say: Say = print,
    watch: Watch = lambda done, total: None,
) -> list[Path]:
    """Runs what is not done yet of a list of runs.

    Turns on JAX's cache of compiled programs for the process. A worker makes the runs of one setting, which
    differ in their seed alone, one after another, and keeps its programs from one to the next. Ends when every
    run is done or has failed. While other workers are at the last ones it waits, and resumes those runs if the
    workers die. Results depend on the number of threads in the last digits, so runs of one comparison are best
    made with one number of workers.

    Args:
        runs: what to run, such as `make_runs` returns.
        out: folder; each run has a directory of its own in it, see `folder_of`.
        workers: processes on this machine. The processors are divided among them, and so are GPUs and TPU
            chips: the i-th worker sees device i mod D of D alone.
        shard: (i, n): only the i-th of n parts of the runs, counted from 0.
        say: called with one line for each run that ends.
        watch: called now and then with the rounds done and how many there are to be.

    Returns:
        Directories of the runs that failed.

    Raises:
        InputError: before the first run, if one of them cannot be, if its directory holds another run, or for
            more workers than TPU chips.
        EnvironmentFailure: at the end, if workers ended before all runs were done or had failed; before the
            first run, if there is no device for workers.
        OSError: if the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from badge_jax.runs import make_runs, sweep
        >>> grid = {"dataset": "kropt", "model": "linear", "strategy": "margin", "batch_size": 10, "rounds": 1}
        >>> sweep(make_runs([{**grid, "max_epochs": 1}]), tempfile.mkdtemp(), say=lambda line: None)
        []
    """
    out = Path(out)
    part, parts = shard
    if not 0 <= part < parts:
        raise InputError(f"--shard is {part}/{parts}; wanted i/n with i from 0 to n − 1")
    environments = share_devices(workers, *count_devices(), os.environ) if workers > 1 else []
    jobs, _ = prepare(runs, out, workers)
    jobs = _part_of(jobs, part, parts)
    with watched(jobs, watch):
        if workers == 1:
            return _work(_in_turn(jobs, 0, 1), out, say)
        return _work_in_processes(jobs, out, environments, say)


def prepare(runs: Sequence[RunOptions], out: Path, workers: int) -> tuple[list[Job], Path]:
    """Checks what a sweep is asked to do, and leaves the list of runs in its folder.

    Returns:
        The runs with their directories, and the path of the list, which `work` takes.

    Raises:
        InputError: see `sweep`.
    """
    if workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
    runs = [resolve(options).options for options in runs]
    jobs = _jobs_of(runs, out)
    _check(jobs)
    return jobs, _record(runs, out)


def work(record: Path, turn: tuple[int, int], say: Say) -> None:
    """One of the workers that an engine starts, see `engines`.

    It ends when every run is done or has failed, and also when others have held all that is left for so long
    that they must be alive: a machine of a cluster is not to idle.

    Args:
        record: the list of runs that `prepare` left.
        turn: (i, n): the i-th of n workers.
        say: called with one line for each run that ends.

    Raises:
        EnvironmentFailure: if there is no such list on this machine.
    """
    out = record.parent.parent
    try:
        jobs = _jobs_of(_runs_in(record), out)
    except FileNotFoundError:
        raise EnvironmentFailure(
            f"{record} is not on {socket.gethostname()}; the folder of a sweep must be one that all workers see"
        ) from None
    _work(_in_turn(jobs, *turn), out, say, patience=_PATIENCE)


def _jobs_of(runs: Sequence[RunOptions], out: Path) -> list[Job]:
    return [Job(options, out / folder_of(options)) for options in runs]


def _part_of(jobs: Sequence[Job], part: int, parts: int) -> list[Job]:
    """One of ``parts`` equal parts, in the order given. The parts are dealt out in a shuffled order that is the
    same everywhere: counted off in turn, one part could get all runs of one strategy."""
    shuffled = sorted(jobs, key=lambda job: zlib.crc32(job.name.encode()))
    wanted = set(shuffled[part::parts])
    return [job for job in jobs if job in wanted]


def _in_turn(jobs: Sequence[Job], i: int, workers: int) -> list[Job]:
    """The order in which the i-th worker looks at the runs: setting by setting, each from another one on."""
    groups: dict[RunOptions, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.setting, []).append(job)
    first = i * len(groups) // workers
    settings = [*groups.values()]
    return [job for group in (*settings[first:], *settings[:first]) for job in group]


def is_done(job: Job) -> bool:
    """Whether the run has all of its rounds."""
    return count_rounds(job.directory) > job.options.rounds


def count_rounds(directory: Path) -> int:
    """Rounds finished; 0 where the file is damaged, which the attempt to resume the run reports."""
    try:
        return len(read_rounds(directory))
    except (InputError, FileNotFoundError):
        return 0


def recorded_runs(out: Path) -> list[RunOptions]:
    """The runs that sweeps in this folder were started for, with the most rounds asked for. Damaged records are
    left out."""
    found: dict[Path, RunOptions] = {}
    for path in sorted((out / RECORDS).glob("*.json")):
        for options in _runs_in(path):
            folder = folder_of(options)
            if folder not in found or found[folder].rounds < options.rounds:
                found[folder] = options
    return list(found.values())


def _runs_in(record: Path) -> list[RunOptions]:
    """The runs of one list. What is damaged is left out."""
    runs, entries = [], None
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        entries = json.loads(record.read_text("utf-8"))["runs"]
    for values in entries if isinstance(entries, list) else []:
        with contextlib.suppress(ValueError, TypeError):
            runs.append(from_config({**values, "format": FORMAT}, record))
    return runs


def _check(jobs: Sequence[Job]) -> None:
    """Raises InputError if two runs share a directory, or a directory holds another run."""
    owner: dict[Path, Job] = {}
    for job in jobs:
        other = owner.setdefault(job.directory, job)
        if other.options != job.options:
            differing = [n for n, v in vars(job.options).items() if vars(other.options)[n] != v]
            raise InputError(
                f"two runs would share the directory {job.directory}: they differ in {', '.join(differing)}; "
                "sweep them into two folders"
            )
        try:
            known = read_config(job.directory)
        except (OSError, InputError):  # none yet; or damaged, and then that run alone fails
            continue
        config = to_config(resolve(job.options))
        if "data_crc32" in known:  # not known before the data are loaded
            config["data_crc32"] = known["data_crc32"]
        check_config(job.directory, known, config)


def _record(runs: Sequence[RunOptions], out: Path) -> Path:
    """Leaves the list of runs in the folder, for `status` and for the workers of engines."""
    content = json.dumps({"format": FORMAT, "runs": [vars(options) for options in runs]}).encode()
    path = out / RECORDS / f"{zlib.crc32(content):08x}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_whole(path, content)
    return path


@keeping_programs()
def _work(jobs: Sequence[Job], out: Path, say: Say, *, patience: float = math.inf) -> list[Path]:
    """Runs what is not done, in this process. Ends when others have held the rest for ``patience`` seconds."""
    keep_compiled_programs()
    started, pause, idle = now_at(out), 0.0, 0.0
    failed: set[Job] = set()
    has_said_so = False
    while left := [job for job in jobs if job not in failed and not is_done(job)]:
        num_run = 0
        for job in left:
            with claimed(job.directory) as is_ours:
                if is_ours and _has_failed_since(job, started):  # with another worker
                    failed.add(job)
                elif is_ours and not is_done(job):
                    num_run += 1
                    if not _attempt(job, say):
                        failed.add(job)
        if num_run > 0:
            idle = 0.0
        elif not failed.issuperset(left):
            if idle >= patience:
                say(f"leaves {len(left)} runs to the workers that hold them")
                break
            if pause >= _LOOK_AGAIN_AFTER / 2 and not has_said_so:
                say(f"waiting for {len(left)} runs that other workers hold")
                has_said_so = True
            pause = min(_LOOK_AGAIN_AFTER, 2 * pause or 1.0)
            idle += pause
            time.sleep(pause)
    for job in jobs:
        remove_dead_claims(job.directory)  # of workers that died between their last round and letting go
    return [job.directory for job in jobs if job in failed]


def _attempt(job: Job, say: Say) -> bool:
    """Runs the job, leaves its error in its directory if it fails, and returns whether it did not."""
    error_file, start, has_failed = job.directory / "error.txt", time.perf_counter(), False
    try:
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always", UserWarning)
            rounds = run(job.options, job.directory)
        error_file.unlink(missing_ok=True)
        last = rounds[job.options.rounds]
        outcome = f"{last['num_labeled']} labels, {100 * last['test_accuracy']:.1f} %"
        outcome += "".join(f"; {remark.message}" for remark in remarks if remark.category is UserWarning)
    except DirectoryInUse:  # held by a process whose claim was thought dead
        time.sleep(_LOOK_AGAIN_AFTER)
        return True
    except Exception as error:  # whatever it is must not stop the other runs
        if isinstance(error, OSError) and error.errno in _FATAL:
            raise
        summary = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        content = f"{traceback.format_exc()}\n{summary}\n"  # JAX adds lines of its own to a traceback
        write_whole(error_file, content.encode("utf-8", "backslashreplace"))
        outcome, has_failed = f"FAILED: {summary}", True
    say(f"{job.name}: {outcome}, {time.perf_counter() - start:.0f} s")
    return not has_failed


def _has_failed_since(job: Job, moment: float) -> bool:
    try:
        return (job.directory / "error.txt").stat().st_mtime >= moment
    except FileNotFoundError:
        return False


def _work_in_processes(
    jobs: Sequence[Job], out: Path, environments: Sequence[Mapping[str, str]], say: Say
) -> list[Path]:
    """Runs what is not done in processes with these environments. A fresh interpreter each: a forked JAX may
    hang."""
    workers = len(environments)
    context = multiprocessing.get_context("spawn")
    started, processes, ends = now_at(out), [], []
    resource_tracker.ensure_running()  # its start would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is for this process
    for i, environment in enumerate(environments):
        ours, theirs = context.Pipe(duplex=False)
        arguments = (_in_turn(jobs, i, workers), out, _processors(i, workers), theirs)
        processes.append(context.Process(target=_worker, args=arguments, daemon=True))
        with _set(environment):  # before its imports, which may take hold of devices
            processes[-1].start()
        theirs.close()
        ends.append(ours)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    trouble = _relay(ends, say)
    for process in processes:
        process.join()
        if process.exitcode is not None and process.exitcode < 0:
            trouble.append(f"a worker was ended by signal {-process.exitcode}")
    return failed_runs(jobs, started, trouble, say)


def failed_runs(jobs: Sequence[Job], started: float, trouble: Sequence[str], say: Say) -> list[Path]:
    """What `sweep` returns or raises when its workers have ended.

    Args:
        jobs: the runs.
        started: when the workers were started, from `now_at`.
        trouble: what workers could not cope with.
        say: is told of it if all runs are done or have failed nevertheless.
    """
    failed = [job.directory for job in jobs if _has_failed_since(job, started)]
    undone = [job for job in jobs if not is_done(job) and job.directory not in failed]
    if undone:
        why = "; ".join(dict.fromkeys(trouble)) or "the workers ended early"
        raise EnvironmentFailure(f"{len(undone)} runs are not done: {why}; the same command resumes")
    for line in trouble:
        say(line)
    return failed


def _relay(ends: Sequence[Connection], say: Say) -> list[str]:
    """Passes on what the workers say until all of them have ended. Returns what they could not cope with."""
    trouble: list[str] = []
    open_ends = list(ends)
    while open_ends:
        ready = wait(open_ends)
        for end in [end for end in open_ends if end in ready]:
            try:
                is_trouble, line = end.recv()
            except EOFError:
                open_ends.remove(end)
                continue
            if is_trouble:
                trouble.append(line)
            else:
                say(line)
    return trouble


def _processors(i: int, workers: int) -> list[int]:
    """The i-th worker's share of the processors; none where the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    processors = sorted(os.sched_getaffinity(0))
    return processors[i::workers] or [processors[i % len(processors)]]


@contextlib.contextmanager
def _set(environment: Mapping[str, str]) -> Iterator[None]:
    """Within it, these environment variables are set."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _worker(jobs: Sequence[Job], out: Path, processors: list[int], end: Connection) -> None:
    """A process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # started by multiprocessing
    assert parent.pid is not None
    if processors:
        os.sched_setaffinity(0, processors)
    work_for(parent.pid, lambda say: _work(jobs, out, say), end)


def work_for(parent: int, work: Callable[[Say], object], end: Connection) -> None:
    """Works in a process that ends with its parent, however that ends.

    Args:
        parent: its process number.
        work: is given what passes lines on to the parent.
        end: the pipe to it. What comes through is (whether the worker could not cope with it, line).
    """
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        work(lambda line: _tell_parent(end, line))
    except EnvironmentFailure as error:
        _tell_parent(end, str(error), is_trouble=True)
    except OSError as error:
        _tell_parent(end, line_of(error), is_trouble=True)


def _tell_parent(end: Connection, line: str, *, is_trouble: bool = False) -> None:
    try:
        end.send((is_trouble, line))
    except BrokenPipeError:  # the parent has ended, so this process does
        os._exit(1)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@contextlib.contextmanager
def watched(jobs: Sequence[Job], watch: Watch) -> Iterator[None]:
    """Calls ``watch`` every second, and once more at the end."""
    total = sum(job.options.rounds + 1 for job in jobs)
    counts: dict[Path, tuple[float, int]] = {}
    ended = threading.Event()

    def look() -> None:
        done = 0
        for job in jobs:
            path = job.directory / "rounds.jsonl"
            with contextlib.suppress(OSError):
                changed = path.stat().st_mtime
                if counts.get(path, (None, 0))[0] != changed:
                    counts[path] = changed, path.read_bytes().count(b"\n")
            done += min(counts.get(path, (0.0, 0))[1], job.options.rounds + 1)
        watch(done, total)

    def keep_looking() -> None:
        while not ended.wait(_PROGRESS_EVERY):
            look()

    looker = threading.Thread(target=keep_looking, daemon=True)
    looker.start()
    try:
        yield
    finally:
        ended.set()
        looker.join()
        look()
