"""A series: the bare instants of a trigger, before jitter, calendars and limits.

Every kind of trigger compiles to one. `next` is all that a series must say; the rest has a plain answer made of it,
which the kinds that can do better replace by arithmetic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from .instant import SECOND_US

GALLOP_FACTOR: Final = 8


class Series(ABC):
    """An ascending row of instants (µs UTC), possibly without end. Pure: the same question has the same answer."""

    __slots__ = ()

    @abstractmethod
    def next(self, after: int) -> int | None:
        """Return the first instant strictly after `after`, or None when there is none."""

    def latest(self, after: int, until: int) -> int | None:
        """Return the last instant in (after, until], or None."""
        first = self.next(after)
        if first is None or first > until:
            return None
        return last_passed(self.next, lambda instant: instant <= until, first, until)

    def count(self, after: int, until: int) -> int:
        """Return how many instants lie in (after, until]. Lists them, unless the kind knows better."""
        total = 0
        instant = self.next(after)
        while instant is not None and instant <= until:
            total += 1
            instant = self.next(instant)
        return total

    def contains(self, instant: int) -> bool:
        """Tell whether an instant belongs to the series."""
        return self.next(instant - 1) == instant

    def note(self, instant: int) -> str:
        """Return what is remarkable about an instant, for a preview; empty when nothing is."""
        return ""

    @property
    def needs_end(self) -> bool:
        """Tell whether the next instant depends on when the last run ended."""
        return False

    def after_end(self, end: int) -> Series:
        """Return the series as it goes on when the last run ended at `end` (µs UTC)."""
        return self

    def not_before(self, start: int) -> Series:
        """Return the series for one that begins at `start`: what counts from an end and would come before, comes then."""
        return self


def last_passed(step: Callable[[int], int | None], passed: Callable[[int], bool], first: int, beyond: int) -> int:
    """Return the last instant for which `passed` holds, without listing those before it.

    `step(t)` is the first instant after `t`. `passed` holds for `first`, then for every instant up to the one sought,
    and for none after it; no instant after `beyond` has passed. Gallops back from `beyond`, then halves: about forty
    steps whatever the distance.
    """

    def passes(moment: int) -> int | None:
        instant = step(moment)
        return instant if instant is not None and passed(instant) else None

    width, right, found = SECOND_US, beyond, None
    while found is None and right - width > first:
        left = right - width
        found = passes(left)
        if found is None:
            right, width = left, width * GALLOP_FACTOR
    found = first if found is None else found
    while True:
        following = passes(found)
        if following is None:
            return found
        found = following
        middle = (found + right) // 2
        if middle > found:
            following = passes(middle)
            if following is None:
                right = middle
            else:
                found = following
