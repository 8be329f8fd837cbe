"""Training a network from scratch on the labeled rows, in one loop on the device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from badge_jax import paper
from badge_jax.models import Model, Variables
from badge_jax.shards import on_auto_axes, shards_of

_FEW_COLUMNS = 32  # measured for 64 and 128 rows, 512 and 1,024 features


@dataclass(frozen=True)
class FitOptions:
    """The size of a minibatch and when to stop.

    Attributes:
        minibatch_size: rows in a gradient step.
        target_accuracy: share of the labeled rows in (0, 1]; training stops after the first epoch that
            classifies at least this share correctly. A row is counted in its minibatch's step, with the
            weights before that step.
        max_epochs: training stops after this many epochs even if it has not reached ``target_accuracy``.

    Raises:
        ValueError: if a value is outside its range.

    Example:
        >>> from badge_jax import FitOptions
        >>> FitOptions(max_epochs=100)
        FitOptions(minibatch_size=64, target_accuracy=0.99, max_epochs=100)
    """

    minibatch_size: int = paper.DIGITS.minibatch_size
    target_accuracy: float = paper.TARGET_ACCURACY
    max_epochs: int = paper.MAX_EPOCHS

    def __post_init__(self) -> None:
        if self.minibatch_size < 1:
            raise ValueError(f"minibatch_size is {self.minibatch_size}; wanted at least 1")
        if not 0 < self.target_accuracy <= 1:
            raise ValueError(f"target_accuracy is {self.target_accuracy}; wanted a share in (0, 1]")
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs is {self.max_epochs}; wanted at least 1")


class Fit(NamedTuple):
    """A trained network and how its training ended.

    Attributes:
        variables: the model's pytree.
        train_accuracy: scalar float32, share of the labeled rows classified correctly during the last epoch.
        epochs: scalar int32, the number of epochs trained.
        converged: scalar bool, whether ``target_accuracy`` was reached.
    """

    variables: Variables
    train_accuracy: jax.Array
    epochs: jax.Array
    converged: jax.Array


def make_optimizer(learning_rate: float, *, clip: float = paper.CLIP) -> optax.GradientTransformation:
    """Adam on gradients that are clipped elementwise, as in the authors' code; no decay, no schedule.

    Args:
        learning_rate: Adam's step size.
        clip: gradients are clipped to ±clip.

    Returns:
        An Optax gradient transformation.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import make_optimizer
        >>> optimizer = make_optimizer(1e-3)
        >>> weights = {"kernel": jnp.ones((4, 3))}
        >>> updates, state = optimizer.update(weights, optimizer.init(weights))  # the gradient is 1 everywhere
        >>> updates["kernel"].shape, bool((updates["kernel"] < 0).all())
        ((4, 3), True)
    """
    return optax.chain(optax.clip(clip), optax.adam(learning_rate))


def make_fit(
    model: Model,
    optimizer: optax.GradientTransformation,
    options: FitOptions = FitOptions(),
    *,
    minibatch_sharding: NamedSharding | None = None,
) -> Callable[..., Fit]:
    """Makes the function that trains ``model`` from fresh weights on the labeled rows of a pool.

    Every epoch visits each labeled row once, in a new random order. Masked rows fill up the last minibatch. The
    labeled set is a buffer of fixed capacity and a count, so it can grow without a new compilation.

    The pool may lie on several devices: a step gathers the rows of its minibatch alone. With
    ``minibatch_sharding`` each device computes a part of every minibatch. The weights are on all devices, and
    gradients and batch statistics are those of the whole minibatch, so the result is that of one device but
    for rounding.

    Two things differ from the authors' code. Everything is re-initialised each round; they carry their
    BatchNorm statistics over. A fit that stays poor ends at ``max_epochs`` with ``converged`` False; theirs
    restarts when its accuracy is below 20 % after 1,000 epochs.

    Args:
        model: the network.
        optimizer: an Optax gradient transformation, for instance `make_optimizer`'s.
        options: when to stop, and the size of a minibatch.
        minibatch_sharding: devices that share the work on a minibatch, as the sharding of its rows: such as
            ``NamedSharding(mesh, PartitionSpec("batch"))``. Masked rows fill up a minibatch that does not
            divide evenly. None: they do not share it.

    Returns:
        ``fit(key, inputs, labels, indices, count) -> Fit``, a pure function. Jit it once for all rounds. Its
        arguments:

        - key: typed PRNG key. The weights and the order of the rows depend on it, not on the capacity.
        - inputs: [n, ...], the whole pool.
        - labels: [n] int32. Labels of rows outside the labeled set are never used.
        - indices: [capacity] int32, rows of the pool. The first ``count`` are the labeled set.
        - count: scalar int32, 1 ≤ count ≤ capacity.

    Raises:
        ValueError: if ``minibatch_sharding`` does not spread rows.

    References:
        Ash et al., ICLR 2020, section 4, and the authors' code.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import FitOptions, make_fit, make_optimizer, mlp
        >>> fit = jax.jit(make_fit(mlp(2, hidden=8), make_optimizer(1e-2), FitOptions(max_epochs=3)))
        >>> inputs = jax.random.normal(jax.random.key(0), (20, 4))
        >>> labels = (inputs[:, 0] > 0).astype(jnp.int32)
        >>> result = fit(jax.random.key(1), inputs, labels, jnp.arange(20), 12)  # 12 of 20 rows are labeled
        >>> 1 <= int(result.epochs) <= 3
        True
    """
    train_step = make_train_step(model, optimizer)
    size, share = options.minibatch_size, _Share.of(minibatch_sharding)

    def fit(key: jax.Array, inputs: jax.Array, labels: jax.Array, indices: jax.Array, count: jax.Array) -> Fit:
        return on_auto_axes(train, key, inputs, labels, indices, count)

    def train(
        key: jax.Array, inputs: jax.Array, labels: jax.Array, indices: jax.Array, count: jax.Array
    ) -> Fit:
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
                rows, mask = (jnp.pad(part, (0, -size % share.num_devices)) for part in (rows, mask))
                variables, optimizer_state, metrics = train_step(
                    variables, optimizer_state, *share.spread((inputs[rows], labels[rows], mask))
                )
                return share.repeat(variables), optimizer_state, num_correct + metrics.num_correct

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
    """What one gradient step reports of its minibatch.

    Attributes:
        loss: scalar float32, mean cross-entropy over the rows that count, in nats.
        num_correct: scalar int32, rows that count and were classified correctly.
    """

    loss: jax.Array
    num_correct: jax.Array


def make_train_step(model: Model, optimizer: optax.GradientTransformation) -> Callable[..., tuple]:
    """Makes the function that takes one gradient step on one minibatch.

    Args:
        model: the network.
        optimizer: an Optax gradient transformation.

    Returns:
        ``train_step(variables, optimizer_state, x, labels, mask)``, a pure function that returns
        ``(variables, optimizer_state, StepMetrics)``. Its arguments:

        - variables: the model's pytree.
        - optimizer_state: at the start, ``optimizer.init(variables)``.
        - x: [b, ...], the inputs of the minibatch.
        - labels: [b] int32.
        - mask: [b] bool. Only rows where it is True count in the loss and in the metrics.

        The metrics describe the variables before the step.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import make_optimizer, mlp
        >>> from badge_jax.training import make_train_step
        >>> model, optimizer = mlp(2, hidden=8), make_optimizer(1e-2)
        >>> x = jax.random.normal(jax.random.key(0), (20, 4))
        >>> labels = (x[:, 0] > 0).astype(jnp.int32)
        >>> variables = model.init(jax.random.key(1), x)
        >>> train_step = jax.jit(make_train_step(model, optimizer))
        >>> variables, state, metrics = train_step(
        ...     variables, optimizer.init(variables), x, labels, jnp.ones(20, bool)
        ... )
        >>> 0 <= int(metrics.num_correct) <= 20
        True
    """

    def loss_fn(variables: Variables, x: jax.Array, labels: jax.Array, mask: jax.Array) -> tuple:
        logits, _, updated = model.apply(variables, x, mask=mask, train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        loss = jnp.sum(jnp.where(mask, losses, 0.0)) / jnp.sum(mask)
        num_correct = jnp.sum((jnp.argmax(logits, axis=1) == labels) & mask, dtype=jnp.int32)
        return loss, (updated, StepMetrics(loss, num_correct))

    gradient = _gradient_of(loss_fn)

    def train_step(
        variables: Variables,
        optimizer_state: optax.OptState,
        x: jax.Array,
        labels: jax.Array,
        mask: jax.Array,
    ) -> tuple[Variables, optax.OptState, StepMetrics]:
        gradients, (updated, metrics) = gradient(variables, x, labels, mask)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, variables)
        return optax.apply_updates(updated, updates), optimizer_state, metrics

    return train_step


def _gradient_of(loss_fn: Callable[..., tuple]) -> Callable[..., tuple]:
    """``jax.grad(loss_fn, has_aux=True)`` of a tree of arrays, where tall matrices of few columns are turned.

    The gradient of an output layer [h, c] is the product of features [b, h] and residuals [b, c]. A CPU writes
    it by rows, so it reads the features by columns. With h = 1,024 the entries of a column fall into the same
    few lines of its cache: 0.5 ms for b = 128 and c = 2, where the product as [c, h] takes 0.06 ms. The barrier
    keeps XLA from turning it back. With more columns, turning the product costs more than it saves.
    """

    def turn(leaf: jax.Array, is_tall: bool) -> jax.Array:
        return leaf.T if is_tall else leaf

    def turn_back(leaf: jax.Array, is_tall: bool) -> jax.Array:
        return jax.lax.optimization_barrier(leaf).T if is_tall else leaf

    def gradient(variables: Variables, *batch: jax.Array) -> tuple:
        are_tall = jax.tree.map(_is_tall, variables)

        def loss_of_turned(turned: Variables) -> tuple:
            return loss_fn(jax.tree.map(turn, turned, are_tall), *batch)

        gradients, rest = jax.grad(loss_of_turned, has_aux=True)(jax.tree.map(turn, variables, are_tall))
        return jax.tree.map(turn_back, gradients, are_tall), rest

    return gradient


def _is_tall(leaf: jax.typing.ArrayLike) -> bool:
    shape = jnp.shape(leaf)
    return len(shape) == 2 and shape[0] > 4 * shape[1] and shape[1] <= _FEW_COLUMNS


def _shuffle(key: jax.Array, indices: jax.Array, count: jax.Array) -> jax.Array:
    """The first ``count`` of ``indices`` [capacity] in uniformly random order, then the others.

    The random bits of an element depend only on its position, so the order is the same for every capacity.
    """
    is_labeled = jnp.arange(len(indices)) < count
    bits = jax.random.bits(key, (len(indices),)) >> 1
    return jax.lax.sort((jnp.where(is_labeled, bits, jnp.uint32(2**32 - 1)), indices), num_keys=1)[1]


class _Share(NamedTuple):
    """How devices share the work on a minibatch.

    Attributes:
        num_devices: how many they are.
        rows: where the rows of a minibatch lie; None: JAX decides.
        weights: where the weights lie.
    """

    num_devices: int
    rows: NamedSharding | None
    weights: NamedSharding | None

    @classmethod
    def of(cls, sharding: NamedSharding | None) -> "_Share":
        if sharding is None:
            return cls(1, None, None)
        if not isinstance(sharding, NamedSharding) or len(sharding.spec) != 1 or sharding.spec[0] is None:
            raise ValueError(
                f"minibatch_sharding is {sharding}; wanted NamedSharding(mesh, PartitionSpec(axis)), "
                "with the axis that the rows are spread over"
            )
        mesh = sharding.mesh.update(axis_types=(AxisType.Auto,) * len(sharding.mesh.axis_names))
        rows, weights = NamedSharding(mesh, sharding.spec), NamedSharding(mesh, PartitionSpec())
        return cls(shards_of(sharding).count, rows, weights)

    def spread(self, minibatch: Any) -> Any:
        """A pytree of [b, ...], so that each device has a part of the rows."""
        return minibatch if self.rows is None else jax.lax.with_sharding_constraint(minibatch, self.rows)

    def repeat(self, variables: Any) -> Any:
        """A pytree, so that each device has all of it."""
        return variables if self.weights is None else jax.lax.with_sharding_constraint(variables, self.weights)
