"""Pools spread over devices: what the mesh costs, against the same sampler without one.

    python -m benchmarks.sharded             n 50,000, c 10, d 512; the devices that JAX finds
    python -m benchmarks.sharded --quick     a fast look

On a machine with one CPU, ``XLA_FLAGS=--xla_force_host_platform_device_count=8`` makes eight devices that share
its cores: such times show what is added, not what is gained. The picks of all are compared first.
"""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from badge_jax import k_center_greedy, lazy_kmeans_plusplus, shard_pool
from benchmarks.harness import Contestant, arguments, compare, publish
from benchmarks.pools import synthetic_pool

SAMPLERS = {
    "k-means++, lazy": lambda key, k, rows, mask: lazy_kmeans_plusplus(key, rows, k, available=mask),
    "furthest-first": lambda key, k, rows, mask: k_center_greedy(rows, k, available=mask),
}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument(
        "--devices", type=int, action="append", help="sizes of the mesh; all powers of two there are"
    )
    parser.add_argument("--sampler", choices=SAMPLERS, help="one of them")
    options = parser.parse_args()
    n, c, d, k = (6000, 10, 64, 100) if options.quick else (50_000, 10, 512, 1000)
    rows, key, records = synthetic_pool("soft", n, c, d), jax.random.key(1), []
    there_are = len(jax.devices())
    counts = options.devices or [2**i for i in range(there_are.bit_length()) if 2**i <= there_are]
    for name in [options.sampler] if options.sampler else SAMPLERS:
        sampler = partial(SAMPLERS[name], key, k)
        calls = {"no mesh": partial(sampler, rows, None)}
        for count in counts:
            mesh = jax.make_mesh((count,), ("pool",), devices=jax.devices()[:count])
            calls[f"a mesh of {count}"] = partial(sampler, *shard_pool(rows, mesh))
        if not options.only_memory_of:
            picks = [np.asarray(call()) for call in calls.values()]
            assert all((other == picks[0]).all() for other in picks), "the picks differ"
        found = [Contestant(label, partial(blocking, call), k) for label, call in calls.items()]
        alone = ["-m", "benchmarks.sharded", "--sampler", name] + ["--quick"] * options.quick
        records += compare(
            f"{name}, over devices", {"n": n, "c": c, "d": d, "k": k}, "pick", found, options, alone
        )
        publish("sharded", records, options)


def blocking(call: Callable[[], jax.Array]) -> Callable[[], None]:
    return lambda: jax.block_until_ready(call())


if __name__ == "__main__":
    main()
