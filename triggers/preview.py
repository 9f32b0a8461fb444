"""The next fires of a trigger, for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .compiler import NO_CALENDARS, compile_trigger
from .errors import TriggerError
from .instant import to_datetime
from .named_calendar import Calendar
from .reading import read_moment
from .trigger import Trigger

MAX_PREVIEW: Final = 10_000


@dataclass(frozen=True, slots=True)
class Preview:
    """One fire to come: its instant and when it is to start (both aware, UTC), and what is remarkable about it.

    excluded: the name of the calendar because of which it will not fire, or None.
    """

    instant: datetime
    due: datetime
    note: str
    excluded: str | None


def wall_clock() -> int:
    """Return the machine's time (µs UTC). The only look at a clock in this package, for `preview` alone."""
    return time.time_ns() // 1_000


def preview(
    trigger: Trigger,
    count: int = 10,
    start: datetime | None = None,
    *,
    key: str = "",
    calendars: Mapping[str, Calendar] = NO_CALENDARS,
    now: Callable[[], int] = wall_clock,
) -> list[Preview]:
    """Return the next slots of a trigger, as if its job was added at `start`, ascending; empty for `manual()`.

    count: at most so many, 0 to 10,000; fewer when the trigger ends or its limit is reached.
    start: an aware datetime; unsaid, the present by `now`. key, calendars: as for `compile_trigger`.
    Of a fixed delay only the first slot can be known. Raises TriggerError for a naive start or a count out of range.
    """
    if not 0 <= count <= MAX_PREVIEW:
        raise TriggerError(f"a preview shows 0 to {MAX_PREVIEW} slots; {count} was given")
    anchor = now() if start is None else read_moment(start, None, "the start of a preview")
    schedule = compile_trigger(trigger, key=key, anchor=anchor, calendars=calendars)
    shown: list[Preview] = []
    fires = 0
    slot = schedule.next(schedule.first_mark)
    while slot is not None and len(shown) < count and (schedule.limit is None or fires < schedule.limit):
        fires += slot.excluded is None
        shown.append(Preview(to_datetime(slot.instant), to_datetime(slot.due), slot.note, slot.excluded))
        slot = schedule.next(slot.instant)
    return shown
