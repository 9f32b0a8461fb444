"""What all lines of a node share: who stands where, what waits for whom, and when it is given up. Of the I/O thread alone.

    no line ── stand ──▶ a line ── another line of this life ──▶ several lines
       ▲                   │                                        │
       └── the last fell ──┴──────────────── fell ──────────────────┘

A node is `found` when its first line stands, and `lost` when its last one has fallen. Another life of it (an incarnation that
was not heard of before) ends the earlier one: that is lost, its lines fall, what waits for it is given up, and it is refused
from then on. What waits for a peer without a line is given up after `CUT_AFTER_MS`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from ..contract import Drops
from .peer import Directory, Line, Peer
from .wire import Hello, pack_batch

LOGGER: Final = logging.getLogger("callsheet.transport")

CUT_AFTER_MS: Final = 1_000
"""How long envelopes wait for a line to be made again."""

MAX_BATCHES_A_TURN: Final = 16
"""Batches that go to one peer before it is another's turn."""

Found = Callable[[str, str], None]
"""Takes a node's name and incarnation, on the I/O thread; it must be quick."""


def _is_accepted(line: Line) -> bool:
    """Sorts lines that were dialed first: ZeroMQ says when they have room."""
    return not line.is_dialed


class Hub:
    """Joins peers and lines.

    Args:
        me: what this end says of itself.
        directory: all peers.
        ready: peers for whom something was put into an empty outbox; any thread appends.
        drops: where what is given up is counted.
        found: told of a node to which the first line stands.
        lost: told of a node whose last line has fallen.
    """

    def __init__(
        self, me: Hello, directory: Directory, ready: deque[Peer], drops: Drops, found: Found, lost: Found
    ) -> None:
        self.me = me
        self.directory = directory
        self.drops = drops
        self._ready = ready
        self._found = found
        self._lost = lost
        self._waiting: dict[Peer, None] = {}

    def refusal_of(self, peer: Peer, hello: Hello) -> str:
        """Why this life of a peer cannot have a line; empty when it can."""
        if hello.incarnation in peer.former:
            return (
                f"{hello.name} has begun another life since ({peer.incarnation}); "
                f"stop the earlier process ({hello.incarnation}), or give it a name of its own"
            )
        return ""

    def is_a_node_s(self, incarnation: str) -> bool:
        """Whether this is the life of a node: the keys of its requests begin with it, and are nobody else's."""
        return incarnation == self.me.incarnation or any(
            peer.incarnation == incarnation for peer in self.directory.nodes()
        )

    def stand(self, line: Line, peer: Peer, incarnation: str, now: int) -> None:
        """Note that a line to this life of a peer stands. What was sent to another life of it is given up."""
        if peer.incarnation != incarnation:
            self._end_life(peer)
            peer.incarnation = incarnation
        was_cut = not peer.lines
        others = [other for other in peer.lines if other is not line]
        peer.lines = tuple(sorted([line, *others], key=_is_accepted))
        peer.cut_at = None
        self._waiting.pop(peer, None)
        if was_cut and peer.kind == "node":
            self._found(peer.address, incarnation)
        self.flush(peer, now)

    def fall(self, line: Line, peer: Peer, now: int) -> None:
        """Note that a line has fallen; not to stand is no error."""
        if line not in peer.lines:
            return
        peer.lines = tuple(other for other in peer.lines if other is not line)
        if peer.lines:
            self.flush(peer, now)
            return
        self._wait(peer, now)
        if peer.kind == "node":
            self._lost(peer.address, peer.incarnation)

    def flush(self, peer: Peer, now: int) -> None:
        """Send what waits for a peer, as far as its line takes it."""
        if peer.successor is not None:
            self._hand_on(peer, peer.successor)
            peer = peer.successor
        for _ in range(MAX_BATCHES_A_TURN):
            if not peer.lines:
                if peer.outbox:
                    self._wait(peer, now)
                return
            batch = peer.outbox.take()
            if not batch:
                return
            line = peer.lines[0]
            how = line.send(pack_batch(batch))
            if how != "sent":
                peer.outbox.give_back(batch)
            if how == "blocked":
                return
            if how == "gone":
                self.fall(line, peer, now)
        self._ready.append(peer)

    def flush_soon(self, peer: Peer) -> None:
        """Send what waits for a peer at the end of this turn, together with what comes until then."""
        self._ready.append(peer)

    def tick(self, now: int) -> int | None:
        """Give up what has waited long enough; answers when to look again, None for never."""
        if not self._waiting:
            return None
        for peer in list(self._waiting):
            if peer.cut_at is not None and now >= peer.cut_at:
                self._give_up(peer)
        return min((peer.cut_at for peer in self._waiting if peer.cut_at is not None), default=None)

    def _wait(self, peer: Peer, now: int) -> None:
        if peer.cut_at is None:
            peer.cut_at = now + CUT_AFTER_MS
            self._waiting[peer] = None

    def _give_up(self, peer: Peer) -> None:
        del self._waiting[peer]
        peer.cut_at = None
        if peer.kind == "client":
            self.directory.forget(peer)
        self.drops.count("cut", peer.outbox.clear())

    def _end_life(self, peer: Peer) -> None:
        """Give up an earlier life of a peer; there may be none."""
        if not peer.incarnation:
            return
        peer.former.append(peer.incarnation)
        had_lines, peer.lines = bool(peer.lines), ()
        self.drops.count("cut", peer.outbox.clear())
        if had_lines and peer.kind == "node":
            self._lost(peer.address, peer.incarnation)

    def _hand_on(self, nameless: Peer, named: Peer) -> None:
        """Let what was sent to whoever lives at an endpoint go to him, now that his name is known."""
        while batch := nameless.outbox.take():
            if named.outbox.put(batch) == "full":
                self.drops.count("full", len(batch))
