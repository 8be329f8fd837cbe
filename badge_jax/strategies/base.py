"""What a strategy is: two pure functions over the model's outputs on the pool."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from badge_jax.samplers.checks import check_count

State = Any  # a pytree of arrays; () for a strategy that remembers nothing


class Pool(NamedTuple):
    """What a strategy may see: outputs for all ``n`` rows, labeled ones too, and which labels are known.

    logits:    [n, c] float32
    features:  [n, d] float32, the penultimate layer's output
    labels:    [n] int32, −1 where not known
    labeled:   [n] bool
    available: [n] bool, rows that may be queried
    """

    logits: jax.Array
    features: jax.Array
    labels: jax.Array
    labeled: jax.Array
    available: jax.Array


class Strategy(NamedTuple):
    """How to pick the next batch.

    init:  (n, num_rounds) -> state
    query: (key, state, pool, k) -> (indices [k] int32, state); distinct available rows in order of preference,
           the first j equal to the answer for ``k = j`` (but for a k-DPP, which is a law of unordered sets),
           −1 for the surplus when fewer than k are available.
           ``k`` is a Python int.
    """

    init: Callable[[int, int], State]
    query: Callable[[jax.Array, State, Pool, int], tuple[jax.Array, State]]


def stateless(choose: Callable[[jax.Array, Pool, int], jax.Array]) -> Strategy:
    """The strategy that answers ``choose(key, pool, k)`` and remembers nothing."""

    def init(n: int, num_rounds: int) -> State:
        return ()

    def query(key: jax.Array, state: State, pool: Pool, k: int) -> tuple[jax.Array, State]:
        check_count(k, pool.available.shape[0])
        return choose(key, pool, k), state

    return Strategy(init, query)
