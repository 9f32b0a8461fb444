"""Triggers of simulated jobs, with their slots by brute force: nothing of the scheduler's own arithmetic is used.

Cron expressions are matched second by second (of UTC: their hours are open, so a fold of a zone is passed twice), periods are multiplied out, calendars are looked up slot by slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from callsheet.triggers import (
    At,
    Calendar,
    Constrained,
    Cron,
    Delay,
    Difference,
    Every,
    FixedDelay,
    Manual,
    Trigger,
    Union,
)
from simulation.virtual import MILLION

DAY_US = 24 * 3600 * MILLION
ZONES = ("UTC", "UTC", "Europe/Berlin", "America/New_York")
SECONDS = ("0", "*/2", "*/3", "*/5", "*/7", "*/10", "*/15", "1,2,3,30")


def draw_trigger(random: Random, now: int) -> Trigger:
    """A trigger that has something to do within a minute or two."""
    kind = random.choice(
        (
            "every",
            "every",
            "cron",
            "cron",
            "at",
            "delay",
            "fixed",
            "limit",
            "calendar",
            "union",
            "without",
            "jitter",
            "start",
        )
    )
    every = Every(random.choice((700_000, MILLION, 1_500_000, 2 * MILLION, 5 * MILLION, 11 * MILLION)))
    cron = Cron(f"* * * * * {random.choice(SECONDS)}", zone=random.choice(ZONES), dialect="seconds")
    match kind:
        case "every":
            return every
        case "cron":
            return cron
        case "at":
            return At(now + random.randrange(60 * MILLION))
        case "delay":
            return Delay(random.randrange(30 * MILLION))
        case "fixed":
            return FixedDelay(random.choice((500_000, MILLION, 3 * MILLION)))
        case "limit":
            return Constrained(every, limit=random.randint(1, 6))
        case "calendar":
            first = now + random.randrange(20 * MILLION)
            hole = ((first, first + random.randrange(1, 20 * MILLION)),)
            return Constrained(cron, calendar=Calendar("holes", excluded_ranges=hole))
        case "union":
            return Union((every, cron))
        case "without":
            return Difference(cron, Cron("* * * * * */4", dialect="seconds"))
        case "jitter":
            return Constrained(cron, jitter_us=random.choice((300_000, 4 * MILLION)))
        case _:
            return Constrained(
                every, start=now + random.randrange(20 * MILLION), end=now + random.randrange(20, 90) * MILLION
            )


def brute_force(trigger: Trigger, anchor: int, after: int, until: int) -> list[int]:
    """The instants of a trigger in (after, until], ascending; of a fixed delay none, they depend on the runs."""
    return sorted({at for at in _instants(trigger, anchor, after, until) if after < at <= until})


def is_excluded(trigger: Trigger, instant: int) -> bool:
    """Whether the trigger's calendar excludes a slot."""
    if not isinstance(trigger, Constrained) or not isinstance(trigger.calendar, Calendar):
        return False
    return any(start <= instant < end for start, end in trigger.calendar.excluded_ranges)


def _instants(trigger: Trigger, anchor: int, after: int, until: int) -> Iterator[int]:
    match trigger:
        case At():
            yield trigger.when
        case Delay():
            yield anchor + trigger.delay_us
        case Every():
            first = anchor + trigger.period_us if trigger.start is None else anchor
            yield from range(first, until + 1, trigger.period_us)
        case Cron():
            yield from (at for at in range(after // MILLION * MILLION, until + 1, MILLION) if _matches(trigger, at))
        case Union():
            for member in trigger.members:
                yield from _instants(member, anchor, after, until)
        case Difference():
            without = {*_instants(trigger.without, anchor, after, until)}
            yield from (at for at in _instants(trigger.trigger, anchor, after, until) if at not in without)
        case Constrained():
            for at in _instants(trigger.trigger, anchor, after, until):
                if (trigger.start is None or at >= trigger.start) and (trigger.end is None or at <= trigger.end):
                    yield at
        case FixedDelay() | Manual():
            return
        case _:
            raise AssertionError(f"no brute force for {trigger}")


def _matches(trigger: Cron, at: int) -> bool:
    second = at // MILLION % 60
    field = trigger.expression.split()[-1]
    if field.startswith("*/"):
        return second % int(field[2:]) == 0
    return str(second) in field.split(",")
