"""A k-DPP's chain of swaps over gradient embeddings: `k_dpp_swap` against a NumPy chain, rank-one updates.

    python -m benchmarks.k_dpp             n 50,000, c 10, d 256; k 100 and 1000
    python -m benchmarks.k_dpp --quick     a fast look

Both take all max(50, ⌈5 k ln k⌉) steps, in float32, from a random set; k-means++ seeding, which BADGE uses in
its place, is timed beside them. About five minutes on 2 CPU cores.
"""

import argparse
import math
from collections.abc import Callable

import jax
import numpy as np

from badge_jax import Rows, k_dpp_swap, lazy_kmeans_plusplus
from benchmarks.harness import Contestant, arguments, compare, publish
from benchmarks.peers import numpy_k_dpp
from benchmarks.pools import RECIPES, synthetic_pool


def contestants_for(rows: Rows, k: int, num_steps: int) -> list[Contestant]:
    left, right = np.asarray(rows.left), np.asarray(rows.right)

    def check(picks: list[int]) -> None:
        assert len(set(picks)) == k, "a row came twice"
        assert min(picks) >= 0

    def ours() -> Callable:
        return lambda: check(k_dpp_swap(jax.random.key(1), rows, k).tolist())

    def in_numpy() -> Callable:
        return lambda: check(numpy_k_dpp(np.random.default_rng(1), left, right, k, num_steps))

    def kmeans() -> Callable:
        return lambda: check(lazy_kmeans_plusplus(jax.random.key(1), rows, k).tolist())

    return [
        Contestant("k_dpp_swap", ours, 1),
        Contestant("NumPy chain", in_numpy, 1),
        Contestant("lazy_kmeans_plusplus, another law", kmeans, 1),
    ]


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__.splitlines()[0])
    for name in ("n", "c", "d", "k"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--recipe", choices=RECIPES, default="soft")
    options = parser.parse_args()
    n, c, d = options.n or (5000 if options.quick else 50_000), options.c or 10, options.d or 256
    records = []
    for k in [options.k] if options.k else [100] if options.quick else [100, 1000]:
        rows = synthetic_pool(options.recipe, n, c, d)
        sizes = {"n": n, "c": c, "d": d, "k": k}
        alone = ["-m", "benchmarks.k_dpp", "--recipe", options.recipe]
        alone += [part for name, size in sizes.items() for part in (f"--{name}", str(size))]
        num_steps = max(50, math.ceil(5 * k * math.log(k)))
        found = contestants_for(rows, k, num_steps)
        records += compare(f"k-DPP, {options.recipe}", sizes, "batch", found, options, alone)
        publish("k_dpp", records, options)


if __name__ == "__main__":
    main()
