"""A schedule: what a trigger means for one job.

A slot has two instants. `instant` is what the trigger yields and is the slot's identity for ever. `due` is when the
run is to start: later by the jitter, or moved by the calendar. Slots are ordered by instant, and so are their due
times: the schedule never lets one slot overtake another. So the slots that have passed at a moment (`due <= now`)
are always the first ones after the mark, and a mark, which is a slot's instant, parts decided from undecided slots.

    jitter    due = instant + min(offset of the job, distance to the next slot - 1 µs)
    calendar  next      the next allowed day at the same reading, but not after a later slot that starts before that
              previous  the previous allowed day at the same reading, but not before an earlier slot that starts later
              skip      due = instant; the slot carries the calendar's name and is decided SKIPPED_CALENDAR

Both bounds of a moved slot need only the first or last slot of each day between, so a long holiday costs days, not
slots. A slot for which the calendar has no allowed day within ten years is skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from .instant import DAY_US
from .named_calendar import CompiledCalendar
from .series import Series, last_passed


class Slot:
    """One slot. Equal and hashed by its three data; `note` is worked out when it is read.

    instant: its identity, µs UTC. due: when to start, µs UTC. excluded: the name of the calendar that excludes it,
    or None. note: what is remarkable, for people (`gap→03:00`, `fold: first`, `calendar: holidays`, `jitter +37 s`).
    """

    __slots__ = ("_explain", "due", "excluded", "instant")

    def __init__(
        self, instant: int, due: int, excluded: str | None = None, explain: Callable[[int], str] | None = None
    ) -> None:
        self.instant = instant
        self.due = due
        self.excluded = excluded
        self._explain = explain

    @property
    def note(self) -> str:
        return "" if self._explain is None else self._explain(self.instant)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Slot):
            return NotImplemented
        return (self.instant, self.due, self.excluded) == (other.instant, other.due, other.excluded)

    def __hash__(self) -> int:
        return hash((self.instant, self.due, self.excluded))

    def __repr__(self) -> str:
        return f"Slot(instant={self.instant}, due={self.due}, excluded={self.excluded!r})"


class Schedule:
    """The slots of one job. Made by `compile_trigger`; pure, and safe to share between threads.

    limit: the number of fires after which the job is exhausted, or None. The schedule does not count them.
    """

    __slots__ = ("_calendar", "_known", "_moves", "_offset", "_series", "anchor", "limit", "punctual")

    def __init__(
        self, series: Series, *, anchor: int, offset: int = 0, calendar: CompiledCalendar | None = None,
        limit: int | None = None,
    ) -> None:  # fmt: skip
        self._series = series
        self._offset = offset
        self._calendar = calendar
        self._moves = None if calendar is None else calendar.calendar.on_excluded
        # The last step, kept: who decides a slot asks again for the one it was armed with.
        self._known: tuple[int, int | None] | None = None
        self.anchor = anchor
        self.limit = limit
        self.punctual = offset == 0 and self._moves in (None, "skip")

    @property
    def first_mark(self) -> int:
        """Return the mark of a new job: slots from the anchor on are its own, earlier ones were never judged."""
        return self.anchor - 1

    @property
    def needs_end(self) -> bool:
        """Tell whether further slots depend on the end of the last run (a fixed delay); see `after_end`."""
        return self._series.needs_end

    def next(self, after: int) -> Slot | None:
        """Return the first slot whose instant is strictly greater than `after`, or None."""
        instant = self.next_instant(after)
        return None if instant is None else self.slot(instant)

    def next_instant(self, after: int) -> int | None:
        """Return the instant of the first slot strictly after `after`, or None; the quick way."""
        known = self._known
        if known is not None and known[0] == after:
            return known[1]
        instant = self._series.next(after)
        self._known = after, instant
        return instant

    def latest(self, after: int, until: int) -> Slot | None:
        """Return the last slot with an instant in (after, until], or None."""
        instant = self.latest_instant(after, until)
        return None if instant is None else self.slot(instant)

    def latest_instant(self, after: int, until: int) -> int | None:
        """Return the instant of the last slot in (after, until], or None."""
        return self._series.latest(after, until)

    def count(self, after: int, until: int) -> int:
        """Return the number of slots with an instant in (after, until], excluded ones included."""
        return self._series.count(after, until)

    def slots(self, after: int, until: int) -> Iterator[Slot]:
        """Yield the slots with an instant in (after, until], ascending, as for a backfill."""
        instant = self._series.next(after)
        while instant is not None and instant <= until:
            yield self.slot(instant)
            instant = self._series.next(instant)

    def slot(self, instant: int) -> Slot:
        """Return the slot of an instant that is known to be one."""
        return Slot(instant, self.due(instant), self.excluded(instant), self._note)

    def due(self, instant: int) -> int:
        """Return when the slot of an instant is to start (µs UTC)."""
        if self.punctual:
            return instant
        moved = self._moved(instant)
        if self._offset == 0 or moved is None:
            return instant if moved is None else moved
        bound = self._bound(instant, moved)
        return moved + (self._offset if bound is None else max(0, min(self._offset, bound - moved - 1)))

    def excluded(self, instant: int) -> str | None:
        """Return the name of the calendar that excludes the slot of an instant, or None."""
        calendar = self._calendar
        if calendar is None or calendar.allows(instant):
            return None
        return calendar.calendar.name if self._moves == "skip" or self._moved(instant) is None else None

    def stretch_end(self, instant: int) -> int | None:
        """Return the first later instant at which `excluded` may change, or None when it never does."""
        return None if self._calendar is None else self._calendar.next_change(instant)

    def last_due(self, first: int, now: int) -> int:
        """Return the instant of the last slot that is due at `now`, given that `first` is due."""
        if self.punctual:
            last = self._series.latest(first, now)
            return first if last is None else last
        beyond, width = max(now, first), DAY_US
        # A slot moved to the previous day is due before its own instant.
        while (instant := self._series.next(beyond)) is not None and self.due(instant) <= now:
            beyond, width = beyond + width, width * 2
        return last_passed(self._series.next, lambda at: self.due(at) <= now, first, beyond)

    def after_end(self, end: int) -> Schedule:
        """Return the schedule as it goes on after a run that ended at `end` (µs UTC).

        For a fixed delay it has one slot, `end` plus the delay, until the next run has ended; for all other kinds it
        is the same schedule.
        """
        if not self.needs_end:
            return self
        return Schedule(
            self._series.after_end(end),
            anchor=self.anchor,
            offset=self._offset,
            calendar=self._calendar,
            limit=self.limit,
        )

    def next_after_end(self, end: int) -> Slot | None:
        """Return the next slot after a run that ended at `end` (µs UTC)."""
        return self.after_end(end).next(end)

    def _moved(self, instant: int) -> int | None:
        """Return where the calendar moves a slot; itself when it stays; None when it is skipped."""
        calendar = self._calendar
        if calendar is None or calendar.allows(instant):
            return instant
        if self._moves == "skip":
            return None
        day = calendar.day(instant)
        if calendar.allows_day(day):
            return calendar.first_allowed(instant) if self._moves == "next" else calendar.last_allowed(instant)
        if self._moves == "next":
            moved = self._to_next_day(calendar, instant, day)
            return None if moved is None else calendar.first_allowed(moved)
        moved = self._to_previous_day(calendar, instant, day)
        return None if moved is None else calendar.last_allowed(moved)

    def _to_next_day(self, calendar: CompiledCalendar, instant: int, day: int) -> int | None:
        target = calendar.allowed_day(day, 1)
        if target is None:
            return None
        reading = calendar.zone.wall(instant) - day * DAY_US
        while day < target:
            first = self._series.next(calendar.zone.day_start(day + 1) - 1)
            if first is None or (day := max(day + 1, calendar.day(first))) > target:
                break
            reading = min(reading, calendar.zone.wall(first) - day * DAY_US)
        return calendar.zone.resolve(target * DAY_US + reading, "after", "first")[0]

    def _to_previous_day(self, calendar: CompiledCalendar, instant: int, day: int) -> int | None:
        target = calendar.allowed_day(day, -1)
        if target is None:
            return None
        reading = calendar.zone.wall(instant) - day * DAY_US
        start = calendar.zone.day_start(target) - 1
        while day > target:
            last = self._series.latest(start, calendar.zone.day_start(day) - 1)
            if last is None:
                break
            day = min(day - 1, calendar.day(last))
            reading = max(reading, calendar.zone.wall(last) - day * DAY_US)
        return calendar.zone.resolve(target * DAY_US + reading, "after", "first")[0]

    def _bound(self, instant: int, moved: int) -> int | None:
        """Return the slot that the jitter of a slot may not reach, or None."""
        if moved < instant and self._calendar is not None:
            change = self._calendar.next_change(instant)
            return None if change is None else self._series.next(change - 1)
        return self.next_instant(moved)

    def _note(self, instant: int) -> str:
        notes = [self._series.note(instant)]
        calendar = self._calendar
        if calendar is not None and not calendar.allows(instant):
            moved = self._moved(instant)
            done = "" if moved is None else f", moved to {calendar.zone.reading(moved)}"
            notes.append(f"calendar: {calendar.calendar.name}{done}")
        moved = self._moved(instant)
        if self._offset and moved is not None:
            notes.append(f"jitter +{_length(self.due(instant) - moved)}")
        return ", ".join(note for note in notes if note)


def jitter_offset(key: str, jitter_us: int) -> int:
    """Return the stable offset of a job, 0 to `jitter_us` µs, the same on every node and for ever."""
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"jitter").digest()
    return int.from_bytes(digest, "big") % (jitter_us + 1)


def _length(length: int) -> str:
    return f"{length / 1_000_000:.3f}".rstrip("0").rstrip(".") + " s"
