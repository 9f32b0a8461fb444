"""Who leads, as this node knows it, and when this node stands for it itself.

    looking ──lease is free, its holder dead or silent──▶ standing ──rank waited out──▶ taking ──LeaseTaken──▶ leading
       ▲  ▲                                                  │                             │                      │
       │  └──────────────────────StillHeard──────────────────┘◀──────LeaseRejected─────────┘◀──LeaseLost, fenced──┘
       └──leader silent, or its line lost── following ◀──LeaderBeat── (any of them)

A lease in the store says who leads; it has no expiry in it, so no two clocks are ever compared. Who takes over does so by a
compare-and-swap on the lease as it was seen, and whoever is deposed finds himself fenced at his next write. So nothing here
needs to be right for safety: to stand too early costs a change of leaders, to stand too late costs time.

When to stand
    nobody has ever held the lease, its holder is this very process, or the store says that the holder's process is dead:
        at once, by rank
    the leader was heard in this epoch, and now is silent for SILENT_US (LOST_US once its line is lost):
        the other candidates are asked first; one that hears the leader holds this one back, which is then cut off itself
    the leader was never heard in this epoch (this node cannot reach it, or has just come):
        only when epoch and beat of the lease stood still for TTL_US by this node's own steady clock
    the leader hands over: at once
Candidates wait RANK_US for each other one before them, by name, so that they do not race. A node whose own loop was late
forgets its suspicions: what it did not hear may be waiting in its mailbox.

A node that has heard its leader and hears it no more for CUT_OFF_US starts nothing until it hears one again, and says so.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from ..actor import COORDINATOR, EXECUTOR, MILLISECOND, PERSISTENCE, REIGNING, SECOND, Address, Bug, Turn, on_node
from ..messages import (
    AskWhetherHeard,
    Beat,
    ContactChanged,
    Happened,
    HoldStarts,
    LeaderBeat,
    LeaderChanged,
    LeaseRejected,
    LeaseSeen,
    Member,
    StepDown,
    StillHeard,
    StillHere,
    TakeLease,
    WatchLease,
)
from ..persistence.store import Lease
from ..records import Event
from ..reminder import Reminder
from .acquaintance import Acquaintances
from .audience import Audience

HEARTBEAT_US: Final = 100 * MILLISECOND
"""How often the leader and its members tell each other that they live."""
TELL_US: Final = 5 * SECOND
"""How often a member tells of itself although there is nothing new."""
SILENT_US: Final = 400 * MILLISECOND
"""After how long without a heartbeat a node is suspected."""
LOST_US: Final = 100 * MILLISECOND
"""The same, once the line to it is lost."""
LATE_US: Final = 100 * MILLISECOND
"""A node whose own timer came so late has no business to suspect others."""
TTL_US: Final = 2 * SECOND
"""How long a lease stands still before it may be taken from a leader that was never heard."""
LEAVING_RANK: Final = 30
"""A node that gives up its work leads only if nobody else does."""
RANK_US: Final = 10 * MILLISECOND
ASK_US: Final = 20 * MILLISECOND
"""How long the others have to say that they hear the leader."""
FRESH_US: Final = 250 * MILLISECOND
"""A leader that was heard so lately is still heard."""
LOOK_US: Final = 100 * MILLISECOND
"""How often the lease is looked at while nobody is heard."""
LOOK_LOST_US: Final = 5 * MILLISECOND
"""The same while the line has just been lost: a process that dies lets go of its locks a moment after its sockets."""
TAKE_LOST_US: Final = SECOND
RETRY_US: Final = 50 * MILLISECOND
CUT_OFF_US: Final = SECOND
HOLD_AGAIN_US: Final = 500 * MILLISECOND
"""After how long an executor is told again, the first time, whether it may start anything."""
REMIND_US: Final = 30 * SECOND
"""How often it is told at last."""

Stance = Literal["looking", "following", "standing", "taking", "leading"]

MOVES: Final[dict[Stance, frozenset[Stance]]] = {
    "looking": frozenset({"looking", "following", "standing", "leading"}),
    "following": frozenset({"looking", "following", "leading"}),
    "standing": frozenset({"looking", "following", "taking", "leading"}),
    "taking": frozenset({"looking", "following", "leading"}),
    "leading": frozenset({"looking", "following", "leading"}),
}
"""The legal moves. A lease may be granted to who no longer waits for it: the answer was on its way."""


class Me(Struct, frozen=True):
    """This life of this node."""

    node: str = ""
    incarnation: str = ""
    address: str = ""
    worker_only: bool = False

    @property
    def holder(self) -> str:
        """How the lease names it."""
        return f"{self.node}/{self.incarnation}"


class Leader(Struct, frozen=True):
    """Who leads in an epoch; an empty `node` is nobody that is known."""

    epoch: int = 0
    node: str = ""
    incarnation: str = ""
    address: str = ""


class Election:
    """What this node knows of the leadership."""

    def __init__(self, me: Me, audience: Audience) -> None:
        self.me = me
        self.acquaintances = Acquaintances(me.node)
        self.stance: Stance = "looking"
        self.leader = Leader()
        self.members: tuple[Member, ...] = ()
        self._listing = (0, 0)
        self._said_of_me: Member | None = None
        self.leaving = False
        self.stopping = False
        self.hurry = False
        self._audience = audience
        self._told_at = -TELL_US
        self._unanswered: LeaderBeat | None = None
        self._lines: dict[str, None] = {}
        self._heard_at = 0
        self._heard_epoch = -1
        self._line_lost_at: int | None = None
        self._invited = False
        self._held_back_until = 0
        self._seen: Lease | None = None
        self._rejection = ("", 0)
        self._moved_at = 0
        self._expected = 0
        self.cut_off = False
        self._hold_reminder = Reminder(HOLD_AGAIN_US, REMIND_US)

    # ---- looking and following ------------------------------------------------------------------------------------------

    def begin(self, turn: Turn) -> None:
        """Look for a leader. The coordinator before this one, if it failed, may have held its executor back."""
        self._heard_at = self._moved_at = turn.elapsed
        self._tell_executor(turn)
        self._look(turn)

    def _look(self, turn: Turn) -> None:
        """Look at the lease, and tell whoever leads that this node is here."""
        self._become("looking")
        if not self.me.worker_only:
            turn.send(PERSISTENCE, WatchLease())
        for node in self._to_be_asked(turn.elapsed):
            if node != self.me.node:
                self._send_beat(on_node(COORDINATOR, node), turn)
        was_just_lost = self._line_lost_at is not None and turn.elapsed - self._line_lost_at < LOST_US
        self._wake(turn, LOOK_LOST_US if was_just_lost else LOOK_US)

    def _to_be_asked(self, elapsed: int) -> list[str]:
        """Who may lead. No lease says it to a node that only works: when its leader is silent, anybody may lead by now."""
        if self.leader.node and not (self.me.worker_only and self._is_silent(elapsed)):
            return [self.leader.node]
        return list(dict.fromkeys([node for node in (self.leader.node, *self._lines) if node]))

    def _become(self, stance: Stance) -> None:
        if stance not in MOVES[self.stance]:
            raise Bug(f"a node that is {self.stance} cannot become {stance}")
        self.stance = stance

    def _wake(self, turn: Turn, wait_us: int) -> None:
        self._expected = turn.elapsed + wait_us
        turn.set_timer("watch", self._expected, steady=True)

    def on_timer(self, turn: Turn) -> None:
        """See whether the leader is heard, and go on with what was waited for."""
        if turn.elapsed - self._expected > LATE_US:
            self._heard_at = self._moved_at = turn.elapsed
            self._line_lost_at = None
        self._notice_cut_off(turn)
        match self.stance:
            case "following" if not self._is_silent(turn.elapsed):
                self._wake(turn, self._heard_at + SILENT_US - turn.elapsed)
            case "standing":
                self._take(turn)
            case "leading":
                pass
            case _:
                self._look(turn)

    def _is_silent(self, elapsed: int) -> bool:
        limit = SILENT_US if self._line_lost_at is None else LOST_US
        return elapsed - self._heard_at >= limit

    def _notice_cut_off(self, turn: Turn) -> None:
        if self.cut_off or self.stance == "leading" or self._heard_epoch < 0:
            return
        if turn.elapsed - self._heard_at >= CUT_OFF_US:
            self._set_cut_off(turn, is_cut_off=True)

    def _set_cut_off(self, turn: Turn, *, is_cut_off: bool) -> None:
        self.cut_off = is_cut_off
        turn.emit(ContactChanged(is_cut_off=is_cut_off))
        self._tell_executor(turn)

    def _tell_executor(self, turn: Turn) -> None:
        turn.send(EXECUTOR, HoldStarts(held=self.cut_off))
        self._hold_reminder.begin(turn.elapsed)

    def remind(self, turn: Turn) -> None:
        """Tell the executor again whether it may start anything: it would start nothing for ever had it missed that it may."""
        if self._hold_reminder.is_due(turn.elapsed):
            turn.send(EXECUTOR, HoldStarts(held=self.cut_off))

    def _hear(self, turn: Turn) -> None:
        self._heard_at = turn.elapsed
        self._heard_epoch = self.leader.epoch
        self._line_lost_at = None
        self._invited = False
        if self.cut_off:
            self._set_cut_off(turn, is_cut_off=False)

    def on_leader_beat(self, message: LeaderBeat, turn: Turn) -> bool:
        """Follow the leader that speaks, unless it is of an older epoch; say whether it is followed."""
        if message.epoch < self.leader.epoch or (message.epoch == self.leader.epoch and self.stance == "leading"):
            return False
        if message.members:
            self._take_list(message, turn)
        self._learn(Leader(message.epoch, message.node, message.incarnation, message.address), turn)
        self._hear(turn)
        if self.stance != "following":
            self._become("following")
            self._wake(turn, SILENT_US)
        before = self._unanswered
        asks = message.asks or (before is not None and before.epoch == message.epoch and before.asks)
        self._unanswered = replace(message, asks=asks)
        return True

    def settle(self, turn: Turn) -> None:
        """Answer the last heartbeat of the turn: to a node that was asleep come all those that it has missed."""
        message, self._unanswered = self._unanswered, None
        if message is not None and message.incarnation == self.leader.incarnation:
            self._answer(message, turn)

    def is_of_newest_list(self, message: LeaderBeat) -> bool:
        """Whether the leader had sent the newest list that is known here when it said this; else this is late."""
        return self._listing == (message.epoch, message.listing)

    def _take_list(self, message: LeaderBeat, turn: Turn) -> None:
        self._listing = (message.epoch, message.listing)
        own = (it for it in message.members if it.incarnation == self.me.incarnation)
        self._said_of_me = next(own, None)
        if message.members != self.members:
            self.members = message.members
            self.acquaintances.meet(((it.node, it.address) for it in message.members), turn)
            self.acquaintances.keep({message.node, *(it.node for it in message.members)}, turn)

    def _answer(self, message: LeaderBeat, turn: Turn) -> None:
        """Let the leader hear that this node lives, in full when what it says of this node is not known or not so.

        Who is not asked says nothing, unless there is something that the leader should know.
        """
        me, leader = self.me, on_node(COORDINATOR, message.node)
        own = Member(me.node, me.incarnation, me.address, self._may_lead, "draining" if self.leaving else "alive")
        epoch, listing = self._listing
        is_known = epoch == message.epoch and own == self._said_of_me
        if is_known and not self.hurry and not message.asks and listing == message.listing:
            return
        if is_known and not self.hurry and turn.elapsed - self._told_at < TELL_US:
            turn.send(leader, StillHere(me.incarnation, listing))
        else:
            self._send_beat(leader, turn, listing if epoch == message.epoch else 0)

    @property
    def _may_lead(self) -> bool:
        return not self.me.worker_only and not self.leaving

    def _send_beat(self, to: Address, turn: Turn, listing: int = 0) -> None:
        me, at = self.me, turn.now
        self._told_at = turn.elapsed
        turn.send(to, Beat(me.node, me.incarnation, me.address, self._may_lead, at, self.leaving, self.hurry, listing))

    def hint(self, epoch: int, node: str, address: str, turn: Turn) -> None:
        """Another node says who leads. What was known before is not answered, or two that look would never fall silent."""
        if not node or node == self.me.node or self.stance != "looking" or epoch < self.leader.epoch:
            return
        self.acquaintances.meet(((node, address),), turn)
        if epoch > self.leader.epoch or not self.leader.node:
            self._learn(Leader(epoch, node, "", address), turn)
            self._send_beat(on_node(COORDINATOR, node), turn)

    def _learn(self, leader: Leader, turn: Turn) -> None:
        """Note who leads, and tell who wants to know."""
        turn.epoch = max(turn.epoch, leader.epoch)
        if leader == self.leader:
            return
        before = self.leader
        self.leader = leader
        if (leader.epoch, leader.node) == (before.epoch, before.node):
            return
        if before.node != leader.node and all(it.node != before.node for it in self.members):
            self.acquaintances.part(
                (before.node,), turn
            )  # known by the lease alone, nobody else will say that it is gone
        self._told_at = -TELL_US
        own = leader.incarnation == self.me.incarnation
        if not own:
            for actor in REIGNING:
                turn.send(actor, StepDown(leader.epoch, leader.node))
        turn.emit(LeaderChanged(leader.epoch, leader.node, own))
        self._audience.tell(leader.epoch, leader.node, leader.address, turn)

    # ---- lines ----------------------------------------------------------------------------------------------------------

    def on_peer_found(self, node: str, turn: Turn) -> None:
        """There is a line to a node."""
        self._lines[node] = None
        if node == self.leader.node:
            self._line_lost_at = None
        if self.stance == "looking":
            self._send_beat(on_node(COORDINATOR, node), turn)

    def on_peer_lost(self, node: str, incarnation: str, turn: Turn) -> None:
        """The line to a node is lost; if it is the leader's, look at once whether it has died."""
        self._lines.pop(node, None)
        if self.stance in ("following", "looking") and incarnation == self.leader.incarnation:
            self._line_lost_at = turn.elapsed
            self._look(turn)

    # ---- standing -------------------------------------------------------------------------------------------------------

    def on_lease_seen(self, message: LeaseSeen, turn: Turn) -> None:
        """Judge the lease: follow who holds it, or stand."""
        if self.stance != "looking":
            return
        lease, elapsed = message.lease, turn.elapsed
        if lease != self._seen:
            self._seen, self._moved_at = lease, elapsed
        if lease is not None and (lease.epoch > self.leader.epoch or not self.leader.node):
            node, _, incarnation = lease.holder.rpartition("/")  # a node's name may have one, an incarnation has none
            self.acquaintances.meet(((node, lease.address),), turn)
            self._learn(Leader(lease.epoch, node, incarnation, lease.address), turn)
            if incarnation != self.me.incarnation:
                self._send_beat(on_node(COORDINATOR, node), turn)
        if self.stopping or self.me.worker_only:
            return
        if lease is None or message.dead or lease.holder == self.me.holder or self._invited:
            self._stand(turn, 0 if self._invited else self._rank() * RANK_US)
        elif elapsed - self._moved_at >= TTL_US:
            self._stand(turn, self._rank() * RANK_US)
        elif self._heard_epoch == lease.epoch and self._is_silent(elapsed) and elapsed >= self._held_back_until:
            others = self._others()
            for other in others:
                turn.send(on_node(COORDINATOR, other.node), AskWhetherHeard(lease.epoch))
            self._stand(turn, self._rank() * RANK_US + (ASK_US if others else 0))

    def _others(self) -> list[Member]:
        """The other candidates beside the leader, by name."""
        others = (it for it in self.members if it.candidate and it.state == "alive")
        return sorted((it for it in others if it.node not in (self.me.node, self.leader.node)), key=lambda it: it.node)

    def _rank(self) -> int:
        before = sum(other.node < self.me.node for other in self._others())
        return before + LEAVING_RANK if self.leaving else before

    def _stand(self, turn: Turn, wait_us: int) -> None:
        self._become("standing")
        if wait_us:
            self._wake(turn, wait_us)
        else:
            self._take(turn)

    def _take(self, turn: Turn) -> None:
        self._become("taking")
        turn.send(PERSISTENCE, TakeLease(self.me.holder, self.me.address, self._seen))
        self._wake(turn, TAKE_LOST_US)

    def on_ask_whether_heard(self, message: AskWhetherHeard, turn: Turn) -> None:
        """Another candidate hears the leader no more."""
        is_heard = (
            self.stance == "following" and turn.elapsed - self._heard_at < FRESH_US and self._line_lost_at is None
        )
        if self.leader.epoch >= message.epoch and (is_heard or self.stance == "leading"):
            turn.reply(StillHeard(self.leader.epoch))

    def on_still_heard(self, message: StillHeard, turn: Turn) -> None:
        """Somebody hears the leader: this node is the one that is cut off."""
        if self.stance == "standing" and self._seen is not None and message.epoch >= self._seen.epoch:
            self._held_back_until = turn.elapsed + HEARTBEAT_US
            self._look(turn)

    def on_hand_over(self, epoch: int, turn: Turn) -> None:
        """The leader goes, and wants this node to follow it."""
        if epoch == self.leader.epoch and self.stance in ("following", "looking") and not self.stopping:
            self._invited = True
            self._look(turn)

    def on_lease_rejected(self, message: LeaseRejected, turn: Turn) -> None:
        """The race is lost, or the store cannot be asked, which is said when it is new and now and then."""
        text, told_at = self._rejection
        if message.text and (message.text != text or turn.elapsed - told_at >= REMIND_US):
            self._rejection = (message.text, turn.elapsed)
            turn.emit(Happened(Event(turn.now, "lease_rejected", text=message.text), "warning"))
        if self.stance in ("taking", "looking"):
            self._invited = False
            self._become("looking")
            self._wake(turn, RETRY_US)

    # ---- leading --------------------------------------------------------------------------------------------------------

    def won(self, epoch: int, turn: Turn) -> None:
        """This node leads."""
        self._become("leading")
        turn.cancel_timer("watch")
        me = self.me
        self._learn(Leader(epoch, me.node, me.incarnation, me.address), turn)
        self._hear(turn)

    def lost(self, turn: Turn) -> None:
        """This node leads no more; who does is not known yet."""
        self._heard_at = self._moved_at = turn.elapsed
        self._heard_epoch = self.leader.epoch or -1
        self._learn(Leader(self.leader.epoch), turn)
        self._look(turn)
