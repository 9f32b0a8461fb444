"""Drafts of runs that clients ask for."""

from __future__ import annotations

from .messages import Draft, SubmitItem
from .records import Cause, Job


def draft_of(job: Job, item: SubmitItem, cause: Cause, *, group: str = "", waits: bool = False) -> Draft:
    """Return the draft of a run that was asked for; alone, unless it has a group."""
    return Draft(job, cause, None, group, item.arguments, item.token, item.priority, item.not_before, waits)
