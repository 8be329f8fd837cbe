"""Contestants timed in turn in one process, so that a change of the machine's speed touches all alike.

Results are JSON lines of one schema:
    benchmark, contestant, sizes     what was run
    unit, units                      what one run does, e.g. 1000 picks
    repeats, median_s, min_s, max_s  seconds for one run, warm
    compile_s                        the first run less the median
    peak_mib                         peak resident memory of a process that runs this contestant alone, once
    device, versions                 where
"""

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


class Contestant(NamedTuple):
    """prepare: () -> the function to time; it must block until its work is done.
    units: how many units of work one call does."""

    name: str
    prepare: Callable[[], Callable[[], Any]]
    units: int


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats: a look, not a result")
    parser.add_argument("--repeats", type=int, default=None, help="timed runs of each contestant")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--only-memory-of", help=argparse.SUPPRESS)
    return parser


def compare(
    benchmark: str,
    sizes: dict[str, int],
    unit: str,
    contestants: Sequence[Contestant],
    options: argparse.Namespace,
    alone: list[str],
) -> list[dict[str, Any]]:
    """Times the contestants in turn and returns their records, the first contestant's first.

    alone: arguments of Python that make these contestants again, for a process that runs one of them alone
    """
    if options.only_memory_of:
        _report_memory(contestants, options.only_memory_of)
    repeats = options.repeats or (3 if options.quick else 7)
    calls, first, seconds = {}, {}, {contestant.name: [] for contestant in contestants}
    for contestant in contestants:
        calls[contestant.name] = contestant.prepare()
        first[contestant.name] = _seconds(calls[contestant.name])
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(_seconds(call))
    records = []
    for contestant in contestants:
        found = summary(seconds[contestant.name])
        records.append(
            {
                "benchmark": benchmark,
                "contestant": contestant.name,
                "sizes": sizes,
                "unit": unit,
                "units": contestant.units,
                "repeats": repeats,
                **found,
                "compile_s": round(max(0.0, first[contestant.name] - found["median_s"]), 3),
                "peak_mib": _peak_memory(alone, contestant.name),
                "device": device(),
                "versions": versions(),
            }
        )
    return records


def publish(name: str, records: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Writes the table and the JSON lines to the results folder, unless this is a quick look, and prints the
    rows of the last benchmark. What the folder holds of other benchmarks stays."""
    latest = [record for record in records if record["benchmark"] == records[-1]["benchmark"]]
    print(markdown_table(latest), flush=True)
    if options.quick:
        print("\n(a quick look: nothing written)")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{name}.jsonl"
    earlier = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    rerun = {(record["benchmark"], str(record["sizes"])) for record in records}
    records = [r for r in earlier if (r["benchmark"], str(r["sizes"])) not in rerun] + records
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    (options.out / f"{name}.md").write_text(markdown_table(records) + "\n")
    print(f"\n{options.out / name}.jsonl\n{options.out / name}.md\n", flush=True)


def markdown_table(records: list[dict[str, Any]]) -> str:
    """A row a record; the last column is the time a unit over that of the benchmark's first contestant."""
    lines = [
        "| benchmark | contestant | ms a unit: median (min–max) | compile s | peak MiB | time, first = 1 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    base: dict[str, float] = {}
    for r in records:
        sizes = ", ".join(f"{name} {value}" for name, value in r["sizes"].items())
        median, low, high = (1e3 * r[f"{name}_s"] / r["units"] for name in ("median", "min", "max"))
        ratio = median / base.setdefault(r["benchmark"] + sizes, median)
        lines.append(
            f"| {r['benchmark']} ({sizes}; unit: {r['unit']}) | {r['contestant']} "
            f"| {median:.3g} ({low:.3g}–{high:.3g}) | {r['compile_s']:.2f} | {r['peak_mib']} | {ratio:.2f} |"
        )
    device_line = f"{records[0]['device']}; " + ", ".join(f"{k} {v}" for k, v in records[0]["versions"].items())
    return "\n".join([*lines, "", device_line])


def device() -> str:
    """The accelerator, or the processor and its number of cores."""
    import jax

    first = jax.devices()[0]
    if first.platform != "cpu":
        return f"{jax.device_count()} x {first.device_kind}"
    return f"{os.cpu_count()} x CPU ({platform.machine()})"


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def summary(seconds: Sequence[float], digits: int = 6) -> dict[str, float]:
    """Median, least and most of the timed runs."""
    found = {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds)}
    return {name: round(value, digits) for name, value in found.items()}


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _peak_memory(alone: list[str], name: str) -> int | None:
    command = [sys.executable, *alone, "--only-memory-of", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"no peak memory of {name}:\n{done.stderr}", file=sys.stderr)
        return None
    return int(done.stdout)


def _peak_resident_mib() -> int:
    # getrusage would count the parent's peak too: Linux carries it over a fork and exec
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20  # bytes on macOS


def _report_memory(contestants: Sequence[Contestant], name: str) -> None:
    """In the subprocess: runs the one contestant once, prints its peak memory in MiB, and exits."""
    for contestant in contestants:
        if contestant.name == name:
            contestant.prepare()()
            print(_peak_resident_mib())
            sys.exit(0)
