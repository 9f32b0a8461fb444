"""What came over a line, on its way to a mailbox: read, checked, handed over or passed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ...actors.actor import Address
from ...errors import DataError, DecodeError
from ..codec import decode, encode_all
from ..contract import Envelope, Guard, Receive, split_address
from .hub import LOGGER, Hub
from .peer import Peer
from .wire import CLIENT, unpack_batch

_MAX_ECHO: Final = 64
"""Characters of the name a peer wrote to that are repeated in an answer."""


class Origin(Struct, frozen=True, eq=False):
    """From where an envelope came: a peer, and as whom the guard has let it in (None: nobody was asked)."""

    peer: Peer
    principal: Any = None


class Post:
    """Delivers what comes. Of the I/O thread.

    Args:
        hub: where what is passed on to a client goes.
        receiver: who is attached at an address here.
        guard: asked about every envelope of an origin with a principal.
    """

    def __init__(self, hub: Hub, receiver: Callable[[Address], Receive | None], guard: Guard | None) -> None:
        self._hub = hub
        self._receiver = receiver
        self._guard = guard
        self._own_name = hub.me.name
        self._is_client = hub.me.name.startswith(CLIENT)

    def arrive(self, body: bytes, origin: Origin) -> int:
        """Deliver the envelopes of a frame; answers how many of them were offences."""
        try:
            frames = unpack_batch(body)
        except DecodeError as error:
            return self._offend(origin, error)
        offences = 0
        for frame in frames:
            try:
                envelope = decode(frame)
            except DecodeError as error:
                offences += self._offend(origin, error)
                continue
            offences += self._admit(envelope, origin)
        return offences

    def _offend(self, origin: Origin, error: DecodeError) -> int:
        self._hub.drops.count("undecodable")
        LOGGER.debug("undecodable peer=%r why=%r", origin.peer.address, str(error))
        return 1

    def _admit(self, envelope: Envelope, origin: Origin) -> int:
        """Deliver an envelope if its sender is who sent it; answers 1 if he is not."""
        peer = origin.peer
        if peer.kind == "client":
            if envelope.sender != peer.wire_name:
                return self._refuse(envelope, origin)
            if peer.address != peer.wire_name:
                envelope = replace(envelope, sender=peer.address)
        else:
            node = split_address(envelope.sender)[1]
            # a node passes on to a client what other nodes have for it
            if node != peer.address and not (node and self._is_client):
                return self._refuse(envelope, origin)
        if origin.principal is None:
            self._hand_over(envelope, peer)
        else:
            self._judge(envelope, origin)
        return 0

    def _refuse(self, envelope: Envelope, origin: Origin) -> int:
        self._hub.drops.count("refused")
        LOGGER.debug("refused peer=%r why=%r", origin.peer.address, f"sender {envelope.sender}")
        return 1

    def _judge(self, envelope: Envelope, origin: Origin) -> None:
        assert self._guard is not None, "who has a principal was let in by a guard"
        passed, answers = self._guard.check(origin.principal, envelope)
        if answers:
            sender = f"{split_address(envelope.recipient)[0][:_MAX_ECHO]}@{self._own_name}"
            self._send_to(origin.peer, Envelope(sender, envelope.sender, 0, tuple(answers)))
        if passed is None:
            self._hub.drops.count("refused")
        else:
            self._hand_over(passed, origin.peer)

    def _hand_over(self, envelope: Envelope, peer: Peer) -> None:
        name, node = split_address(envelope.recipient)
        receive = self._receiver(name) if node in ("", self._own_name) else None
        if receive is not None:
            if not receive(envelope):
                self._hub.drops.count("full")
            return
        client = self._hub.directory.client(name) if node in ("", self._own_name) else None
        if client is None or peer.kind == "client":  # clients do not speak with each other
            self._hub.drops.count("absent")
        else:
            self._send_to(client, envelope)

    def _send_to(self, peer: Peer, envelope: Envelope) -> None:
        """Put an envelope into a client's outbox; a node's guard answers it nothing, so it is a client's always."""
        try:
            frames = encode_all(replace(envelope, recipient=peer.wire_name))
        except DataError:  # with the sender's omissions filled in it is too large
            self._hub.drops.count("unsendable")
            return
        match peer.outbox.put(frames):
            case "full":
                self._hub.drops.count("full")
            case "first":
                self._hub.flush_soon(peer)
            case "more":  # is on its way, or waits for room
                pass
