"""Clusters of a pool: `kmeans`, and the strategies that stand on it.

    python -m benchmarks.clusters             n 50,000, d 512, 500 clusters; n 1,000,000, c 10, k 10,000
    python -m benchmarks.clusters --quick     a fast look
    python -m benchmarks.clusters --peers     beside scikit-learn's KMeans and MiniBatchKMeans

`kmeans` ends by its tolerance, as does scikit-learn from k-means++ seeds of its own; both report Σ squared
distance, which is checked. `typiclust` has 400 labeled rows, so that it makes 500 clusters for 100 picks.
`cluster_margin` is timed with the clusters in its state, as from the second query on. About ten minutes on 2
CPU cores.
"""

import argparse
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import STRATEGIES, Pool, kmeans
from benchmarks.harness import Contestant, arguments, compare, publish
from benchmarks.pools import clustered_features

K = 100


def pool_of(features: jax.Array | None, logits: jax.Array | None, num_labeled: int) -> Pool:
    n = len(features if logits is None else logits)
    labeled = jnp.arange(n) < num_labeled
    return Pool(logits, features, jnp.where(labeled, 0, -1), labeled, ~labeled)


def clustering(features: jax.Array, num_clusters: int, are_peers_wanted: bool) -> list[Contestant]:
    points, inertias = np.asarray(features), {}

    def note(name: str, inertia: float) -> None:
        inertias[name] = inertia
        assert inertia < 1.1 * min(inertias.values()), inertias

    def ours() -> Callable:
        def run() -> None:
            found = jax.block_until_ready(kmeans(jax.random.key(0), features, num_clusters))
            note("kmeans", float(jnp.sum((features - found.centers[found.assignment]) ** 2)))

        return run

    def theirs(name: str) -> Callable:
        from sklearn import cluster

        def run() -> None:
            batch = {"batch_size": 5000} if name == "MiniBatchKMeans" else {}
            made = getattr(cluster, name)(num_clusters, n_init=1, max_iter=100, random_state=0, **batch)
            note(name, made.fit(points).inertia_)

        return run

    peers = ("KMeans", "MiniBatchKMeans") if are_peers_wanted else ()
    return [
        Contestant("kmeans", ours, 1),
        *(Contestant(f"scikit-learn {name}", lambda name=name: theirs(name), 1) for name in peers),
    ]


def querying(name: str, pool: Pool, k: int, state: jax.Array | tuple = (), **options: int) -> list[Contestant]:
    def prepare() -> Callable:
        strategy = STRATEGIES[name](**options)
        query = jax.jit(strategy.query, static_argnums=3)

        def run() -> None:
            picks = np.asarray(query(jax.random.key(1), state, pool, k)[0])
            assert len(set(picks.tolist())) == k
            assert bool(pool.available[picks].all())

        return run

    return [Contestant(f"strategy {name}", prepare, 1)]


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--peers", action="store_true", help="also time scikit-learn")
    options = parser.parse_args()
    options.repeats = options.repeats or 3
    n, d, num_clusters = (5000, 64, 50) if options.quick else (50_000, 512, 500)
    large, c, k = (100_000, 10, 1000) if options.quick else (1_000_000, 10, 10_000)
    alone = ["-m", "benchmarks.clusters"] + ["--quick"] * options.quick + ["--peers"] * options.peers

    features = clustered_features(n, d)
    num_labeled = num_clusters - K if num_clusters > K else 0
    key = jax.random.key(0)
    logits = 3 * jax.random.normal(key, (large, c))
    clusters = jax.random.randint(jax.random.fold_in(key, 1), (large,), 0, 1000)
    sizes = {"n": n, "d": d, "clusters": num_clusters}
    pool = pool_of(features, None, num_labeled)
    groups = [
        ("clusters", sizes, clustering(features, num_clusters, options.peers)),
        ("typical rows", sizes | {"k": K}, querying("typiclust", pool, K, max_clusters=num_clusters)),
        ("central rows", {"n": n, "d": d, "k": K}, querying("kmeans", pool, K)),
        (
            "margins in turn",
            {"n": large, "c": c, "k": k},
            querying("cluster_margin", pool_of(jnp.ones((large, 1)), logits, 0), k, clusters),
        ),
    ]
    records = []
    for name, group_sizes, contestants in groups:
        if options.only_memory_of not in (None, *(contestant.name for contestant in contestants)):
            continue
        records += compare(name, group_sizes, "batch", contestants, options, alone)
        publish("clusters", records, options)


if __name__ == "__main__":
    main()
