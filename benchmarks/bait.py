"""BAIT over "top class or not": whole queries against passes over the pool, and steps against NumPy.

    python -m benchmarks.bait             n 50,000, c 10, d 512, k 1,000
    python -m benchmarks.bait --quick     a fast look

A query adds 2k rows and removes k. Beside it stand k sums of all features by `jnp.sum`, each a pass over the
pool. The NumPy version adds rows one by one in float64, two matrix-vector products with the pool a step, and is
timed on 200 steps, ours on k, with nothing removed. Before the timing, the first picks of both are compared.
About five minutes on 2 CPU cores.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import STRATEGIES, Pool
from benchmarks.harness import Contestant, arguments, compare, publish
from benchmarks.peers import numpy_bait
from benchmarks.pools import RECIPES, pool_outputs

NUMPY_STEPS = 200


def query_of(pool: Pool, k: int, **options: float) -> Callable[[], list[int]]:
    strategy = STRATEGIES["bait"](**options)
    query = jax.jit(lambda pool: strategy.query(jax.random.key(1), (), pool, k)[0])
    return lambda: query(pool).tolist()


def whole_query(pool: Pool, k: int) -> list[Contestant]:
    def ours() -> Callable:
        query = query_of(pool, k)

        def run() -> None:
            picks = query()
            assert len(set(picks)) == k, "a row came twice"
            assert min(picks) >= 0

        return run

    def passes() -> Callable:
        def run() -> None:
            for _ in range(k):
                jnp.sum(pool.features).block_until_ready()

        return run

    return [Contestant("bait", ours, 1), Contestant(f"{k} passes of jnp.sum", passes, 1)]


def steps(pool: Pool, k: int) -> list[Contestant]:
    logits, features = np.asarray(pool.logits, np.float64), np.asarray(pool.features, np.float64)
    return [
        Contestant("bait(prune=1)", lambda: query_of(pool, k, prune=1.0), k),
        Contestant(
            "NumPy, rank one, float64",
            lambda: lambda: numpy_bait(logits, features, k, NUMPY_STEPS),
            NUMPY_STEPS,
        ),
    ]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    for name in ("n", "c", "d", "k"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--recipe", choices=RECIPES)
    options = parser.parse_args()
    n, c = options.n or (5000 if options.quick else 50_000), options.c or 10
    d, k = options.d or (64 if options.quick else 512), options.k or (100 if options.quick else 1000)
    records = []
    for recipe in [options.recipe] if options.recipe else ("soft", "confident"):
        logits, features = pool_outputs(recipe, n, c, d)
        nothing = jnp.zeros(n, bool)
        pool = Pool(logits, features, jnp.full(n, -1), nothing, ~nothing)
        sizes = {"n": n, "c": c, "d": d, "k": k}
        alone = ["-m", "benchmarks.bait", "--recipe", recipe]
        alone += [part for name, size in sizes.items() for part in (f"--{name}", str(size))]
        if not options.only_memory_of:
            theirs = numpy_bait(np.asarray(logits), np.asarray(features), k, NUMPY_STEPS)
            assert query_of(pool, k, prune=1.0)()[:NUMPY_STEPS] == theirs, "the picks differ"
        for benchmark, unit, found in (
            (f"BAIT, {recipe}", "query", whole_query(pool, k)),
            (f"BAIT by the step, {recipe}", "step", steps(pool, k)),
        ):
            if options.only_memory_of in (None, *(contestant.name for contestant in found)):
                records += compare(benchmark, sizes, unit, found, options, alone)
                publish("bait", records, options)


if __name__ == "__main__":
    main()
