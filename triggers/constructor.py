"""How triggers are written: `every("5m") | cron("0 2 * * *", zone="Europe/Berlin")`.

A constructor says what only its kind has; what all kinds can have (bounds, calendar, jitter, limit) is said by
`.but(...)` on any of them:

    cron("30 6 * * mon-fri", zone="Europe/Berlin").but(calendar="holidays", jitter="2m", limit=100)

All constructors are pure: `now` stays a word until the job is added.
"""

from __future__ import annotations

import re
from typing import Final, Literal
from zoneinfo import ZoneInfo

from .cron_expression import Dialect
from .instant import from_wall, to_datetime
from .reading import Duration, Moment, read_duration, read_moment, read_zone
from .rrule_text import check_rule, read_stamp
from .trigger import At, CalendarInterval, Cron, Delay, Every, FixedDelay, Manual, RRule
from .zone import Fold, Gap, find_zone

_DTSTART: Final = re.compile(r"DTSTART(?P<parameters>(?:;[^:\s]+)?):(?P<stamp>\S+)", re.IGNORECASE)
_TZID: Final = re.compile(r";TZID=([^:;]+)", re.IGNORECASE)


def at(when: Moment, *, zone: str | ZoneInfo | None = None) -> At:
    """Fire once, at a moment.

    when: an aware datetime, a naive one with `zone`, ISO 8601 text, or Unix seconds.
    Raises TriggerError for a naive moment without a zone.
    """
    return At(read_moment(when, zone, "the moment of at()"))


def delay(length: Duration) -> Delay:
    """Fire once, so long after the job was added: seconds, a timedelta, or text such as `5m`.

    Raises TriggerError for a negative length.
    """
    return Delay(read_duration(length, "a delay"))


def every(
    period: Duration,
    *,
    start: Moment | Literal["now"] | None = None,
    after_end: bool = False,
    zone: str | ZoneInfo | None = None,
) -> Every | FixedDelay:
    """Fire at a fixed rate, or with `after_end` a fixed time after the end of each run.

    period: seconds, a timedelta, or text such as `5m`, `1h30m`; at least 1 ms.
    start: the first slot: a moment, `"now"` (when the job is added), or None (one period after that).
    zone: the zone of a naive start; the period itself runs on UTC and knows no daylight saving.
    Raises TriggerError for a period that is too short or a naive start without a zone.
    """
    length = read_duration(period, "the period of every()")
    first: int | Literal["now"] | None
    if start is None or start == "now":
        first = None if start is None else "now"
    else:
        first = read_moment(start, zone, "the start of every()")
    return FixedDelay(length, first) if after_end else Every(length, first)


def cron(
    expression: str,
    *,
    zone: str | ZoneInfo = "UTC",
    gap: Gap = "after",
    fold: Fold = "auto",
    dialect: Dialect = "vixie",
) -> Cron:
    """Fire when the clock of a zone matches a cron expression.

    expression: five fields or an alias such as `@daily`; see `cron_expression` for the dialects.
    gap: what becomes of a reading that does not exist: `after` (once, when the gap ends), `skip`, `shift`.
    fold: which of two equal readings counts: `auto` (the first; both if the hour is `*` or `*/n`), `first`, `second`,
    `both`.
    Raises CronSyntaxError when the expression cannot be read or never fires, UnknownZoneError for the zone.
    """
    return Cron(expression, read_zone(zone), gap, fold, dialect)


def calendar_interval(
    *,
    years: int = 0,
    months: int = 0,
    weeks: int = 0,
    days: int = 0,
    hour: int | None = None,
    minute: int | None = None,
    second: int | None = None,
    day: int | None = None,
    zone: str | ZoneInfo = "UTC",
    missing_day: Literal["skip", "clamp"] = "skip",
    start: Moment | None = None,
    gap: Gap = "after",
    fold: Fold = "auto",
) -> CalendarInterval:
    """Fire every so many calendar steps at one time of day, such as every 2 months on the 31st at 10:00.

    hour, minute, second: the time of day; unsaid, those of `start`, and 00:00:00 without one. A time that is said in
    part is whole: `hour=10` is 10:00:00.
    day: the day of the month; unsaid, that of the start.
    missing_day: what becomes of a month without the day: `skip` the slot, or `clamp` it to the last day.
    start: the date from which steps are counted and before which nothing fires; unsaid, when the job is added.
    Raises TriggerError for steps, times or days out of range, UnknownZoneError for the zone.
    """
    name = read_zone(zone)
    first = None if start is None else read_moment(start, name, "the start of calendar_interval()")
    if hour is None and minute is None and second is None and first is not None:
        reading = to_datetime(find_zone(name).wall(first))
        hour, minute, second = reading.hour, reading.minute, reading.second
    return CalendarInterval(
        years=years,
        months=months,
        weeks=weeks,
        days=days,
        hour=hour or 0,
        minute=minute or 0,
        second=second or 0,
        day=day,
        zone=name,
        missing_day=missing_day,
        start=first if first is None else first - first % 1_000_000,
        gap=gap,
        fold=fold,
    )


def rrule(
    text: str,
    *,
    zone: str | ZoneInfo | None = None,
    start: Moment | None = None,
    gap: Gap = "after",
    fold: Fold = "auto",
) -> RRule:
    """Fire by a recurrence rule of RFC 5545, such as `FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17`.

    text: a rule, or lines RRULE, RDATE, EXRULE, EXDATE and DTSTART; UNTIL and dates with Z are UTC, others readings.
    zone: the zone of the readings; unsaid, that of DTSTART, else UTC.
    start: DTSTART; unsaid, that of the text, else when the job is added.
    Raises TriggerError when the text cannot be read or a rule in it names no date within 400 years, UnknownZoneError for the zone.
    """
    found = _DTSTART.search(text)
    if found is not None:
        text = text[: found.start()] + text[found.end() :]
        named = _TZID.search(found["parameters"])
        if zone is None and named is not None:
            zone = named[1]
    name = read_zone("UTC" if zone is None else zone)
    if start is not None:
        first: int | None = read_moment(start, name, "the start of rrule()")
    elif found is not None:
        reading = from_wall(read_stamp(found["stamp"].upper(), find_zone(name)))
        first = find_zone(name).resolve(reading, "after", "first")[0]
    else:
        first = None
    made = RRule(text.strip(), first, name, gap, fold)
    check_rule(made.text, made.zone, made.start)
    return made


def manual() -> Manual:
    """Never fire by itself: a person, a message or a dependency starts the job."""
    return Manual()
