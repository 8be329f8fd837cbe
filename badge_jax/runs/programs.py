"""The network and the learner of a run, checked against its data, and their compiled programs."""

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled, Wrapped

from badge_jax import names, paper
from badge_jax.data import Dataset
from badge_jax.data.registry import Channels
from badge_jax.embeddings import gradient_embedding
from badge_jax.errors import InputError
from badge_jax.learner import LearnerState, make_active_learner
from badge_jax.learner.active import InitLearner
from badge_jax.models import PRECISIONS, Model, standardized
from badge_jax.pool import Pool
from badge_jax.rows import Rows
from badge_jax.runs.options import Resolved, has_state, rounds_at_start
from badge_jax.runs.place import Place
from badge_jax.strategies import Strategy
from badge_jax.training import FitOptions, make_evaluate, make_optimizer, make_predict


class Programs(NamedTuple):
    """What a run calls round after round, compiled, so that no round's seconds contain compilation.

    Attributes:
        fit: as in `ActiveLearner`.
        ask: as in `ActiveLearner`.
        tell: as in `ActiveLearner`, of ``max_labels`` rows, padded with −1.
        test: `make_evaluate` of the test set.
    """

    fit: Compiled
    ask: Compiled
    tell: Compiled
    test: Compiled


@dataclass(frozen=True)
class Learner:
    """The learner of a run. Its functions are jitted once, so what is traced to see shapes is not traced again.

    Attributes:
        init: as in `ActiveLearner`.
        num_rounds: queries that the run was first started for.
        fit: as in `ActiveLearner`.
        ask: as in `ActiveLearner`.
        tell: as in `ActiveLearner`.
        evaluate: see `make_evaluate`.
        embed: ``(variables, inputs [n, ...], batch [k] int32) -> Rows``, the batch's gradient embeddings.
        cold_start: ``(key, representation [n, d'] or None) -> rows [initial] int32``, the first to label; None
            for random ones.
        num_pool: rows of the pool, without padding.
        inputs: shape, dtype and sharding of the pool.
        test_inputs: those of the test set.
        representation: those of what ``ask`` is given; None where the strategy does not need it.
        max_labels: room for labeled rows; no fewer than the run labels.
        place: where the arrays lie.
    """

    init: InitLearner
    num_rounds: int
    fit: Wrapped
    ask: Wrapped
    tell: Wrapped
    evaluate: Wrapped
    embed: Callable[..., Rows]
    cold_start: Wrapped | None
    num_pool: int
    inputs: jax.ShapeDtypeStruct
    test_inputs: jax.ShapeDtypeStruct
    representation: jax.ShapeDtypeStruct | None
    max_labels: int
    place: Place

    def start(self) -> LearnerState:
        """The state with nothing labeled, on one device. Padding is excluded."""
        n = self.inputs.shape[0]
        state = self.init(n, self.num_rounds, self.max_labels)
        return state if n == self.num_pool else state._replace(excluded=jnp.arange(n) >= self.num_pool)

    @cached_property
    def programs(self) -> Programs:
        """Compiled side by side, or read from where compiled programs are kept."""
        there = self.place.repeated_shapes
        key, state = there(jax.eval_shape(lambda: (jax.random.key(0), self.start())))
        told = there(jax.ShapeDtypeStruct((self.max_labels,), jnp.int32))
        labels = there(jax.ShapeDtypeStruct(self.test_inputs.shape[:1], jnp.int32))
        fit = self.fit.trace(key, state, self.inputs)
        variables = there(fit.out_info.variables)
        traced = [
            self.ask.trace(key, state, variables, self.inputs, self.representation),
            fit,
            self.tell.trace(state, told, told),
            self.evaluate.trace(variables, self.test_inputs, labels),
        ]
        with ThreadPoolExecutor() as pool:
            compiling = [pool.submit(part.lower().compile) for part in traced]
        ask, fit, tell, test = (program.result() for program in compiling)
        return Programs(fit, ask, tell, test)


def make_learner(
    resolved: Resolved, config: Mapping[str, Any], dataset: Dataset, place: Place = Place()
) -> Learner:
    """The learner of a run.

    Args:
        resolved: the run's options.
        config: everything that decides the run's result, with JAX's settings and the user's files.
        dataset: the run's data.
        place: where the arrays lie.

    Raises:
        InputError: when the network cannot take such inputs, or the strategy cannot choose such batches, or not
            there.
    """
    kind = _Kind(
        config=json.dumps({**config, "seed": None, "missing_classes": None}),
        makers=(resolved.strategy.make, resolved.model.make, resolved.cold_start.make),
        inputs=_shape_of(dataset.inputs),
        representation=None if dataset.representation is None else _shape_of(dataset.representation),
        test_inputs=_shape_of(dataset.test_inputs),
        num_classes=len(dataset.classes),
        channels=dataset.channels,
        place=place,
        resolved=resolved,
    )
    last = _LAST.get()
    if last is None:
        return _make_learner(kind)
    if last.learner is None or last.kind != kind:
        jax.clear_caches()  # of the programs before, which would pile up
        last.kind, last.learner = kind, _make_learner(kind)
    return last.learner


@contextlib.contextmanager
def keeping_programs() -> Iterator[None]:
    """Within it, a run takes over the learner of the run before, programs and all, if only their seeds differ.

    For a worker that does nothing else: a change that a user's code makes to itself between runs is not seen.
    """
    token = _LAST.set(_Last())
    try:
        yield
    finally:
        _LAST.reset(token)


class _Last:
    """The last learner made, and what decides it."""

    kind: "_Kind | None" = None
    learner: Learner | None = None


_LAST: ContextVar[_Last | None] = ContextVar("last learner", default=None)


@dataclass(frozen=True)
class _Kind:
    """What decides a learner: the configuration but for the seed, the makers, the shapes and the place of the
    data."""

    config: str
    makers: tuple[Callable, ...]
    inputs: jax.ShapeDtypeStruct
    representation: jax.ShapeDtypeStruct | None
    test_inputs: jax.ShapeDtypeStruct
    num_classes: int
    channels: Channels | None
    place: Place
    resolved: Resolved = field(compare=False)


def _make_learner(kind: _Kind) -> Learner:
    model, options, place = _make_model(kind), kind.resolved.options, kind.place
    inputs = place.spread_shape(kind.inputs)
    num_rounds = rounds_at_start(options)
    # room for more than the run labels, so that most runs of other lengths share the programs
    most = options.initial + options.rounds * options.batch_size
    max_labels = min(kind.inputs.shape[0], 1 << (most - 1).bit_length())
    where = f"--strategy {options.strategy} with --batch-size {options.batch_size}"
    try:
        strategy = kind.resolved.make_strategy()
        if place.mesh is not None:
            _check_shared(strategy, options.strategy)
        is_read = kind.representation is not None and "representation" in strategy.needs
        representation = place.spread_shape(kind.representation) if is_read else None  # type: ignore[arg-type]
        learner = make_active_learner(
            model,
            make_optimizer(options.learning_rate, clip=options.clip),  # type: ignore[arg-type]  # resolved
            strategy,
            options.batch_size,
            FitOptions(options.minibatch_size, options.target_accuracy, options.max_epochs),  # type: ignore[arg-type]
            sharding=place.rows,
            minibatch_sharding=place.rows,
        )
        fit, ask, tell = place.jit(learner.fit), place.jit(learner.ask), place.jit(learner.tell)

        def ask_once(
            key: jax.Array, inputs: jax.Array, representation: jax.Array | None
        ) -> tuple[jax.Array, Any, Any]:
            state = learner.init(len(inputs), num_rounds, max_labels)
            rows, after = ask(key, state, model.init(key, inputs[:1]), inputs, representation)
            return rows, state.strategy, after.strategy

        rows, before, after = jax.eval_shape(ask_once, jax.random.key(0), inputs, representation)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{where}: {names.problem_of(error, kind.resolved.strategy.source)}") from error
    _check_answer(where, rows, options.batch_size)
    if str(before) != str(after):
        raise InputError(f"{where}: its state changes shape from {before} to {after}; wanted one shape")
    return Learner(
        init=learner.init,
        num_rounds=num_rounds,
        fit=fit,
        ask=ask,
        tell=tell,
        evaluate=place.jit(make_evaluate(model, sharding=place.rows)),
        embed=place.jit(_make_embed(model)),
        cold_start=None if options.cold_start == paper.COLD_START else _make_cold_start(kind),
        num_pool=kind.inputs.shape[0],
        inputs=inputs,
        test_inputs=place.spread_shape(kind.test_inputs),
        representation=representation,
        max_labels=max_labels,
        place=place,
    )


def _check_shared(strategy: Strategy, name: str) -> None:
    """Raises InputError for a strategy that several devices cannot share."""
    if strategy.plan is None and strategy.needs:
        raise InputError(
            f"strategy {name} has no plan, so it needs the whole pool on one device; wanted it without "
            "--distributed, or one that scores or embeds every row by itself, such as badge, coreset or margin"
        )
    if has_state(strategy):
        raise InputError(
            f"strategy {name} remembers something from batch to batch; wanted it without --distributed, or one "
            "that does not"
        )


def _make_cold_start(kind: _Kind) -> Wrapped:
    """See `Learner`. Raises InputError where the strategy cannot choose so many rows."""
    options, n = kind.resolved.options, kind.inputs.shape[0]
    strategy = kind.resolved.make_cold_start()
    where = f"--cold-start {options.cold_start} with --initial {options.initial}"

    def choose(key: jax.Array, representation: jax.Array | None) -> jax.Array:
        available, outputs = jnp.ones(n, bool), (None, None)
        pool = Pool(*outputs, jnp.full(n, -1, jnp.int32), ~available, available, None, representation)  # type: ignore[arg-type]
        return strategy.query(key, strategy.init(n, 1), pool, options.initial)[0]

    chosen = jax.jit(choose)
    try:
        rows = jax.eval_shape(chosen, jax.random.key(0), kind.representation)
    except Exception as error:
        raise InputError(f"{where}: {names.problem_of(error, kind.resolved.cold_start.source)}") from error
    _check_answer(where, rows, options.initial)
    return chosen


def _check_answer(where: str, rows: jax.ShapeDtypeStruct, k: int) -> None:
    """Raises InputError unless a strategy's answer is [k] int32."""
    if rows.shape != (k,) or rows.dtype != jnp.int32:
        raise InputError(f"{where} gives {rows.dtype}{list(rows.shape)}; wanted int32[{k}]")


def _make_model(kind: _Kind) -> Model:
    """The network for this data set. Raises InputError when it cannot take such inputs."""
    resolved, num_classes = kind.resolved, kind.num_classes
    options, more = resolved.options, {}
    if "dtype" in inspect.signature(resolved.model.make).parameters:
        more["dtype"] = PRECISIONS[options.precision]
    elif options.precision != "float32":
        raise InputError(f"--precision {options.precision} does not apply to the model {options.model}")
    model = names.make("model", resolved.model, Model, num_classes, **more)
    if kind.channels is not None:
        model = standardized(model, *kind.channels)
    try:
        row = jax.ShapeDtypeStruct((1, *kind.inputs.shape[1:]), kind.inputs.dtype)
        variables = jax.eval_shape(model.init, jax.random.key(0), row)
        outputs = jax.eval_shape(make_predict(model), variables, row)
    except Exception as error:
        problem = names.problem_of(error, resolved.model.source)
        if "unpack" in problem:
            problem += "; wanted an apply that returns (logits, features, variables)"
        raise InputError(f"--model {options.model} and --dataset {options.dataset}: {problem}") from error
    if outputs.logits.shape[1:] != (num_classes,) or outputs.features.ndim != 2:
        found = f"logits {outputs.logits.shape} and features {outputs.features.shape} for one row"
        wanted = f"(1, {num_classes}) and (1, d)"
        raise InputError(f"--model {options.model} gives {found}; wanted {wanted}")
    return model


def _make_embed(model: Model) -> Callable[..., Rows]:
    """Returns ``embed(variables, inputs, batch [k] int32) -> Rows``: the batch's gradient embeddings."""
    predict = make_predict(model)
    return lambda variables, inputs, batch: gradient_embedding(*predict(variables, inputs[batch]))


def _shape_of(array: np.ndarray) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)
