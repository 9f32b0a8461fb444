"""Transports over real sockets, with what arrives and what becomes known."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import zmq

from callsheet.actors.messages import Noted
from callsheet.transport.contract import Envelope, Guard, Transport
from callsheet.transport.zeromq import ZeroMQ, wire
from support.waiting import eventually

LOCAL = "tcp://127.0.0.1:0"
WAIT_MS = 10_000


class Mailbox:
    """Keeps what arrives, up to its room."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.envelopes: list[Envelope] = []
        self.room = room

    def receive(self, envelope: Envelope) -> bool:
        if len(self.envelopes) >= self.room:
            return False
        self.envelopes.append(envelope)
        return True

    @property
    def messages(self) -> list[Any]:
        return [message for envelope in self.envelopes for message in envelope.messages]

    @property
    def keys(self) -> list[str]:
        """What was noted, in the order of arrival."""
        return [message.key for message in self.messages]


def mailbox(transport: Transport, address: str) -> Mailbox:
    """A new mailbox that is attached."""
    made = Mailbox()
    transport.attach(address, made.receive)
    return made


def noted(key: object, to: str, sender: str = "registry") -> Envelope:
    return Envelope(sender, to, 3, (Noted(str(key)),))


class Network:
    """Opens nodes and clients, keeps what they tell, and closes them."""

    def __init__(self) -> None:
        self.news: list[tuple[str, str, str, str]] = []
        self.opened: list[ZeroMQ] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for transport in self.opened:
            transport.close()

    def open(self, name: str, incarnation: str = "", *listen: str, guard: Guard | None = None) -> ZeroMQ:
        """Open a transport; the first life of a node is 1, that of a client is what its name says."""
        made = ZeroMQ(
            name,
            incarnation or (name.removeprefix("client-") if name.startswith("client-") else "1"),
            listen=listen,
            guard=guard,
            found=lambda *peer: self.news.append((name, "found", *peer)),
            lost=lambda *peer: self.news.append((name, "lost", *peer)),
        )
        made.open()
        self.opened.append(made)
        return made

    def node(self, name: str, incarnation: str = "1", listen: str = LOCAL, guard: Guard | None = None) -> ZeroMQ:
        return self.open(name, incarnation, listen, guard=guard)

    def client(self, name: str, *nodes: ZeroMQ, guard: Guard | None = None) -> ZeroMQ:
        made = self.open(name, guard=guard)
        for node in nodes:
            made.connect(node.endpoints[0])
            eventually(partial(is_connected, made, node))
        return made


def names(transport: ZeroMQ) -> list[str]:
    """Who is connected."""
    return [peer.name for peer in transport.peers()]


def is_connected(one: ZeroMQ, other: ZeroMQ) -> bool:
    return other.name in names(one)


def join(one: ZeroMQ, other: ZeroMQ) -> None:
    """Let one dial the other, and wait until the line stands at both ends."""
    one.learn(other.name, other.endpoints[0])
    eventually(lambda: other.name in names(one) and one.name in names(other))


def break_turns(transport: ZeroMQ) -> None:
    """Make every turn of the I/O thread fail from now on."""
    loop = transport._loop
    assert loop is not None
    loop._watch.close()
    loop.dial_again()


class Stranger:
    """A socket that says what a test wants."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> None:
        self.socket = context.socket(kind)
        self.socket.linger = 0
        self.socket.rcvhwm = 10  # what it does not read soon fills the line

    def dial(self, node: ZeroMQ, identity: bytes) -> Self:
        self.socket.setsockopt(zmq.ROUTING_ID, identity)
        self.socket.connect(node.endpoints[0])
        return self

    def say(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def hears(self, within_ms: int = WAIT_MS) -> bytes | None:
        """The next thing said to it, or None."""
        return self.socket.recv() if self.socket.poll(within_ms) else None

    def greet(self, name: str, incarnation: str = "1", **other: Any) -> None:
        self.say(wire.pack_greeting(wire.HELLO, hello(name, incarnation, **other)))


def hello(name: str, incarnation: str = "1", *, major: int = wire.MAJOR, minor: int = wire.MINOR) -> wire.Hello:
    return wire.Hello(major, minor, name, incarnation, "client" if name.startswith("client-") else "node")


@contextmanager
def strangers() -> Iterator["Strangers"]:
    """Makes sockets, and closes them."""
    made = Strangers()
    try:
        yield made
    finally:
        for each in made.made:
            each.socket.close()
        made.context.term()


class Strangers:
    """Sockets that say what a test wants."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.made: list[Stranger] = []

    def dialer(self) -> Stranger:
        return self._make(zmq.DEALER)

    def guest(self, node: ZeroMQ, name: str, incarnation: str = "1") -> Stranger:
        """A dialer that was welcomed."""
        made = self.dialer().dial(node, wire.identity(name, incarnation, 1))
        made.greet(name, incarnation)
        welcome = made.hears()
        assert welcome is not None
        assert welcome[0] == wire.WELCOME
        return made

    def listener(self) -> tuple[Stranger, str]:
        """A listener, and where it listens."""
        made = self._make(zmq.ROUTER)
        port = made.socket.bind_to_random_port("tcp://127.0.0.1")
        return made, f"tcp://127.0.0.1:{port}"

    def _make(self, kind: int) -> Stranger:
        self.made.append(Stranger(self.context, kind))
        return self.made[-1]


def ipc_in(folder: Path, name: str) -> str:
    return f"ipc://{folder / name}.ipc"
