"""Sense: what is wrong with a request in itself, before anything is asked for it.

Our own clients never send such a request. Others are written after the protocol page and have faults, and what no actor is ready
for would make one fail, be sent again, and so end one node after the other. The codec has checked every type; here are
the ranges, which are those of `docs/protocol.md`. Whether a trigger can be used is seen when it is (`definition.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import astuple

from ...data import pack_record
from ...errors import DefinitionError
from ...triggers import Unreadable
from ...triggers.instant import LAST_INSTANT_US
from ..messages import AddJobs, CancelRun, ChangeJob, Query, RefusalCode, Submit, SubmitItem, Watch
from ..messages.request import MAX_BATCH
from ..records import (
    LONGEST_US,
    MAX_ARGUMENT_BYTES,
    MAX_ATTEMPTS,
    MAX_DEFINITION_BYTES,
    MAX_NAME_LENGTH,
    MAX_PRIORITY,
    MAX_TAGS,
    Job,
    Retry,
)
from ..requirement import check_labels, check_resources
from .errand import Request

CAUSES: Final = ("submit", "trigger")
"""What a client may give as the cause of a run; the others are decided by the cluster itself."""

MAX_TEXT_LENGTH: Final = 64 * 1024
"""Characters of a description, a command line, a reason."""

MAX_UPSTREAMS: Final = 1_000
LARGEST_NUMBER: Final = 2**63 - 1


class Fault(Struct, frozen=True):
    """What is wrong, for a program and for a person; `index` is the item at fault, −1 when it is none alone."""

    text: str
    index: int = -1
    code: RefusalCode = "impossible"


def find_fault(request: Request) -> Fault | None:
    """What is wrong with a request; None when it makes sense."""
    match request:
        case Submit():
            if request.cause not in CAUSES:
                return Fault(f"a client submits with the cause {' or '.join(CAUSES)}, not {request.cause}")
            return _find_in(request.items, "runs", _check_item)
        case AddJobs():
            return _find_in(request.jobs, "jobs", _check_named_job) or _find_twice(request)
        case ChangeJob(action="reschedule", trigger=None):
            return Fault("a job that is rescheduled needs a trigger, and this brings none")
        case CancelRun():
            if not 0 < request.run_id <= LARGEST_NUMBER:
                return Fault(f"no run {request.run_id} in tenant {request.tenant!r}", code="unknown_run")
            return _caught(lambda: _check_text(request.reason, "a reason"))
        case Query():
            return _caught(lambda: _check_numbers(astuple(request.question)))
        case Watch():
            return _caught(lambda: _check_numbers(request.run_ids))
        case _:
            return None


def _find_in(items: tuple[Any, ...], what: str, check: Callable[[Any], None]) -> Fault | None:
    if not 1 <= len(items) <= MAX_BATCH:
        return Fault(f"a request brings 1 to {MAX_BATCH} {what}; this one brings {len(items)}")
    for index, item in enumerate(items):
        try:
            check(item)
        except DefinitionError as error:
            return Fault(str(error), index)
    return None


def _find_twice(request: AddJobs) -> Fault | None:
    """A job that is to be new twice: the second would be refused when the first is stored. Of declarations the last counts."""
    seen: set[tuple[str, str]] = set()
    for index, job in enumerate(request.jobs if request.mode == "add" else ()):
        if job.key in seen:
            return Fault(f"job {job.name!r} is to be added twice by one request; use another name", index)
        seen.add(job.key)
    return None


def _caught(check: Callable[[], None]) -> Fault | None:
    try:
        check()
    except DefinitionError as error:
        return Fault(str(error))
    return None


# ---- runs ---------------------------------------------------------------------------------------------------------------


def _check_item(item: SubmitItem) -> None:
    if item.priority is not None:
        _check_within(item.priority, -MAX_PRIORITY, MAX_PRIORITY, "priority")
    if item.not_before:
        _check_within(item.not_before, 0, LAST_INSTANT_US, "not_before")
    if item.token is not None:
        _check_name(item.token, "an idempotency key")
    _check_arguments(item.arguments)


def _check_arguments(arguments: bytes) -> None:
    if len(arguments) > MAX_ARGUMENT_BYTES:
        raise DefinitionError(f"arguments have at most {MAX_ARGUMENT_BYTES:,} bytes; these have {len(arguments):,}")


# ---- jobs ---------------------------------------------------------------------------------------------------------------


def _check_named_job(job: Job) -> None:
    _check_name(job.name, "a job's name")
    try:
        _check_job(job)
    except DefinitionError as error:
        raise DefinitionError(f"job {job.name!r}: {error}") from None


def _check_job(job: Job) -> None:
    _check_name(job.tenant, "a tenant")
    if isinstance(job.trigger, Unreadable):
        raise DefinitionError("expected a trigger; this says of a stored one that it cannot be read, and is none")
    if (job.executor == "command") != (job.command is not None) or (job.command is None) == (not job.target):
        raise DefinitionError(
            "expected either a `target` or, with the executor 'command', a `command`; "
            f"executor {job.executor!r}, target {job.target!r} and {'a' if job.command else 'no'} command were given"
        )
    _check_text(job.target, "a target")
    _check_text(job.description, "a description")
    _check_arguments(job.arguments)
    _check_within(job.priority, -MAX_PRIORITY, MAX_PRIORITY, "priority")
    _check_within(job.max_crashes, 1, MAX_ATTEMPTS, "max_crashes")
    lengths = {
        "attempt_timeout_us": job.attempt_timeout_us,
        "run_deadline_us": job.run_deadline_us,
        "start_deadline_us": job.start_deadline_us,
        "wait_deadline_us": job.wait_deadline_us,
        "catchup.window_us": job.catchup.window_us,
    }
    for name, length in lengths.items():
        if length is not None:
            _check_within(length, 0, LONGEST_US, name)
    if job.retry is not None:
        _check_retry(job.retry)
    if job.command is not None:
        command = job.command
        for text in (command.line, command.folder, command.stdin, *command.argv, *command.environment.values()):
            _check_text(text, "what a command is given")
    if job.hook is not None and max(len(job.hook.job), len(job.hook.tag)) > MAX_NAME_LENGTH:
        raise DefinitionError(f"a hook names a job or a tag with at most {MAX_NAME_LENGTH} characters")
    _check_names(job.after, MAX_UPSTREAMS, "upstream")
    _check_names(job.tags, MAX_TAGS, "tag")
    if job.labels:
        check_labels(job.labels)
    if job.resources:
        check_resources(job.resources)
    check_size(job)


def check_size(job: Job) -> None:
    """Refuse a definition that is too large.

    Raises:
        DefinitionError: it is.
    """
    size = len(pack_record(job))
    if size > MAX_DEFINITION_BYTES:
        raise DefinitionError(f"a definition has at most {MAX_DEFINITION_BYTES:,} bytes; this one has {size:,}")


def _check_retry(retry: Retry) -> None:
    _check_within(retry.attempts, 1, MAX_ATTEMPTS, "retry.attempts")
    _check_within(retry.delay_us, 0, LONGEST_US, "retry.delay_us")
    _check_within(retry.cap_us, 0, LONGEST_US, "retry.cap_us")


# ---- values -------------------------------------------------------------------------------------------------------------


def _check_within(value: int, least: int, most: int, what: str) -> None:
    if not least <= value <= most:
        raise DefinitionError(f"{what} is a whole number from {least:,} to {most:,}; {value:,} was given")


def _check_numbers(values: Iterable[Any]) -> None:
    """Refuse numbers that no store holds, however deep they stand."""
    for value in values:
        if isinstance(value, tuple):
            _check_numbers(value)
        elif isinstance(value, int):
            _check_within(value, -LARGEST_NUMBER, LARGEST_NUMBER, "a number")


def _check_name(name: str, what: str) -> None:
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise DefinitionError(
            f"{what} is printable text of 1 to {MAX_NAME_LENGTH} characters; {name[:300]!r} was given"
        )


def _check_names(names: tuple[str, ...], most: int, what: str) -> None:
    if len(names) > most:
        raise DefinitionError(f"a job has at most {most:,} {what}s; {len(names):,} were given")
    for name in names:
        _check_name(name, f"each {what}")


def _check_text(text: str, what: str) -> None:
    if len(text) > MAX_TEXT_LENGTH:
        raise DefinitionError(f"{what} has at most {MAX_TEXT_LENGTH:,} characters; {len(text):,} were given")
