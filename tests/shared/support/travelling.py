"""Whether what an actor sends to other nodes, or to clients, can travel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from callsheet.actors.actor import Effect, Send
from callsheet.transport.codec import decode, encode
from callsheet.transport.contract import Envelope


def assert_travels(message: Any) -> None:
    """A message fits into a frame, and is the same when it arrives."""
    assert decode(encode(Envelope("coordinator@n", "executor@n2", 1, (message,)))).messages == (message,)


def travelling(effects: Iterable[Effect], *kinds: type) -> list[Any]:
    """The messages of these kinds that leave the node, in order; all that leave it must be able to."""
    leaving = [it.message for it in effects if isinstance(it, Send) and ("@" in it.to or it.to.startswith("client-"))]
    for message in leaving:
        assert_travels(message)
    return [message for message in leaving if isinstance(message, kinds)]
