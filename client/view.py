"""What queries answer: jobs, runs and decisions as a person reads them, with aware datetimes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from ..actors.messages import MemberStatus, NodeState
from ..actors.records import (
    EXECUTOR_KINDS,
    Attempt,
    Decision,
    End,
    ErrorInfo,
    JobRecord,
    JobStatus,
    RunRecord,
    RunState,
)
from ..actors.schedule import is_manual
from ..triggers import describe, to_datetime


class JobView(Struct, frozen=True, kw_only=True):
    """A job: its trigger as a sentence, and where it stands. `next_due` None: never, or when another run has ended.

    It runs only on nodes that bear its `labels`, and takes its `resources` of them while it runs.
    """

    name: str
    tenant: str
    status: JobStatus
    trigger: str
    next_due: datetime | None
    fires: int
    executor: str
    delivery: str
    tags: tuple[str, ...]
    after: tuple[str, ...]
    labels: tuple[str, ...]
    resources: dict[str, int]
    version: int
    description: str


class RunView(Struct, frozen=True, kw_only=True):
    """A run: its state, and for one that has not ended why not and when somebody looks again.

    `error` and `traceback` are of what its last attempt raised, empty if nothing.
    """

    run_id: int
    job: str
    tenant: str
    state: RunState
    cause: str
    slot: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    reason: str
    error: str
    traceback: str
    look_at: datetime | None
    node: str


class AttemptView(Struct, frozen=True, kw_only=True):
    """An attempt of a run that is over: how it ended, what it raised, what it printed and logged.

    `outcome` is one of `callsheet.actors.records.AttemptOutcome`, or, for the last attempt, the state of its run in small letters.
    `started_at` None: it was given back before its function was called. `error` and `traceback` are empty if it raised nothing.
    """

    attempt: int
    node: str
    outcome: str
    started_at: datetime | None
    ended_at: datetime
    error: str
    traceback: str
    logs: str


class DecisionView(Struct, frozen=True, kw_only=True):
    """What became of a slot, or of a row of `count` slots from `slot` to `last`."""

    job: str
    slot: datetime
    last: datetime
    count: int
    decision: str
    decided_at: datetime
    run_id: int | None
    into: datetime | None


class MemberView(Struct, frozen=True, kw_only=True):
    """A node of a cluster, as its leader knows it.

    `leads`: it is the leader; `candidate`: it may become it, unlike one that only works. `places` by kind (thread, async,
    process, command): how many attempts are with it, and how many it runs at once; short work is handed out ahead, so the
    first may be the greater. `silent_s`: how long ago it was last
    heard. `skew_s`: its UTC clock less the leader's, with the way of a message in it. `address`: where it listens, empty if
    nowhere.
    """

    node: str
    address: str
    leads: bool
    candidate: bool
    state: NodeState
    labels: tuple[str, ...]
    places: dict[str, tuple[int, int]]
    silent_s: float
    skew_s: float


def view_member(status: MemberStatus) -> MemberView:
    """Return a node as a person reads it; kinds without a place there are left out."""
    kinds = [kind for kind in EXECUTOR_KINDS if status.room.get(kind) or status.out.get(kind)]
    return MemberView(
        node=status.node,
        address=status.address,
        leads=status.leads,
        candidate=status.candidate,
        state=status.state,
        labels=status.labels,
        places={kind: (status.out.get(kind, 0), status.room.get(kind, 0)) for kind in kinds},
        silent_s=status.silent_us / 1e6,
        skew_s=status.skew_us / 1e6,
    )


def view_job(record: JobRecord) -> JobView:
    """Return a job as a person reads it."""
    job, state = record.job, record.state
    return JobView(
        name=job.name,
        tenant=job.tenant,
        status=state.status,
        trigger="after " + ", ".join(job.after) if job.after and is_manual(job) else describe(job.trigger),
        next_due=_moment(state.next_due) if state.status == "active" else None,
        fires=state.fires,
        executor=job.executor,
        delivery=job.delivery,
        tags=job.tags,
        after=job.after,
        labels=job.labels,
        resources=job.resources,
        version=job.version,
        description=job.description,
    )


def view_run(record: RunRecord) -> RunView:
    """Return a run as a person reads it."""
    run, end = record.run, record.end
    return RunView(
        run_id=run.run_id,
        job=run.job,
        tenant=run.tenant,
        state=record.state,
        cause=run.cause,
        slot=_moment(run.slot),
        created_at=to_datetime(run.created_at),
        started_at=_moment(end.started_at or None) if end is not None else None,
        ended_at=_moment(end.ended_at) if end is not None else None,
        attempts=end.attempt if end is not None else record.attempts,
        reason=end.reason if end is not None else record.reason,
        error="" if end is None else _error_text(end.error),
        traceback="" if end is None else _traceback(end.error),
        look_at=_moment(record.look_at) if end is None else None,
        node=end.node if end is not None else "",
    )


def view_attempts(stored: Iterable[Attempt], end: End | None) -> list[AttemptView]:
    """Return the attempts of a run as a person reads them, oldest first; the last stands in the run's end, if one had begun."""
    attempts = list(stored)
    views = [_view_attempt(it, it.outcome) for it in attempts]
    if end is not None and end.fence and all(it.fence != end.fence for it in attempts):
        views.append(_view_attempt(end, end.state.lower()))
    return views


def _view_attempt(it: Attempt | End, outcome: str) -> AttemptView:
    return AttemptView(
        attempt=it.attempt,
        node=it.node,
        outcome=outcome,
        started_at=_moment(it.started_at or None),
        ended_at=to_datetime(it.ended_at),
        error=_error_text(it.error),
        traceback=_traceback(it.error),
        logs=it.logs.decode(errors="replace"),
    )


def _error_text(error: ErrorInfo | None) -> str:
    return "" if error is None else f"{error.type}: {error.text}"


def _traceback(error: ErrorInfo | None) -> str:
    return "" if error is None else error.traceback


def view_decision(decision: Decision) -> DecisionView:
    """Return a decision as a person reads it."""
    return DecisionView(
        job=decision.job,
        slot=to_datetime(decision.slot),
        last=to_datetime(decision.last),
        count=decision.count,
        decision=str(decision.kind),
        decided_at=to_datetime(decision.at),
        run_id=decision.run_id,
        into=_moment(decision.into),
    )


def _moment(instant: int | None) -> datetime | None:
    return None if instant is None else to_datetime(instant)
