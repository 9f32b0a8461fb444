"""The next instant of a cron expression, by arithmetic.

A step searches on the clock reading, inside one segment of constant offset (see `zone`): the days of a month are
found once and kept, the minutes of a day are one sorted tuple, so a step is a few bisections (about 2 µs; croniter
needs 75 to 390). Only at a change of the clock is there more to say:

    gap    after   what fell into it fires once, at its end; nothing when the hour is a plain `*`
           skip    it does not fire
           shift   it fires later by the length of the gap
    fold   first, second, both; auto is both when the hour is `*` or `*/n`, else first

The instants of a segment are therefore: what is owed for the gap it begins with, and the readings that match, less
the pass of a fold that does not count.
"""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import Final

from .cron_expression import CronFields
from .instant import DAY_US, EPOCH_ORDINAL, FIRST_INSTANT_US, LAST_INSTANT_US, SECOND_US
from .series import Series
from .zone import Fold, Gap, Segment, Zone, clock_note

DAY_S: Final = 86_400
# Longer than the longest pause of any date (29 February on one weekday: 40 years); what is silent so long has ended.
MAX_SILENCE_US: Final = 100 * 366 * DAY_US
MAX_MONTHS_KEPT: Final = 1_200


class CronSeries(Series):
    """The instants of one expression in one zone."""

    __slots__ = ("_fields", "_fold", "_gap", "_minutes", "_months", "_seconds", "_shown", "_zone")

    def __init__(self, fields: CronFields, zone: Zone, gap: Gap, fold: Fold) -> None:
        self._fields = fields
        self._zone = zone
        self._gap = gap
        self._fold = ("both" if fields.stepped_hour else "first") if fold == "auto" else fold
        self._seconds = fields.seconds
        self._minutes = _minutes_of_day(fields.hours, fields.minutes)
        self._months: dict[int, tuple[int, int, tuple[int, ...]]] = {}
        self._shown = self._month(0)

    def next(self, after: int) -> int | None:
        moment = max(after + 1, FIRST_INSTANT_US)
        stop = min(moment + MAX_SILENCE_US, LAST_INSTANT_US)
        if self._fields.years is not None:
            return self._next_in_years(moment, self._fields.years)
        while moment < stop:
            segment = self._zone.segment(moment)
            found = self._in_segment(segment, moment)
            if found is not None:
                return found
            moment = segment.end
        return None

    def count(self, after: int, until: int) -> int:
        """Count by multiplication; only a shifted gap is listed."""
        total = 0
        moment = max(after + 1, FIRST_INSTANT_US)
        stop = min(until, LAST_INSTANT_US) + 1
        while moment < stop:
            segment = self._zone.segment(moment)
            end = min(stop, segment.end)
            total += self._count_in(segment, moment, end)
            moment = end
        return total

    def note(self, instant: int) -> str:
        return clock_note(self._zone, instant, self._gap, self._has_reading)

    def _in_segment(self, segment: Segment, moment: int) -> int | None:
        """Return the first instant at or after `moment` in a segment."""
        start, end, offset, before, after = segment
        owed = None
        if before != offset or after != offset:
            if before < offset and self._gap != "skip" and moment < start + offset - before:
                owed = self._owed(segment, moment)
            start, end = self._counted(segment)
        low = (moment if moment > start else start) + offset
        reading = self._search(-(-low // SECOND_US), (end + offset) // SECOND_US)
        if reading is None:
            return owed
        found = reading * SECOND_US - offset
        return found if owed is None or found < owed else owed

    def _counted(self, segment: Segment) -> tuple[int, int]:
        """Return the part of a segment whose readings count: a fold loses one of its passes."""
        start, end, offset, before, after = segment
        if before > offset and self._fold == "first":
            start += before - offset
        if after < offset and self._fold == "second":
            end -= offset - after
        return start, end

    def _owed(self, segment: Segment, moment: int) -> int | None:
        """Return the first instant at or after `moment` that stands for a reading in the gap before a segment."""
        low = (segment.start + segment.before) // SECOND_US
        high = (segment.start + segment.offset) // SECOND_US
        if self._gap == "shift":
            reading = self._search(max(low, -(-(moment + segment.before) // SECOND_US)), high)
            return None if reading is None else reading * SECOND_US - segment.before
        if self._fields.every_hour or moment > segment.start or self._search(low, high) is None:
            return None
        return segment.start

    def _count_in(self, segment: Segment, moment: int, end: int) -> int:
        """Return how many instants lie in [moment, end), a part of a segment."""
        total = 0
        low, high = self._counted(segment)
        gap = segment.offset - segment.before
        if gap > 0 and moment < segment.start + gap:
            border = min(end, segment.start + gap)
            total += super().count(moment - 1, border - 1)
            moment = border
        low, high = max(moment, low) + segment.offset, min(end, high) + segment.offset
        if low < high:
            total += self._count_readings(-(-low // SECOND_US), -(-high // SECOND_US))
        return total

    def _count_readings(self, low: int, high: int) -> int:
        """Return how many readings (seconds) in [low, high) match, as if the clock ran evenly."""
        low_day, high_day = low // DAY_S, high // DAY_S
        total = self._count_days(low_day, high_day) * len(self._minutes) * len(self._seconds)
        total -= self._count_days(low_day, low_day + 1) * self._rank(low % DAY_S)
        return total + self._count_days(high_day, high_day + 1) * self._rank(high % DAY_S)

    def _rank(self, second: int) -> int:
        """Return how many readings of a matching day lie before a second of the day."""
        minute, rest = divmod(second, 60)
        at = bisect_left(self._minutes, minute)
        total = at * len(self._seconds)
        if at < len(self._minutes) and self._minutes[at] == minute:
            total += bisect_left(self._seconds, rest)
        return total

    def _count_days(self, low: int, high: int) -> int:
        """Return how many days in [low, high) match."""
        total = 0
        while low < high:
            _, end, days = self._month(low)
            total += bisect_left(days, high) - bisect_left(days, low)
            low = end
        return total

    def _has_reading(self, low: int, high: int) -> bool:
        if self._gap == "after" and self._fields.every_hour:
            return False
        return self._search(-(-low // SECOND_US), -(-high // SECOND_US)) is not None

    def _search(self, reading: int, end: int) -> int | None:
        """Return the first matching reading in [reading, end): seconds since 1970-01-01 00:00 on the clock."""
        day, second = divmod(reading, DAY_S)
        time = self._time_of_day(second)
        if time is None:
            day, time = day + 1, self._minutes[0] * 60 + self._seconds[0]
        found = self._day(day, end // DAY_S)
        if found is None:
            return None
        if found != day:
            time = self._minutes[0] * 60 + self._seconds[0]
        reading = found * DAY_S + time
        return reading if reading < end else None

    def _time_of_day(self, second: int) -> int | None:
        """Return the first matching second of the day at or after one."""
        minutes, seconds = self._minutes, self._seconds
        minute, rest = divmod(second, 60)
        at = bisect_left(minutes, minute)
        if at == len(minutes):
            return None
        if minutes[at] != minute:
            return minutes[at] * 60 + seconds[0]
        if rest <= seconds[-1]:
            return minute * 60 + seconds[bisect_left(seconds, rest)]
        return minutes[at + 1] * 60 + seconds[0] if at + 1 < len(minutes) else None

    def _day(self, day: int, last: int) -> int | None:
        """Return the first matching day in [day, last] (days since 1970-01-01)."""
        start, end, days = self._shown
        while day <= last:
            if not start <= day < end:
                self._shown = start, end, days = self._month(day)
            if days and day <= days[-1]:
                found = days[bisect_left(days, day)]
                return found if found <= last else None
            day = end
        return None

    def _month(self, day: int) -> tuple[int, int, tuple[int, ...]]:
        """Return the month of a day: its first day, the day after its last, and the matching days."""
        shown = date.fromordinal(day + EPOCH_ORDINAL)
        number = shown.year * 12 + shown.month
        known = self._months.get(number)
        if known is None:
            first = day - shown.day + 1
            days = tuple(first + at - 1 for at in self._fields.month_days(shown.year, shown.month))
            known = first, first + monthrange(shown.year, shown.month)[1], days
            if len(self._months) >= MAX_MONTHS_KEPT:
                self._months = {}
            self._months[number] = known
        return known

    def _next_in_years(self, moment: int, years: tuple[int, ...]) -> int | None:
        """Return the first instant at or after `moment`, looking at the named years only, a day more on both sides."""
        for year in years:
            start, end = ((date(at, 1, 1).toordinal() - EPOCH_ORDINAL) * DAY_US for at in (year, year + 1))
            moment = max(moment, start - DAY_US)
            while moment < end + DAY_US:
                segment = self._zone.segment(moment)
                found = self._in_segment(segment, moment)
                if found is not None:
                    return found
                moment = segment.end
        return None


@lru_cache(maxsize=4_096)
def _minutes_of_day(hours: tuple[int, ...], minutes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(hour * 60 + minute for hour in hours for minute in minutes)
