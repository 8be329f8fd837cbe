"""Minibatch steps of the paper's perceptron: `make_fit` against a PyTorch tensor loop.

    python benchmarks/training.py [--quick]         (PyTorch is in the dependency group "peers")

784–256–10, minibatch 64, 5,000 labeled rows, Adam with gradients clipped elementwise to ±0.1; both shuffle
every epoch and count correct answers, both keep all data in memory as one tensor. About two minutes on 2 CPU
cores.
"""

import sys
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from harness import Contestant, arguments, compare, publish

from badge_jax import FitOptions, make_fit, make_optimizer, mlp

NUM_INPUTS, HIDDEN, NUM_CLASSES, MINIBATCH, LEARNING_RATE = 784, 256, 10, 64, 1e-3


def make_data(num_labeled: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with random labels, so that no fit ends early."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((num_labeled, NUM_INPUTS), np.float32)
    return inputs, rng.integers(0, NUM_CLASSES, num_labeled, np.int32)


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    num_labeled, epochs = (1000, 2) if options.quick else (5000, 5)
    inputs, labels = make_data(num_labeled)
    num_steps = epochs * -(-num_labeled // MINIBATCH)

    def make_jax():
        fit_options = FitOptions(MINIBATCH, target_accuracy=1.0, max_epochs=epochs)
        fit = jax.jit(make_fit(mlp(NUM_CLASSES, hidden=HIDDEN), make_optimizer(LEARNING_RATE), fit_options))
        args = jax.device_put((inputs, labels, np.arange(num_labeled, dtype=np.int32), np.int32(num_labeled)))

        def call():
            result = jax.block_until_ready(fit(jax.random.key(0), *args))
            assert int(result.epochs) == epochs

        return call

    def make_torch():
        import torch

        x, y = torch.from_numpy(inputs), torch.from_numpy(labels).long()

        def call():
            network = torch.nn.Sequential(
                torch.nn.Linear(NUM_INPUTS, HIDDEN),
                torch.nn.ReLU(),
                torch.nn.Linear(HIDDEN, NUM_CLASSES, bias=False),
            )
            optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
            for _ in range(epochs):
                num_correct = 0
                for rows in torch.randperm(num_labeled).split(MINIBATCH):
                    optimizer.zero_grad()
                    logits = network(x[rows])
                    torch.nn.functional.cross_entropy(logits, y[rows]).backward()
                    torch.nn.utils.clip_grad_value_(network.parameters(), 0.1)
                    optimizer.step()
                    num_correct += int((logits.argmax(1) == y[rows]).sum())

        return call

    contestants = [
        Contestant("make_fit", make_jax, num_steps),
        Contestant("PyTorch tensor loop", make_torch, num_steps),
    ]
    sizes = {
        "labels": num_labeled,
        "inputs": NUM_INPUTS,
        "hidden": HIDDEN,
        "classes": NUM_CLASSES,
        "minibatch": MINIBATCH,
    }
    publish("training", compare("fit", sizes, "step", contestants, options, [__file__, *sys.argv[1:]]), options)


if __name__ == "__main__":
    main()
