"""Furthest-first traversal: `k_center_greedy` against a plain loop, one pass over the pool a pick.

    python -m benchmarks.k_center             n 60,000, d 256, 1,100 centres from the start; k 1000 and 10,000
    python -m benchmarks.k_center --quick     a fast look

The plain loop folds the given centres by matrix products too, as version 0.1 did. Before the timing, the first
300 picks of both are checked in float64: each is as far from its nearest centre as any row is, to float32's
rounding. Half an hour or more on 2 CPU cores, most of it the plain loop's 10,000 picks.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import Rows, dense_rows, k_center_greedy
from benchmarks.harness import Contestant, arguments, compare, publish
from benchmarks.pools import clustered_features, synthetic_pool

POOLS = ("features", "gradients")


@partial(jax.jit, static_argnames="k")
def plain_loop(rows: Rows, k: int, centers: jax.Array) -> jax.Array:
    """One argmax and one pass a pick; distances by inner products."""
    n, block = len(rows), 256
    norms = jnp.sum(rows.left**2, axis=1) * jnp.sum(rows.right**2, axis=1)
    indices = jnp.pad(jnp.nonzero(centers, size=n, fill_value=0)[0], (0, block))
    num_centers = jnp.sum(centers)

    def nearer(nearest: jax.Array, index: jax.Array, counts: jax.Array) -> jax.Array:
        others = rows[index]
        inner = jnp.dot(rows.left, others.left.T, precision="highest")
        inner *= jnp.dot(rows.right, others.right.T, precision="highest")
        squared = jnp.maximum(norms[:, None] + norms[index][None, :] - 2 * inner, 0.0)
        return jnp.minimum(nearest, jnp.min(jnp.where(counts, squared, jnp.inf), axis=1))

    def fold(i: jax.Array, nearest: jax.Array) -> jax.Array:
        index = jax.lax.dynamic_slice_in_dim(indices, i * block, block)
        return nearer(nearest, index, i * block + jnp.arange(block) < num_centers)

    def choose(t: jax.Array, carry: tuple) -> tuple:
        chosen, nearest, free = carry
        index = jnp.argmax(jnp.where(free, nearest, -1.0)).astype(jnp.int32)
        nearest = nearer(nearest, index[None], jnp.ones(1, bool))
        return chosen.at[t].set(index), nearest, free.at[index].set(False)

    nearest = jax.lax.fori_loop(0, (num_centers + block - 1) // block, fold, jnp.full(n, jnp.inf))
    return jax.lax.fori_loop(0, k, choose, (jnp.zeros(k, jnp.int32), nearest, ~centers))[0]


def check_furthest(rows: Rows, picks: np.ndarray, centers: np.ndarray) -> None:
    """Raises AssertionError unless each pick is the furthest row, in float64, to float32's rounding."""
    left, right = np.asarray(rows.left, np.float64), np.asarray(rows.right, np.float64)
    norms = (left**2).sum(axis=1) * (right**2).sum(axis=1)

    def distances_to(index: np.ndarray) -> np.ndarray:
        inner = (left @ left[index].T) * (right @ right[index].T)
        return np.maximum(norms[:, None] + norms[index] - 2 * inner, 0).min(axis=1)

    nearest = np.full(len(left), np.inf)
    for index in np.array_split(np.flatnonzero(centers), 16):
        nearest = np.minimum(nearest, distances_to(index))
    for index in picks:
        assert nearest[index] >= nearest.max() - 1e-5 * norms.max(), "another row is further"
        nearest = np.minimum(nearest, distances_to(index[None]))


def contestants_for(rows: Rows, k: int, centers: np.ndarray) -> list[Contestant]:
    mask = jnp.asarray(centers)

    def call(choose: Callable) -> Callable:
        def run() -> None:
            picks = np.asarray(choose())
            assert len(set(picks.tolist())) == k, "a row came twice"
            assert not centers[picks].any(), "a centre was chosen"

        return lambda: run

    return [
        Contestant("k_center_greedy", call(lambda: k_center_greedy(rows, k, centers=mask)), k),
        Contestant("plain loop", call(lambda: plain_loop(rows, k, mask)), k),
    ]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    for name in ("n", "d", "k"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--pool", choices=POOLS)
    options = parser.parse_args()
    n, d = options.n or (5000 if options.quick else 60_000), options.d or 256
    records = []
    for pool in [options.pool] if options.pool else POOLS:
        rows = dense_rows(clustered_features(n, d))
        if pool == "gradients":
            rows = synthetic_pool("confident", n, 10, d)
        centers = np.isin(np.arange(n), np.random.default_rng(1).choice(n, 1100, replace=False))
        for k in [options.k] if options.k else [100] if options.quick else [1000, 10_000]:
            sizes = {"n": n, "c": rows.left.shape[1], "d": d, "centers": 1100, "k": k}
            alone = ["-m", "benchmarks.k_center", "--pool", pool, "--n", str(n), "--d", str(d), "--k", str(k)]
            if not options.only_memory_of:
                for choose in (
                    partial(k_center_greedy, rows, k, centers=jnp.asarray(centers)),
                    partial(plain_loop, rows, k, jnp.asarray(centers)),
                ):
                    check_furthest(rows, np.asarray(choose())[:300], centers)
            found = contestants_for(rows, k, centers)
            records += compare(f"furthest-first, {pool}", sizes, "pick", found, options, alone)
            publish("k_center", records, options)


if __name__ == "__main__":
    main()
