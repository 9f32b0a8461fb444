"""The clients of this node that want to know who leads."""

from __future__ import annotations

from typing import Final

from ..actor import SECOND, Address, Turn
from ..messages import LeaderIs

REMEMBERED_US: Final = 30 * SECOND
"""For how long a client is told of changes after it has asked."""

MAX_CLIENTS: Final = 10_000
"""Clients that are told of changes; those beyond it ask again."""


class Audience:
    """Who is told when the leader changes."""

    def __init__(self) -> None:
        self._clients: dict[Address, tuple[str, int]] = {}

    def add(self, client: Address, key: str, elapsed: int) -> None:
        """A client has asked; it is told of changes for a while."""
        self._clients.pop(client, None)
        while self._clients:
            first = next(iter(self._clients))
            if len(self._clients) < MAX_CLIENTS and elapsed - self._clients[first][1] < REMEMBERED_US:
                break
            del self._clients[first]
        self._clients[client] = (key, elapsed)

    def tell(self, epoch: int, node: str, address: str, turn: Turn) -> None:
        """Tell everybody who leads now."""
        for client, (key, asked_at) in self._clients.items():
            if turn.elapsed - asked_at < REMEMBERED_US:
                turn.send(client, LeaderIs(key, epoch, node, address))
