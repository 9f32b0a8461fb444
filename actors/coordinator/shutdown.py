"""The orderly end of a node, in phases.

    RUNNING ─Stop─▶ QUIET: no new claims, no new slots, no new submissions; a leader hands over, if there is somebody
                     └▶ DRAINING: what runs here may end, for `drain_us`
                          └▶ RELEASING: it is asked to stop, then made to; a released attempt is not spent
                               └▶ STOPPED: all is stored; `NodeStopped` to whoever asked

A second `Stop` hurries from draining to releasing. A node that does not lead asks its leader for all this with its heartbeats,
and learns from the leader's how many attempts it still has. Whoever says that there are none may have been deposed and not know it:
so the node's own executor has the last word, and begins nothing more from then on. With nobody leading it is asked at once; while it
has something the node waits its time out. So when all nodes stop at once, the leader goes last: it stays until what runs on the others has
ended and is recorded, or its time is out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..actor import COORDINATOR, EXECUTOR, MILLISECOND, SECOND, Address, Turn, on_node
from ..messages import NOT_KNOWN, HandOver, LeaderBeat, Member, NodeStopped, Stop
from .election import Me
from .membership import Membership, Peer
from .reign import Reign
from .rescue import RELEASE_GRACE_US, Rescue

RELEASE_US: Final = 5 * SECOND
"""How long releasing may take; what has not ended then is left to the store: the next leader settles it."""

HAND_OVER_US: Final = 300 * MILLISECOND
"""How long one candidate has to take over."""

HAND_OVERS: Final = 3
"""Candidates that are asked before a leader goes without a successor."""

ASK_AGAIN_US: Final = 2 * SECOND
"""After how long a leader that is drained asks again when none of them has taken over; then after twice as long each time."""

ASK_SELDOM_US: Final = 60 * SECOND
"""After how long at most: while it asks, nothing else is done."""

ASK_EXECUTOR_US: Final = 50 * MILLISECOND
"""After how long the own executor is asked again whether it has anything."""

FAREWELL_US: Final = 100 * MILLISECOND
"""How long a leader stays after it has told those that stop with it that nothing of theirs is open."""

assert RELEASE_US > RELEASE_GRACE_US


class Shutdown:
    """The shutdown of the coordinator's node."""

    def __init__(self, me: Me) -> None:
        self.begun = False
        self.hurry = False
        self._me = me
        self._asker: Address = ""
        self._released = 0
        self._over = False
        self._told = False
        self._invited: list[str] = []
        self._ask_again_us = ASK_AGAIN_US
        self._farewell_at: int | None = None
        self._asked_at: int | None = None
        self._nothing_left = False

    def begin(self, message: Stop, turn: Turn) -> None:
        """Go quiet; a second time: hurry."""
        if self.begun:
            turn.set_timer("stop", turn.elapsed, steady=True)
            return
        self.begun = True
        self._asker = turn.sender
        at = turn.elapsed + (0 if message.hurry else message.drain_us)
        turn.set_timer("stop", at, steady=True)

    # ---- handing over ---------------------------------------------------------------------------------------------------

    def hand_over(self, reign: Reign, membership: Membership, turn: Turn) -> None:
        """Ask a candidate that was not asked yet to take over; without one the leader stays until it ends, or asks again.

        One that wants to stay after all asks nobody.
        """
        candidates = membership.successors() if membership.leaving else []
        left: list[Peer] = [it for it in candidates if it.incarnation not in self._invited]
        reign.handing_over = bool(left) and len(self._invited) < HAND_OVERS
        if not reign.handing_over:
            self._invited.clear()
            if candidates:
                turn.set_timer("hand_over", turn.elapsed + self._ask_again_us, steady=True)
                self._ask_again_us = min(2 * self._ask_again_us, ASK_SELDOM_US)
            else:
                self._ask_again_us = ASK_AGAIN_US
            return
        self._invited.append(left[0].incarnation)
        turn.send(on_node(COORDINATOR, left[0].node), HandOver(reign.epoch))
        turn.set_timer("hand_over", turn.elapsed + HAND_OVER_US, steady=True)

    # ---- phases ---------------------------------------------------------------------------------------------------------

    def on_timer(self, reign: Reign | None, rescue: Rescue | None, turn: Turn) -> None:
        """A phase is over."""
        if self.hurry:
            self._over = True
            if reign is None:
                self._tell(turn)
            return
        self.hurry = True
        place = None if reign is None else reign.places.of(self._me.incarnation)
        if place is not None and rescue is not None:
            self._released += place.busy()
            rescue.release(place, turn)
        turn.set_timer("stop", turn.elapsed + RELEASE_US, steady=True)

    def settle(self, reign: Reign, membership: Membership, turn: Turn) -> None:
        """On a leader, when all is stored: the node has stopped, when nothing runs here, nor where others stop too."""
        if not self.begun or reign.handing_over:
            return
        place = reign.places.of(self._me.incarnation)
        is_idle = place is None or not place.busy()
        if self._over:
            self._tell(turn)
        elif is_idle and self._has_parted(membership, turn):
            self._ask_executor(turn)

    def _has_parted(self, membership: Membership, turn: Turn) -> bool:
        """Whether those that stop too have ended what they run, and were told so: nobody else will be there to do it."""
        leavers = membership.leavers()
        if any(peer.place.busy() for peer in leavers):
            return False
        if leavers and self._farewell_at is None:
            membership.tell_all(turn)
            self._farewell_at = turn.elapsed + FAREWELL_US
            turn.set_timer("farewell", self._farewell_at, steady=True)
        return self._farewell_at is None or turn.elapsed >= self._farewell_at

    def on_leader_beat(self, message: LeaderBeat, members: Iterable[Member], turn: Turn) -> None:
        """On a member: the node has stopped, when its leader knows that it goes and nothing runs here.

        `members` are those of the newest list, which a heartbeat leaves out for who has it. What is said to another life of this
        node is no word of what runs here.
        """
        if message.recipient not in ("", self._me.incarnation):
            return
        if not self.begun or message.held == NOT_KNOWN:
            return
        known = any(it.incarnation == self._me.incarnation and it.state == "draining" for it in members)
        if known and not message.held:
            self._ask_executor(turn)

    def on_alone(self, turn: Turn) -> None:
        """Nobody leads: what the last leader said of what runs here may have been too early, or too late."""
        self._ask_executor(turn)

    def _ask_executor(self, turn: Turn) -> None:
        """The node has stopped, if its executor has nothing; it answers when that is so."""
        if self._nothing_left:
            self._tell(turn)
            return
        is_due = self._asked_at is None or turn.elapsed - self._asked_at >= ASK_EXECUTOR_US
        if self.begun and not self._told and is_due:
            self._asked_at = turn.elapsed
            turn.send(EXECUTOR, Stop(0))

    def on_nothing_left(self, turn: Turn, *, leads: bool) -> None:
        """The executor has nothing, and begins nothing more: there is nothing to wait for, but for a leader what others have."""
        self._nothing_left = self.begun
        if self.begun and not leads:
            self._tell(turn)

    def _tell(self, turn: Turn) -> None:
        if not self._told:
            self._told = True
            stopped = NodeStopped(self._me.node, self._released)
            turn.send(self._asker, stopped)
            turn.emit(stopped)
