"""Who is at the other end: a node or a client, what waits for it, and the lines by which it is reached."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Final, Literal, Protocol

from msgspec import Struct

from .wire import CLIENT, MAX_BATCH

MAX_WAITING: Final = 20_000
"""Envelopes that wait for one peer."""

MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Bytes that wait for one peer."""

MAX_BATCH_BYTES: Final = 256 * 1024
"""Bytes of one batch; a larger envelope goes alone."""

MAX_PEERS: Final = 4096
"""Peers that are known at once."""

_MAX_FORMER: Final = 16


class Contact(Struct, frozen=True):
    """A peer to which a line stands. `endpoint` is where it listens, empty if nowhere that is known."""

    name: str
    incarnation: str
    endpoint: str
    kind: Literal["node", "client"]


class Outbox:
    """Encoded envelopes that wait for one peer, limited in number and bytes. Any thread puts, one takes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._frames: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frames: list[bytes]) -> Literal["first", "more", "full"]:
        """Add the frames of an envelope: all, or none when it is full. `first`: nothing waited before them."""
        size = sum(map(len, frames))
        with self._lock:
            if not self._frames:  # an empty one takes anything, whatever its size
                is_first = True
            elif self._bytes + size > MAX_WAITING_BYTES or len(self._frames) + len(frames) > MAX_WAITING:
                return "full"
            else:
                is_first = False
            self._frames.extend(frames)
            self._bytes += size
            return "first" if is_first else "more"

    def take(self) -> list[bytes]:
        """Take out the next batch; empty when nothing waits."""
        batch: list[bytes] = []
        room = MAX_BATCH_BYTES
        with self._lock:
            while self._frames and len(batch) < MAX_BATCH and (not batch or len(self._frames[0]) <= room):
                batch.append(self._frames.popleft())
                room -= len(batch[-1])
            self._bytes -= MAX_BATCH_BYTES - room
        return batch

    def give_back(self, batch: list[bytes]) -> None:
        """Put what could not be sent in front again."""
        with self._lock:
            self._frames.extendleft(reversed(batch))
            self._bytes += sum(map(len, batch))

    def clear(self) -> int:
        """Give everything up; answers how much it was."""
        with self._lock:
            count = len(self._frames)
            self._frames.clear()
            self._bytes = 0
            return count


class Line(Protocol):
    """A way to a peer that stands."""

    @property
    def endpoint(self) -> str:
        """Where the peer listens, empty if nowhere that is known."""

    @property
    def is_dialed(self) -> bool:
        """Whether it leads from here, or else to here."""

    def send(self, body: bytes) -> Literal["sent", "blocked", "gone"]:
        """Send one frame, at once or not at all. A blocked line says itself when it is free again."""


class Peer:
    """A node or a client. Its lines and lives are the I/O thread's affair; any thread may read them.

    Args:
        address: the node's name, or by which address the client is reached on this node; empty until it is known.
        wire_name: how a client calls itself.

    To one that is barred, because its key counts no more, nothing is sent but why it is refused.

    A peer whose name is not known yet has, once it is, the one of that name for its `successor`.
    """

    def __init__(self, address: str, wire_name: str = "") -> None:
        self.address = address
        self.wire_name = wire_name or address
        self.kind: Literal["node", "client"] = "client" if self.wire_name.startswith(CLIENT) else "node"
        self.outbox = Outbox()
        self.incarnation = ""
        self.former: deque[str] = deque(maxlen=_MAX_FORMER)
        self.lines: tuple[Line, ...] = ()
        self.is_expected = False
        self.is_barred = False
        self.successor: Peer | None = None
        self.cut_at: int | None = None

    def contact(self) -> Contact:
        """Say who it is, for people."""
        endpoint = next((line.endpoint for line in self.lines if line.endpoint), "")
        return Contact(self.address, self.incarnation, endpoint, self.kind)


class Directory:
    """All peers by address. Any thread may look; adding and removing is guarded."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._nodes: dict[str, Peer] = {}
        self._clients: dict[str, Peer] = {}
        self.node = self._nodes.get
        self.client = self._clients.get

    def nodes(self) -> list[Peer]:
        """The nodes, in the order in which they became known."""
        with self._lock:
            return list(self._nodes.values())

    def clients(self) -> list[Peer]:
        """The clients, in the order in which they became known."""
        with self._lock:
            return list(self._clients.values())

    def expect(self, node: str) -> Peer | None:
        """Answer a node that is to be reached, known before or not; None when there are too many peers."""
        peer = self._add(self._nodes, node, node)
        if peer is not None:
            peer.is_expected = True
        return peer

    def meet(self, address: str, wire_name: str) -> Peer | None:
        """Answer the peer that has come, known before or not; None when there are too many."""
        return self._add(self._clients if wire_name.startswith(CLIENT) else self._nodes, address, wire_name)

    def forget(self, peer: Peer) -> None:
        """Forget a peer, if it is still the one of that address."""
        with self._lock:
            of = self._clients if peer.kind == "client" else self._nodes
            if of.get(peer.address) is peer:
                del of[peer.address]

    def _add(self, of: dict[str, Peer], address: str, wire_name: str) -> Peer | None:
        with self._lock:
            peer = of.get(address)
            if peer is None and (len(self._nodes) + len(self._clients) < MAX_PEERS or self._make_room()):
                peer = of[address] = Peer(address, wire_name)
            return peer

    def _make_room(self) -> bool:
        """Forget somebody who came once, is not here, and is not expected."""
        for of in (self._clients, self._nodes):
            for address, peer in of.items():
                if not (peer.lines or peer.is_expected or peer.outbox):
                    del of[address]
                    return True
        return False
