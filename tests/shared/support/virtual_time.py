"""Time that a test moves on."""

from collections.abc import Callable
from heapq import heappop, heappush


class VirtualTime:
    """Calls what was asked for, in the order of instants; those of one instant in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now = 0
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def call_at(self, at: int, call: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._calls, (max(at, self.now), self._count, call))

    def run(self, until: int | None = None) -> None:
        """Runs to an instant, or until nothing is left to call."""
        while self._calls and (until is None or self._calls[0][0] <= until):
            self.now, _, call = heappop(self._calls)
            call()
        if until is not None:
            self.now = max(self.now, until)
