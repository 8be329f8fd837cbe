"""Batch after batch with people who label: what to ask next, what they answered, how good the model is."""

from badge_jax.campaign.head import HEADS, TrainedHead, fit_head, head_outputs
from badge_jax.campaign.options import CampaignOptions, check_options
from badge_jax.campaign.pools import FrozenPool
from badge_jax.campaign.propose import Proposal, current_model, frozen_pool, propose
from badge_jax.campaign.state import (
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

__all__ = [
    "HEADS",
    "SKIPPED",
    "CampaignOptions",
    "CampaignState",
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
    "offered",
    "propose",
    "reserved",
    "take",
    "training_rows",
]
