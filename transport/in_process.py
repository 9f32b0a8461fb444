"""The carrier within one process: a look-up and a call.

Messages are immutable, so the envelope itself is handed over. With `through_codec` each envelope is encoded and decoded on
the way, which shows that nothing is sent that could not travel between machines.
"""

from __future__ import annotations

from ..actors.actor import Address
from ..errors import DataError
from .codec import decode, encode_all
from .contract import DropReason, Drops, Envelope, Receive, split_address


class InProcess:
    """Carries envelopes between the mailboxes of one node. A `Transport`.

    Args:
        node: the node's name; an address that names this node is a local one. Any other node is absent.
        through_codec: encode and decode every envelope.
    """

    def __init__(self, node: str = "", *, through_codec: bool = False) -> None:
        self._node = node
        self._through_codec = through_codec
        self._receivers: dict[Address, Receive] = {}
        self._drops = Drops()
        self._closed = False

    def attach(self, address: Address, receive: Receive) -> None:
        """Hand what is sent to `address` to `receive`; replaces whoever was attached there."""
        if not self._closed:
            self._receivers[address] = receive

    def detach(self, address: Address) -> None:
        """Hand nothing more to `address`; nobody there is no error."""
        self._receivers.pop(address, None)

    def send(self, envelope: Envelope) -> None:
        """Hand the envelope to its recipient's mailbox, or drop and count it.

        Raises:
            DataError: with `through_codec`, when a message can never travel.
        """
        if self._through_codec:
            self._send_encoded(envelope)
        else:
            self._hand_over(envelope)

    def close(self) -> None:
        """Let go of all mailboxes; what is sent from now on is dropped."""
        self._closed = True
        self._receivers = {}

    def dropped(self) -> dict[DropReason, int]:
        """How many envelopes were dropped so far, by reason."""
        return self._drops.counts()

    def _send_encoded(self, envelope: Envelope) -> None:
        try:
            frames = encode_all(envelope)
        except DataError:
            self._drops.count("unsendable")
            raise
        for frame in frames:
            self._hand_over(decode(frame))

    def _hand_over(self, envelope: Envelope) -> None:
        receive = self._receivers.get(envelope.recipient) or self._own(envelope.recipient)
        if receive is None:
            self._drops.count("closed" if self._closed else "absent")
        elif not receive(envelope):
            self._drops.count("full")

    def _own(self, address: Address) -> Receive | None:
        """Who is attached at an address that names this node."""
        name, node = split_address(address)
        return self._receivers.get(name) if node and node == self._node else None
