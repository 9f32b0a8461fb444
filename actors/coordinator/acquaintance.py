"""Of which nodes the transport was told, so that it is told also when they are no more.

Every life of a node may have a name and an address of its own. Who has gone and is still known would be dialed for ever, and in
time nobody new could be.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from ..actor import Turn
from ..messages import PeersForgotten, PeersKnown


class Acquaintances:
    """The nodes that this one knows of.

    Args:
        own: the name of this node, which is no acquaintance.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._nodes: dict[str, None] = {}

    def meet(self, peers: Iterable[tuple[str, str]], turn: Turn) -> None:
        """Let the transport know where nodes are reached, (node, address) each; of two lives of a node the later counts."""
        others = {node: address for node, address in peers if address and node != self._own}
        if others:
            self._nodes.update(dict.fromkeys(others))
            turn.emit(PeersKnown(tuple(others.items())))

    def part(self, nodes: Iterable[str], turn: Turn) -> None:
        """Let the transport know that these are no more; not to have met them is no error."""
        gone = tuple(node for node in nodes if node in self._nodes)
        if gone:
            for node in gone:
                self._nodes.pop(node, None)
            turn.emit(PeersForgotten(gone))

    def keep(self, nodes: Container[str], turn: Turn) -> None:
        """Part with all others."""
        self.part([node for node in self._nodes if node not in nodes], turn)
