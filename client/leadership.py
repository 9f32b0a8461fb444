"""Whom a client asks: the leader of the cluster, as far as it is known here, and when to ask who that is.

    nobody ── LeaderIs(epoch, node) ──▶ known ── LeaderIs of a newer epoch ──▶ known
       ▲                                  │
       └── not_leader · nobody · lost ────┘

A word of an older epoch than the newest that was heard is a laggard's and changes nothing. "Nobody" counts when the own node or
the leader itself says it; somebody else may just be cut off. When the line to the leader is lost the epochs are forgotten too,
as when any line is while nobody is known to lead: a store in memory begins again at the first, and one that does not sync each
commit may lose the last reigns with the power.

Who leads is asked every FOLLOW_S, and every FOLLOW_PAUSES_S while nobody is known to.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..actors.actor import COORDINATOR, on_node
from ..actors.messages import LeaderIs
from ..transport.contract import split_address

FOLLOW_S: Final = 10.0
"""How often a coordinator is told that this client follows; it forgets one after 30 s."""

FOLLOW_PAUSES_S: Final = (0.1, 0.25)
"""How long to wait between two questions who leads while nobody is known to, at first and at last."""


class Leader(NamedTuple):
    """Who leads in an epoch, and where that node listens, empty if nowhere; one object for each time it was found."""

    epoch: int
    node: str
    address: str = ""


class Leadership:
    """What was heard of leaders. It is not safe for threads; the gateway has a lock. Instants are steady seconds.

    Args:
        node: the own node, whose coordinator is asked; empty when there is none, and `contacts` are asked.
    """

    def __init__(self, node: str = "") -> None:
        self.leader: Leader | None = None
        self.contacts: dict[str, None] = {}
        self._node = node
        self._newest = 0
        self._asked_at = 0.0
        self._ask_at = 0.0
        self._pause_s = FOLLOW_PAUSES_S[0]

    # ---- asking ---------------------------------------------------------------------------------------------------------

    def sources(self) -> list[str]:
        """The addresses of those to ask who leads."""
        if self._node:
            return [COORDINATOR]
        nodes = dict(self.contacts)
        if self.leader is not None:
            nodes[self.leader.node] = None
        return [on_node(COORDINATOR, node) for node in nodes]

    def wait_s(self, now: float) -> float:
        """How long it is until it must be asked who leads."""
        return max(0.0, self._ask_at - now)

    def on_asked(self, now: float) -> None:
        """It was asked who leads."""
        first, last = FOLLOW_PAUSES_S
        self._asked_at = now
        self._ask_at = now + (self._pause_s if self.leader is None else FOLLOW_S)
        self._pause_s = min(self._pause_s * 1.5, last) if self.leader is None else first

    def ask_within(self, pause_s: float) -> None:
        """Ask before it is time, but so long after the last question at least."""
        self._ask_at = min(self._ask_at, self._asked_at + pause_s)

    # ---- hearing --------------------------------------------------------------------------------------------------------

    def meet(self, node: str) -> None:
        """There is a line to a node, which can be asked."""
        self.contacts[node] = None
        self._ask_at = 0.0

    def lose(self, node: str) -> None:
        """The line to a node is lost; if it led, nobody is known to, and who leads next may do so in a lower epoch."""
        self.contacts.pop(node, None)
        self._ask_at = 0.0
        if self.leader is None or self.leader.node == node:
            self.leader = None
            self._newest = 0

    def hear(self, message: LeaderIs, sender: str) -> bool:
        """Take a word on who leads; say whether whom to ask has changed."""
        before = self.leader
        if message.epoch < self._newest:
            return False
        if not message.node:
            return self.doubt(sender, is_own_word=self._is_own(sender))
        if before is not None and (before.epoch, before.node) == (message.epoch, message.node):
            return False
        self._newest = message.epoch
        self.leader = Leader(message.epoch, message.node, message.address)
        self._pause_s = FOLLOW_PAUSES_S[0]
        self._ask_at = self._asked_at + FOLLOW_S
        return True

    def doubt(self, sender: str, *, is_own_word: bool = False) -> bool:
        """Who sent this does not lead: if it was thought to, nobody is known to, as if the own node says so. Whether that is new."""
        _, node = split_address(sender)
        leader = self.leader
        if leader is None or not (is_own_word or leader.node == (node or self._node)):
            return False
        self.leader = None
        self.ask_within(FOLLOW_PAUSES_S[0])
        return True

    def _is_own(self, sender: str) -> bool:
        _, node = split_address(sender)
        return bool(self._node) and node in ("", self._node)


HERE: Final = Leader(0, "")
"""The leader of a gateway that follows nobody: its own node."""
