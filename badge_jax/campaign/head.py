"""A head on frozen features: a linear layer or a small perceptron, trained from scratch in seconds."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from badge_jax.errors import EnvironmentFailure
from badge_jax.models import Model, Variables, linear, mlp
from badge_jax.training import FitOptions, make_fit, make_predict


def _linear_from_zero(num_classes: int) -> Model:
    """A linear layer that starts at zero: with few labels, random weights would be most of what it knows."""
    model = linear(num_classes)
    return model._replace(init=lambda key, x: jax.tree.map(jnp.zeros_like, model.init(key, x)))


HEADS: dict[str, Callable[[int], Model]] = {"linear": _linear_from_zero, "mlp": mlp}
"""Name → maker: ``HEADS[name](num_classes) -> Model``."""
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 1.0  # AdamW's: after few labels, or wrong ones, a head without it is worse
_OPTIONS = FitOptions(minibatch_size=64, target_accuracy=0.99, max_epochs=200)
_LEAST_ROOM = 64  # rows for which a fit is compiled; from there it doubles
TILE = 8192  # rows whose outputs are computed at a time


class TrainedHead(NamedTuple):
    """A head, and how its inputs are brought to a common scale.

    Attributes:
        name: of `HEADS`.
        num_classes: c.
        variables: of the network.
        mean: [d] float32, subtracted from the features.
        scale: scalar float32, by which they are multiplied then.
        train_accuracy: share of the training rows that were classified correctly in the last epoch.
    """

    name: str
    num_classes: int
    variables: Variables
    mean: np.ndarray
    scale: np.float32
    train_accuracy: float


def fit_head(
    key: jax.Array, name: str, num_classes: int, features: np.ndarray, labels: np.ndarray
) -> TrainedHead:
    """Trains a head from fresh weights until it has 99 % of the rows right, for 200 epochs at most.

    The features are centred, and scaled by one number to a mean square of 1, both over these rows: so the scale
    of the features does not matter, and their geometry stays.

    Args:
        key: typed PRNG key.
        name: of `HEADS`.
        num_classes: c.
        features: [m, d] float, of the labeled rows.
        labels: [m] int32.

    Raises:
        EnvironmentFailure: if the weights are no longer finite.

    Example:
        >>> import jax, numpy as np
        >>> from badge_jax.campaign import fit_head
        >>> features = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
        >>> head = fit_head(jax.random.key(0), "linear", 2, features, (features[:, 0] > 0).astype(np.int32))
        >>> head.train_accuracy > 0.9
        True
    """
    exact = features.astype(np.float64)
    mean = exact.mean(axis=0).astype(np.float32)  # the same as in `head_outputs`, also for far-off features
    spread = np.sqrt(np.mean((exact - mean) ** 2))
    scale = 1 / spread if spread > 0 else 1.0
    room = max(_LEAST_ROOM, 1 << (len(features) - 1).bit_length())
    inputs = np.zeros((room, features.shape[1]), np.float32)
    inputs[: len(features)] = (exact - mean) * scale
    padded = np.zeros(room, np.int32)
    padded[: len(labels)] = labels
    result = _fit(name, num_classes)(
        key, inputs, padded, np.arange(room, dtype=np.int32), np.int32(len(labels))
    )
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.variables)):
        raise EnvironmentFailure(f"the {name} head has diverged: its weights are not finite")
    accuracy = float(result.train_accuracy)
    return TrainedHead(name, num_classes, result.variables, mean, np.float32(scale), accuracy)


def head_outputs(head: TrainedHead, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs of a head on some rows.

    Args:
        head: what `fit_head` returned.
        features: [m, d] float.

    Returns:
        logits [m, c] float32, and the input of the output layer, [m, d'] float32.

    Example:
        >>> import jax, numpy as np
        >>> from badge_jax.campaign import fit_head, head_outputs
        >>> features = np.eye(4, dtype=np.float32)
        >>> head = fit_head(jax.random.key(0), "mlp", 3, features, np.array([0, 1, 2, 2]))
        >>> [part.shape for part in head_outputs(head, features)]
        [(4, 3), (4, 256)]
    """
    m = len(features)
    room = max(_LEAST_ROOM, 1 << (m - 1).bit_length())  # few shapes, so few compilations
    padded = np.zeros((room, features.shape[1]), features.dtype)
    padded[:m] = features
    predict = _predict(head.name, head.num_classes)
    logits, hidden = predict(head.variables, head.mean, head.scale, padded)
    return np.asarray(logits)[:m], np.asarray(hidden)[:m]


def output_widths(head: TrainedHead) -> tuple[int, int]:
    """Columns of the outputs of a head: c and d', see `head_outputs`. Nothing is compiled."""
    inputs = jax.ShapeDtypeStruct((_LEAST_ROOM, len(head.mean)), np.float32)
    predict = _predict(head.name, head.num_classes)
    logits, hidden = jax.eval_shape(predict, head.variables, head.mean, head.scale, inputs)
    return logits.shape[1], hidden.shape[1]


@cache
def _fit(name: str, num_classes: int) -> Callable:
    optimizer = optax.adamw(_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    return jax.jit(make_fit(HEADS[name](num_classes), optimizer, _OPTIONS))


@cache
def _predict(name: str, num_classes: int) -> Callable:
    predict = make_predict(HEADS[name](num_classes), batch_size=1024)

    def scaled(
        variables: Variables, mean: jax.Array, scale: jax.Array, features: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        outputs = predict(variables, (features.astype(jnp.float32) - mean[None, :]) * scale)
        return outputs.logits, outputs.features

    return jax.jit(scaled)
