"""k-means++ seeding over gradient embeddings: the fori_loop seeder against a clean NumPy loop.

    python benchmarks/samplers.py [--quick] [--n 50000 --c 10 --d 512 --k 1000]

Also times one pass over the same pool by ``jnp.sum``: what the machine's memory allows a pick to cost. The
NumPy loop uses the same factored distances, keeps its minimum in float64 and draws by ``Generator.choice``.
About three minutes on 2 CPU cores.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from harness import Contestant, arguments, compare, publish

from badge_jax import Rows, gradient_embedding, kmeans_plusplus


def make_pool(n: int, c: int, d: int) -> Rows:
    """Soft predictions and ReLU features: logits N(0, 1), features max(0, N(0, 1))."""
    logit_key, feature_key = jax.random.split(jax.random.key(0))
    features = jnp.maximum(jax.random.normal(feature_key, (n, d)), 0)
    return jax.jit(gradient_embedding)(jax.random.normal(logit_key, (n, c)), features)


def numpy_kmeans_plusplus(rng: np.random.Generator, left: np.ndarray, right: np.ndarray, k: int) -> list[int]:
    """k-means++ over outer products, one pass a pick."""
    norms = np.einsum("ij,ij->i", left, left) * np.einsum("ij,ij->i", right, right)
    nearest = np.full(len(left), np.inf)
    chosen = [int(rng.integers(len(left)))]
    while len(chosen) < k:
        index = chosen[-1]
        inner = (left @ left[index]) * (right @ right[index])
        np.minimum(nearest, np.maximum(norms + norms[index] - 2 * inner, 0), out=nearest)
        nearest[index] = 0
        chosen.append(int(rng.choice(len(left), p=nearest / nearest.sum())))
    return chosen


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    for name, default in (("n", 50_000), ("c", 10), ("d", 512), ("k", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    n, c, d, k = options.n, options.c, options.d, 50 if options.quick else options.k
    rows = make_pool(n, c, d)
    num_passes = max(1, k // 10)

    def seeder():
        def call():
            picks = np.asarray(kmeans_plusplus(jax.random.key(1), rows, k))
            assert len(set(picks.tolist())) == k
            assert picks.min() >= 0

        return call

    def numpy_loop():
        left, right = np.asarray(rows.left), np.asarray(rows.right)
        return lambda: numpy_kmeans_plusplus(np.random.default_rng(1), left, right, k)

    def one_pass():
        total = jax.jit(lambda rows: jnp.sum(rows.right) + jnp.sum(rows.left))

        def call():
            for _ in range(num_passes):
                jax.block_until_ready(total(rows))

        return call

    contestants = [
        Contestant("kmeans_plusplus", seeder, k),
        Contestant("NumPy loop", numpy_loop, k),
        Contestant("one pass of jnp.sum", one_pass, num_passes),
    ]
    sizes = {"n": n, "c": c, "d": d, "k": k}
    publish("samplers", compare("seeding", sizes, "pick", contestants, options, __file__), options)


if __name__ == "__main__":
    main()
