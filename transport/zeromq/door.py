"""The listening end: a ROUTER, the connections to it, and who was welcomed.

ZeroMQ's ROUTER knows identities, its monitor knows file descriptors; a frame tells both, so a lost connection is told at once,
and a single one can be closed. The monitor speaks of a descriptor before the system can give it to another connection, so it
is always listened to first.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any, Final, Literal

import zmq
from msgspec import Struct

from ...errors import DecodeError
from ...forks import Descriptors
from ..contract import Guard
from ..log_limit import LogLimit
from .hub import LOGGER, Hub
from .monitor import ACCEPTED, DISCONNECTED, LISTENING, Monitor
from .offence import Offenders
from .peer import Peer
from .post import Origin, Post
from .socket_option import NOW, NOW_AND_MORE
from .watch import Watch, can_receive
from .wire import (
    ENVELOPES,
    HELLO,
    SAY_HELLO,
    WELCOME,
    Hello,
    VersionMismatch,
    is_identity_of,
    pack_greeting,
    pack_refusal,
    read_hello,
)

MAX_FRAMES_A_TURN: Final = 64
"""Frames that are taken in before it is another's turn."""

RETRY_MS: Final = 2
MAX_RETRY_MS: Final = 100
"""A peer that takes nothing is tried again after these times; ZeroMQ does not say when one peer of a ROUTER has room."""


KEYS_MS: Final = 500
"""How often it is asked whose key still counts, at most: before something is taken in or sent, and while somebody is barred."""


class AcceptedLine:
    """The connection of a peer that was welcomed."""

    def __init__(
        self, door: Door, identity: bytes, origin: Origin, hello: Hello, user_id: str, descriptor: int
    ) -> None:
        self._door = door
        self.identity = identity
        self.origin = origin
        self.hello = hello
        self.user_id = user_id
        self.descriptor = descriptor
        self.retry_at = 0
        self.retry_ms = RETRY_MS

    @property
    def peer(self) -> Peer:
        """Who is at its other end."""
        return self.origin.peer

    @property
    def is_dialed(self) -> bool:
        """It leads to here."""
        return False

    @property
    def is_current(self) -> bool:
        """Whether the peer has not begun another life since."""
        return self.hello.incarnation == self.origin.peer.incarnation

    @property
    def endpoint(self) -> str:
        """Where the peer listens, by its own word."""
        return self.hello.endpoint

    def send(self, body: bytes) -> Literal["sent", "blocked", "gone"]:
        """Send one frame, at once or not at all."""
        how = self._door.write(self.identity, body)
        if how == "sent":
            self.retry_ms = RETRY_MS
        elif how == "blocked":
            self._door.blocked[self] = None
        return how


class _Arrived(Struct, eq=False):
    """A frame, and by whose line it came."""

    identity: bytes
    body: bytes
    user_id: str
    frame: Any

    @property
    def kind(self) -> int:
        """Its first byte, −1 without one."""
        return self.body[0] if self.body else -1

    @property
    def descriptor(self) -> int:
        """The connection it came by, −1 where ZeroMQ cannot say."""
        try:
            return int(self.frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            return -1

    @property
    def offender(self) -> str:
        """Who is to blame for it: the name that the identity begins with, and with it the key, which many may share."""
        name = self.identity.partition(b"\0")[0].decode("utf-8", "replace")
        return f"{name} {self.user_id}" if self.user_id else name


class Door:
    """Welcomes peers and takes in what they send.

    Args:
        router: bound by the caller; closed here.
    """

    def __init__(
        self,
        hub: Hub,
        post: Post,
        guard: Guard | None,
        watch: Watch,
        router: zmq.Socket[bytes],
        monitor: Monitor,
    ) -> None:
        self.router = router
        self.monitor = monitor
        self.blocked: dict[AcceptedLine, None] = {}
        self.descriptors = Descriptors()
        self._hub = hub
        self._post = post
        self._guard = guard
        self._watch = watch
        self._lines: dict[bytes, AcceptedLine] = {}
        self._by_descriptor: dict[int, AcceptedLine] = {}
        self._offenders = Offenders()
        self._limit = LogLimit()
        self._keys_at = 0
        self._is_anybody_barred = False

    def close(self) -> None:
        """Let go of the sockets."""
        self.monitor.close()
        self.router.close()
        self.descriptors.clear()

    def read(self, now: int) -> None:
        """Take in what has come, up to `MAX_FRAMES_A_TURN` frames."""
        router = self.router
        for _ in range(MAX_FRAMES_A_TURN):
            if not can_receive(router):
                return
            identity = router.recv(NOW)
            frame = router.recv(NOW, copy=False)
            arrived = _Arrived(identity, frame.bytes, self._key_of(frame), frame)
            if frame.more:
                self._skip_parts()
                self._offend(arrived, now)
                continue
            line = self._lines.get(identity)
            if arrived.kind == ENVELOPES and line is not None and line.is_current:
                self._take_envelopes(arrived, line, now)
            else:
                self._take_greeting(arrived, now)

    def notice(self, now: int) -> None:
        """Learn which connections have come and gone."""
        for event, descriptor in self.monitor.events():
            if event in (LISTENING, ACCEPTED):
                self.descriptors.add(descriptor)  # if it has gone already, the next event says so
            elif event == DISCONNECTED:
                self.descriptors.discard(descriptor)
                if line := self._by_descriptor.get(descriptor):
                    self._remove(line, now)

    def tick(self, now: int) -> int | None:
        """Try again who took nothing; answers when to look again, None for never."""
        due = self._try_again(now)
        if (
            self._is_anybody_barred
        ):  # who is barred gets nothing, so that nothing else would tell that his key counts again
            due.append(self._keys_at)
        return min(due, default=None)

    def look_at_keys(self, now: int) -> None:
        """Bar whose key counts no more, at the beginning of each turn: at rest nobody is woken for it, and nothing is sent.

        A line whose key was revoked is left standing, so that who asks over it is told why he is refused.
        """
        if self._guard is None or now < self._keys_at:
            return
        self._keys_at = now + KEYS_MS
        self._is_anybody_barred = False
        for line in self._lines.values():
            was_barred, line.peer.is_barred = line.peer.is_barred, not self._guard.stands(line.origin.principal)
            if line.peer.is_barred:
                self._is_anybody_barred = True
                if not was_barred:
                    self._hub.drops.count("refused", line.peer.outbox.clear())

    def _try_again(self, now: int) -> list[int]:
        """Try again who took nothing; answers when to try whom again."""
        for line in list(self.blocked):
            if line.retry_at == 0:
                line.retry_at = now + line.retry_ms
            elif now >= line.retry_at:
                del self.blocked[line]
                line.retry_at = 0
                line.retry_ms = min(2 * line.retry_ms, MAX_RETRY_MS)
                self._hub.flush(line.peer, now)
        return [line.retry_at or now for line in self.blocked]

    def write(self, identity: bytes, body: bytes) -> Literal["sent", "blocked", "gone"]:
        """Send one frame to an identity, at once or not at all."""
        self._watch.used(self.router)
        try:
            self.router.send(identity, NOW_AND_MORE)
            self.router.send(body, NOW)
        except zmq.Again:
            return "blocked"
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return "gone"
            raise
        return "sent"

    def _take_envelopes(self, arrived: _Arrived, line: AcceptedLine, now: int) -> None:
        if arrived.user_id != line.user_id:
            self._hub.drops.count("refused")
            self._note(arrived, now, 1)
        elif offences := self._post.arrive(arrived.body, line.origin):
            self._note(arrived, now, offences)

    def _take_greeting(self, arrived: _Arrived, now: int) -> None:
        if self._offenders.is_banned(arrived.offender, now):
            if arrived.kind == HELLO:
                self.write(arrived.identity, pack_refusal("what came from here could not be read; try again later"))
            else:
                self._hub.drops.count("undecodable")
        elif arrived.kind == HELLO:
            self._on_hello(arrived, now)
        elif arrived.kind == ENVELOPES:
            self._hub.drops.count("refused")
            self.write(arrived.identity, bytes((SAY_HELLO,)))
        else:
            self._offend(arrived, now)

    def _on_hello(self, arrived: _Arrived, now: int) -> None:
        try:
            hello = read_hello(arrived.body)
        except DecodeError:
            self._offend(arrived, now)
            return
        except VersionMismatch as mismatch:
            self._refuse(arrived, str(mismatch))
            return
        self.notice(now)
        if arrived.descriptor != -1 and arrived.descriptor not in self.descriptors:
            return  # it has gone again
        admitted = self._admit(arrived, hello)
        if isinstance(admitted, str):
            self._refuse(arrived, admitted)
        elif self.write(arrived.identity, pack_greeting(WELCOME, self._hub.me)) == "sent":
            self._welcome(arrived, hello, admitted, now)

    def _admit(self, arrived: _Arrived, hello: Hello) -> Origin | str:
        """Answer as whom a peer is welcome, or why it is not."""
        if not is_identity_of(arrived.identity, hello):
            return f"the identity of this line is not that of {hello.name}"
        if hello.name == self._hub.me.name:
            return f"the node that was reached is {hello.name} itself; give each node a name of its own"
        if hello.kind == "client" and self._hub.is_a_node_s(hello.incarnation):
            return f"the incarnation {hello.incarnation} is that of a node; a client has one of its own"
        principal = self._guard.admit(arrived.user_id, hello) if self._guard else None
        if isinstance(principal, str):
            return principal
        tag = principal.name if principal is not None and hello.kind == "client" else ""
        peer = self._hub.directory.meet(f"{hello.name}~{tag}" if tag else hello.name, hello.name)
        if peer is None:
            return "too many peers are connected; try again later, or connect to another node"
        for line in peer.lines:
            if isinstance(line, AcceptedLine) and line.user_id != arrived.user_id:
                return f"{hello.name} is here already, with another key"
        return self._hub.refusal_of(peer, hello) or Origin(peer, principal)

    def _welcome(self, arrived: _Arrived, hello: Hello, origin: Origin, now: int) -> None:
        known = self._lines.get(arrived.identity)
        if known is not None:
            if (known.descriptor, known.hello, known.peer) == (arrived.descriptor, hello, origin.peer):
                return  # it said hello twice
            self._remove(known, now)
        line = AcceptedLine(self, arrived.identity, origin, hello, arrived.user_id, arrived.descriptor)
        earlier = [each for each in origin.peer.lines if isinstance(each, AcceptedLine)]
        origin.peer.is_barred = False
        self._lines[line.identity] = line
        if line.descriptor != -1:
            self._by_descriptor[line.descriptor] = line
        self._hub.stand(line, origin.peer, hello.incarnation, now)
        for each in earlier:  # of a socket that was given up, or of another life
            self._remove(each, now)
            self._disconnect(each.descriptor, now)

    def _refuse(self, arrived: _Arrived, why: str) -> None:
        left_out = self._limit.ask("hello_refused", arrived.offender, why)
        if left_out is not None:
            LOGGER.info("hello_refused identity=%r why=%r%s", arrived.identity, why, left_out)
        self.write(arrived.identity, pack_refusal(why))

    def _remove(self, line: AcceptedLine, now: int) -> None:
        if self._lines.get(line.identity) is line:
            del self._lines[line.identity]
        if self._by_descriptor.get(line.descriptor) is line:
            del self._by_descriptor[line.descriptor]
        self.blocked.pop(line, None)
        self._hub.fall(line, line.peer, now)

    def _offend(self, arrived: _Arrived, now: int) -> None:
        self._hub.drops.count("undecodable")
        self._note(arrived, now, 1)

    def _note(self, arrived: _Arrived, now: int, offences: int) -> None:
        """Count offences, and keep their author out when they are too many."""
        if not any(self._offenders.note(arrived.offender, now) for _ in range(offences)):
            return
        left_out = self._limit.ask("peer_banned", arrived.offender)
        if left_out is not None:
            text = "peer_banned who=%r why='what it sends cannot be read, or is in the name of others'%s"
            LOGGER.warning(text, arrived.offender, left_out)
        if line := self._lines.get(arrived.identity):
            self._remove(line, now)
        self._disconnect(arrived.descriptor, now)

    def _disconnect(self, descriptor: int, now: int) -> None:
        """Close one connection of the ROUTER, for which ZeroMQ has no call."""
        self.notice(now)
        if descriptor not in self.descriptors:
            return
        with suppress(OSError):  # it has gone by itself
            duplicate = os.dup(descriptor)  # from here on the descriptor cannot become another's
            if not self.descriptors.is_same(descriptor, duplicate):
                os.close(duplicate)
                return
            with socket.socket(fileno=duplicate) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    def _key_of(self, frame: Any) -> str:
        """The key that ZeroMQ has seen on the line of a frame, empty without a guard or without a key."""
        if self._guard is None:
            return ""
        try:
            return str(frame.get("User-Id"))
        except zmq.ZMQError:
            return ""

    def _skip_parts(self) -> None:
        while self.router.recv(NOW, copy=False).more:
            pass
