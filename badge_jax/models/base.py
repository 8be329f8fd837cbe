"""`Model`, the interface of a network: two pure functions and, optionally, its output layer."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.pool import Head

Variables = Any
"""What a network has learned: a pytree of float arrays."""


class Apply(Protocol):
    """The type of `Model.apply`."""

    def __call__(
        self, variables: Variables, x: jax.Array, *, mask: jax.Array | None, train: bool
    ) -> tuple[jax.Array, jax.Array, Variables]:
        """Computes the outputs of the network for one batch.

        Args:
            variables: the model's pytree.
            x: [b, ...], the inputs.
            mask: [b] bool, False for rows that are padding: they must not influence the others. None: no
                padding.
            train: whether to train or to evaluate; it matters to BatchNorm, for instance.

        Returns:
            Logits [b, c], features [b, d] (the input of the output layer), and the variables; in training these
            may be updated, as BatchNorm's running averages are.
        """
        ...


class Model(NamedTuple):
    """A network from any library, as two pure functions.

    The loss does not depend on some variables in training, for instance BatchNorm's running averages. Their
    gradient is 0, and training takes them as ``apply`` returns them. Use an optimizer that does not change
    variables whose gradient is always 0; weight decay would.

    Attributes:
        init: ``(key, x [b, ...]) -> variables``, newly drawn; any pytree of float arrays.
        apply: ``(variables, x [b, ...], *, mask [b] bool or None, train) -> (logits [b, c], features [b, d],
            variables)``. Rows where ``mask`` is False are padding and must not influence the others.
            ``features`` are the input of the output layer.
        head: ``variables -> Head``, the output layer, for strategies that read it. None if the output layer is
            not linear, or if no strategy reads it.

    Example:
        A network in plain JAX, with one linear layer:

        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import Model
        >>> def init(key, x):
        ...     return 0.01 * jax.random.normal(key, (x.shape[1], 3))
        >>> def apply(kernel, x, *, mask, train):
        ...     return x @ kernel, x, kernel
        >>> model, x = Model(init, apply), jnp.ones((5, 4))
        >>> logits, features, _ = model.apply(model.init(jax.random.key(0), x), x, mask=None, train=False)
        >>> logits.shape, features.shape
        ((5, 3), (5, 4))
    """

    init: Callable[[jax.Array, jax.Array], Variables]
    apply: Apply
    head: Callable[[Variables], Head] | None = None


def linen_model(module: nn.Module, *, output: str | None = None) -> Model:
    """A `Model` made from a Flax linen module.

    Args:
        module: its ``__call__(x, *, mask, train)`` returns ``(logits, features)``, as in `Model.apply`.
        output: name of the submodule that is the output layer, a `flax.linen.Dense`, for the model's ``head``.
            None: the model has no ``head``.

    Returns:
        The `Model`. Its variables are the module's collections; training updates all but "params".

    Example:
        >>> import flax.linen as nn
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import linen_model
        >>> class Network(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x, *, mask, train):
        ...         features = nn.relu(nn.Dense(8)(x))
        ...         return nn.Dense(3)(features), features
        >>> model, x = linen_model(Network()), jnp.ones((5, 4))
        >>> variables = model.init(jax.random.key(0), x)
        >>> logits, features, _ = model.apply(variables, x, mask=None, train=False)
        >>> logits.shape, features.shape
        ((5, 3), (5, 8))
    """

    def init(key: jax.Array, x: jax.Array) -> Variables:
        return module.init(key, x, mask=None, train=False)

    def apply(
        variables: Variables, x: jax.Array, *, mask: jax.Array | None, train: bool
    ) -> tuple[jax.Array, jax.Array, Variables]:
        mutable = [name for name in variables if name != "params"] if train else []
        if not mutable:
            outputs: Any = module.apply(variables, x, mask=mask, train=train)
            return *outputs, variables
        (logits, features), updated = module.apply(variables, x, mask=mask, train=train, mutable=mutable)
        return logits, features, {**variables, **updated}

    def head(variables: Variables) -> Head:
        layer = variables["params"][output]
        kernel = layer["kernel"]
        return Head(kernel, layer.get("bias", jnp.zeros(kernel.shape[1], kernel.dtype)))

    return Model(init, apply, None if output is None else head)


def standardized(model: Model, mean: Sequence[float], sd: Sequence[float]) -> Model:
    """``model`` for images as they are stored: its input is ``(x/255 − mean)/sd``, channel by channel.

    A pool can then stay uint8 on the device: only one batch at a time is float32.

    Args:
        model: the network, for images [b, h, w, channels] float32.
        mean: one number for each channel, of images scaled to [0, 1].
        sd: one standard deviation for each channel, of images scaled to [0, 1].

    Returns:
        A `Model` for images [b, h, w, channels] uint8.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import mlp, standardized
        >>> model = standardized(mlp(10, hidden=8), mean=[0.1307], sd=[0.3081])
        >>> x = jnp.zeros((5, 28, 28, 1), jnp.uint8)
        >>> variables = model.init(jax.random.key(0), x)
        >>> logits, features, _ = model.apply(variables, x, mask=None, train=False)
        >>> logits.shape, features.shape
        ((5, 10), (5, 8))
    """
    scale = 1 / (255 * np.asarray(sd, np.float32))
    shift = np.asarray(mean, np.float32) / np.asarray(sd, np.float32)

    def seen(x: jax.Array) -> jax.Array:
        return x.astype(jnp.float32) * scale[None, None, None, :] - shift[None, None, None, :]

    def init(key: jax.Array, x: jax.Array) -> Variables:
        return model.init(key, seen(x))

    def apply(
        variables: Variables, x: jax.Array, *, mask: jax.Array | None, train: bool
    ) -> tuple[jax.Array, jax.Array, Variables]:
        return model.apply(variables, seen(x), mask=mask, train=train)

    return Model(init, apply, model.head)
