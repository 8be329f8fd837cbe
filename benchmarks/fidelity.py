"""Test accuracy on letter (OpenML 6) at 1,100 random labels: `make_fit` beside its PyTorch twin.

    python -m benchmarks.fidelity letter.arff.gz [--seeds 10]    (PyTorch is in the dependency group "peers")

The paper's perceptron (16–1024–26) and rule: Adam at 1e-4, gradients clipped elementwise to ±0.1, minibatches
of 128, until the accuracy counted during an epoch reaches 99 %. For each seed both train on the same random
labels, each from initial weights and minibatch orders of its own, and are tested on the same 10 % of the rows.
Prints mean accuracies and their difference with 95 % intervals (Student's t over seeds).
About eight minutes on 2 CPU cores for 10 seeds.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from scipy import stats
from scipy.io import arff

from badge_jax import FitOptions, make_fit, make_optimizer, mlp
from badge_jax.data.splits import random_split
from badge_jax.training import make_evaluate
from benchmarks import torch_twin
from benchmarks.harness import RESULTS, device, versions

HIDDEN, MINIBATCH, LEARNING_RATE, NUM_LABELED = 1024, 128, 1e-4, 1100


def read_arff(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Numeric inputs [N, m] float32 and labels [N] int32 of a table whose last column is the class."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows, header = arff.loadarff(file)
    *columns, target = header.names()
    inputs = np.stack([rows[name] for name in columns], axis=1).astype(np.float32)
    return inputs, np.unique(rows[target], return_inverse=True)[1].astype(np.int32)


def torch_accuracy(seed: int, x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray) -> tuple:
    """The twin: test accuracy and epochs."""
    torch.manual_seed(seed)
    network = torch_twin.mlp(x.shape[1], HIDDEN, int(test_y.max()) + 1)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y).long()
    epochs = torch_twin.train(network, inputs, labels, minibatch=MINIBATCH, learning_rate=LEARNING_RATE)
    predicted = torch_twin.outputs(network, torch.from_numpy(test_x))[0].argmax(1).numpy()
    return float((predicted == test_y).mean()), epochs


def interval(values: np.ndarray) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{100 * values.mean():.2f} ± {100 * half:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arff", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    inputs, labels = read_arff(options.arff)
    num_classes = int(labels.max()) + 1
    model = mlp(num_classes, hidden=HIDDEN)
    fit = jax.jit(make_fit(model, make_optimizer(LEARNING_RATE), FitOptions(MINIBATCH)))
    evaluate = jax.jit(make_evaluate(model))
    records = []
    for seed in range(options.seeds):
        split = random_split(labels, num_classes, seed)
        test_x, test_y = inputs[split.test], labels[split.test]
        labeled = split.pool[
            np.random.default_rng([seed, 1]).choice(len(split.pool), NUM_LABELED, replace=False)
        ]
        start = time.perf_counter()
        ours = fit(
            jax.random.key(seed),
            jnp.asarray(inputs),
            jnp.asarray(labels),
            jnp.asarray(labeled, jnp.int32),
            jnp.int32(NUM_LABELED),
        )
        accuracy = int(evaluate(ours.variables, test_x, test_y).num_correct) / len(test_y)
        middle = time.perf_counter()
        torch_result, torch_epochs = torch_accuracy(seed, inputs[labeled], labels[labeled], test_x, test_y)
        records.append(
            {
                "benchmark": "fidelity",
                "seed": seed,
                "num_labeled": NUM_LABELED,
                "accuracy": accuracy,
                "epochs": int(ours.epochs),
                "seconds": round(middle - start, 2),
                "torch_accuracy": torch_result,
                "torch_epochs": torch_epochs,
                "torch_seconds": round(time.perf_counter() - middle, 2),
                "device": device(),
                "versions": versions(),
            }
        )
        print(json.dumps({k: v for k, v in records[-1].items() if k not in ("device", "versions")}), flush=True)
    ours_all = np.array([r["accuracy"] for r in records])
    torch_all = np.array([r["torch_accuracy"] for r in records])
    print(f"make_fit {interval(ours_all)} %   PyTorch {interval(torch_all)} %")
    print(f"difference {interval(ours_all - torch_all)} points")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "fidelity.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


if __name__ == "__main__":
    main()
