"""What a job is given (`ctx`), and what it may raise to say how it goes on.

    Exception
    ├── Retry      this attempt failed; try again after so long
    └── Snooze     nothing failed; come again after so long, and count no attempt
    BaseException
    └── Cancelled  the attempt shall end: raised by `ctx.raise_if_cancelled()`, and by a worker process when it is stopped

`Cancelled` is no `Exception`, so that a job's own `except Exception` does not swallow it, but its `finally` runs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from .live import LiveAttempt
from .runner import Progress

MAX_TEXT_CHARACTERS: Final = 1_000
"""Of the text of a progress report."""

LONGEST_S: Final = 100 * 365 * 86_400
"""The longest wait that a job can ask for; no store has room for the instant after one that is much longer."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Retry(Exception):
    """Raised by a job: this attempt failed, try again after `after` (seconds, or a timedelta; not negative, at most a hundred years).

    The run's number of attempts still counts; the wait replaces the one of its retry policy.
    """

    after_us = 0

    def __init__(self, after: float | timedelta, text: str = "") -> None:
        self.after_us = duration_us(after)
        super().__init__(text or f"try again after {self.after_us / 1e6:g} s")


class Snooze(Exception):
    """Raised by a job: nothing to do yet, come again after `seconds` (or a timedelta; at most a hundred years); no attempt is spent."""

    after_us = 0

    def __init__(self, seconds: float | timedelta) -> None:
        self.after_us = duration_us(seconds)
        super().__init__(f"come again after {self.after_us / 1e6:g} s")


class Cancelled(BaseException):
    """The attempt shall end: it was cancelled, or its time is over."""


class Context:
    """What a job knows of its attempt; given to a function whose first parameter is named `ctx`."""

    __slots__ = ("_live",)

    def __init__(self, live: LiveAttempt) -> None:
        self._live = live

    @property
    def run_id(self) -> int:
        """The number of the run."""
        return self._live.order.run_id

    @property
    def job(self) -> str:
        """The job's name."""
        return self._live.order.job

    @property
    def tenant(self) -> str:
        """The tenant the job lives in."""
        return self._live.order.tenant

    @property
    def attempt(self) -> int:
        """Which try of the run this is, from 1."""
        return self._live.order.attempt

    @property
    def slot(self) -> datetime | None:
        """The instant (aware, UTC) that the run stands for; None when it was asked for by hand."""
        slot = self._live.order.slot
        return None if slot is None else _EPOCH + timedelta(microseconds=slot)

    @property
    def fence(self) -> int:
        """A number that only grows: of two attempts of a run the one with the smaller fence is the stale one."""
        return self._live.order.fence

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of the run."""
        return self._live.order.key

    @property
    def cancelled(self) -> bool:
        """Whether the attempt shall end: look at it between steps, and return or call `raise_if_cancelled`."""
        if self._live.stop is None:
            return False
        self._live.told = True
        return True

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the attempt shall end."""
        stop = self._live.stop
        if stop is not None:
            self._live.told = True
            raise Cancelled(f"run {self.run_id} of job {self.job!r}: {stop.replace('_', ' ')}")

    def progress(self, done: float, total: float = 0.0, text: str = "") -> None:
        """Say how far the job is: `done` of `total`, in any unit; reports that come faster than they are carried are merged."""
        if not self._live.over:
            order = self._live.order
            shown = str(text)[:MAX_TEXT_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
            self._live.report_progress(Progress(order.fence, order.run_id, float(done), float(total), shown))

    def log(self, text: str) -> None:
        """Add a line to the logs of the attempt."""
        self._live.write(f"{text}\n")


def duration_us(wait: float | timedelta) -> int:
    """Answer a wait (seconds or a timedelta) in microseconds.

    Raises:
        ValueError: it is negative, longer than a hundred years, or no number.
    """
    seconds = wait.total_seconds() if isinstance(wait, timedelta) else float(wait)
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError(f"expected a wait of 0 seconds or more, up to a hundred years; found {wait!r}")
    return round(seconds * 1_000_000)
