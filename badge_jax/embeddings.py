"""Gradients of the loss in the last layer, one an example: the embeddings that BADGE draws from."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from badge_jax.rows import HIGHEST, Rows


def gradient_embedding(logits: jax.Array, features: jax.Array) -> Rows:
    """BADGE's embedding, factored: ``(softmax(logits) − onehot(ŷ)) ⊗ features`` with ŷ = argmax(logits).

    Row i is the gradient of the cross-entropy at the model's own prediction in the weights of the output
    layer (bias left out), transposed to class-major order. The norms are right to float32 rounding however
    confident the model is, up to a logit gap of 87, where the residual leaves float32's normal range.

    logits:   [n, c] float
    features: [n, d] float, the input of the output layer
    Returns `Rows` with left [n, c] and right [n, d], float32.
    Raises ValueError for shapes that do not fit.
    Source: Ash et al., ICLR 2020, section 3, equation 1.
    """
    if logits.ndim != 2 or features.ndim != 2 or logits.shape[0] != features.shape[0]:
        raise ValueError(
            f"logits have shape {logits.shape} and features {features.shape}; wanted [n, c] and [n, d]"
        )
    return Rows(prediction_residuals(logits), features.astype(jnp.float32))


def prediction_residuals(logits: jax.Array) -> jax.Array:
    """softmax(logits) − onehot(ŷ): [n, c] float32 from [n, c].

    At ŷ the difference p_ŷ − 1 would cancel; it is minus the sum of the other probabilities.
    """
    logits = logits.astype(jnp.float32)
    is_predicted = jnp.arange(logits.shape[1])[None, :] == jnp.argmax(logits, axis=1)[:, None]
    weights = jnp.exp(logits - jnp.max(logits, axis=1, keepdims=True))
    others = jnp.sum(jnp.where(is_predicted, 0.0, weights), axis=1, keepdims=True)
    return jnp.where(is_predicted, -others, weights) / (1 + others)


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """−ln softmax(logits)[label]: a scalar from logits [c] and an integer label."""
    return jax.nn.logsumexp(logits) - logits[label]


def last_layer_gradients(
    head_fn: Callable[[Any, jax.Array], jax.Array],
    head_params: Any,
    features: jax.Array,
    *,
    labels: jax.Array | None = None,
    loss_fn: Callable[[jax.Array, jax.Array], jax.Array] = cross_entropy,
) -> Any:
    """∂ loss_fn(head_fn(head_params, z), y) / ∂ head_params for every example, by ``vmap(grad)``.

    For BADGE pass the output kernel alone as ``head_params`` (no bias); with ``head_fn = z @ kernel`` the
    result [n, d, c] is `gradient_embedding` with its two inner axes exchanged.

    head_fn:     (head_params, z [d]) -> logits [c]
    head_params: any pytree of float arrays
    features:    [n, d] float32
    labels:      [n] int32, or None for the most likely label ŷ of each example
    loss_fn:     (logits [c], label) -> scalar
    Returns a pytree like ``head_params`` whose leaves have a leading axis of length n.
    Raises ValueError for shapes that do not fit.
    Source: Ash et al., ICLR 2020, algorithm 1, line 4.
    """
    if features.ndim != 2:
        raise ValueError(f"features have shape {features.shape}; wanted [n, d]")
    if labels is None:
        labels = jnp.argmax(jax.vmap(head_fn, in_axes=(None, 0))(head_params, features), axis=1)
    if labels.shape != features.shape[:1]:
        raise ValueError(f"labels have shape {labels.shape}; wanted {features.shape[:1]}, one for each row")

    def example_loss(params: Any, z: jax.Array, label: jax.Array) -> jax.Array:
        return loss_fn(head_fn(params, z), label)

    return jax.vmap(jax.grad(example_loss), in_axes=(None, 0, 0))(head_params, features, labels)


def binary_logistic_embedding(weights: jax.Array, x: jax.Array) -> jax.Array:
    """Gradient of the logistic loss at the predicted label: (1 − p(ŷ|x))·(−ŷ x), [n, d] float32.

    ŷ = +1 where p(+1|x) > 1/2, else −1. 1 − p(ŷ|x) is computed as sigmoid(−|w·x|), which does not cancel.

    weights: [d] float32
    x:       [n, d] float32
    Raises ValueError for shapes that do not fit.
    Source: Ash et al., ICLR 2020, appendix B.
    """
    if weights.ndim != 1 or x.ndim != 2 or x.shape[1] != weights.shape[0]:
        raise ValueError(f"weights have shape {weights.shape} and x {x.shape}; wanted [d] and [n, d]")
    margins = jnp.dot(x, weights, precision=HIGHEST)
    predicted = jnp.where(margins > 0, 1.0, -1.0)
    return (-predicted * jax.nn.sigmoid(-jnp.abs(margins)))[:, None] * x
