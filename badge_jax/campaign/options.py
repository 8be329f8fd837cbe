"""What decides a campaign: its options, checked against the pool before anything is asked."""

import math
from dataclasses import dataclass, replace

import numpy as np

from badge_jax import names
from badge_jax.campaign.head import HEADS
from badge_jax.campaign.pools import FrozenPool
from badge_jax.errors import InputError, unknown_name
from badge_jax.selection import Inputs, SelectOptions, make_task, matrix_of
from badge_jax.selection.matrices import Matrix
from badge_jax.strategies import STRATEGIES, Strategy


@dataclass(frozen=True)
class CampaignOptions:
    """How a campaign chooses.

    Attributes:
        classes: names of the c classes; a label is a number from 0 to c − 1.
        strategy: what to label next, as in `SelectOptions`, once there is a model.
        cold_start: what to label before that: a strategy that reads the features alone.
        head: "linear" or "mlp", what is trained on the frozen features.
        audit: share of each batch that is for the audit, from 0 to less than 1.
        seed: of everything that is drawn, from 0 to 2³² − 1.
        memory_budget: bytes for the pool and the work on it, see `SelectOptions`. None: no limit.
        unique: whether picks may be copies, see `SelectOptions`.

    Example:
        >>> from badge_jax.campaign import CampaignOptions
        >>> CampaignOptions(("cat", "dog")).strategy
        'badge'
    """

    classes: tuple[str, ...]
    strategy: str = "badge"
    cold_start: str = "kmeans"
    head: str = "linear"
    audit: float = 0.0
    seed: int = 0
    memory_budget: int | None = None
    unique: float | None = None


def check_options(options: CampaignOptions, pool: FrozenPool) -> CampaignOptions:
    """Checks options, and that the strategies can choose from such a pool.

    Args:
        options: of the campaign.
        pool: its features; only their shapes matter.

    Returns:
        The options, strings in their shortest form.

    Raises:
        InputError: for what cannot be; the message names the option, what was found and what would do.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignOptions, check_options, frozen_pool
        >>> pool = frozen_pool(np.ones((5, 2), np.float32))
        >>> check_options(CampaignOptions(("cat", "dog"), strategy="badge( first='norm' )"), pool).strategy
        'badge(first=norm)'
    """
    check_classes(options.classes)
    if options.head not in HEADS:
        raise unknown_name("head", options.head, HEADS)
    if not (math.isfinite(options.audit) and 0 <= options.audit < 1):
        raise InputError(f"--audit is {options.audit}; wanted a share of at least 0 and below 1, such as 0.1")
    cold = names.find("cold start", options.cold_start, STRATEGIES)
    unmet = [need for need in names.make("cold start", cold, Strategy).needs if need not in _FROZEN]
    if unmet:
        raise InputError(
            f"--cold-start {cold.text} needs pool.{unmet[0]}, and before the first labels there is no model; "
            "wanted random, kmeans, typiclust or another strategy that reads the features alone"
        )
    chosen = names.find("strategy", options.strategy, STRATEGIES)
    shape = (pool.features.shape[0], len(options.classes))
    logits = matrix_of(np.broadcast_to(np.float32(0), shape), "logits")  # takes no memory
    _check_task(
        options, chosen.text, inputs_for(chosen.text, pool.features, pool.representation, logits=logits)
    )
    try:
        _check_task(options, cold.text, inputs_for(cold.text, pool.features, pool.representation))
    except InputError as error:
        raise InputError(f"--cold-start {cold.text}: {error}; random needs less") from None
    return replace(options, strategy=chosen.text, cold_start=cold.text)


def _check_task(options: CampaignOptions, strategy: str, inputs: Inputs) -> None:
    """Raises InputError where a strategy cannot choose a row, in memory that the budget allows."""
    make_task(SelectOptions(1, strategy, options.seed, options.memory_budget, unique=options.unique), inputs)


_FROZEN = ("features", "representation")


def inputs_for(
    strategy: str,
    features: Matrix,
    representation: Matrix,
    *,
    logits: Matrix | None = None,
    probabilities: Matrix | None = None,
) -> Inputs:
    """The inputs of a selection: the representation only for a strategy that reads it, as `make_task` wants."""
    needs = names.make("strategy", names.find("strategy", strategy, STRATEGIES), Strategy).needs
    fixed = representation if "representation" in needs else None
    return Inputs(features, logits, probabilities, representation=fixed)


def check_classes(classes: tuple[str, ...]) -> None:
    """Raises InputError unless there are two classes or more, each with a name of its own."""
    if len(classes) < 2:
        raise InputError(f"--classes names {len(classes)} class; wanted two or more, such as cat,dog")
    for name in classes:
        if not name or name != name.strip():
            raise InputError(
                f"--classes holds the name {name!r}; wanted text that neither begins nor ends with a space"
            )
        if not name.isprintable():
            raise InputError(f"--classes holds the name {name!r}; wanted names in one line")
        if classes.count(name) > 1:
            raise InputError(f"--classes holds {name!r} {classes.count(name)} times; wanted each once")
