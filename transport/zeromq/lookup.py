"""Looking up host names beside the lines.

ZeroMQ would look a name up each time it dials, on the thread that carries all lines: for as long as a name server is silent about
one name, nothing would come or go on any line. So ZeroMQ is given addresses, and a name is looked up on a thread of its own.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

MAX_UNDER_WAY: Final = 200
"""Names that are looked up at once."""


class LookedUp(Struct, frozen=True):
    """The address that a name leads to, or why there is none."""

    name: str
    address: str = ""
    why: str = ""


class Lookups:
    """Looks names up. Of the I/O thread.

    Args:
        ring: called from another thread when there is something to take.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._under_way: set[str] = set()
        self._done: deque[LookedUp] = deque()

    @property
    def has_news(self) -> bool:
        """Whether there is something to take."""
        return bool(self._done)

    def ask(self, name: str) -> None:
        """Look a name up, unless that is under way.

        Raises:
            OSError: too many are, or the system has no thread left.
        """
        if name in self._under_way:
            return
        if len(self._under_way) >= MAX_UNDER_WAY:
            raise OSError(f"{MAX_UNDER_WAY} names are being looked up already; see that the name server answers")
        # a daemon, because a name server may be silent for long; one for each name, so that none waits for another
        thread = threading.Thread(target=self._look_up, args=(name,), name="lookup", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(f"the name {name} cannot be looked up: {error}") from None
        self._under_way.add(name)

    def take(self) -> list[LookedUp]:
        """What was found since it was asked last."""
        taken = [self._done.popleft() for _ in range(len(self._done))]
        self._under_way.difference_update(found.name for found in taken)
        return taken

    def _look_up(self, name: str) -> None:
        found = LookedUp(
            name, why="it failed"
        )  # it stays so when looking up raises what nobody expected, which is then reported
        try:
            first, *_ = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
            found = LookedUp(name, str(first[4][0]))
        except (OSError, ValueError) as error:  # a text that can be no name is a ValueError
            found = LookedUp(name, why=(error.strerror if isinstance(error, OSError) else None) or str(error))
        finally:
            self._done.append(found)
            self._ring()
