"""Cron expressions, read into sets of numbers.

    vixie      minute hour day month weekday                   five fields, the default
    seconds    minute hour day month weekday second            a sixth field at the end
    quartz     second minute hour day month weekday [year]     Quartz's order; weekdays 1-7 are SUN-SAT

Read in all dialects: lists `1,2`, ranges `1-5`, steps `*/5` `8-18/2` `3/5` (3, 8, 13 …), names `jan` `MON`,
`?` for `*` in the two day fields, `@daily` and friends, and for days

    L      last day of the month        L-3    three days before it       LW    last Monday-to-Friday day
    15W    the Monday-to-Friday day nearest to the 15th, within the month
    5#3    third Friday                 5L, L5 last Friday                (Quartz counts Friday as 6)

The two day fields: if either begins with `*` both must match, else one suffices (Vixie cron, `cron.c`, and crontab(5)
of Debian). 0 and 7 are Sunday. What names a date that never comes (30 February) is refused.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from .errors import CronSyntaxError

Dialect = Literal["vixie", "seconds", "quartz"]

MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * sun",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MAX_TEXT: Final = 1_000
# The Gregorian calendar repeats, weekdays and all, every 400 years.
CYCLE_YEARS: Final = range(2000, 2400)


@dataclass(frozen=True, slots=True)
class Span:
    """The legal numbers of a field and its names; `names[0]` stands for `first`."""

    label: str
    first: int
    last: int
    names: tuple[str, ...] = ()


SECOND: Final = Span("second", 0, 59)
MINUTE: Final = Span("minute", 0, 59)
HOUR: Final = Span("hour", 0, 23)
DAY: Final = Span("day of month", 1, 31)
MONTH: Final = Span("month", 1, 12, MONTH_NAMES)
WEEKDAY: Final = Span("day of week", 0, 7, WEEKDAY_NAMES)
QUARTZ_WEEKDAY: Final = Span("day of week", 1, 7, WEEKDAY_NAMES)
YEAR: Final = Span("year", 1970, 2199)


@dataclass(frozen=True, slots=True)
class CronFields:
    """A cron expression as numbers, each tuple ascending. Weekdays are 0-6 from Sunday in every dialect."""

    texts: tuple[str, ...]
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    years: tuple[int, ...] | None
    before_last: tuple[int, ...]
    last_workday: bool
    near_workdays: tuple[int, ...]
    numbered: tuple[tuple[int, int], ...]
    last_weekdays: tuple[int, ...]
    both_days: bool
    every_hour: bool
    stepped_hour: bool

    def month_days(self, year: int, month: int) -> tuple[int, ...]:
        """Return the matching days of a month, ascending; empty when the month or year does not match."""
        if month not in self.months or (self.years is not None and year not in self.years):
            return ()
        first, length = monthrange(year, month)
        first = (first + 1) % 7
        by_day = self._by_day(first, length)
        by_weekday = self._by_weekday(first, length)
        return tuple(sorted(by_day & by_weekday if self.both_days else by_day | by_weekday))

    def _by_day(self, first: int, length: int) -> set[int]:
        days = {day for day in self.days if day <= length}
        days.update(length - back for back in self.before_last if length - back >= 1)
        days.update(_nearest_workday(day, first, length) for day in self.near_workdays if day <= length)
        if self.last_workday:
            days.add(_nearest_workday(length, first, length))
        return days

    def _by_weekday(self, first: int, length: int) -> set[int]:
        days = {day for day in range(1, length + 1) if (first + day - 1) % 7 in self.weekdays}
        for weekday, number in self.numbered:
            day = 1 + (weekday - first) % 7 + 7 * (number - 1)
            if day <= length:
                days.add(day)
        for weekday in self.last_weekdays:
            days.add(length - (first + length - 1 - weekday) % 7)
        return days


def _nearest_workday(day: int, first: int, length: int) -> int:
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


@lru_cache(maxsize=4_096)
def parse_cron(expression: str, dialect: Dialect = "vixie") -> CronFields:
    """Return the fields of a cron expression.

    Raises CronSyntaxError, naming the field and what may stand there, when the text cannot be read, when it has
    another number of fields than the dialect, or when it names only dates that never come.
    """
    if len(expression) > MAX_TEXT:
        raise CronSyntaxError(f"a cron expression has at most {MAX_TEXT} characters; this one has {len(expression)}")
    texts = _split(expression, dialect)
    second, minute, hour, day, month, weekday, year = texts
    days = _DayField(day, expression)
    week = _WeekdayField(weekday, expression, dialect)
    fields = CronFields(
        texts=texts,
        seconds=_numbers(second, SECOND, expression),
        minutes=_numbers(minute, MINUTE, expression),
        hours=_numbers(hour, HOUR, expression),
        days=tuple(sorted(days.numbers)),
        months=_numbers(month, MONTH, expression),
        weekdays=tuple(sorted(week.numbers)),
        years=None if year == "*" else _numbers(year, YEAR, expression),
        before_last=tuple(sorted(days.before_last)),
        last_workday=days.last_workday,
        near_workdays=tuple(sorted(days.near_workdays)),
        numbered=tuple(sorted(week.numbered)),
        last_weekdays=tuple(sorted(week.last)),
        both_days=day[0] in "*?" or weekday[0] in "*?",
        every_hour=hour in ("*", "*/1"),
        stepped_hour=hour.startswith("*") or (dialect == "quartz" and hour.startswith("0/")),
    )
    years = CYCLE_YEARS if fields.years is None else fields.years
    if not any(fields.month_days(at, number) for at in years for number in fields.months):
        raise CronSyntaxError(
            f"cron expression {expression!r} never fires: no year has such a date"
            f" (day of month {day!r}, month {month!r}, day of week {weekday!r}); correct one of these fields"
        )
    return fields


def _split(expression: str, dialect: Dialect) -> tuple[str, ...]:
    """Return the seven fields: second, minute, hour, day, month, weekday, year."""
    text = expression.strip().lower()
    if text.startswith("@"):
        if text not in ALIASES:
            raise CronSyntaxError(_alias_message(text))
        return ("0", *ALIASES[text].split(), "*")
    parts = text.split()
    if dialect == "vixie" and len(parts) == 5:
        return ("0", *parts, "*")
    if dialect == "seconds" and len(parts) == 6:
        return (parts[5], *parts[:5], "*")
    if dialect == "quartz" and len(parts) in (6, 7):
        return (*parts, "*")[:7]
    wanted = {
        "vixie": "five fields (minute hour day month weekday)",
        "seconds": "six fields (minute hour day month weekday second)",
        "quartz": "six or seven fields (second minute hour day month weekday [year])",
    }
    hint = ""
    if dialect == "vixie" and len(parts) in (6, 7):
        hint = "; say dialect='seconds' if the last is the second, dialect='quartz' if the first is"
    raise CronSyntaxError(
        f"cron expression {expression!r} has {len(parts)} fields; dialect {dialect!r} has {wanted[dialect]}{hint}"
    )


def _alias_message(text: str) -> str:
    if text == "@reboot":
        return "@reboot is not a trigger here: it names no instant; start the job when the program starts instead"
    if text.startswith("@every"):
        return f"{text!r} is not cron: write every('5m') instead"
    return f"unknown cron alias {text!r}: one of {', '.join(ALIASES)} was expected"


def _numbers(text: str, span: Span, expression: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        found.update(_range(part, span, text, expression))
    return tuple(sorted(found))


def _range(part: str, span: Span, text: str, expression: str) -> range:
    body, slash, step_text = part.partition("/")
    step = 1
    if slash:
        width = span.last - span.first + 1
        if not _is_number(step_text) or not 1 <= int(step_text) <= width:
            raise _error(expression, span, text, f"the step {step_text!r} must be a number from 1 to {width}")
        step = int(step_text)
    if body == "*":
        # Sunday must not be there twice, or a step would count it as two days.
        last = 6 if span is WEEKDAY else span.last
        return range(span.first, last + 1, step)
    low_text, dash, high_text = body.partition("-")
    low = _number(low_text, span, text, expression)
    if not dash:
        return range(low, (span.last if slash else low) + 1, step)
    high = _number(high_text, span, text, expression)
    if span is WEEKDAY and high == 0 < low:
        high = 7
    if high < low:
        raise _error(
            expression,
            span,
            text,
            f"the range {body!r} runs backwards; write {low_text}-{span.last},{span.first}-{high_text}",
        )
    return range(low, high + 1, step)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


def _number(text: str, span: Span, field: str, expression: str) -> int:
    if text in span.names:
        return span.names.index(text) + span.first
    if _is_number(text) and span.first <= int(text) <= span.last:
        return int(text)
    names = f" or {span.names[0]}-{span.names[-1]}" if span.names else ""
    found = f"{text!r}" if text else "nothing"
    raise _error(expression, span, field, f"{span.first}-{span.last}{names} was expected, {found} was found")


def _error(expression: str, span: Span, field: str, reason: str) -> CronSyntaxError:
    return CronSyntaxError(f"cron expression {expression!r}, field {span.label} ({field!r}): {reason}")


class _DayField:
    """The day-of-month field, taken apart."""

    def __init__(self, text: str, expression: str) -> None:
        self.numbers: set[int] = set()
        self.before_last: set[int] = set()
        self.near_workdays: set[int] = set()
        self.last_workday = False
        for part in ("*" if text == "?" else text).split(","):
            if part == "l":
                self.before_last.add(0)
            elif part.startswith("l-") and _is_number(part[2:]) and int(part[2:]) <= 30:
                self.before_last.add(int(part[2:]))
            elif part == "lw":
                self.last_workday = True
            elif part.endswith("w"):
                self.near_workdays.add(_number(part[:-1], DAY, text, expression))
            else:
                self.numbers.update(_range(part, DAY, text, expression))


class _WeekdayField:
    """The day-of-week field, taken apart; weekdays become 0-6 from Sunday."""

    def __init__(self, text: str, expression: str, dialect: Dialect) -> None:
        span = QUARTZ_WEEKDAY if dialect == "quartz" else WEEKDAY
        self.numbers: set[int] = set()
        self.numbered: set[tuple[int, int]] = set()
        self.last: set[int] = set()
        for part in ("*" if text == "?" else text).split(","):
            if part == "l" and dialect == "quartz":
                self.numbers.add(6)
            elif part == "l":
                raise _error(expression, span, text, "'L' needs a weekday, such as 5L for the last Friday")
            elif "#" in part:
                name, _, number = part.partition("#")
                if number not in ("1", "2", "3", "4", "5"):
                    raise _error(expression, span, text, f"1 to 5 was expected after '#', {number!r} was found")
                self.numbered.add((self._weekday(name, span, text, expression), int(number)))
            elif part.endswith("l"):
                self.last.add(self._weekday(part[:-1], span, text, expression))
            elif part.startswith("l"):
                self.last.add(self._weekday(part[1:], span, text, expression))
            else:
                self.numbers.update((at - span.first) % 7 for at in _range(part, span, text, expression))

    def _weekday(self, name: str, span: Span, text: str, expression: str) -> int:
        return (_number(name, span, text, expression) - span.first) % 7
