"""What is known of a run, put together from the facts: its row, its attempts, its claims, its condition, its end.

A claim is a run's current one as long as no attempt with its fence (or a later one) came back; fences only grow, so this
needs no order between claims and attempts. The state of a live run is as far as a store can know it: a store has no clock
and keeps no list of who waits for whom, so a run that is blocked, or whose wait is over, may be shown READY or DELAYED.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ..records import ClaimEntry, Condition, End, LiveRun, Run, RunRecord, RunState
from .store import MAX_PAGE


class Progress(Struct, frozen=True, gc=False, array_like=True):
    """What a run has spent: from its newest attempt, and the greatest fence among all that came back."""

    attempts: int
    crashes: int
    next_at: int
    ended_at: int
    fence: int


class Holder(Struct, frozen=True, gc=False, array_like=True):
    """The newest claim of a run, and the node and incarnation that hold it."""

    entry: ClaimEntry
    node: str
    incarnation: str


class Facts(Struct, gc=False):
    """What stands in the store about a live run beside its row."""

    progress: Progress | None = None
    holder: Holder | None = None
    condition: Condition | None = None

    def current(self) -> Holder | None:
        """The claim that counts: None if its attempt came back."""
        if self.holder is None or (self.progress is not None and self.progress.fence >= self.holder.entry.fence):
            return None
        return self.holder


NO_FACTS: Final = Facts()


def live_run(run: Run, facts: Facts) -> LiveRun:
    """What a leader rebuilds its memory of a run from."""
    progress, holder = facts.progress, facts.current()
    return LiveRun(
        run=run,
        attempts=progress.attempts if progress else 0,
        crashes=progress.crashes if progress else 0,
        next_at=progress.next_at if progress else 0,
        claim=holder.entry if holder else None,
        claimed_by=holder.node if holder else "",
        incarnation=holder.incarnation if holder else "",
        condition=facts.condition,
    )


def ended_record(run: Run, end: End) -> RunRecord:
    """A run that has ended, as it is shown."""
    return RunRecord(run=run, state=end.state, end=end, attempts=end.attempt, reason=end.reason)


def live_record(run: Run, facts: Facts) -> RunRecord:
    """A run that has not ended, as it is shown."""
    state, look_at = live_state(run, facts)
    return RunRecord(
        run=run,
        state=state,
        attempts=facts.progress.attempts if facts.progress else 0,
        reason=facts.condition.reason if facts.condition else "",
        look_at=look_at,
    )


def live_state(run: Run, facts: Facts) -> tuple[RunState, int | None]:
    """The state of a live run as far as a store knows it, and the instant it waits for."""
    if facts.condition is not None:
        return facts.condition.state, None
    if facts.current() is not None:
        return RunState.CLAIMED, None
    if facts.progress is not None:
        waits = facts.progress.next_at > facts.progress.ended_at
        return (RunState.DELAYED, facts.progress.next_at) if waits else (RunState.READY, None)
    if run.not_before > run.created_at:
        return RunState.DELAYED, run.not_before
    return RunState.READY, None


def page_size(limit: int) -> int:
    """The number of rows that a question with this limit is answered with at most."""
    return max(0, min(limit, MAX_PAGE))
