"""Named calendars: which days and stretches of time count, shared by many jobs.

A day is allowed when it is one of the allowed days, or none are named; what is excluded is excluded all the same:

    allowed = (no allowed_* given, or weekday in allowed_weekdays, or date in allowed_dates)
              and weekday not in excluded_weekdays and date not in excluded_dates
              and instant in none of excluded_ranges

A date is `2026-12-25`, or `12-25` for every year. Days are those of the calendar's own zone.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import date
from typing import Final, Literal

import msgspec

from .errors import TriggerError
from .instant import DAY_US, EPOCH_ORDINAL, LAST_INSTANT_US
from .zone import find_zone

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# A calendar without an allowed day for so long has none: the slot is skipped and not moved.
MAX_DAYS_SEARCHED: Final = 3_660
MAX_ENTRIES: Final = 10_000
_DATE: Final = re.compile(r"(?:\d{4}-)?\d{2}-\d{2}")


class Calendar(msgspec.Struct, frozen=True):
    """A named set of days and stretches of time.

    on_excluded says what becomes of a slot that is not allowed: `skip` (decided SKIPPED_CALENDAR), or it starts at
    the `next` or the `previous` allowed time: an excluded day is moved by whole days and keeps its clock reading, as
    far as the slots of the allowed day leave it room; an excluded range is left at its end or before its start.
    excluded_ranges are pairs of instants [from, until) in µs UTC.
    Raises TriggerError for days, dates, ranges or a zone that cannot be read.
    """

    name: str
    zone: str = "UTC"
    excluded_weekdays: tuple[str, ...] = ()
    excluded_dates: tuple[str, ...] = ()
    excluded_ranges: tuple[tuple[int, int], ...] = ()
    allowed_weekdays: tuple[str, ...] = ()
    allowed_dates: tuple[str, ...] = ()
    on_excluded: Literal["skip", "next", "previous"] = "skip"

    def __post_init__(self) -> None:
        if not self.name:
            raise TriggerError("a calendar needs a name")
        find_zone(self.zone)
        if self.on_excluded not in ("skip", "next", "previous"):
            raise TriggerError(
                f"calendar {self.name!r}: on_excluded must be 'skip', 'next' or 'previous';"
                f" {self.on_excluded!r} was given"
            )
        for weekday in self.excluded_weekdays + self.allowed_weekdays:
            if weekday not in WEEKDAYS:
                raise TriggerError(
                    f"calendar {self.name!r}: a weekday is one of {', '.join(WEEKDAYS)}; {weekday!r} was given"
                )
        for text in self.excluded_dates + self.allowed_dates:
            _check_date(self.name, text)
        for start, end in self.excluded_ranges:
            if end <= start:
                raise TriggerError(f"calendar {self.name!r}: the range {start} to {end} ends before it begins")
        lists = (self.excluded_dates, self.excluded_ranges, self.allowed_dates)
        if any(len(entries) > MAX_ENTRIES for entries in lists):
            raise TriggerError(f"calendar {self.name!r}: a list has more than {MAX_ENTRIES} entries")


def _check_date(name: str, text: str) -> None:
    try:
        if _DATE.fullmatch(text) is None:
            raise ValueError
        # A leap year, so that 02-29 may be named for every year that has it.
        date.fromisoformat(text if len(text) == 10 else f"2000-{text}")
    except ValueError:
        raise TriggerError(
            f"calendar {name!r}: a date is written '2026-12-25', or '12-25' for every year; {text!r} was given"
        ) from None


class CompiledCalendar:
    """A calendar that answers quickly. All instants are µs UTC, all days are days since 1970-01-01."""

    __slots__ = (
        "_allowed",
        "_allowed_weekdays",
        "_ends",
        "_excluded",
        "_excluded_weekdays",
        "_starts",
        "calendar",
        "zone",
    )

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self.zone = find_zone(calendar.zone)
        self._excluded = frozenset(calendar.excluded_dates)
        self._allowed = frozenset(calendar.allowed_dates)
        self._excluded_weekdays = frozenset(WEEKDAYS.index(day) for day in calendar.excluded_weekdays)
        self._allowed_weekdays = frozenset(WEEKDAYS.index(day) for day in calendar.allowed_weekdays)
        self._starts, self._ends = _merged(calendar.excluded_ranges)

    def allows(self, instant: int) -> bool:
        """Tell whether an instant is allowed."""
        at = bisect_right(self._starts, instant)
        return not (at and instant < self._ends[at - 1]) and self.allows_day(self.day(instant))

    def allows_day(self, day: int) -> bool:
        """Tell whether a day is allowed, whatever ranges lie in it."""
        shown = date.fromordinal(day + EPOCH_ORDINAL)
        text, weekday = shown.isoformat(), shown.weekday()
        if text in self._excluded or text[5:] in self._excluded or weekday in self._excluded_weekdays:
            return False
        if not self._allowed and not self._allowed_weekdays:
            return True
        return text in self._allowed or text[5:] in self._allowed or weekday in self._allowed_weekdays

    def day(self, instant: int) -> int:
        """Return the local day of an instant."""
        return self.zone.wall(instant) // DAY_US

    def allowed_day(self, day: int, step: Literal[-1, 1]) -> int | None:
        """Return the nearest allowed day after (step 1) or before (step -1) a day, or None within ten years."""
        for distance in range(1, MAX_DAYS_SEARCHED):
            if self.allows_day(day + step * distance):
                return day + step * distance
        return None

    def next_change(self, instant: int) -> int | None:
        """Return the first later instant that is allowed when `instant` is not, or the reverse; None within ten years."""
        allowed = self.allows(instant)
        for _ in range(MAX_DAYS_SEARCHED):
            instant = self._border_after(instant)
            if instant >= LAST_INSTANT_US:
                return None
            if self.allows(instant) != allowed:
                return instant
        return None

    def first_allowed(self, instant: int) -> int | None:
        """Return `instant` when it is allowed, else the first instant after it that is."""
        return instant if self.allows(instant) else self.next_change(instant)

    def last_allowed(self, instant: int) -> int | None:
        """Return `instant` when it is allowed, else the last instant before it that is."""
        for _ in range(MAX_DAYS_SEARCHED):
            if self.allows(instant):
                return instant
            instant = self._border_before(instant) - 1
        return None

    def _border_after(self, instant: int) -> int:
        """Return the next instant at which a day, a segment of the zone or a range begins or ends."""
        segment = self.zone.segment(instant)
        midnight = ((instant + segment.offset) // DAY_US + 1) * DAY_US - segment.offset
        border = min(midnight, segment.end)
        at = bisect_right(self._starts, instant)
        if at < len(self._starts):
            border = min(border, self._starts[at])
        if at and self._ends[at - 1] > instant:
            border = min(border, self._ends[at - 1])
        return border

    def _border_before(self, instant: int) -> int:
        """Return the last instant up to `instant` at which a day, a segment of the zone or a range began or ended."""
        segment = self.zone.segment(instant)
        border = max((instant + segment.offset) // DAY_US * DAY_US - segment.offset, segment.start)
        at = bisect_right(self._starts, instant)
        if at:
            border = max(border, self._ends[at - 1] if self._ends[at - 1] <= instant else self._starts[at - 1])
        return border


def _merged(ranges: tuple[tuple[int, int], ...]) -> tuple[list[int], list[int]]:
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted(ranges):
        if ends and start <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return starts, ends
