"""The network and the learner of a run, checked against its data, and their compiled programs.

The last of each is kept: runs that differ in their seed alone, one after another in a process, share them.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled, Wrapped

from badge_jax import names
from badge_jax.data import Dataset
from badge_jax.data.registry import Channels
from badge_jax.embeddings import gradient_embedding
from badge_jax.errors import InputError
from badge_jax.learner import LearnerState, make_active_learner
from badge_jax.models import PRECISIONS, Model, standardized
from badge_jax.rows import Rows
from badge_jax.runs.options import Resolved
from badge_jax.training import FitOptions, make_evaluate, make_optimizer, make_predict


class Learner(NamedTuple):
    """The learner of a run. Its functions are jitted once, so what is traced to see shapes is not traced again.

    Attributes:
        start: rounds at the start -> the state with nothing labeled.
        fit: as in `ActiveLearner`.
        ask: as in `ActiveLearner`.
        tell: as in `ActiveLearner`.
        evaluate: see `make_evaluate`.
        embed: ``(variables, inputs [n, ...], batch [k] int32) -> Rows``, the batch's gradient embeddings.
        inputs: shape and dtype of the pool.
        test_inputs: shape and dtype of the test set.
        max_labels: how many rows the run will label.
    """

    start: Callable[[int], LearnerState]
    fit: Wrapped
    ask: Wrapped
    tell: Wrapped
    evaluate: Wrapped
    embed: Callable[..., Rows]
    inputs: jax.ShapeDtypeStruct
    test_inputs: jax.ShapeDtypeStruct
    max_labels: int


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


def make_learner(resolved: Resolved, config: Mapping[str, Any], dataset: Dataset) -> Learner:
    """The learner of a run.

    Args:
        resolved: the run's options.
        config: everything that decides the run's result, with JAX's settings and the user's files.
        dataset: the run's data.

    Raises:
        InputError: when the network cannot take such inputs, or the strategy cannot choose such batches.
    """
    kind = _Kind(
        config=json.dumps({**config, "seed": None}),
        makers=(resolved.strategy.make, resolved.model.make),
        inputs=_shape_of(dataset.inputs),
        test_inputs=_shape_of(dataset.test_inputs),
        num_classes=len(dataset.classes),
        channels=dataset.channels,
        resolved=resolved,
    )
    return _make_learner(kind)


@lru_cache(maxsize=1)
def compile_programs(learner: Learner) -> Programs:
    """Compiles a learner's programs side by side, or reads them where compiled programs are kept."""
    key, state = jax.random.key(0), jax.eval_shape(lambda: learner.start(0))
    told = jax.ShapeDtypeStruct((learner.max_labels,), jnp.int32)
    labels = jax.ShapeDtypeStruct(learner.test_inputs.shape[:1], jnp.int32)
    fit = learner.fit.trace(key, state, learner.inputs)
    variables = fit.out_info.variables
    traced = [
        learner.ask.trace(key, state, variables, learner.inputs),
        fit,
        learner.tell.trace(state, told, told),
        learner.evaluate.trace(variables, learner.test_inputs, labels),
    ]
    with ThreadPoolExecutor() as pool:
        ask, fit, tell, test = (
            program.result() for program in [pool.submit(part.lower().compile) for part in traced]
        )
    return Programs(fit, ask, tell, test)


@dataclass(frozen=True)
class _Kind:
    """What decides a learner: all but the seed, and the numbers in the data."""

    config: str
    makers: tuple[Callable, Callable]
    inputs: jax.ShapeDtypeStruct
    test_inputs: jax.ShapeDtypeStruct
    num_classes: int
    channels: Channels | None
    resolved: Resolved = field(compare=False)


@lru_cache(maxsize=1)
def _make_learner(kind: _Kind) -> Learner:
    model, options = _make_model(kind), kind.resolved.options
    max_labels = options.initial + options.rounds * options.batch_size
    where = f"--strategy {options.strategy} with --batch-size {options.batch_size}"
    try:
        learner = make_active_learner(
            model,
            make_optimizer(options.learning_rate, clip=options.clip),  # type: ignore[arg-type]  # resolved
            kind.resolved.make_strategy(),
            options.batch_size,
            FitOptions(options.minibatch_size, options.target_accuracy, options.max_epochs),  # type: ignore[arg-type]
        )
        fit, ask, tell = jax.jit(learner.fit), jax.jit(learner.ask), jax.jit(learner.tell)

        def start(num_rounds: int) -> LearnerState:
            return learner.init(kind.inputs.shape[0], num_rounds, max_labels)

        def ask_once(key: jax.Array, inputs: jax.Array) -> tuple[jax.Array, Any, Any]:
            state = start(options.rounds)
            rows, after = ask(key, state, model.init(key, inputs[:1]), inputs)
            return rows, state.strategy, after.strategy

        rows, before, after = jax.eval_shape(ask_once, jax.random.key(0), kind.inputs)
    except Exception as error:
        raise InputError(f"{where}: {names.problem_of(error, kind.resolved.strategy.source)}") from error
    if rows.shape != (options.batch_size,) or rows.dtype != jnp.int32:
        raise InputError(f"{where} gives {rows.dtype}{list(rows.shape)}; wanted int32[{options.batch_size}]")
    if str(before) != str(after):
        raise InputError(f"{where}: its state changes shape from {before} to {after}; wanted one shape")
    evaluate, embed = jax.jit(make_evaluate(model)), jax.jit(_make_embed(model))
    return Learner(start, fit, ask, tell, evaluate, embed, kind.inputs, kind.test_inputs, max_labels)


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
