"""The contract of a transport: what carries envelopes from mailbox to mailbox.

    sender's host ── send(envelope) ──▶ transport ── receive(envelope) ──▶ recipient's mailbox
                                            └─ no such recipient, mailbox full, line cut …: dropped, and counted by reason

An envelope is always a batch: the messages that one turn of one actor has for one recipient, in their order.

Addresses
    "clock"         that actor on this node; the envelope does not leave the node
    "executor@n1"   that actor on node n1; where n1 is this node, the same as "executor"
    "client-7"      a client that is connected to this node, "client-7@n1" one that is connected to node n1
    "registry"      of a client: that actor on the node that the client is connected to
A host that sends off its node names itself in full ("coordinator@n2"), so that `sender` is where an answer must go. Where a
guard stands at the door, a client is addressed with what its key stands for behind a tilde ("client-7~alice"): whoever gets its
envelope can tell who asks, and the client itself sees nothing of it.

Promises
    whole        an envelope arrives as it was sent, with all its messages in order, or it does not arrive; where bytes are
                 sent, one that is too large for a frame goes as several, each of which arrives or does not
    checked      what arrives is made of known message types with fields of the declared types
    never waits  `send` and `attach` return at once, whatever the recipient does
    counted      each envelope that is given up is counted under one reason, at the end that gives it up; of what was under way
                 when a connection broke, nobody knows

What is not promised: an envelope may be lost, late, doubled, or overtaken by another. The contract is the weakest of all
carriers, so whoever relies on an arrival sends again until it is answered, and names what makes that harmless (an
idempotency key, a fence, an epoch). In-process carriers are better than that, and nothing may depend on it.

`send` answers nothing and does not raise for an absent, full or cut-off recipient: that is the world, and the sender's
timer is what notices. It raises `DataError` for a message that could never travel: that is the sender's bug.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from ..actors.actor import Address
from ..actors.messages import Envelope

# `Envelope` is part of this contract; it is declared beside the messages, because actors import no transport.
__all__ = (
    "MAX_ADDRESS_LENGTH",
    "DropReason",
    "Drops",
    "Envelope",
    "Fields",
    "Greeting",
    "Guard",
    "Named",
    "Receive",
    "Transport",
    "Unreadable",
    "split_address",
)

DropReason = Literal["absent", "full", "closed", "lost", "cut", "refused", "undecodable", "unsendable"]
"""Why an envelope was given up.

`absent`: nobody is attached there. `full`: the recipient's mailbox, or the queue towards it. `closed`: this transport was
closed. `lost`: on the way. `cut`: no line to the node. `refused`: who sent it may not, or spoke in another's name; or the
recipient's key counts no more.
`undecodable`: bytes that are no envelope. `unsendable`: what the sender gave cannot travel.
"""

MAX_ADDRESS_LENGTH: Final = 255
"""Characters of an address at most."""


Receive = Callable[[Envelope], bool]
"""Takes an envelope into a mailbox at once, from any thread; False means that the mailbox is full and it was not taken."""


Fields = Mapping[str, Any]
"""A message as it came, not checked yet: whatever fields it has, its tag under `type`."""


class Unreadable(Struct, frozen=True):
    """What a client is handed in place of an answer that cannot be read where it lives: its `key`, and why.

    It is made where the answer came in, and never sent.
    """

    key: str
    text: str


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


class Greeting(Protocol):
    """What a guard looks at in the hello of a peer."""

    @property
    def name(self) -> str:
        """What the peer calls itself: a node's name, a client's address."""

    @property
    def incarnation(self) -> str:
        """Which life of it this is."""

    @property
    def kind(self) -> Literal["node", "client"]:
        """What it wants to be."""


class Named(Protocol):
    """Somebody whom a guard has let in. What else it knows of him is its own affair."""

    @property
    def name(self) -> str:
        """What his key stands for, empty when that is to be told to nobody."""


class Guard(Protocol):
    """Who may come in over a network, and what each may say. `callsheet.transport.security` has some.

    `start`, `stop` and the two that secure a socket are called by one thread at a time; `admit`, `screen`, `check` and
    `stands` by the thread that owns the sockets, so they must be quick. Context and sockets are those of pyzmq.
    """

    def start(self, context: Any) -> None:
        """Begin to answer for a context, before its first socket is bound."""

    def stop(self) -> None:
        """Let in nobody any more, and let go of the context. Twice is harmless."""

    def secure_server(self, socket: Any) -> None:
        """Set what a socket needs, before it is bound."""

    def secure_client(self, socket: Any, endpoint: str) -> None:
        """Set what a socket needs, before it is connected to this endpoint."""

    def admit(self, user_id: str, hello: Greeting) -> Named | str:
        """Answer who came, by the key of his line (empty without one), or the text that tells him why he is refused."""

    def screen(
        self, principal: Any, recipient: Address, messages: Sequence[Fields]
    ) -> tuple[Sequence[Fields], Sequence[Any]]:
        """Answer which messages of a client are worth checking, and messages to send back to it about the others.

        What it may not send at all is told by its tag and by whom it is for, before any work is done for it. `check` is asked
        about the rest.
        """

    def check(self, principal: Any, envelope: Envelope) -> tuple[Envelope | None, Sequence[Any]]:
        """Answer what of an envelope may pass (None: nothing), and messages to send back to whoever sent it.

        `principal` is what `admit` answered for his line.
        """

    def stands(self, principal: Any) -> bool:
        """Answer whether the key of his line still counts; if not, nothing is sent to him but the answers of `screen` and `check`."""


class Drops:
    """Counts dropped envelopes by reason, from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[DropReason] = Counter()

    def count(self, reason: DropReason, number: int = 1) -> None:
        """Note dropped envelopes, by default one."""
        if number:
            with self._lock:
                self._counts[reason] += number

    def counts(self) -> dict[DropReason, int]:
        """The counts so far, by reason in alphabetical order."""
        with self._lock:
            return dict(sorted(self._counts.items()))


def split_address(address: Address) -> tuple[str, str]:
    """Take an address apart: the name, and the node, which is empty when none is said."""
    name, _, node = address.partition("@")
    return name, node
