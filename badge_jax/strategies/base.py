"""What a strategy is: two pure functions over the model's outputs on the pool, and what it says of itself."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.rows import Rows
from badge_jax.samplers import Sampler
from badge_jax.samplers.checks import check_count

State = Any  # a pytree of arrays; () for a strategy that remembers nothing

NEEDS = ("logits", "features", "labels", "head", "representation", "samples")
"""The fields of `Pool` that a strategy may read besides the masks ``labeled`` and ``available``."""


class Init(Protocol):
    """Makes the state that a strategy starts with."""

    def __call__(self, n: int, num_rounds: int) -> State:
        """Returns a pytree of arrays, ``()`` for a strategy that remembers nothing.

        Args:
            n: rows of the pool.
            num_rounds: queries that will be made.
        """
        ...


class Query(Protocol):
    """Chooses the next batch."""

    def __call__(self, key: jax.Array, state: State, pool: Pool, k: int) -> tuple[jax.Array, State]:
        """Returns the batch and the next state. A pure function, to be jitted with ``k`` static.

        Args:
            key: typed PRNG key.
            state: what ``init`` or the last query returned.
            pool: `Pool` of n rows.
            k: how many rows, a Python int.

        Returns:
            indices: [k] int32, distinct available rows in order of preference; −1 for the surplus where fewer
                than k are available.
            state: for the next query.
        """
        ...


class Ranked(NamedTuple):
    """The plan "score every row by itself, take the highest"; ties go to the lower index.

    Attributes:
        score: `Pool` -> [n] float, higher is chosen first. It must score a row from that row alone, so that it
            may be given any part of the pool. A function at the top of a module is compiled once for all calls.
    """

    score: Callable[[Pool], jax.Array]


class Spread(NamedTuple):
    """The plan "embed every row, let a sampler choose".

    Attributes:
        embed: `Pool` -> `Rows` [n], from each row alone, as ``score`` of `Ranked`.
        sampler: `KMeansPlusPlus`, `KCenterGreedy` or another `Sampler`.
        centers: "labeled" where the sampler starts from all labeled rows, None where from no row.
    """

    embed: Callable[[Pool], Rows]
    sampler: Sampler
    centers: str | None = None


Plan = Ranked | Spread


class Strategy(NamedTuple):
    """How to pick the next batch, and what else a caller can know of it.

    Attributes:
        init: see `Init`.
        query: see `Query`.
        needs: fields of `Pool` that ``query`` reads, of `NEEDS`. Others may be None.
        is_prefix_consistent: whether the first j picks equal the picks for ``k = j``.
        plan: `Ranked` or `Spread` where the strategy is no more than that, else None. Pools on disk are
            queried by the plan.

    Example:
        >>> from badge_jax import STRATEGIES
        >>> STRATEGIES["coreset"]().needs
        ('features',)
    """

    init: Init
    query: Query
    needs: tuple[str, ...] = ("logits", "features")
    is_prefix_consistent: bool = True
    plan: Plan | None = None


def planned(name: str, plan: Plan, *, needs: tuple[str, ...]) -> Strategy:
    """The strategy that a plan describes.

    Programs are compiled once for equal plans. So a plan with options is best made of values that compare
    equal: functions at the top of a module, or a frozen dataclass with ``__call__``.

    Args:
        name: for messages.
        plan: `Ranked` or `Spread`.
        needs: fields of `Pool` that the plan's function reads, of `NEEDS`.

    Returns:
        A `Strategy` that remembers nothing and is prefix-consistent.

    Raises:
        ValueError: for a need or centers that do not exist.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import Pool
        >>> from badge_jax.strategies import Ranked, planned
        >>> plan = Ranked(lambda pool: jnp.sum(pool.features**2, axis=1))
        >>> longest = planned("longest", plan, needs=("features",))
        >>> features, labeled = jnp.array([[1.0], [3.0], [2.0]]), jnp.zeros(3, bool)
        >>> pool = Pool(None, features, jnp.full(3, -1), labeled, available=~labeled)
        >>> longest.query(jax.random.key(0), (), pool, 2)[0].tolist()
        [1, 2]
    """
    if isinstance(plan, Spread) and plan.centers not in (None, "labeled"):
        raise ValueError(f"centers is {plan.centers!r}; wanted None or 'labeled'")

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        if isinstance(plan, Ranked):
            return highest(scores_of(plan, pool), pool.available, k)
        centers = pool.labeled if plan.centers == "labeled" else None
        return plan.sampler.sample(key, plan.embed(pool), k, available=pool.available, centers=centers)

    return stateless(name, choose, needs=needs)._replace(plan=plan)


def stateless(
    name: str,
    choose: Callable[[jax.Array, Pool, int], jax.Array],
    *,
    needs: tuple[str, ...],
    is_prefix_consistent: bool = True,
) -> Strategy:
    """The strategy that answers ``choose(key, pool, k)`` and remembers nothing.

    Args:
        name: for messages.
        choose: (key, `Pool`, k) -> [k] int32, as `Query` returns them.
        needs: fields of `Pool` that ``choose`` reads, of `NEEDS`.
        is_prefix_consistent: whether the first j picks equal the picks for ``k = j``.

    Raises:
        ValueError: for a need that does not exist.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax.strategies import stateless
        >>> first = stateless("first", lambda key, pool, k: jnp.nonzero(pool.available, size=k)[0], needs=())
        >>> first.needs, first.plan
        ((), None)
    """
    for need in needs:
        if need not in NEEDS:
            raise ValueError(f"{name} needs {need!r}; wanted some of {', '.join(NEEDS)}")

    def init(n: int, num_rounds: int) -> State:
        return ()

    def query(key: jax.Array, state: State, pool: Pool, k: int) -> tuple[jax.Array, State]:
        check_count(k, pool.available.shape[0])
        check_needs(name, needs, pool)
        return choose(key, pool, k), state

    return Strategy(init, query, tuple(needs), is_prefix_consistent)


def check_needs(name: str, needs: tuple[str, ...], pool: Pool) -> None:
    """Checks, at trace time, that a pool has what a strategy reads.

    Args:
        name: of the strategy, for the message.
        needs: fields of `Pool`.
        pool: what the strategy is given.

    Raises:
        ValueError: if one of the fields is None.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import Pool
        >>> from badge_jax.strategies import check_needs
        >>> mask = jnp.ones(3, bool)
        >>> check_needs("mine", ("features",), Pool(None, jnp.ones((3, 2)), None, ~mask, mask))
    """
    for need in needs:
        if getattr(pool, need) is None:
            raise ValueError(f"{name} needs pool.{need}, which is None")


def scores_of(plan: Ranked, pool: Pool) -> jax.Array:
    """The plan's scores: [n] float32."""
    scores = plan.score(pool)
    n = pool.available.shape[0]
    if scores.shape != (n,):
        raise ValueError(f"the score has shape {scores.shape}; wanted ({n},), one for each row")
    return scores.astype(jnp.float32)


def highest(scores: jax.Array, available: jax.Array, k: int) -> jax.Array:
    """The available rows of highest ``scores`` [n], ties to the lower index: [k] int32, −1 for the surplus.

    −∞ counts as the least finite number, above every row that is not available. So does NaN, which a sort would
    put first or last, depending on the platform.
    """
    lowest = jnp.finfo(jnp.float32).min
    scores = jnp.where(scores > lowest, scores, lowest)
    order = jax.lax.top_k(jnp.where(available, scores, -jnp.inf), k)[1]
    return jnp.where(available[order], order, -1).astype(jnp.int32)
