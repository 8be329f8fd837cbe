"""Whole commands, timed as processes: imports, `badge-jax run`, a sweep against a shell loop of runs.

    python -m benchmarks.commands                     into results/commands.jsonl
    python -m benchmarks.commands --peer CHECKOUT     another checkout beside this one, in turn
    python -m benchmarks.commands --only sweep        one part: imports, run or sweep

MNIST and letter must be on this machine (`badge-jax datasets fetch mnist`; `… fetch letter`). On 2 CPU cores
about ten minutes; ``--quick`` takes the small data set, fewer repeats, and writes nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from badge_jax.data import where_kept
from benchmarks.harness import arguments, device, summary, versions

HERE = Path(__file__).resolve().parents[1]
IMPORTS = ("import jax", "import badge_jax", "import badge_jax.runs", "from badge_jax.runs import run")
MNIST = ["--dataset", "mnist", "--batch-size", "1000", "--rounds", "5"]
LETTER = ["--dataset", "letter", "--batch-size", "1000", "--rounds", "2", "--max-epochs", "100"]
STRATEGIES, NUM_SEEDS = ("badge", "coreset", "margin"), 4


def time_of(command: list[str], tree: Path, cache: Path) -> float:
    """Seconds of a process of Python in a checkout of the package."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "BADGE_JAX_CACHE": str(cache)}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed in {tree}:\n{done.stderr}")
    return time.perf_counter() - start


def new_cache(folder: Path) -> Path:
    """A cache that has the data sets, by links, and no compiled program."""
    folder.mkdir()
    for name in ("mnist", "letter"):
        (folder / where_kept(name).name).symlink_to(where_kept(name))
    return folder


def time_imports(trees: dict[str, Path], work: Path, repeats: int) -> list[dict[str, Any]]:
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeats):
        for name, tree in trees.items():
            for code in IMPORTS:
                seconds.setdefault((name, code), []).append(time_of(["-c", code], tree, work))
    return [record("imports", name, repeats, times, code=code) for (name, code), times in seconds.items()]


def time_runs(trees: dict[str, Path], work: Path, repeats: int, options: list[str]) -> list[dict[str, Any]]:
    """A run with no compiled program kept, and one after it, in each checkout in turn."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for i in range(repeats):
        for name, tree in trees.items():
            cache = new_cache(work / f"cache-{name}-{i}")
            for start in ("first", "second"):
                out = work / f"run-{name}-{i}-{start}"
                command = ["-m", "badge_jax", "run", *options, "--strategy", "badge", "--out", str(out)]
                seconds.setdefault((name, start), []).append(time_of(command, tree, cache))
    return [
        record("run", name, repeats, times, start=start, options=" ".join(options))
        for (name, start), times in seconds.items()
    ]


def time_sweeps(work: Path, repeats: int, options: list[str]) -> list[dict[str, Any]]:
    """All runs by one sweep with a worker a core, and one after another; both with compiled programs kept."""
    dataset, workers = options[1], str(len(os.sched_getaffinity(0)))
    cache, seconds = new_cache(work / f"cache-{dataset}"), {"sweep": [], "shell loop": []}

    def sweep(out: Path) -> float:
        seeds = f"0-{NUM_SEEDS - 1}"
        command = ["-m", "badge_jax", "sweep", *options, "--seeds", seeds, "--strategy", *STRATEGIES]
        return time_of([*command, "--workers", workers, "--out", str(out)], HERE, cache)

    def shell_loop(out: Path) -> float:
        command = ["-m", "badge_jax", "run", *options]
        runs = [(strategy, str(seed)) for strategy in STRATEGIES for seed in range(NUM_SEEDS)]
        return sum(
            time_of([*command, "--strategy", s, "--seed", seed, "--out", str(out / s / seed)], HERE, cache)
            for s, seed in runs
        )

    contestants = {"sweep": sweep, "shell loop": shell_loop}
    for i in range(-1, repeats):  # the first time compiles
        for name, contestant in contestants.items():
            found = contestant(work / f"{dataset}-{name}-{i}")
            if i >= 0:
                seconds[name].append(found)
    sizes = {"strategies": len(STRATEGIES), "seeds": NUM_SEEDS, "workers": int(workers)}
    return [
        record("sweep", n, repeats, times, options=" ".join(options), **sizes) for n, times in seconds.items()
    ]


def record(benchmark: str, contestant: str, repeats: int, seconds: list[float], **what: Any) -> dict[str, Any]:
    found = {"benchmark": benchmark, "contestant": contestant, **what, "repeats": repeats}
    found |= summary(seconds, digits=3)
    print(json.dumps(found), flush=True)
    return {**found, "device": device(), "versions": versions()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--peer", type=Path, help="another checkout of this package")
    parser.add_argument("--only", choices=("imports", "run", "sweep"))
    options = parser.parse_args()
    repeats = options.repeats or (1 if options.quick else 3)
    trees = {"this": HERE} | ({"peer": options.peer.resolve()} if options.peer else {})
    work, records = Path(tempfile.mkdtemp()), []
    try:
        if options.only in (None, "imports"):
            records += time_imports(trees, work, 3 * repeats)
        if options.only in (None, "run"):
            records += time_runs(trees, work, repeats, LETTER if options.quick else MNIST)
        if options.only in (None, "sweep"):
            for data in (LETTER,) if options.quick else (LETTER, MNIST):
                records += time_sweeps(work, repeats, data)
    finally:
        shutil.rmtree(work)
    if not options.quick:
        path = options.out / "commands.jsonl"
        known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        rerun = {found["benchmark"] for found in records}
        kept = [line for line in known if line["benchmark"] not in rerun]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept + records))


if __name__ == "__main__":
    main()
