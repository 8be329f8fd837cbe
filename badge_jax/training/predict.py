"""The outputs of a network on many rows, computed in batches of fixed size."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

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

    def predict(variables: Variables, inputs: jax.Array) -> Outputs:
        found = sharding_of_rows(sharding, inputs)
        return (
            predict_here(ALONE, variables, inputs) if found is None else predict_parts(variables, inputs, found)
        )

    @partial(jax.jit, static_argnums=2)
    def predict_parts(variables: Variables, inputs: jax.Array, sharding: NamedSharding) -> Outputs:
        return on_each_device(sharding, predict_here, variables, inputs, is_sharded=True)

    def predict_here(_: Shards, variables: Variables, inputs: jax.Array) -> Outputs:
        n = inputs.shape[0]
        size = min(batch_size, n)

        def predict_batch(start: jax.Array) -> Outputs:
            x = jax.lax.dynamic_slice_in_dim(inputs, start, size)
            logits, features, _ = model.apply(variables, x, mask=None, train=False)
            return Outputs(logits.astype(jnp.float32), features.astype(jnp.float32))

        def fill(batch: jax.Array, outputs: Outputs) -> Outputs:
            start = jnp.minimum(batch * size, n - size)
            return jax.tree.map(
                lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=0),
                outputs,
                predict_batch(start),
            )

        shapes = jax.eval_shape(predict_batch, jnp.int32(0))
        empty = jax.tree.map(lambda part: jnp.zeros((n, *part.shape[1:]), part.dtype), shapes)
        return jax.lax.fori_loop(0, -(-n // size), fill, empty)

    return predict


class Evaluation(NamedTuple):
    """How a network does on labeled rows.

    Attributes:
        num_correct: scalar int32, rows classified correctly.
        is_finite: scalar bool, whether all outputs are. Where they are not, the network has diverged and the
            count means nothing.
    """

    num_correct: jax.Array
    is_finite: jax.Array


def make_evaluate(
    model: Model, *, sharding: NamedSharding | None = None
) -> Callable[[Variables, jax.Array, jax.Array], Evaluation]:
    """Makes the function that tries a network on labeled rows, in evaluation mode.

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
        >>> 0 <= int(evaluation.num_correct) <= 20, bool(evaluation.is_finite)
        (True, True)
    """
    predict = make_predict(model, sharding=sharding)

    def evaluate(variables: Variables, inputs: jax.Array, labels: jax.Array) -> Evaluation:
        logits, features = predict(variables, inputs)
        num_correct = jnp.sum(jnp.argmax(logits, axis=1) == labels, dtype=jnp.int32)
        no_row = (labels < 0)[:, None]
        finite = [jnp.all(jnp.isfinite(part) | no_row) for part in (logits, features)]
        return Evaluation(num_correct, finite[0] & finite[1])

    return evaluate
