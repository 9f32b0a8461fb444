"""The nodes that a leader leads: who lives, who is silent, who goes.

    (unknown) ──Beat──▶ alive ──silent for SILENT_US──▶ suspect ──silent for GONE_US, or certainly dead──▶ gone
                          ▲ ◀──────────Beat─────────────┘
                          └──Beat(draining)──▶ draining: gets nothing new, what it runs may end

A member with work is asked by each heartbeat whether it lives, one without by each tenth; it is silent from the first that it
has not answered.

A member that is suspected gets no new work, and what it has not begun is taken back. What it has begun waits: a node that was
frozen for a moment goes on with it. Only when it is gone is that settled too (`rescue.py`). The leader itself is a member.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..actor import COORDINATOR, EXECUTOR, SECOND, Turn, next_multiple, on_node
from ..messages import (
    NOT_KNOWN,
    Beat,
    DrainNode,
    Happened,
    LeaderBeat,
    Member,
    MembersListed,
    MemberStatus,
    NodeDraining,
    NodeState,
    Offer,
    StillHere,
)
from ..records import EXECUTOR_KINDS, Event
from .acquaintance import Acquaintances
from .election import HEARTBEAT_US, LATE_US, SILENT_US, Me
from .places import Place
from .reign import Reign
from .rescue import Rescue

IDLE_US: Final = 10 * HEARTBEAT_US
"""How often a member that has nothing to do is asked whether it lives; who has something is asked by each heartbeat."""

GONE_US: Final = 10 * SECOND
"""After how long a silence a node that may still live is given up."""

MAX_MEMBERS: Final = 1_000
"""Nodes of one cluster; further ones are not let in."""


class Peer:
    """A node as its leader knows it."""

    __slots__ = (
        "address",
        "asked_at",
        "candidate",
        "drain",
        "drain_sent_at",
        "given_up_at",
        "heard_at",
        "incarnation",
        "left",
        "listing",
        "node",
        "place",
        "skew_us",
        "state",
    )

    def __init__(self, node: str, incarnation: str, address: str, place: Place, heard_at: int) -> None:
        self.node = node
        self.incarnation = incarnation
        self.address = address
        self.place = place
        self.asked_at: int | None = None
        self.candidate = False
        self.drain: DrainNode | None = None
        self.drain_sent_at = 0
        self.given_up_at = 0
        self.heard_at = heard_at
        self.left = False
        self.listing = 0
        self.skew_us = 0
        self.state: NodeState = "alive"

    def is_to_be_asked(self, elapsed: int, listing: int) -> bool:
        """Whether the next heartbeat expects an answer; `listing` is the newest list."""
        knows_all = self.state == "alive" and self.listing == listing
        is_at_rest = knows_all and not self.place.busy() and self.asked_at is None
        return not is_at_rest or elapsed - self.heard_at >= IDLE_US

    def hear(self, at: int) -> None:
        """It has let itself be heard, not before this instant."""
        self.heard_at = max(self.heard_at, at)
        self.asked_at = None

    def silent_us(self, elapsed: int) -> int:
        """For how long it has not answered."""
        return 0 if self.asked_at is None else elapsed - self.asked_at

    def member(self) -> Member:
        """What the others are told of it."""
        return Member(self.node, self.incarnation, self.address, self.candidate, self.state)


class Membership:
    """The members of one reign, by incarnation; the leader is not among them but is shown with them."""

    def __init__(self, reign: Reign, me: Me, rescue: Rescue, acquaintances: Acquaintances) -> None:
        self._reign = reign
        self._me = me
        self._rescue = rescue
        self._acquaintances = acquaintances
        self._peers: dict[str, Peer] = {}
        self._expected = 0
        self._told_at = 0
        self._listing = 0
        self._listed: tuple[Member, ...] = ()
        self._seen: tuple[object, ...] = ()
        self._has_adopted = False
        self._refused: set[str] = set()
        self.leaving = False

    # ---- coming ---------------------------------------------------------------------------------------------------------

    def adopt(self, members: Iterable[Member], turn: Turn) -> None:
        """Take over whom the last leader led, and whoever holds runs; each must let itself be heard.

        From now on it is known what each has; before, the memory is being rebuilt.
        """
        self._has_adopted = True
        gone: list[str] = []
        for member in members:
            if member.state == "gone":
                gone.append(member.node)
            elif member.incarnation != self._me.incarnation:
                peer = self._enter(member.node, member.incarnation, member.address, turn)
                peer.candidate = member.candidate
        for place in self._reign.places.all():
            if place.incarnation != self._me.incarnation and place.incarnation not in self._peers:
                self._suspect(self._enter(place.node, place.incarnation, "", turn), turn)
        self._acquaintances.part((node for node in gone if self.find(node) is None), turn)
        if self._peers:
            self._rescue.inspect(self._peers, turn)  # the one that led before is dead more often than not
            self._on_beat_time(turn)

    def _enter(self, node: str, incarnation: str, address: str, turn: Turn) -> Peer:
        place = self._reign.places.place(on_node(EXECUTOR, node), node, incarnation)
        peer = self._peers[incarnation] = Peer(node, incarnation, address, place, turn.elapsed)
        self._acquaintances.meet(((node, address),), turn)
        self._take_stock(peer, turn)
        if len(self._peers) == 1:
            self._wake(turn)
        return peer

    def _take_stock(self, peer: Peer, turn: Turn) -> None:
        """Ask what a node holds; it offers its places with the answer."""
        self._rescue.take_stock(peer.place.address, turn)

    def on_beat(self, beat: Beat, turn: Turn) -> None:
        """A node lives; the first time it joins."""
        if beat.incarnation == self._me.incarnation or self._reign.places.is_dead(beat.incarnation):
            return
        peer = self._peers.get(beat.incarnation)
        if peer is None:
            if not self._may_enter(beat, turn):
                return
            peer = self._enter(beat.node, beat.incarnation, beat.address, turn)
            peer.candidate = beat.candidate
            self._list()
            self._tell(peer, turn)
            turn.emit(Happened(Event(turn.now, "node_joined", text=f"{beat.node} ({beat.incarnation})")))
        elif peer.state == "gone":
            return  # it comes again when what it held is settled
        elif peer.state == "suspect":
            # orders may have been lost meanwhile, or answers
            self._take_stock(peer, turn)
        peer.hear(turn.elapsed)
        peer.skew_us = beat.at - turn.now
        peer.listing = beat.listing
        peer.candidate = beat.candidate
        peer.state = "draining" if beat.draining else "alive"
        if beat.draining and not peer.place.closed:
            self._rescue.take_back(peer.place, turn)
        if beat.hurry:
            self._rescue.release(peer.place, turn)
        peer.place.closed = beat.draining
        peer.place.silent = False

    def on_still_here(self, message: StillHere) -> None:
        """A member has answered the last heartbeat; when its answer came is not known better, because it may have waited."""
        peer = self._peers.get(message.incarnation)
        if peer is not None and peer.state in ("alive", "draining"):
            peer.hear(self._told_at)
            peer.listing = message.listing

    def _may_enter(self, beat: Beat, turn: Turn) -> bool:
        """Refuse a second node of a name whose first is alive: nobody could tell which is meant."""
        others = [it for it in self._peers.values() if it.node == beat.node and it.state in ("alive", "draining")]
        taken = beat.node == self._me.node or any(it.silent_us(turn.elapsed) < SILENT_US for it in others)
        if not taken and len(self._peers) < MAX_MEMBERS:
            return True
        if beat.incarnation not in self._refused and len(self._refused) < MAX_MEMBERS:
            self._refused.add(beat.incarnation)
            text = f"another node {beat.node} ({beat.incarnation}) wants to join; give each node a name of its own"
            turn.emit(Happened(Event(turn.now, "node_refused", text=text), "warning"))
        return False

    def is_known(self, incarnation: str) -> bool:
        """Whether this life of a node is a member, or the leader itself."""
        return incarnation == self._me.incarnation or incarnation in self._peers

    def on_offer(self, offer: Offer) -> None:
        """A member offers places; one that may get no work keeps its place closed."""
        peer = self._peers.get(offer.incarnation)
        place = self._reign.places.of(offer.incarnation)
        if place is not None:
            place.closed = self.leaving if peer is None else peer.state != "alive"

    # ---- time -----------------------------------------------------------------------------------------------------------

    def _wake(self, turn: Turn) -> None:
        self._expected = next_multiple(turn.elapsed, HEARTBEAT_US)
        turn.set_timer("members", self._expected, steady=True)

    def on_timer(self, turn: Turn) -> None:
        """Tell everybody that the leader lives, and see who was not heard."""
        if turn.elapsed - self._expected > LATE_US:
            for peer in self._peers.values():
                peer.hear(turn.elapsed)  # what it said may be waiting in the mailbox
        for peer in list(self._peers.values()):
            silent_us = peer.silent_us(turn.elapsed)
            if silent_us >= GONE_US:
                self._give_up(peer, turn)
            elif silent_us >= SILENT_US and peer.state not in ("suspect", "gone"):
                self._suspect(peer, turn)
            elif silent_us < SILENT_US:
                self._rescue.ask_again(peer.place.address, turn)
                if peer.drain is not None and turn.elapsed - peer.drain_sent_at >= SECOND:
                    self._send_drain(peer, peer.drain, turn)
        if self._peers:
            self._on_beat_time(turn)

    def _on_beat_time(self, turn: Turn) -> None:
        self.tell_all(turn)
        self._told_at = turn.elapsed
        self._wake(turn)

    def settle(self, turn: Turn) -> None:
        """Tell that the leader lives also while its timer waits behind very much mail; who is silent is seen when it comes."""
        due_at = max(self._expected, self._told_at + HEARTBEAT_US)
        if self._peers and turn.elapsed - due_at >= HEARTBEAT_US:
            self.tell_all(turn)
            self._told_at = turn.elapsed

    def tell_all(self, turn: Turn) -> None:
        """Tell every member that the leader lives, and how many attempts it has."""
        self._list()
        for peer in self._peers.values():
            self._tell(peer, turn)

    def _tell(self, peer: Peer, turn: Turn) -> None:
        me, epoch, listing = self._me, self._reign.epoch, self._listing
        members = () if peer.listing == listing else self._listed
        asks = peer.is_to_be_asked(turn.elapsed, listing)
        if asks and peer.asked_at is None:
            peer.asked_at = turn.elapsed
        held = self._reign.in_hand(peer.place) if self._has_adopted else NOT_KNOWN
        beat = LeaderBeat(epoch, me.node, me.incarnation, me.address, listing, members, held, asks, peer.incarnation)
        turn.send(on_node(COORDINATOR, peer.node), beat)

    def _list(self) -> None:
        """Give the list of members another number if it has changed."""
        seen = (self.leaving, *((it.incarnation, it.candidate, it.state) for it in self._peers.values()))
        if seen != self._seen:
            self._seen = seen
            self._listed = self._members()
            self._listing += 1

    def _members(self) -> tuple[Member, ...]:
        me = self._me
        own = Member(me.node, me.incarnation, me.address, not self.leaving, "draining" if self.leaving else "alive")
        return tuple(sorted((own, *(it.member() for it in self._peers.values())), key=lambda it: it.node))

    # ---- going ----------------------------------------------------------------------------------------------------------

    def on_peer_lost(self, incarnation: str, turn: Turn) -> None:
        """The line to a node is lost: has it died? One that drains and has nothing went in order, or comes again."""
        peer = self._peers.get(incarnation)
        if peer is None:
            return
        if peer.state == "draining" and self._has_adopted and not self._reign.in_hand(peer.place):
            peer.left = True
            self._give_up(peer, turn)
        else:
            self._rescue.inspect((incarnation,), turn)

    def on_peer_found(self, incarnation: str, turn: Turn) -> None:
        """There is a line to a node again: what was sent meanwhile may be lost."""
        peer = self._peers.get(incarnation)
        if peer is not None:
            self._take_stock(peer, turn)

    def _suspect(self, peer: Peer, turn: Turn) -> None:
        peer.state = "suspect"
        peer.place.closed = peer.place.silent = True
        turn.emit(Happened(Event(turn.now, "node_suspected", text=f"{peer.node} ({peer.incarnation})"), "warning"))
        self._rescue.take_back(peer.place, turn)

    def drain(self, message: DrainNode, turn: Turn) -> int | None:
        """Hand on that a member is to drain, or to work again, until it has answered; its attempts, or None: there is no such one."""
        peer = self.find(message.node)
        if peer is None:
            return None
        peer.drain = message
        self._send_drain(peer, message, turn)
        return peer.place.busy()

    def on_draining(self, answer: NodeDraining) -> None:
        """A member has heard what it was told last."""
        for peer in self._peers.values():
            if peer.node == answer.node and peer.drain is not None and peer.drain.key == answer.key:
                peer.drain = None

    def _send_drain(self, peer: Peer, message: DrainNode, turn: Turn) -> None:
        peer.drain_sent_at = turn.elapsed
        turn.send(on_node(COORDINATOR, peer.node), message)

    def _give_up(self, peer: Peer, turn: Turn) -> None:
        """A node is silent for so long that it is given up; asked again until what it held is settled."""
        if peer.state != "gone" or turn.elapsed - peer.given_up_at >= SECOND:
            peer.state, peer.given_up_at = "gone", turn.elapsed
            self._rescue.give_up(peer.place, turn)

    def remove(self, incarnation: str, turn: Turn) -> None:
        """A node is gone: dead, or given up, and what it held is settled."""
        peer = self._peers.pop(incarnation, None)
        if peer is not None:
            peer.place.closed = True
            if self.find(peer.node) is None:  # no other life of it has come
                self._acquaintances.part((peer.node,), turn)
            went = peer.left or peer.state == "draining"
            event = Event(turn.now, "node_left" if went else "node_gone", text=f"{peer.node} ({peer.incarnation})")
            turn.emit(Happened(event, "info" if went else "warning"))

    # ---- questions ------------------------------------------------------------------------------------------------------

    def find(self, node: str) -> Peer | None:
        """The member of this name, the one that was heard last."""
        found = [it for it in self._peers.values() if it.node == node]
        return max(found, key=lambda it: it.heard_at) if found else None

    def successors(self) -> list[Peer]:
        """Who may lead next, by name."""
        found = (it for it in self._peers.values() if it.candidate and it.state == "alive")
        return sorted(found, key=lambda it: it.node)

    def leavers(self) -> list[Peer]:
        """Who takes no more work, by request, and may be on its way out."""
        return [it for it in self._peers.values() if it.state == "draining"]

    def listed(self, key: str, elapsed: int) -> MembersListed:
        """All nodes, for a person."""
        me = self._me
        own = self._reign.places.of(me.incarnation)
        rows = [self._status(it.member(), it.place, elapsed - it.heard_at, it.skew_us) for it in self._peers.values()]
        if own is not None:
            state: NodeState = "draining" if self.leaving else "alive"
            member = Member(me.node, me.incarnation, me.address, not self.leaving, state)
            rows.append(self._status(member, own, 0, 0))
        return MembersListed(key, self._reign.epoch, tuple(sorted(rows, key=lambda it: it.node)))

    def _status(self, member: Member, place: Place, silent_us: int, skew_us: int) -> MemberStatus:
        return MemberStatus(
            member.node,
            member.incarnation,
            member.address,
            member.incarnation == self._me.incarnation,
            member.candidate,
            member.state,
            tuple(sorted(place.labels)),
            {kind: place.capacity.of(kind) for kind in EXECUTOR_KINDS},
            {str(kind): count for kind, count in place.out.items()},
            silent_us,
            skew_us,
        )
