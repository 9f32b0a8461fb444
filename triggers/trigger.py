"""The vocabulary of triggers: what goes over the wire and into the store.

Each kind is a frozen struct of plain data with a tag chosen by hand, so `msgspec.convert(data, Trigger)` rebuilds any
of them, nested as deep as they are, from what MessagePack gives. A struct checks itself when it is made, by hand or
from the wire: what exists can be compiled, except where a calendar is missing or a date depends on the anchor.

Times are µs: `*_us` is a length, `start`, `end` and `when` are instants since the Unix epoch, in UTC.

Triggers combine: `a | b` fires at the instants of either (once where they meet), `a - b` at the instants of `a` that
are not instants of `b`, and `a.but(...)` adds bounds, a calendar, jitter or a limit.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from .cron_expression import Dialect, parse_cron
from .errors import TriggerError
from .instant import FIRST_INSTANT_US, LAST_INSTANT_US
from .named_calendar import Calendar
from .reading import Duration, Moment, read_duration, read_moment
from .rrule_text import check_text
from .zone import Fold, Gap, find_zone

MIN_PERIOD_US: Final = 1_000
MAX_MEMBERS: Final = 64
MAX_RULE_TEXT: Final = 4_000
MAX_CALENDAR_STEP: Final = 10_000


class TriggerBase(msgspec.Struct, frozen=True, tag_field="type"):
    """What all triggers can do. Not a trigger itself."""

    def __or__(self, other: Trigger) -> Union:
        """Return the union: the instants of either, each once."""
        left = self.members if isinstance(self, Union) else (_trigger(self),)
        right = other.members if isinstance(other, Union) else (_trigger(other),)
        return Union(left + right)

    def __sub__(self, other: Trigger) -> Difference:
        """Return the difference: the instants of this trigger that are not instants of the other."""
        return Difference(_trigger(self), _trigger(other))

    def but(
        self,
        *,
        jitter: Duration | None = None,
        calendar: str | Calendar | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        limit: int | None = None,
        zone: str | None = None,
    ) -> Constrained:
        """Return the trigger with conditions; what is not said stays as it was.

        jitter: each job starts later by a stable part of this length, never as late as the next slot.
        calendar: the name of a shared calendar, or a Calendar.
        start, end: only slots within [start, end]; datetimes, ISO text or Unix seconds.
        limit: the number of fires after which the job is exhausted; counted by the scheduler.
        zone: the zone of a naive start or end.
        Jitter, calendar and limit belong to the whole: in a member of `|` or `-` they raise TriggerError.
        """
        held = self if isinstance(self, Constrained) else Constrained(_trigger(self))
        return Constrained(
            held.trigger,
            jitter_us=held.jitter_us if jitter is None else read_duration(jitter, "jitter"),
            calendar=held.calendar if calendar is None else calendar,
            start=held.start if start is None else read_moment(start, zone, "start"),
            end=held.end if end is None else read_moment(end, zone, "end"),
            limit=held.limit if limit is None else limit,
        )


class At(TriggerBase, frozen=True, tag="at"):
    """One instant."""

    when: int

    def __post_init__(self) -> None:
        _check_instant("when", self.when)


class Delay(TriggerBase, frozen=True, tag="delay"):
    """Once, so long after the job was added."""

    delay_us: int

    def __post_init__(self) -> None:
        _check_length("a delay", self.delay_us, 0)


class Every(TriggerBase, frozen=True, tag="every"):
    """A fixed rate: first + k * period, on UTC, without drift.

    `start` is the first slot: an instant, `"now"` (when the job was added), or None (one period after that).
    """

    period_us: int
    start: int | Literal["now"] | None = None

    def __post_init__(self) -> None:
        _check_length("the period of every()", self.period_us, MIN_PERIOD_US)
        _check_instant("start", self.start)


class FixedDelay(TriggerBase, frozen=True, tag="after_end"):
    """Always so long after the end of the last run; `start` as in Every."""

    delay_us: int
    start: int | Literal["now"] | None = None

    def __post_init__(self) -> None:
        _check_length("the delay of every(after_end=True)", self.delay_us, MIN_PERIOD_US)
        _check_instant("start", self.start)


class Cron(TriggerBase, frozen=True, tag="cron"):
    """A cron expression on the clock of a zone."""

    expression: str
    zone: str = "UTC"
    gap: Gap = "after"
    fold: Fold = "auto"
    dialect: Dialect = "vixie"

    def __post_init__(self) -> None:
        find_zone(self.zone)
        _check_choices(self.gap, self.fold)
        if self.dialect not in ("vixie", "seconds", "quartz"):
            raise TriggerError(f"dialect must be 'vixie', 'seconds' or 'quartz'; {self.dialect!r} was given")
        parse_cron(self.expression, self.dialect)


class CalendarInterval(TriggerBase, frozen=True, tag="calendar_interval"):
    """Every so many years, months, weeks and days at one time of day, counted from the date of the start.

    `day` is a day of the month; when a month lacks it the slot is skipped or clamped to the month's last day.
    Without `start` the count begins on the date the job was added.
    """

    years: int = 0
    months: int = 0
    weeks: int = 0
    days: int = 0
    hour: int = 0
    minute: int = 0
    second: int = 0
    day: int | None = None
    zone: str = "UTC"
    missing_day: Literal["skip", "clamp"] = "skip"
    start: int | None = None
    gap: Gap = "after"
    fold: Fold = "auto"

    def __post_init__(self) -> None:
        find_zone(self.zone)
        _check_choices(self.gap, self.fold)
        _check_instant("start", self.start)
        steps = {"years": self.years, "months": self.months, "weeks": self.weeks, "days": self.days}
        for name, value in steps.items():
            _check_range(name, value, 0, MAX_CALENDAR_STEP)
        if not any(steps.values()):
            raise TriggerError("calendar_interval() needs at least one of years, months, weeks or days above 0")
        _check_range("hour", self.hour, 0, 23)
        _check_range("minute", self.minute, 0, 59)
        _check_range("second", self.second, 0, 59)
        if self.missing_day not in ("skip", "clamp"):
            raise TriggerError(f"missing_day must be 'skip' or 'clamp'; {self.missing_day!r} was given")
        if self.day is not None:
            _check_range("day", self.day, 1, 31)
            if self.weeks or self.days:
                raise TriggerError("day= is a day of the month: it goes with years and months, not with weeks and days")


class RRule(TriggerBase, frozen=True, tag="rrule"):
    """A recurrence rule of RFC 5545 (one or more lines), on the clock of a zone, from `start` or when it was added.

    Here it is only read: whether it ever fires takes too long to be found out of each that comes from elsewhere. `rrule()` does.
    """

    text: str
    start: int | None = None
    zone: str = "UTC"
    gap: Gap = "after"
    fold: Fold = "auto"

    def __post_init__(self) -> None:
        find_zone(self.zone)
        _check_choices(self.gap, self.fold)
        _check_instant("start", self.start)
        if len(self.text) > MAX_RULE_TEXT:
            raise TriggerError(f"an RRULE has at most {MAX_RULE_TEXT} characters; this one has {len(self.text)}")
        check_text(self.text, self.zone, self.start)


class Manual(TriggerBase, frozen=True, tag="manual"):
    """Never by itself: a person, a message or a dependency starts it."""


class Unreadable(TriggerBase, frozen=True, tag="unreadable"):
    """Stands for a trigger that is stored and cannot be read here, such as for an unknown time zone; `text` says why.

    Nobody knows its slots, so it cannot be compiled: its job waits.
    """

    text: str


class Union(TriggerBase, frozen=True, tag="union"):
    """The instants of any member, each once."""

    members: tuple[Trigger, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.members) <= MAX_MEMBERS:
            raise TriggerError(f"a union has 1 to {MAX_MEMBERS} members; this one has {len(self.members)}")
        for member in self.members:
            _check_member(member)


class Difference(TriggerBase, frozen=True, tag="difference"):
    """The instants of `trigger` that are not instants of `without`."""

    trigger: Trigger
    without: Trigger

    def __post_init__(self) -> None:
        _check_member(self.trigger)
        _check_member(self.without)
        if self.trigger == self.without:
            raise TriggerError("a trigger minus itself never fires; use manual() for a job that others start")
        if isinstance(self.without, FixedDelay):
            raise TriggerError("a fixed delay cannot be excluded: its instants are not known beforehand")


class Constrained(TriggerBase, frozen=True, tag="but"):
    """A trigger with conditions; made by `trigger.but(...)`, which explains them."""

    trigger: Trigger
    jitter_us: int = 0
    calendar: str | Calendar | None = None
    start: int | None = None
    end: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.trigger, Constrained):
            raise TriggerError("conditions are said once: call .but(...) on the conditioned trigger to change them")
        _check_length("jitter", self.jitter_us, 0)
        _check_instant("start", self.start)
        _check_instant("end", self.end)
        if self.start is not None and self.end is not None and self.end < self.start:
            raise TriggerError("the end of a trigger lies before its start: no slot could fire")
        if self.limit is not None and (isinstance(self.limit, bool) or self.limit < 1):
            raise TriggerError(f"limit is the number of fires, at least 1; {self.limit!r} was given")


Trigger = (
    At
    | Delay
    | Every
    | FixedDelay
    | Cron
    | CalendarInterval
    | RRule
    | Manual
    | Unreadable
    | Union
    | Difference
    | Constrained
)


def _trigger(value: object) -> Trigger:
    if not isinstance(value, Trigger):
        raise TriggerError(f"a trigger was expected, such as every('5m') or cron('0 2 * * *'); {value!r} was given")
    return value


def _check_member(member: Trigger) -> None:
    _trigger(member)
    if isinstance(member, Constrained) and (member.jitter_us or member.calendar is not None or member.limit):
        raise TriggerError(
            "jitter, calendar and limit belong to the whole trigger: write (a | b).but(jitter=...)"
            " instead of a.but(jitter=...) | b"
        )


def _check_choices(gap: str, fold: str) -> None:
    if gap not in ("after", "skip", "shift"):
        raise TriggerError(f"gap must be 'after', 'skip' or 'shift'; {gap!r} was given")
    if fold not in ("auto", "first", "second", "both"):
        raise TriggerError(f"fold must be 'auto', 'first', 'second' or 'both'; {fold!r} was given")


def _check_instant(name: str, value: int | str | None) -> None:
    if isinstance(value, int) and not FIRST_INSTANT_US <= value <= LAST_INSTANT_US:
        raise TriggerError(f"{name} must lie within the years 2 to 9998; {value} µs was given")


def _check_length(name: str, value: int, least: int) -> None:
    if not least <= value <= LAST_INSTANT_US:
        unit = "0" if least == 0 else f"{least} µs"
        raise TriggerError(f"{name} must be at least {unit} and less than 8000 years; {value} µs was given")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TriggerError(f"{name} must be a whole number from {low} to {high}; {value!r} was given")
