"""The contract of a transport: what carries envelopes from mailbox to mailbox.

    sender's host ── send(envelope) ──▶ transport ── receive(envelope) ──▶ recipient's mailbox
                                            └─ no such recipient, mailbox full, line cut …: dropped, and counted by reason

An envelope is always a batch: the messages that one turn of one actor has for one recipient, in their order.

Addresses
    "clock"         that actor on this node; the envelope does not leave the node
    "executor@n1"   that actor on node n1; where n1 is this node, the same as "executor"
    "client-7"      a client that is connected to this node, "client-7@n1" one that is connected to node n1
A host that sends off its node names itself in full ("coordinator@n2"), so that `sender` is where an answer must go.

Promises
    whole        an envelope arrives as it was sent, with all its messages in order, or it does not arrive; where bytes are
                 sent, one that is too large for a frame goes as several, each of which arrives or does not
    checked      what arrives is made of known message types with fields of the declared types
    never waits  `send` and `attach` return at once, whatever the recipient does
    counted      each envelope that is given up is counted under one reason

What is not promised: an envelope may be lost, late, doubled, or overtaken by another. The contract is the weakest of all
carriers, so whoever relies on an arrival sends again until it is answered, and names what makes that harmless (an
idempotency key, a fence, an epoch). In-process carriers are better than that, and nothing may depend on it.

`send` answers nothing and does not raise for an absent, full or cut-off recipient: that is the world, and the sender's
timer is what notices. It raises `DataError` for a message that could never travel: that is the sender's bug.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final, Literal, Protocol

from ..actors.actor import Address
from ..actors.messages import Envelope

# `Envelope` is part of this contract; it is declared beside the messages, because actors import no transport.
__all__ = ("MAX_ADDRESS_LENGTH", "DropReason", "Drops", "Envelope", "Receive", "Transport", "split_address")

DropReason = Literal["absent", "full", "closed", "lost", "cut", "undecodable", "unsendable"]
"""Why an envelope was given up.

`absent`: nobody is attached there. `full`: the recipient's mailbox, or the queue towards it. `closed`: this transport was
closed. `lost`: on the way. `cut`: no line to the node. `undecodable`: bytes that are no envelope. `unsendable`: what the
sender gave cannot travel.
"""

MAX_ADDRESS_LENGTH: Final = 255
"""Characters of an address at most."""


Receive = Callable[[Envelope], bool]
"""Takes an envelope into a mailbox at once, from any thread; False means that the mailbox is full and it was not taken."""


class Transport(Protocol):
    """Carries envelopes. All methods may be called from any thread."""

    def attach(self, address: Address, receive: Receive) -> None:
        """Hand what is sent to `address` (a local one, without a node) to `receive`; replaces whoever was attached there."""

    def detach(self, address: Address) -> None:
        """Hand nothing more to `address`; nobody there is no error."""

    def send(self, envelope: Envelope) -> None:
        """Carry the envelope, or drop and count it. Never waits.

        Raises:
            DataError: a message can never travel: it is not data, or larger than the codec's limits.
        """

    def close(self) -> None:
        """Let go of everything; what is sent from now on is dropped. Twice is harmless."""

    def dropped(self) -> Mapping[DropReason, int]:
        """How many envelopes were given up so far, by reason; reasons that never occurred are left out."""


class Drops:
    """Counts dropped envelopes by reason, from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[DropReason] = Counter()

    def count(self, reason: DropReason) -> None:
        """Note one dropped envelope."""
        with self._lock:
            self._counts[reason] += 1

    def counts(self) -> dict[DropReason, int]:
        """The counts so far, by reason in alphabetical order."""
        with self._lock:
            return dict(sorted(self._counts.items()))


def split_address(address: Address) -> tuple[str, str]:
    """Take an address apart: the name, and the node, which is empty when none is said."""
    name, _, node = address.partition("@")
    return name, node
