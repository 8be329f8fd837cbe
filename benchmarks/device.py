"""What this package does on the accelerator of this machine: samplers, fits, queries, small experiments.

    python -m benchmarks.device                  into results/device.jsonl; what is there is not run again
    python -m benchmarks.device --only fits      one part; may be given several times
    python -m benchmarks.device --quick          small sizes, to see that it runs: two minutes on a CPU

Each part is a process of its own, so that one that ends a process costs no other part. The most valuable come
first: seeders, ImageNet's size, fits (beside PyTorch's tensor loop where it is installed), a query, a k-DPP,
replicates, and two experiments on made-up images of MNIST's and CIFAR-10's shape. Ten minutes on an H200.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import (
    STRATEGIES,
    FitOptions,
    Model,
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
from badge_jax.models import PRECISIONS
from benchmarks import training
from benchmarks.harness import RESULTS, Contestant, device, summary, versions
from benchmarks.pools import RECIPES, synthetic_pool


class Part:
    """Takes times and prints a JSON line for each."""

    def __init__(self, name: str, quick: bool) -> None:
        self.name, self.quick = name, quick

    def emit(self, contestant: str, sizes: dict[str, int], seconds: list[float], **found: Any) -> None:
        line = {"part": self.name, "contestant": contestant, "sizes": sizes, "repeats": len(seconds)}
        line |= {**summary(seconds), **found, "device": device(), "versions": versions()}
        print(json.dumps(line), flush=True)

    def time(self, contestant: str, sizes: dict[str, int], call: Callable, *args: Any, repeats: int = 5) -> Any:
        """Compiles, runs once, and times; returns the result."""
        start = time.perf_counter()
        compiled = jax.jit(call).lower(*args).compile()
        compile_seconds = time.perf_counter() - start
        result = jax.block_until_ready(compiled(*args))
        seconds = [seconds_of(compiled, *args) for _ in range(repeats)]
        peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        found = {"compile_s": round(compile_seconds, 2), "peak_mib": peak and peak // 2**20}
        self.emit(contestant, sizes, seconds, **found)
        return result


def seconds_of(call: Callable, *args: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call(*args))
    return time.perf_counter() - start


def seeders(part: Part) -> None:
    sizes = [(2000, 10, 64, 50)] if part.quick else [(60_000, 10, 256, 1000), (50_000, 10, 512, 1000)]
    for n, c, d, k in sizes:
        for recipe in RECIPES:
            seed_pool(part, recipe, n, c, d, k, num_slow=k if recipe == "soft" else 0)


def imagenet(part: Part) -> None:
    n, c, d, k = (3000, 50, 64, 100) if part.quick else (1_281_167, 1000, 2048, 10_000)
    seed_pool(part, "soft", n, c, d, k, num_slow=20 if part.quick else 100)


def seed_pool(part: Part, recipe: str, n: int, c: int, d: int, k: int, num_slow: int) -> None:
    """The seeders on a synthetic pool; those that pass over the pool for a pick choose ``num_slow``."""
    rows, key = synthetic_pool(recipe, n, c, d), jax.random.key(1)
    sizes = {"n": n, "c": c, "d": d}
    picks = part.time(
        f"lazy_kmeans_plusplus, {recipe}",
        {**sizes, "k": k},
        lambda key, rows: lazy_kmeans_plusplus(key, rows, k),
        key,
        rows,
    )
    assert len(set(picks.tolist())) == k, "a row came twice"
    if num_slow:
        slow = {**sizes, "k": num_slow}
        part.time("one pass, jnp.sum", sizes, lambda r: jnp.sum(r.left) + jnp.sum(r.right), rows)
        part.time("kmeans_plusplus", slow, lambda key, rows: kmeans_plusplus(key, rows, num_slow), key, rows)
        part.time("k_center_greedy", slow, lambda rows: k_center_greedy(rows, num_slow), rows)


def fits(part: Part) -> None:
    for setting in training.SETTINGS.values():
        is_small, size = setting.model == "mlp", setting.num_labeled
        if part.quick:
            setting = setting._replace(num_labeled=size // 4 if is_small else 32, minibatch=32, epochs=1)
        elif not is_small:
            setting = setting._replace(num_labeled=5000, epochs=4)
        for precision in ("float32",) if is_small else PRECISIONS:
            for contestant in training.contestants(setting, argparse.Namespace(precision=precision)):
                fit(part, f"{contestant.name}, {setting.model}, {precision}", setting, contestant)


def fit(part: Part, name: str, setting: training.Setting, contestant: Contestant) -> None:
    try:
        call = contestant.prepare()
    except ImportError:
        return  # PyTorch is not installed
    first = seconds_of(call)
    seconds = [seconds_of(call) for _ in range(1 if part.quick else 5)]
    sizes = {"labels": setting.num_labeled, "minibatch": setting.minibatch, "steps": contestant.units}
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


def k_dpp(part: Part) -> None:
    n, d = (2000, 32) if part.quick else (50_000, 256)
    for k in [30] if part.quick else [100, 1000]:
        rows = synthetic_pool("soft", n, 10, d)
        call = lambda key, rows, k=k: k_dpp_swap(key, rows, k)  # noqa: E731
        part.time("k_dpp_swap", {"n": n, "c": 10, "d": d, "k": k}, call, jax.random.key(2), rows, repeats=3)


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


def experiments(part: Part) -> None:
    """Active learning with BADGE, everything trained from scratch each round."""
    n = 1500 if part.quick else 60_000
    network = standardized(mlp(10), (0.5,), (0.25,))
    learn(part, "MNIST's shape, perceptron", network, n, (28, 28, 1), n // 60, num_rounds=5, minibatch=64)
    n, width = (300, 8) if part.quick else (50_000, 64)
    name, network = "CIFAR-10's shape, ResNet-18", cifar_network(width)
    learn(part, name, network, n, (32, 32, 3), n // 50, num_rounds=3, minibatch=128)


def learn(
    part: Part,
    name: str,
    model: Model,
    n: int,
    shape: tuple[int, ...],
    batch_size: int,
    *,
    num_rounds: int,
    minibatch: int,
) -> None:
    images, labels = made_up_images(n, shape)
    options = FitOptions(minibatch, max_epochs=2 if part.quick else 50)
    learner = make_active_learner(model, make_optimizer(1e-3), STRATEGIES["badge"](), batch_size, options)
    state = learner.init(n, num_rounds, (num_rounds + 1) * batch_size)
    state = learner.tell(state, np.arange(batch_size), labels[:batch_size])
    key = jax.random.key(0)
    fit = jax.jit(learner.fit).lower(key, state, images).compile()
    fitted = fit(key, state, images)
    ask = jax.jit(learner.ask).lower(key, state, fitted.variables, images).compile()
    seconds: dict[str, list[float]] = {"fit": [], "ask": []}
    for t in range(num_rounds):
        start = time.perf_counter()
        fitted = jax.block_until_ready(fit(jax.random.fold_in(key, 2 * t), state, images))
        asked = time.perf_counter()
        rows, state = jax.block_until_ready(
            ask(jax.random.fold_in(key, 2 * t + 1), state, fitted.variables, images)
        )
        seconds["fit"].append(asked - start)
        seconds["ask"].append(time.perf_counter() - asked)
        state = learner.tell(state, np.asarray(rows), labels[np.asarray(rows)])
    sizes = {"n": n, "batch": batch_size, "rounds": num_rounds}
    for step, times in seconds.items():
        part.emit(f"{name}: {step}", sizes, times)


def made_up_images(n: int, shape: tuple[int, ...], noise: float = 80.0) -> tuple[jax.Array, np.ndarray]:
    """uint8 images of ten classes, each a pattern with noise, and their labels."""
    keys = jax.random.split(jax.random.key(5), 3)
    labels = jax.random.randint(keys[0], (n,), 0, 10, jnp.int32)
    patterns = jax.random.uniform(keys[1], (10, *shape), maxval=255.0)

    @jax.jit
    def make() -> jax.Array:
        return jnp.clip(patterns[labels] + noise * jax.random.normal(keys[2], (n, *shape)), 0, 255).astype(
            jnp.uint8
        )

    return make(), np.asarray(labels)


def cifar_network(width: int) -> Model:
    return standardized(resnet18(10, width=width), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


PARTS = {
    "seeders": seeders,
    "imagenet": imagenet,
    "fits": fits,
    "query": query,
    "k_dpp": k_dpp,
    "replicates": replicates,
    "experiments": experiments,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="parts to run; all unless given")
    parser.add_argument("--again", action="store_true", help="run parts that the results hold, too")
    parser.add_argument("--out", type=Path, default=RESULTS / "device.jsonl")
    parser.add_argument("--within", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # this process has only to ask which device
    if options.within:
        PARTS[options.within](Part(options.within, options.quick))
        return
    held = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for name in options.only or PARTS:
        if not (options.quick or options.again) and any(is_of_here(line, name) for line in held):
            print(f"{name}: {options.out} has it", flush=True)
            continue
        command = [sys.executable, "-m", "benchmarks.device", "--within", name]
        done = subprocess.run(command + ["--quick"] * options.quick, stdout=subprocess.PIPE, text=True)
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode != 0:
            found.append({"part": name, "contestant": "failed", "exit": done.returncode, "device": device()})
        for line in found:
            print({key: value for key, value in line.items() if key not in ("device", "versions")}, flush=True)
        if not options.quick:
            held = [line for line in held if not is_of_here(line, name)] + found
            options.out.write_text("".join(json.dumps(line) + "\n" for line in held))


def is_of_here(line: dict[str, Any], name: str) -> bool:
    return line["part"] == name and line["device"] == device() and line["contestant"] != "failed"


if __name__ == "__main__":
    main()
