"""The timers of an actor as data: under which key it wants to be woken, and when.

It reads no clock and starts no thread; whoever asks says which instants it is. UTC timers and steady ones (see `SetTimer`)
stand in two heaps that are never compared. A timer that is replaced or cancelled stays in its heap until it comes up or until
most of the heap is such leftovers; its number, which is no longer the current one of its key, makes it void.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from .actor import CancelTimer, SetTimer

_LEFTOVERS: Final = 64
"""Void entries that a heap may hold beside as many as there are live ones."""

_Entry = tuple[int, int, str]


class Alarm(NamedTuple):
    """A timer that came due. `number` tells it from an earlier or later timer of the same key."""

    key: str
    number: int


class Timers:
    """Keyed, absolute timers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._last = 0
        self._utc: list[_Entry] = []
        self._steady: list[_Entry] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def change(self, effects: Sequence[SetTimer | CancelTimer]) -> None:
        """Set and cancel timers in order."""
        for effect in effects:
            match effect:
                case SetTimer(key, at, steady):
                    self.set(key, at, steady=steady)
                case CancelTimer(key):
                    self.cancel(key)

    def set(self, key: str, at: int, *, steady: bool = False) -> None:
        """Wake the actor under `key` at `at` (µs); replaces the timer of this key."""
        self._last += 1
        self._numbers[key] = self._last
        heap = self._steady if steady else self._utc
        heappush(heap, (at, self._last, key))
        if len(heap) > 2 * len(self._numbers) + _LEFTOVERS:
            heap[:] = [entry for entry in heap if self._is_live(entry)]
            heapify(heap)

    def cancel(self, key: str) -> None:
        """Forget the timer of this key; none is no error."""
        self._numbers.pop(key, None)

    def clear(self) -> None:
        """Forget all timers."""
        self._numbers.clear()
        self._utc.clear()
        self._steady.clear()

    def pop_due(self, now: int, elapsed: int) -> list[Alarm]:
        """Answer what is due at `now` (UTC, µs) and `elapsed` (steady, µs), once: by instant, those of one instant as they were set.

        Each counts until it is taken, replaced or cancelled.
        """
        return self._pop(self._utc, now) + self._pop(self._steady, elapsed)

    def take(self, alarm: Alarm) -> bool:
        """Forget a timer that came due; answers False if it was replaced or cancelled since."""
        if self._numbers.get(alarm.key) != alarm.number:
            return False
        del self._numbers[alarm.key]
        return True

    def wait_us(self, now: int, elapsed: int, *, poll_us: int | None = None) -> int | None:
        """How long until the next one is due (µs), 0 when one is due already, None when there is none.

        `poll_us` is after how long to look at UTC timers again, whose clock may be set meanwhile.
        """
        waits = []
        if self._skip_leftovers(self._utc):
            waits.append(max(0, self._utc[0][0] - now))
            if poll_us is not None:
                waits.append(poll_us)
        if self._skip_leftovers(self._steady):
            waits.append(max(0, self._steady[0][0] - elapsed))
        return min(waits, default=None)

    def _pop(self, heap: list[_Entry], until: int) -> list[Alarm]:
        due: list[Alarm] = []
        while heap and heap[0][0] <= until:
            entry = heappop(heap)
            if self._is_live(entry):
                due.append(Alarm(entry[2], entry[1]))
        return due

    def _skip_leftovers(self, heap: list[_Entry]) -> bool:
        """Take void entries off the head of the heap; answers whether a live one is left."""
        while heap and not self._is_live(heap[0]):
            heappop(heap)
        return bool(heap)

    def _is_live(self, entry: _Entry) -> bool:
        return self._numbers.get(entry[2]) == entry[1]
