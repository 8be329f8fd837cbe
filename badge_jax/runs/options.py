"""What decides a run: its options, and their full form as config.json holds it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args

import jax
import numpy as np

from badge_jax import names, paper
from badge_jax.data import DatasetInfo, dataset_info, resolve_source
from badge_jax.data.table import ENCODINGS
from badge_jax.errors import InputError, unknown_name
from badge_jax.models import MODELS, PRECISIONS
from badge_jax.names import Found
from badge_jax.runs.fields import BEFORE, FORMAT, RESUMABLE
from badge_jax.strategies import STRATEGIES, Strategy

_IN_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_JSON_TYPES = {bool: (bool,), int: (int,), float: (int, float), str: (str,), NoneType: (NoneType,)}


@dataclass(frozen=True)
class RunOptions:
    """Options of a run. None stands for the default of the data set."""

    dataset: str
    """Data set: a name that `badge-jax datasets` lists, openml:ID, the path of an .npz file, or a function of
    yours, module:function."""
    strategy: str
    """What to label next: a name that `badge-jax strategies` lists, with options in parentheses, such as
    'badge(first=norm)', or a maker of yours, module:maker."""
    batch_size: int
    """Labels queried a round."""
    rounds: int
    """Number of queries; more than the folder holds extends the run."""
    model: str = "mlp"
    """Network: mlp, resnet18, vgg11 or linear, with options such as 'mlp(hidden=512)', or a maker of yours,
    module:maker."""
    seed: int = 0
    """Seed of the split, the initial labels, the weights and the queries."""
    initial: int = paper.NUM_INITIAL
    """Labels to start with."""
    cold_start: str = paper.COLD_START
    """How the labels to start with are chosen: random, or kmeans or typiclust on the data set's representation
    (the inputs if they are vectors, or what comes with your data), or a maker of yours, module:maker."""
    learning_rate: float | None = None
    """Adam's; None takes the paper's for the data set."""
    minibatch_size: int | None = None
    """Rows in a gradient step; None takes the paper's for the data set."""
    max_epochs: int = paper.MAX_EPOCHS
    """Epochs after which a fit stops even if it has not reached the target accuracy."""
    target_accuracy: float = paper.TARGET_ACCURACY
    """Training accuracy at which a fit ends."""
    clip: float = paper.CLIP
    """Gradients are clipped elementwise to ± this."""
    encoding: str = "onehot"
    """Categorical columns: onehot or codes."""
    source: str | None = None
    """Where the data set comes from; None takes its default."""
    precision: str = "float32"
    """Arithmetic inside the network: float32 or bfloat16."""
    rounds_at_start: int | None = None
    """Queries that the run was first started for, on which some strategies depend; None takes --rounds."""
    diagnostics: bool = False
    """Record how diverse and how uncertain each batch is: log det of its Gram matrix and mean norm in gradient
    space."""


class Resolved(NamedTuple):
    """Options with every default filled in, and what their strings name.

    Attributes:
        options: `RunOptions` without None, strings in their shortest form.
        info: of the data set.
        strategy: the maker and its options.
        model: the maker and its options.
        cold_start: the maker and its options, of the strategy that chooses the first labels.
    """

    options: RunOptions
    info: DatasetInfo
    strategy: Found
    model: Found
    cold_start: Found

    def make_strategy(self) -> Strategy:
        """The strategy. Raises InputError where the maker refuses its options."""
        return names.make("strategy", self.strategy, Strategy)

    def make_cold_start(self) -> Strategy:
        """The strategy that chooses the first labels.

        Raises:
            InputError: where the maker refuses its options, and for one that needs a network.
        """
        strategy = names.make("cold start", self.cold_start, Strategy)
        unmet = [need for need in strategy.needs if need not in ("labels", "representation")]
        if unmet:
            raise InputError(
                f"--cold-start {self.cold_start.text} needs pool.{unmet[0]}, and before the first labels there "
                "is no network; wanted random, or a strategy that reads the representation alone"
            )
        return strategy


def resolve(options: RunOptions) -> Resolved:
    """Fills in every default.

    Raises:
        InputError: for what cannot be; the message names the option, what was found and what would do.
    """
    plain = {n: v.item() if isinstance(v, np.generic) else v for n, v in vars(options).items()}
    options = RunOptions(**plain)
    _check_types(options)
    info = dataset_info(options.dataset)
    recipe = info.recipe
    model = names.find(
        "model", options.model, MODELS, num_given=1, reserved=("dtype",), defaults={"hidden": recipe.hidden}
    )
    strategy = names.find("strategy", options.strategy, STRATEGIES)
    on_representation = {"embedding": "representation"}
    cold_start = names.find("cold start", options.cold_start, STRATEGIES, defaults=on_representation)
    if options.encoding not in ENCODINGS:
        raise unknown_name("encoding", options.encoding, ENCODINGS)
    if options.precision not in PRECISIONS:
        raise unknown_name("precision", options.precision, PRECISIONS)
    filled = RunOptions(
        **{
            **vars(options),
            "dataset": info.text or options.dataset,
            "strategy": strategy.text,
            "model": model.text,
            "cold_start": cold_start.text,
            "learning_rate": recipe.learning_rate if options.learning_rate is None else options.learning_rate,
            "minibatch_size": recipe.minibatch_size
            if options.minibatch_size is None
            else options.minibatch_size,
            "source": resolve_source(options.dataset, options.source),
        }
    )
    _check_numbers(filled)
    resolved = Resolved(filled, info, strategy, model, cold_start)
    resolved.make_cold_start()
    if has_state(resolved.make_strategy()):
        return resolved._replace(options=replace(filled, rounds_at_start=rounds_at_start(filled)))
    return resolved._replace(options=replace(filled, rounds_at_start=None))


def has_state(strategy: Strategy) -> bool:
    """Whether a strategy remembers anything: only then does it matter what its ``init`` was given."""
    return bool(jax.tree.leaves(jax.eval_shape(lambda: strategy.init(2**10, 2))))


def to_config(resolved: Resolved) -> dict[str, Any]:
    """Everything that decides a result, as config.json holds it, but for the checksum of the data."""
    found = {"model": resolved.model, "strategy": resolved.strategy, "cold_start": resolved.cold_start}
    code = {"dataset": resolved.info.code, **{what: thing.source for what, thing in found.items()}}
    return {
        "format": FORMAT,
        **vars(resolved.options),
        **{f"{what}_options": _plain(thing.options) for what, thing in found.items()},
        "code": {what: source._asdict() for what, source in code.items() if source is not None},
    }


def from_config(config: Mapping[str, Any], path: Path) -> RunOptions:
    """The options of a run, from its config.json.

    Args:
        config: content of the file.
        path: of the file, for messages.

    Raises:
        InputError: for a configuration of another format, and for one that does not hold all options.

    Example:
        >>> from pathlib import Path
        >>> from badge_jax.runs import RunOptions, from_config
        >>> from badge_jax.runs.options import resolve, to_config
        >>> options = resolve(RunOptions("kropt", "badge", 100, 5)).options
        >>> from_config(to_config(resolve(options)), Path("config.json")) == options
        True
    """
    if config.get("format") not in RESUMABLE:
        found = "badge_jax 0.1" if "format" not in config else f"format {config['format']!r}"
        raise InputError(
            f"{path} is of {found}; this version can report such a run, and neither extend nor repeat it"
        )
    config = {**BEFORE, **config}
    options: dict[str, Any] = {field.name: config.get(field.name) for field in fields(RunOptions)}
    for field in fields(RunOptions):
        if field.name not in config or not _fits(options[field.name], field.type):
            found = repr(options[field.name]) if field.name in config else "missing"
            raise InputError(f"{path} is damaged, or not a run's: {field.name} is {found}")
    return RunOptions(**options)


def rounds_at_start(options: RunOptions) -> int:
    """Queries that a run is or was first started for, as its strategy is told."""
    return options.rounds if options.rounds_at_start is None else options.rounds_at_start


def check_pool(resolved: Resolved, num_pool: int, has_representation: bool) -> None:
    """Raises InputError where a run wants more labels than the pool has rows, or a representation that it
    lacks."""
    options = resolved.options
    num_labels = options.initial + options.rounds * options.batch_size
    if num_labels > num_pool:
        raise InputError(
            f"--initial {options.initial} and --rounds {options.rounds} of --batch-size {options.batch_size} "
            f"need {num_labels} labels; the pool of {options.dataset} has {num_pool}"
        )
    if has_representation:
        return
    for flag, strategy in (
        (f"--strategy {options.strategy}", resolved.make_strategy()),
        (f"--cold-start {options.cold_start}", resolved.make_cold_start()),
    ):
        if "representation" in strategy.needs:
            raise InputError(
                f"{flag} needs a representation, and {options.dataset} has none; wanted inputs [n, d], or an "
                "array representation [n, d] beside them, in an .npz file or from a function of yours"
            )


def _check_types(options: RunOptions) -> None:
    """Raises InputError for an option of another type than it is declared with."""
    for field in fields(RunOptions):
        value = getattr(options, field.name)
        if not _fits(value, field.type):
            flag, kind = f"--{field.name.replace('_', '-')}", (get_args(field.type) or (field.type,))[0]
            raise InputError(f"{flag} is {value!r}; it must be {_IN_WORDS[kind]}")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a declared type, such as ``int`` or ``float | None``; True is no number."""
    return any(type(value) in _JSON_TYPES[part] for part in get_args(kind) or (kind,))


def _check_numbers(options: RunOptions) -> None:
    least = {"batch_size": 1, "rounds": 0, "initial": 1, "minibatch_size": 1, "max_epochs": 1, "seed": 0}
    for name, bound in {**least, "rounds_at_start": 0}.items():
        flag, value = f"--{name.replace('_', '-')}", getattr(options, name)
        if value is None:
            continue
        if value < bound:
            raise InputError(f"{flag} is {value}; it must be at least {bound}")
        if value >= 2**31:
            raise InputError(f"{flag} is {value}; it must be below 2**31")
    for name in ("learning_rate", "clip"):
        flag, value = f"--{name.replace('_', '-')}", getattr(options, name)
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{flag} is {value}; it must be a positive number")
    if not 0 < options.target_accuracy <= 1:
        raise InputError(f"--target-accuracy is {options.target_accuracy}; it must be above 0 and at most 1")


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON can hold them."""
    return {name: _as_json(value) for name, value in options.items()}


def _as_json(value: Any) -> Any:
    """Simple values as they are, functions and classes by name, others as Python writes them. Addresses are
    left out: they differ from process to process."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
