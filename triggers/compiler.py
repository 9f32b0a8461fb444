"""From a trigger, which is data, to a schedule, which answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from .combination import BoundedSeries, DifferenceSeries, UnionSeries
from .cron_expression import parse_cron
from .cron_series import CronSeries
from .date_series import DateSeries
from .errors import TriggerError, UnknownCalendarError
from .instant import to_datetime
from .interval_series import EmptySeries, FixedDelaySeries, FixedRateSeries, SingleSeries
from .named_calendar import Calendar, CompiledCalendar
from .rrule_series import RRuleSeries
from .rrule_text import Rule, check_rule
from .schedule import Schedule, jitter_offset
from .series import Series
from .trigger import (
    At,
    CalendarInterval,
    Constrained,
    Cron,
    Delay,
    Difference,
    Every,
    FixedDelay,
    Manual,
    RRule,
    Trigger,
    Union,
    Unreadable,
)
from .zone import find_zone

MAX_DEPTH: Final = 16
NO_CALENDARS: Final[Mapping[str, Calendar]] = {}


def compile_trigger(
    trigger: Trigger, *, key: str = "", anchor: int, calendars: Mapping[str, Calendar] = NO_CALENDARS
) -> Schedule:
    """Return the schedule of a trigger for one job.

    key: the job's identity, from which its jitter is hashed. anchor: when the job was added (µs UTC).
    calendars: the calendars that triggers may name.
    Raises UnknownCalendarError for a calendar that is not among them, TriggerError for a trigger that is nested more
    than 16 deep, a calendar interval without a single date, or one that cannot be read here.
    """
    if not isinstance(trigger, Constrained):
        return Schedule(_series(trigger, anchor, 0), anchor=anchor)
    return Schedule(
        _series(trigger, anchor, 0),
        anchor=anchor,
        offset=jitter_offset(key, trigger.jitter_us),
        calendar=_calendar(trigger.calendar, calendars),
        limit=trigger.limit,
    )


def check_dates(trigger: Trigger) -> None:
    """Raise TriggerError if a recurrence rule in a trigger names no date within 400 years. That may take a second for each rule."""
    match trigger:
        case RRule():
            check_rule(trigger.text, trigger.zone, trigger.start)
        case Constrained():
            check_dates(trigger.trigger)
        case Union():
            for member in trigger.members:
                check_dates(member)
        case Difference():
            check_dates(trigger.trigger)
            check_dates(trigger.without)
        case _:
            pass


def _series(trigger: Trigger, anchor: int, depth: int) -> Series:
    if depth > MAX_DEPTH:
        raise TriggerError(
            f"a trigger may be nested {MAX_DEPTH} deep; this one is deeper: write one union of all members"
        )
    match trigger:
        case At():
            return SingleSeries(trigger.when)
        case Delay():
            return SingleSeries(anchor + trigger.delay_us)
        case Every():
            return FixedRateSeries(_first(trigger.start, anchor, trigger.period_us), trigger.period_us)
        case FixedDelay():
            first = _first(trigger.start, anchor, trigger.delay_us)
            # a start that had passed when the job was added is no start: nothing would ever follow it
            return FixedDelaySeries(first if first >= anchor else anchor + trigger.delay_us, trigger.delay_us)
        case Cron():
            fields = parse_cron(trigger.expression, trigger.dialect)
            return CronSeries(fields, find_zone(trigger.zone), trigger.gap, trigger.fold)
        case CalendarInterval():
            return _date_series(trigger, anchor)
        case RRule():
            zone = find_zone(trigger.zone)
            start = anchor if trigger.start is None else trigger.start
            return RRuleSeries(Rule(trigger.text, start, zone), zone, trigger.gap, trigger.fold)
        case Manual():
            return EmptySeries()
        case Unreadable():
            raise TriggerError(f"a stored trigger cannot be read here: {trigger.text}")
        case Union() | Difference() | Constrained():
            return _combined(trigger, anchor, depth + 1)
        case _:
            assert_never(trigger)


def _combined(trigger: Union | Difference | Constrained, anchor: int, depth: int) -> Series:
    match trigger:
        case Union():
            return UnionSeries(tuple(_series(member, anchor, depth) for member in trigger.members))
        case Difference():
            return DifferenceSeries(_series(trigger.trigger, anchor, depth), _series(trigger.without, anchor, depth))
        case Constrained():
            series = _series(trigger.trigger, anchor, depth)
            bounded = trigger.start is not None or trigger.end is not None
            return BoundedSeries(series, trigger.start, trigger.end) if bounded else series


def _first(start: int | str | None, anchor: int, length: int) -> int:
    if isinstance(start, int):
        return start
    return anchor + length if start is None else anchor


def _date_series(trigger: CalendarInterval, anchor: int) -> Series:
    start = anchor if trigger.start is None else trigger.start
    series = DateSeries(trigger, find_zone(trigger.zone), start)
    if series.next(start - 1) is None:
        raise TriggerError(
            f"calendar_interval() never fires: counted from {to_datetime(start):%Y-%m-%d}, no month has its day;"
            " choose another day or missing_day='clamp'"
        )
    return series


def _calendar(calendar: str | Calendar | None, calendars: Mapping[str, Calendar]) -> CompiledCalendar | None:
    if calendar is None:
        return None
    if isinstance(calendar, str):
        if calendar not in calendars:
            known = ", ".join(sorted(calendars)) or "none"
            raise UnknownCalendarError(f"no calendar is named {calendar!r}; known calendars: {known}")
        calendar = calendars[calendar]
    return CompiledCalendar(calendar)
