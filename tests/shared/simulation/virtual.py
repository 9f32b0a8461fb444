"""Time and chance of a simulated world.

Timeline      true time, and what happens when: one queue, those of one instant in the order in which they were asked for
Clocks        what a machine makes of true time: a wall clock that may be skewed, drift and jump, a steady one that halts
              while the machine is suspended
stream        a source of chance with a name of its own, so that taking away one consumer moves nothing else
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Final

MILLION: Final = 1_000_000


class Interruption(BaseException):
    """What no actor and no host may swallow: it ends a node's life, or the whole simulation."""


def stream(seed: int, *name: object) -> Random:
    """A source of chance for one consumer; the same for the same seed and name, on every machine."""
    return Random("/".join(str(part) for part in (seed, *name)))


class Timeline:
    """True time, moved on by calling what was asked for."""

    def __init__(self) -> None:
        self.now = 0
        self.events = 0
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def call_at(self, at: int, call: Callable[[], None]) -> None:
        """Call at the instant `at` (µs, not before now)."""
        self._count += 1
        heappush(self._calls, (max(at, self.now), self._count, call))

    def call_in(self, wait_us: int, call: Callable[[], None]) -> None:
        """Call so much later."""
        self.call_at(self.now + wait_us, call)

    def run(self, until: int, *, most_events: int) -> bool:
        """Let time pass up to an instant; answers False when more happened than `most_events` in all."""
        calls = self._calls
        while calls and calls[0][0] <= until:
            if self.events >= most_events:
                return False
            self.now, _, call = heappop(calls)
            self.events += 1
            call()
        self.now = max(self.now, until)
        return True


class Clocks:
    """The two clocks of a machine."""

    def __init__(self, timeline: Timeline, base: int, *, drift_ppm: int = 0) -> None:
        self._timeline = timeline
        self._base = base
        self._drift_ppm = drift_ppm
        self._halted_us = 0
        self._halt = (0, 0)
        self.highest = base

    def now(self) -> int:
        """The wall clock: UTC in µs, as this machine believes."""
        true = self._timeline.now
        wall = self._base + true + true * self._drift_ppm // MILLION
        if wall > self.highest:
            self.highest = wall
        return wall

    def elapsed(self) -> int:
        """The steady clock, in µs."""
        began, until = self._halt
        if until > self._timeline.now:
            return began - self._halted_us
        self._halted_us += until - began
        self._halt = (0, 0)
        return self._timeline.now - self._halted_us

    def jump(self, step_us: int) -> None:
        """Set the wall clock forward or back."""
        self._base += step_us

    def halt(self, length_us: int) -> None:
        """The machine is suspended for so long: the steady clock does not count it. It cannot be while it is already."""
        self.elapsed()
        if not self._halt[1]:
            self._halt = (self._timeline.now, self._timeline.now + length_us)
