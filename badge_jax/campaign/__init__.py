"""Batch after batch with people who label: what to ask next, what they answered, how good the model is.

The functions of `state`, `propose` and `audit` are pure; those of `folder` and `tables` keep a campaign in a
folder.
"""

from badge_jax.campaign.answers import Answers, read_answers
from badge_jax.campaign.folder import (
    Batch,
    Campaign,
    next_batch,
    open_campaign,
    start_campaign,
    tell_answers,
)
from badge_jax.campaign.head import HEADS, TrainedHead, fit_head, head_outputs
from badge_jax.campaign.inputs import CampaignFiles
from badge_jax.campaign.options import CampaignOptions, check_options
from badge_jax.campaign.pools import FrozenPool
from badge_jax.campaign.propose import CurrentModel, Proposal, current_model, frozen_pool, propose
from badge_jax.campaign.state import (
    ON_SKIPPED,
    SKIPPED,
    CampaignState,
    Taken,
    ask,
    audit_rows,
    begin,
    next_audit_rows,
    offered,
    reserved,
    take,
    training_rows,
)
from badge_jax.campaign.tables import write_batch, write_labels

__all__ = [
    "HEADS",
    "ON_SKIPPED",
    "SKIPPED",
    "Answers",
    "Batch",
    "Campaign",
    "CampaignFiles",
    "CampaignOptions",
    "CampaignState",
    "CurrentModel",
    "FrozenPool",
    "Proposal",
    "Taken",
    "TrainedHead",
    "ask",
    "audit_rows",
    "begin",
    "check_options",
    "current_model",
    "fit_head",
    "frozen_pool",
    "head_outputs",
    "next_audit_rows",
    "next_batch",
    "offered",
    "open_campaign",
    "propose",
    "read_answers",
    "reserved",
    "start_campaign",
    "take",
    "tell_answers",
    "training_rows",
    "write_batch",
    "write_labels",
]
