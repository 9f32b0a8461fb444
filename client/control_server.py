"""The door of a running scheduler for other processes of this machine: a local socket that only its owner may open.

    Control (another process) ══ frames ══▶ ControlServer ── its own client address ─▶ transport ─▶ registry, metrics
                              ◀═ frames ═══       ◀──────────── answers ───────────────────┘

Each connection is a client with an address of its own. Who sends and who receives is not taken from the frames: the sender is
the connection, and the kind of a message says which actor it is for. Only the messages of clients pass (`ASKS`).

Promises
    never waits   an answer is put on the connection's queue; an actor is not held up by a slow reader
    bounded       connections, the queue of each, and what is encoded ahead have limits
    harmless      what is no frame, no message of a client, or one that no client would send, ends its connection and is
                  counted (`refused`); nothing else happens
An answer that does not fit into a frame is answered by a refusal that says so.
"""

from __future__ import annotations

import logging
import selectors
import socket
import stat
import threading
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..actors.actor import METRICS, REGISTRY, Address
from ..actors.messages import (
    AddJobs,
    CancelRun,
    ChangeJob,
    Envelope,
    Query,
    ReportMetrics,
    RequestRejected,
    Submit,
    Watch,
)
from ..errors import DataError, DecodeError
from ..transport.contract import Transport
from .control_path import check_folder
from .frame import FrameReader, write_frames

LOGGER: Final = logging.getLogger(__name__)

ASKS: Final[dict[type, Address]] = {
    AddJobs: REGISTRY,
    Submit: REGISTRY,
    ChangeJob: REGISTRY,
    CancelRun: REGISTRY,
    Query: REGISTRY,
    Watch: REGISTRY,
    ReportMetrics: METRICS,
}
"""What a client may ask, and who answers it."""

MAX_CONNECTIONS: Final = 64
MAX_QUEUED: Final = 1_024
"""Envelopes that wait for one connection; more are dropped, and the client asks again."""
ENCODED_AHEAD: Final = 1024 * 1024
"""Bytes that wait for one connection before nothing more is encoded for it."""
READ_BYTES: Final = 256 * 1024
CLOSE_S: Final = 2.0


class _Connection:
    """One client. The queue is filled on actors' threads; all else is the server's."""

    def __init__(self, link: socket.socket, address: Address) -> None:
        self.link = link
        self.address = address
        self.frames = FrameReader()
        self.queue: deque[Envelope] = deque()
        self.unsent = bytearray()


class ControlServer:
    """Listens on `path` and hands requests to a node's transport.

    Args:
        path: where the socket is made; one that is left over there is replaced.
        transport: the node's own.
        prefix: makes the addresses of its clients unlike those of any other.
    """

    def __init__(self, path: Path, transport: Transport, prefix: str) -> None:
        self.path = path
        self._transport = transport
        self._prefix = prefix
        self._count = 0
        self._connections: dict[socket.socket, _Connection] = {}
        self._refused: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._bell, self._clapper = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._closing = False

    def open(self) -> None:
        """Begin to listen.

        Raises:
            OSError: the socket cannot be made there, or something else than a socket is.
        """
        try:
            check_folder(self.path, make=True)
            _remove_left_over(self.path)
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener.bind(str(self.path))
            self.path.chmod(0o600)  # nobody can connect before `listen`
            self._listener.listen(MAX_CONNECTIONS)
        except OSError:
            self._let_go()
            self._clapper.close()
            raise
        self._listener.setblocking(False)
        self._bell.setblocking(False)
        self._clapper.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread.start()

    def close(self) -> None:
        """Let go of all connections and remove the socket. Twice is harmless."""
        if self._closing:
            return
        self._closing = True
        self._ring()
        self._thread.join(CLOSE_S)
        self._clapper.close()
        with suppress(OSError):
            self.path.unlink()

    def refused(self) -> dict[str, int]:
        """How many connections were ended, by reason: `undecodable`, `no_request`, `too_many`."""
        return dict(sorted(self._refused.items()))

    # ---- the server's thread --------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._closing:
                for key, events in self._selector.select():
                    self._attend(key.fileobj, events)
                for connection in list(self._connections.values()):
                    self._send(connection)
        finally:
            for connection in list(self._connections.values()):
                self._end(connection)
            self._let_go()

    def _attend(self, ready: Any, events: int) -> None:
        if ready is self._bell:
            with suppress(BlockingIOError):
                while self._bell.recv(READ_BYTES):
                    pass
        elif ready is self._listener:
            self._accept()
        elif events & selectors.EVENT_READ and ready in self._connections:
            self._read(self._connections[ready])

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            link, _ = self._listener.accept()
        except OSError:  # gone again, or no descriptor is left: the next one may fare better
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            self._refuse("too_many", f"{MAX_CONNECTIONS} clients are connected")
            link.close()
            return
        link.setblocking(False)
        self._count += 1
        connection = _Connection(link, f"client-{self._prefix}-{self._count}")
        self._connections[link] = connection
        self._selector.register(link, selectors.EVENT_READ)
        self._transport.attach(connection.address, lambda envelope: self._queue(connection, envelope))

    def _read(self, connection: _Connection) -> None:
        try:
            piece = connection.link.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._end(connection)
            return
        try:
            for envelope in connection.frames.feed(piece):
                self._pass_on(connection, envelope)
        except DecodeError as error:
            self._refuse("undecodable", str(error))
            self._end(connection)
        except _NoRequest as error:
            self._refuse("no_request", str(error))
            self._end(connection)

    def _pass_on(self, connection: _Connection, envelope: Envelope) -> None:
        for message in envelope.messages:
            recipient = ASKS.get(type(message))
            if recipient is None or _is_impossible(message):
                raise _NoRequest(f"{type(message).__name__} is nothing that a client asks")
            self._transport.send(Envelope(connection.address, recipient, 0, (message,)))

    def _send(self, connection: _Connection) -> None:
        while connection.queue and len(connection.unsent) < ENCODED_AHEAD:
            connection.unsent += _encode(connection.queue.popleft())
        if connection.unsent:
            try:
                del connection.unsent[: connection.link.send(connection.unsent)]
            except BlockingIOError:
                pass
            except OSError:
                self._end(connection)
                return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent or connection.queue else 0)
        if connection.link in self._connections:
            self._selector.modify(connection.link, wanted)

    def _end(self, connection: _Connection) -> None:
        if self._connections.pop(connection.link, None) is not None:
            self._transport.detach(connection.address)
            self._selector.unregister(connection.link)
            connection.link.close()

    def _refuse(self, reason: str, text: str) -> None:
        self._refused[reason] += 1
        LOGGER.warning("control_refused reason=%s text=%r", reason, text[:500])

    def _let_go(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._selector.close()
        self._bell.close()

    # ---- any thread -----------------------------------------------------------------------------------------------------

    def _queue(self, connection: _Connection, envelope: Envelope) -> bool:
        if len(connection.queue) >= MAX_QUEUED:
            return False
        connection.queue.append(envelope)
        self._ring()
        return True

    def _ring(self) -> None:
        with suppress(OSError):  # it rings already, or the server has ended
            self._clapper.send(b"\0")


class _NoRequest(Exception):
    """A message that is well made and that no client sends."""


def _is_impossible(message: Any) -> bool:
    """Whether a request contradicts itself, which our own client never sends."""
    return isinstance(message, ChangeJob) and message.action == "reschedule" and message.trigger is None


def _encode(envelope: Envelope) -> bytes:
    """Encode answers; one that does not fit becomes a refusal."""
    try:
        return write_frames(envelope)
    except DataError:
        pass
    framed = bytearray()
    for message in envelope.messages:
        try:
            framed += write_frames(Envelope(envelope.sender, envelope.recipient, envelope.epoch, (message,)))
        except DataError as error:
            text = f"the answer is too large to be sent, ask for less at a time: {error}"
            refusal = RequestRejected(getattr(message, "key", ""), "impossible", text[:2_000])
            framed += write_frames(Envelope(envelope.sender, envelope.recipient, envelope.epoch, (refusal,)))
    return bytes(framed)


def _remove_left_over(path: Path) -> None:
    """Remove the socket of a scheduler that was killed; whoever has the store's lock is the only one who may listen."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(f"{path} is there and is no socket; move it away")
    path.unlink()
