"""What a network is to this package: two pure functions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Variables = Any  # a pytree of float arrays


class Apply(Protocol):
    def __call__(
        self, variables: Variables, x: jax.Array, *, mask: jax.Array | None, train: bool
    ) -> tuple[jax.Array, jax.Array, Variables]: ...


class Model(NamedTuple):
    """A network, whatever library it is written in.

    init:  (key, x [b, ...]) -> variables, freshly drawn. Any pytree of float arrays. Leaves that the loss does
           not depend on in training (BatchNorm's running averages) get no gradient, and are carried as
           ``apply`` returns them (by an optimizer that leaves alone what has none: weight decay would not).
    apply: (variables, x [b, ...], *, mask [b] bool or None, train) -> (logits [b, c], features [b, d],
           variables). Rows where ``mask`` is False are padding and must not influence the others. ``features``
           are the input of the output layer.
    """

    init: Callable[[jax.Array, jax.Array], Variables]
    apply: Apply


def linen_model(module: nn.Module) -> Model:
    """A `Model` from a Flax linen module whose ``__call__(x, *, mask, train)`` returns (logits, features)."""

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

    return Model(init, apply)


def standardized(model: Model, mean: Sequence[float], sd: Sequence[float]) -> Model:
    """``model`` on images as they are stored, x [b, h, w, channels] uint8, which it sees as (x/255 − mean)/sd.

    mean, sd: one number a channel. A pool can so stay uint8 on the device: only a minibatch is ever float32.
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

    return Model(init, apply)
