"""How long a failed attempt waits for the next. Pure: the jitter is a stable hash of run and attempt, so a rerun waits the same."""

from __future__ import annotations

from zlib import crc32

from ..records import ErrorInfo, Retry


def backoff_us(retry: Retry, attempt: int, run_id: int) -> int:
    """Return the wait in µs after attempt number `attempt` (from 1) failed.

    `full` jitter takes anything up to the wait, `equal` between its half and the whole, `none` the whole.
    """
    match retry.kind:
        case "fixed" | "custom":
            wait = retry.delay_us
        case "linear":
            wait = retry.delay_us * attempt
        case "exponential":
            wait = retry.delay_us << min(attempt - 1, 40)
    wait = min(wait, retry.cap_us)
    if retry.jitter == "none" or retry.kind == "custom":
        return wait
    share = crc32(b"%d/%d" % (run_id, attempt)) / 0xFFFF_FFFF
    if retry.jitter == "equal":
        share = 0.5 + share / 2
    return int(wait * share)


def is_retried(retry: Retry | None, attempts: int, error: ErrorInfo | None) -> bool:
    """Tell whether a run that spent `attempts` attempts is tried again after this error."""
    if retry is None or attempts >= retry.attempts:
        return False
    names = _names(error)
    if any(name in retry.give_up_on for name in names):
        return False
    return not retry.retry_on or any(name in retry.retry_on for name in names)


def _names(error: ErrorInfo | None) -> list[str]:
    """The names an error answers to: qualified and bare, its own and its bases'."""
    if error is None:
        return ["TimeoutError"]
    full = [error.type, *error.bases]
    return [*full, *(name.rpartition(".")[2] for name in full)]
