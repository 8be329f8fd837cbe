"""The page of a campaign's batch."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from badge_jax.campaign.batches import Batch
from badge_jax.campaign.folder import Campaign, read_predictions
from badge_jax.campaign.inputs import open_pool
from badge_jax.campaign.state import reserved
from badge_jax.files import write_whole
from badge_jax.selection import (
    NUM_SHOWN,
    BatchSummary,
    Picture,
    batch_page,
    pictures,
    pool_map,
    remarks_on_pictures,
)


def write_page(campaign: Campaign, batch: Batch, images: Path | None = None) -> Path:
    """Writes the page of the last batch into the campaign's folder, see `batch_page`.

    Args:
        campaign: an open one.
        batch: its last.
        images: folder with a picture for each id; None for no pictures.

    Returns:
        Path of the page, ``batch-N.html``.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign
        >>> from badge_jax.campaign import next_batch, open_campaign, write_page
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> options = CampaignOptions(("cat", "dog"), cold_start="random")
        >>> start_campaign(folder / "pets", options, CampaignFiles(folder / "features.npy"))
        >>> with open_campaign(folder / "pets") as campaign:
        ...     write_page(*next_batch(campaign, 10)).name
        'batch-1.html'
    """
    options, line, rows = campaign.options, campaign.batches[-1], batch.rows
    is_labeled = (campaign.labels_before >= 0) | campaign.excluded_before
    predictions, pool = read_predictions(campaign, line), batch.pool
    if pool is None:
        pool = open_pool(campaign.directory, campaign.config)
    is_free = ~is_labeled & ~reserved(campaign.state)
    ids = None if campaign.ids is None else [campaign.ids[row] for row in rows]
    # people who see a guess tend to agree with it, and the audit would find the model better than it is
    shown = None if predictions is None else np.where(batch.is_audit, -1, predictions[rows])
    summary = BatchSummary(
        options.cold_start if line["predictions"] is None else options.strategy,
        options.seed,
        len(is_labeled),
        int(is_labeled.sum()),
        rows,
        ids,
        {} if shown is None else {"predicted_class": shown},
        None if predictions is None else np.bincount(predictions[is_free], minlength=len(options.classes)),
        pool_map(pool.features, "features", rows, is_labeled),
        None if images is None or ids is None else _found(images, ids[:NUM_SHOWN]),
        options.classes,
        _model_of(line, options.head),
    )
    path = campaign.directory / f"batch-{batch.number}.html"
    write_whole(path, batch_page(summary).encode())
    return path


def _model_of(line: Mapping[str, Any], head: str) -> str | None:
    """What a batch was chosen by, in words; None for a cold start."""
    for kind in ("logits", "probabilities"):
        if line.get(kind) is not None:
            return f"your {kind}"
    labels = line["num_training"]
    return (
        None if labels is None else f"the {head} head, trained on {labels:,} label{'s' if labels != 1 else ''}"
    )


def _found(images: Path, ids: list[str]) -> list[Picture]:
    found = pictures(images, ids)
    for remark in remarks_on_pictures(found, ids):
        warnings.warn(remark, UserWarning, stacklevel=3)
    return found
