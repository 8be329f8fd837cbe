"""What this package does on the accelerator of this machine: samplers, fits, queries, experiments.

    python -m benchmarks.device                  into results/device.jsonl; what is there is not run again
    python -m benchmarks.device --only fits      one part; may be given several times
    python -m benchmarks.device --quick          small sizes, to see that it runs: five minutes on 2 CPU cores

Each part is a process of its own, of four minutes at most, so that one that fails costs no other part. Its
lines are written as they come, and the same command goes on where it stopped. The most valuable parts come
first: seeders, ImageNet's size, fits (beside PyTorch's tensor loop where it is installed), a query,
experiments, greedy coverage, BAIT, a k-DPP, replicates. The experiments are on MNIST and CIFAR-10 where this
machine's cache has them (`badge-jax datasets fetch`), else on made-up images of their shapes; lines say which.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import (
    STRATEGIES,
    FitOptions,
    Model,
    Pool,
    Rows,
    dense_rows,
    gradient_embedding,
    k_center_greedy,
    k_dpp_swap,
    kmeans_plusplus,
    lazy_kmeans_plusplus,
    make_active_learner,
    make_fit,
    make_optimizer,
    make_predict,
    mlp,
    resnet18,
    standardized,
)
from badge_jax.data import load_dataset, on_this_machine
from badge_jax.models import PRECISIONS
from badge_jax.samplers import coverage_greedy
from badge_jax.training import make_evaluate
from benchmarks import training
from benchmarks.harness import RESULTS, Contestant, device, summary, versions
from benchmarks.pools import RECIPES, clustered_features, pool_outputs, synthetic_pool

LIMIT_SECONDS = 240


class Part:
    """Takes times and prints a JSON line for each, but for those in ``held``."""

    def __init__(self, name: str, quick: bool, held: list[dict[str, Any]]) -> None:
        self.name, self.quick = name, quick
        self.held = [(line["contestant"], line["sizes"]) for line in held if is_of(line, name, device())]

    def has(self, contestant: str, sizes: dict[str, int]) -> bool:
        """Whether the results have this line already."""
        return (contestant, sizes) in self.held

    def emit(self, contestant: str, sizes: dict[str, int], seconds: list[float], **found: Any) -> None:
        line = {"part": self.name, "contestant": contestant, "sizes": sizes, "repeats": len(seconds)}
        line |= {**summary(seconds), **found, "device": device(), "versions": versions()}
        print(json.dumps(line), flush=True)

    def time(
        self,
        contestant: str,
        sizes: dict[str, int],
        call: Callable,
        *args: Any,
        repeats: int = 5,
        is_batch: bool = False,
    ) -> None:
        """Compiles, runs once, and times. The result of a call that ``is_batch`` must be different rows."""
        if self.has(contestant, sizes):
            return
        start = time.perf_counter()
        compiled = jax.jit(call).lower(*args).compile()
        compile_seconds = time.perf_counter() - start
        result = jax.block_until_ready(compiled(*args))
        if is_batch:
            picks = result.tolist()
            assert len({*picks}) == len(picks) == sizes["k"], f"{contestant}: a row came twice"
            assert min(picks) >= 0, f"{contestant}: rows are missing"
        seconds = [seconds_of(compiled, *args) for _ in range(1 if self.quick else repeats)]
        peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        self.emit(
            contestant, sizes, seconds, compile_s=round(compile_seconds, 2), peak_mib=peak and peak // 2**20
        )


def seconds_of(call: Callable, *args: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call(*args))
    return time.perf_counter() - start


def seeders(part: Part) -> None:
    sizes = [(2000, 10, 64, 50)] if part.quick else [(60_000, 10, 256, 1000), (50_000, 10, 512, 1000)]
    for n, c, d, k in sizes:
        for recipe in RECIPES[:1] if part.quick else RECIPES:
            seed_pool(part, recipe, n, c, d, k, num_slow=k if recipe == "soft" else 0)


def imagenet(part: Part) -> None:
    n, c, d, k = (3000, 50, 64, 100) if part.quick else (1_281_167, 1000, 2048, 10_000)
    seed_pool(part, "soft", n, c, d, k, num_slow=20 if part.quick else 100)


def seed_pool(part: Part, recipe: str, n: int, c: int, d: int, k: int, num_slow: int) -> None:
    """The seeders on a synthetic pool; those that pass over the pool for a pick choose ``num_slow``."""
    rows, key = synthetic_pool(recipe, n, c, d), jax.random.key(1)
    sizes = {"n": n, "c": c, "d": d}

    def lazy(key: jax.Array, rows: Rows) -> jax.Array:
        return lazy_kmeans_plusplus(key, rows, k)

    def incremental(key: jax.Array, rows: Rows) -> jax.Array:
        return kmeans_plusplus(key, rows, num_slow)

    def furthest(rows: Rows) -> jax.Array:
        return k_center_greedy(rows, num_slow)

    part.time(f"lazy_kmeans_plusplus, {recipe}", {**sizes, "k": k}, lazy, key, rows, is_batch=True)
    if num_slow:
        slow = {**sizes, "k": num_slow}
        part.time("one pass, jnp.sum", sizes, lambda r: jnp.sum(r.left) + jnp.sum(r.right), rows)
        part.time("kmeans_plusplus", slow, incremental, key, rows, is_batch=True)
        part.time("k_center_greedy", slow, furthest, rows, is_batch=True)


def fits(part: Part) -> None:
    for setting in training.SETTINGS.values():
        is_small, size = setting.model == "mlp", setting.num_labeled
        if part.quick:
            setting = setting._replace(num_labeled=size // 4 if is_small else 32, minibatch=32, epochs=1)
        elif not is_small:
            setting = setting._replace(num_labeled=5000, epochs=4)
        for precision in ("float32",) if is_small and part.quick else PRECISIONS:
            for contestant in training.contestants(setting, argparse.Namespace(precision=precision)):
                fit(part, f"{contestant.name}, {setting.model}, {precision}", setting, contestant)


def fit(part: Part, name: str, setting: training.Setting, contestant: Contestant) -> None:
    sizes = {"labels": setting.num_labeled, "minibatch": setting.minibatch, "steps": contestant.units}
    if part.has(name, sizes):
        return
    try:
        call = contestant.prepare()
    except ImportError:
        return  # PyTorch is not installed
    first = seconds_of(call)
    seconds = [seconds_of(call) for _ in range(1 if part.quick else 5)]
    part.emit(name, sizes, seconds, compile_s=round(max(0.0, first - min(seconds)), 2))


def query(part: Part) -> None:
    n, k, width = (300, 16, 8) if part.quick else (50_000, 1000, 64)
    images, _ = made_up_images(n, (32, 32, 3))
    model = cifar_network(width)
    variables = jax.jit(model.init)(jax.random.key(7), images[:1])

    def ask(key: jax.Array, variables: Any, images: jax.Array) -> jax.Array:
        outputs = make_predict(model)(variables, images)
        return lazy_kmeans_plusplus(key, gradient_embedding(outputs.logits, outputs.features), k)

    key = jax.random.key(8)
    part.time("prediction, ResNet-18", {"n": n}, make_predict(model), variables, images, repeats=3)
    part.time("prediction and BADGE, ResNet-18", {"n": n, "k": k}, ask, key, variables, images, repeats=3)


def maxherding(part: Part) -> None:
    """Greedy coverage of features of length 1, with nothing labeled, or a fiftieth; and one product x xᵀ."""
    n, d, k = (1000, 32, 20) if part.quick else (50_000, 512, 1000)
    features = clustered_features(n, d)
    x = dense_rows(features / jnp.linalg.norm(features, axis=1, keepdims=True))

    def cover(rows: Rows, centers: jax.Array) -> jax.Array:
        return coverage_greedy(rows, k, bandwidth=1.0, centers=centers)

    part.time("one n × n × d product", {"n": n, "d": d}, greatest_product, x.right, repeats=3)
    for num_labeled in (0, n // 50):
        centers = jnp.arange(n) < num_labeled
        sizes = {"n": n, "d": d, "k": k, "labeled": num_labeled}
        part.time("coverage_greedy", sizes, cover, x, centers, repeats=3, is_batch=True)


def greatest_product(x: jax.Array) -> jax.Array:
    """The greatest entry of x xᵀ for x [n, d], by tiles and at full precision."""

    def of_tile(tile: jax.Array) -> jax.Array:
        return jnp.max(jnp.dot(tile, x.T, precision=jax.lax.Precision.HIGHEST))

    return jnp.max(jax.lax.map(of_tile, x.reshape(-1, 1000, x.shape[1])))


def bait(part: Part) -> None:
    """Whole queries over "top class or not", beside k sums of the features, each a pass over them."""
    n, c, d, k = (1000, 10, 32, 20) if part.quick else (50_000, 10, 512, 1000)
    sizes, query = {"n": n, "c": c, "d": d, "k": k}, STRATEGIES["bait"]().query

    def choose(pool: Pool) -> jax.Array:
        return query(jax.random.key(1), (), pool, k)[0]

    for recipe in ("soft", "confident"):
        logits, features = pool_outputs(recipe, n, c, d)
        nothing = jnp.zeros(n, bool)
        pool = Pool(logits, features, jnp.full(n, -1), nothing, ~nothing)
        part.time(f"bait, {recipe}", sizes, choose, pool, repeats=3, is_batch=True)
        if recipe == "soft":
            part.time("one pass, jnp.sum", {"n": n, "d": d}, jnp.sum, features)


def k_dpp(part: Part) -> None:
    n, d = (2000, 32) if part.quick else (50_000, 256)
    rows = synthetic_pool("soft", n, 10, d)
    for k in [30] if part.quick else [100, 1000]:
        call = partial(swap, k=k)
        sizes = {"n": n, "c": 10, "d": d, "k": k}
        part.time("k_dpp_swap", sizes, call, jax.random.key(2), rows, repeats=3, is_batch=True)


def swap(key: jax.Array, rows: Rows, k: int) -> jax.Array:
    return k_dpp_swap(key, rows, k)


def replicates(part: Part) -> None:
    """Fits of several seeds: one after the other, and under `vmap`."""
    n, epochs, num_seeds = (500, 2, 5) if part.quick else (5000, 20, 5)
    images, labels = made_up_images(n, (784,), noise=200.0)
    fit = make_fit(mlp(10), make_optimizer(1e-3), FitOptions(64, target_accuracy=1.0, max_epochs=epochs))
    inputs, keys = jnp.asarray(images, jnp.float32) / 255, jax.random.split(jax.random.key(3), num_seeds)
    args = keys, inputs, jnp.asarray(labels), jnp.arange(n, dtype=jnp.int32)

    def one(key: jax.Array, inputs: jax.Array, labels: jax.Array, indices: jax.Array) -> Any:
        return fit(key, inputs, labels, indices, jnp.int32(n))

    def in_turn(keys: jax.Array, *rest: jax.Array) -> Any:
        return jax.lax.map(lambda key: one(key, *rest), keys)

    def together(keys: jax.Array, *rest: jax.Array) -> Any:
        return jax.vmap(lambda key: one(key, *rest))(keys)

    sizes = {"labels": n, "seeds": num_seeds}
    part.time("fit of the perceptron, in turn", sizes, in_turn, *args, repeats=3)
    part.time("fit of the perceptron, vmap", sizes, together, *args, repeats=3)


class Images(NamedTuple):
    """Images with labels, to choose from and to test on; ``source`` is "real" or "made up"."""

    source: str
    inputs: jax.Array
    labels: np.ndarray
    test_inputs: jax.Array
    test_labels: jax.Array


def experiments(part: Part) -> None:
    """Active learning with BADGE, everything trained from scratch each round."""
    network = standardized(mlp(10, hidden=256), (0.1307,), (0.3081,))
    images = images_of(part, "mnist", 60_000, (28, 28, 1))
    learn(part, "MNIST, perceptron", network, images, num_initial=100, num_rounds=5, minibatch=64)
    network, images = cifar_network(8 if part.quick else 64), images_of(part, "cifar10", 50_000, (32, 32, 3))
    learn(part, "CIFAR-10, ResNet-18", network, images, num_initial=1000, num_rounds=3, minibatch=128)


def images_of(part: Part, name: str, n: int, shape: tuple[int, ...]) -> Images:
    """The data set ``name`` from this machine's cache, or made-up images of its shape."""
    if on_this_machine(name) and not part.quick:
        found = load_dataset(name, seed=0)
        test = jnp.asarray(found.test_inputs), jnp.asarray(found.test_labels)
        return Images("real", jnp.asarray(found.inputs), np.asarray(found.labels), *test)
    n, num_test = (600, 200) if part.quick else (n, 10_000)
    inputs, labels = made_up_images(n + num_test, shape, contrast=0.15)
    return Images("made up", inputs[:n], labels[:n], inputs[n:], jnp.asarray(labels[n:]))


def learn(
    part: Part, name: str, model: Model, images: Images, *, num_initial: int, num_rounds: int, minibatch: int
) -> None:
    """``num_rounds`` batches of 1000: each fit and each batch, and the whole."""
    n = len(images.labels)
    batch_size, num_initial = (50, 50) if part.quick else (1000, num_initial)
    sizes = {"n": n, "initial": num_initial, "batch": batch_size, "rounds": num_rounds}
    name = f"{name}, {images.source}"
    if part.has(f"{name}: whole", sizes):
        return
    options = FitOptions(minibatch, max_epochs=2 if part.quick else 50)
    learner = make_active_learner(model, make_optimizer(1e-3), STRATEGIES["badge"](), batch_size, options)
    first = np.random.default_rng(0).choice(n, num_initial, replace=False)
    state = learner.init(n, num_rounds, num_initial + num_rounds * batch_size)
    state = learner.tell(state, first, images.labels[first])
    key = jax.random.key(0)
    fit = jax.jit(learner.fit).lower(key, state, images.inputs).compile()
    variables = fit(key, state, images.inputs).variables
    ask = jax.jit(learner.ask).lower(key, state, variables, images.inputs).compile()
    test = images.test_inputs, images.test_labels
    evaluate = jax.jit(make_evaluate(model)).lower(variables, *test).compile()
    jax.block_until_ready((ask(key, state, variables, images.inputs), evaluate(variables, *test)))  # warm

    seconds: dict[str, list[float]] = {"fit": [], "ask": []}
    accuracies, epochs, start = [], [], time.perf_counter()
    for t in range(num_rounds + 1):
        begun = time.perf_counter()
        fitted = jax.block_until_ready(fit(key, state, images.inputs))
        seconds["fit"].append(time.perf_counter() - begun)
        epochs.append(int(fitted.epochs))
        accuracies.append(int(evaluate(fitted.variables, *test).num_correct) / len(images.test_labels))
        if t < num_rounds:
            begun = time.perf_counter()
            rows, state = jax.block_until_ready(ask(key, state, fitted.variables, images.inputs))
            seconds["ask"].append(time.perf_counter() - begun)
            state = learner.tell(state, np.asarray(rows), images.labels[np.asarray(rows)])
    whole = time.perf_counter() - start
    for step, times in seconds.items():
        part.emit(f"{name}: {step}", sizes, times)
    part.emit(f"{name}: whole", sizes, [whole], accuracies=accuracies, epochs=epochs)


def made_up_images(
    n: int, shape: tuple[int, ...], noise: float = 80.0, contrast: float = 1.0
) -> tuple[jax.Array, np.ndarray]:
    """uint8 images of ten classes, each a pattern with noise, and their labels."""
    keys = jax.random.split(jax.random.key(5), 3)
    labels = jax.random.randint(keys[0], (n,), 0, 10, jnp.int32)
    patterns = 127.5 + contrast * jax.random.uniform(keys[1], (10, *shape), minval=-127.5, maxval=127.5)

    @jax.jit
    def make(key: jax.Array, labels: jax.Array, patterns: jax.Array) -> jax.Array:
        noisy = patterns[labels] + noise * jax.random.normal(key, (n, *shape))
        return jnp.clip(noisy, 0, 255).astype(jnp.uint8)

    return make(keys[2], labels, patterns), np.asarray(labels)


def cifar_network(width: int) -> Model:
    return standardized(resnet18(10, width=width), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


PARTS = {
    "seeders": seeders,
    "imagenet": imagenet,
    "fits": fits,
    "query": query,
    "experiments": experiments,
    "maxherding": maxherding,
    "bait": bait,
    "k_dpp": k_dpp,
    "replicates": replicates,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="parts to run; all unless given")
    parser.add_argument("--again", action="store_true", help="run what the results hold, too")
    parser.add_argument("--out", type=Path, default=RESULTS / "device.jsonl")
    parser.add_argument("--within", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.within:
        held = [] if options.quick or options.again else lines_of(options.out)
        PARTS[options.within](Part(options.within, options.quick, held))
        return
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch is to have room, too
    # asked of another process: a TPU serves one at a time, and the parts are to have it
    ask = [sys.executable, "-c", "from benchmarks.harness import device; print(device())"]
    here = subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    for name in options.only or PARTS:
        run_part(name, here, options)


def run_part(name: str, here: str, options: argparse.Namespace) -> None:
    """Runs a part as a process; writes and prints its lines as they come, and one more if it fails."""
    if not options.quick:
        kept = [
            line
            for line in lines_of(options.out)
            if (line["part"], line["device"]) != (name, here)
            or not (options.again or line["contestant"] == "failed")
        ]
        options.out.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def keep(line: dict[str, Any]) -> None:
        print({key: value for key, value in line.items() if key not in ("device", "versions")}, flush=True)
        if not options.quick:
            with options.out.open("a") as file:
                file.write(json.dumps(line) + "\n")

    flags = ["--quick"] * options.quick + ["--again"] * options.again + ["--out", str(options.out)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.device", "--within", name, *flags], stdout=subprocess.PIPE, text=True
    )
    clock = threading.Timer(LIMIT_SECONDS, process.kill)
    if not options.quick:  # a busy CPU compiles slowly
        clock.start()
    for text in process.stdout:
        if text.startswith("{"):
            keep(json.loads(text))
    code = process.wait()
    clock.cancel()
    seconds = time.perf_counter() - start
    print(f"{name}: {seconds:.0f} s", flush=True)
    if code != 0:
        failed = {"part": name, "contestant": "failed", "exit": code, "seconds": round(seconds), "device": here}
        keep(failed)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_of(line: dict[str, Any], name: str, here: str) -> bool:
    return line["part"] == name and line["device"] == here and line["contestant"] != "failed"


if __name__ == "__main__":
    main()
