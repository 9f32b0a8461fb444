"""Waiting for many sockets of ZeroMQ, and for the bell, with one call into the kernel.

A socket of ZeroMQ has a descriptor that can be read when something has happened to it of which it has not yet been asked. Each
use of the socket asks in passing, and so takes that sign away although there may be something to be received. Therefore
whoever has used a socket says so (`used`), and it is asked itself before anybody sleeps (zmq_getsockopt(3), ZMQ_FD and
ZMQ_EVENTS). ZeroMQ's own poll asks every socket several times each time it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Final

import zmq

from .socket_option import EVENTS

POLLIN: Final = int(zmq.POLLIN)
POLLOUT: Final = int(zmq.POLLOUT)

Handler = Callable[[int], None]
"""Takes what has happened to a socket: POLLIN, POLLOUT or both."""

Happened = tuple[int, zmq.Socket[Any], int]
"""What has happened to a socket: the socket's number, the socket, and POLLIN, POLLOUT or both."""


def can_receive(socket: zmq.Socket[Any]) -> bool:
    """Whether something can be received."""
    return bool(int(socket.getsockopt(EVENTS)) & POLLIN)


class Watch:
    """Of the I/O thread.

    Args:
        bell: a descriptor that can be read when the thread is to wake for another reason.
    """

    def __init__(self, bell: int) -> None:
        self._selector = DefaultSelector()
        self._selector.register(bell, EVENT_READ)
        self._numbers = count()
        self._wanted: dict[zmq.Socket[Any], tuple[int, int, Handler]] = {}
        self._used: dict[zmq.Socket[Any], None] = {}

    def add(self, socket: zmq.Socket[Any], handler: Handler) -> None:
        """Call a handler when something can be received."""
        self._selector.register(socket.fileno(), EVENT_READ, socket)
        self._wanted[socket] = next(self._numbers), POLLIN, handler
        self._used[socket] = None

    def remove(self, socket: zmq.Socket[Any]) -> None:
        """Watch a socket no more, which is still open; not to be watched is no error."""
        if self._wanted.pop(socket, None) is not None:
            self._selector.unregister(socket.fileno())
            self._used.pop(socket, None)

    def want_room(self, socket: zmq.Socket[Any], *, wanted: bool) -> None:
        """Call the handler of a socket also when it has room for something to be sent; or no more."""
        number, _, handler = self._wanted[socket]
        self._wanted[socket] = number, POLLIN | POLLOUT if wanted else POLLIN, handler
        self._used[socket] = None

    def used(self, socket: zmq.Socket[Any]) -> None:
        """Note that something was sent."""
        self._used[socket] = None

    def wait(self, wait_ms: int | None) -> tuple[list[Happened], bool]:
        """Wait until something happens, so long at most (None: for ever).

        Answers what has happened to which sockets, for `handle`, those first that were added first; and whether the bell was rung.
        """
        happened: list[Happened] = []
        is_rung = False
        if self._used:
            used, self._used = self._used, {}
            for socket in used:
                self._ask(socket, happened)
        if happened:
            wait_ms = 0
        for key, _ in self._selector.select(None if wait_ms is None else wait_ms / 1_000):
            if key.data is None:
                is_rung = True
            else:
                self._ask(key.data, happened)
        if len(happened) > 1:
            happened.sort(key=_number)
        return happened, is_rung

    def handle(self, happened: Happened) -> None:
        """Call the handler of a socket, unless the socket was removed since. What it leaves is told again."""
        _, socket, events = happened
        if socket in self._wanted:
            self._wanted[socket][2](events)

    def close(self) -> None:
        """Let go of the descriptors; the sockets are somebody else's."""
        self._selector.close()

    def _ask(self, socket: zmq.Socket[Any], happened: list[Happened]) -> None:
        number, wanted, _ = self._wanted[socket]
        events = int(socket.getsockopt(EVENTS)) & wanted
        if events and not any(number == other[0] for other in happened):
            self._used[socket] = None  # it will be, or else has to be asked again
            happened.append((number, socket, events))


def _number(happened: Happened) -> int:
    return happened[0]
