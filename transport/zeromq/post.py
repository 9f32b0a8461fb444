"""What came over a line, on its way to a mailbox: read, judged, checked, handed over or passed on.

    frame ─▶ unpacked ─▶ from its sender? ─▶ a client's: may it send such messages at all? ─▶ each field checked
          ─▶ may it say this? ─▶ mailbox

Checking may cost much more than refusing, so who may not send something cannot make this thread check it.

A request or an answer that cannot be read here, because it names a time zone that this machine does not know or is of another
version, is dropped like all else that cannot be read; but somebody waits for it, and is told why nothing comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ...actors.actor import Address
from ...actors.messages import RequestRejected
from ...errors import DataError, DecodeError
from ..codec import Frame, check, encode_all, unpack
from ..contract import Envelope, Fields, Guard, Receive, Unreadable, split_address
from .hub import LOGGER, Hub
from .peer import Peer
from .wire import CLIENT, unpack_batch

_MAX_ECHO: Final = 64
"""Characters of the name a peer wrote to that are repeated in an answer."""


_MAX_KEY: Final = 200
"""Characters of a request's key that is answered."""

_MAX_WHY: Final = 1_000
"""Characters of an answer about what cannot be read, in which some of it may be repeated."""


class Origin(Struct, frozen=True, eq=False):
    """From where an envelope came: a peer, and as whom the guard has let it in (None: nobody was asked)."""

    peer: Peer
    principal: Any = None


class Post:
    """Delivers what comes. Of the I/O thread.

    Args:
        hub: where what is passed on to a client goes.
        receiver: who is attached at an address here.
        guard: asked about every envelope of an origin with a principal, of a client's before its messages are checked too.
    """

    def __init__(self, hub: Hub, receiver: Callable[[Address], Receive | None], guard: Guard | None) -> None:
        self._hub = hub
        self._receiver = receiver
        self._guard = guard
        self._own_name = hub.me.name
        self._is_client = hub.me.name.startswith(CLIENT)

    def arrive(self, body: bytes, origin: Origin) -> int:
        """Deliver the envelopes of a frame up to the first that is an offence, which ends it; answers how many were one."""
        try:
            frames = unpack_batch(body)
        except DecodeError as error:
            return self._offend(origin, error, 1)
        for number, frame in enumerate(frames):
            try:
                is_offence = not self._take(unpack(frame), origin)
            except DecodeError as error:
                return self._offend(origin, error, len(frames) - number)
            if is_offence:
                self._hub.drops.count("refused", len(frames) - number)
                return 1
        return 0

    def _offend(self, origin: Origin, error: DecodeError, dropped: int) -> int:
        self._hub.drops.count("undecodable", dropped)
        LOGGER.debug("undecodable peer=%r why=%r", origin.peer.address, str(error))
        return 1

    def _take(self, frame: Frame, origin: Origin) -> bool:
        """Deliver an envelope; answers whether its sender is who sent it. Its messages are checked when nothing else is left to ask.

        Raises:
            DecodeError: a message that its sender may send is none.
        """
        peer = origin.peer
        sender = self._name_of_sender(frame.sender, peer)
        if not sender:
            LOGGER.debug("refused peer=%r why=%r", peer.address, f"sender {frame.sender}")
            return False
        messages: Sequence[Fields] = frame.messages
        if origin.principal is not None and peer.kind == "client":
            messages = self._screen(frame, sender, origin)
            if frame.messages and not messages:
                self._hub.drops.count("refused")
                return True
        checked: list[Any] = []
        for fields in messages:
            try:
                checked += check((fields,))
            except DecodeError as error:
                if self._tell_who_waits(frame, sender, fields, error, origin) and peer.kind == "node":
                    self._hub.drops.count("undecodable")
                    return True  # the zones or the version of a node are no offence, and the line to it is needed
                raise
        envelope = Envelope(sender, frame.recipient, frame.epoch, tuple(checked))
        if origin.principal is None:
            self._hand_over(envelope, peer)
        else:
            self._judge(envelope, origin)
        return True

    def _name_of_sender(self, said: Address, peer: Peer) -> Address:
        """As whom the sender of an envelope is known here; empty when it is not who sent it."""
        if peer.kind == "client":
            return peer.address if said == peer.wire_name else ""
        node = split_address(said)[1]
        # a node passes on to a client what other nodes have for it
        return said if node == peer.address or (node and self._is_client) else ""

    def _screen(self, frame: Frame, sender: Address, origin: Origin) -> Sequence[Fields]:
        assert self._guard is not None, "who has a principal was let in by a guard"
        messages, answers = self._guard.screen(origin.principal, frame.recipient, frame.messages)
        self._answer(frame.recipient, sender, answers, origin)
        return messages

    def _answer(self, recipient: Address, sender: Address, answers: Sequence[Any], origin: Origin) -> None:
        """Send back why something was refused, in the name of whom it was for."""
        if answers:
            own = f"{split_address(recipient)[0][:_MAX_ECHO]}@{self._own_name}"
            self._send_to(origin.peer, Envelope(own, sender, 0, tuple(answers)))

    def _tell_who_waits(
        self, frame: Frame, sender: Address, fields: Fields, error: DecodeError, origin: Origin
    ) -> bool:
        """Tell a client that its request, or the answer to it, cannot be read here; answers whether there was one to be told."""
        key, why = fields.get("key"), str(error)[:_MAX_WHY]
        if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY:
            return False
        if sender.startswith(CLIENT):
            refusal = RequestRejected(key, "impossible", f"the request cannot be read at {self._own_name}: {why}")
            self._answer(frame.recipient, sender, (refusal,), origin)
            return True
        name, node = split_address(frame.recipient)
        receive = self._receiver(name) if name.startswith(CLIENT) and node in ("", self._own_name) else None
        if receive is not None:
            receive(Envelope(sender, frame.recipient, frame.epoch, (Unreadable(key, why),)))
        return receive is not None

    def _judge(self, envelope: Envelope, origin: Origin) -> None:
        assert self._guard is not None, "who has a principal was let in by a guard"
        passed, answers = self._guard.check(origin.principal, envelope)
        self._answer(envelope.recipient, envelope.sender, answers, origin)
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
        elif client.is_barred:
            self._hub.drops.count("refused")
        else:
            self._send_to(client, envelope)

    def _send_to(self, peer: Peer, envelope: Envelope) -> None:
        """Put an envelope for a client into its outbox, or into that of the node where it is."""
        try:
            recipient = peer.wire_name if peer.kind == "client" else envelope.recipient
            frames = encode_all(replace(envelope, recipient=recipient))
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
