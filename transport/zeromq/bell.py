"""Wakes the thread that owns the sockets: one byte for a burst, and none while it is awake."""

from __future__ import annotations

import socket
from contextlib import suppress


class Bell:
    """Any thread rings, one thread sleeps on `fileno`.

    The sleeper says `before_sleep`, then looks whether there is something to do, then waits, then says `after_sleep`. Whoever
    has something for it puts that where it looks, and then rings. So none is missed, and who is awake is not rung for.
    """

    def __init__(self) -> None:
        self._ears, self._hand = socket.socketpair()
        self._ears.setblocking(False)
        self._hand.setblocking(False)
        self._is_awake = True

    def fileno(self) -> int:
        """What to wait on until it can be read."""
        return self._ears.fileno()

    def ring(self) -> None:
        """Wake the sleeper, if it sleeps."""
        if not self._is_awake:
            self._is_awake = True
            with suppress(OSError):  # full of rings, or closed
                self._hand.send(b"\0")

    def before_sleep(self) -> None:
        """From now on a ring is heard."""
        self._is_awake = False

    def after_sleep(self, *, rung: bool) -> None:
        """No ring is needed any more; `rung` when there is one to be taken in."""
        self._is_awake = True
        if rung:
            with suppress(BlockingIOError):
                self._ears.recv(4096)

    def close(self) -> None:
        """Let go of it."""
        self._ears.close()
        self._hand.close()
