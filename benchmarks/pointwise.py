"""Batches from logits alone: `stochastic` and `falcun` against NumPy, in float32.

    python -m benchmarks.pointwise             n 1,000,000, c 10, d 64; stochastic k 10,000, falcun k 1000
    python -m benchmarks.pointwise --quick     a fast look

A stochastic batch is one pass, so NumPy makes the whole of it; `margin`, the top of a score without noise, is
timed beside it. FALCUN passes over the probabilities once a pick, and NumPy makes five picks. About two minutes
on 2 CPU cores.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import STRATEGIES, Pool
from benchmarks.harness import Contestant, arguments, compare, publish


def make_pool(n: int, c: int, d: int) -> Pool:
    """Logits 3 N(0, 1) and features max(0, N(0, 1)), nothing labeled."""
    logit_key, feature_key = jax.random.split(jax.random.key(0))
    logits = 3 * jax.random.normal(logit_key, (n, c))
    features = jnp.maximum(jax.random.normal(feature_key, (n, d)), 0)
    labeled = jnp.zeros(n, bool)
    return jax.block_until_ready(Pool(logits, features, jnp.full(n, -1, jnp.int32), labeled, ~labeled))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def doubt(probabilities: np.ndarray) -> np.ndarray:
    """1 − (p₁ − p₂): [n]."""
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return 1 - (two[:, 1] - two[:, 0])


def numpy_stochastic(rng: np.random.Generator, logits: np.ndarray, k: int) -> list[int]:
    values = np.log(doubt(softmax(logits))) + rng.gumbel(size=len(logits))
    best = np.argpartition(-values, k)[:k]
    return best[np.argsort(-values[best])].tolist()


def numpy_falcun(rng: np.random.Generator, logits: np.ndarray, k: int) -> list[int]:
    probabilities = softmax(logits)
    u = doubt(probabilities)
    distance, free, picks = u.copy(), np.ones(len(u), bool), []
    for _ in range(k):
        least, most = distance[free].min(), distance[free].max()
        weights = np.where(free, ((distance - least) / (most - least) + u) ** 10, 0).astype(np.float64)
        picks.append(int(rng.choice(len(u), p=weights / weights.sum())))
        free[picks[-1]] = False
        distance = np.minimum(distance, np.abs(probabilities - probabilities[picks[-1]]).sum(axis=1))
    return picks


def ours(strategy: str, options: dict, pool: Pool, k: int) -> Callable:
    made = STRATEGIES[strategy](**options)
    query = jax.jit(lambda key, pool: made.query(key, (), pool, k)[0])

    def run() -> None:
        picks = np.asarray(query(jax.random.key(1), pool))
        assert len(set(picks.tolist())) == k, "a row came twice"
        assert picks.min() >= 0

    return lambda: run


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    for name in ("n", "c", "d", "k"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--part", choices=("stochastic", "falcun"))
    options = parser.parse_args()
    n, c, d = options.n or (50_000 if options.quick else 1_000_000), options.c or 10, options.d or 64
    pool = make_pool(n, c, d)
    logits = np.asarray(pool.logits)
    records = []
    for part in [options.part] if options.part else ["stochastic", "falcun"]:
        k = options.k or (n // 100 if part == "stochastic" else n // 1000)
        sizes = {"n": n, "c": c, "d": d, "k": k}
        alone = ["-m", "benchmarks.pointwise", "--part", part]
        alone += [text for name, size in sizes.items() for text in (f"--{name}", str(size))]
        if part == "stochastic":
            settings = [
                ("margin", "power"),
                ("margin", "softrank"),
                ("entropy", "power"),
                ("gradnorm", "softmax"),
            ]
            found = [
                Contestant(f"stochastic({s}, {law})", ours("stochastic", {"score": s, "law": law}, pool, k), 1)
                for s, law in settings
            ]
            found.append(Contestant("margin", ours("margin", {}, pool, k), 1))
            found.append(
                Contestant(
                    "NumPy, margin, power",
                    lambda k=k: lambda: numpy_stochastic(np.random.default_rng(1), logits, k),
                    1,
                )
            )
            records += compare("stochastic batch", sizes, "batch", found, options, alone)
        else:
            found = [
                Contestant("falcun", ours("falcun", {}, pool, k), k),
                Contestant("NumPy loop", lambda: lambda: numpy_falcun(np.random.default_rng(1), logits, 5), 5),
            ]
            records += compare("FALCUN", sizes, "pick", found, options, alone)
        publish("pointwise", records, options)


if __name__ == "__main__":
    main()
