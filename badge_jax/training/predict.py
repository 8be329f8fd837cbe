"""What a network says of many rows, a batch of fixed size at a time."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.models import Model, Variables


class Outputs(NamedTuple):
    """What a network says of n rows: logits [n, c] and features [n, d], float32."""

    logits: jax.Array
    features: jax.Array


def make_predict(model: Model, batch_size: int = 256) -> Callable[[Variables, jax.Array], Outputs]:
    """Returns ``predict(variables, inputs [n, ...]) -> Outputs``, in evaluation mode.

    Runs in batches of fixed size, so that memory is the outputs and one batch; the last batch starts early
    enough to end at the last row.
    """

    def predict(variables: Variables, inputs: jax.Array) -> Outputs:
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


def make_num_correct(model: Model) -> Callable[[Variables, jax.Array, jax.Array], jax.Array]:
    """Returns ``num_correct(variables, inputs [n, ...], labels [n] int32) -> scalar int32``: the rows that the
    network, in evaluation mode, classifies correctly."""
    predict = make_predict(model)

    def num_correct(variables: Variables, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        predicted = jnp.argmax(predict(variables, inputs).logits, axis=1)
        return jnp.sum(predicted == labels, dtype=jnp.int32)

    return num_correct
