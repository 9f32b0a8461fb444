"""Which lines about others are written to the log: what strangers do must not fill it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

MAX_LINES_A_SECOND: Final = 50
"""Of each that limits; the others are counted, and how many there were is said with the next line."""

QUIET_S: Final = 10.0
"""The same of the same peer is logged again after this time, with how often there was another meanwhile."""

MAX_REMEMBERED: Final = 1_024
"""Lines that are remembered for that; of more the earliest are forgotten."""


class LogLimit:
    """Says of each line whether it is to be written. Any thread may ask.

    Args:
        monotonic: seconds that only grow.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = Lock()
        self._second = 0
        self._lines = 0
        self._unlogged = 0
        self._told: OrderedDict[tuple[str, ...], tuple[float, int]] = OrderedDict()

    def ask(self, *what: str) -> str | None:
        """Answer what a line about this ends in, that is, what was left out before it; None when it is only to be counted."""
        with self._lock:
            now = self._monotonic()
            repeated = self._repeated(what, now)
            if repeated is None or not self._has_room(now):
                return None
            unlogged, self._unlogged = self._unlogged, 0
        return (f" repeated={repeated}" if repeated else "") + (f" unlogged={unlogged}" if unlogged else "")

    def _repeated(self, what: tuple[str, ...], now: float) -> int | None:
        """How often this was left out since it was logged last; None when that is not long ago."""
        logged_at, count = self._told.pop(what, (now - QUIET_S, 0))
        is_quiet = now - logged_at < QUIET_S
        self._told[what] = (logged_at, count + 1) if is_quiet else (now, 0)
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
        return None if is_quiet else count

    def _has_room(self, now: float) -> bool:
        """Whether another line may be written in this second."""
        if int(now) != self._second:
            self._second, self._lines = int(now), 0
        self._lines += 1
        if self._lines > MAX_LINES_A_SECOND:
            self._unlogged += 1
            return False
        return True
