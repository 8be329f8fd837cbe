"""FALCUN: uncertain rows, far from one another in class probabilities."""

from functools import partial

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.samplers.checks import check_number
from badge_jax.samplers.draw import draw_by_noise
from badge_jax.strategies.base import Strategy, stateless
from badge_jax.strategies.scores import log_closeness

_BLOCK = 16  # classes whose distances are added in one step


def falcun(*, gamma: float = 10.0) -> Strategy:
    """FALCUN: draws rows that are uncertain and unlike those drawn before, by class probabilities alone.
    Diverse batches without features.

    With u = 1 − (p₁ − p₂) from the two largest probabilities, d starts as u. Each row is drawn with probability
    ∝ (d̃ + u)^γ from those left, where d̃ = (d − min d) / (max d − min d) over them, or 0 where all d are equal.
    Then d ← min(d, ‖p − p_drawn‖₁). Where every d left is 0, as for copies of drawn rows, the draw is uniform.

    Rows that are not available do not count. A draw passes over n·c probabilities, which are held beside the
    logits.

    Args:
        gamma: γ > 0; a large one takes the best, a small one draws uniformly.

    Raises:
        ValueError: for a γ that is not above 0 and at most 1e30.

    References:
        Gilhuber et al., ECML-PKDD 2024, and their code (``distance_unc_norm``).

    Example:
        >>> from badge_jax.strategies import falcun
        >>> falcun(gamma=1.0).needs
        ('logits',)
    """
    check_number("gamma", gamma, 1e-30, 1e30)

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        return _draw_all(key, pool.logits, pool.available, jnp.float32(gamma), k)

    return stateless("falcun", choose, needs=("logits",))


@partial(jax.jit, static_argnames=("k",))  # so that a query outside jit compiles the loop once
def _draw_all(key: jax.Array, logits: jax.Array, available: jax.Array, gamma: jax.Array, k: int) -> jax.Array:
    logits = logits.astype(jnp.float32)
    probabilities = _by_class(jax.nn.softmax(logits, axis=1))
    doubt = jnp.exp(log_closeness(logits))

    def draw(t: jax.Array, carry: tuple) -> tuple:
        chosen, distance, free = carry
        index = _draw(jax.random.fold_in(key, t), distance, doubt, free, gamma)
        distance = jnp.minimum(distance, _distances_to(probabilities, index))
        return chosen.at[t].set(index), distance, free.at[index].set(False)

    chosen = jnp.full(k, -1, jnp.int32)
    return jax.lax.fori_loop(0, k, draw, (chosen, doubt, available))[0]


def _draw(
    key: jax.Array, distance: jax.Array, doubt: jax.Array, free: jax.Array, gamma: jax.Array
) -> jax.Array:
    """A row drawn with probability ∝ (d̃ + u)^γ: scalar int32, −1 if none is free."""
    least = jnp.min(jnp.where(free, distance, jnp.inf))
    most = jnp.max(jnp.where(free, distance, -jnp.inf))
    spread = jnp.where(most > least, most - least, 1.0)
    weight = (distance - least) / spread + doubt  # d̃, which is not kept, and u
    return draw_by_noise(key, jnp.where(most > 0, gamma * jnp.log(weight), -jnp.inf), free)


def _by_class(probabilities: jax.Array) -> jax.Array:
    """[n, c] as [b, m, n], in b blocks of m classes, padded with 0.

    On a CPU, adding a block's classes one by one takes a hundredth of the time of a sum along an axis.
    """
    n, c = probabilities.shape
    size = min(c, _BLOCK)
    return jnp.pad(probabilities.T, ((0, -c % size), (0, 0))).reshape(-1, size, n)


def _distances_to(probabilities: jax.Array, index: jax.Array) -> jax.Array:
    """‖p − p_index‖₁ for all rows: [n] float32 from [b, m, n].

    The entry of the row's own class is minus the sum of the other differences. As a difference it would lose
    its digits between two confident rows.
    """
    num_blocks, size, n = probabilities.shape
    here = probabilities[:, :, index]
    is_other = (jnp.arange(here.size) != jnp.argmax(here)).reshape(here.shape)

    def add(b: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        total, lengths = sums
        for j in range(size):
            difference = jnp.where(is_other[b, j], probabilities[b, j] - here[b, j], 0.0)
            total, lengths = total + difference, lengths + jnp.abs(difference)
        return total, lengths

    nothing = jnp.zeros(n, jnp.float32)
    total, lengths = jax.lax.fori_loop(0, num_blocks, add, (nothing, nothing))
    return lengths + jnp.abs(total)
