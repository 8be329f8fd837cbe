"""The active learner: fit, ask for labels, tell them, round after round, as pure functions of arrays."""

import operator
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding

from badge_jax.models import Model, Variables
from badge_jax.pool import Pool
from badge_jax.rows import mark_rows
from badge_jax.shards import on_auto_axes
from badge_jax.strategies import Strategy, on_devices
from badge_jax.strategies.base import NEEDS, State
from badge_jax.training import Fit, FitOptions, make_fit, make_predict


class LearnerState(NamedTuple):
    """What a learner carries from one round to the next. The labels that it holds are those it was told.

    Attributes:
        round: scalar int32, batches asked for so far.
        indices: [max_labels] int32, labeled rows in the order they were told; meaningless from num_labeled on.
        num_labeled: scalar int32.
        labels: [n] int32, −1 where not known.
        excluded: [n] bool, rows that were told to have no label. They are not offered again.
        strategy: the strategy's own state.
    """

    round: jax.Array
    indices: jax.Array
    num_labeled: jax.Array
    labels: jax.Array
    excluded: jax.Array
    strategy: State


class InitLearner(Protocol):
    def __call__(self, num_pool: int, num_rounds: int, max_labels: int) -> LearnerState:
        """A state with nothing labeled yet.

        Args:
            num_pool: n, rows of the pool.
            num_rounds: batches that will be asked for, as far as is known; for strategies whose law depends on
                it.
            max_labels: room for so many labeled rows.

        Raises:
            ValueError: if there is room for more labels than the pool has rows.
        """
        ...


class FitLearner(Protocol):
    def __call__(self, key: jax.Array, state: LearnerState, inputs: jax.Array) -> Fit:
        """Trains from fresh weights on the labeled rows of ``inputs`` [n, ...]; at least one must be
        labeled."""
        ...


class Ask(Protocol):
    def __call__(
        self,
        key: jax.Array,
        state: LearnerState,
        variables: Variables,
        inputs: jax.Array,
        representation: jax.Array | None = None,
    ) -> tuple[jax.Array, LearnerState]:
        """Proposes the next rows to label. Nothing is labeled yet.

        Args:
            key: the run's key.
            state: the learner's.
            variables: of the network, as the last fit returned them.
            inputs: [n, ...].
            representation: [n, d'] float, features that stay the same from round to round. Only strategies that
                need ``pool.representation`` read it.

        Returns:
            rows: [k] int32, neither labeled nor excluded, in order of preference; −1 for the surplus where
                fewer than k are left. All are −1 where the network has diverged: an output that the strategy
                reads is not finite, of a row that is not excluded. The same holds for the representation.
            state: of the next round.

        Raises:
            ValueError: if the strategy needs a representation and there is none, or one of another shape.
        """
        ...


class Tell(Protocol):
    def __call__(self, state: LearnerState, rows: jax.Array, labels: jax.Array) -> LearnerState:
        """Takes answers: all of what was asked or a part of it, in any order, also rows that were never asked.

        A row that has a label already gets the new one (a correction). The label −1 says that the row cannot be
        labeled: it loses the label that it has, and is not offered again. A row −1 stands for no row and is
        skipped. Of a row told twice in one call the last answer counts.

        Args:
            state: the learner's.
            rows: [m] int32, rows of the pool.
            labels: [m] int32, their labels.

        Raises:
            ValueError: for shapes that do not fit, and, outside ``jit``, for rows beyond the pool and for more
                labels than there is room for. Inside ``jit`` rows beyond the pool are skipped, and so are new
                rows beyond the room.
        """
        ...


class QueryLearner(Protocol):
    def __call__(
        self,
        key: jax.Array,
        state: LearnerState,
        variables: Variables,
        inputs: jax.Array,
        labels: jax.Array,
        representation: jax.Array | None = None,
    ) -> tuple[jax.Array, LearnerState]:
        """``ask``, then ``tell`` what ``labels`` [n] int32 says of the rows asked for: a simulation."""
        ...


class ActiveLearner(NamedTuple):
    """Algorithm 1 of Ash et al., ICLR 2020, for any strategy, as pure functions to jit, scan or vmap.

    ``key`` is the run's one key: each round folds its own number in, so a run resumes from a state alone.

    Attributes:
        init: see `InitLearner`.
        fit: see `FitLearner`.
        ask: see `Ask`.
        tell: see `Tell`.
        query: see `QueryLearner`.
    """

    init: InitLearner
    fit: FitLearner
    ask: Ask
    tell: Tell
    query: QueryLearner


def make_active_learner(
    model: Model,
    optimizer: optax.GradientTransformation,
    strategy: Strategy,
    batch_size: int,
    options: FitOptions = FitOptions(),
    *,
    sharding: NamedSharding | None = None,
    minibatch_sharding: NamedSharding | None = None,
) -> ActiveLearner:
    """The learner that asks for ``batch_size`` rows a round, chosen by ``strategy``.

    Args:
        model: the network.
        optimizer: such as `make_optimizer` gives.
        strategy: how to choose. It may need the logits, features and labels of the pool, the head where the
            model has one, and a representation, which ``ask`` and ``query`` then want.
        batch_size: k, rows asked for at a time.
        options: minibatch size and when a fit ends.
        sharding: how the rows of the inputs lie on several devices, for ``ask`` and ``query`` inside ``jit``,
            where the arrays do not say so; see `shard_pool`. For strategies that `on_devices` takes.
        minibatch_sharding: devices that share the work of ``fit``; see `make_fit`.

    Returns:
        An `ActiveLearner`.

    Raises:
        ValueError: for a batch size below 1, and for a strategy whose needs are unknown, or that the model does
            not give.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import STRATEGIES, make_active_learner, make_optimizer, mlp
        >>> x = jax.random.normal(jax.random.key(1), (200, 4))
        >>> learner = make_active_learner(mlp(2, hidden=8), make_optimizer(1e-2), STRATEGIES["margin"](), 10)
        >>> state = learner.init(num_pool=200, num_rounds=1, max_labels=30)
        >>> state = learner.tell(state, jnp.arange(20), jnp.arange(20) % 2)
        >>> variables = learner.fit(jax.random.key(0), state, x).variables
        >>> rows, state = learner.ask(jax.random.key(0), state, variables, x)
        >>> state = learner.tell(state, rows[:6], jnp.array([0, 1, 1, -1, 0, 1]))  # one cannot be labeled
        >>> int(state.num_labeled)
        25
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; wanted at least 1")
    unknown = [need for need in strategy.needs if need not in NEEDS]
    if unknown:
        raise ValueError(f"the strategy needs {unknown[0]!r}; wanted some of {', '.join(NEEDS)}")
    lacking = [need for need in strategy.needs if need == "samples"]
    lacking += ["head"] if "head" in strategy.needs and model.head is None else []
    if lacking:
        raise ValueError(f"the strategy needs pool.{lacking[0]}, which this model does not give")
    fit_labeled = make_fit(model, optimizer, options, minibatch_sharding=minibatch_sharding)
    predict = make_predict(model, sharding=sharding)
    strategy = strategy if sharding is None else on_devices(strategy, sharding)

    def init(num_pool: int, num_rounds: int, max_labels: int) -> LearnerState:
        if max_labels > num_pool:
            raise ValueError(f"max_labels is {max_labels}, but the pool has {num_pool} rows")
        return LearnerState(
            jnp.int32(0),
            jnp.zeros(max_labels, jnp.int32),
            jnp.int32(0),
            jnp.full(num_pool, -1, jnp.int32),
            jnp.zeros(num_pool, bool),
            jax.tree.map(jnp.asarray, strategy.init(num_pool, num_rounds)),
        )

    def fit(key: jax.Array, state: LearnerState, inputs: jax.Array) -> Fit:
        return fit_labeled(_round_keys(key, state).fit, inputs, state.labels, state.indices, state.num_labeled)

    def ask(
        key: jax.Array,
        state: LearnerState,
        variables: Variables,
        inputs: jax.Array,
        representation: jax.Array | None = None,
    ) -> tuple[jax.Array, LearnerState]:
        is_read = "representation" in strategy.needs
        representation = _checked(representation, state.labels.shape[0]) if is_read else None
        outputs = predict(variables, inputs)
        labeled = state.labels >= 0
        head = model.head(variables) if "head" in strategy.needs and model.head is not None else None
        available = ~labeled & ~state.excluded
        logits, features = (
            part if need in strategy.needs else None
            for need, part in (("logits", outputs.logits), ("features", outputs.features))
        )
        pool = Pool(logits, features, state.labels, labeled, available, head, representation)  # type: ignore[arg-type]
        rows, strategy_state = strategy.query(_round_keys(key, state).query, state.strategy, pool, batch_size)
        rows = jnp.where(_are_finite((logits, features, representation), state.excluded), rows, -1)
        return rows, state._replace(round=state.round + 1, strategy=strategy_state)

    def query(
        key: jax.Array,
        state: LearnerState,
        variables: Variables,
        inputs: jax.Array,
        labels: jax.Array,
        representation: jax.Array | None = None,
    ) -> tuple[jax.Array, LearnerState]:
        rows, state = ask(key, state, variables, inputs, representation)
        asked = on_auto_axes(operator.getitem, labels, rows)  # a row −1 reads the last label, and is skipped
        return rows, tell(state, rows, asked)

    return ActiveLearner(init, fit, ask, tell, query)


def _checked(representation: jax.Array | None, n: int) -> jax.Array:
    """The representation [n, d'] float32. Raises ValueError where there is none, or one of another shape."""
    if representation is None:
        raise ValueError(
            f"the strategy needs pool.representation; wanted ask or query with representation [{n}, d]"
        )
    representation = jnp.asarray(representation)
    if representation.ndim != 2 or representation.shape[0] != n:
        raise ValueError(f"representation has shape {representation.shape}; wanted [{n}, d]")
    return representation.astype(jnp.float32)


def _are_finite(outputs: tuple[jax.Array | None, ...], excluded: jax.Array) -> jax.Array:
    """Whether these outputs [n, ...] are finite, but for excluded rows: scalar bool. Few strategies would show
    it of their own."""
    finite = [jnp.all(jnp.isfinite(part) | excluded[:, None]) for part in outputs if part is not None]
    return jnp.all(jnp.array(finite, bool))


def tell(state: LearnerState, rows: jax.Array, labels: jax.Array) -> LearnerState:
    """See `Tell`."""
    _check_answers(state, rows, labels)
    return on_auto_axes(_told, state, jnp.asarray(rows, jnp.int32), jnp.asarray(labels, jnp.int32))


def _told(state: LearnerState, rows: jax.Array, labels: jax.Array) -> LearnerState:
    """See `Tell`; the answers are checked, or cannot be."""
    n, room = state.labels.shape[0], state.indices.shape[0]
    # of a row told twice the last answer counts; what counts for nothing becomes row −1
    is_row = (rows >= 0) & (rows < n)
    rows = jnp.where(is_row & _is_last(rows, n), rows, -1)

    was_labeled = state.labels >= 0
    is_new = (rows >= 0) & (labels >= 0) & ~was_labeled[rows]
    # a row that loses its label leaves the list; the others keep their order
    lost = mark_rows(n, rows, labels < 0) & was_labeled
    is_kept = (jnp.arange(room) < state.num_labeled) & ~lost[state.indices]
    order = jnp.argsort(~is_kept, stable=True)
    num_kept = jnp.sum(is_kept, dtype=jnp.int32)
    place = num_kept + jnp.cumsum(is_new) - 1
    fits = ~is_new | (place < room)
    rows = jnp.where(fits, rows, -1)
    is_new = is_new & fits
    indices = state.indices[order].at[jnp.where(is_new, place, room)].set(rows, mode="drop")
    num_labeled = num_kept + jnp.sum(is_new, dtype=jnp.int32)
    return state._replace(
        indices=jnp.where(jnp.arange(room) < num_labeled, indices, 0),
        num_labeled=num_labeled,
        labels=state.labels.at[jnp.where(rows >= 0, rows, n)].set(jnp.maximum(labels, -1), mode="drop"),
        excluded=(state.excluded | mark_rows(n, rows, labels < 0)) & ~mark_rows(n, rows, labels >= 0),
    )


def _is_last(rows: jax.Array, n: int) -> jax.Array:
    """Whether no later entry is the same row: [m] bool."""
    place = jnp.arange(rows.shape[0])
    latest = jnp.zeros(n, place.dtype).at[jnp.where(rows >= 0, rows, n)].max(place, mode="drop")
    return latest[rows] == place


def _check_answers(state: LearnerState, rows: jax.Array, labels: jax.Array) -> None:
    """Raises ValueError for dtypes and shapes that do not fit.

    Outside ``jit`` also for rows beyond the pool, for what no label can be (before a cast to int32 could make
    another number of it), and for more labels than there is room for.
    """
    for name, array in (("rows", rows), ("labels", labels)):
        if not jnp.issubdtype(jnp.asarray(array).dtype, jnp.integer):
            raise ValueError(f"{name} are {jnp.asarray(array).dtype}; wanted integers")
    if jnp.ndim(rows) != 1 or jnp.shape(rows) != jnp.shape(labels):
        raise ValueError(
            f"rows have shape {jnp.shape(rows)} and labels {jnp.shape(labels)}; wanted [m] and [m]"
        )
    if any(isinstance(array, jax.core.Tracer) for array in (*state[:5], rows, labels)):
        return
    n, room = len(state.labels), len(state.indices)
    told, answers = np.asarray(rows), np.asarray(labels)
    for row in (told.max(initial=-1), told.min(initial=0)):
        if not -1 <= int(row) < n:
            raise ValueError(f"row {int(row)} is not in the pool of {n} rows")
    for label in (answers.max(initial=-1), answers.min(initial=0)):
        if not -1 <= int(label) < 2**31:
            raise ValueError(f"label {int(label)} was given; wanted 0 to 2**31 − 1, or −1 for no label")
    known = np.array(state.labels)
    known[told[told >= 0]] = answers[told >= 0]
    if (num_labeled := int((known >= 0).sum())) > room:
        raise ValueError(f"{num_labeled} rows would be labeled; the learner was made for {room} at most")


class _RoundKeys(NamedTuple):
    fit: jax.Array
    query: jax.Array


def _round_keys(key: jax.Array, state: LearnerState) -> _RoundKeys:
    """A round's keys. The one for the fit does not depend on the strategy: rivals start from equal weights."""
    return _RoundKeys(*jax.random.split(jax.random.fold_in(key, state.round)))
