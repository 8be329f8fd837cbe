"""ALBL, active learning by learning: a bandit chooses between two strategies by how right the model was."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.rows import mark_rows
from badge_jax.samplers.checks import check_count
from badge_jax.strategies._confidence import confidence
from badge_jax.strategies._coreset import coreset
from badge_jax.strategies.base import Strategy, check_needs, check_on_one_device

VARIANTS = ("reference", "exp4p")
_DELTA = 0.1  # the probability with which EXP4.P's bound on the regret may fail


class AlblState(NamedTuple):
    """What the bandit remembers; arms are (coreset, confidence).

    Attributes:
        log_weights: [2] float32, ln w, with Σ w = 1.
        probabilities: [2] float32, p, with which the last arm was drawn.
        credit: [2] float32, each arm's part in the last batch.
        importance: [n] float32, what being right about a row counts in the reward.
        arm: scalar int32, the last arm drawn; −1 before the first query.
        reward: scalar float32, r as of the last query; 0 until the second.
        horizon: scalar int32, T, queries that the bandit was started for.
    """

    log_weights: jax.Array
    probabilities: jax.Array
    credit: jax.Array
    importance: jax.Array
    arm: jax.Array
    reward: jax.Array
    horizon: jax.Array


def albl(*, variant: str = "reference") -> Strategy:
    """ALBL: a bandit over CORESET and CONF. Each batch comes whole from one of the two arms, drawn with
    p = (1 − K p_min) w/Σw + p_min.

    From the second query on, w learns from how often the new model is right about the rows labeled:
    w_a ← w_a exp(p_min/2 (r credit_a + bonus_a)), with K = 2 arms and δ = 0.1.

    "reference" (the authors' code): p_min = 1/(10 K). r is the mean over all labeled rows of 1[ŷ = y], divided
    by the p of the arm that queried the row (1 for an initial row). Only the last arm changes: credit 1, bonus
    √(ln(K/δ)/K)/p.

    "exp4p" (Hsu and Lin, in batches): p_min = min(√(ln K/(K T)), 1/K) for T queries. A row j has ψ_aj = 1/k in
    arm a's batch of k, else 0, and q_j = Σ_a p_a ψ_aj. r = Σ 1[ŷ_j = y_j]/q_j / (n T) over the rows queried so
    far, n those of the pool. Every arm changes: credit the mean of ψ_aj/q_j over the last batch, bonus
    √(ln(K/δ)/(K T))/p_a. T is the number of rounds that ``init`` was called with. It is part of the state: a
    run that is given more rounds later keeps it.

    Args:
        variant: "reference" or "exp4p".

    Raises:
        ValueError: for another variant.

    References:
        Hsu and Lin, AAAI 2015; Ash et al., ICLR 2020, section 4, and their code.

    Example:
        >>> from badge_jax.strategies import albl
        >>> int(albl(variant="exp4p").init(n=50, num_rounds=8).horizon)
        8
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}; wanted one of {', '.join(VARIANTS)}")
    is_reference = variant == "reference"

    def init(n: int, num_rounds: int) -> AlblState:
        equal = jnp.full(_NUM_ARMS, 1 / _NUM_ARMS, jnp.float32)
        importance = jnp.full(n, 1.0 if is_reference else 0.0, jnp.float32)  # that of the initial rows
        horizon = jnp.int32(max(num_rounds, 1))
        return AlblState(jnp.log(equal), equal, 0 * equal, importance, jnp.int32(-1), jnp.float32(0), horizon)

    def query(key: jax.Array, state: AlblState, pool: Pool, k: int) -> tuple[jax.Array, AlblState]:
        n = pool.available.shape[0]
        check_count(k, n)
        check_needs("albl", _NEEDS, pool)
        check_on_one_device("albl", pool)
        arm_key, batch_key = jax.random.split(key)
        rounds = jnp.where(is_reference, 1, state.horizon)
        least = jnp.sqrt(math.log(_NUM_ARMS) / (_NUM_ARMS * rounds))
        least = jnp.where(is_reference, 1 / (10 * _NUM_ARMS), jnp.minimum(least, 1 / _NUM_ARMS))
        num_counted = jnp.where(is_reference, jnp.sum(pool.labeled), n * rounds)

        is_right = pool.labeled & (jnp.argmax(pool.logits, axis=1) == pool.labels)
        reward = jnp.sum(jnp.where(is_right, state.importance, 0.0)) / num_counted
        bonus = jnp.sqrt(math.log(_NUM_ARMS / _DELTA) / (_NUM_ARMS * rounds)) / state.probabilities
        if is_reference:
            bonus = bonus * state.credit  # of the last arm alone
        has_queried = state.arm >= 0
        gain = jnp.where(has_queried, least / 2 * (reward * state.credit + bonus), 0.0)
        log_weights = jax.nn.log_softmax(state.log_weights + gain)
        probabilities = (1 - _NUM_ARMS * least) * jnp.exp(log_weights) + least

        arm = jax.random.choice(arm_key, _NUM_ARMS, p=probabilities).astype(jnp.int32)
        batch, credit, importance = (_one_batch if is_reference else _both_batches)(
            batch_key, arm, probabilities, pool, k
        )
        state = AlblState(
            log_weights,
            probabilities,
            credit,
            state.importance.at[jnp.where(batch >= 0, batch, n)].set(importance, mode="drop"),
            arm,
            jnp.where(has_queried, reward, 0.0),
            state.horizon,
        )
        return batch, state

    return Strategy(init, query, _NEEDS)


_ARMS = (coreset(), confidence())
_NUM_ARMS = len(_ARMS)
_NEEDS = ("logits", "features", "labels")


def _one_batch(
    key: jax.Array, arm: jax.Array, probabilities: jax.Array, pool: Pool, k: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The arm's batch [k], credit [2] to that arm alone, and importance [k] 1/p of it."""
    batch = jax.lax.switch(arm, [lambda arm=arm: arm.query(key, (), pool, k)[0] for arm in _ARMS])
    return batch, jax.nn.one_hot(arm, _NUM_ARMS), jnp.broadcast_to(1 / probabilities[arm], (k,))


def _both_batches(
    key: jax.Array, arm: jax.Array, probabilities: jax.Array, pool: Pool, k: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The arm's batch [k], credit [2] to every arm that would have queried its rows, and importance [k] 1/q."""
    n = pool.available.shape[0]
    batches = jnp.stack([arm.query(key, (), pool, k)[0] for arm in _ARMS])
    batch = batches[arm]
    is_query = batch >= 0
    is_wanted = jax.vmap(lambda indices: mark_rows(n, indices))(batches)
    wanted = is_wanted[:, batch] / k  # ψ
    drawn = jnp.where(is_query, probabilities @ wanted, 1.0)  # q
    credit = jnp.mean(wanted / drawn[None, :], axis=1, where=is_query[None, :])
    return batch, credit, 1 / drawn
