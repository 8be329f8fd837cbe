"""Greedy coverage: `coverage_greedy` against one n × n × d product, and against all gains anew for each pick.

    python -m benchmarks.coverage             n 50,000, d 512, k 1000
    python -m benchmarks.coverage --quick     a fast look

Rows are those of `clustered_features`, of length 1, bandwidth 1. Nothing is labeled, so bounds are loose,
or 1,000 rows are. Computing all gains anew costs a product a pick, and is timed on two. About ten minutes
on 2 CPU cores.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from badge_jax import dense_rows
from badge_jax.rows import HIGHEST
from badge_jax.samplers import coverage_greedy
from benchmarks.harness import Contestant, arguments, compare, publish
from benchmarks.pools import clustered_features

_TILE, _FEW = 1000, 2


@jax.jit
def product(x: jax.Array) -> jax.Array:
    """The greatest entry of x xᵀ, tile by tile."""

    def add(i: jax.Array, most: jax.Array) -> jax.Array:
        rows = jax.lax.dynamic_slice_in_dim(x, i * _TILE, _TILE)
        return jnp.maximum(most, jnp.max(jnp.dot(rows, x.T, precision=HIGHEST)))

    return jax.lax.fori_loop(0, len(x) // _TILE, add, jnp.float32(0))


@jax.jit
def eager(x: jax.Array) -> jax.Array:
    """The first picks, every gain computed for each."""

    def gains_of(i: jax.Array, covered: jax.Array) -> jax.Array:
        rows = jax.lax.dynamic_slice_in_dim(x, i * _TILE, _TILE)
        squared = jnp.maximum(2 - 2 * jnp.dot(rows, x.T, precision=HIGHEST), 0.0)
        return jnp.sum(jnp.maximum(jnp.exp(-squared) - covered[None, :], 0.0), axis=1)

    def pick(t: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        covered, picks = carry
        gains = jax.lax.map(lambda i: gains_of(i, covered), jnp.arange(len(x) // _TILE)).reshape(-1)
        best = jnp.argmax(gains)
        similarities = jnp.exp(-jnp.maximum(2 - 2 * jnp.dot(x, x[best], precision=HIGHEST), 0.0))
        return jnp.maximum(covered, similarities), picks.at[t].set(best)

    return jax.lax.fori_loop(0, _FEW, pick, (jnp.zeros(len(x)), jnp.zeros(_FEW, jnp.int32)))[1]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    for name in ("n", "d", "k", "labeled"):
        parser.add_argument(f"--{name}", type=int)
    options = parser.parse_args()
    n, d = options.n or (5000 if options.quick else 50_000), options.d or (64 if options.quick else 512)
    k = options.k or (100 if options.quick else 1000)
    if n % _TILE:
        parser.error(f"--n {n}; wanted a multiple of {_TILE}")
    features = clustered_features(n, d)
    x = features / jnp.linalg.norm(features, axis=1, keepdims=True)

    records = []
    for labeled in (0, 1000) if options.labeled is None else (options.labeled,):
        centers = jnp.arange(n) % (n // labeled) == 0 if labeled else jnp.zeros(n, bool)
        sizes = {"n": n, "d": d, "k": k, "labeled": labeled}
        alone = ["-m", "benchmarks.coverage"]
        alone += [part for name in sizes for part in (f"--{name}", str(sizes[name]))]
        options.repeats = options.repeats or (3 if options.quick else 1)
        records += compare("coverage", sizes, "pick", contestants_for(x, k, centers), options, alone)
        publish("coverage", records, options)


def contestants_for(x: jax.Array, k: int, centers: jax.Array) -> list[Contestant]:
    def ours() -> Callable:
        return lambda: jax.block_until_ready(coverage_greedy(dense_rows(x), k, bandwidth=1.0, centers=centers))

    return [
        Contestant("coverage_greedy", ours, k),
        Contestant("one n × n × d product", lambda: lambda: jax.block_until_ready(product(x)), k),
        Contestant("all gains for each pick", lambda: lambda: jax.block_until_ready(eager(x)), _FEW),
    ]


if __name__ == "__main__":
    main()
