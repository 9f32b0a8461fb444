"""The series made of other series: bounds, unions and differences."""

from __future__ import annotations

from typing import Final

from .series import Series

# A difference that drops this many instants in a row counts as ended: a month of minutes, half a day of seconds.
MAX_DROPPED_IN_A_ROW: Final = 50_000


class BoundedSeries(Series):
    """The instants of another series within [start, end]; both ends belong to it."""

    __slots__ = ("_end", "_inner", "_start")

    def __init__(self, inner: Series, start: int | None, end: int | None) -> None:
        self._inner = inner if start is None else inner.not_before(start)
        self._start = start
        self._end = end

    def next(self, after: int) -> int | None:
        instant = self._inner.next(self._from(after))
        return None if instant is not None and self._end is not None and instant > self._end else instant

    def latest(self, after: int, until: int) -> int | None:
        return self._inner.latest(self._from(after), self._to(until))

    def count(self, after: int, until: int) -> int:
        after, until = self._from(after), self._to(until)
        return self._inner.count(after, until) if after < until else 0

    def note(self, instant: int) -> str:
        return self._inner.note(instant)

    @property
    def needs_end(self) -> bool:
        return self._inner.needs_end

    def after_end(self, end: int) -> Series:
        return BoundedSeries(self._inner.after_end(end), self._start, self._end)

    def not_before(self, start: int) -> Series:
        return BoundedSeries(self._inner.not_before(start), self._start, self._end)

    def _from(self, after: int) -> int:
        return after if self._start is None else max(after, self._start - 1)

    def _to(self, until: int) -> int:
        return until if self._end is None else min(until, self._end)


class UnionSeries(Series):
    """Every instant of any member, once."""

    __slots__ = ("_members",)

    def __init__(self, members: tuple[Series, ...]) -> None:
        self._members = members

    def next(self, after: int) -> int | None:
        return min((found for member in self._members if (found := member.next(after)) is not None), default=None)

    def latest(self, after: int, until: int) -> int | None:
        found = (member.latest(after, until) for member in self._members)
        return max((instant for instant in found if instant is not None), default=None)

    def count(self, after: int, until: int) -> int:
        """Count the densest member by its own arithmetic, and list of the others what is not in it."""
        counted = sorted(((member.count(after, until), at) for at, member in enumerate(self._members)), reverse=True)
        total = counted[0][0]
        before = [self._members[counted[0][1]]]
        for _, at in counted[1:]:
            member = self._members[at]
            instant = member.next(after)
            while instant is not None and instant <= until:
                total += not any(other.contains(instant) for other in before)
                instant = member.next(instant)
            before.append(member)
        return total

    def note(self, instant: int) -> str:
        notes = (member.note(instant) for member in self._members if member.contains(instant))
        return ", ".join(dict.fromkeys(note for note in notes if note))

    @property
    def needs_end(self) -> bool:
        return any(member.needs_end for member in self._members)

    def after_end(self, end: int) -> Series:
        return UnionSeries(tuple(member.after_end(end) for member in self._members))

    def not_before(self, start: int) -> Series:
        return UnionSeries(tuple(member.not_before(start) for member in self._members))


class DifferenceSeries(Series):
    """The instants of `base` that are not instants of `without`."""

    __slots__ = ("_base", "_dropped", "_known", "_without")

    def __init__(self, base: Series, without: Series) -> None:
        self._base = base
        self._without = without
        # The last answer and what it answered: a long row of dropped instants is walked through once.
        self._known: tuple[int, int | None] = (0, None)
        # And the row in which it gave up: all of the base after the first and up to the second are dropped.
        self._dropped: tuple[int, int] = (0, 0)

    def next(self, after: int) -> int | None:
        asked, answer = self._known
        if answer is not None and asked <= after < answer:
            return answer
        since, last = self._dropped
        if since <= after < last:
            dropped = self._base.count(after, last)
        else:
            since = last = after
            dropped = 0
        while dropped < MAX_DROPPED_IN_A_ROW:
            instant = self._base.next(last)
            if instant is None or not self._without.contains(instant):
                self._known = after, instant
                return instant
            last = instant
            dropped += 1
        self._dropped = since, last
        return None

    def count(self, after: int, until: int) -> int:
        """Count the base by its own arithmetic, and list what is dropped from the sparser of the two."""
        total = self._base.count(after, until)
        listed, asked = self._base, self._without
        if self._without.count(after, until) < total:
            listed, asked = asked, listed
        instant = listed.next(after)
        while instant is not None and instant <= until:
            total -= asked.contains(instant)
            instant = listed.next(instant)
        return total

    def note(self, instant: int) -> str:
        return self._base.note(instant)

    @property
    def needs_end(self) -> bool:
        return self._base.needs_end

    def after_end(self, end: int) -> Series:
        return DifferenceSeries(self._base.after_end(end), self._without)

    def not_before(self, start: int) -> Series:
        return DifferenceSeries(self._base.not_before(start), self._without)
