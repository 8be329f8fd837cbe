"""The whole MNIST experiment: ours beside a twin in PyTorch and NumPy.

    python -m benchmarks.experiment                    time: BADGE, one seed, five rounds
    python -m benchmarks.experiment --peer CHECKOUT    the same, the twin's queries by the authors' code
    python -m benchmarks.experiment --accuracy         test accuracy of random, margin and BADGE, seeds 0–4

The paper's protocol on MNIST: perceptron of 256, 100 random labels, batches of 1,000, everything trained from
scratch each round until the accuracy counted during an epoch reaches 99 %. The twin trains with the PyTorch
tensor loop (dependency group "peers") and queries with a clean NumPy loop over factored distances; it shares
the data and the initial labels, and draws its own weights, orders and batches. Data are in memory; compile time
is stated apart. MNIST must be on this machine or within reach (`badge-jax datasets fetch mnist`). On 2 CPU
cores about two minutes, and ten for ``--accuracy`` (seeds go on where they stopped: results are kept as they
come).
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from scipy import stats
from tqdm import tqdm

from badge_jax import (
    STRATEGIES,
    FitOptions,
    LearnerState,
    make_active_learner,
    make_optimizer,
    mlp,
    standardized,
)
from badge_jax.data import Dataset, load_dataset
from badge_jax.training import make_evaluate
from benchmarks import torch_twin
from benchmarks.harness import RESULTS, device, versions
from benchmarks.peers import load_authors_badge, numpy_kmeans_plusplus

HIDDEN, MINIBATCH, LEARNING_RATE, NUM_INITIAL, BATCH_SIZE = 256, 64, 1e-3, 100, 1000
COMPARED = ("random", "margin", "badge")


def initial_labels(dataset: Dataset, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 1]).choice(len(dataset.labels), NUM_INITIAL, replace=False)


def ours(dataset: Dataset, strategy: str, num_rounds: int) -> Callable[[int], dict]:
    """Compiles the experiment and returns it as a function of the seed."""
    start = time.perf_counter()
    model = standardized(mlp(len(dataset.classes), hidden=HIDDEN), *dataset.channels)
    learner = make_active_learner(
        model, make_optimizer(LEARNING_RATE), STRATEGIES[strategy](), BATCH_SIZE, FitOptions(MINIBATCH)
    )
    inputs, labels = jnp.asarray(dataset.inputs), jnp.asarray(dataset.labels)
    test = jnp.asarray(dataset.test_inputs), jnp.asarray(dataset.test_labels)
    key = jax.random.key(0)

    def begin(seed: int) -> LearnerState:
        rows = initial_labels(dataset, seed)
        state = learner.init(len(dataset.labels), num_rounds, NUM_INITIAL + num_rounds * BATCH_SIZE)
        return learner.tell(state, rows, dataset.labels[rows])

    state = begin(0)
    variables = jax.eval_shape(learner.fit, key, state, inputs).variables
    fit = jax.jit(learner.fit).lower(key, state, inputs).compile()
    query = jax.jit(learner.query).lower(key, state, variables, inputs, labels).compile()
    evaluate = jax.jit(make_evaluate(model)).lower(variables, *test).compile()
    compile_seconds = time.perf_counter() - start

    def experiment(seed: int) -> dict:
        key = jax.random.key(seed)
        state = begin(seed)
        seconds = {"fit": 0.0, "query": 0.0, "test": 0.0, "compile": compile_seconds}
        accuracies = []
        for number in range(num_rounds + 1):
            trained = timed(seconds, "fit", fit, key, state, inputs)
            evaluation = timed(seconds, "test", evaluate, trained.variables, *test)
            accuracies.append(int(evaluation.num_correct) / len(dataset.test_labels))
            if number < num_rounds:
                _, state = timed(seconds, "query", query, key, state, trained.variables, inputs, labels)
        return {"accuracies": accuracies, "seconds": seconds}

    return experiment


def twin(
    dataset: Dataset, strategy: str, num_rounds: int, authors: Callable | None = None
) -> Callable[[int], dict]:
    """The same experiment in PyTorch and NumPy, as a function of the seed."""
    mean, sd = dataset.channels.mean[0], dataset.channels.sd[0]

    def as_tensor(images: np.ndarray) -> torch.Tensor:
        return (torch.from_numpy(images.reshape(len(images), -1)).float() / 255 - mean) / sd

    inputs, labels = as_tensor(np.array(dataset.inputs)), torch.from_numpy(np.array(dataset.labels)).long()
    test_inputs = as_tensor(np.array(dataset.test_inputs))
    num_classes = len(dataset.classes)

    train = partial(torch_twin.train, minibatch=MINIBATCH, learning_rate=LEARNING_RATE)

    def choose(rng: np.random.Generator, network: torch_twin.WithFeatures, free: np.ndarray) -> np.ndarray:
        if strategy == "random":
            return rng.choice(free, BATCH_SIZE, replace=False)
        logits, features = torch_twin.outputs(network, inputs[free])
        p = torch.softmax(logits, 1)
        if strategy == "margin":
            best = p.topk(2, 1).values
            return free[np.argsort((best[:, 0] - best[:, 1]).numpy(), kind="stable")[:BATCH_SIZE]]
        if authors is not None:
            return free[authors(p.numpy(), features.numpy(), BATCH_SIZE)]
        residuals = (p - torch.nn.functional.one_hot(p.argmax(1), num_classes)).numpy()
        return free[numpy_kmeans_plusplus(rng, residuals, features.numpy(), BATCH_SIZE)]

    def experiment(seed: int) -> dict:
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  the authors' code draws from it
        rng = np.random.default_rng([seed, 2])
        labeled = initial_labels(dataset, seed)
        seconds = {"fit": 0.0, "query": 0.0, "test": 0.0}
        accuracies = []
        for number in range(num_rounds + 1):
            network = torch_twin.mlp(inputs.shape[1], HIDDEN, num_classes)
            timed(seconds, "fit", train, network, inputs[labeled], labels[labeled])
            logits, _ = timed(seconds, "test", torch_twin.outputs, network, test_inputs)
            accuracies.append(float((logits.argmax(1).numpy() == dataset.test_labels).mean()))
            if number < num_rounds:
                free = np.setdiff1d(np.arange(len(labels)), labeled)
                batch = timed(seconds, "query", choose, rng, network, free)
                labeled = np.concatenate([labeled, batch])
        return {"accuracies": accuracies, "seconds": seconds}

    return experiment


def timed(seconds: dict[str, float], part: str, work: Callable, *args: object) -> object:
    """The work's result, waited for, its time added to ``seconds[part]``."""
    start = time.perf_counter()
    result = jax.block_until_ready(work(*args))
    seconds[part] += time.perf_counter() - start
    return result


def compare_time(dataset: Dataset, options: argparse.Namespace) -> None:
    """Both in turn, ``--repeats`` times; medians."""
    num_rounds = 5
    authors = load_authors_badge(options.peer) if options.peer else None
    contestants = {
        "badge_jax": ours(dataset, "badge", num_rounds),
        f"PyTorch and {authors.name if authors else 'NumPy'}": twin(
            dataset, "badge", num_rounds, authors and authors.query
        ),
    }
    results = {name: [] for name in contestants}
    for _ in range(options.repeats):
        for name, experiment in contestants.items():
            results[name].append(experiment(0))
    totals = {}
    lines = []
    for name, repeats in results.items():
        parts = {part: [r["seconds"][part] for r in repeats] for part in ("fit", "query", "test")}
        totals[name] = [sum(values) for values in zip(*parts.values(), strict=True)]
        lines.append(
            {
                "benchmark": "experiment",
                "contestant": name,
                "sizes": {"rounds": num_rounds, "initial": NUM_INITIAL, "batch_size": BATCH_SIZE},
                "repeats": options.repeats,
                "median_s": round(float(np.median(totals[name])), 3),
                "min_s": round(min(totals[name]), 3),
                "max_s": round(max(totals[name]), 3),
                "compile_s": round(repeats[0]["seconds"].get("compile", 0.0), 3),
                "parts_s": {part: round(float(np.median(values)), 3) for part, values in parts.items()},
                "accuracies": repeats[0]["accuracies"],
                "device": device(),
                "versions": versions(),
            }
        )
        print(json.dumps({k: v for k, v in lines[-1].items() if k not in ("device", "versions")}), flush=True)
    first, second = (float(np.median(values)) for values in totals.values())
    print(f"{second / first:.1f} times as fast (compile time apart)")
    options.out.mkdir(parents=True, exist_ok=True)
    name = "experiment_peer.jsonl" if options.peer else "experiment.jsonl"
    (options.out / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def compare_accuracy(dataset: Dataset, options: argparse.Namespace) -> None:
    """Five points, seeds 0–4: means, standard deviations, and differences with 95 % intervals."""
    num_rounds, path = 4, options.out / "experiment_accuracy.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = {(r["contestant"], r["strategy"], r["seed"]): r["accuracies"] for r in done}
    for contestant, make in (("badge_jax", ours), ("twin", twin)):
        for strategy in COMPARED:
            missing = [seed for seed in range(5) if (contestant, strategy, seed) not in found]
            experiment = make(dataset, strategy, num_rounds) if missing else None
            for seed in tqdm(missing, desc=f"{contestant}, {strategy}", disable=None):
                accuracies = experiment(seed)["accuracies"]
                found[contestant, strategy, seed] = accuracies
                record = {
                    "contestant": contestant,
                    "strategy": strategy,
                    "seed": seed,
                    "accuracies": accuracies,
                }
                with path.open("a") as file:
                    file.write(json.dumps(record | {"device": device(), "versions": versions()}) + "\n")
    table = accuracy_table({key: np.array(values) for key, values in found.items()}, num_rounds)
    print(table)
    (options.out / "experiment_accuracy.md").write_text(table + "\n")


def accuracy_table(found: dict, num_rounds: int) -> str:
    seeds = range(5)
    points = [NUM_INITIAL + BATCH_SIZE * i for i in range(num_rounds + 1)]

    def curves(contestant: str, strategy: str) -> np.ndarray:
        return 100 * np.stack([found[contestant, strategy, seed] for seed in seeds])

    def interval(differences: np.ndarray) -> list[str]:
        half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences, axis=0)
        return [f"{mean:+.2f} ± {h:.2f}" for mean, h in zip(differences.mean(0), half, strict=True)]

    rows = [["test accuracy, %", *(f"{point:,} labels" for point in points)]]
    for strategy in COMPARED:
        pair = [curves(contestant, strategy) for contestant in ("badge_jax", "twin")]
        for name, values in zip(("badge_jax", "PyTorch twin"), pair, strict=True):
            cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(values.mean(0), values.std(0, ddof=1), strict=True)]
            rows.append([f"{strategy}, {name} (mean ± sd)", *cells])
        rows.append([f"{strategy}, difference (95 %)", *interval(pair[0] - pair[1])])
    for strategy in COMPARED[1:]:
        gains = [curves(who, strategy) - curves(who, "random") for who in ("badge_jax", "twin")]
        for name, gain in zip(("badge_jax", "PyTorch twin"), gains, strict=True):
            rows.append([f"{strategy} above random, {name} (95 %)", *interval(gain)])
        rows.append([f"{strategy} above random, difference (95 %)", *interval(gains[0] - gains[1])])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accuracy", action="store_true", help="test accuracies over seeds instead of time")
    parser.add_argument("--peer", type=Path, help="a checkout of the authors' repository")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    dataset = load_dataset("mnist", seed=0)
    (compare_accuracy if options.accuracy else compare_time)(dataset, options)


if __name__ == "__main__":
    main()
