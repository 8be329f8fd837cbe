"""Gradients of the loss in the last layer, one for each example: the embeddings that BADGE draws from."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.rows import HIGHEST, Rows


def gradient_embedding(logits: jax.Array, features: jax.Array) -> Rows:
    """BADGE's embedding, factored: ``(softmax(logits) − onehot(ŷ)) ⊗ features`` with ŷ = argmax(logits).

    Row i is the gradient of the cross-entropy loss with respect to the weights of the output layer (without the
    bias), in class-major order. The label is the model's own prediction ŷ. The norms are accurate to float32
    rounding up to a logit gap of 87, where the residual leaves float32's normal range.

    Args:
        logits: [n, c] float, the outputs of the network in nats.
        features: [n, d] float, the input of the output layer.

    Returns:
        `Rows` with left [n, c] float32 and right [n, d] float32.

    Raises:
        ValueError: if the shapes do not match.

    References:
        Ash et al., ICLR 2020, section 3, equation 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import gradient_embedding
        >>> logits = jnp.array([[9.0, 0.0, 0.0], [0.1, 0.0, 0.0]])  # one confident row, one uncertain row
        >>> rows = gradient_embedding(logits, jnp.ones((2, 4)))
        >>> rows.left.shape, rows.right.shape
        ((2, 3), (2, 4))
        >>> lengths = jnp.linalg.norm(rows.to_dense(), axis=1)
        >>> bool(lengths[0] < lengths[1])
        True
    """
    if logits.ndim != 2 or features.ndim != 2 or logits.shape[0] != features.shape[0]:
        raise ValueError(
            f"logits have shape {logits.shape} and features {features.shape}; wanted [n, c] and [n, d]"
        )
    return Rows(prediction_residuals(logits), features.astype(jnp.float32))


def pool_gradients(pool: Pool) -> Rows:
    """`gradient_embedding` of every row of a pool."""
    return gradient_embedding(pool.logits, pool.features)


def prediction_residuals(logits: jax.Array) -> jax.Array:
    """The left factors of BADGE's embedding: ``softmax(logits) − onehot(ŷ)`` with ŷ = argmax(logits).

    The entry at ŷ is p_ŷ − 1. It is computed as minus the sum of the other probabilities, because the
    difference would lose its digits for a confident row.

    Args:
        logits: [n, c] float, in nats.

    Returns:
        [n, c] float32.
    """
    logits = logits.astype(jnp.float32)
    is_predicted = jnp.arange(logits.shape[1])[None, :] == jnp.argmax(logits, axis=1)[:, None]
    weights = jnp.exp(logits - jnp.max(logits, axis=1, keepdims=True))
    others = jnp.sum(jnp.where(is_predicted, 0.0, weights), axis=1, keepdims=True)
    return jnp.where(is_predicted, -others, weights) / (1 + others)


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Cross-entropy of one example: ``−ln softmax(logits)[label]``.

    Args:
        logits: [c] float32, in nats.
        label: scalar int32.

    Returns:
        Scalar float32, in nats.
    """
    return jax.nn.logsumexp(logits) - logits[label]


def last_layer_gradients(
    head_fn: Callable[[Any, jax.Array], jax.Array],
    head_params: Any,
    features: jax.Array,
    *,
    labels: jax.Array | None = None,
    loss_fn: Callable[[jax.Array, jax.Array], jax.Array] = cross_entropy,
) -> Any:
    """Gradient of every example's loss with respect to the parameters of the last layer, by ``vmap(grad)``.

    For example i it is ``∂ loss_fn(head_fn(head_params, z_i), y_i) / ∂ head_params``. For BADGE, pass only the
    output kernel as ``head_params``, without a bias. With ``head_fn = z @ kernel`` the result [n, d, c] is
    then `gradient_embedding` with its two inner axes exchanged.

    Args:
        head_fn: ``(head_params, z [d]) -> logits [c]``.
        head_params: any pytree of float arrays.
        features: [n, d] float32, the input of the last layer.
        labels: [n] int32; by default each example's most likely label ŷ.
        loss_fn: ``(logits [c], label) -> scalar``.

    Returns:
        A pytree like ``head_params`` whose leaves have a leading axis of length n.

    Raises:
        ValueError: if the shapes do not match.

    References:
        Ash et al., ICLR 2020, algorithm 1, line 4.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import last_layer_gradients
        >>> head = {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}
        >>> gradients = last_layer_gradients(
        ...     lambda params, z: z @ params["kernel"] + params["bias"], head, jnp.ones((5, 4))
        ... )
        >>> gradients["kernel"].shape, gradients["bias"].shape
        ((5, 4, 3), (5, 3))
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
    """Gradient of the logistic loss at the predicted label ŷ: ``(1 − p(ŷ|x))·(−ŷ x)``.

    ŷ is +1 where p(+1|x) > 1/2, else −1. The factor 1 − p(ŷ|x) is computed as sigmoid(−|w·x|), which keeps its
    digits for confident rows.

    Args:
        weights: [d] float32, the weights w of a logistic regression without bias.
        x: [n, d] float32, the examples.

    Returns:
        [n, d] float32.

    Raises:
        ValueError: if the shapes do not match.

    References:
        Ash et al., ICLR 2020, appendix B.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import binary_logistic_embedding
        >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 2.0]])
        >>> embedding = binary_logistic_embedding(jnp.array([1.0, 0.5]), x)
        >>> embedding.shape
        (3, 2)
    """
    if weights.ndim != 1 or x.ndim != 2 or x.shape[1] != weights.shape[0]:
        raise ValueError(f"weights have shape {weights.shape} and x {x.shape}; wanted [d] and [n, d]")
    margins = jnp.dot(x, weights, precision=HIGHEST)
    predicted = jnp.where(margins > 0, 1.0, -1.0)
    return (-predicted * jax.nn.sigmoid(-jnp.abs(margins)))[:, None] * x
