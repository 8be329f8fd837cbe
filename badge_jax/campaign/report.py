"""Where a campaign stands: labels, how good the model is, and whether to go on."""

import itertools
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from badge_jax.campaign.audit import SETTLED_AT, SETTLED_FOR, Audit, agreement, audit_of, has_settled
from badge_jax.campaign.folder import Campaign, read_predictions, scratch_folder
from badge_jax.campaign.inputs import OwnOutputs, held_out, open_own_outputs, open_pool
from badge_jax.campaign.propose import current_model
from badge_jax.campaign.state import audit_rows, reserved, training_rows


class ModelNow(NamedTuple):
    """The newest model, and what is known of it.

    Attributes:
        what: which model it is, for people.
        predictions: [n] int32, its classes for all rows.
        test: rows of the held-out ones that it has right, and how many there are; None where that is not known.
        is_own: whether it is the user's own model, not the head.
        train_accuracy: share of its labels that the head had right in its last epoch; None where that is not
            known.
    """

    what: str
    predictions: np.ndarray
    test: tuple[int, int] | None
    is_own: bool
    train_accuracy: float | None = None


class CampaignStatus(NamedTuple):
    """Where a campaign stands.

    Attributes:
        num_rows: n, rows of the pool.
        classes: names of the c classes.
        num_batches: batches so far.
        batch_size: rows of the last batch.
        num_open: those without an answer.
        labels_of_class: [c] int64, labels of each class that models are trained on.
        num_audited: labels that are kept for the audit.
        num_excluded: rows that were skipped and are not offered again.
        model: the newest model; None where there is none yet.
        audit: what the audit says of it; None without a model or an audit.
        predicted_of_class: [c] int64, rows of the pool that the model gives each class; None without a model.
        agreements: κ of each pair of successive models, the last pair last. A model after a part of a batch
            does not count here, nor do those before a change between the head and models of one's own.
        changed: share of the pool to which the last two of these give different classes; None for fewer.
    """

    num_rows: int
    classes: tuple[str, ...]
    num_batches: int
    batch_size: int
    num_open: int
    labels_of_class: np.ndarray
    num_audited: int
    num_excluded: int
    model: ModelNow | None
    audit: Audit | None
    predicted_of_class: np.ndarray | None
    agreements: list[float]
    changed: float | None


def campaign_status(
    campaign: Campaign, logits: Path | None = None, *, probabilities: Path | None = None
) -> CampaignStatus:
    """Finds out where a campaign stands. Trains the head if there are labels that no model has seen yet.

    Args:
        campaign: an open one.
        logits: file with the outputs of a model of your own, in place of the head's, see `next_batch`.
        probabilities: the same, in place of logits.

    Raises:
        InputError: for files that are missing, damaged or changed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign
        >>> from badge_jax.campaign import campaign_status, open_campaign
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> files = CampaignFiles(folder / "features.npy")
        >>> start_campaign(folder / "pets", CampaignOptions(("cat", "dog")), files)
        >>> with open_campaign(folder / "pets") as campaign:
        ...     campaign_status(campaign).num_batches
        0
    """
    state, c = campaign.state, len(campaign.options.classes)
    models = _models_of_batches(campaign)
    now = _model_now(campaign, open_own_outputs(logits, probabilities))
    newest = now or (models[-1] if models else None)
    if now is not None and not state.is_open.any():
        models.append(now)  # a part of a batch changes little, and would pass for settled predictions
    counted = audit_rows(state)
    same = list(itertools.takewhile(lambda model: model.is_own == models[-1].is_own, reversed(models)))
    pairs = list(itertools.pairwise(reversed(same)))  # a head and a model of one's own differ for other reasons
    return CampaignStatus(
        num_rows=len(state.labels),
        classes=campaign.options.classes,
        num_batches=state.num_batches,
        batch_size=len(state.batch),
        num_open=int(state.is_open.sum()),
        labels_of_class=np.bincount(state.labels[training_rows(state)], minlength=c),
        num_audited=int((state.labels[state.reserve] >= 0).sum()),
        num_excluded=int((state.excluded & (state.labels < 0)).sum()),
        model=newest,
        audit=None
        if newest is None or not len(state.reserve)
        else audit_of(state.labels[counted], newest.predictions[counted], c),
        predicted_of_class=None if newest is None else np.bincount(newest.predictions, minlength=c),
        agreements=[agreement(a.predictions, b.predictions, c) for a, b in pairs],
        changed=float(np.mean(pairs[-1][0].predictions != pairs[-1][1].predictions)) if pairs else None,
    )


def status_lines(status: CampaignStatus) -> list[str]:
    """What `badge-jax campaign status` prints.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignStatus, status_lines
        >>> empty = np.zeros(2, int)
        >>> status = CampaignStatus(50, ("cat", "dog"), 0, 0, 0, empty, 0, 0, None, None, None, [], None)
        >>> print(*status_lines(status), sep="\\n")
        pool: 50 rows, 2 classes
        labels: 0 for training
        batch: none yet
        model: none yet
    """
    num_training = int(status.labels_of_class.sum())
    audit = f", {status.num_audited:,} for the audit" if status.num_audited else ""
    num_skipped = status.num_excluded
    skipped = f"; {num_skipped:,} row{'s' if num_skipped != 1 else ''} skipped" if num_skipped else ""
    rest = f"{status.num_open:,} of {status.batch_size:,} rows open" if status.num_open else "all answered"
    lines = [
        f"pool: {status.num_rows:,} rows, {len(status.classes)} classes",
        f"labels: {num_training:,} for training{audit}{skipped}",
        f"batch: {status.num_batches}, {rest}" if status.num_batches else "batch: none yet",
    ]
    if status.model is None:
        return [*lines, "model: none yet"]
    lines.append(f"model: {status.model.what}")
    if status.model.train_accuracy is not None:
        lines.append(
            f"training: {100 * status.model.train_accuracy:.1f} % of its labels right in the last epoch"
        )
    if status.audit is not None:
        lines += _audit_lines(status.audit, status.num_audited)
    if status.model.test is not None:
        right, total = status.model.test
        lines.append(f"held-out rows: {right:,} of {total:,} right, accuracy {right / total:.3f}")
    lines += _stability_lines(status)
    return [*lines, "", *_class_table(status)]


def _models_of_batches(campaign: Campaign) -> list[ModelNow]:
    """The models that the batches were chosen by, the last one last."""
    models: list[ModelNow] = []
    last: tuple[int | None, ...] | None = None
    for line in campaign.batches:
        predictions, own = read_predictions(campaign, line), _own_of(line)
        of = (line["labels"], *own.values())
        if predictions is None and line["predictions"] is not None:
            models, last = [], None  # lost: those before and after it do not follow each other
        elif predictions is not None and of != last:  # else it is the same model, from the same labels
            last = of
            count, test = line["num_training"], line["test"]
            kind = f"your {next(iter(own))}" if own else f"{campaign.options.head} head on {count:,} labels"
            what = f"{kind}, before batch {line['batch']}"
            trained = line.get("train_accuracy")  # a log of an earlier version has none
            models.append(ModelNow(what, predictions, tuple(test) if test else None, count is None, trained))
    return models


def _own_of(line: Mapping[str, Any]) -> dict[str, int]:
    """Kind → checksum of the outputs of the user's own model that a batch was chosen by, if it was."""
    kinds = ("logits", "probabilities")  # a log of an earlier version has only the first
    return {kind: line[kind] for kind in kinds if line.get(kind) is not None}


def _model_now(campaign: Campaign, own: OwnOutputs | None) -> ModelNow | None:
    """The model that the next batch would be chosen by; None where it is that of the last batch, or there is
    none."""
    last = _own_of(campaign.batches[-1]) if campaign.batches else {}
    given = {} if own is None else {own.kind: own.crc32}
    if own is None and (last or not _has_new_labels(campaign)):
        return None
    if own is not None and given == last:
        return None  # they are those that the last batch was chosen by
    with scratch_folder(campaign) as scratch:
        pool = open_pool(campaign.directory, campaign.config)
        outputs = {} if own is None else {own.kind: own.matrix}
        model = current_model(campaign.options, campaign.state, pool, **outputs, scratch=scratch)
    if model is None:
        return None
    trained = f"{campaign.options.head} head on {model.num_training or 0:,} labels"
    return ModelNow(
        trained if own is None else f"your {own.kind} in {own.path}",
        model.outputs.predictions,
        held_out(campaign.directory, campaign.config, model.head),
        model.num_training is None,
        None if model.head is None else model.head.train_accuracy,
    )


def _has_new_labels(campaign: Campaign) -> bool:
    """Whether labels for training have come, or changed, since the last batch was chosen."""
    outside = ~reserved(campaign.state)
    return not np.array_equal(campaign.state.labels[outside], campaign.labels_before[outside])


def _audit_lines(audit: Audit, num_audited: int) -> list[str]:
    waiting = []
    if num_waiting := num_audited - audit.total:
        waiting = [
            f"audit: {num_waiting:,} labels wait: the audit counts from the head of its order up to the first "
            "row without an answer"
        ]
    if not audit.total:
        return waiting or ["audit: no labels yet"]
    num_seen = int((audit.rows_of_class > 0).sum())
    return [
        f"audit: {audit.num_correct:,} of {audit.total:,} rows right, accuracy {audit.accuracy:.3f}, 95 % "
        f"interval {audit.low:.3f} to {audit.high:.3f} (Wilson)",
        f"balanced accuracy: {audit.balanced_accuracy:.3f}, over the {num_seen} of {len(audit.rows_of_class)} "
        "classes that occur in the audit",
        *waiting,
    ]


def _stability_lines(status: CampaignStatus) -> list[str]:
    rule = f"rule: mean kappa of the last {SETTLED_FOR} pairs of successive models at least {SETTLED_AT}"
    if status.changed is None:
        return [f"stability: one model so far ({rule})"]
    last = status.agreements[-SETTLED_FOR:]
    mean = statistics.fmean(last)
    remark = (
        "the predictions have settled: more labels will change little, and you may stop"
        if has_settled(status.agreements)
        else "the predictions have not settled yet"
    )
    pairs = "pair" if len(last) == 1 else f"{len(last)} pairs"
    return [
        f"stability: the last two models differ on {100 * status.changed:.1f} % of the pool; mean kappa of the "
        f"last {pairs} of models {mean:.3f}",
        f"{remark} ({rule})",
    ]


def _class_table(status: CampaignStatus) -> list[str]:
    """A line for each class: labels, rows in the audit, those of them that are right, and predictions."""
    columns = [("class", [name[:40] for name in status.classes]), ("labels", status.labels_of_class.tolist())]
    if status.audit is not None:
        columns += [
            ("audit", status.audit.rows_of_class.tolist()),
            ("right", status.audit.correct_of_class.tolist()),
        ]
    if status.predicted_of_class is not None:
        columns.append(("predicted", status.predicted_of_class.tolist()))
    cells = [[name, *map(str, values)] for name, values in columns]
    widths = [max(map(len, column)) for column in cells]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in zip(*cells, strict=True)
    ]
