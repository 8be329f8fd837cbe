"""The active learner: fit, then query, then label, round after round, as pure functions of arrays."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from badge_jax.models import Model, Variables
from badge_jax.strategies import Pool, Strategy
from badge_jax.strategies.base import State
from badge_jax.training import Fit, FitOptions, make_fit, make_predict


class LearnerState(NamedTuple):
    """What a learner carries from one round to the next.

    round:       scalar int32, queries made so far
    indices:     [capacity] int32, labeled rows in the order they were labeled; 0 after the first num_labeled
    num_labeled: scalar int32
    strategy:    the strategy's own state
    """

    round: jax.Array
    indices: jax.Array
    num_labeled: jax.Array
    strategy: State


class ActiveLearner(NamedTuple):
    """Algorithm 1 of Ash et al., ICLR 2020, for any strategy, as three pure functions to jit, scan or vmap.

    init:  (initial [m] int32, num_pool, num_rounds) -> LearnerState, with room for every round's batch
    fit:   (key, state, inputs [n, ...], labels [n] int32) -> Fit, from fresh weights
    query: (key, state, variables, inputs, labels) -> (indices [k] int32, LearnerState); the batch is labeled in
           the state returned. The strategy sees −1 for every label that is not in the labeled set.

    ``key`` is the run's one key: each round folds its own number in, so a run can be resumed from a state.
    """

    init: Callable[[jax.Array, int, int], LearnerState]
    fit: Callable[[jax.Array, LearnerState, jax.Array, jax.Array], Fit]
    query: Callable[..., tuple[jax.Array, LearnerState]]


def make_active_learner(
    model: Model,
    optimizer: optax.GradientTransformation,
    strategy: Strategy,
    batch_size: int,
    options: FitOptions = FitOptions(),
) -> ActiveLearner:
    """The learner that labels ``batch_size`` more rows each round, by ``strategy``."""
    fit_labeled = make_fit(model, optimizer, options)
    predict = make_predict(model)

    def init(initial: jax.Array, num_pool: int, num_rounds: int) -> LearnerState:
        num_initial = initial.shape[0]
        if num_initial + num_rounds * batch_size > num_pool:
            raise ValueError(
                f"{num_initial} initial labels and {num_rounds} rounds of {batch_size} ask for "
                f"{num_initial + num_rounds * batch_size} labels; the pool has {num_pool}"
            )
        indices = jnp.pad(initial.astype(jnp.int32), (0, num_rounds * batch_size))
        strategy_state = strategy.init(num_pool, num_rounds)
        return LearnerState(jnp.int32(0), indices, jnp.int32(num_initial), strategy_state)

    def fit(key: jax.Array, state: LearnerState, inputs: jax.Array, labels: jax.Array) -> Fit:
        return fit_labeled(_round_keys(key, state).fit, inputs, labels, state.indices, state.num_labeled)

    def query(
        key: jax.Array, state: LearnerState, variables: Variables, inputs: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, LearnerState]:
        outputs = predict(variables, inputs)
        labeled = _labeled_mask(state, inputs.shape[0])
        pool = Pool(outputs.logits, outputs.features, jnp.where(labeled, labels, -1), labeled, ~labeled)
        batch, strategy_state = strategy.query(_round_keys(key, state).query, state.strategy, pool, batch_size)
        return batch, LearnerState(
            state.round + 1,
            jax.lax.dynamic_update_slice(state.indices, batch, (state.num_labeled,)),
            state.num_labeled + batch_size,
            strategy_state,
        )

    return ActiveLearner(init, fit, query)


class _RoundKeys(NamedTuple):
    fit: jax.Array
    query: jax.Array


def _round_keys(key: jax.Array, state: LearnerState) -> _RoundKeys:
    """A round's keys. The one for the fit does not depend on the strategy: rivals start from equal weights."""
    return _RoundKeys(*jax.random.split(jax.random.fold_in(key, state.round)))


def _labeled_mask(state: LearnerState, num_pool: int) -> jax.Array:
    is_filled = jnp.arange(len(state.indices)) < state.num_labeled
    # entries past the count point outside the pool, where the scatter drops them
    return jnp.zeros(num_pool, bool).at[jnp.where(is_filled, state.indices, num_pool)].set(True, mode="drop")
