"""`callsheet jobs`, `runs`, `logs` and `explain`: what is there, and why."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from ..actors.records import DEFAULT_TENANT
from ..client.questions import Questions, read_state
from ..client.view import DecisionView, JobView, RunView
from ..triggers import to_datetime
from .option import DebugOption, JsonOption, LimitOption, StoreOption, TagOption, TenantOption
from .outcome import NotFound
from .output import Column, fields, is_terminal, local_text, show_json, show_table, utc_text
from .reach import asking, reading


def took_s(run: RunView) -> float | None:
    """Return how long a run's last attempt took, in seconds; None when it has not ended or never began."""
    if run.started_at is None or run.ended_at is None:
        return None
    return (run.ended_at - run.started_at).total_seconds()


def reason_of(row: DecisionView) -> str:
    """Return a decision as a sentence."""
    many = row.count > 1
    match row.decision:
        case "FIRED":
            return f"run {row.run_id}, decided {_late(row)} after the slot"
        case "COALESCED_INTO":
            into = "" if row.into is None else f" into that of {utc_text(row.into)}"
            return f"{'slots' if many else 'a slot'} that passed while nobody could fire went{into}"
        case "SKIPPED_OVERLAP":
            return "an earlier run had not ended" + ("" if row.run_id is None else f": run {row.run_id}")
        case "SKIPPED_LATE":
            return "found too late: older than the catch-up window"
        case "SKIPPED_CATCHUP":
            return "passed while nobody could fire, and the catch-up policy wants another or none"
        case "SKIPPED_PAUSED":
            return "the job was paused"
        case "SKIPPED_CALENDAR":
            return "its calendar excludes it"
        case _:
            return ""


def _late(row: DecisionView) -> str:
    seconds = max(0.0, (row.decided_at - row.slot).total_seconds())
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


JOBS: Final = [
    Column("job", lambda job: job.name),
    Column("status", lambda job: job.status),
    Column("next due", lambda job: job.next_due),
    Column("fires", lambda job: job.fires, right=True),
    Column("trigger", lambda job: job.trigger, wide=True),
    Column("tags", lambda job: job.tags, wide=True),
]
RUNS: Final = [
    Column("run", lambda run: run.run_id, right=True),
    Column("job", lambda run: run.job),
    Column("state", lambda run: run.state),
    Column("cause", lambda run: run.cause),
    Column("created", lambda run: run.created_at),
    Column("took", took_s, right=True),
    Column("attempts", lambda run: run.attempts, right=True),
    Column("what", lambda run: run.error or run.reason, wide=True),
]
DECISIONS: Final = [
    Column("slot", lambda row: row.slot),
    Column("decision", lambda row: row.decision),
    Column("slots", lambda row: row.count, right=True),
    Column("why", reason_of, wide=True),
]
EVENTS: Final = [
    Column("at", lambda row: to_datetime(row.at)),
    Column("event", lambda row: row.kind),
    Column("run", lambda row: row.run_id, right=True),
    Column("text", lambda row: row.text, wide=True),
]


def jobs_command(
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    tag: TagOption = None,
    limit: LimitOption = 1_000,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the jobs."""
    del debug
    with asking(store, tenant) as source:
        rows = source.jobs(tag=tag, limit=limit)
    if as_json:
        show_json([fields(row) for row in rows])
    else:
        show_table(rows, JOBS, "There are no jobs.")


def runs_command(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Only the runs of this job.")] = None,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only runs in this state.")] = None,
    tag: TagOption = None,
    limit: LimitOption = 20,
    before: Annotated[int | None, typer.Option("--before", metavar="RUN", help="Only runs before this one.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List runs, the newest first."""
    del debug
    wanted = None if state is None else read_state(state)
    with asking(store, tenant) as source:
        if job is not None:
            source.job_view(job)
        rows = source.runs(job, state=wanted, tag=tag, limit=limit, before=before)
    if as_json:
        show_json([fields(row) for row in rows])
    else:
        show_table(rows, RUNS, "There are no such runs.")


def logs_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's number, or a job's name for its newest run.")],
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what a run printed and logged, and the traceback of what it raised, attempt by attempt."""
    del debug
    with reading(store, tenant) as source:
        view = _find_run(source, run)
        attempts = source.attempts(view.run_id)
    if as_json:
        named = {"run_id": view.run_id, "job": view.job, "state": view.state}
        text = "".join(it.logs for it in attempts)
        each = [fields(it) for it in attempts]
        show_json({**named, "error": view.error, "traceback": view.traceback, "logs": text, "attempts": each})
        return
    moment = local_text if is_terminal() else utc_text
    for it in attempts:
        if len(attempts) > 1:
            print(f"--- attempt {it.attempt} on {it.node}: {it.outcome}, {moment(it.ended_at)}")
        for part in (it.logs, it.traceback):
            print(part, end="" if not part or part.endswith("\n") else "\n")


def explain_command(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The name of a job.")],
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what became of a job's slots, and why.

    The newest slot first; then what happened to the job itself.
    """
    del debug
    with asking(store, tenant) as source:
        view = source.job_view(job)
        decisions = source.decisions(job, limit=limit)
        events = source.events(job, limit=limit)
    if as_json:
        happened = [{**fields(event), "at": utc_text(to_datetime(event.at))} for event in events]
        told = [{**fields(row), "why": reason_of(row)} for row in decisions]
        show_json({"job": fields(view), "decisions": told, "events": happened})
        return
    if is_terminal():
        print(_sentence(view))
    show_table(decisions, DECISIONS, "No slot of it has been decided yet.")
    if events:
        if not is_terminal():
            print()
        show_table(events, EVENTS, "")


def _sentence(job: JobView) -> str:
    due = "" if job.next_due is None else f" Next due {local_text(job.next_due)}."
    needs = [*job.labels, *(f"{units} {name}" for name, units in job.resources.items())]
    where = f" It needs a node with {', '.join(needs)}." if needs else ""
    when = f". {job.trigger}" if job.trigger.endswith(".") else f", {job.trigger}."
    return f"{job.name} is {job.status}{when}{due}{where}"


def _find_run(source: Questions, given: str) -> RunView:
    if given.isdecimal():
        return source.run_view(int(given))
    source.job_view(given)
    rows: list[Any] = source.runs(given, limit=1)
    if not rows:
        raise NotFound(f"job {given!r} has had no run yet")
    return source.run_view(rows[0].run_id)
