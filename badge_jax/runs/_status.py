"""What a sweep's folder holds: done, running, failed and missing runs, and the time left."""

import contextlib
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from badge_jax.errors import InputError
from badge_jax.runs._sweep import Job, recorded_runs
from badge_jax.runs.claims import is_claimed, now_at
from badge_jax.runs.directory import read_config, read_rounds
from badge_jax.runs.grid import folder_of
from badge_jax.runs.options import RunOptions
from badge_jax.runs.setting import Setting, setting_of

STATES = ("done", "running", "failed", "missing")


class RunStatus(NamedTuple):
    """One run of a folder.

    Attributes:
        directory: of the run.
        setting: data set, model and batch size.
        strategy: its string.
        seed: its seed.
        rounds: queries that it is to make.
        last: labels at its end.
        num_done: rounds finished.
        seconds: of fits and queries so far, compilation aside.
        state: "done", "running", "failed" or "missing".
        error: where it failed, the last line of its error.txt, or what is wrong with its files.
    """

    directory: Path
    setting: Setting
    strategy: str
    seed: int
    rounds: int
    last: int
    num_done: int
    seconds: float
    state: str
    error: str


def status(out: Path | str) -> list[RunStatus]:
    """The runs of a folder: those that sweeps were started for, and others that are there.

    Args:
        out: folder of a sweep.

    Raises:
        InputError: for what is no folder, and for one without runs.

    Example:
        >>> import tempfile
        >>> from badge_jax.runs import make_runs, status, sweep
        >>> grid = {"dataset": "kropt", "model": "linear", "strategy": "margin", "batch_size": 10, "rounds": 1}
        >>> folder = tempfile.mkdtemp()
        >>> failed = sweep(make_runs([{**grid, "max_epochs": 1}]), folder, say=lambda line: None)
        >>> [(run.strategy, run.state) for run in status(folder)]
        [('margin', 'done')]
    """
    out = Path(out)
    if not out.is_dir():
        raise InputError(f"{out} is not a folder; give the folder of a sweep")
    found = {out / folder_of(options): options for options in recorded_runs(out)}
    for path in sorted(out.rglob("config.json")):
        if path.parent not in found:
            try:
                found[path.parent] = _options_of(path.parent)
            except InputError as problem:
                if (path.parent / "rounds.jsonl").exists():  # else the file may be another program's
                    warnings.warn(f"left out: {problem}", UserWarning, stacklevel=2)
    if not found:
        raise InputError(f"{out} holds no runs; `badge-jax sweep` makes some")
    try:
        now = now_at(out)
    except OSError:  # a folder that this user cannot write
        now = time.time()
    runs = [_status_of(Job(options, directory), now) for directory, options in found.items()]
    return sorted(runs, key=lambda run: (run.setting, run.strategy, run.seed))


def status_lines(runs: list[RunStatus]) -> list[str]:
    """The status for a terminal: a line a setting, the failed runs, and the time left.

    The time left goes by what the finished runs of the same setting have taken.

    Args:
        runs: what `status` returned.

    Example:
        >>> from badge_jax.runs import status_lines
        >>> status_lines([])[0]
        '0 runs: 0 done, 0 running, 0 failed, 0 missing'
    """
    lines, left, unknown = [], 0.0, 0
    for setting in dict.fromkeys(run.setting for run in runs):
        here = [run for run in runs if run.setting == setting]
        counts = Counter(run.state for run in here)
        whole = [run.seconds for run in here if run.state == "done"]
        unfinished = [run for run in here if run.state != "done"]
        if whole:
            mean = sum(whole) / len(whole)
            left += sum(max(0.0, mean - run.seconds) for run in unfinished)
        else:
            unknown += len(unfinished)
        cells = "  ".join(f"{counts[state]:>3} {state}" for state in STATES)
        ends = sorted({run.last for run in here})
        span = f"{ends[0]}" if len(ends) == 1 else f"{ends[0]}–{ends[-1]}"
        lines.append(f"{setting.title:<44} to {span:>6} labels  {cells}")
    lines += [f"failed: {run.directory}: {run.error}" for run in runs if run.state == "failed"]
    counts = Counter(run.state for run in runs)
    noun = "run" if len(runs) == 1 else "runs"
    lines.append(f"{len(runs)} {noun}: {', '.join(f'{counts[state]} {state}' for state in STATES)}")
    time_left = f"{left / 3600:.1f} hours" if left >= 3600 else f"{left / 60:.1f} minutes"
    if unknown:
        one, which = ("run in a setting", "its") if unknown == 1 else ("runs in settings", "their")
        more = f"{unknown} {one} of which no run is done, so {which} time is not known"
    if unknown and not left:
        lines.append(f"left: {more}")
    else:
        lines.append(f"left: about {time_left} of one worker, compilation aside")
        lines += [f"      and {more}"] if unknown else []
    return lines


def _options_of(directory: Path) -> RunOptions:
    """A run's options as far as a status needs them, also of a run of 0.1."""
    config = read_config(directory)
    for name in ("rounds", "initial"):
        if not isinstance(config.get(name), int):
            raise InputError(f"{directory / 'config.json'} is damaged: {name} is {config.get(name)!r}")
    names = ("dataset", "strategy", "batch_size", "rounds", "model", "seed", "initial")
    return RunOptions(**{name: config[name] for name in names})


def _status_of(job: Job, now: float) -> RunStatus:
    """The status of one run; ``now`` by the clock of the folder."""
    options, rounds, error = job.options, [], ""
    try:
        rounds = read_rounds(job.directory)
    except (InputError, OSError) as problem:
        error = str(problem)
    if len(rounds) > options.rounds:
        state = "done"
    elif job.directory.is_dir() and is_claimed(job.directory, now):
        state = "running"
    elif error:
        state = "failed"
    else:
        state = "missing"
        with contextlib.suppress(OSError):
            lines = (job.directory / "error.txt").read_text("utf-8", "replace").strip()
            state, error = "failed", lines.rpartition("\n")[2]
    seconds = sum(line.get("fit_seconds", 0.0) + line.get("query_seconds", 0.0) for line in rounds)
    last = options.initial + options.rounds * options.batch_size
    return RunStatus(
        job.directory,
        setting_of(vars(options)),
        options.strategy,
        options.seed,
        options.rounds,
        last,
        len(rounds),
        seconds,
        state,
        error,
    )
