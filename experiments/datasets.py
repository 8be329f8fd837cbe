"""Data sets for the experiments: ``--dataset 'experiments.datasets:NAME(…)'``."""

from pathlib import Path

import numpy as np

from badge_jax.array_files import open_array
from badge_jax.data import load_dataset
from badge_jax.errors import InputError

Arrays = dict[str, np.ndarray]


def mnist(rows: int = 10_000, ratio: float = 1) -> Arrays:
    """MNIST as vectors of pixels from 0 to 1, with rare classes if wanted.

    The training images of class c are thinned out to the share ratio^(−c / 9): all zeros, one in ``ratio`` of
    the nines (the exponential profile of Cui et al., CVPR 2019). Of what is left ``rows`` are drawn. The test
    set stays whole, so that accuracy on it weighs all classes nearly alike.
    """
    data = load_dataset("mnist", seed=0)
    return _drawn(
        _as_vectors(data.inputs), data.labels, _as_vectors(data.test_inputs), data.test_labels, rows, ratio
    )


def coates_ng(file: str = "runs/coates_ng.npz", rows: int = 10_000) -> Arrays:
    """Features of CIFAR-10 that ``python -m experiments.coates_ng make FILE`` wrote.

    Of the 50,000 images ``rows`` are drawn.
    """
    if not Path(file).is_file():
        raise InputError(f"{file} does not exist; python -m experiments.coates_ng make {file} makes it")
    names = ("inputs", "labels", "test_inputs", "test_labels")
    return _drawn(*(open_array(Path(file), "--dataset", name).read() for name in names), rows)


def table(name: str, rows: int = 10_000, standardized: bool = False) -> Arrays:
    """A tabular data set of the package, of whose training rows ``rows`` are drawn.

    ``standardized``: each column less its mean, over its standard deviation, both of the drawn rows.
    """
    data = load_dataset(name, seed=0)
    arrays = _drawn(data.inputs, data.labels, data.test_inputs, data.test_labels, rows)
    if not standardized:
        return arrays
    mean = arrays["inputs"].mean(axis=0)
    constant = np.ptp(arrays["inputs"], axis=0) == 0
    spread = np.where(constant, 1, arrays["inputs"].std(axis=0))
    scaled = {part: (arrays[part] - mean) / spread for part in ("inputs", "test_inputs")}
    return {**arrays, **scaled}


def _as_vectors(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255


def _drawn(
    inputs: np.ndarray,
    labels: np.ndarray,
    test_inputs: np.ndarray,
    test_labels: np.ndarray,
    rows: int,
    ratio: float = 1,
) -> Arrays:
    """A random part of the training rows, the same every time."""
    rng = np.random.default_rng(0)
    classes = int(labels.max()) + 1
    members = [rng.permutation(np.flatnonzero(labels == c)) for c in range(classes)]
    shares = [ratio ** (-c / max(1, classes - 1)) for c in range(classes)]
    kept = np.concatenate(
        [part[: round(share * len(part))] for part, share in zip(members, shares, strict=True)]
    )
    chosen = np.sort(rng.permutation(kept)[:rows])
    return {
        "inputs": inputs[chosen],
        "labels": labels[chosen],
        "test_inputs": test_inputs,
        "test_labels": test_labels,
    }
