"""`badge-jax select` as whole processes: a pool of 3.5 GB on disk under a budget of 1 GB, and a small one.

    python -m benchmarks.selection FOLDER             makes the pools' files in FOLDER, unless they are there
    python -m benchmarks.selection FOLDER --quick     a pool of a tenth, nothing written

The incremental seeder, for comparison, holds the large pool in memory (float32, 7 GB) and is timed on 20
centres in the same run. Features are max(0, N(0, 1)), logits 2·N(0, 1).
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import Rows, gradient_embedding, kmeans_plusplus
from benchmarks.harness import arguments, device, versions

LARGE = {"n": 2_000_000, "c": 100, "d": 768, "k": 5000}
SMALL = {"n": 50_000, "c": 10, "d": 512, "k": 1000}
PEAK = "; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"


def make_files(folder: Path, sizes: dict[str, int], dtype: type) -> list[str]:
    """Options that name the pool's files, made a chunk at a time if they are not there."""
    rng, options = np.random.default_rng(0), []
    for name, width in (("features", sizes["d"]), ("logits", sizes["c"])):
        path = folder / f"{name}-{sizes['n']}-{width}-{np.dtype(dtype).name}.npy"
        if not path.exists():
            array = np.lib.format.open_memmap(path.with_suffix(".part"), "w+", dtype, (sizes["n"], width))
            for start in range(0, sizes["n"], 20_000):
                chunk = rng.standard_normal((min(20_000, sizes["n"] - start), width), np.float32)
                array[start : start + 20_000] = np.maximum(chunk, 0) if name == "features" else 2 * chunk
            array.flush()
            path.with_suffix(".part").rename(path)
        options += [f"--{name}", str(path)]
    return options


def run_select(options: list[str], cache: Path) -> tuple[float, int]:
    """Seconds of the whole process, and its peak resident memory in MB."""
    code = f"import re, sys; from badge_jax.cli import main; code = main(sys.argv[1:]){PEAK}; sys.exit(code)"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "select", *options],
        env={**os.environ, "BADGE_JAX_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.perf_counter() - start, int(re.search(r"\d+", done.stdout)[0]) * 1024 // 10**6


def incremental_pick(paths: list[str], chunk: int = 100_000) -> float:
    """Seconds a pick of the incremental seeder over the whole pool in memory, from 20 centres."""
    features, logits = (np.load(path, mmap_mode="r") for path in paths)
    parts = [
        jax.tree.map(np.asarray, gradient_embedding(logits[i : i + chunk], features[i : i + chunk]))
        for i in range(0, len(features), chunk)
    ]
    rows = Rows(*(jnp.asarray(np.concatenate([getattr(p, f) for p in parts])) for f in Rows._fields))
    del parts
    kmeans_plusplus(jax.random.key(0), rows, 20).block_until_ready()
    start = time.perf_counter()
    kmeans_plusplus(jax.random.key(1), rows, 20).block_until_ready()
    return (time.perf_counter() - start) / 20


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    large = {**LARGE, "n": LARGE["n"] // 10, "k": LARGE["k"] // 10} if options.quick else LARGE
    options.folder.mkdir(parents=True, exist_ok=True)
    cache, picks = options.folder / "cache", str(options.folder / "picks.csv")
    records = []

    def record(benchmark: str, sizes: dict[str, int], **figures: object) -> None:
        records.append(
            {"benchmark": benchmark, "sizes": sizes, **figures, "device": device(), "versions": versions()}
        )
        print(json.dumps(records[-1]), flush=True)

    files = make_files(options.folder, SMALL, np.float32)
    alone, cold, warm = [], [], []
    for i in range(options.repeats or 7):
        fresh = options.folder / f"cache-{os.getpid()}-{i}"
        cold.append(run_select([*files, "--k", str(SMALL["k"]), "--out", picks], fresh)[0])
        seconds, peak = run_select([*files, "--k", str(SMALL["k"]), "--out", picks], fresh)
        warm.append(seconds)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import jax"], check=True)
        alone.append(time.perf_counter() - start)
    record(
        "select, small pool, whole process",
        SMALL,
        repeats=len(warm),
        cold_s=round(statistics.median(cold), 2),
        warm_s=round(statistics.median(warm), 2),
        import_jax_s=round(statistics.median(alone), 2),
        peak_mb=peak,
    )
    files = make_files(options.folder, large, np.float16)
    seconds, peak = run_select([*files, "--k", str(large["k"]), "--memory", "1GB", "--out", picks], cache)
    a_pick = incremental_pick(files[1::2])
    record(
        "select, large pool on disk, --memory 1GB",
        large,
        seconds=round(seconds, 1),
        peak_mb=peak,
        incremental_s=round(a_pick * large["k"], 1),
        ratio=round(a_pick * large["k"] / seconds, 1),
    )
    if not options.quick:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "selection.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


if __name__ == "__main__":
    main()
