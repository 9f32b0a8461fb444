"""RFC 5545 recurrence text, and the only module that knows dateutil.

dateutil steps on naive clock readings here; what a reading means in the zone is decided afterwards, by the same rules
of gap and fold as everywhere (RFC 5545, 3.3.10, would skip readings that do not exist: say gap="skip" for that).
So every date-time in the text is first brought to the zone's clock: `…Z` is converted, a TZID must be the zone.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import lcm, prod
from typing import Final

from dateutil.rrule import rrule, rrulestr

from .errors import TriggerError
from .instant import from_datetime, to_datetime
from .zone import Zone, find_zone

MAX_COUNT: Final = 100_000
MAX_LINES: Final = 100
MAX_DATES: Final = 1_000
MAX_TIMES_A_DAY: Final = 1_440
"""What is to fire more often on its days is written with HOURLY, MINUTELY or SECONDLY, where a step is one moment and not one day."""

MAX_DROPPED_IN_A_ROW: Final = 100_000
"""A rule of which this many dates in a row are excluded counts as ended: longer than a day of seconds."""

WALK: Final = 100
"""Excluded dates that are passed over one by one; further on, the next is looked for."""

_STEPS: Final = {
    "WEEKLY": timedelta(weeks=1),
    "DAILY": timedelta(days=1),
    "HOURLY": timedelta(hours=1),
    "MINUTELY": timedelta(minutes=1),
    "SECONDLY": timedelta(seconds=1),
}
_MONTHS: Final = {"YEARLY": 12, "MONTHLY": 1}
_SEVERAL_A_DAY: Final = ("HOURLY", "MINUTELY", "SECONDLY")
_TIMES: Final = ("BYHOUR", "BYMINUTE", "BYSECOND")
# A rule without a single date makes dateutil look until the year 9999, so the check is made in the last 400 of them:
# the calendar repeats after 400 years.
_CYCLE_YEARS: Final = 400
_LAST_CYCLE: Final = 9_999 - _CYCLE_YEARS
_RANGES: Final = {
    "BYSECOND": (0, 59),
    "BYMINUTE": (0, 59),
    "BYHOUR": (0, 23),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYMONTH": (1, 12),
    "BYEASTER": (-80, 249),  # always in the year of that Easter
}
"""Beyond these dateutil fails while it looks for a date, or looks for one in vain (RFC 5545, 3.3.10)."""

_NEVER_ZERO: Final = ("BYMONTHDAY", "BYYEARDAY", "BYWEEKNO")
_LONGEST: Final = 9
"""Characters of a number."""

_WEEKS_OF_YEAR: Final = 53
_WEEKS_OF_MONTH: Final = 5
_NUMBER: Final = re.compile(r"[+-]?[0-9]+")
_UNTIL: Final = re.compile(r"UNTIL=(\d{8}T\d{6}Z)")


@dataclass(frozen=True, slots=True)
class _Part:
    """One RRULE or EXRULE line. It may be moved on by `stride`, or by `years`; None and 0 when its COUNT forbids that."""

    rule: rrule
    start: datetime
    stride: timedelta | None
    years: int
    several_a_day: bool

    def readings(self, since: datetime) -> Iterator[datetime]:
        """Yield the readings at or after `since`."""
        rule = self.rule
        if self.stride is not None:
            strides = (since - self.start) // self.stride - 1
            if strides > 0:
                rule = rule.replace(dtstart=self.start + strides * self.stride)
        elif self.years:
            strides = (since.year - self.start.year) // self.years - 1
            if strides > 0:
                rule = rule.replace(dtstart=self._moved(strides * self.years))
        return (reading for reading in _dates(rule) if reading >= since)

    def has_a_date(self) -> bool:
        """Tell whether there is any reading within 400 years."""
        cycles = max(0, (_LAST_CYCLE - self.start.year) // _CYCLE_YEARS)
        moved = self._moved(cycles * _CYCLE_YEARS)
        return next(_dates(self.rule.replace(dtstart=moved, until=None)), None) is not None

    def _moved(self, years: int) -> datetime:
        return self.start.replace(year=self.start.year + years)


class _Exclusion:
    """What an EXRULE line drops, asked in ascending order."""

    def __init__(self, part: _Part, since: datetime) -> None:
        self._part = part
        self._find(since)

    def _find(self, since: datetime) -> None:
        self._dates = self._part.readings(since)
        self._next = next(self._dates, None)

    def holds(self, reading: datetime) -> bool:
        walked = 0
        while self._next is not None and self._next < reading:
            walked += 1
            if walked == WALK and self._part.stride is not None:
                self._find(reading)
            else:
                self._next = next(self._dates, None)
        return self._next == reading


def _dates(rule: rrule) -> Iterator[datetime]:
    """Yield the dates that dateutil finds; that an interval never meets its hours it says by an error."""
    try:
        yield from rule
    except (ValueError, TypeError, LookupError):
        return


class Rule:
    """A recurrence as ascending naive clock readings.

    several_a_day: a rule steps by hours or less and names no hour, so a fold is run through twice.
    Raises TriggerError when the text cannot be read.
    """

    def __init__(self, text: str, start: int, zone: Zone) -> None:
        self._zone = zone
        self._start = to_datetime(zone.wall(start)).replace(tzinfo=None, microsecond=0)
        self._rules: list[_Part] = []
        self._except: list[_Part] = []
        self._dates: list[datetime] = []
        self._except_dates: set[datetime] = set()
        lines = text.upper().split()
        if not lines or len(lines) > MAX_LINES:
            raise TriggerError(f"an RRULE has 1 to {MAX_LINES} lines; this text has {len(lines)}")
        for line in lines:
            self._add(line)
        if not self._rules and not self._dates:
            raise TriggerError(f"the text {text!r} has neither an RRULE nor an RDATE: nothing would ever fire")
        self._dates.sort()
        self.several_a_day = any(rule.several_a_day for rule in self._rules)

    def readings(self, since: datetime) -> Iterator[datetime]:
        """Yield the naive readings at or after `since`, ascending, each once."""
        rows: list[Iterator[datetime]] = [rule.readings(since) for rule in self._rules]
        rows.append(date for date in self._dates if date >= since)
        exclusions = [_Exclusion(part, since) for part in self._except]
        last = None
        dropped = 0
        for reading in heapq.merge(*rows):
            if reading == last:
                continue
            last = reading
            if reading in self._except_dates or any(exclusion.holds(reading) for exclusion in exclusions):
                dropped += 1
                if dropped == MAX_DROPPED_IN_A_ROW:
                    return
            else:
                dropped = 0
                yield reading

    def never_meets_a_date(self) -> bool:
        """Tell whether one of the rules names no date at all in 400 years."""
        return not all(part.has_a_date() for part in (*self._rules, *self._except))

    def _add(self, line: str) -> None:
        name, colon, value = line.partition(":")
        if not colon:
            name, value = "RRULE", line
        name, *parameters = name.split(";")
        if name in ("RRULE", "EXRULE"):
            (self._rules if name == "RRULE" else self._except).append(self._rule(value))
        elif name in ("RDATE", "EXDATE"):
            dates = [self._reading(text, parameters, line) for text in value.split(",")]
            if len(dates) > MAX_DATES:
                raise TriggerError(f"{name} has at most {MAX_DATES} dates; this one has {len(dates)}")
            if name == "RDATE":
                self._dates.extend(dates)
            else:
                self._except_dates.update(dates)
        else:
            raise TriggerError(f"RRULE text has the line {line!r}: RRULE, EXRULE, RDATE or EXDATE was expected")

    def _rule(self, value: str) -> _Part:
        until = _UNTIL.search(value)
        if until is not None:
            reading = self._reading(until[1], [], value)
            value = value.replace(until[1], reading.strftime("%Y%m%dT%H%M%S"))
        words = dict(word.partition("=")[::2] for word in value.split(";"))
        interval = _whole(words, "INTERVAL", value, 1_000_000) or 1
        count = _whole(words, "COUNT", value, MAX_COUNT)
        _check_ranges(words, value)
        rule = _read(value, self._start)
        frequency = words.get("FREQ", "")
        if frequency in _SEVERAL_A_DAY and "BYSETPOS" in words:
            # The n-th of a set that has one member is sought, minute by minute, until the year 9999.
            raise TriggerError(f"RRULE {value!r}: BYSETPOS goes with DAILY, WEEKLY, MONTHLY and YEARLY; drop it")
        step = _STEPS.get(frequency)
        stride = None if step is None or count is not None else step * interval
        years = 0 if count is not None else _years(frequency, interval, self._start)
        several_a_day = frequency in _SEVERAL_A_DAY and "BYHOUR" not in words
        return _Part(rule, self._start, stride, years, several_a_day)

    def _reading(self, text: str, parameters: list[str], line: str) -> datetime:
        """Return a date-time of the text as a naive reading on the zone's clock."""
        for parameter in parameters:
            key, _, zone = parameter.partition("=")
            if key == "TZID" and zone != self._zone.name.upper():
                raise TriggerError(
                    f"{line!r} is in zone {zone}, the rule in {self._zone.name}: write one zone for both"
                )
        return read_stamp(text, self._zone)


def read_stamp(text: str, zone: Zone) -> datetime:
    """Return an RFC 5545 date or date-time as a naive reading on a zone's clock; `…Z` is converted.

    Raises TriggerError when it cannot be read.
    """
    try:
        if text.endswith("Z"):
            instant = from_datetime(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
            return to_datetime(zone.wall(instant)).replace(tzinfo=None)
        shape = "%Y%m%dT%H%M%S" if "T" in text else "%Y%m%d"
        return datetime.strptime(text, shape).replace(tzinfo=UTC).replace(tzinfo=None)
    except ValueError:
        raise TriggerError(f"a date of RFC 5545 is written 20260501T090000; {text!r} was found") from None


def check_text(text: str, zone: str, start: int | None) -> None:
    """Raise TriggerError unless the text can be read. Quick, whatever the text."""
    Rule(text, start or 0, find_zone(zone))


def check_rule(text: str, zone: str, start: int | None) -> None:
    """Raise TriggerError unless the text can be read and each of its rules names a date in 400 years.

    That may take a second: for who has written the rule, or for one at a time.
    """
    if Rule(text, start or 0, find_zone(zone)).never_meets_a_date():
        raise TriggerError(f"RRULE {text!r} never fires: a rule in it names no date within {_CYCLE_YEARS} years")


def _read(value: str, start: datetime) -> rrule:
    """Return what dateutil makes of a rule."""
    try:
        rule = rrulestr(value, dtstart=start)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise TriggerError(
            f"RRULE {value!r} cannot be read ({error}); RFC 5545 writes it like 'FREQ=WEEKLY;BYDAY=MO,WE'"
        ) from None
    if not isinstance(rule, rrule):
        raise TriggerError(f"RRULE {value!r} cannot be read; RFC 5545 writes it like 'FREQ=WEEKLY;BYDAY=MO,WE'")
    return rule


def _check_ranges(words: dict[str, str], value: str) -> None:
    """Refuse numbers that no date has; what is no number dateutil refuses itself."""
    for name, (least, most) in _RANGES.items():
        for number in _NUMBER.findall(words.get(name, "")):
            if len(number) > _LONGEST or not least <= int(number) <= most or (int(number) == 0 and name in _NEVER_ZERO):
                raise TriggerError(f"RRULE {value!r}: {name} goes from {least} to {most}; {number} was found")
    weeks = _WEEKS_OF_MONTH if words.get("FREQ") == "MONTHLY" or "BYMONTH" in words else _WEEKS_OF_YEAR
    for number in _NUMBER.findall(words.get("BYDAY", "") + "," + words.get("BYWEEKDAY", "")):
        if len(number) > _LONGEST or not 1 <= abs(int(number)) <= weeks:
            raise TriggerError(
                f"RRULE {value!r}: BYDAY counts from 1 to {weeks} here, or from the end; {number} was found"
            )

    times = prod(len(words[name].split(",")) for name in _TIMES if name in words)
    if words.get("FREQ") not in _SEVERAL_A_DAY and times > MAX_TIMES_A_DAY:
        raise TriggerError(
            f"RRULE {value!r}: {times} times of a day, the limit is {MAX_TIMES_A_DAY}; "
            "write it with FREQ=MINUTELY or FREQ=SECONDLY"
        )


def _years(frequency: str, interval: int, start: datetime) -> int:
    """Return by how many years a rule may be moved on, so that it meets the same months and its start exists; 0 for others."""
    months = _MONTHS.get(frequency)
    if months is None:
        return 0
    years = lcm(interval * months, 12) // 12
    return lcm(years, _CYCLE_YEARS) if (start.month, start.day) == (2, 29) else years


def _whole(words: dict[str, str], name: str, value: str, most: int) -> int | None:
    text = words.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise TriggerError(f"RRULE {value!r}: {name} must be a whole number from 1 to {most}; {text!r} was found")
    return int(text)
