"""What a strategy is: two pure functions over the model's outputs on the pool, and what it says of itself."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from badge_jax.pool import Pool
from badge_jax.rows import Rows
from badge_jax.samplers import Sampler
from badge_jax.samplers.checks import check_count
from badge_jax.shards import ALONE, Shards, on_auto_axes, on_each_device, sharding_of_rows, shards_of

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

    _check_known(name, needs)

    def query(key: jax.Array, state: State, pool: Pool, k: int) -> tuple[jax.Array, State]:
        check_count(k, pool.available.shape[0])
        check_needs(name, needs, pool)
        sharding = _sharding_of(pool)
        choose = _chosen if sharding is None else _jitted_chosen
        return choose(plan, key, pool, k, sharding), state

    return Strategy(_no_state, query, tuple(needs), plan=plan)


def on_devices(strategy: Strategy, sharding: NamedSharding) -> Strategy:
    """The strategy for a pool that lies on several devices, where the types of its arrays do not say so.

    They do not inside ``jit``, unless the axes of the mesh are `jax.sharding.AxisType.Explicit`. Elsewhere
    every planned strategy sees by itself how a pool lies.

    Args:
        strategy: one that has a plan, or that needs nothing but the pool's masks, as random.
        sharding: how the rows of the pool lie on devices.

    Raises:
        ValueError: if the strategy has neither, or a plan whose sampler works on one device only.

    Example:
        >>> import jax
        >>> from jax.sharding import NamedSharding, PartitionSpec
        >>> from badge_jax import STRATEGIES
        >>> from badge_jax.strategies import on_devices
        >>> sharding = NamedSharding(jax.make_mesh((1,), ("pool",)), PartitionSpec("pool"))
        >>> on_devices(STRATEGIES["badge"](), sharding).needs
        ('logits', 'features')
    """
    plan, rows = strategy.plan, sharding_of_rows(sharding)
    if rows is None:
        return strategy
    if plan is None:
        if strategy.needs:
            raise ValueError(_no_plan("this strategy", rows))
        return strategy  # its masks lie as they may
    _check_sampler(plan)

    def query(key: jax.Array, state: State, pool: Pool, k: int) -> tuple[jax.Array, State]:
        check_count(k, pool.available.shape[0])
        check_needs("the strategy", strategy.needs, pool)
        return _jitted_chosen(plan, key, pool, k, rows), state

    return strategy._replace(query=query)


def check_on_one_device(name: str, pool: Pool) -> None:
    """Raises ValueError if a pool is known to lie on several devices, for a strategy that has no plan."""
    sharding = _sharding_of(pool)
    if sharding is not None and shards_of(sharding).count > 1:
        raise ValueError(_no_plan(name, sharding))


def _no_plan(name: str, sharding: NamedSharding) -> str:
    return (
        f"{name} has no plan for a pool that lies on {shards_of(sharding).count} devices; wanted the pool "
        "on one, or a strategy that scores or embeds every row by itself, such as badge, coreset or margin"
    )


_BY_ROW = ("logits", "features", "labels", "labeled", "available", "representation")


def _sharding_of(pool: Pool) -> NamedSharding | None:
    return sharding_of_rows(*(getattr(pool, name) for name in _BY_ROW))


def _chosen(plan: Plan, key: jax.Array, pool: Pool, k: int, sharding: NamedSharding | None) -> jax.Array:
    """The picks of a plan. Of a pool on several devices, each scores or embeds its own rows."""
    no_parts: dict[str, Any] = dict.fromkeys((*_BY_ROW, "samples"))
    whole, parts = pool._replace(**no_parts), _by_row(pool)

    if isinstance(plan, Ranked):

        def choose(shards: Shards, whole: Pool, parts: dict[str, Any]) -> jax.Array:
            part = _joined(whole, parts)
            return highest(scores_of(plan, part), part.available, k, shards)

        return on_each_device(sharding, choose, whole, parts)

    def embed(shards: Shards, whole: Pool, parts: dict[str, Any]) -> Rows:
        return plan.embed(_joined(whole, parts))

    options = {} if sharding is None else {"sharding": sharding}
    if sharding is not None:
        _check_sampler(plan)
    rows = on_each_device(sharding, embed, whole, parts, is_sharded=True)
    centers = pool.labeled if plan.centers == "labeled" else None
    return plan.sampler.sample(key, rows, k, available=pool.available, centers=centers, **options)


def _check_sampler(plan: Plan) -> None:
    """Raises ValueError for a sampler that cannot be told how the rows lie on several devices."""
    if isinstance(plan, Spread) and "sharding" not in inspect.signature(plan.sampler.sample).parameters:
        raise ValueError(
            f"{type(plan.sampler).__name__} chooses on one device; wanted a sampler whose sample takes sharding"
        )


def _by_row(pool: Pool) -> dict[str, Any]:
    """What a pool says of its rows, each array with the rows along its first axis."""
    samples = None if pool.samples is None else jnp.swapaxes(pool.samples, 0, 1)
    return {**{name: getattr(pool, name) for name in _BY_ROW}, "samples": samples}


def _joined(whole: Pool, parts: dict[str, Any]) -> Pool:
    """The part of a pool that `_by_row` says, with what is the pool's own."""
    samples = parts["samples"]
    return whole._replace(**{**parts, "samples": None if samples is None else jnp.swapaxes(samples, 0, 1)})


_jitted_chosen = jax.jit(_chosen, static_argnums=(0, 3, 4))


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
    _check_known(name, needs)

    @cache  # one function for a size, so that it is compiled once
    def of_size(k: int) -> Callable[[jax.Array, Pool], jax.Array]:
        return lambda key, masks: choose(key, masks, k)

    def query(key: jax.Array, state: State, pool: Pool, k: int) -> tuple[jax.Array, State]:
        check_count(k, pool.available.shape[0])
        check_needs(name, needs, pool)
        if not needs:  # every device has the whole masks, and draws the whole batch
            masks = Pool(None, None, pool.labels, pool.labeled, pool.available)  # type: ignore[arg-type]
            return on_auto_axes(of_size(k), key, masks), state
        check_on_one_device(name, pool)
        return choose(key, pool, k), state

    return Strategy(_no_state, query, tuple(needs), is_prefix_consistent)


def _no_state(n: int, num_rounds: int) -> State:
    return ()


def _check_known(name: str, needs: tuple[str, ...]) -> None:
    for need in needs:
        if need not in NEEDS:
            raise ValueError(f"{name} needs {need!r}; wanted some of {', '.join(NEEDS)}")


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


def highest(scores: jax.Array, available: jax.Array, k: int, shards: Shards = ALONE) -> jax.Array:
    """The available rows of highest ``scores`` [n], ties to the lower index: [k] int32, −1 for the surplus.

    With ``shards``, both arrays are parts. −∞ counts as the least finite number, above every row that is not
    available. So does NaN, which a sort would put first or last, depending on the platform.
    """
    lowest = jnp.finfo(jnp.float32).min
    scores = jnp.where(scores > lowest, scores, lowest)
    order = shards.top(jnp.where(available, scores, -jnp.inf), k)
    return jnp.where(shards.take(available, order), order, -1).astype(jnp.int32)
