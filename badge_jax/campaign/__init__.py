"""Batch after batch with people who label: what to ask next, what they answered, how good the model is.

The functions of `state`, `propose` and `audit` are pure; those of `folder`, `batches`, `tell` and `tables`
keep a campaign in a folder.
"""

from badge_jax.campaign.answers import Answers, read_answers
from badge_jax.campaign.audit import Audit, agreement, audit_of, has_settled, wilson_interval
from badge_jax.campaign.batches import Batch, next_batch
from badge_jax.campaign.folder import Campaign, open_campaign, start_campaign
from badge_jax.campaign.head import HEADS, TrainedHead, fit_head, head_outputs
from badge_jax.campaign.inputs import CampaignFiles
from badge_jax.campaign.label_studio import label_studio_tasks, labeling_interface
from badge_jax.campaign.options import CampaignOptions, check_options
from badge_jax.campaign.page import write_page
from badge_jax.campaign.pools import FrozenPool
from badge_jax.campaign.propose import CurrentModel, Proposal, current_model, frozen_pool, propose
from badge_jax.campaign.report import CampaignStatus, ModelNow, campaign_status, status_lines
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
    withdraw,
)
from badge_jax.campaign.tables import write_batch, write_labels
from badge_jax.campaign.tell import tell_answers, withdraw_answers

__all__ = [
    "HEADS",
    "ON_SKIPPED",
    "SKIPPED",
    "Answers",
    "Audit",
    "Batch",
    "Campaign",
    "CampaignFiles",
    "CampaignOptions",
    "CampaignState",
    "CampaignStatus",
    "CurrentModel",
    "FrozenPool",
    "ModelNow",
    "Proposal",
    "Taken",
    "TrainedHead",
    "agreement",
    "ask",
    "audit_of",
    "audit_rows",
    "begin",
    "campaign_status",
    "check_options",
    "current_model",
    "fit_head",
    "frozen_pool",
    "has_settled",
    "head_outputs",
    "label_studio_tasks",
    "labeling_interface",
    "next_audit_rows",
    "next_batch",
    "offered",
    "open_campaign",
    "propose",
    "read_answers",
    "reserved",
    "start_campaign",
    "status_lines",
    "take",
    "tell_answers",
    "training_rows",
    "wilson_interval",
    "withdraw",
    "withdraw_answers",
    "write_batch",
    "write_labels",
    "write_page",
]
