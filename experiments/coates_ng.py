"""Features of CIFAR-10 by k-means of patches: Coates, Ng & Lee, AISTATS 2011.

    python -m experiments.coates_ng make FILE.npz      the features, some minutes
    python -m experiments.coates_ng probe FILE.npz     a linear classifier on all of them, beside the paper's

From random 6 x 6 patches of the training images: each patch less its mean, over its standard deviation,
whitened, and clustered by k-means. Every patch of an image, one pixel apart, is then encoded by how much nearer
than on average it is to each centre (the paper's "triangle"). The codes are summed over each quarter of the
image: 4 K numbers an image.

FILE.npz is a data set for ``badge-jax run --dataset FILE.npz``: ``inputs`` [50,000, 4K], standardized by the
training images, and ``test_inputs`` [10,000, 4K], with labels.
"""

import argparse
import io
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from badge_jax.compiled import keep_compiled_programs
from badge_jax.data import load_dataset
from badge_jax.errors import InputError
from badge_jax.files import file_to_write, write_whole
from badge_jax.samplers import kmeans
from experiments.repeats import execute

SIDE = 6  # pixels of a patch
NUM_PATCHES = 100_000
NUM_CENTERS = 400
CONTRAST = 10.0  # added to a patch's variance, for pixels from 0 to 255
RIDGE = 0.1  # added to the eigenvalues when whitening
IMAGES_AT_ONCE = 100

PUBLISHED = {1600: 0.779, 4000: 0.796}  # centres -> test accuracy, k-means (triangle) in table 1 of the paper
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # tried on a fifth of the training images
NUM_STEPS = 200


class Encoder(NamedTuple):
    """What is learned from patches.

    Attributes:
        mean: [p] float32, the mean patch.
        whitening: [p, p] float32.
        centers: [K, p] float32, of whitened patches.
    """

    mean: jax.Array
    whitening: jax.Array
    centers: jax.Array


def patches_of(images: jax.Array, side: int = SIDE) -> jax.Array:
    """Every patch of images [b, h, w, channels]: [b, h − side + 1, w − side + 1, side² · channels] float32."""
    rows, columns = images.shape[1] - side + 1, images.shape[2] - side + 1
    shifted = [images[:, i : i + rows, j : j + columns, :] for i in range(side) for j in range(side)]
    return jnp.concatenate(shifted, axis=3).astype(jnp.float32)


def normalized(patches: jax.Array) -> jax.Array:
    """Patches [..., p] less their own mean, over their own standard deviation."""
    centred = patches - jnp.mean(patches, axis=-1, keepdims=True)
    return centred / jnp.sqrt(jnp.var(patches, axis=-1, keepdims=True, ddof=1) + CONTRAST)


def learn(key: jax.Array, images: np.ndarray, num_patches: int, num_centers: int, side: int = SIDE) -> Encoder:
    """Mean, whitening and centres from random patches of uint8 images [n, h, w, channels]."""
    n, height, width, _ = images.shape
    at_key, kmeans_key = jax.random.split(key)
    limits = jnp.array([[n, height - side + 1, width - side + 1]])
    places = np.asarray(jax.random.randint(at_key, (num_patches, 3), 0, limits))
    cut = np.stack([images[i, r : r + side, c : c + side] for i, r, c in places])
    rows = normalized(jnp.asarray(cut.reshape(num_patches, -1), jnp.float32))
    mean = jnp.mean(rows, axis=0)
    values, vectors = jnp.linalg.eigh(jnp.cov(rows, rowvar=False))
    whitening = (vectors / jnp.sqrt(values + RIDGE)[None, :]) @ vectors.T
    centers = kmeans(kmeans_key, (rows - mean[None, :]) @ whitening, num_centers).centers
    return Encoder(mean, whitening, centers)


@jax.jit
def encode(encoder: Encoder, images: jax.Array) -> jax.Array:
    """Features [b, 4K] float32 of images [b, h, w, channels]."""
    side = round((encoder.mean.size / images.shape[3]) ** 0.5)
    patches = normalized(patches_of(images, side))
    white = (patches.reshape(-1, encoder.mean.size) - encoder.mean[None, :]) @ encoder.whitening
    squares = jnp.sum(white**2, axis=1, keepdims=True) + jnp.sum(encoder.centers**2, axis=1)[None, :]
    distances = jnp.sqrt(jnp.maximum(squares - 2 * white @ encoder.centers.T, 0.0))
    codes = jnp.maximum(jnp.mean(distances, axis=1, keepdims=True) - distances, 0.0)
    codes = codes.reshape(*patches.shape[:3], -1)
    rows, columns = (codes.shape[1] + 1) // 2, (codes.shape[2] + 1) // 2
    quarters = [
        part
        for half in (codes[:, :rows], codes[:, rows:])
        for part in (half[:, :, :columns], half[:, :, columns:])
    ]
    return jnp.concatenate([jnp.sum(part, axis=(1, 2)) for part in quarters], axis=1)


def make(
    images: np.ndarray, test_images: np.ndarray, num_centers: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The standardized features [n, 4K] and [m, 4K] float32 of training and test images."""
    encoder = learn(jax.random.key(seed), images, NUM_PATCHES, num_centers)

    def features_of(part: np.ndarray) -> np.ndarray:
        starts = range(0, len(part), IMAGES_AT_ONCE)
        return np.concatenate([encode(encoder, part[start : start + IMAGES_AT_ONCE]) for start in starts])

    features, test_features = features_of(images), features_of(test_images)
    mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.sqrt(std**2 + 0.01)  # as the authors do: a feature that hardly varies stays small
    return tuple(((part - mean) / scale).astype(np.float32) for part in (features, test_features))


# the classifier on all labels


@jax.jit
def fit_linear(inputs: jax.Array, labels: jax.Array, penalty: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A linear classifier by squared hinge losses, one class against the rest, as in the paper.

    Args:
        inputs: [n, d] float32.
        labels: [n] int32.
        penalty: λ in mean loss + λ/2 ‖kernel‖².

    Returns:
        Kernel [d, c] and bias [c], c = 10.
    """
    signs = 2 * jax.nn.one_hot(labels, 10) - 1

    def loss(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
        kernel, bias = weights
        hinges = jnp.maximum(1 - signs * (inputs @ kernel + bias[None, :]), 0.0)
        return jnp.mean(jnp.sum(hinges**2, axis=1)) + penalty / 2 * jnp.sum(kernel**2)

    solver, value_and_grad = optax.lbfgs(), optax.value_and_grad_from_state(loss)

    def step(carry: tuple, _: None) -> tuple:
        weights, state = carry
        value, gradient = value_and_grad(weights, state=state)
        update, state = solver.update(gradient, state, weights, value=value, grad=gradient, value_fn=loss)
        return (optax.apply_updates(weights, update), state), None

    start = jnp.zeros((inputs.shape[1], 10)), jnp.zeros(10)
    (weights, _), _ = jax.lax.scan(step, (start, solver.init(start)), None, length=NUM_STEPS)
    return weights


def probe(data: dict[str, np.ndarray]) -> dict[str, float]:
    """Test accuracy of `fit_linear` on all training rows, with the penalty that is best on a fifth held out."""
    inputs, labels = jnp.asarray(data["inputs"]), jnp.asarray(data["labels"], jnp.int32)
    held_out = len(labels) // 5

    def accuracy(weights: tuple[jax.Array, jax.Array], rows: jax.Array, wanted: jax.Array) -> float:
        return float(jnp.mean(jnp.argmax(rows @ weights[0] + weights[1][None, :], axis=1) == wanted))

    scores = {
        penalty: accuracy(
            fit_linear(inputs[held_out:], labels[held_out:], penalty), inputs[:held_out], labels[:held_out]
        )
        for penalty in PENALTIES
    }
    best = max(scores, key=lambda penalty: scores[penalty])
    tested = accuracy(
        fit_linear(inputs, labels, best),
        jnp.asarray(data["test_inputs"]),
        jnp.asarray(data["test_labels"], jnp.int32),
    )
    return {"penalty": best, "held_out_accuracy": scores[best], "test_accuracy": tested}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("make", "probe"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--centers", type=int, default=NUM_CENTERS, help="K, a quarter of the features")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.centers < 2:
        raise InputError(f"--centers is {options.centers}; wanted at least 2")
    keep_compiled_programs()
    if options.command == "make":
        path = file_to_write(options.file)
        images = load_dataset("cifar10", seed=0)
        features, test_features = make(images.inputs, images.test_inputs, options.centers, options.seed)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            inputs=features,
            labels=images.labels,
            test_inputs=test_features,
            test_labels=images.test_labels,
        )
        write_whole(path, buffer.getvalue())
    else:
        with np.load(options.file) as file:
            found = probe({name: file[name] for name in ("inputs", "labels", "test_inputs", "test_labels")})
        print(*(f"{name}: {value:.4g}" for name, value in found.items()), sep="\n")
        print(f"published, by number of centres: {PUBLISHED}")


if __name__ == "__main__":
    execute(main)
