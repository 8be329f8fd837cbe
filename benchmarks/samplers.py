"""k-means++ seeding over gradient embeddings: `lazy_kmeans_plusplus` against all that does the same.

    python -m benchmarks.samplers                    the named set below
    python -m benchmarks.samplers --n 50000 --c 10 --d 512 --k 1000 --recipe confident
    python -m benchmarks.samplers --mnist FOLDER     adds a network's embeddings of the real MNIST
    python -m benchmarks.samplers --quick            a fast look
    python -m benchmarks.samplers --curves           time against k and against n, with slopes, as a picture

Contestants, in turn in one process:

- the lazy seeder, the incremental one, and a clean NumPy loop (factored distances, ``Generator.choice``);
- scikit-learn's ``kmeans_plusplus`` (one trial a step) and scikit-activeml's ``Badge``, which write the
  embedding out and are left out, with a line saying so, where it would take over 2 GiB;
- with ``--peer PATH`` the ``query`` of ``query_strategies/badge_sampling.py`` in a checkout of the authors'
  repository, factored since July 2023. An older checkout may be given beside it, under the same bound;
- one pass over the pool by ``jnp.sum``;
- for large batches, k² (c + d) floating-point operations in plain matrix products, which is what it takes to
  compare every pick with all those before it.

A pick of the others costs the same early and late, so they are timed on ``--slow-picks`` picks, or
``--peer-picks`` where the embedding is written out, and compared by the pick. The set takes about fifteen
minutes on 2 CPU cores.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import Rows, kmeans_plusplus, lazy_kmeans_plusplus
from benchmarks.harness import Contestant, arguments, compare, device, publish, versions
from benchmarks.peers import AuthorsBadge, load_authors_badge, numpy_kmeans_plusplus, probabilities_of
from benchmarks.pools import RECIPES, mnist_pool, synthetic_pool

NAMED_SET = [  # recipe, n, c, d, k
    ("soft", 50_000, 10, 512, 1000),
    ("confident", 50_000, 10, 512, 1000),
    ("soft", 200_000, 100, 512, 10_000),
    ("long_tailed", 50_000, 10, 512, 1000),
    *[(recipe, 20_000, 10, 512, 100) for recipe in RECIPES],
    *[(recipe, 50_000, 10, 512, 10_000) for recipe in RECIPES],
]
LARGE_BATCH = 10_000  # from here on the lazy seeder's time is that of its matrix products
MOST_WRITTEN_OUT = 2**31  # bytes


def jax_seeder(seeder: Callable, rows: Rows, k: int) -> Callable:
    def prepare():
        def call():
            picks = np.asarray(seeder(jax.random.key(1), rows, k))
            assert len(set(picks.tolist())) == k, "a row came twice"
            assert picks.min() >= 0

        return call

    return prepare


def scikit_activeml_badge(rows: Rows, k: int) -> Callable:
    """`skactiveml.pool.Badge` with a stand-in classifier that hands it our features and probabilities."""

    def prepare():
        from skactiveml.base import SkactivemlClassifier
        from skactiveml.pool import Badge

        num_classes = rows.left.shape[1]

        class Outputs(SkactivemlClassifier):
            def fit(self, X, y):
                return self

            def predict_proba(self, X):
                return X[:, :num_classes], X[:, num_classes:]

        inputs = np.concatenate([probabilities_of(np.asarray(rows.left)), np.asarray(rows.right)], axis=1)
        unknown = np.full(len(inputs), np.nan)
        classifier = Outputs(classes=list(range(num_classes)))
        return lambda: Badge(random_state=0).query(inputs, unknown, classifier, fit_clf=False, batch_size=k)

    return prepare


def contestants_for(rows: Rows, k: int, options: argparse.Namespace) -> list[Contestant]:
    slow_k = min(k, options.slow_picks)
    n, c, d = rows.left.shape[0], rows.left.shape[1], rows.right.shape[1]
    num_passes = max(1, slow_k // 10)

    def numpy_loop():
        left, right = np.asarray(rows.left), np.asarray(rows.right)
        return lambda: numpy_kmeans_plusplus(np.random.default_rng(1), left, right, slow_k)

    def one_pass():
        total = jax.jit(lambda rows: jnp.sum(rows.right) + jnp.sum(rows.left))

        def call():
            for _ in range(num_passes):
                jax.block_until_ready(total(rows))

        return call

    def products():
        proposals, pending = jnp.ones((256, c + d)), jnp.ones((4096, c + d))
        product = jax.jit(lambda x, y: jnp.dot(x, y.T, precision="highest"))
        num_products = round(k**2 / (2 * len(proposals) * len(pending)))

        def call():
            for _ in range(num_products):
                jax.block_until_ready(product(proposals, pending))

        return call

    def scikit_learn():
        from sklearn.cluster import kmeans_plusplus as sklearn_kmeans_plusplus

        dense = np.asarray(rows.to_dense())
        return lambda: sklearn_kmeans_plusplus(dense, peer_k, random_state=1, n_local_trials=1)

    def authors(badge: AuthorsBadge, num_picks: int) -> Callable:
        def prepare():
            probabilities, features = probabilities_of(np.asarray(rows.left)), np.asarray(rows.right)
            return lambda: badge.query(probabilities, features, num_picks)

        return prepare

    found = [
        Contestant("lazy_kmeans_plusplus", jax_seeder(lazy_kmeans_plusplus, rows, k), k),
        Contestant("kmeans_plusplus", jax_seeder(kmeans_plusplus, rows, slow_k), slow_k),
        Contestant("NumPy loop", numpy_loop, slow_k),
        Contestant("one pass of jnp.sum", one_pass, num_passes),
    ]
    if k >= LARGE_BATCH:
        found.append(Contestant("products of k² (c + d) operations", products, k))
    peer_k = min(k, options.peer_picks)
    peers = [("scikit-learn", scikit_learn), ("scikit-activeml Badge", scikit_activeml_badge(rows, peer_k))]
    for badge in map(load_authors_badge, options.peer):
        if badge.writes_out:
            peers.append((badge.name, authors(badge, peer_k)))
        else:
            found.append(Contestant(badge.name, authors(badge, slow_k), slow_k))
    for name, prepare in peers:
        if 4 * n * c * d > MOST_WRITTEN_OUT:
            print(f"left out: {name}, which would write out {4 * n * c * d / 2**30:.0f} GiB", file=sys.stderr)
        elif options.peer_picks > 0:
            found.append(Contestant(name, prepare, peer_k))
    return found


def plot_curves(options: argparse.Namespace) -> None:
    """Time of the lazy seeder against k at fixed n and against n at fixed k, with the slopes of the log-log
    lines, and the incremental seeder's by the pick."""
    from matplotlib.figure import Figure

    sizes = (2_000, 10_000) if options.quick else (12_500, 25_000, 50_000, 100_000, 200_000)
    counts = (10, 30, 100, 300) if options.quick else (10, 30, 100, 300, 1000, 3000, 10_000)
    n, k = sizes[len(sizes) // 2], counts[-3]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    by_k, by_n = figure.subplots(1, 2)
    records = []
    for recipe, colour in dict(zip(RECIPES, ("#0072B2", "#D55E00", "#009E73"), strict=True)).items():
        pool = synthetic_pool(recipe, sizes[-1], 10, 512)
        heads = {size: jax.tree.map(lambda a, size=size: a[:size], pool) for size in sizes}
        for axes, name, xs, times in (
            (by_k, "k", counts, [seeding_seconds(heads[n], k) for k in counts]),
            (by_n, "n", sizes, [seeding_seconds(heads[size], k) for size in sizes]),
        ):
            slopes = np.round(np.diff(np.log(times)) / np.diff(np.log(xs)), 2).tolist()
            label = f"lazy, {recipe}; slopes {', '.join(f'{slope:.1f}' for slope in slopes)}"
            axes.loglog(xs, times, marker="o", color=colour, label=label)
            records.append(
                {
                    "benchmark": f"seeding, {recipe}, against {name}",
                    "sizes": {"n": n, "c": 10, "d": 512, "k": k} | {name: list(xs)},
                    "median_s": [round(seconds, 6) for seconds in times],
                    "slopes": slopes,
                    "device": device(),
                    "versions": versions(),
                }
            )
            print(json.dumps(records[-1]), flush=True)
    a_pick = seeding_seconds(heads[n], 20, kmeans_plusplus) / 20
    by_k.loglog(counts, [a_pick * count for count in counts], "--", color="#555555", label="incremental")
    by_n.loglog(sizes, [a_pick * k * size / n for size in sizes], "--", color="#555555", label="incremental")
    for axes, name, xs, fixed in ((by_k, "k", counts, f"n = {n:,}"), (by_n, "n", sizes, f"k = {k:,}")):
        axes.set(xlabel=name, ylabel="seconds", title=f"{fixed}, c = 10, d = 512")
        axes.set_xticks(xs, [f"{x:,}" for x in xs])
        axes.minorticks_off()
        axes.grid(color="#DDDDDD", linewidth=0.5)
        axes.legend(frameon=False, fontsize=8)
    if options.quick:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "seeding_curves.png", dpi=120)
    (options.out / "seeding_curves.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    print(options.out / "seeding_curves.png")


def seeding_seconds(rows: Rows, k: int, seeder: Callable = lazy_kmeans_plusplus) -> float:
    """Median of five, warm."""
    call = jax_seeder(seeder, rows, k)()
    call()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    for name in ("n", "c", "d", "k"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--recipe", choices=(*RECIPES, "mnist"), default="soft")
    parser.add_argument("--mnist", type=Path, help="folder of the original MNIST files")
    parser.add_argument("--peer", type=Path, nargs="+", default=[], help="checkouts of the authors' repository")
    parser.add_argument("--slow-picks", type=int, default=200)
    parser.add_argument("--peer-picks", type=int, default=20, help="0 leaves the peers' libraries out")
    parser.add_argument("--curves", action="store_true")
    options = parser.parse_args()
    if options.curves:
        plot_curves(options)
        return
    if options.recipe == "mnist" and not options.mnist:
        parser.error("--recipe mnist wants --mnist FOLDER")
    runs = NAMED_SET
    if options.n or options.quick:
        runs = [(options.recipe, options.n or 5000, options.c or 10, options.d or 512, options.k or 100)]
    if options.mnist and not options.n:
        runs = [("mnist", 60_000, 10, 256, 1000), *runs]
    records = []
    for recipe, n, c, d, k in runs:
        rows = mnist_pool(options.mnist) if recipe == "mnist" else synthetic_pool(recipe, n, c, d)
        sizes = {"n": n, "c": c, "d": d, "k": k}
        alone = [
            "--recipe",
            recipe,
            *(part for name, size in sizes.items() for part in (f"--{name}", str(size))),
        ]
        alone += ["--mnist", str(options.mnist)] if recipe == "mnist" else []
        alone += ["--slow-picks", str(options.slow_picks), "--peer-picks", str(options.peer_picks)]
        alone += ["--peer", *map(str, options.peer)] if options.peer else []
        found = contestants_for(rows, k, options)
        records += compare(
            f"seeding, {recipe}", sizes, "pick", found, options, ["-m", "benchmarks.samplers", *alone]
        )
        publish("samplers", records, options)  # after each, so that a stopped run leaves what it has


if __name__ == "__main__":
    main()
