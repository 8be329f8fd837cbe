"""Sweeps as processes, and what they leave, for tests of runs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import badge_jax

ROOT = Path(badge_jax.__file__).resolve().parents[1]
PROCESSORS = sorted(os.sched_getaffinity(0))
TIMINGS = ("fit_seconds", "query_seconds", "compile_seconds", "check")
GRID = {
    "dataset": "kropt",
    "model": "linear",
    "batch_size": 100,
    "strategy": ["badge", "albl", "random"],
    "rounds": 2,
}
SMALL = {"strategy": ["badge", "random"], "seeds": "0-1", "rounds": 6, "max_epochs": 2, "learning_rate": 0.01}
NUM_LINES = 4 * 7  # of all runs


def flags_of(grid):
    """A grid as options of `badge-jax sweep`."""
    flags = []
    for name, value in grid.items():
        values = value if isinstance(value, list) else [value]
        flags += [f"--{name.replace('_', '-')}", *map(str, values)]
    return flags


def sweep_arguments(out, *more, **changes):
    return ["sweep", "--out", str(out), *flags_of({**GRID, **changes}), *map(str, more)]


@contextlib.contextmanager
def pinned(processors):
    """Children started meanwhile have these processors: results depend on the number of threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def hearing_ctrl_c():
    """Children started meanwhile hear Ctrl-C, also where this is a shell's background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start(args, processors=PROCESSORS[:1], folder=ROOT):
    command = [sys.executable, "-m", "badge_jax", *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with hearing_ctrl_c(), pinned(processors):
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment
        )


def finished(process):
    """The output of a process that has to succeed."""
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


def num_lines(folder):
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob("rounds.jsonl"))


def wait_for(condition, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def children_of(pid):
    """Running descendants, whatever they are."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):  # of each thread
            for child in map(int, path.read_text().split()):
                found += [child, *children_of(child)]
    return found


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def what_is_left(folder):
    """Every file of a sweep, without timings and the machine."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "config.json":
            options = json.loads(path.read_text())
            found[name] = {k: v for k, v in options.items() if k not in ("environment", "check")}
        elif path.name in ("rounds.jsonl", "per_class.jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]
        elif path.name == "state.npz":
            with np.load(path) as arrays:
                found[name] = {k: arrays[k].tolist() for k in arrays if k not in TIMINGS}
        elif path.is_file():
            found[name] = path.read_bytes()
    return found
