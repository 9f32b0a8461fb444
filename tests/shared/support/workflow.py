"""Dependencies in a reign, and the small workflow that its tests speak of."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from callsheet.actors.actor import deliver, sent
from callsheet.actors.dependencies.dependencies import Dependencies
from callsheet.actors.lifecycle import FINAL
from callsheet.actors.messages import (
    Admit,
    Found,
    GroupEnd,
    GroupsMoved,
    Lead,
    MadeRun,
    Plan,
    PlanItem,
    Resolve,
    RunsMade,
    SubmitItem,
    Unblock,
)
from callsheet.actors.records import End, Job, JobRecord, Run, RunRecord, RunState
from support.actors import NOW, SECOND, make_job, make_record

SLOT = f"s/{NOW}"
A, B, C, D = make_job("a"), make_job("b", after=("a",)), make_job("c", after=("a",)), make_job("d", after=("b", "c"))


def leading(*jobs: Job) -> Dependencies:
    """Dependencies in a reign, with these jobs in the store."""
    actor = Dependencies()
    waiting = tuple(make_record(job) for job in jobs if job.after)
    roots = tuple(make_record(job) for job in jobs if not job.after)
    deliver(actor, Lead(1, "n"), Found("edges/1", waiting), Found("roots/1", roots), now=NOW)
    return actor


def plan(actor: Dependencies, job: Job, arguments: bytes = b"") -> list[Any]:
    """The jobs of the runs that are made when a job is fired by hand, and whether each waits."""
    message = Plan("k", "client-1", "trigger", (PlanItem(job, SubmitItem(job.name, arguments)),))
    (admit,) = sent(deliver(actor, message, now=NOW), Admit)
    return [(draft.job.name, draft.waits) for draft in admit.drafts]


def made(actor: Dependencies, *names: str, waits: str = "") -> list[Any]:
    """Tell of new runs of these jobs, numbered from 1, of which those in `waits` wait for their upstreams."""
    after = {job.name: job.after for job in (A, B, C, D) if job.name in waits}
    runs = tuple(waiting(i, name, *after.get(name, ())) for i, name in enumerate(names, 1))
    return deliver(actor, RunsMade("m", runs), now=NOW)


def rebuilt(actor: Dependencies, *runs: MadeRun) -> list[Any]:
    """Tell of runs of whose groups others may have ended in an earlier reign."""
    return deliver(actor, RunsMade("m", runs, rebuilt=True), now=NOW)


def waiting(run_id: int, job: str, *after: str, group: str = SLOT, deadline_at: int = NOW + 60 * SECOND) -> MadeRun:
    """A run that waits for runs of these jobs."""
    return MadeRun(run_id, "t", job, group, after, None, deadline_at)


def row(run_id: int, job: str, state: RunState, group: str = SLOT) -> RunRecord:
    """A run as the store knows it; one that has ended has returned its job's name."""
    run = Run(run_id, "t", job, 1, "slot", None, group, NOW, NOW, 0, b"")
    return RunRecord(run, state, End(run_id, state, NOW, result=job.encode()) if state in FINAL else None)


def ended(
    actor: Dependencies, run_id: int, name: str, state: RunState = RunState.SUCCEEDED, group: str = SLOT
) -> list[Any]:
    """Tell of the end of a run, which has returned its job's name."""
    return deliver(actor, GroupsMoved("e", (GroupEnd(run_id, "t", name, group, state, name.encode()),)), now=NOW)


def verdicts(effects: list[Any]) -> list[Any]:
    """What becomes of runs that wait."""
    return sent(effects, (Unblock, Resolve))


def removed(job: Job) -> JobRecord:
    """A job that was removed."""
    record = make_record(job)
    return JobRecord(job, replace(record.state, status="removed"))
