"""Messages between an actor and its host, and the envelope in which all messages travel."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..actor import Address


class Envelope(Struct, frozen=True, gc=False):
    """A batch of messages on its way; immutable, so that a carrier may hand over the object itself.

    `epoch` is the reign in which the sender speaks, 0 when it knows of none.
    """

    sender: Address
    recipient: Address
    epoch: int
    messages: tuple[Any, ...]


class Started(Struct, frozen=True, tag="started"):
    """The first message an actor gets: on which node it lives."""

    node: str
    incarnation: str
    address: str = ""


class TimerFired(Struct, frozen=True, tag="timer"):
    """A timer came due."""

    key: str


class Stop(Struct, frozen=True, tag="stop"):
    """Begin the orderly shutdown (coordinator): QUIET, DRAINING, RELEASING, STOPPED. An executor answers when it has nothing.

    `drain_us` is how long running work may take to end by itself, `hurry` skips to releasing.
    """

    drain_us: int
    hurry: bool = False


class PeerRestarted(Struct, frozen=True, tag="peer_restarted"):
    """An actor of this node failed and was made anew; whoever relied on its memory must begin a new reign."""

    actor: str


class NodeStopped(Struct, frozen=True, tag="node_stopped"):
    """The coordinator of `node` has finished its shutdown: nothing runs, all is stored. Or its executor has nothing, when asked."""

    node: str
    released: int
