"""Calling a job's function: the same steps in a thread, on the loop and in a worker process.

    decode the arguments → handed results first → `ctx` before all, if wanted → call → encode the result
                                         whatever is raised, by whom ever → an error as data

A stop that the function never learnt of changes nothing: what it answered within the grace is a fact, and the attempt has
`succeeded`. Once it has learnt of it (it looked at `ctx.cancelled`, or an exception was raised in it), whatever it answers
or raises is the stop's doing, and the outcome is `cancelled` or `timed_out`. So is whatever it raises after the stop.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from types import CoroutineType
from typing import Any, Final, TypeVar

from ...data import pack, unpack, unpack_call
from ...errors import DefinitionError
from ..records import MAX_RESULT_BYTES, AttemptOutcome, ErrorInfo
from .capture import current
from .context import LONGEST_S, Cancelled, Context, Retry, Snooze, duration_us
from .functions import Backoff
from .live import LiveAttempt
from .runner import Order, Outcome, StopReason

MAX_ERROR_CHARACTERS: Final = 4_000
MAX_TRACEBACK_CHARACTERS: Final = 16_000
MAX_TYPE_CHARACTERS: Final = 1_000
MAX_BASES: Final = 32

Step = TypeVar("Step")

Wall = Callable[[], int]
"""Reads UTC in nanoseconds, as `time.time_ns` does."""

_NOTHING: Final = pack(None)
_OUTCOME_OF: Final[dict[StopReason, AttemptOutcome]] = {
    "cancelled": "cancelled",
    "timed_out": "timed_out",
    "shutdown": "cancelled",
}


_forks: Final = [0]
"""How many forks lie between this process and the one that was started as a program."""


def _count_fork() -> None:
    _forks[0] += 1


os.register_at_fork(after_in_child=_count_fork)


def forks() -> int:
    """A number that is another one in a child that a job has forked: what comes back there is nobody's, and has to exit."""
    return _forks[0]


def call(live: LiveAttempt, wall: Wall = time.time_ns) -> Outcome:
    """Call the function of an attempt that has begun, in this thread; never raises."""
    function = live.function
    assert function is not None
    current.set(live)
    before = forks()
    try:
        if live.order.arguments or live.order.handed or function.wants_context:
            args, kwargs = prepare(live)
            value = function.call(*args, **kwargs)
        else:
            value = function.call()
        if type(value) is CoroutineType:
            value = asyncio.run(value)
    except BaseException as error:  # noqa: BLE001 - SystemExit and all: it is the job's, not ours
        if forks() != before:
            os._exit(1)
        return failed(live, error, wall() // 1_000)
    if forks() != before:  # the job has forked, and its child came back here too: it is nobody's
        os._exit(0)
    return succeeded(live, value, wall() // 1_000)


async def call_async(live: LiveAttempt, wall: Wall = time.time_ns) -> Outcome:
    """Call the function of an attempt that has begun, and wait for it, on this event loop; never raises."""
    function = live.function
    assert function is not None
    current.set(live)
    before = forks()
    try:
        args, kwargs = prepare(live)
        value = function.call(*args, **kwargs)
        if asyncio.iscoroutine(value) or asyncio.isfuture(value):
            value = await value
    except BaseException as error:  # noqa: BLE001 - likewise; also the CancelledError of a stop
        if forks() != before:
            os._exit(1)
        return failed(live, error, wall() // 1_000)
    if forks() != before:  # likewise
        os._exit(0)
    return succeeded(live, value, wall() // 1_000)


def guarded(step: Callable[[], Step]) -> tuple[Step | None, BaseException | None]:
    """Do what runs a user's code; answers what it answered, or what it raised, whatever that is."""
    try:
        return step(), None
    except BaseException as error:  # noqa: BLE001 - likewise
        return None, error


def prepare(live: LiveAttempt) -> tuple[list[Any], dict[str, Any]]:
    """Answer what to call the function with: the context, the upstreams' results, the arguments."""
    order = live.order
    args, kwargs = unpack_call(order.arguments)
    if order.handed:
        args = [*map(unpack, order.handed), *args]
    if live.function is not None and live.function.wants_context:
        args.insert(0, Context(live))
    return args, kwargs


def succeeded(live: LiveAttempt, value: Any, now: int) -> Outcome:
    """The outcome of a function that answered; `failed` if its answer is not data, too much of it, or raises."""
    order = live.order
    if live.told and live.stop is not None:
        return stopped(live, now)
    if value is None:
        result = _NOTHING
    else:
        try:
            result = pack(value, what=f"the result of job {order.job!r}", limit=MAX_RESULT_BYTES)
        except BaseException as error:  # noqa: BLE001 - also what the value's own code raises: a time zone, a name for it
            return failed(live, error, now)
    logs = b"" if live.log is None else live.log.content()
    return Outcome(order.fence, order.run_id, order.attempt, "succeeded", live.started_at, now, result, None, logs)


def failed(live: LiveAttempt, error: BaseException, now: int) -> Outcome:
    """The outcome of a function that raised."""
    outcome: AttemptOutcome = "failed"
    info: ErrorInfo | None = None
    wait: int | None = None
    if isinstance(error, Snooze) and live.stop is None:
        outcome, wait = "snoozed", error.after_us
    else:
        info = describe(_clearer(live, error))
        wait = error.after_us if isinstance(error, Retry) else None
        if live.stop is not None:
            outcome = _OUTCOME_OF[live.stop]
            if isinstance(error, Cancelled | asyncio.CancelledError):
                info = None
    return ended(live, outcome, now, error=info, retry_after_us=wait)


def ended(
    live: LiveAttempt,
    outcome: AttemptOutcome,
    now: int,
    *,
    error: ErrorInfo | None = None,
    retry_after_us: int | None = None,
    stuck: bool = False,
) -> Outcome:
    """An outcome without a result; a failure asks the job's own backoff, if it has one."""
    order = live.order
    if outcome in {"failed", "timed_out", "crashed"} and retry_after_us is None and live.function is not None:
        retry_after_us = ask_backoff(live.function.backoff, order)
    return Outcome(
        fence=order.fence,
        run_id=order.run_id,
        attempt=order.attempt,
        outcome=outcome,
        started_at=live.started_at,
        ended_at=max(now, live.started_at),
        error=error,
        logs=live.logs(),
        retry_after_us=retry_after_us,
        stuck=stuck,
    )


def outcome_of(reason: StopReason) -> AttemptOutcome:
    """What an attempt has come to that was stopped for this reason."""
    return _OUTCOME_OF[reason]


def stopped(live: LiveAttempt, now: int, *, stuck: bool = False) -> Outcome:
    """The outcome of an attempt that was ended, or given up, from outside."""
    assert live.stop is not None
    return ended(live, _OUTCOME_OF[live.stop], now, stuck=stuck)


def not_started(order: Order, now: int) -> Outcome:
    """The outcome of an order that was given back: its function was not called."""
    return Outcome(order.fence, order.run_id, order.attempt, "not_started", 0, now)


def ask_backoff(backoff: Backoff | None, order: Order) -> int | None:
    """Ask a job's own backoff how long to wait (µs), at most a hundred years; None if it has none, or if it fails itself."""
    if backoff is None:
        return None
    try:
        wait = backoff(order.attempt)
        seconds = wait.total_seconds() if isinstance(wait, timedelta) else float(wait)
        return duration_us(min(seconds, LONGEST_S))
    except BaseException:  # noqa: BLE001 - the user's code: the policy's own curve is used instead
        return None


def describe(error: BaseException) -> ErrorInfo:
    """Turn an exception into data: names and text, of limited size."""
    kind = type(error)
    bases = tuple(qualified(base) for base in kind.__mro__[1:-1][:MAX_BASES])
    try:
        text = str(error)
    except BaseException as worse:  # noqa: BLE001 - the user's code
        text = f"(its text could not be made: {type(worse).__name__})"
    try:
        lines = "".join(traceback.format_exception(kind, error, _users_part(error)))
    except BaseException as worse:  # noqa: BLE001 - likewise
        lines = f"(its traceback could not be made: {type(worse).__name__})"
    return ErrorInfo(
        qualified(kind), bases, shorten(text, MAX_ERROR_CHARACTERS), shorten(lines, MAX_TRACEBACK_CHARACTERS)
    )


def qualified(kind: type) -> str:
    """A type's name with its module, the module left out for builtins; of limited size, and encodable, as it is told to others."""
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return shorten(name, MAX_TYPE_CHARACTERS)


def shorten(text: str, limit: int) -> str:
    """Keep the beginning and the end of a text, and make it encodable."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return _encodable(text)


def _encodable(text: str) -> str:
    """Put a question mark for what no store can hold, half a character of UTF-16."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _users_part(error: BaseException) -> Any:
    """The traceback without our own frame at its top."""
    trace = error.__traceback__
    ours = trace is not None and trace.tb_frame.f_code.co_filename == __file__
    return trace.tb_next if trace is not None and ours and trace.tb_next is not None else trace


def _clearer(live: LiveAttempt, error: BaseException) -> BaseException:
    """Of a call that did not even enter the function, say which job and what does not fit."""
    trace = error.__traceback__
    if not isinstance(error, TypeError) or trace is None or trace.tb_next is not None or live.function is None:
        return error
    try:
        args, kwargs = unpack_call(live.order.arguments)
        live.function.check_call(args, kwargs, handed=len(live.order.handed))
    except DefinitionError as clearer:
        return clearer
    except Exception:  # noqa: BLE001 - then the first error says more
        return error
    return error
