"""One experiment: a data set, a network, a strategy and a seed, in a directory it can be resumed from."""

import inspect
import math
import platform
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax._version import __version__
from badge_jax.data import Dataset, dataset_info, load_dataset, resolve_source
from badge_jax.data.table import ENCODINGS
from badge_jax.embeddings import gradient_embedding
from badge_jax.errors import EnvironmentFailure, InputError, unknown_name
from badge_jax.learner import ActiveLearner, LearnerState, make_active_learner
from badge_jax.models import MODELS, PRECISIONS, Model, standardized
from badge_jax.rows import Rows
from badge_jax.runs.directory import Queried, open_run, read_config, read_queried, write_queried, write_rounds
from badge_jax.runs.diversity import Diversity, batch_diversity
from badge_jax.samplers._kmeans_plusplus import FIRST_POINTS
from badge_jax.strategies import STRATEGIES
from badge_jax.strategies._albl import VARIANTS
from badge_jax.training import FitOptions, make_num_correct, make_optimizer, make_predict

_STRATEGY_OPTIONS = {"first": FIRST_POINTS, "variant": VARIANTS, "num_steps": ()}  # what each may be
Line = dict[str, Any]  # one finished round, as it stands in rounds.jsonl


@dataclass(frozen=True)
class RunOptions:
    """Options of a run. None stands for the default of the data set or the strategy."""

    dataset: str
    strategy: str
    batch_size: int
    rounds: int
    model: str = "mlp"
    seed: int = 0
    initial: int = 100
    learning_rate: float | None = None
    max_epochs: int = 3000
    encoding: str = "onehot"
    source: str | None = None
    first: str | None = None
    variant: str | None = None
    num_steps: int | None = None
    precision: str = "float32"
    diagnostics: bool = False


def run(options: RunOptions, out: Path, on_round: Callable[[Line], None] = lambda line: None) -> list[Line]:
    """Runs the experiment in the directory ``out``, or goes on with it there, and returns its rounds.

    Round 0 trains on random labels; each of ``options.rounds`` queries adds a round. Finished rounds are
    not run again. ``on_round`` is called with every round in order, those finished earlier included.

    Randomness: the split comes from ``default_rng([seed, 0])``, the initial labels from
    ``default_rng([seed, 1])``, all else from ``jax.random.key(seed)`` and the number of the round, so that
    strategies of one seed share split, initial labels and initial weights.

    Raises InputError for options that do not fit and for an ``out`` that holds another configuration,
    EnvironmentFailure for an ``out`` in use, OSError when it cannot be written.
    """
    config = resolve_options(options)
    config["environment"] = environment()
    dataset = load_dataset(
        config["dataset"], seed=config["seed"], encoding=config["encoding"], source=config["source"]
    )
    _check_pool(config, len(dataset.labels))
    config["missing_classes"] = list(dataset.missing_classes)
    if config["source"] == "file":  # which may change under its name
        config["data_crc32"] = zlib.crc32(Path(config["dataset"]).read_bytes())
    model = _make_model(config, dataset)
    learner = _make_learner(config, model, dataset)
    with open_run(out, config) as rounds:
        for line in rounds[: options.rounds + 1]:
            on_round(line)
        if len(rounds) <= options.rounds:
            for line in _remaining_rounds(config, dataset, model, learner, out, tuple(rounds)):
                rounds.append(line)
                write_rounds(out, rounds)
                on_round(line)
    return rounds


def resolve_options(options: RunOptions) -> dict[str, Any]:
    """The configuration as config.json holds it, every default filled in.

    Raises InputError, naming the option, for what cannot be.
    """
    info = dataset_info(options.dataset)
    if options.model not in MODELS:
        raise unknown_name("model", options.model, MODELS)
    if options.strategy not in STRATEGIES:
        raise unknown_name("strategy", options.strategy, STRATEGIES)
    if options.encoding not in ENCODINGS:
        raise unknown_name("encoding", options.encoding, ENCODINGS)
    if options.precision not in PRECISIONS:
        raise unknown_name("precision", options.precision, PRECISIONS)
    least = {"batch_size": 1, "rounds": 0, "initial": 1, "max_epochs": 1, "seed": 0}
    for name, bound in least.items():
        flag, value = f"--{name.replace('_', '-')}", getattr(options, name)
        if value < bound:
            raise InputError(f"{flag} is {value}; it must be at least {bound}")
        if value >= 2**31:
            raise InputError(f"{flag} is {value}; it must be below 2**31")
    learning_rate = info.learning_rate if options.learning_rate is None else options.learning_rate
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise InputError(f"--learning-rate is {learning_rate}; it must be a positive number")
    return {
        "dataset": options.dataset,
        "model": options.model,
        "strategy": options.strategy,
        "batch_size": options.batch_size,
        "initial": options.initial,
        "rounds": options.rounds,
        "seed": options.seed,
        "learning_rate": learning_rate,
        "max_epochs": options.max_epochs,
        "encoding": options.encoding,
        "source": resolve_source(options.dataset, options.source),
        "precision": options.precision,
        "diagnostics": options.diagnostics,
        **_strategy_options(options),
    }


def environment() -> dict[str, str]:
    """Versions and device, as recorded with every result. Raises EnvironmentFailure without a device."""
    try:
        devices = jax.devices()
    except Exception as error:  # JAX raises what the backend's plugin raises
        problem = str(error).partition("\n")[0] or type(error).__name__
        raise EnvironmentFailure(f"JAX finds no device to run on: {problem}") from None
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "badge_jax": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(terse=True),
        "device": f"{len(devices)} x {devices[0].device_kind}",
    }


def _strategy_options(options: RunOptions) -> dict[str, Any]:
    """The options that this strategy takes, its defaults filled in."""
    known = inspect.signature(STRATEGIES[options.strategy]).parameters
    for name, choices in _STRATEGY_OPTIONS.items():
        flag, value = f"--{name.replace('_', '-')}", getattr(options, name)
        if value is not None and name not in known:
            raise InputError(f"{flag} does not apply to the strategy {options.strategy}")
        if value is not None and choices and value not in choices:
            raise unknown_name(f"value of {flag}", value, choices)
    if options.num_steps is not None and not 0 <= options.num_steps < 2**31:
        raise InputError(f"--num-steps is {options.num_steps}; it must be 0 or more, and below 2**31")
    chosen = {
        name: parameter.default if getattr(options, name) is None else getattr(options, name)
        for name, parameter in known.items()
    }
    # exp4p's law depends on the number of queries it is started for
    return {**chosen, "horizon": options.rounds} if chosen.get("variant") == "exp4p" else chosen


def _check_pool(config: dict[str, Any], num_pool: int) -> None:
    num_labels = config["initial"] + config["rounds"] * config["batch_size"]
    if num_labels > num_pool:
        raise InputError(
            f"--initial {config['initial']} and --rounds {config['rounds']} of --batch-size "
            f"{config['batch_size']} need {num_labels} labels; the pool of {config['dataset']} has {num_pool}"
        )


def _remaining_rounds(
    config: dict[str, Any],
    dataset: Dataset,
    model: Model,
    learner: ActiveLearner,
    out: Path,
    finished: tuple[Line, ...],
) -> Iterator[Line]:
    """Yields the rounds after those finished, each as soon as it is done."""
    state, query_seconds, diversity = _restore(config, learner, len(dataset.labels), out, finished)

    # compiled ahead of time, so that no round's seconds contain compilation
    pool = jnp.asarray(dataset.inputs), jnp.asarray(dataset.labels)
    test = jnp.asarray(dataset.test_inputs), jnp.asarray(dataset.test_labels)
    key = jax.random.key(config["seed"])
    variables = jax.eval_shape(learner.fit, key, state, *pool).variables
    compiled_fit = jax.jit(learner.fit).lower(key, state, *pool).compile()
    compiled_query = jax.jit(learner.query).lower(key, state, variables, *pool).compile()
    compiled_test = jax.jit(make_num_correct(model)).lower(variables, *test).compile()
    embed = jax.jit(_make_embed(model))

    variables = None
    for number in range(len(finished), config["rounds"] + 1):
        if int(state.round) < number:
            if variables is None:  # stopped before its query was written: the same key, the same weights
                variables = compiled_fit(key, state, *pool).variables
            (_, state), query_seconds = _timed(compiled_query, key, state, variables, *pool)
            batch = _last(state, config["batch_size"])
            if config["diagnostics"]:
                diversity = batch_diversity(*embed(variables, pool[0], batch))
            if batch.min() < 0 or (diversity is not None and math.isnan(diversity.mean_norm)):
                raise EnvironmentFailure(
                    f"the network's outputs after round {number - 1} are not finite, so there is no batch to "
                    f"choose; try a smaller --learning-rate than {config['learning_rate']}"
                )
            write_queried(out, _queried(state, batch, query_seconds, diversity))
        fit, fit_seconds = _timed(compiled_fit, key, state, *pool)
        variables = fit.variables
        num_correct = int(compiled_test(variables, *test))
        yield {
            "round": number,
            "num_labeled": int(state.num_labeled),
            "test_accuracy": num_correct / len(dataset.test_labels),
            "num_test_correct": num_correct,
            "test_size": len(dataset.test_labels),
            "train_accuracy": float(fit.train_accuracy),
            "epochs": int(fit.epochs),
            "converged": bool(fit.converged),
            "fit_seconds": fit_seconds,
            "query_seconds": query_seconds,
            **(_diagnostics(diversity) if config["diagnostics"] else {}),
            "indices": _last(state, config["batch_size"] if number else config["initial"]).tolist(),
        }


def _make_model(config: dict[str, Any], dataset: Dataset) -> Model:
    """The network for this data set. Raises InputError when it cannot take such inputs."""
    make_model = MODELS[config["model"]]
    options = {"hidden": dataset_info(config["dataset"]).hidden, "dtype": PRECISIONS[config["precision"]]}
    known = inspect.signature(make_model).parameters
    model = make_model(len(dataset.classes), **{name: options[name] for name in options if name in known})
    if dataset.channels is not None:
        model = standardized(model, *dataset.channels)
    try:
        jax.eval_shape(model.init, jax.random.key(0), dataset.inputs[:1])
    except ValueError as error:
        raise InputError(f"--model {config['model']} and --dataset {config['dataset']}: {error}") from None
    return model


def _make_learner(config: dict[str, Any], model: Model, dataset: Dataset) -> ActiveLearner:
    """The learner. Raises InputError when the strategy cannot choose such batches from such outputs."""
    make_strategy = STRATEGIES[config["strategy"]]
    strategy = make_strategy(**{name: config[name] for name in inspect.signature(make_strategy).parameters})
    minibatch_size = dataset_info(config["dataset"]).minibatch_size
    options = FitOptions(minibatch_size=minibatch_size, max_epochs=config["max_epochs"])
    optimizer = make_optimizer(config["learning_rate"])
    learner = make_active_learner(model, optimizer, strategy, config["batch_size"], options)

    def query(key: jax.Array, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        state = learner.init(jnp.zeros(config["initial"], jnp.int32), len(labels), config["rounds"])
        return learner.query(key, state, model.init(key, inputs[:1]), inputs, labels)[0]

    try:
        jax.eval_shape(query, jax.random.key(0), dataset.inputs, dataset.labels)
    except ValueError as error:
        raise InputError(
            f"--strategy {config['strategy']} with --batch-size {config['batch_size']}: {error}"
        ) from None
    return learner


def _make_embed(model: Model) -> Callable[..., Rows]:
    """Returns ``embed(variables, inputs, batch [k] int32) -> Rows``: the batch's gradient embeddings."""
    predict = make_predict(model)
    return lambda variables, inputs, batch: gradient_embedding(*predict(variables, inputs[batch]))


def _restore(
    config: dict[str, Any], learner: ActiveLearner, num_pool: int, out: Path, finished: tuple[Line, ...]
) -> tuple[LearnerState, float, Diversity | None]:
    """The state after the finished rounds and, if it was written, the query that followed; its seconds and
    diagnostics."""
    rng = np.random.default_rng([config["seed"], 1])
    initial = rng.choice(num_pool, config["initial"], replace=False)
    initial = jnp.asarray(initial, jnp.int32)
    horizon = read_config(out).get("horizon", config["rounds"])  # as of the first start
    strategy_state = learner.init(initial, num_pool, horizon).strategy
    state = learner.init(initial, num_pool, config["rounds"])._replace(strategy=strategy_state)
    if not finished:
        return state, 0.0, None
    batches = [line["indices"] for line in finished]
    leaves, treedef = jax.tree.flatten(state.strategy)
    query_seconds, diversity = 0.0, None
    queried = read_queried(out)
    if queried is not None and queried.round in (len(finished) - 1, len(finished)):
        leaves = [jnp.asarray(leaf) for leaf in queried.strategy]
        if queried.round == len(finished):
            batches.append(queried.indices.tolist())
            query_seconds = queried.query_seconds
            diversity = Diversity(*queried.diversity.tolist()) if config["diagnostics"] else None
    elif leaves and len(finished) > 1:
        raise InputError(f"--out {out} has lost the strategy's state (state.npz); give another folder")
    labeled = _checked_labels(batches, config, num_pool, out)
    indices = np.zeros(len(state.indices), np.int32)
    indices[: len(labeled)] = labeled
    state = LearnerState(
        jnp.int32(len(batches) - 1),
        jnp.asarray(indices),
        jnp.int32(len(labeled)),
        jax.tree.unflatten(treedef, leaves),
    )
    return state, query_seconds, diversity


def _checked_labels(batches: list[list[int]], config: dict[str, Any], num_pool: int, out: Path) -> np.ndarray:
    """The batches in one array. Raises InputError unless they are batches of distinct rows of this pool."""
    sizes = [config["initial"], *[config["batch_size"]] * (len(batches) - 1)]
    indices = [index for batch in batches for index in batch]
    are_rows = all(isinstance(index, int) and 0 <= index < num_pool for index in indices)
    if [len(batch) for batch in batches] != sizes or not are_rows or len(set(indices)) < len(indices):
        raise InputError(
            f"--out {out} is damaged: the rows it lists are not batches of distinct rows of the pool; "
            "remove the folder or give another"
        )
    return np.array(indices, np.int32)


def _queried(
    state: LearnerState, batch: np.ndarray, query_seconds: float, diversity: Diversity | None
) -> Queried:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state.strategy)]
    return Queried(int(state.round), batch, query_seconds, leaves, np.array(diversity or ()))


def _diagnostics(diversity: Diversity | None) -> Line:
    """As rounds.jsonl holds them: JSON has no −∞, so it is null and a flag; round 0 has no batch to tell of."""
    if diversity is None:
        return {"gram_log_det": None, "gram_is_singular": False, "mean_embedding_norm": None}
    is_singular = diversity.log_det == -math.inf
    return {
        "gram_log_det": None if is_singular else diversity.log_det,
        "gram_is_singular": is_singular,
        "mean_embedding_norm": diversity.mean_norm,
    }


def _last(state: LearnerState, num: int) -> np.ndarray:
    """The ``num`` rows labeled last."""
    count = int(state.num_labeled)
    return np.asarray(state.indices)[count - num : count]


def _timed(function: Callable, *args: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = jax.block_until_ready(function(*args))
    return result, time.perf_counter() - start
