"""The next batch of a campaign: trains the head, lets the strategy choose, adds the audit's rows."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import softmax

from badge_jax.campaign.head import TrainedHead, fit_head
from badge_jax.campaign.options import CampaignOptions, inputs_for
from badge_jax.campaign.pools import FrozenPool, Outputs, outputs_of, own_outputs, part_of, ready_to_read
from badge_jax.campaign.state import CampaignState, next_audit_rows, reserved, training_rows
from badge_jax.errors import InputError
from badge_jax.selection import SelectOptions, make_task, matrix_of, run_task
from badge_jax.selection.matrices import Matrix
from badge_jax.selection.survey import as_logits, check_outputs

_SELECT_STREAM = 3  # numbers the random stream of the batches, beside the seed


class Proposal(NamedTuple):
    """A batch to ask for, and the model that it was chosen by.

    Attributes:
        rows: [k] int64, best first, the audit's rows spread evenly among them.
        model: `CurrentModel`; None where there was none yet.
        remarks: what is valid and looks wrong.
    """

    rows: np.ndarray
    model: "CurrentModel | None"
    remarks: list[str]


class CurrentModel(NamedTuple):
    """The model of the moment, and what it says of all rows of the pool.

    Attributes:
        outputs: `Outputs`.
        head: what was trained; None where the outputs are those of the user's own model.
        num_training: labels that it was trained on; None where the outputs are those of the user's own model.
    """

    outputs: Outputs
    head: TrainedHead | None
    num_training: int | None


def frozen_pool(features: Any, representation: Any = None) -> FrozenPool:
    """The features of a campaign's pool, from arrays.

    Args:
        features: [n, d] float16, float32 or float64, from NumPy, JAX, or a library with ``__dlpack__``.
        representation: [n, d'], what cold starts and strategies with embedding=representation read. None: the
            features.

    Raises:
        InputError: for arrays that are not as described.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import frozen_pool
        >>> frozen_pool(np.ones((5, 2), np.float32)).features.shape
        (5, 2)
    """
    matrix = matrix_of(features, "features")
    fixed = matrix_of(features if representation is None else representation, "representation")
    if fixed.shape[0] != matrix.shape[0]:
        raise InputError(
            f"features have {matrix.shape[0]} rows and representation {fixed.shape[0]}; wanted the same number"
        )
    return FrozenPool(matrix, fixed)


def propose(
    options: CampaignOptions,
    state: CampaignState,
    pool: FrozenPool,
    k: int,
    *,
    logits: Any = None,
    probabilities: Any = None,
    scratch: Path | None = None,
) -> Proposal:
    """Proposes the next batch. Nothing is asked yet: `ask` does that, with the rows.

    Without logits or probabilities, the head is trained on the labels that there are, the audit's left out.
    Before there are any, the cold start chooses by the features alone. The strategy sees neither the audit's
    rows nor those that are excluded. Options, state, pool and the outputs of your model decide the answer.

    Args:
        options: of the campaign, as `check_options` returned them.
        state: the campaign's.
        pool: its features.
        k: rows to propose.
        logits: [n, c] of a model of your own, in place of the head's; or [n] or [n, 1] of the second of two
            classes, whose first has logit 0.
        probabilities: in place of logits: [n, c], or [n] or [n, 1] of the second of two classes.
        scratch: folder for files that hold the head's outputs, for a pool larger than the memory budget. None:
            they are held in memory.

    Raises:
        InputError: where fewer than k rows are left, or a strategy refuses its input.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignOptions, ask, begin, frozen_pool, propose, take
        >>> x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
        >>> pool, options = frozen_pool(x), CampaignOptions(("no", "yes"), audit=0.1)
        >>> state = begin(200, audit=options.audit, seed=options.seed)
        >>> for _ in range(2):  # by the cold start, then by the strategy
        ...     rows = propose(options, state, pool, 20).rows
        ...     state, _ = take(ask(state, rows), rows, (x[rows, 0] > 0).astype(int))
        >>> state.num_asked, int((state.labels >= 0).sum())
        (40, 40)
    """
    try:
        audited = next_audit_rows(state, k, options.audit)
    except ValueError as error:
        raise InputError(str(error)) from None
    own = {"logits": logits, "probabilities": probabilities}
    model = current_model(options, state, pool, **own, scratch=scratch)
    chosen, remarks = _chosen(options, state, pool, model, k - len(audited))
    return Proposal(_spread(chosen, audited), model, remarks)


def current_model(
    options: CampaignOptions,
    state: CampaignState,
    pool: FrozenPool,
    *,
    logits: Any = None,
    probabilities: Any = None,
    scratch: Path | None = None,
) -> CurrentModel | None:
    """The model that would choose the next batch; None where the cold start would.

    Args:
        options: of the campaign.
        state: its state.
        pool: its features.
        logits: as in `propose`.
        probabilities: as in `propose`.
        scratch: as in `propose`.

    Raises:
        InputError: for outputs of another shape, rows of them that are not finite or no probabilities, or both
            logits and probabilities.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignOptions, begin, current_model, frozen_pool
        >>> current_model(CampaignOptions(("no", "yes")), begin(5), frozen_pool(np.ones((5, 2)))) is None
        True
    """
    if logits is not None and probabilities is not None:
        raise InputError("both logits and probabilities are given; wanted one of the two")
    if logits is not None or probabilities is not None:
        name = "logits" if probabilities is None else "probabilities"
        given = _checked(logits if probabilities is None else probabilities, name, options, state)
        given = ready_to_read(given, is_streamed=scratch is not None)
        has_probabilities = probabilities is not None
        check_outputs(given, has_probabilities, ~state.excluded)
        return CurrentModel(own_outputs(given, has_probabilities=has_probabilities), None, None)
    rows = training_rows(state)
    if not len(rows):
        return None
    features = ready_to_read(pool.features, is_streamed=scratch is not None)
    key = jax.random.fold_in(jax.random.key(options.seed), state.num_batches)
    head = fit_head(key, options.head, len(options.classes), features.take(rows), state.labels[rows])
    # the output layer of a linear head sees the features themselves, but for its bias
    outputs = outputs_of(head, features, scratch, with_hidden=options.head != "linear")
    return CurrentModel(outputs, head, len(rows))


def guesses(model: CurrentModel, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a model says of some rows, to be shown to people.

    Args:
        model: the model of the moment.
        rows: [k] int64.

    Returns:
        Its classes [k] int32, and its probabilities of these [k] float64, to four digits; 0 where its logits
        are not finite.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignOptions, begin, current_model, frozen_pool
        >>> from badge_jax.campaign.propose import guesses
        >>> pool, logits = frozen_pool(np.ones((5, 2))), np.log([[1.0, 3]] * 5)
        >>> model = current_model(CampaignOptions(("no", "yes")), begin(5), pool, logits=logits)
        >>> [values.tolist() for values in guesses(model, np.array([2, 4]))]
        [[1, 1], [0.75, 0.75]]
    """
    predicted = model.outputs.predictions[rows]
    outputs = model.outputs
    logits = np.asarray(as_logits(outputs.scores.take(rows), outputs.has_probabilities), np.float64)
    with np.errstate(invalid="ignore"):
        probabilities = softmax(logits, axis=1)[np.arange(len(rows)), predicted]
    return predicted, np.nan_to_num(np.round(probabilities, 4))


def _checked(given: Any, name: str, options: CampaignOptions, state: CampaignState) -> Matrix:
    """What a user's model says of all rows. Raises InputError for another shape."""
    matrix = given if isinstance(given, Matrix) else matrix_of(given, name, is_column=True)
    n, c = len(state.labels), len(options.classes)
    if matrix.shape not in ((n, c), *(((n, 1),) if c == 2 else ())):
        wanted = f"{(n, c)}, rows and classes" + (f", or {(n, 1)}, of the second class" if c == 2 else "")
        raise InputError(f"{matrix.name} has shape {matrix.shape}; wanted {wanted}")
    return matrix


def _chosen(
    options: CampaignOptions, state: CampaignState, pool: FrozenPool, model: CurrentModel | None, k: int
) -> tuple[np.ndarray, list[str]]:
    """The strategy's part of a batch, [k] int64, and remarks."""
    if k == 0:
        return np.zeros(0, np.int64), []
    keep = np.flatnonzero(~reserved(state) & ~state.excluded)
    fixed = part_of(pool.representation, keep)
    if model is None:
        strategy, features, given = options.cold_start, fixed, {}
    else:
        name = "probabilities" if model.outputs.has_probabilities else "logits"
        strategy, given = options.strategy, {name: part_of(model.outputs.scores, keep)}
        features = part_of(model.outputs.hidden or pool.features, keep)
    seeds = np.random.SeedSequence([options.seed, _SELECT_STREAM, state.num_batches])
    seed = int(seeds.generate_state(1)[0])
    select = SelectOptions(k, strategy, seed, options.memory_budget, unique=options.unique)
    inputs = inputs_for(strategy, features, fixed, **given)
    selection = run_task(make_task(select, inputs._replace(labeled=np.flatnonzero(state.labels[keep] >= 0))))
    return keep[selection.indices], selection.remarks


def _spread(chosen: np.ndarray, audited: np.ndarray) -> np.ndarray:
    """The rows of a batch: those of the audit at even distances, so that a batch that is answered in part has
    had its share of both."""
    k, a = len(chosen) + len(audited), len(audited)
    places = (np.arange(a) * k + k // 2) // a if a else np.zeros(0, np.int64)
    rows = np.empty(k, np.int64)
    is_audited = np.zeros(k, bool)
    is_audited[places] = True
    rows[is_audited], rows[~is_audited] = audited, chosen
    return rows
