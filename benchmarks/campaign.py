"""`badge-jax campaign next` as a process: n 100,000, 384 features, 50 classes, 1,000 labels, k 100.

    python -m benchmarks.campaign              into results/campaign.jsonl

The command trains the head on the labels, computes its outputs for all rows, and lets the strategy choose.
"first" compiles the programs, "second" finds them in the cache. On 2 CPU cores about five minutes.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from badge_jax.campaign import CampaignFiles, CampaignOptions, open_campaign, start_campaign, tell_answers
from benchmarks.harness import arguments, device, summary, versions

HERE = Path(__file__).resolve().parents[1]
SIZES = {"n": 100_000, "d": 384, "classes": 50, "labels": 1000, "k": 100}
QUICK = {"n": 5000, "d": 32, "classes": 5, "labels": 100, "k": 20}
HEADS, STRATEGIES = ("linear", "mlp"), ("badge", "margin")


def prepare(work: Path, sizes: dict[str, int], head: str, strategy: str) -> Path:
    """A campaign with its first labels: overlapping classes, as embeddings of a good network are."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, sizes["classes"], sizes["n"])
    centers = rng.normal(size=(sizes["classes"], sizes["d"]))
    features = centers[labels] + 3 * rng.normal(size=(sizes["n"], sizes["d"]))
    np.save(work / "features.npy", features.astype(np.float32))
    names = tuple(f"class {number}" for number in range(sizes["classes"]))
    folder = work / f"{head}-{strategy}"
    options = CampaignOptions(names, strategy, head=head, audit=0.1)
    start_campaign(folder, options, CampaignFiles(work / "features.npy"))
    with open_campaign(folder) as campaign:
        outside = np.setdiff1d(np.arange(sizes["n"]), campaign.state.reserve)
        rows = rng.choice(outside, sizes["labels"], replace=False)
        answers = work / "answers.csv"
        answers.write_text("index,label\n" + "".join(f"{row},{names[labels[row]]}\n" for row in rows))
        tell_answers(campaign, [answers])
    return folder


def time_of_next(folder: Path, cache: Path, k: int) -> float:
    """Seconds of the command; what it writes is checked, and the campaign is then as it was."""
    log = folder / "log.jsonl"
    before = log.read_bytes()
    command = [sys.executable, "-m", "badge_jax", "campaign", "next", str(folder), "--k", str(k), "--force"]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "BADGE_JAX_CACHE": str(cache)}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    with open_campaign(folder) as campaign, (folder / "batch-1.csv").open(newline="") as file:
        rows = [int(line["index"]) for line in csv.DictReader(file)]
        assert len(set(rows)) == k
        assert (campaign.state.labels[rows] < 0).all()
        assert np.isin(rows, campaign.state.reserve).sum() == round(0.1 * k)
    log.write_bytes(before)
    return seconds


def main() -> None:
    options = arguments(__doc__).parse_args()
    sizes, repeats = QUICK if options.quick else SIZES, options.repeats or (1 if options.quick else 3)
    work = Path(tempfile.mkdtemp())
    records: list[dict[str, Any]] = []
    try:
        for head in HEADS:
            for strategy in STRATEGIES:
                folder = prepare(work, sizes, head, strategy)
                seconds: dict[str, list[float]] = {"first": [], "second": []}
                for i in range(repeats):
                    for start in seconds:
                        cache = work / f"cache-{head}-{strategy}-{i}"
                        seconds[start].append(time_of_next(folder, cache, sizes["k"]))
                for start, times in seconds.items():
                    found = {"benchmark": "campaign", "contestant": f"{head}, {strategy}", "start": start}
                    found |= {**sizes, "repeats": repeats, **summary(times, digits=3)}
                    print(json.dumps(found), flush=True)
                    records.append({**found, "device": device(), "versions": versions()})
    finally:
        shutil.rmtree(work)
    if not options.quick:
        (options.out / "campaign.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records))


if __name__ == "__main__":
    main()
