"""Minibatch steps of the paper's networks: `make_fit` against a PyTorch tensor loop.

    python -m benchmarks.training [mlp-mnist mlp-letter mlp-cifar10 vgg11 resnet18] [--quick]
                                  [--precision bfloat16]

The perceptrons on the shapes of MNIST and CIFAR-10 (5,000 labels) and letter (4,100), VGG-11 and ResNet-18 on
that of CIFAR-10 (1,000), with random pixels and labels, so that no fit ends early; Adam with gradients clipped
elementwise to ±0.1. Both shuffle every epoch and count correct answers. Ours draws from a uint8 pool and
standardizes in the step; PyTorch (dependency group "peers") has its labeled rows as standardized float tensors
in memory, on the same device; on CUDA in channels-last order and, with ``--precision bfloat16``, under
autocast. About ten minutes on 2 CPU cores.
"""

import argparse
from typing import NamedTuple

import jax
import numpy as np

from badge_jax import MODELS, FitOptions, make_fit, make_optimizer, standardized
from badge_jax.models import PRECISIONS
from benchmarks.harness import Contestant, arguments, compare, publish

MEAN, SD = 0.5, 0.25


class Setting(NamedTuple):
    """What is trained on how much; ``epochs`` a call."""

    model: str
    shape: tuple[int, ...]
    num_classes: int
    num_labeled: int
    minibatch: int
    learning_rate: float
    epochs: int
    hidden: int | None = None


SETTINGS = {
    "mlp-mnist": Setting("mlp", (28, 28, 1), 10, 5000, 64, 1e-3, epochs=5, hidden=256),
    "mlp-letter": Setting("mlp", (16,), 26, 4100, 128, 1e-4, epochs=10, hidden=1024),
    "mlp-cifar10": Setting("mlp", (32, 32, 3), 10, 5000, 64, 1e-3, epochs=2, hidden=256),
    "vgg11": Setting("vgg11", (32, 32, 3), 10, 1000, 128, 1e-3, epochs=1),
    "resnet18": Setting("resnet18", (32, 32, 3), 10, 1000, 128, 1e-3, epochs=1),
}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help=f"of {', '.join(SETTINGS)}; all unless given")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32")
    options = parser.parse_args()
    unknown = set(options.settings) - set(SETTINGS)
    if unknown:
        parser.error(f"unknown setting {', '.join(unknown)}; known: {', '.join(SETTINGS)}")
    records = []
    for name in options.settings or SETTINGS:
        setting = SETTINGS[name]
        if options.quick:
            setting = setting._replace(num_labeled=setting.num_labeled // 4, epochs=1)
        sizes = {
            "labels": setting.num_labeled,
            "inputs": int(np.prod(setting.shape)),
            "classes": setting.num_classes,
            "minibatch": setting.minibatch,
        }
        alone = [
            "-m",
            "benchmarks.training",
            name,
            "--precision",
            options.precision,
            *(["--quick"] if options.quick else []),
        ]
        title = f"{name}, {options.precision}"
        records += compare(title, sizes, "step", contestants(setting, options), options, alone)
        publish("training", records, options)


def contestants(setting: Setting, options: argparse.Namespace) -> list[Contestant]:
    inputs, labels = make_data(setting)
    num_steps = setting.epochs * -(-setting.num_labeled // setting.minibatch)

    def make_jax():
        wanted = {"hidden": setting.hidden, "dtype": PRECISIONS[options.precision]}
        model = MODELS[setting.model](
            setting.num_classes, **{name: value for name, value in wanted.items() if value is not None}
        )
        if inputs.dtype == np.uint8:
            channels = setting.shape[-1]
            model = standardized(model, (MEAN,) * channels, (SD,) * channels)
        fit_options = FitOptions(setting.minibatch, target_accuracy=1.0, max_epochs=setting.epochs)
        fit = jax.jit(make_fit(model, make_optimizer(setting.learning_rate), fit_options))
        indices = np.arange(setting.num_labeled, dtype=np.int32)
        args = jax.device_put((inputs, labels, indices, np.int32(setting.num_labeled)))

        def call():
            result = jax.block_until_ready(fit(jax.random.key(0), *args))
            assert int(result.epochs) == setting.epochs

        return call

    def make_torch():
        import torch

        from benchmarks import torch_twin

        on_gpu = jax.default_backend() == "gpu"
        device = "cuda" if on_gpu else "cpu"
        x = torch.from_numpy(inputs)
        if inputs.dtype == np.uint8:
            x = (x.float() / 255 - MEAN) / SD
        is_image = setting.model != "mlp"
        x = x.permute(0, 3, 1, 2).contiguous() if is_image else x.reshape(len(x), -1)
        x, y = x.to(device), torch.from_numpy(labels).long().to(device)
        if on_gpu and is_image:
            x = x.contiguous(memory_format=torch.channels_last)

        def call():
            if is_image:
                network = getattr(torch_twin, setting.model)(setting.num_classes)
            else:
                network = torch_twin.mlp(x.shape[1], setting.hidden, setting.num_classes)
            network = network.to(device)
            if on_gpu and is_image:
                network = network.to(memory_format=torch.channels_last)
            torch_twin.train(
                network, x, y, minibatch=setting.minibatch, learning_rate=setting.learning_rate,
                target_accuracy=2, max_epochs=setting.epochs, precision=options.precision,
            )  # fmt: skip

        return call

    return [
        Contestant("make_fit", make_jax, num_steps),
        Contestant("PyTorch tensor loop", make_torch, num_steps),
    ]


def make_data(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels (uint8) or columns (small whole numbers, as letter's), and random labels."""
    rng = np.random.default_rng(0)
    shape = (setting.num_labeled, *setting.shape)
    if len(setting.shape) == 1:
        inputs = rng.integers(0, 16, shape).astype(np.float32)
    else:
        inputs = rng.integers(0, 256, shape, np.uint8)
    return inputs, rng.integers(0, setting.num_classes, setting.num_labeled, np.int32)


if __name__ == "__main__":
    main()
