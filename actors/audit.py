"""The audit: who changed what over the network, as events of the history.

A transport that knows who speaks on a line names him in the sender's address: `client-7~alice@n1`. What he changes is written
down as an event of kind `audit` by whoever stores the change, in the same transaction: there is no change without its line and
no line without its change. What is refused is no change; the guard of the transport logs it.

Whoever submits within the program itself has no name, and is not written down.
"""

from __future__ import annotations

from typing import Any, Final

from .actor import Address
from .messages import AddJobs, Admit, CancelLive, ChangeJob, DrainNode
from .records import Event, Job, Run

KIND: Final = "audit"

MAX_NAMED: Final = 20
"""Jobs that one line names; of more it says how many there are."""

MAX_REASON_LENGTH: Final = 200


def who(address: Address) -> str:
    """Who stands behind a client's address, empty for one without a name."""
    if "~" not in address:
        return ""
    _, found, name = address.partition("@")[0].rpartition("~")
    return name if found else ""


def audit_events(now: int, address: Address, message: Any, epoch: int, *, run: Run | None = None) -> tuple[Event, ...]:
    """Answer what to write into the history when a client's message takes effect: one event for each tenant it concerns.

    Args:
        now: the instant, in µs UTC.
        address: the client's.
        message: `AddJobs`, `ChangeJob`, `Admit` (which is what becomes of a `Submit`), `CancelLive`, `DrainNode`.
        epoch: of the reign that stores it.
        run: which a `CancelLive` is about.
    """
    name = who(address)
    if not name:
        return ()

    def event(kind: str, tenant: str, more: str, *, job: str = "", run_id: int | None = None) -> Event:
        text = f"who={name} message={kind} tenant={tenant!r} {more} epoch={epoch}"
        return Event(now, KIND, tenant, job, run_id, text)

    match message:
        case AddJobs():
            return tuple(
                event("AddJobs", tenant, f"mode={message.mode} {_named(jobs)}", job=_only(jobs))
                for tenant, jobs in _by_tenant(message.jobs).items()
            )
        case ChangeJob():
            return (event("ChangeJob", message.tenant, f"action={message.action}", job=message.job),)
        case Admit():
            asked = [draft.job for draft in message.drafts[: message.asked]]
            cause = message.drafts[0].cause if asked else "submit"
            return tuple(
                event("Submit", tenant, f"cause={cause} runs={len(jobs)} {_named(jobs)}", job=_only(jobs))
                for tenant, jobs in _by_tenant(asked).items()
            )
        case CancelLive():
            assert run is not None, "the run that is cancelled is known to whoever cancels it"
            reason = f"reason={message.reason[:MAX_REASON_LENGTH]!r}"
            return (event("CancelRun", run.tenant, reason, job=run.job, run_id=run.run_id),)
        case DrainNode():
            return (event("DrainNode", "", f"node={message.node!r} on={message.on} stop={message.stop}"),)
        case _:
            return ()


def _by_tenant(jobs: tuple[Job, ...] | list[Job]) -> dict[str, list[Job]]:
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.tenant, []).append(job)
    return found


def _named(jobs: list[Job]) -> str:
    names = list(dict.fromkeys(job.name for job in jobs))
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"jobs={names[:MAX_NAMED]!r}{more}"


def _only(jobs: list[Job]) -> str:
    """The one job it is about, so that the job's own history has the line too."""
    names = list(dict.fromkeys(job.name for job in jobs))
    return names[0] if len(names) == 1 else ""
