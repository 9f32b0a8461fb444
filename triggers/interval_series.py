"""The series that are arithmetic: nothing, one instant, a fixed rate, a fixed delay."""

from __future__ import annotations

from .instant import LAST_INSTANT_US
from .series import Series


class EmptySeries(Series):
    """No instants: what a person or a message starts."""

    __slots__ = ()

    def next(self, after: int) -> int | None:
        return None


class SingleSeries(Series):
    """One instant."""

    __slots__ = ("_instant",)

    def __init__(self, instant: int) -> None:
        self._instant = instant

    def next(self, after: int) -> int | None:
        return self._instant if self._instant > after else None


class FixedDelaySeries(SingleSeries):
    """One instant at a time: the first, then one delay after the end of each run."""

    __slots__ = ("_delay",)

    def __init__(self, instant: int, delay: int) -> None:
        super().__init__(instant)
        self._delay = delay

    @property
    def needs_end(self) -> bool:
        return True

    def after_end(self, end: int) -> Series:
        return FixedDelaySeries(end + self._delay, self._delay)

    def not_before(self, start: int) -> Series:
        return FixedDelaySeries(max(self._instant, start), self._delay)


class FixedRateSeries(Series):
    """first + k * period for k = 0, 1, 2 …; everything is one division."""

    __slots__ = ("_first", "_period")

    def __init__(self, first: int, period: int) -> None:
        self._first = first
        self._period = period

    def next(self, after: int) -> int | None:
        if after < self._first:
            return self._first
        instant = after + self._period - (after - self._first) % self._period
        return instant if instant <= LAST_INSTANT_US else None

    def latest(self, after: int, until: int) -> int | None:
        until = min(until, LAST_INSTANT_US)
        if until < self._first:
            return None
        instant = until - (until - self._first) % self._period
        return instant if instant > after else None

    def count(self, after: int, until: int) -> int:
        return max(0, self._up_to(min(until, LAST_INSTANT_US)) - self._up_to(after))

    def _up_to(self, until: int) -> int:
        return max(0, (until - self._first) // self._period + 1)
