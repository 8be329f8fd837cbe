"""The paper's grid: 33 settings × 7 algorithms × 5 repeats, each run in a directory of its own.

    python -m experiments.paper list
    python -m experiments.paper run                                   everything, seed 0 first
    python -m experiments.paper run --shard $SLURM_ARRAY_TASK_ID/64   one of 64 parts, counted from 0
    python -m experiments.paper run --only dataset=letter,batch_size=1000 --max-labels 8100
    python -m experiments.paper status

Any number of workers may share one folder of runs, on one machine or many: each claims a run before it works
on it. A worker may be killed at any moment; the next one goes on where it stopped. A run that fails leaves
error.txt in its directory, and is tried once more by workers started later. Options other than the paper's
(``--max-labels``, ``--learning-rate``) stand in each run's config.json as rounds and learning_rate.
"""

import argparse
import contextlib
import errno
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from badge_jax.cli import keep_compiled_programs, run_interruptibly
from badge_jax.data import DATASETS
from badge_jax.data.splits import MAX_POOL
from badge_jax.errors import DirectoryInUse, InputError
from badge_jax.files import write_whole
from badge_jax.runs import RunOptions, run
from badge_jax.runs.claims import claimed, is_claimed, now_at, remove_dead_claims
from badge_jax.runs.directory import read_rounds

STRATEGIES = ("badge", "albl", "coreset", "confidence", "margin", "entropy", "random")
NETWORKS = {
    "mnist": ("mlp",),
    "svhn": ("mlp", "resnet18", "vgg11"),
    "cifar10": ("mlp", "resnet18", "vgg11"),
    "letter": ("mlp",),
    "pokerhand": ("mlp",),
    "random_rbf": ("mlp",),
    "kropt": ("mlp",),
}
BATCH_SIZES, SEEDS = (100, 1000, 10_000), range(5)
NUM_INITIAL, MOST_LABELS = 100, 50_000
SETTINGS = [
    (dataset, model, size) for dataset in NETWORKS for model in NETWORKS[dataset] for size in BATCH_SIZES
]
STATES = ("done", "running", "failed", "missing")
LOOK_AGAIN_AFTER = 15.0  # seconds, while others are at the runs that are left
KEYS = ("dataset", "model", "batch_size", "strategy", "seed")
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # other runs would fail likewise


class Job(NamedTuple):
    """One run of the grid and where it is kept."""

    dataset: str
    model: str
    batch_size: int
    strategy: str
    seed: int
    rounds: int
    directory: Path


def num_rounds(dataset: str, batch_size: int, most_labels: int = MOST_LABELS) -> int:
    """Queries of a run: as many as fit 50,000 labels (or fewer) and the pool."""
    info = DATASETS[dataset]
    num_rows = info.sources[info.default_source].num_rows
    num_pool = num_rows if info.num_test else min(MAX_POOL, 9 * num_rows // 10)
    return max(0, (min(most_labels, num_pool) - NUM_INITIAL) // batch_size)


def grid(options: argparse.Namespace) -> list[Job]:
    """The runs asked for, the first seed of everything first, those of this shard alone."""
    jobs = [
        Job(
            dataset,
            model,
            batch_size,
            strategy,
            seed,
            num_rounds(dataset, batch_size, min(options.max_labels or MOST_LABELS, MOST_LABELS)),
            options.runs / f"{dataset}-{model}-{batch_size}" / f"{strategy}-seed{seed}",
        )
        for seed in SEEDS
        for dataset, model, batch_size in SETTINGS
        for strategy in STRATEGIES
    ]
    jobs = [job for job in jobs if not options.only or any(_matches(job, wanted) for wanted in options.only)]
    part, parts = options.shard
    return jobs[part::parts]


def _matches(job: Job, wanted: dict[str, str]) -> bool:
    return all(str(getattr(job, key)) == value for key, value in wanted.items())


def work(jobs: list[Job], options: argparse.Namespace) -> int:
    """Runs what is not done and returns how many runs failed. Ends when all is done or has failed: while others
    are at the last ones, it waits, to go on with them if those workers die."""
    options.runs.mkdir(parents=True, exist_ok=True)
    started, failed, is_waiting = now_at(options.runs), set(), False
    while left := [job for job in jobs if job not in failed and not is_done(job)]:
        num_run = 0
        for job in left:
            with claimed(job.directory) as is_ours:
                if is_ours and _failed_since(job, started):  # with another worker
                    failed.add(job)
                elif is_ours and not is_done(job):
                    num_run += 1
                    if not _attempt(job, options):
                        failed.add(job)
        if num_run == 0 and not failed.issuperset(left):
            if not is_waiting:
                print(f"waiting for {len(left)} runs that other workers are at", flush=True)
            is_waiting = True
            time.sleep(LOOK_AGAIN_AFTER)
    for job in jobs:
        remove_dead_claims(job.directory)  # of workers that died between their last round and letting go
    return len(failed)


def _attempt(job: Job, options: argparse.Namespace) -> bool:
    """Runs the job, leaves its error in its directory if it fails, and tells whether it did not."""
    error_file, start, failed = job.directory / "error.txt", time.perf_counter(), False
    try:
        rounds = run(
            RunOptions(
                job.dataset,
                job.strategy,
                job.batch_size,
                job.rounds,
                model=job.model,
                seed=job.seed,
                initial=NUM_INITIAL,
                learning_rate=options.learning_rate,
            ),
            job.directory,
        )
        error_file.unlink(missing_ok=True)
        outcome = (
            f"{rounds[job.rounds]['num_labeled']} labels, {100 * rounds[job.rounds]['test_accuracy']:.1f} %"
        )
    except DirectoryInUse:  # held by a process whose claim was thought dead
        time.sleep(LOOK_AGAIN_AFTER)
        return True
    except Exception as error:  # whatever it is must not stop the other runs
        if isinstance(error, OSError) and error.errno in FATAL:
            raise
        write_whole(error_file, traceback.format_exc().encode())
        outcome, failed = f"FAILED: {type(error).__name__}: {str(error).partition(chr(10))[0]}", True
    jax.clear_caches()
    print(f"{name_of(job)}: {outcome}, {time.perf_counter() - start:.0f} s", flush=True)
    return not failed


def name_of(job: Job) -> str:
    return f"{job.directory.parent.name}/{job.directory.name}"


def is_done(job: Job) -> bool:
    return len(_rounds(job)) > job.rounds


def _rounds(job: Job) -> list[dict]:
    """The rounds finished; none where the file is damaged, of which the attempt to go on tells."""
    try:
        return read_rounds(job.directory)
    except (InputError, FileNotFoundError):
        return []


def _failed_since(job: Job, moment: float) -> bool:
    try:
        return (job.directory / "error.txt").stat().st_mtime >= moment
    except FileNotFoundError:
        return False


def states(jobs: Iterable[Job]) -> Iterator[tuple[Job, str]]:
    """Each job with "done", "running", "failed" or "missing"."""
    for job in jobs:
        if is_done(job):
            yield job, "done"
        elif is_claimed(job.directory, time.time()):
            yield job, "running"
        else:
            yield job, "failed" if (job.directory / "error.txt").exists() else "missing"


def print_status(jobs: list[Job]) -> None:
    """A line a setting, the failed runs, and the time left by what the runs of the same setting have taken."""
    found = list(states(jobs))
    seconds = {job: sum(r["fit_seconds"] + r["query_seconds"] for r in _rounds(job)) for job in jobs}
    left, unknown = 0.0, 0
    for setting in dict.fromkeys(job[:3] for job in jobs):
        here = [(job, state) for job, state in found if job[:3] == setting]
        counts = Counter(state for _, state in here)
        whole = [seconds[job] for job, state in here if state == "done"]
        open_runs = [job for job, state in here if state != "done"]
        if whole:
            mean = sum(whole) / len(whole)
            left += sum(max(0.0, mean - seconds[job]) for job in open_runs)
        else:
            unknown += len(open_runs)
        name, last = here[0][0].directory.parent.name, NUM_INITIAL + here[0][0].rounds * setting[2]
        cells = "  ".join(f"{counts[state]:>3} {state}" for state in STATES)
        print(f"{name:<24} to {last:>6} labels  {cells}")
    for job, state in found:
        if state == "failed":
            with contextlib.suppress(FileNotFoundError):  # tried again just now
                last = (job.directory / "error.txt").read_text().strip().rpartition("\n")[2]
                print(f"failed: {name_of(job)}: {last}")
    counts = Counter(state for _, state in found)
    print(f"{len(jobs)} runs: {', '.join(f'{counts[state]} {state}' for state in STATES)}")
    print(f"left: about {left / 3600:.1f} hours of one worker, compilation aside")
    if unknown:
        print(f"      and {unknown} runs in settings of which no run is done")


def main(args: list[str] | None = None) -> int:
    return execute(parse(args))


def execute(options: argparse.Namespace) -> int:
    """Does what is asked and returns the exit code: 0, or 1 if runs failed or the disk is in the way."""
    jobs = grid(options)
    if options.command == "list":
        for job in jobs:
            print(f"{name_of(job)}  {job.rounds} rounds")
        return 0
    if options.command == "status":
        print_status(jobs)
        return 0
    keep_compiled_programs()
    try:
        failed = work(jobs, options)
    except OSError as error:
        where, what = error.filename or options.runs, error.strerror or error
        print(f"{where}: {what}; the same command goes on", file=sys.stderr)
        return 1
    return 1 if failed else 0


def parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("list", "run", "status"))
    parser.add_argument("--runs", type=Path, default=Path("runs/paper"), help="folder of the runs")
    parser.add_argument(
        "--shard", type=_shard, default=(0, 1), metavar="I/N", help="part I of N, counted from 0"
    )
    parser.add_argument(
        "--only", type=_only, action="append", metavar="KEY=VALUE,…", help=f"{', '.join(KEYS)}; may be repeated"
    )
    parser.add_argument("--max-labels", type=int, help="cut the curves short")
    parser.add_argument("--learning-rate", type=float, help="another than the paper's")
    options = parser.parse_args(args)
    if options.max_labels is not None and options.max_labels < NUM_INITIAL:
        parser.error(f"--max-labels is {options.max_labels}; it must be at least {NUM_INITIAL}")
    for wanted in options.only or []:
        if not grid(argparse.Namespace(runs=options.runs, max_labels=None, only=[wanted], shard=(0, 1))):
            parser.error(f"no run of the grid has {wanted}; `list` shows them")
    return options


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r}; wanted I/N with I from 0 to N − 1, such as 0/8")
    return int(part), int(parts)


def _only(text: str) -> dict[str, str]:
    pairs = dict(item.partition("=")[::2] for item in text.split(","))
    if not set(pairs) <= set(KEYS) or not all(pairs.values()):
        raise argparse.ArgumentTypeError(f"{text!r}; wanted key=value,… with keys {', '.join(KEYS)}")
    return pairs


if __name__ == "__main__":
    chosen = parse(None)
    run_interruptibly(lambda: execute(chosen), "interrupted; the same command goes on")
