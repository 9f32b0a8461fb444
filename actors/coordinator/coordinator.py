"""The coordinator: follows the leader of its cluster, or leads it.

    Started ─▶ Election: who leads? ──LeaseTaken──▶ Leadership: one reign, from the take-over to the step-down
                  ▲                                      │
                  └───LeaseLost, fenced, newer leader────┘

`election.py` says how a leader is found and replaced, `leadership.py` what a leader does, `membership.py` how it sees the
other nodes, `shutdown.py` how a node goes. Here their messages and timers are handed out.
"""

from __future__ import annotations

from typing import Final, assert_never

from ..actor import CLOCK, COORDINATOR, EXECUTOR, SECOND, Turn, on_node
from ..audit import audit_events
from ..messages import (
    AskWhetherHeard,
    Beat,
    DrainChanged,
    DrainNode,
    Follow,
    Found,
    HandOver,
    Happened,
    LeaderBeat,
    LeaderIs,
    LeaseLost,
    LeaseRejected,
    LeaseSeen,
    LeaseTaken,
    ListMembers,
    NodeDraining,
    NodeStopped,
    Offer,
    PeerFound,
    PeerLost,
    PeerRestarted,
    ReadRejected,
    RequestRejected,
    Saved,
    SaveRejected,
    Started,
    StepDown,
    StillHeard,
    StillHere,
    StockTaken,
    Stop,
    TimerFired,
)
from .audience import Audience
from .election import Election, Me
from .leadership import Leadership, Work
from .shutdown import Shutdown

DRAIN_US: Final = 10 * SECOND
"""How long what runs on a node may take to end when the node is drained and stopped from outside."""

PeerMessage = Beat | StillHere | LeaderBeat | LeaderIs | AskWhetherHeard | StillHeard | HandOver
ClientMessage = Follow | ListMembers | DrainNode
LeaseMessage = LeaseSeen | LeaseTaken | LeaseRejected | LeaseLost

Accepted = (
    Started
    | Stop
    | NodeStopped
    | PeerRestarted
    | TimerFired
    | LeaseMessage
    | Found
    | ReadRejected
    | Saved
    | SaveRejected
    | StockTaken
    | Offer
    | PeerMessage
    | PeerFound
    | PeerLost
    | ClientMessage
    | NodeDraining
    | Work
)


class Coordinator:
    """Follows the leader, or leads.

    Args:
        durable: whether what the store has acknowledged survives the process.
        worker_only: this node has no store, and never leads.
    """

    def __init__(self, *, durable: bool, worker_only: bool = False) -> None:
        self._durable = durable
        self._worker_only = worker_only
        self._audience = Audience()
        self._offer: Offer | None = None
        self._lead: Leadership | None = None
        self._be(Me())

    def _be(self, me: Me) -> None:
        self._me = me
        self._election = Election(me, self._audience)
        self._shutdown = Shutdown(me)
        self._cordoned = False
        self._drain: DrainNode | None = None

    # ---- messages -------------------------------------------------------------------------------------------------------

    def receive(self, message: Accepted, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        """Take a message: of this node, of the store, of another node, or of the reign."""
        lead = self._lead
        match message:
            case Started():
                self._be(Me(message.node, message.incarnation, message.address, self._worker_only))
                self._election.begin(turn)
            case Saved():
                if lead is not None:
                    lead.on_saved(message, turn)
            case SaveRejected():
                if lead is not None and not lead.on_save_rejected(message, turn):
                    self._lose(turn)
            case TimerFired():
                self._on_timer_fired(message.key, turn)
            case LeaseSeen() | LeaseTaken() | LeaseRejected() | LeaseLost():
                self._on_lease(message, turn)
            case PeerRestarted():
                self._on_restarted(message, turn)
            case Stop():
                self._on_stop(message, turn)
            case NodeStopped():
                if turn.sender == EXECUTOR:
                    self._shutdown.on_nothing_left(turn, leads=lead is not None)
            case Offer():
                self._on_offer(message, turn)
            case Found() | ReadRejected() | StockTaken():
                if lead is not None and lead.on_rebuild_answer(message, self._election.members, turn):
                    self._begin_work(lead, turn)
            case Beat() | StillHere() | LeaderBeat() | LeaderIs() | AskWhetherHeard() | StillHeard() | HandOver():
                self._on_peer_message(message, turn)
            case PeerFound() | PeerLost():
                self._on_line(message, turn)
            case Follow() | ListMembers() | DrainNode():
                self._on_client(message, turn)
            case NodeDraining():
                if lead is not None:
                    lead.membership.on_draining(message)
            case _:
                if lead is not None:
                    lead.on_work(message, turn)

    def settle(self, turn: Turn) -> None:
        """Answer the leader; or, as the leader, claim what there is room for, and send what is to be stored."""
        self._election.settle(turn)
        if self._lead is not None:
            is_stored = self._lead.settle(turn)
            if is_stored:
                self._shutdown.settle(self._lead.reign, self._lead.membership, turn)

    # ---- the lead -------------------------------------------------------------------------------------------------------

    def _on_lease(self, message: LeaseMessage, turn: Turn) -> None:
        match message:
            case LeaseSeen():
                self._election.on_lease_seen(message, turn)
            case LeaseTaken():
                self._on_lease_taken(message, turn)
            case LeaseRejected():
                self._election.on_lease_rejected(message, turn)
            case LeaseLost():
                if self._lead is not None and message.epoch == self._lead.reign.epoch:
                    self._lose(turn)
            case _:
                assert_never(message)

    def _on_lease_taken(self, message: LeaseTaken, turn: Turn) -> None:
        if message.epoch <= self._election.leader.epoch:
            return  # the answer is late, and a newer leader is known
        self._lead = Leadership(message, self._me, self._offer, self._election.acquaintances, durable=self._durable)
        self._election.won(message.epoch, turn)
        self._lead.begin(turn)

    def _begin_work(self, lead: Leadership, turn: Turn) -> None:
        """The memory of the reign is rebuilt."""
        self._set_leaving(turn)
        lead.take_held(turn)

    def _end_reign(self, turn: Turn) -> None:
        lead, self._lead = self._lead, None
        if lead is not None:
            lead.end(turn)

    def _lose(self, turn: Turn) -> None:
        """Stop leading at once, and look who leads."""
        self._end_reign(turn)
        self._election.lost(turn)

    def _on_restarted(self, message: PeerRestarted, turn: Turn) -> None:
        """An actor of this node was made anew. A leader begins again; of a member's executor the leader takes stock."""
        leader = self._election.leader
        if self._lead is not None:
            self._lose(turn)
        elif message.actor == EXECUTOR and leader.node:
            turn.send(on_node(COORDINATOR, leader.node), PeerFound(self._me.node, self._me.incarnation))

    def _on_offer(self, message: Offer, turn: Turn) -> None:
        if message.incarnation == self._me.incarnation:
            self._offer = message
        if self._lead is not None:
            self._lead.on_offer(message, turn)

    # ---- other nodes ----------------------------------------------------------------------------------------------------

    def _on_peer_message(self, message: PeerMessage, turn: Turn) -> None:
        election, lead = self._election, self._lead
        match message:
            case Beat():
                if lead is not None:
                    self._on_beat(lead, message, turn)
                else:
                    leader = election.leader
                    turn.reply(LeaderIs("", leader.epoch, leader.node, leader.address))
            case StillHere():
                if lead is not None:
                    lead.membership.on_still_here(message)
            case LeaderBeat():
                if lead is not None and message.epoch > lead.reign.epoch:
                    self._end_reign(turn)
                if election.on_leader_beat(message, turn) and election.is_of_newest_list(message):
                    self._shutdown.on_leader_beat(message, election.members, turn)
            case LeaderIs():
                election.hint(message.epoch, message.node, message.address, turn)
            case AskWhetherHeard():
                election.on_ask_whether_heard(message, turn)
            case StillHeard():
                election.on_still_heard(message, turn)
            case HandOver():
                election.on_hand_over(message.epoch, turn)
            case _:
                assert_never(message)

    def _on_beat(self, lead: Leadership, message: Beat, turn: Turn) -> None:
        """A node lives; if it is news that it may lead, a leader that goes hands over to it."""
        if not (self._election.leaving and lead.is_ready) or lead.reign.handing_over:
            lead.membership.on_beat(message, turn)
            return
        before = lead.membership.successors()
        lead.membership.on_beat(message, turn)
        if any(peer not in before for peer in lead.membership.successors()):
            self._hand_over(lead, turn)

    def _on_line(self, message: PeerFound | PeerLost, turn: Turn) -> None:
        if isinstance(message, PeerFound):
            self._election.on_peer_found(message.node, turn)
            if self._lead is not None:
                self._lead.membership.on_peer_found(message.incarnation, turn)
        else:
            self._election.on_peer_lost(message.node, message.incarnation, turn)
            if self._lead is not None:
                self._lead.membership.on_peer_lost(message.incarnation, turn)

    # ---- clients --------------------------------------------------------------------------------------------------------

    def _on_client(self, message: ClientMessage, turn: Turn) -> None:
        leader, lead = self._election.leader, self._lead
        match message:
            case Follow():
                self._audience.add(turn.sender, message.key, turn.elapsed)
            case ListMembers() if lead is not None:
                turn.reply(lead.membership.listed(message.key, turn.elapsed))
                return
            case DrainNode() if message.node == self._me.node:
                self._on_drain_self(message, turn)
                return
            case DrainNode() if lead is not None:
                self._on_drain_other(lead, message, turn)
                return
            case _:
                pass
        turn.reply(LeaderIs(message.key, leader.epoch, leader.node, leader.address))

    def _on_drain_other(self, lead: Leadership, message: DrainNode, turn: Turn) -> None:
        running = lead.membership.drain(message, turn)
        if running is None:
            text = f"no node {message.node!r} is in the cluster; ask for its members"
            turn.reply(RequestRejected(message.key, "unknown_node", text))
            return
        self._audit(message, turn)
        turn.reply(NodeDraining(message.key, message.node, running))

    def _on_drain_self(self, message: DrainNode, turn: Turn) -> None:
        """Take no more work, and give up the lead if somebody else can have it; or take work again."""
        if message != self._drain:  # else it was asked again, or told again by a leader that had no answer
            self._drain = message
            self._audit(message, turn)
            self._cordoned = message.on
            if message.on and message.stop:
                self._on_stop(Stop(DRAIN_US), turn)
            else:
                self._set_leaving(turn)
        place = None if self._lead is None else self._lead.reign.places.of(self._me.incarnation)
        turn.reply(NodeDraining(message.key, self._me.node, 0 if place is None else place.busy()))

    def _audit(self, message: DrainNode, turn: Turn) -> None:
        """Write down who drains a node: in the log, and in the history where this node leads."""
        for event in audit_events(turn.now, turn.sender, message, self._election.leader.epoch):
            turn.emit(Happened(event))
            if self._lead is not None:
                self._lead.reign.batch.events.append(event)

    # ---- going ----------------------------------------------------------------------------------------------------------

    def _on_stop(self, message: Stop, turn: Turn) -> None:
        self._shutdown.begin(message, turn)
        self._set_leaving(turn)
        if self._lead is None and self._election.stance == "looking":
            self._shutdown.on_alone(turn)

    def _set_leaving(self, turn: Turn) -> None:
        """Let it be known that this node wants no more work, or wants some again; a leader hands over."""
        stopping = self._shutdown.begun
        leaving = self._cordoned or stopping
        if leaving != self._election.leaving:
            turn.emit(DrainChanged(leaving))
        self._election.leaving = leaving
        self._election.stopping = stopping
        lead = self._lead
        if lead is None:
            return
        lead.membership.leaving = leaving
        place = lead.reign.places.of(self._me.incarnation)
        if place is not None:
            place.closed = leaving
        if leaving and lead.is_ready:
            self._hand_over(lead, turn)

    def _hand_over(self, lead: Leadership, turn: Turn) -> None:
        """Ask the next candidate to lead. A leader that stops is quiet even if there is none, one that is drained goes on."""
        reign = lead.reign
        was_quiet = reign.quiet
        self._shutdown.hand_over(reign, lead.membership, turn)
        reign.quiet = reign.handing_over or self._shutdown.begun
        if reign.quiet and not was_quiet:
            turn.send(CLOCK, StepDown(reign.epoch))
        elif was_quiet and not reign.quiet:
            lead.tell_lead(turn)

    # ---- time -----------------------------------------------------------------------------------------------------------

    def _on_timer_fired(self, key: str, turn: Turn) -> None:
        lead = self._lead
        if key in ("watch", "beat"):  # whoever follows or looks has the one, whoever leads the other
            self._election.remind(turn)
        match key:
            case "watch":
                self._election.hurry = self._shutdown.hurry
                self._election.on_timer(turn)
                if lead is None and self._election.stance == "looking":
                    self._shutdown.on_alone(turn)
            case "stop":
                self._shutdown.on_timer(
                    None if lead is None else lead.reign, None if lead is None else lead.rescue, turn
                )
            case "hand_over" if lead is not None:
                self._hand_over(lead, turn)
            case "rebuild" if lead is not None:
                if lead.on_rebuild_timer(self._election.members, turn):
                    self._begin_work(lead, turn)
            case _ if lead is not None:
                lead.on_timer(key, turn)
            case _:
                pass
