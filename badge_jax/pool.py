"""What a strategy may see of a pool."""

from typing import NamedTuple

import jax


class Head(NamedTuple):
    """A network's output layer: ``logits = features @ kernel + bias``.

    Attributes:
        kernel: [d, c] float32.
        bias: [c] float32.
    """

    kernel: jax.Array
    bias: jax.Array


class Pool(NamedTuple):
    """Outputs of a network for all ``n`` rows, labeled ones too, and which labels are known.

    A field that nobody asked for, or that there is none of, is None. What a strategy reads is in its ``needs``.

    Attributes:
        logits: [n, c] float32.
        features: [n, d] float32, the input of the output layer.
        labels: [n] int32, −1 where not known.
        labeled: [n] bool.
        available: [n] bool, rows that may be queried.
        head: the network's output layer.
        representation: [n, d'] float32, features that stay the same from round to round.
        samples: [t, n, c] float32, logits of t stochastic passes.
    """

    logits: jax.Array
    features: jax.Array
    labels: jax.Array
    labeled: jax.Array
    available: jax.Array
    head: Head | None = None
    representation: jax.Array | None = None
    samples: jax.Array | None = None
