"""The next batch of a campaign in a folder, or the open one again."""

import zlib
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from badge_jax import names
from badge_jax._version import __version__
from badge_jax.campaign.folder import Campaign, append, scratch_folder, write_predictions
from badge_jax.campaign.inputs import OwnOutputs, check_rows, code_of, held_out, open_own_outputs, open_pool
from badge_jax.campaign.pools import FrozenPool
from badge_jax.campaign.propose import guesses, propose
from badge_jax.campaign.state import CampaignState, reserved, training_rows
from badge_jax.errors import InputError
from badge_jax.strategies import STRATEGIES


class Batch(NamedTuple):
    """A batch to label.

    Attributes:
        number: from 1.
        rows: [k] int64, in its order.
        is_audit: [k] bool.
        is_open: [k] bool, rows without an answer.
        predicted: [k] int32, the classes that the model behind the batch gives its rows; None without a model.
        scores: [k] float64, the model's probabilities of these classes; None without a model.
        remarks: what is valid and looks wrong.
        pool: what it was chosen from; None for a batch that was open already, for which no pool was read.
    """

    number: int
    rows: np.ndarray
    is_audit: np.ndarray
    is_open: np.ndarray
    predicted: np.ndarray | None
    scores: np.ndarray | None
    remarks: list[str]
    pool: FrozenPool | None = None


def next_batch(
    campaign: Campaign, k: int, logits: Path | None = None, *, probabilities: Path | None = None
) -> tuple[Campaign, Batch]:
    """The open batch, or the next one, which is then in the log.

    Args:
        campaign: an open one.
        k: rows of a batch.
        logits: file with the logits [n, c] of a model of your own, in place of the head's; or with [n] or
            [n, 1] of the second of two classes.
        probabilities: file with its probabilities, in place of logits.

    Returns:
        The campaign, and the batch.

    Raises:
        InputError: if a batch of another size, or from other outputs, is open; and as `propose` does.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign
        >>> from badge_jax.campaign import next_batch, open_campaign
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> options = CampaignOptions(("cat", "dog"), cold_start="random")
        >>> start_campaign(folder / "pets", options, CampaignFiles(folder / "features.npy"))
        >>> with open_campaign(folder / "pets") as campaign:
        ...     campaign, batch = next_batch(campaign, 10)
        >>> batch.number, len(batch.rows)
        (1, 10)
    """
    if k < 1:
        raise InputError(f"--k is {k}; wanted 1 or more")
    own = open_own_outputs(logits, probabilities)
    given = {} if own is None else {own.kind: own.matrix}
    state, options = campaign.state, campaign.options
    if state.is_open.any():
        check_rows(campaign.directory, campaign.config)
        _check_same(campaign, k, own)
        return campaign, _last_batch(campaign, [])
    now = code_of(options)
    remarks = [
        f"{file['file']} has changed since the campaign began"
        for what, file in now.items()
        if file != campaign.config["code"].get(what)
    ]
    pool = open_pool(campaign.directory, campaign.config)
    with scratch_folder(campaign) as scratch:
        proposal = propose(options, state, pool, k, **given, scratch=scratch)
        said = None if proposal.model is None else guesses(proposal.model, proposal.rows)
    number, model = state.num_batches + 1, proposal.model
    what = "cold_start" if model is None else "strategy"
    line = {
        "kind": "batch",
        "batch": number,
        "versions": {"badge_jax": __version__, "jax": jax.__version__},
        "strategy": names.written_out(names.find(what, getattr(options, what), STRATEGIES)),
        "code": now.get(what),
        "rows": proposal.rows.tolist(),
        "audit": proposal.rows[reserved(state)[proposal.rows]].tolist(),
        "num_training": None if model is None else model.num_training,
        "train_accuracy": None if model is None or model.head is None else round(model.head.train_accuracy, 4),
        "labels": None if model is None or model.num_training is None else _checksum_of_labels(state),
        "predicted": None if said is None else said[0].tolist(),
        "scores": None if said is None else said[1].tolist(),
        "logits": None,
        "probabilities": None,
        **({} if own is None else {own.kind: own.crc32}),
        "test": None if model is None else held_out(campaign.directory, campaign.config, model.head),
        "predictions": None
        if model is None
        else write_predictions(campaign, number, model.outputs.predictions),
    }
    campaign = append(campaign, line)
    return campaign, _last_batch(campaign, [*remarks, *proposal.remarks])._replace(pool=pool)


def _check_same(campaign: Campaign, k: int, own: OwnOutputs | None) -> None:
    """Raises InputError unless the open batch is of this size and, where outputs are given, from them."""
    state = campaign.state
    num_open, size = int(state.is_open.sum()), len(state.batch)
    what = f"batch {state.num_batches} of {size} rows is open, {num_open} of them without an answer"
    if k != size:
        raise InputError(f"{what}; tell its answers first, or give --k {size} to have it again")
    if own is not None and own.crc32 != campaign.batches[-1].get(own.kind):
        raise InputError(f"{what}, and was not chosen by these {own.kind}; tell its answers first")


def _last_batch(campaign: Campaign, remarks: list[str]) -> Batch:
    state, line = campaign.state, campaign.batches[-1]
    predicted, scores = line.get("predicted"), line.get("scores")  # a log of an earlier version has none
    return Batch(
        state.num_batches,
        state.batch,
        reserved(state)[state.batch],
        state.is_open,
        None if predicted is None else np.array(predicted, np.int32),
        None if scores is None else np.array(scores, np.float64),
        remarks,
    )


def _checksum_of_labels(state: CampaignState) -> int:
    """CRC-32 of what a head is trained on."""
    rows = training_rows(state)
    return zlib.crc32(state.labels[rows].astype("<i4").tobytes(), zlib.crc32(rows.astype("<i8").tobytes()))
