"""Texts of refusals that more than one actor gives."""

from __future__ import annotations

from .records import Run


def conflict_text(old: Run) -> str:
    """Say that an idempotency key is taken by a run that was submitted with something else."""
    return (
        f"the idempotency key {old.token!r} belongs to run {old.run_id} of job {old.job!r}, which was submitted with other "
        "arguments; use another key, or submit the same job with the same arguments"
    )
