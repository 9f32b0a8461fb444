"""Whom a client asks: as the gateway of a real client does, it follows the leader of the cluster.

It has a line to every node, is told who leads by whichever it can ask, and asks again when who was thought to lead does not.
With one node there is nobody to look for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from callsheet.actors.messages import Envelope, Follow, LeaderIs
from callsheet.client.leadership import Leadership
from simulation.virtual import MILLION

if TYPE_CHECKING:
    from simulation.world import World


class Route:
    """The way of one client's requests; `on_found` is called when there is another leader to ask."""

    def __init__(self, world: World, address: str, on_found: Callable[[], None]) -> None:
        self._world = world
        self._address = address
        self._on_found = on_found
        self._leadership = Leadership()
        self._plan = 0
        self._is_lone = len(world.nodes) == 1

    @property
    def node(self) -> str | None:
        """The node to ask, None while nobody is known to lead."""
        if self._is_lone:
            return self._world.nodes[0].name
        leader = self._leadership.leader
        return None if leader is None else leader.node

    @property
    def epoch(self) -> int:
        """The epoch of the leader to ask, 0 while nobody is known to lead."""
        if self._is_lone:
            lease = self._world.disk.tables.lease
            return 0 if lease is None else lease.epoch
        leader = self._leadership.leader
        return 0 if leader is None else leader.epoch

    def meet(self, node: str) -> None:
        """There is a line to a node."""
        self._leadership.meet(node)
        self._attend()

    def lose(self, node: str) -> None:
        """The line to a node is lost."""
        self._leadership.lose(node)
        self._attend()

    def hear(self, message: LeaderIs, sender: str) -> None:
        """Take a word on who leads."""
        if self._leadership.hear(message, sender) and self._leadership.leader is not None:
            self._on_found()
        self._attend()

    def doubt(self, sender: str) -> None:
        """Whoever sent this does not lead."""
        self._leadership.doubt(sender)
        self._attend()

    def _attend(self) -> None:
        """Ask who leads, when it is time; and see to it that somebody looks again."""
        if self._is_lone:
            return
        now = self._world.time.now / MILLION
        if self._leadership.wait_s(now) <= 0.0:
            self._leadership.on_asked(now)
            for source in self._leadership.sources():
                self._world.outside.send(Envelope(self._address, source, 0, (Follow(f"{self._address}/follow"),)))
        self._plan += 1
        plan, wait_us = self._plan, int(self._leadership.wait_s(now) * MILLION) + 1
        self._world.time.call_in(wait_us, lambda: self._attend() if plan == self._plan else None)
