"""`badge-jax campaign next` as a process, its page included: the head is trained on 1,000 labels, its outputs
for all rows are computed, and the strategy chooses 100 rows.

    python -m benchmarks.campaign              into results/campaign.jsonl

There are 50 classes and 384 features. 100,000 rows are float32 and held in memory. A million are float16 and
read from their file in tiles, with --memory 1500MB; the system may still hold the file in memory, since it was
just written. "first" compiles the programs, "second" finds them in the cache. Besides seconds there are those
of the processor, which other work on the machine changes less, the load of the machine before the first run,
and the peak of the resident memory. On 2 CPU cores about ten minutes.
"""

import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.campaign import CampaignFiles, CampaignOptions, open_campaign, start_campaign, tell_answers
from benchmarks.harness import arguments, device, summary, versions

HERE = Path(__file__).resolve().parents[1]
PART = 50_000  # rows that are made at a time


class Sizes(NamedTuple):
    n: int
    d: int
    classes: int
    labels: int
    k: int
    dtype: str
    memory: int | None  # bytes


SMALL = Sizes(100_000, 384, 50, 1000, 100, "float32", None)
LARGE = Sizes(1_000_000, 384, 50, 1000, 100, "float16", 1_500_000_000)
QUICK = Sizes(5000, 32, 5, 100, 20, "float32", None)
CASES = [(sizes, head, "badge") for sizes in (SMALL, LARGE) for head in ("mlp", "linear")]
CASES += [(SMALL, head, "margin") for head in ("mlp", "linear")]


class Cost(NamedTuple):
    """What one run of the command takes: seconds, those of the processor for the program and for the system,
    and the peak of the resident memory in MiB."""

    seconds: float
    user: float
    system: float
    peak: float


def write_features(path: Path, sizes: Sizes) -> np.ndarray:
    """Overlapping classes, as embeddings of a good network are. Returns the true classes [n]."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, sizes.classes, sizes.n)
    centers = rng.normal(size=(sizes.classes, sizes.d)).astype(np.float32)
    stored = np.lib.format.open_memmap(path, "w+", np.dtype(sizes.dtype), (sizes.n, sizes.d))
    for start in range(0, sizes.n, PART):
        part = labels[start : start + PART]
        stored[start : start + PART] = centers[part] + 3 * rng.standard_normal((len(part), sizes.d), np.float32)
    stored.flush()
    return labels


def prepare(folder: Path, features: Path, labels: np.ndarray, sizes: Sizes, head: str, strategy: str) -> None:
    """A campaign with its first labels."""
    names = tuple(f"class {number}" for number in range(sizes.classes))
    options = CampaignOptions(names, strategy, "random", head, audit=0.1, memory_budget=sizes.memory)
    start_campaign(folder, options, CampaignFiles(features))
    with open_campaign(folder) as campaign:
        outside = np.setdiff1d(np.arange(sizes.n), campaign.state.reserve)
        rows = np.random.default_rng(1).choice(outside, sizes.labels, replace=False)
        answers = folder / "answers.csv"
        answers.write_text("index,label\n" + "".join(f"{row},{names[labels[row]]}\n" for row in rows))
        tell_answers(campaign, [answers])


# a process of its own, since Linux counts the peak memory of the one that starts a command as the command's
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([seconds, used.ru_utime, used.ru_stime, used.ru_maxrss / 1024]))
sys.exit(code)
"""


def cost_of_next(folder: Path, cache: Path, k: int) -> Cost:
    """Runs the command; what it writes is checked, and the campaign is then as it was."""
    log = folder / "log.jsonl"
    before = log.read_bytes()
    command = [sys.executable, "-m", "badge_jax", "campaign", "next", str(folder), "--k", str(k), "--force"]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "BADGE_JAX_CACHE": str(cache)}
    command = [sys.executable, "-c", MEASURE, *command]
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"campaign next failed:\n{done.stderr}")
    with open_campaign(folder) as campaign, (folder / "batch-1.csv").open(newline="") as file:
        rows = [int(line["index"]) for line in csv.DictReader(file)]
        assert len(set(rows)) == k
        assert (campaign.state.labels[rows] < 0).all()
        assert np.isin(rows, campaign.state.reserve).sum() == round(0.1 * k)
        assert (folder / "batch-1.html").stat().st_size > 0
    log.write_bytes(before)
    return Cost(*json.loads(done.stdout))


def main() -> None:
    options = arguments(__doc__).parse_args()
    cases = [(QUICK, head, "badge") for head in ("mlp", "linear")] if options.quick else CASES
    repeats = options.repeats or (1 if options.quick else 3)
    work = Path(tempfile.mkdtemp())
    pools: dict[Sizes, tuple[Path, np.ndarray]] = {}
    records: list[dict[str, Any]] = []
    try:
        for number, (sizes, head, strategy) in enumerate(cases):
            if sizes not in pools:
                features = work / f"features-{sizes.n}.npy"
                pools[sizes] = features, write_features(features, sizes)
            folder, load = work / f"campaign-{number}", os.getloadavg()[0]
            prepare(folder, *pools[sizes], sizes, head, strategy)
            costs: dict[str, list[Cost]] = {"first": [], "second": []}
            for i in range(repeats):
                for found in costs.values():
                    found.append(cost_of_next(folder, work / f"cache-{number}-{i}", sizes.k))
            for start, found in costs.items():
                records.append(record_of(sizes, f"{head}, {strategy}", start, found, load))
                print(json.dumps(records[-1]), flush=True)
            if not options.quick:  # what is measured is kept, whatever comes after
                (options.out / "campaign.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    finally:
        shutil.rmtree(work)


def record_of(sizes: Sizes, contestant: str, start: str, costs: list[Cost], load: float) -> dict[str, Any]:
    return {
        "benchmark": "campaign",
        "contestant": contestant,
        "start": start,
        **sizes._asdict(),
        "repeats": len(costs),
        **summary([cost.seconds for cost in costs], digits=3),
        "user_s": round(statistics.median(cost.user for cost in costs), 3),
        "system_s": round(statistics.median(cost.system for cost in costs), 3),
        "peak_mib": round(max(cost.peak for cost in costs)),
        "load_before": round(load, 2),
        "device": device(),
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
