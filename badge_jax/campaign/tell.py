"""What people answered, taken into the log of a campaign in a folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from badge_jax.campaign.answers import read_answers, read_rows
from badge_jax.campaign.folder import Campaign, append
from badge_jax.campaign.inputs import check_rows
from badge_jax.campaign.state import Taken, take, withdraw
from badge_jax.errors import InputError


def tell_answers(
    campaign: Campaign, paths: Sequence[Path], skipped: str | None = None
) -> tuple[Campaign, Taken]:
    """Takes the answers in files into the log, all of them or none.

    Args:
        campaign: an open one.
        paths: of the files, see `read_answers`.
        skipped: what becomes of rows with an empty label, "exclude" or "offer", see `take`. None: an empty
            label is no answer, what a labeling tool calls skipped is excluded, and files without any label are
            refused.

    Returns:
        The campaign, and what the answers did.

    Raises:
        InputError: as `read_answers`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign
        >>> from badge_jax.campaign import open_campaign, tell_answers
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> files = CampaignFiles(folder / "features.npy")
        >>> start_campaign(folder / "pets", CampaignOptions(("cat", "dog")), files)
        >>> _ = (folder / "answers.csv").write_text("index,label\\n3,cat\\n40,dog\\n")
        >>> with open_campaign(folder / "pets") as campaign:
        ...     campaign, taken = tell_answers(campaign, [folder / "answers.csv"])
        >>> taken.num_new
        2
    """
    check_rows(campaign.directory, campaign.config)
    classes, n = campaign.options.classes, len(campaign.state.labels)
    rows, labels, is_blank = read_answers(paths, n=n, classes=classes, ids=campaign.ids)
    if skipped is None and not (labels >= 0).any():
        raise InputError(
            f"{', '.join(map(str, paths))}: no label in {len(rows)} rows; to skip them all, say "
            "--skipped exclude or --skipped offer"
        )
    policy, num_blank = skipped or "exclude", 0
    if skipped is None:
        num_blank = int((is_blank & (campaign.state.labels[rows] < 0)).sum())
        rows, labels = rows[~is_blank], labels[~is_blank]
    _, taken = take(campaign.state, rows, labels, skipped=policy)
    taken = taken._replace(num_blank=num_blank)
    if not len(taken.rows):
        return campaign, taken
    told = {"rows": taken.rows.tolist(), "labels": taken.labels.tolist(), "skipped": policy}
    return append(campaign, {"kind": "answers", **told}), taken


def withdraw_answers(campaign: Campaign, paths: Sequence[Path]) -> tuple[Campaign, np.ndarray]:
    """Takes the answers to rows back, see `withdraw`. The log keeps them, and that they are withdrawn.

    Args:
        campaign: an open one.
        paths: of files that list rows, see `read_rows`.

    Returns:
        The campaign, and the rows that had an answer: [m] int64.

    Raises:
        InputError: as `read_rows`, and if none of the rows has an answer.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.campaign import CampaignFiles, CampaignOptions, start_campaign
        >>> from badge_jax.campaign import open_campaign, tell_answers, withdraw_answers
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(50, 4)))
        >>> files = CampaignFiles(folder / "features.npy")
        >>> start_campaign(folder / "pets", CampaignOptions(("cat", "dog")), files)
        >>> _ = (folder / "answers.csv").write_text("index,label\\n3,cat\\n40,dog\\n")
        >>> _ = (folder / "wrong.txt").write_text("40\\n")
        >>> with open_campaign(folder / "pets") as campaign:
        ...     campaign, _ = tell_answers(campaign, [folder / "answers.csv"])
        ...     campaign, rows = withdraw_answers(campaign, [folder / "wrong.txt"])
        >>> rows.tolist()
        [40]
    """
    check_rows(campaign.directory, campaign.config)
    rows = read_rows(paths, n=len(campaign.state.labels), ids=campaign.ids)
    _, withdrawn = withdraw(campaign.state, rows)
    if not len(withdrawn):
        raise InputError(
            f"--withdraw {', '.join(map(str, paths))}: none of the {len(rows)} rows has an answer; wanted rows "
            "that have one"
        )
    return append(campaign, {"kind": "withdrawn", "rows": withdrawn.tolist()}), withdrawn
