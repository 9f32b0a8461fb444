"""Fail-over times: from a blow to the next firing.

The next firing is the first line of the first run whose slot was due after the blow had its effect. So it is a slot that
whoever led before cannot have decided any more, and its run has gone the whole way: found due by a new leader, stored, handed
to a node, begun there. Slots are due each 5 ms, which is what the wait for the next one adds at most.

A leader that is cut off fires on its own node until it is deposed; after a cut only what begins on another node counts.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from msgspec import Struct

from chaos.blow import Blow
from chaos.trace import Line


class Moved(Struct, frozen=True):
    """A blow that moved the lead, and how long the next firing took, in microseconds; None if there was none."""

    kind: str
    took_us: int | None


def measure(blows: Iterable[Blow], lines: Iterable[Line]) -> list[Moved]:
    """Return the time of each blow that moved the lead, in order."""
    fired = sorted((line.steady_us, line) for line in lines if line.word == "begin" and line.slot)
    return [Moved(blow.kind, _next_firing(blow, fired)) for blow in blows if blow.moved]


def _next_firing(blow: Blow, fired: Sequence[tuple[int, Line]]) -> int | None:
    for at_us, line in fired[bisect_left(fired, (blow.begun_us,)) :]:
        if line.slot > blow.at_us and (blow.kind != "cut" or line.process != blow.process):
            return at_us - blow.begun_us
    return None


def percentile(values: Iterable[int], share: float) -> int:
    """The value that a share (0 to 1) of the values does not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else 0
