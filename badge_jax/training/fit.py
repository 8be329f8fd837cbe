"""Training a network from scratch on the labeled rows, on the device from the first step to the last."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from badge_jax.models import Model, Variables


@dataclass(frozen=True)
class FitOptions:
    """When to stop and how many rows a step takes.

    minibatch_size:  rows in a gradient step
    target_accuracy: stop after the first epoch in which at least this share of the labeled rows was
                     classified correctly, each counted when its minibatch came by
    max_epochs:      stop here at the latest
    """

    minibatch_size: int = 64
    target_accuracy: float = 0.99
    max_epochs: int = 3000

    def __post_init__(self) -> None:
        if self.minibatch_size < 1:
            raise ValueError(f"minibatch_size is {self.minibatch_size}; wanted at least 1")
        if not 0 < self.target_accuracy <= 1:
            raise ValueError(f"target_accuracy is {self.target_accuracy}; wanted a share in (0, 1]")
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs is {self.max_epochs}; wanted at least 1")


class Fit(NamedTuple):
    """A trained network and how it got there.

    variables:      the model's pytree
    train_accuracy: scalar float32, share of the labeled rows classified correctly during the last epoch
    epochs:         scalar int32
    converged:      scalar bool, whether ``target_accuracy`` was reached
    """

    variables: Variables
    train_accuracy: jax.Array
    epochs: jax.Array
    converged: jax.Array


def make_optimizer(learning_rate: float) -> optax.GradientTransformation:
    """Adam on gradients clipped elementwise to ±0.1, as in the authors' code; no decay, no schedule."""
    return optax.chain(optax.clip(0.1), optax.adam(learning_rate))


def make_fit(
    model: Model, optimizer: optax.GradientTransformation, options: FitOptions = FitOptions()
) -> Callable[..., Fit]:
    """The function that trains ``model`` from fresh weights on the labeled rows of a pool.

    Returns ``fit(key, inputs, labels, indices, count) -> Fit``, pure, to be jitted by the caller once for all
    rounds: the labeled set is a buffer of fixed capacity and a count, so its growth compiles nothing.

        key:     typed PRNG key; weights and minibatches depend on it alone, not on the buffer's capacity
        inputs:  [n, ...] the whole pool
        labels:  [n] int32 (those of rows outside the labeled set are never read)
        indices: [capacity] int32, rows of the pool; the first ``count`` are the labeled set
        count:   scalar int32, 1 ≤ count ≤ capacity

    Every epoch visits the labeled rows once in a fresh order; the last minibatch is filled up with masked rows.
    Source: Ash et al., ICLR 2020, section 4, and the authors' code, but for two things: everything is
    re-initialised each round (their BatchNorm statistics are not), and a fit that stays poor is not restarted
    (theirs is, when under 20 % after 1,000 epochs): it ends at ``max_epochs`` with ``converged`` False.
    """
    train_step = make_train_step(model, optimizer)
    size = options.minibatch_size

    def fit(key: jax.Array, inputs: jax.Array, labels: jax.Array, indices: jax.Array, count: jax.Array) -> Fit:
        init_key, order_key = jax.random.split(key)
        variables = model.init(init_key, inputs[:1])

        def train_epoch(carry: tuple) -> tuple:
            epoch, variables, optimizer_state, _ = carry
            order = _shuffle(jax.random.fold_in(order_key, epoch), indices, count)
            order = jnp.pad(order, (0, -len(indices) % size))

            def train_minibatch(step: jax.Array, carry: tuple) -> tuple:
                variables, optimizer_state, num_correct = carry
                rows = jax.lax.dynamic_slice(order, (step * size,), (size,))
                mask = step * size + jnp.arange(size) < count
                variables, optimizer_state, metrics = train_step(
                    variables, optimizer_state, inputs[rows], labels[rows], mask
                )
                return variables, optimizer_state, num_correct + metrics.num_correct

            num_steps = (count + size - 1) // size
            start = (variables, optimizer_state, jnp.int32(0))
            return epoch + 1, *jax.lax.fori_loop(0, num_steps, train_minibatch, start)

        def unfinished(carry: tuple) -> jax.Array:
            epoch, _, _, num_correct = carry
            return (epoch < options.max_epochs) & (num_correct / count < options.target_accuracy)

        start = (jnp.int32(0), variables, optimizer.init(variables), jnp.int32(0))
        epochs, variables, _, num_correct = jax.lax.while_loop(unfinished, train_epoch, start)
        accuracy = num_correct / count
        return Fit(variables, accuracy, epochs, accuracy >= options.target_accuracy)

    return fit


class StepMetrics(NamedTuple):
    """loss: scalar float32, mean cross-entropy over the minibatch, in nats. num_correct: scalar int32."""

    loss: jax.Array
    num_correct: jax.Array


def make_train_step(model: Model, optimizer: optax.GradientTransformation) -> Callable[..., tuple]:
    """One minibatch: ``train_step(variables, optimizer_state, x [b, ...], labels [b] int32, mask [b] bool)
    -> (variables, optimizer_state, StepMetrics)``.

    Loss and metrics are over the rows where ``mask`` is True, and are those of the variables passed in.
    """

    def loss_fn(variables: Variables, x: jax.Array, labels: jax.Array, mask: jax.Array) -> tuple:
        logits, _, updated = model.apply(variables, x, mask=mask, train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        loss = jnp.sum(jnp.where(mask, losses, 0.0)) / jnp.sum(mask)
        num_correct = jnp.sum((jnp.argmax(logits, axis=1) == labels) & mask, dtype=jnp.int32)
        return loss, (updated, StepMetrics(loss, num_correct))

    def train_step(
        variables: Variables,
        optimizer_state: optax.OptState,
        x: jax.Array,
        labels: jax.Array,
        mask: jax.Array,
    ) -> tuple[Variables, optax.OptState, StepMetrics]:
        gradients, (updated, metrics) = jax.grad(loss_fn, has_aux=True)(variables, x, labels, mask)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, variables)
        return optax.apply_updates(updated, updates), optimizer_state, metrics

    return train_step


def _shuffle(key: jax.Array, indices: jax.Array, count: jax.Array) -> jax.Array:
    """The first ``count`` of ``indices`` in uniformly random order, the others after them.

    An element's random bits depend on its position alone, so the order is the same at every capacity.
    """
    is_labeled = jnp.arange(len(indices)) < count
    bits = jax.random.bits(key, (len(indices),)) >> 1
    return jax.lax.sort((jnp.where(is_labeled, bits, jnp.uint32(2**32 - 1)), indices), num_keys=1)[1]
