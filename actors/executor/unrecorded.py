"""Outcomes that nobody has recorded yet: which of them are to be sent now.

    keep ─▶ waiting ─due─▶ under way ─forget─▶ (recorded)
               ▲───── send_again ──────┘

Not more than `BYTES_AT_ONCE` bytes are under way; what is recorded makes room for those that wait, the oldest first. So a new leader,
or one that was not reached for long, is not sent more at a time than its line carries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from ..portions import BYTES_AT_ONCE, outcome_size
from .runner import Outcome


class Unrecorded:
    """Keeps outcomes by their fences, the oldest first."""

    def __init__(self) -> None:
        self._kept: dict[int, Outcome] = {}
        self._waiting: deque[Outcome] = deque()
        self._under_way: dict[int, int] = {}
        self._bytes = 0

    def __contains__(self, fence: int) -> bool:
        return fence in self._kept

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, outcome: Outcome) -> None:
        """Keep an outcome, and send it when its turn comes."""
        self._kept[outcome.fence] = outcome
        self._waiting.append(outcome)

    def due(self) -> list[Outcome]:
        """What is to be sent now; it is under way then."""
        due: list[Outcome] = []
        waiting, kept, under_way, size = self._waiting, self._kept, self._under_way, self._bytes
        while waiting and size < BYTES_AT_ONCE:
            outcome = waiting.popleft()
            fence = outcome.fence
            if fence in kept:  # else it was recorded while it waited to be sent again
                under_way[fence] = its_size = outcome_size(outcome)
                size += its_size
                due.append(outcome)
        self._bytes = size
        return due

    def send_again(self) -> None:
        """Nothing is under way any more: all that is kept is to be sent.

        What says that a function is not known comes first: it is no newer than what the executor offers next.
        """
        self._waiting = deque(sorted(self._kept.values(), key=_is_of_a_known_function))
        self._under_way.clear()
        self._bytes = 0

    def forget(self, fences: Iterable[int]) -> None:
        """These outcomes are recorded, or of no more interest."""
        kept, under_way = self._kept, self._under_way
        for fence in fences:
            if kept.pop(fence, None) is not None:
                self._bytes -= under_way.pop(fence, 0)


def _is_of_a_known_function(outcome: Outcome) -> bool:
    return outcome.outcome != "unknown_target"
