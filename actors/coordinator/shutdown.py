"""The orderly end of a node, in phases.

    RUNNING ─Stop─▶ QUIET: no new claims, no new slots, no new submissions
                     └▶ DRAINING: what runs may end, for `drain_us`
                          └▶ RELEASING: it is asked to stop, then made to; a released attempt is not spent
                               └▶ STOPPED: all is stored; `NodeStopped` to whoever asked

A second `Stop` hurries from draining to releasing.
"""

from __future__ import annotations

from typing import Final

from ..actor import SECOND, Address, Turn
from ..messages import NodeStopped, Stop, StopAttempts
from .reign import Reign

RELEASE_GRACE_US: Final = 2 * SECOND
"""How long an attempt has between being asked to stop and being made to, when the node stops."""

RELEASE_US: Final = 5 * SECOND
"""How long releasing may take; what has not ended then is left to the store: the next leader settles it."""


class Shutdown:
    """The shutdown of the coordinator's node."""

    def __init__(self) -> None:
        self.begun = False
        self._asker: Address = ""
        self._releasing = False
        self._released = 0
        self._over = False
        self._told = False
        self._node = ""

    def begin(self, message: Stop, turn: Turn) -> None:
        """Go quiet; a second time: hurry."""
        if self.begun:
            turn.set_timer("stop", turn.elapsed, steady=True)
            return
        self.begun = True
        self._asker = turn.sender
        at = turn.elapsed + (0 if message.hurry else message.drain_us)
        turn.set_timer("stop", at, steady=True)

    def on_timer(self, reign: Reign | None, turn: Turn) -> None:
        """A phase is over."""
        if self._releasing or reign is None:
            self._over = True
            if reign is None:
                self._tell(turn, "")
            return
        self._releasing = True
        for place in reign.places.all():
            fences = tuple(live.fence for live in reign.book.live.values() if live.fence and live.node == place.node)
            self._released += len(fences)
            if fences:
                turn.send(place.address, StopAttempts(reign.epoch, fences, "shutdown", RELEASE_GRACE_US))
        turn.set_timer("stop", turn.elapsed + RELEASE_US, steady=True)

    def settle(self, reign: Reign, *, saving: bool, turn: Turn) -> None:
        """Tell that the node has stopped, when nothing runs and all is stored."""
        if not self.begun or saving or reign.batch:
            return
        if self._over or reign.places.out() == 0:
            self._tell(turn, reign.node)

    def _tell(self, turn: Turn, node: str) -> None:
        if not self._told:
            self._told = True
            turn.send(self._asker, NodeStopped(node, self._released))
