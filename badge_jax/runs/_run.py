"""One experiment: a data set, a network, a strategy and a seed, in a directory from which it can be resumed."""

import copy
import dataclasses
import json
import math
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.data import Dataset, load_dataset
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.learner import LearnerState
from badge_jax.processes import agree, mesh_of_processes, sampled_rows
from badge_jax.runs.directory import (
    Queried,
    check_config,
    note_environment,
    read_config,
    read_per_class,
    read_queried,
    read_rounds,
    write_config,
    write_per_class,
    write_queried,
    write_rounds,
)
from badge_jax.runs.diversity import Diversity, batch_diversity
from badge_jax.runs.environment import environment
from badge_jax.runs.fields import has_metrics
from badge_jax.runs.folder import Folder
from badge_jax.runs.metrics import measure
from badge_jax.runs.options import (
    Resolved,
    RunOptions,
    check_pool,
    from_config,
    resolve,
    rounds_at_start,
    to_config,
)
from badge_jax.runs.place import Place
from badge_jax.runs.programs import Learner, make_learner
from badge_jax.runs.strategy_state import from_arrays, to_arrays

_NO_ROUND = 2**32 - 1  # the number that takes a round's place in the key of a cold start
_OF_A_MACHINE = ("python", "platform", "device", "xla_flags", "threads")  # what processes need not share
Line = dict[str, Any]  # one finished round, as it stands in rounds.jsonl
OnRound = Callable[[Line], object]


def run(
    options: RunOptions,
    out: Path | str,
    on_round: OnRound | Sequence[OnRound] = (),
    *,
    distributed: bool = False,
) -> list[Line]:
    """Runs an experiment in a directory, or resumes it there.

    Round 0 trains on the initial labels; each of ``options.rounds`` queries adds a round. Finished rounds are
    not run again. A run killed at any moment ends, after the same call, with the numbers of an undisturbed one.

    Randomness: the split comes from ``default_rng([seed, 0])``, random initial labels from
    ``default_rng([seed, 1])``, all else from ``jax.random.key(seed)`` and the number of the round, which is
    2³² − 1 for another cold start. So strategies of one seed share split, initial labels and initial weights.

    Args:
        options: what to run.
        out: directory of the run; made if need be.
        on_round: called with every round in order, once it is on disk: a dict of its own, as rounds.jsonl has
            it. Rounds that were finished earlier come first. Several are called in turn. What one of them
            raises is a warning, and the run goes on; Ctrl-C ends it. Of several processes, the first one calls.
        distributed: whether the processes of a `badge_jax.processes.joined` block make this run together, on
            all their devices, each with the same arguments. Process 0 alone reads and writes ``out``.

    Returns:
        The rounds: the lines of rounds.jsonl as dicts.

    Raises:
        InputError: for options that do not fit, for an ``out`` that holds another configuration, for an
            ``on_round`` that cannot be called, and for what several processes cannot do.
        EnvironmentFailure: for an ``out`` in use, and for a network whose outputs are no longer finite.
        OSError: when ``out`` cannot be written.

    Example:
        >>> import tempfile
        >>> from badge_jax import RunOptions, run
        >>> options = RunOptions("kropt", "margin", batch_size=10, rounds=1, model="linear", max_epochs=1)
        >>> [line["num_labeled"] for line in run(options, tempfile.mkdtemp())]
        [100, 110]
    """
    out = Path(out)
    folder = Folder(out, distributed)
    callbacks: Sequence[OnRound] = (on_round,) if callable(on_round) else tuple(on_round)
    for callback in callbacks:
        if not callable(callback):
            raise InputError(f"on_round has {callback!r}; give functions that take a round")
    callbacks = callbacks if folder.is_here else ()
    experiment = _prepare(options, Place(mesh_of_processes()) if distributed else Place())
    here = experiment.config["environment"]
    if distributed:
        agree(_description(experiment))
    with folder.opened():
        if folder.is_here:
            experiment = _begun(experiment, out)
        config = experiment.config
        experiment = experiment._replace(config=folder.told(lambda: config))
        rounds: list[Line] = folder.told(lambda: read_rounds(out, to_resume=True))
        for line in rounds[: options.rounds + 1]:
            _call(callbacks, line)
        if len(rounds) <= options.rounds:
            if folder.is_here:
                note_environment(out, here, len(rounds))
            by_class = folder.told(lambda: _read_by_class(config, out, len(rounds)))
            for line, classes in _remaining_rounds(experiment, folder, [*rounds]):
                if has_metrics(experiment.config):
                    by_class.append(classes)
                    folder.write(write_per_class, by_class)
                rounds.append(line)
                folder.write(write_rounds, rounds)
                _call(callbacks, line)
    return rounds


def _call(callbacks: Sequence[OnRound], line: Line) -> None:
    """Gives each of them the line, a copy: what they change is not written."""
    for callback in callbacks:
        try:
            callback(copy.deepcopy(line))
        except Exception as error:  # whatever it is: a run of hours must not end because a logger did
            name = getattr(callback, "__qualname__", type(callback).__name__)
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            warnings.warn(
                f"on_round: {name} failed at round {line['round']} ({problem}); the run goes on",
                UserWarning,
                stacklevel=3,
            )


class _Experiment(NamedTuple):
    """What runs, and its configuration as config.json holds it."""

    resolved: Resolved
    config: dict[str, Any]
    dataset: Dataset
    learner: Learner

    @property
    def options(self) -> RunOptions:
        return self.resolved.options

    def as_started(self, number: int | None) -> "_Experiment":
        """With the ``rounds_at_start`` of the configuration that the run was first started with."""
        if number == self.options.rounds_at_start:
            return self
        options = dataclasses.replace(self.options, rounds_at_start=number)
        learner = dataclasses.replace(self.learner, num_rounds=rounds_at_start(options))
        return self._replace(resolved=self.resolved._replace(options=options), learner=learner)


def _prepare(options: RunOptions, place: Place) -> _Experiment:
    """Loads and makes what the options name. Raises InputError where something does not fit."""
    resolved = resolve(options)
    filled, config = resolved.options, to_config(resolved)
    config["environment"] = environment()
    if place.mesh is not None:
        config["environment"] |= {"processes": jax.process_count(), "devices": place.count}
    dataset = load_dataset(filled.dataset, seed=filled.seed, encoding=filled.encoding, source=filled.source)
    check_pool(resolved, len(dataset.labels), dataset.representation is not None)
    config["missing_classes"] = list(dataset.missing_classes)
    if dataset.crc32 is not None:  # what is behind its name may change
        config["data_crc32"] = dataset.crc32
    return _Experiment(resolved, config, dataset, make_learner(resolved, config, dataset, place))


def _description(experiment: _Experiment) -> str:
    """What is to be the same in all processes: the options, the versions, and the data as far as a few rows and
    all labels show them."""
    config, dataset = experiment.config, experiment.dataset
    environment = {name: value for name, value in config["environment"].items() if name not in _OF_A_MACHINE}
    parts = [dataset.labels, dataset.test_labels, dataset.source_rows]
    for array in (dataset.inputs, dataset.test_inputs, dataset.representation):
        parts += [] if array is None else [array[sampled_rows(len(array))]]
    data = [(part.shape, part.dtype.str, zlib.crc32(np.ascontiguousarray(part).data)) for part in parts]
    return repr((json.dumps({**config, "environment": environment}), data))


def _begun(experiment: _Experiment, out: Path) -> _Experiment:
    """The experiment as it was first started. Writes config.json and the first batch where there are none."""
    options = experiment.options
    if (out / "config.json").exists():
        known = read_config(out)
        for remark in check_config(out, known, experiment.config):
            warnings.warn(f"{remark} since the run in {out} began", UserWarning, stacklevel=3)
        started = from_config(known, out / "config.json")
        experiment = experiment.as_started(started.rounds_at_start)._replace(config=known)
        if options.rounds > started.rounds:
            write_config(out, {**known, "rounds": options.rounds})
    elif (out / "rounds.jsonl").exists():
        raise InputError(f"--out {out} holds rounds.jsonl but no config.json; give another folder")
    else:
        write_config(out, experiment.config)
    # new, or killed before it had written this
    if not (out / "rounds.jsonl").exists() and read_queried(out) is None:
        write_queried(out, _first_batch(experiment))
    return experiment


def _remaining_rounds(
    experiment: _Experiment, folder: Folder, finished: list[Line]
) -> Iterator[tuple[Line, Line]]:
    """Yields the rounds after those finished, each as soon as it is done: its line, and its line by class."""
    (_, _, dataset, learner), options, place = experiment, experiment.options, experiment.learner.place
    labeled, last = folder.told(lambda: _read_back(experiment, folder.out, finished))
    labeled, last = np.array(labeled, np.int32), Queried(*last)
    last = last._replace(indices=np.array(last.indices, np.int32), diversity=np.array(last.diversity))
    start = time.perf_counter()
    programs = learner.programs
    compile_seconds = round(time.perf_counter() - start, 3)

    def tell(state: LearnerState, rows: np.ndarray) -> LearnerState:
        padded = np.full(learner.max_labels, -1, np.int32)
        padded[: len(rows)] = rows
        return programs.tell(state, *place.repeat((padded, dataset.labels[padded])))  # a row −1 is skipped

    inputs, test = place.spread(dataset.inputs), place.spread(dataset.test_inputs)
    test_labels = place.labels(dataset.test_labels)
    fixed = None if learner.representation is None else dataset.representation
    representation = None if fixed is None else inputs if fixed is dataset.inputs else place.spread(fixed)
    state = learner.start()
    state = state._replace(
        round=jnp.int32(last.round), strategy=from_arrays(state.strategy, last.strategy, folder.out)
    )
    state, key = place.repeat(state), place.key(options.seed)
    folder.wait()
    state = tell(state, labeled)
    variables = None
    for number in range(len(finished), options.rounds + 1):
        folder.wait()
        if last.round < number:
            if variables is None:  # stopped before its query was written: the same key, the same weights
                variables = programs.fit(key, state, inputs).variables
            (rows, state), query_seconds = _timed(programs.ask, key, state, variables, inputs, representation)
            diversity = np.empty(0)
            if options.diagnostics:
                embedding = learner.embed(variables, inputs, rows)
                diversity = np.array(batch_diversity(np.asarray(embedding.left), np.asarray(embedding.right)))
            last = Queried(number, np.asarray(rows), query_seconds, to_arrays(state.strategy), diversity)
            if np.isnan(diversity).any() or (
                last.indices.min() < 0
                and not learner.evaluate(variables, inputs, place.labels(dataset.labels)).is_finite
            ):
                raise _diverged(number - 1, options)
            _check_batch(last.indices, np.asarray(state.labels), f"strategy {options.strategy}")
            folder.write(write_queried, last)
            folder.wait()
            state = tell(state, last.indices)
        fit, fit_seconds = _timed(programs.fit, key, state, inputs)
        variables = fit.variables
        evaluation = programs.test(variables, test, test_labels)
        if not evaluation.is_finite:
            raise _diverged(number, options)
        num_correct = int(evaluation.num_correct)
        predicted, losses, confidences = (
            np.asarray(part)[: len(dataset.test_labels)]  # without padding
            for part in (evaluation.predicted, evaluation.losses, evaluation.confidences)
        )
        metrics, by_class = measure(dataset.test_labels, predicted, losses, confidences, dataset.classes)
        line = {
            "round": number,
            "num_labeled": int(state.num_labeled),
            "test_accuracy": num_correct / len(dataset.test_labels),
            "num_test_correct": num_correct,
            "test_size": len(dataset.test_labels),
            **(metrics if has_metrics(experiment.config) else {}),
            "train_accuracy": float(fit.train_accuracy),
            "epochs": int(fit.epochs),
            "converged": bool(fit.converged),
            "fit_seconds": fit_seconds,
            "query_seconds": last.query_seconds,
            "compile_seconds": compile_seconds if number == len(finished) else 0.0,
            **(_diagnostics(last.diversity) if options.diagnostics else {}),
            "indices": last.indices.tolist(),
            "source_rows": dataset.source_rows[last.indices].tolist(),
        }
        yield line, {"round": number, **by_class}


def _diverged(number: int, options: RunOptions) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"the network's outputs after round {number} are not finite, so they give no accuracy and no batch; "
        f"try a smaller --learning-rate than {options.learning_rate}, in another folder"
    )


def _check_batch(batch: np.ndarray, labels: np.ndarray, chooser: str) -> None:
    """Raises InputError for rows that come twice, are labeled already, or lie beyond the pool: a strategy's
    mistake that is believed once is in the results for good."""
    if (num_missing := int((batch < 0).sum())) > 0:
        problem = f"{len(batch) - num_missing} of {len(batch)} rows"
    elif batch.max() >= len(labels):
        problem = f"row {batch.max()} of a pool of {len(labels)}"
    elif len(np.unique(batch)) < len(batch):
        problem = f"only {len(np.unique(batch))} distinct rows in a batch of {len(batch)}"
    elif (is_labeled := labels[batch] >= 0).any():
        problem = f"{int(is_labeled.sum())} rows that are labeled already"
    else:
        return
    raise InputError(f"{chooser} chose {problem}; wanted distinct available rows")


def _first_batch(experiment: _Experiment) -> Queried:
    """The initial labels, and the state that the strategy starts with."""
    (_, _, dataset, learner), options = experiment, experiment.options
    n, seconds = len(dataset.labels), 0.0
    if learner.cold_start is None:
        indices = np.random.default_rng([options.seed, 1]).choice(n, options.initial, replace=False)
    else:
        key = jax.random.fold_in(jax.random.key(options.seed), _NO_ROUND)
        representation = jax.device_put(dataset.representation, may_alias=True)
        program = learner.cold_start.lower(key, representation).compile()
        rows, seconds = _timed(program, key, representation)
        indices = np.asarray(rows)
        _check_batch(indices, np.full(n, -1), f"cold start {options.cold_start}")
    return Queried(0, indices.astype(np.int32), seconds, to_arrays(learner.start().strategy), np.empty(0))


def _read_by_class(config: dict[str, Any], out: Path, num_finished: int) -> list[Line]:
    """The lines of per_class.jsonl, without one for a round that was not finished."""
    if not has_metrics(config):
        return []
    lines = read_per_class(out)
    if len(lines) < num_finished:
        raise InputError(
            f"--out {out} is damaged: its per_class.jsonl has {len(lines)} rounds, and rounds.jsonl "
            f"{num_finished}; give another folder"
        )
    return lines[:num_finished]


def _read_back(experiment: _Experiment, out: Path, finished: list[Line]) -> tuple[np.ndarray, Queried]:
    """The rows labeled, and the last batch of them that was written."""
    options, n, last = experiment.options, len(experiment.dataset.labels), read_queried(out)
    batches = [line["indices"] for line in finished]
    if last is not None and last.round in (len(finished) - 1, len(finished)):
        if last.round == len(finished):
            batches.append(last.indices.tolist())
        from_arrays(experiment.learner.start().strategy, last.strategy, out)
    elif not finished:
        raise InputError(f"--out {out} is damaged: it has lost its rounds.jsonl; give another folder")
    elif not jax.tree.leaves(experiment.learner.start().strategy):  # nothing is lost: the query is made again
        batch, seconds = np.array(batches[-1], np.int32), finished[-1]["query_seconds"]
        last = Queried(len(finished) - 1, batch, seconds, [], np.empty(0))
    else:
        raise InputError(f"--out {out} has lost the strategy's state (state.npz); give another folder")
    return _checked_rows(batches, options, n, out), last


def _checked_rows(batches: list[list[int]], options: RunOptions, n: int, out: Path) -> np.ndarray:
    """The batches in one array. Raises InputError unless they are batches of distinct rows of this pool."""
    sizes = [options.initial, *[options.batch_size] * (len(batches) - 1)]
    rows = [row for batch in batches for row in batch]
    are_rows = all(isinstance(row, int) and 0 <= row < n for row in rows)
    if [len(batch) for batch in batches] != sizes or not are_rows or len(set(rows)) < len(rows):
        raise InputError(
            f"--out {out} is damaged: the rows it lists are not batches of distinct rows of the pool; "
            "remove the folder or give another"
        )
    return np.array(rows, np.int32)


def _diagnostics(diversity: np.ndarray) -> Line:
    """As rounds.jsonl holds them: JSON has no −∞, so it is null and a flag. Round 0 makes no query."""
    if len(diversity) == 0:
        return {"gram_log_det": None, "gram_is_singular": False, "mean_embedding_norm": None}
    log_det, mean_norm = Diversity(*diversity.tolist())
    is_singular = log_det == -math.inf
    return {
        "gram_log_det": None if is_singular else log_det,
        "gram_is_singular": is_singular,
        "mean_embedding_norm": mean_norm,
    }


def _timed(function: Callable, *args: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = jax.block_until_ready(function(*args))
    return result, time.perf_counter() - start
