"""The dialing end: one DEALER for each endpoint, which never gives up.

resting ── due ──▶ looking ── address ──▶ connecting ── connected ──▶ greeted ── welcome ──▶ standing
   ▲                  │                     │ ▲  ▲                    │  │ │                    │
   │◀── no such name ─┘                     │ │  └──── no answer ─────┘  │ │                    │
   │◀── not for too long: dialed anew ──────┘ └────── disconnected ──────┼─┴────────────────────┘
   └◀────────────────────────────── refused ─────────────────────────────┘

Only a host name is looked for (`lookup.py`). ZeroMQ connects again by itself, but always to the same address, and not to whoever did
not let the key in, nor after what it takes for a breach of its protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final, Literal

import zmq

from ...errors import DecodeError
from ...forks import Descriptors
from ..contract import Guard
from ..endpoint import at_address, name_in
from ..local_endpoint import check_folder
from . import socket_option
from .hub import LOGGER, Hub
from .lookup import LookedUp, Lookups
from .monitor import CONNECTED, DISCONNECTED, FAILED, NOT_LET_IN, OPENED, Monitor
from .offence import BAN_MS, Offenders
from .peer import Peer
from .post import Origin, Post
from .socket_option import NOW, RCVMORE
from .watch import POLLOUT, Watch, can_receive
from .wire import (
    ENVELOPES,
    HELLO,
    REFUSED,
    SAY_HELLO,
    WELCOME,
    Hello,
    VersionMismatch,
    identity,
    pack_greeting,
    read_hello,
    read_refusal,
)

MAX_FRAMES_A_TURN: Final = 64
"""Frames that are taken in from a line before it is another's turn."""

WELCOME_MS: Final = 1_000
"""Without a welcome after this time the line is dialed anew."""

REST_MS: Final = 2_000
"""Who was refused asks again after this time."""

LOOK_AGAIN_MS: Final = 1_000
"""A name that leads nowhere is looked up again after this time."""

DIAL_AGAIN_MS: Final = 10_000
"""Without a connection after this time the line is dialed anew: more than one attempt of ZeroMQ's takes."""

ANYBODY: Final = frozenset[str]()
"""Whoever lives at an endpoint is expected there."""

_State = Literal["looking", "connecting", "greeted", "standing", "resting"]


class DialedLine:
    """A line to whoever lives at an endpoint; it rests until its first `tick`, which dials.

    Args:
        expected: the nodes of which one should live there, empty for any.
        peer: for whom envelopes wait until it is known who lives there.
    """

    def __init__(self, dialer: Dialer, endpoint: str, expected: frozenset[str], peer: Peer) -> None:
        self.expected = expected
        self.peer = peer
        self.refusal = ""
        self.due_at: int | None = dialer.now
        self._dialer = dialer
        self._endpoint = endpoint
        self._name = name_in(endpoint)
        self._state: _State = "resting"
        self._incarnation = ""
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: Monitor | None = None

    @property
    def is_dialed(self) -> bool:
        """It leads from here."""
        return True

    @property
    def endpoint(self) -> str:
        """Where the peer listens."""
        return self._endpoint

    def is_for(self, expected: frozenset[str]) -> bool:
        """Whether it may stay when others are expected there than before."""
        return self.expected == expected or (bool(self.expected) and self.peer.address in expected)

    def shut(self) -> None:
        """Let go of the socket; the line falls."""
        if self._monitor is not None:
            self._dialer.watch.remove(self._monitor.socket)
            self._monitor.close()
        if self._socket is not None:
            self._dialer.watch.remove(self._socket)
            self._socket.close()
        self._socket = self._monitor = None
        self._fall()

    def tick(self, now: int) -> None:
        """Do what is due."""
        if self.due_at is not None and now >= self.due_at:
            self._open()

    def send(self, body: bytes) -> Literal["sent", "blocked", "gone"]:
        """Send one frame, at once or not at all; when it is free again, what waits is flushed."""
        assert self._socket is not None, "a line that stands has a socket"
        watch = self._dialer.watch
        watch.used(self._socket)
        try:
            self._socket.send(body, NOW)
        except zmq.Again:
            watch.want_room(self._socket, wanted=True)
            return "blocked"
        return "sent"

    def _open(self) -> None:
        """Dial, with a new socket."""
        self.shut()
        if not self._name:
            self._dial(self._endpoint)
            return
        try:
            self._dialer.lookups.ask(self._name)
        except OSError as error:
            self._rest(str(error), self._dialer.now, LOOK_AGAIN_MS)
        else:
            self._state, self.due_at = "looking", None

    def on_looked_up(self, found: LookedUp) -> None:
        """Take where a name leads, which may be another's."""
        if self._state != "looking" or found.name != self._name:
            return
        if found.why:
            self._rest(f"the name {found.name} cannot be looked up: {found.why}", self._dialer.now, LOOK_AGAIN_MS)
        else:
            self._dial(at_address(self._endpoint, found.address))

    def _dial(self, endpoint: str) -> None:
        """Dial an address. Whatever is in the way, as long as descriptors are short, it is tried again later."""
        try:
            self._connect(endpoint)
        except (zmq.ZMQError, OSError) as error:
            self._rest(f"{self._endpoint} cannot be dialed: {error}", self._dialer.now)
        except Exception as error:
            self._rest(f"{self._endpoint} cannot be dialed: {error!r}", self._dialer.now)
            raise

    def _connect(self, endpoint: str) -> None:
        dialer = self._dialer
        self._socket = dialer.new_socket(endpoint)
        self._monitor = Monitor(self._socket)
        self._state, self.due_at = "connecting", dialer.now + DIAL_AGAIN_MS
        dialer.watch.add(self._socket, self._on_socket)
        dialer.watch.add(self._monitor.socket, self._on_monitor)
        check_folder(endpoint)
        if dialer.guard is not None:
            dialer.guard.secure_client(self._socket, self._endpoint)
        self._socket.connect(endpoint)

    def _on_monitor(self, _: int) -> None:
        assert self._monitor is not None
        for event, value in self._monitor.events():
            if event == OPENED:
                self._dialer.descriptors.add(value)
            elif event == CONNECTED:
                self._greet()
            elif event == DISCONNECTED:
                self._dialer.descriptors.discard(value)
                self._break()
            elif event in (NOT_LET_IN, *FAILED):
                self._note_refusal(
                    "the key was not let in there; `callsheet keys` tells which are"
                    if event == NOT_LET_IN
                    else "the handshake failed; both ends must be Callsheet, and have keys that fit, or both none"
                )
                if event == NOT_LET_IN:
                    self.due_at = self._dialer.now + REST_MS

    def _greet(self) -> None:
        assert self._socket is not None
        self._fall()
        self._state, self.due_at = "greeted", self._dialer.now + WELCOME_MS
        with suppress(zmq.Again):  # the connection is gone again, or else it is dialed anew when no welcome comes
            self._dialer.watch.used(self._socket)
            self._socket.send(pack_greeting(HELLO, self._dialer.hub.me), NOW)

    def _on_socket(self, event: int) -> None:
        assert self._socket is not None
        if event & POLLOUT:
            self._dialer.watch.want_room(self._socket, wanted=False)
            if self._state == "standing":
                self._dialer.hub.flush(self.peer, self._dialer.now)
        for _ in range(MAX_FRAMES_A_TURN):
            socket = self._socket
            if socket is None or not can_receive(socket):  # what came may have ended the line
                return
            body = socket.recv(NOW)
            if socket.getsockopt(RCVMORE):
                socket.recv_multipart(NOW)
                self._offend(1)
            else:
                self._take(body)

    def _take(self, body: bytes) -> None:
        kind = body[0] if body else -1
        dialer = self._dialer
        if kind == ENVELOPES and self._state == "standing" and self._incarnation == self.peer.incarnation:
            if offences := dialer.post.arrive(body, Origin(self.peer)):
                self._blame(offences)
        elif kind == ENVELOPES:
            dialer.hub.drops.count("cut")
        elif kind == WELCOME:
            self._on_welcome(body)
        elif kind == SAY_HELLO:
            self._greet()
        elif kind == REFUSED:
            try:
                self._rest(read_refusal(body).reason, dialer.now)
            except DecodeError:
                self._offend(1)
        else:
            self._offend(1)

    def _on_welcome(self, body: bytes) -> None:
        try:
            welcome = read_hello(body)
        except DecodeError:
            self._offend(1)
            return
        except VersionMismatch as mismatch:
            self._rest(str(mismatch), self._dialer.now)
            return
        found = self._judge(welcome)
        if isinstance(found, str):
            self._rest(found, self._dialer.now)
        else:
            self._stand(found, welcome)

    def _judge(self, welcome: Hello) -> Peer | str:
        """Answer who lives there, or why it cannot be."""
        dialer = self._dialer
        if welcome.kind != "node":
            return f"a client, {welcome.name}, listens at {self._endpoint}; only nodes do"
        if welcome.name == dialer.hub.me.name:
            return f"the node at {self._endpoint} has the name of this one, {welcome.name}; give each a name of its own"
        if self.expected and welcome.name not in self.expected:
            return f"at {self._endpoint} lives {welcome.name}; {' or '.join(sorted(self.expected))} was expected"
        peer = dialer.hub.directory.meet(welcome.name, welcome.name)
        if peer is None:
            return "too many peers are connected"
        return dialer.hub.refusal_of(peer, welcome) or peer

    def _stand(self, peer: Peer, welcome: Hello) -> None:
        dialer = self._dialer
        if self.peer is not peer:
            self._fall()
            if not self.peer.address:
                self.peer.successor = peer
                dialer.hub.flush(self.peer, dialer.now)
            self.peer = peer
            dialer.answered(self._endpoint, peer)
        self._state, self.due_at, self.refusal = "standing", None, ""
        self._incarnation = welcome.incarnation
        dialer.hub.stand(self, peer, welcome.incarnation, dialer.now)

    def _break(self) -> None:
        """The connection is lost; one that never stood has as long as it had."""
        self._fall()
        if self._state != "connecting" or self.due_at is None:
            self._state, self.due_at = "connecting", self._dialer.now + DIAL_AGAIN_MS

    def _fall(self) -> None:
        if self._state == "standing":
            self._state = "connecting"
            self._dialer.hub.fall(self, self.peer, self._dialer.now)

    def _rest(self, why: str, now: int, rest_ms: int = REST_MS) -> None:
        """Let go, and dial again after a while."""
        self._note_refusal(why)
        self.shut()
        self._state, self.due_at = "resting", now + rest_ms

    def _note_refusal(self, why: str) -> None:
        if why != self.refusal:
            LOGGER.warning("line_refused endpoint=%s why=%r", self._endpoint, why)
        self.refusal = why

    def _offend(self, offences: int) -> None:
        self._dialer.hub.drops.count("undecodable", offences)
        self._blame(offences)

    def _blame(self, offences: int) -> None:
        dialer = self._dialer
        if any(dialer.offenders.note(self._endpoint, dialer.now) for _ in range(offences)):
            self._rest("what comes from there cannot be read, or is in the name of others", dialer.now, BAN_MS)


class Dialer:
    """All lines that were dialed. Of the I/O thread.

    Args:
        watch: where the sockets are waited for.
        answered: told who lives at an endpoint.
        ring: wakes the I/O thread.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        hub: Hub,
        post: Post,
        guard: Guard | None,
        watch: Watch,
        answered: Callable[[str, Peer], None],
        ring: Callable[[], None],
    ) -> None:
        self.hub = hub
        self.post = post
        self.guard = guard
        self.watch = watch
        self.answered = answered
        self.offenders = Offenders()
        self.descriptors = Descriptors()
        self.lookups = Lookups(ring)
        self.now = 0
        self._context = context
        self._numbers = count(1)
        self._lines: dict[str, DialedLine] = {}

    def new_socket(self, endpoint: str) -> zmq.Socket[bytes]:
        """Make a socket with an identity that this life has not used yet."""
        me = self.hub.me
        return socket_option.dealer(self._context, identity(me.name, me.incarnation, next(self._numbers)), endpoint)

    def dial(self, wanted: Mapping[str, tuple[frozenset[str], Peer]]) -> None:
        """Have a line to each endpoint that is wanted, and to no other; with it the nodes of which one is expected there."""
        for endpoint in [each for each in self._lines if each not in wanted]:
            self._lines.pop(endpoint).shut()
        for endpoint, (expected, peer) in wanted.items():
            line = self._lines.get(endpoint)
            if line is not None and line.is_for(expected):
                line.expected = expected
                continue
            if line is not None:
                line.shut()
            self._lines[endpoint] = DialedLine(self, endpoint, expected, peer)

    def refusals(self) -> dict[str, str]:
        """Why which endpoints cannot be reached, as far as somebody has said so."""
        return {endpoint: line.refusal for endpoint, line in list(self._lines.items()) if line.refusal}

    def tick(self) -> int | None:
        """Take the names that were looked up, and do what is due; answers when to look again, None for never."""
        for found in self.lookups.take():
            for line in self._lines.values():
                line.on_looked_up(found)
        soonest: int | None = None
        for line in self._lines.values():
            if line.due_at is not None:
                line.tick(self.now)
            due_at = line.due_at
            if due_at is not None and (soonest is None or due_at < soonest):
                soonest = due_at
        return soonest

    def close(self) -> None:
        """Let go of all sockets."""
        self.dial({})
        self.descriptors.clear()
