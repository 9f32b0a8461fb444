"""What ZeroMQ tells of a socket's connections."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import zmq

from .socket_option import NOW
from .watch import can_receive

CONNECTED: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
"""A connection can be used: it is made, and the keys were accepted."""

OPENED: Final = int(zmq.EVENT_CONNECTED)
"""A connection is made, and is not to be used yet."""

LISTENING: Final = int(zmq.EVENT_LISTENING)
ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)
NOT_LET_IN: Final = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
"""The key was refused."""

FAILED: Final = (int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL), int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL))
"""It was no use: another protocol, keys at one end only, or the other end went away."""

_WATCHED: Final = CONNECTED | OPENED | LISTENING | ACCEPTED | DISCONNECTED | NOT_LET_IN | FAILED[0] | FAILED[1]
_EVENT: Final = struct.Struct("=Hi")


class Monitor:
    """Watches one socket. Closed before the socket, by the thread that owns both."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._watched = socket
        self.socket: zmq.Socket[Any] = socket.get_monitor_socket(_WATCHED)
        self.socket.linger = 0

    def events(self) -> Iterator[tuple[int, int]]:
        """What has happened since it was asked last, in order: the event, and the file descriptor or error it is about."""
        while can_receive(self.socket):
            event, _ = self.socket.recv_multipart(NOW)
            yield _EVENT.unpack_from(event)

    def close(self) -> None:
        """Watch no more."""
        self._watched.disable_monitor()
        self.socket.close()
