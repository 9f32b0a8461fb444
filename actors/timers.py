"""The timers of all actors of a node as data: who wants to be woken under which key, and when.

It reads no clock and starts no thread; the host asks it with the instants it has read. UTC timers and steady ones (see
`SetTimer`) stand in two heaps that are never compared. A timer that is replaced or cancelled stays in its heap until it comes
up or until most of the heap is such leftovers; its number, which is no longer the current one of its key, makes it void.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from .actor import Address

_LEFTOVERS: Final = 64
"""Void entries that a heap may hold beside as many as there are live ones."""

_Entry = tuple[int, int, Address, str]


class Alarm(NamedTuple):
    """A timer that came due. `number` tells it from an earlier or later timer of the same key."""

    owner: Address
    key: str
    number: int


class Timers:
    """Keyed, absolute timers of several owners."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[Address, str], int] = {}
        self._last = 0
        self._utc: list[_Entry] = []
        self._steady: list[_Entry] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def set(self, owner: Address, key: str, at: int, *, steady: bool = False) -> int:
        """Wake `owner` under `key` at `at` (µs); replaces its timer of this key. Answers the timer's number."""
        self._last += 1
        self._numbers[owner, key] = self._last
        heap = self._steady if steady else self._utc
        heappush(heap, (at, self._last, owner, key))
        if len(heap) > 2 * len(self._numbers) + _LEFTOVERS:
            heap[:] = [entry for entry in heap if self._is_live(entry)]
            heapify(heap)
        return self._last

    def cancel(self, owner: Address, key: str) -> None:
        """Forget the timer of this key; none is no error."""
        self._numbers.pop((owner, key), None)

    def cancel_all(self, owner: Address) -> None:
        """Forget all timers of `owner`."""
        for each in [each for each in self._numbers if each[0] == owner]:
            del self._numbers[each]

    def pop_due(self, now: int, elapsed: int) -> list[Alarm]:
        """Take out what is due at `now` (UTC, µs) and `elapsed` (steady, µs): by instant, those of one instant as they were set."""
        return self._pop(self._utc, now) + self._pop(self._steady, elapsed)

    def wait_us(self, now: int, elapsed: int) -> int | None:
        """How long until the next one is due (µs), 0 when one is due already, None when there is none."""
        waits = [
            max(0, heap[0][0] - instant)
            for heap, instant in ((self._utc, now), (self._steady, elapsed))
            if self._skip_leftovers(heap)
        ]
        return min(waits, default=None)

    def _pop(self, heap: list[_Entry], until: int) -> list[Alarm]:
        due: list[Alarm] = []
        while heap and heap[0][0] <= until:
            entry = heappop(heap)
            if self._is_live(entry):
                _, number, owner, key = entry
                del self._numbers[owner, key]
                due.append(Alarm(owner, key, number))
        return due

    def _skip_leftovers(self, heap: list[_Entry]) -> bool:
        """Take void entries off the head of the heap; answers whether a live one is left."""
        while heap and not self._is_live(heap[0]):
            heappop(heap)
        return bool(heap)

    def _is_live(self, entry: _Entry) -> bool:
        _, number, owner, key = entry
        return self._numbers.get((owner, key)) == number
