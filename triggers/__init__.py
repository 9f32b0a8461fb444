"""Triggers: rules that yield instants, and what becomes of the instants that passed.

    constructor      at, delay, every, cron, calendar_interval, rrule, manual   (then |, - and .but)
    trigger          the same as data, for the wire and the store
    compiler         compile_trigger: data to a Schedule
    schedule         Schedule and Slot: jitter, calendars, next, latest, count
    decision         decide: exactly one decision for each slot that has passed
    description      describe: an English sentence        preview    the next fires

Below these: `series` and its kinds (bare instants), `zone` (offsets, gaps and folds), `reading` (what people write).
All of it is pure; instants are integer microseconds UTC since the Unix epoch.
"""

from __future__ import annotations

from .compiler import compile_trigger
from .constructor import at, calendar_interval, cron, delay, every, manual, rrule
from .decision import CatchUp, Decision, DecisionKind, Missed, decide
from .description import describe
from .errors import CronSyntaxError, TriggerError, UnknownCalendarError, UnknownZoneError
from .instant import to_datetime
from .named_calendar import Calendar
from .preview import Preview, preview
from .reading import read_duration, read_moment
from .schedule import Schedule, Slot
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

__all__ = [
    "At",
    "Calendar",
    "CalendarInterval",
    "CatchUp",
    "Constrained",
    "Cron",
    "CronSyntaxError",
    "Decision",
    "DecisionKind",
    "Delay",
    "Difference",
    "Every",
    "FixedDelay",
    "Manual",
    "Missed",
    "Preview",
    "RRule",
    "Schedule",
    "Slot",
    "Trigger",
    "TriggerError",
    "Union",
    "UnknownCalendarError",
    "UnknownZoneError",
    "Unreadable",
    "at",
    "calendar_interval",
    "compile_trigger",
    "cron",
    "decide",
    "delay",
    "describe",
    "every",
    "manual",
    "preview",
    "read_duration",
    "read_moment",
    "rrule",
    "to_datetime",
]
