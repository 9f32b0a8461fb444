"""The transport over ZeroMQ, as its users see it: addresses, mailboxes, and what is to be dialed."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final

from msgspec.structs import replace

from ...actors.actor import Address
from ...descriptor import check_room
from ...errors import DataError, DefinitionError, NotRunning
from ...forks import forking, register
from ..codec import encode_all
from ..contract import DropReason, Drops, Envelope, Guard, Receive, split_address
from ..endpoint import EXPECTED, MAX_DIALED, can_dial
from ..log_limit import LogLimit
from .dialer import ANYBODY
from .hub import LOGGER, Found, Hub
from .listening import Listening, let_go, listen, remove_sockets
from .loop import Loop, Wanted
from .peer import Contact, Directory, Peer
from .post import Post
from .wire import CLIENT, MAJOR, MAX_INCARNATION_BYTES, MAX_NAME_BYTES, MINOR, Hello

CLOSE_S: Final = 5.0
"""How long `close` waits for the thread that owns the sockets."""

DESCRIPTORS: Final = 16
"""That must be free to open: what ZeroMQ's threads, the bell and a first line take."""

_NAME: Final = re.compile(r"[^\s@~\x00]+")


def _ignore(*news: str) -> None:
    """Take the news, and do nothing."""


class ZeroMQ:
    """Carries envelopes between nodes, and between clients and nodes, over tcp or ipc. A `Transport`.

    A node listens, dials other nodes, and is dialed. A client only dials; its name is its address, and what it sends without
    saying a node goes to the one it connected to last, or prefers.

    Args:
        name: the node's name, or a client's address, which begins with `client-`.
        incarnation: this life of it; another process, or a restart, has another.
        listen: endpoints to bind: `tcp://127.0.0.1:0` (the system chooses the port), `tcp://*:7070`, `ipc:///path`.
        guard: who may come in and what he may say; None asks nobody.
        found: told the name and incarnation of a node to which a line stands now, for the first time or again.
        lost: told those of a node to which no line stands any more. It may live all the same. Both are called on the thread that
            owns the sockets, and must be quick.
        failed: told why, when that thread cannot go on: from then on nothing leaves this node and nothing comes. On that thread.

    Raises:
        DefinitionError: a name or an endpoint that cannot be.
    """

    def __init__(
        self,
        name: str,
        incarnation: str,
        *,
        listen: Sequence[str] = (),
        guard: Guard | None = None,
        found: Found = _ignore,
        lost: Found = _ignore,
        failed: Callable[[str], None] = _ignore,
    ) -> None:
        _check_name(name, MAX_NAME_BYTES, "the name of a node or client")
        _check_name(incarnation, MAX_INCARNATION_BYTES, "an incarnation")
        self.name = name
        self.incarnation = incarnation
        self._is_client = name.startswith(CLIENT)
        if self._is_client and listen:
            raise DefinitionError(f"{name} is the name of a client, and a client does not listen; leave out `listen`")
        self._listen = tuple(listen)
        self._guard = guard
        self._found, self._lost, self._failed = found, lost, failed
        self._receivers: dict[Address, Receive] = {}
        self._drops = Drops()
        self._limit = LogLimit()
        self._directory = Directory()
        self._ready: deque[Peer] = deque()
        self._lock = Lock()
        self._callees: dict[str, Peer] = {}
        self._places: dict[str, str] = {}
        self._last = ""
        self._preferred = ""
        self._endpoints: tuple[str, ...] = ()
        self._loop: Loop | None = None
        self._closed = False
        self._is_over = False
        self._pid = os.getpid()

    def open(self) -> None:
        """Bind, and begin to dial.

        Raises:
            ListenError: an endpoint cannot be bound.
            SecurityError: the guard does not let this be opened.
            NotRunning: it was opened or closed before, or belongs to the parent of this process.
            CallsheetError: too few files can be opened.
        """
        self._check_process()
        check_room(DESCRIPTORS, "a client" if self._is_client else "a node that others reach")
        with forking, self._lock:  # whoever closes it meanwhile finds it open, or keeps it from opening
            if self._loop is not None or self._closed:
                raise NotRunning(f"the transport of {self.name} opens once; make a new one")
            listening = listen(self._listen, self._guard)
            try:
                self._begin(listening)
            except BaseException:
                self._loop, self._endpoints = None, ()
                let_go(listening, self._guard)
                raise
            register(self)

    def _begin(self, listening: Listening) -> None:
        self._endpoints = listening.endpoints
        endpoint = self._endpoints[0] if self._endpoints else ""
        kind: Final = "client" if self._is_client else "node"
        self._loop = self._make_loop(listening, Hello(MAJOR, MINOR, self.name, self.incarnation, kind, endpoint))
        self._loop.start()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """What was bound, in the order of `listen`, the port filled in, and the machine's name for all of its addresses.

        The first is what others are told.
        """
        return self._endpoints

    def connect(self, endpoint: str) -> None:
        """Open a line to whoever lives at an endpoint, and make it again whenever it is lost.

        Raises:
            DefinitionError: it is no endpoint, or there are too many.
        """
        self._check_process()
        if not can_dial(endpoint):
            raise DefinitionError(f"{endpoint!r} is no endpoint; expected {EXPECTED}")
        with self._lock:
            self._last, self._preferred = endpoint, ""
            if endpoint in self._callees:
                return
            if len(self._callees) + len(self._places) >= MAX_DIALED:
                raise DefinitionError(f"at most {MAX_DIALED} endpoints can be dialed; disconnect from others first")
            self._callees[endpoint] = Peer("")
        self._dial()

    def disconnect(self, endpoint: str) -> None:
        """Dial an endpoint no more, whether it was connected or learned; not to be connected is no error."""
        self._check_process()
        with self._lock:
            self._callees.pop(endpoint, None)
            for node in [node for node, place in self._places.items() if place == endpoint]:
                del self._places[node]
                if (peer := self._directory.node(node)) is not None:
                    peer.is_expected = False
        self._dial()

    def learn(self, node: str, endpoint: str) -> None:
        """Know where a node is reached, and have a line to it; a changed endpoint replaces the earlier one.

        Where several are reached, any of them may live there: a node that was started anew may have another name. What others
        say of themselves may be wrong, so an impossible endpoint is logged and not dialed.
        """
        if self._places.get(node) == endpoint or node == self.name:
            return
        self._check_process()
        if not (can_dial(endpoint) and _NAME.fullmatch(node)) or node.startswith(CLIENT):
            self._tell_unusable(node, endpoint, "no_endpoint")
            return
        with self._lock:
            if len(self._callees) + len(self._places) >= MAX_DIALED and node not in self._places:
                self._tell_unusable(node, endpoint, "too_many")
                return
            if self._directory.expect(node) is not None:
                self._places[node] = endpoint
        self._dial()

    def _tell_unusable(self, node: str, endpoint: str, why: str) -> None:
        """Log what was learned in vain: it is said again with every beat of the leader."""
        left_out = self._limit.ask(node, endpoint, why)
        if left_out is not None:
            LOGGER.warning("endpoint_unusable node=%r endpoint=%r why=%s%s", node, endpoint, why, left_out)

    def forget(self, node: str) -> None:
        """Dial a node no more that was learned, until it is learned again; not to know it is no error.

        An endpoint that was connected is dialed on, whoever lives there.
        """
        self._check_process()
        with self._lock:
            if self._places.pop(node, None) is None:
                return
            if (peer := self._directory.node(node)) is not None:
                peer.is_expected = False
        self._dial()

    def prefer(self, node: str) -> None:
        """Send to this node what names none, while a line to it stands, until the next `connect`. For clients."""
        self._preferred = node

    def peers(self) -> list[Contact]:
        """Who is connected, nodes before clients."""
        peers = [*self._directory.nodes(), *self._directory.clients()]
        return [peer.contact() for peer in peers if peer.lines]

    def refusals(self) -> dict[str, str]:
        """Why there is no line, by endpoint, as far as somebody has said so: an empty one if nothing is wrong."""
        return self._loop.dialer.refusals() if self._loop is not None else {}

    def attach(self, address: Address, receive: Receive) -> None:
        """Hand what is sent to `address` to `receive`; replaces whoever was attached there."""
        if not self._closed:
            self._receivers[address] = receive

    def detach(self, address: Address) -> None:
        """Hand nothing more to `address`; nobody there is no error."""
        self._receivers.pop(address, None)

    def send(self, envelope: Envelope) -> None:
        """Hand the envelope to its recipient's mailbox, or let it wait for its line, or drop and count it.

        Raises:
            DataError: it goes off this node, and a message of it can never travel.
            NotRunning: this process was forked from the one that opened the transport.
        """
        if os.getpid() != self._pid:
            self._check_process()
        receive = self._receivers.get(envelope.recipient)
        if receive is None:
            name, node = split_address(envelope.recipient)
            if node and node == self.name:
                receive = self._receivers.get(name)
            if receive is None:
                self._send_off(envelope, name, node)
                return
        if not receive(envelope):
            self._drops.count("full")

    def close(self) -> None:
        """Let go of everything; what waits and what is sent from now on is dropped. Twice, or in a fork, is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = self._is_over = True
        self._receivers = {}
        if self._loop is not None and os.getpid() == self._pid:
            self._loop.stop(CLOSE_S)
            remove_sockets(self._endpoints)
        for peer in self._everybody():
            self._drops.count("closed", peer.outbox.clear())

    def let_go(self) -> None:
        """In a forked child: hold nobody's lines, and listen nowhere. Others would take the parent for alive when it is dead."""
        if self._loop is not None:
            self._loop.let_go()

    def dropped(self) -> dict[DropReason, int]:
        """How many envelopes were dropped so far, by reason: of those that were sent here, and of those that came here."""
        return self._drops.counts()

    def _send_off(self, envelope: Envelope, name: str, node: str) -> None:
        peer = self._find(name, node)
        if peer is None or self._is_over:
            self._drops.count("closed" if self._is_over else "absent")
            return
        if peer.is_barred:
            self._drops.count("refused")
            return
        frames = self._encode(envelope, peer)
        match peer.outbox.put(frames):
            case "full":
                self._drops.count("full")
            case "first":
                self._ready.append(peer)
                if self._loop is not None:
                    self._loop.ring()
            case "more":  # it is on its way
                pass
        if self._is_over:
            self._drops.count("closed", peer.outbox.clear())

    def _find(self, name: str, node: str) -> Peer | None:
        """Who is to get what is sent to an address that is not attached here."""
        if node and node != self.name:
            return self._directory.node(node)
        if node or not self._is_client:
            return self._directory.client(name)
        return self._whoever() if name else None

    def _whoever(self) -> Peer | None:
        """The node for what names none: the preferred one, or that of the last `connect`, or another one that is there."""
        first = self._directory.node(self._preferred) if self._preferred else None
        if first is None:
            first = self._callees.get(self._last)
        if first is not None and first.lines:
            return first
        return next((peer for peer in self._directory.nodes() if peer.lines), first)

    def _encode(self, envelope: Envelope, peer: Peer) -> list[bytes]:
        sender = envelope.sender
        if "@" not in sender and not self._is_client:
            sender = f"{sender}@{self.name}"  # where an answer must go
        recipient = peer.wire_name if peer.kind == "client" else envelope.recipient
        if sender is not envelope.sender or recipient is not envelope.recipient:
            envelope = replace(envelope, sender=sender, recipient=recipient)
        try:
            return encode_all(envelope)
        except DataError:
            self._drops.count("unsendable")
            raise

    def _make_loop(self, listening: Listening, hello: Hello) -> Loop:
        hub = Hub(hello, self._directory, self._ready, self._drops, self._found, self._lost)
        return Loop(
            listening.context,
            hub,
            Post(hub, self._receivers_of, self._guard),
            self._guard,
            router=listening.router,
            ready=self._ready,
            wanted=self._wanted,
            answered=self._answered,
            failed=self._on_failed,
        )

    def _receivers_of(self, address: Address) -> Receive | None:
        return self._receivers.get(address)

    def _wanted(self) -> Wanted:
        """What is to be dialed: what was learned, and what was connected without knowing the name."""
        with self._lock:
            wanted = {endpoint: (ANYBODY, peer) for endpoint, peer in self._callees.items()}
            for node, endpoint in self._places.items():
                peer = self._directory.expect(node)
                if endpoint in self._callees or endpoint in self._endpoints or peer is None:
                    continue
                expected, first = wanted.get(endpoint, (frozenset(), peer))
                wanted[endpoint] = (expected | {node}, first)
            return wanted

    def _answered(self, endpoint: str, peer: Peer) -> None:
        with self._lock:
            if endpoint in self._callees:
                self._callees[endpoint] = peer

    def _on_failed(self, why: str) -> None:
        self._is_over = True
        for peer in self._everybody():
            self._drops.count("closed", peer.outbox.clear())
        self._failed(why)

    def _dial(self) -> None:
        if self._loop is not None:
            self._loop.dial_again()

    def _everybody(self) -> list[Peer]:
        with self._lock:
            return [*self._directory.nodes(), *self._directory.clients(), *self._callees.values()]

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise NotRunning(
                f"the transport of {self.name} belongs to process {self._pid}, from which this one ({os.getpid()}) was forked; "
                f"make a new one here"
            )


def _check_name(name: str, limit: int, what: str) -> None:
    if not _NAME.fullmatch(name) or not name.isprintable() or len(name.encode()) > limit:
        raise DefinitionError(f"{name!r} is not {what}; expected 1 to {limit} bytes without spaces, @ and ~")
