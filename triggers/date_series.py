"""The instants of a calendar interval: a date every so many months and days, at one time of day.

The k-th date is computed from the first, never from the one before, so a clamped 28 February does not make the rest
of the year fall on 28ths.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from typing import Final

from .instant import DAY_US, EPOCH_ORDINAL, FIRST_INSTANT_US, HOUR_US, LAST_INSTANT_US, MINUTE_US, SECOND_US
from .series import Series
from .trigger import CalendarInterval
from .zone import Zone, clock_note

# Whatever the step, month lengths repeat after this many steps (400 years of months).
MAX_STEPS_WITHOUT_A_DAY: Final = 4_800
LAST_YEAR: Final = 9_998


class DateSeries(Series):
    """The instants of one CalendarInterval counted from one start (µs UTC); none lies before the start."""

    __slots__ = ("_date", "_day", "_days", "_interval", "_months", "_start", "_time", "_zone")

    def __init__(self, interval: CalendarInterval, zone: Zone, start: int) -> None:
        self._interval = interval
        self._zone = zone
        self._start = start
        self._date = date.fromordinal(zone.wall(start) // DAY_US + EPOCH_ORDINAL)
        self._day = interval.day or self._date.day
        self._months = interval.years * 12 + interval.months
        self._days = interval.weeks * 7 + interval.days
        self._time = interval.hour * HOUR_US + interval.minute * MINUTE_US + interval.second * SECOND_US

    def next(self, after: int) -> int | None:
        after = max(after, self._start - 1, FIRST_INSTANT_US)
        step = self._step_near(after)
        for at in range(step, step + MAX_STEPS_WITHOUT_A_DAY + 4):
            wall = self._wall(at)
            if wall is None:
                continue
            if wall > LAST_INSTANT_US - DAY_US:
                return None
            for instant in self._zone.resolve(wall, self._interval.gap, self._interval.fold):
                if instant > after:
                    return instant
        return None

    def note(self, instant: int) -> str:
        return clock_note(self._zone, instant, self._interval.gap, self._has_reading)

    def _step_near(self, after: int) -> int:
        """Return a step whose date is at least two days before an instant; 0 at the least."""
        near = date.fromordinal(after // DAY_US + EPOCH_ORDINAL - 3)
        if self._months == 0:
            return max(0, (near - self._date).days // self._days)
        months = (near.year - self._date.year) * 12 + near.month - self._date.month - 1
        if self._days == 0:
            return max(0, months // self._months)
        # 31 days is the longest month, so this never overshoots.
        return max(0, (near - self._date).days // (self._months * 31 + self._days) - 1)

    def _wall(self, step: int) -> int | None:
        """Return the clock reading of a step (µs), None when its month lacks the day."""
        year, month = divmod(self._date.year * 12 + self._date.month - 1 + step * self._months, 12)
        if year > LAST_YEAR:
            return LAST_INSTANT_US
        length = monthrange(year, month + 1)[1]
        if self._day > length and self._interval.missing_day == "skip":
            return None
        day = date(year, month + 1, min(self._day, length)).toordinal() + step * self._days - EPOCH_ORDINAL
        return day * DAY_US + self._time

    def _has_reading(self, low: int, high: int) -> bool:
        step = self._step_near(low)
        while (wall := self._wall(step)) is None or wall < low:
            step += 1
        return wall < high
