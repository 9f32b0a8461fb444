"""Puts together what an executor says in parts of what it holds: only the whole tells what it does not hold."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ..messages import ALL_FENCES, StockTaken

MAX_UNFINISHED: Final = 1_000
"""Executors whose next part is waited for; of one beyond that the oldest is forgotten, and asked again."""


class Stock:
    """The parts that have come so far, by incarnation."""

    def __init__(self) -> None:
        self._parts: dict[str, list[StockTaken]] = {}

    def put(self, part: StockTaken) -> StockTaken | None:
        """Take a part; answer the whole when this was the last, None while some is missing.

        A part that does not follow on what was heard waits for nobody: who asked asks again.
        """
        parts = self._parts.pop(part.incarnation, []) if part.first else []
        if part.first != (parts[-1].last + 1 if parts else 0):
            return None
        if part.last < ALL_FENCES:
            self._parts.pop(part.incarnation, None)
            self._parts[part.incarnation] = [*parts, part]
            if len(self._parts) > MAX_UNFINISHED:
                del self._parts[next(iter(self._parts))]
            return None
        held = tuple(fence for each in (*parts, part) for fence in each.held)
        return replace(part, held=held, first=0) if parts else part
