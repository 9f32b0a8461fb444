"""The instants of a recurrence rule: its clock readings, brought to UTC in order.

Near a change of the clock ascending readings are not ascending instants (both passes of a fold, a shifted gap), so
instants wait in a heap until no later reading can come before them. A handful is computed ahead and kept.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Final

from .instant import FIRST_INSTANT_US, LAST_INSTANT_US, from_wall, to_datetime
from .rrule_text import Rule
from .series import Series
from .zone import Fold, Gap, Zone, clock_note

AHEAD: Final = 64


class RRuleSeries(Series):
    """The instants of one rule in one zone."""

    __slots__ = ("_fold", "_gap", "_known", "_rule", "_zone")

    def __init__(self, rule: Rule, zone: Zone, gap: Gap, fold: Fold) -> None:
        self._rule = rule
        self._zone = zone
        # As with cron: what passes through every hour is owed nothing for one that does not exist.
        self._gap: Gap = "skip" if gap == "after" and rule.several_a_day else gap
        self._fold: Fold = ("both" if rule.several_a_day else "first") if fold == "auto" else fold
        self._known: tuple[int, list[int]] = (0, [])

    def next(self, after: int) -> int | None:
        after = max(after, FIRST_INSTANT_US)
        since, known = self._known
        if not (known and since <= after < known[-1]):
            known = list(islice(self._after(after), AHEAD))
            if not known:
                return None
            self._known = after, known
        return known[bisect_right(known, after)]

    def note(self, instant: int) -> str:
        return clock_note(self._zone, instant, self._gap, self._has_reading)

    def _after(self, after: int) -> Iterator[int]:
        if after >= LAST_INSTANT_US:
            return
        last = after
        for instant in self._ordered(after):
            if instant > LAST_INSTANT_US:
                return
            if instant > last:
                yield instant
                last = instant

    def _ordered(self, after: int) -> Iterator[int]:
        waiting: list[int] = []
        lowest, _ = self._zone.offset_range(after)
        # Readings have whole seconds, so the one that `after` lies in is looked at too.
        since = to_datetime(after + lowest).replace(tzinfo=None, microsecond=0)
        for reading in self._rule.readings(since):
            wall = from_wall(reading)
            _, highest = self._zone.offset_range(wall)
            while waiting and waiting[0] < wall - highest:
                yield heapq.heappop(waiting)
            for instant in self._zone.resolve(wall, self._gap, self._fold):
                heapq.heappush(waiting, instant)
        while waiting:
            yield heapq.heappop(waiting)

    def _has_reading(self, low: int, high: int) -> bool:
        reading = next(self._rule.readings(to_datetime(low).replace(tzinfo=None)), None)
        return reading is not None and from_wall(reading) < high
