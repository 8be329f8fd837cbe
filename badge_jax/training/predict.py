"""The outputs of a network on many rows, computed in batches of fixed size."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from badge_jax.models import Model, Variables
from badge_jax.shards import ALONE, Shards, on_each_device, sharding_of_rows


class Outputs(NamedTuple):
    """The outputs of a network on n rows.

    Attributes:
        logits: [n, c] float32, in nats.
        features: [n, d] float32, the input of the output layer.
    """

    logits: jax.Array
    features: jax.Array


def make_predict(
    model: Model, batch_size: int = 256, *, sharding: NamedSharding | None = None
) -> Callable[[Variables, jax.Array], Outputs]:
    """Makes the function that computes a network's outputs in evaluation mode.

    It works in batches of fixed size, so its memory is the outputs and one batch. The last batch ends at the
    last row, and so may overlap the batch before it. If the inputs lie on several devices, each computes its
    own rows.

    Args:
        model: the network.
        batch_size: rows computed at a time; at most n are.
        sharding: how the inputs lie on devices, if not as the array says; see `shard_pool`.

    Returns:
        ``predict(variables, inputs [n, ...]) -> Outputs``, a pure function.

    Example:
        >>> import jax
        >>> from badge_jax import make_predict, mlp
        >>> model = mlp(3, hidden=8)
        >>> inputs = jax.random.normal(jax.random.key(0), (20, 4))
        >>> outputs = make_predict(model)(model.init(jax.random.key(1), inputs), inputs)
        >>> outputs.logits.shape, outputs.features.shape
        ((20, 3), (20, 8))
    """

    return _make_over_batches(model, lambda outputs: outputs, batch_size, sharding)


class Evaluation(NamedTuple):
    """How a network does on n labeled rows.

    Attributes:
        num_correct: scalar int32, rows classified correctly.
        is_finite: scalar bool, whether all outputs are. Where they are not, the network has diverged and the
            rest means nothing.
        predicted: [n] int32, the class with the largest logit, the first of several.
        losses: [n] float32, cross-entropy in nats; at most the largest finite float32.
        confidences: [n] float32, the softmax probability of the predicted class.
    """

    num_correct: jax.Array
    is_finite: jax.Array
    predicted: jax.Array
    losses: jax.Array
    confidences: jax.Array


def make_evaluate(
    model: Model, *, sharding: NamedSharding | None = None
) -> Callable[[Variables, jax.Array, jax.Array], Evaluation]:
    """Makes the function that tries a network on labeled rows, in evaluation mode.

    It works in batches like `make_predict` and keeps a few numbers of each row, not the outputs. Losses and
    confidences come from the logits without a probability that could round to 0 or 1:
    loss = (max_j z_j − z_label) + log1p(Σ exp(z_j − max)), the sum over all classes but the predicted one.

    Args:
        model: the network.
        sharding: how the inputs lie on devices, if not as the array says; see `shard_pool`.

    Returns:
        ``evaluate(variables, inputs [n, ...], labels [n] int32) -> Evaluation``, a pure function. Rows of label
        −1 do not count.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import mlp
        >>> from badge_jax.training import make_evaluate
        >>> model = mlp(3, hidden=8)
        >>> inputs = jax.random.normal(jax.random.key(0), (20, 4))
        >>> variables = model.init(jax.random.key(1), inputs)
        >>> evaluation = make_evaluate(model)(variables, inputs, jnp.zeros(20, jnp.int32))
        >>> 0 <= int(evaluation.num_correct) <= 20, bool(evaluation.is_finite), evaluation.losses.shape
        (True, True, (20,))
    """
    measure = _make_over_batches(model, _measure_rows, sharding=sharding)

    def evaluate(variables: Variables, inputs: jax.Array, labels: jax.Array) -> Evaluation:
        rows = measure(variables, inputs, labels)
        num_correct = jnp.sum(rows.predicted == labels, dtype=jnp.int32)
        is_finite = jnp.all(rows.are_finite | (labels < 0))
        return Evaluation(num_correct, is_finite, rows.predicted, rows.losses, rows.confidences)

    return evaluate


class _Measured(NamedTuple):
    """Of each of n rows, as in `Evaluation`; are_finite: [n] bool."""

    are_finite: jax.Array
    predicted: jax.Array
    losses: jax.Array
    confidences: jax.Array


def _measure_rows(outputs: Outputs, labels: jax.Array) -> _Measured:
    logits = outputs.logits
    predicted = jnp.argmax(logits, axis=1).astype(jnp.int32)
    top = jnp.max(logits, axis=1, keepdims=True)
    is_predicted = jnp.arange(logits.shape[1])[None, :] == predicted[:, None]
    others = jnp.sum(jnp.where(is_predicted, 0.0, jnp.exp(logits - top)), axis=1)
    at_label = jnp.take_along_axis(logits, labels[:, None], axis=1)
    losses = (top - at_label)[:, 0] + jnp.log1p(others)
    are_finite = jnp.all(jnp.isfinite(logits), axis=1) & jnp.all(jnp.isfinite(outputs.features), axis=1)
    largest = jnp.finfo(jnp.float32).max
    return _Measured(are_finite, predicted, jnp.minimum(losses, largest), 1 / (1 + others))


def _make_over_batches(
    model: Model, measure: Callable, batch_size: int = 256, sharding: NamedSharding | None = None
) -> Callable[..., Any]:
    """Returns ``(variables, inputs [n, ...], *more [n, ...]) -> pytree of [n, ...]``: what ``measure`` says of
    the outputs of each row and of ``more``. See `make_predict`."""

    def over_rows(variables: Variables, inputs: jax.Array, *more: jax.Array) -> Any:
        found = sharding_of_rows(sharding, inputs)
        if found is None:
            return here(ALONE, variables, (inputs, *more))
        return over_parts(variables, (inputs, *more), found)

    @partial(jax.jit, static_argnums=2)
    def over_parts(variables: Variables, rows: tuple[jax.Array, ...], sharding: NamedSharding) -> Any:
        return on_each_device(sharding, here, variables, rows, is_sharded=True)

    def here(_: Shards, variables: Variables, rows: tuple[jax.Array, ...]) -> Any:
        n = rows[0].shape[0]
        size = min(batch_size, n)

        def measure_batch(start: jax.Array) -> Any:
            x, *more = (jax.lax.dynamic_slice_in_dim(part, start, size) for part in rows)
            logits, features, _ = model.apply(variables, x, mask=None, train=False)
            return measure(Outputs(logits.astype(jnp.float32), features.astype(jnp.float32)), *more)

        def fill(batch: jax.Array, measured: Any) -> Any:
            start = jnp.minimum(batch * size, n - size)
            return jax.tree.map(
                lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=0),
                measured,
                measure_batch(start),
            )

        shapes = jax.eval_shape(measure_batch, jnp.int32(0))
        empty = jax.tree.map(lambda part: jnp.zeros((n, *part.shape[1:]), part.dtype), shapes)
        return jax.lax.fori_loop(0, -(-n // size), fill, empty)

    return over_rows
