"""What a request that came to nothing is to a person: refused, or not answered in time."""

from __future__ import annotations

from typing import Any

from ..actors.messages import AddJobs, CancelRun, ChangeJob, Follow, Query, RequestRejected, Submit
from ..errors import (
    DecodeError,
    DependencyError,
    Forbidden,
    JobConflict,
    NotRunning,
    Refused,
    StoreBusy,
    StoreFull,
    UnknownJob,
    UnknownRun,
)
from .leadership import HERE, Leader


def refusal(rejected: RequestRejected) -> Exception:
    """The error that a refusal is to a person."""
    match rejected.code:
        case "unknown_job" | "job_removed":
            return UnknownJob(rejected.text, rejected.code)
        case "unknown_run":
            return UnknownRun(rejected.text, rejected.code)
        case "job_exists" | "token_conflict":
            return JobConflict(rejected.text, rejected.code)
        case "cycle" | "unknown_upstream":
            return DependencyError(rejected.text, rejected.code)
        case "forbidden":
            return Forbidden(rejected.text, rejected.code)
        case "store_full":
            return StoreFull(rejected.text)
        case "store_busy":
            return StoreBusy(rejected.text)
        case "stopping":
            return NotRunning(rejected.text)
        case _:
            return Refused(rejected.text, rejected.code)


def too_late(message: Any, timeout_s: float, leader: Leader | None, reached: str, why: str = "") -> TimeoutError:
    """The error that a missing answer is: what was asked, for how long, of whom, and what to do.

    reached: the addresses by which a client reaches the cluster, empty on a node. why: what is known beside that.
    """
    asked = f"no answer to {_describe(message)} within {timeout_s:g} s"
    through = f" (asked through {reached})" if reached else ""
    if leader is HERE:
        return TimeoutError(f"{asked}; is the scheduler overloaded?")
    if leader is None:
        do = why or "see that a node runs that may lead, and can be reached"
        return TimeoutError(f"{asked}: nobody is known to lead{through}; {do}")
    return TimeoutError(
        f"{asked}: node {leader.node!r} was asked, which leads in epoch {leader.epoch}{through}; "
        "see whether it is overloaded or cut off, or give more time by timeout="
    )


def unreadable(message: Any, why: str, sender: str) -> DecodeError:
    """The error that an answer is which cannot be read here: to what, from whom, why, and what to do."""
    return DecodeError(
        f"the answer of {sender} to {_describe(message)} cannot be read here: {why}; give this program the version of Callsheet "
        "and the time zones (tzdata) that the cluster has; what was to be changed may have been"
    )


def _describe(message: Any) -> str:
    match message:
        case Submit():
            first = repr(message.items[0].job) if message.items else "none"
            return f"a submission of {_counted(len(message.items), 'run')} (job {first})"
        case AddJobs():
            first = repr(message.jobs[0].name) if message.jobs else "none"
            return f"a declaration of {_counted(len(message.jobs), 'job')} ({first})"
        case ChangeJob():
            return f"the request to {message.action} job {message.job!r}"
        case CancelRun():
            return f"the request to cancel run {message.run_id}"
        case Follow():
            return "the question who leads"
        case Query():
            return f"the question {type(message.question).__name__}"
        case _:
            return type(message).__name__


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
