"""Messages between the nodes of a cluster: who leads, who lives, who goes.

    leader ── LeaderBeat, every 100 ms ──▶ every member ── if asked: StillHere, or Beat when there is news ──▶ leader

All of them are news of the moment: a later one makes an earlier one worthless, and none is sent again.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

NodeState = Literal["alive", "suspect", "draining", "gone"]
"""`suspect`: silent for a while, gets no new work. `draining`: takes no new work, by request. `gone`: what it held is rescued."""


class Member(Struct, frozen=True, array_like=True):
    """A node as the leader knows it; `candidate` when it may lead itself. `address` is where its transport listens, empty if nowhere."""

    node: str
    incarnation: str
    address: str
    candidate: bool
    state: NodeState = "alive"


class Beat(Struct, frozen=True, tag="beat"):
    """A member lives and follows; the first one is how it joins, and one a second tells its clock. `at` is its UTC clock (µs), by which its skew is seen.

    `draining` asks for no more work, `hurry` to end what it still runs; both because it is stopping. `listing` as in
    `StillHere`, 0 in what is no answer to a heartbeat.
    """

    node: str
    incarnation: str
    address: str
    candidate: bool
    at: int
    draining: bool = False
    hurry: bool = False
    listing: int = 0


HEARD_IN_ANY_EPOCH: Final = (Beat,)
"""What is no order and no answer within a reign: a node that has missed a change of the leader asks by it to be let in again."""


class StillHere(Struct, frozen=True, tag="still_here"):
    """A member answers its leader's heartbeat, and has nothing to add to what the leader says of it in the list `listing`."""

    incarnation: str
    listing: int


CAN_WAIT: Final = (StillHere,)
"""What wakes nobody: it is read when the next timer of the recipient is due, and may be overtaken by what is sent after it."""


NOT_KNOWN: Final = -1
"""How many attempts a node has, says a leader that has not rebuilt its memory yet."""


class LeaderBeat(Struct, frozen=True, tag="leader_beat"):
    """The leader of `epoch` lives. `held` is how many attempts the `recipient` has, a life of a node, or `NOT_KNOWN`.

    What came back counts until it is stored. `asks` says whether an answer is expected.

    `members` are the nodes it knows, itself included; left out for who has said that it has this list, which has the number
    `listing` (from 1) in this reign.
    """

    epoch: int
    node: str
    incarnation: str
    address: str
    listing: int
    members: tuple[Member, ...] = ()
    held: int = 0
    asks: bool = True
    recipient: str = ""


class AskWhetherHeard(Struct, frozen=True, tag="ask_whether_heard"):
    """A candidate hears the leader of `epoch` no more: does anybody?"""

    epoch: int


class StillHeard(Struct, frozen=True, tag="still_heard"):
    """The leader of `epoch` was heard here just now: whoever hears nothing is cut off himself."""

    epoch: int


class HandOver(Struct, frozen=True, tag="hand_over"):
    """The leader of `epoch` is going: take the lease now."""

    epoch: int


class PeerFound(Struct, frozen=True, tag="peer_found"):
    """The transport has a line to this life of a node, for the first time or again; what was sent before may be lost."""

    node: str
    incarnation: str


class PeerLost(Struct, frozen=True, tag="peer_lost"):
    """The transport has lost its line to this life of a node. It may live all the same."""

    node: str
    incarnation: str


class PeersKnown(Struct, frozen=True, tag="e_peers_known"):
    """An event for the node: where other nodes are reached, (node, address) each."""

    peers: tuple[tuple[str, str], ...]


class PeersForgotten(Struct, frozen=True, tag="e_peers_forgotten"):
    """An event for the node: these nodes are no more. One of the same name that comes is known again by `PeersKnown`."""

    nodes: tuple[str, ...]


class LeaderChanged(Struct, frozen=True, tag="e_leader_changed"):
    """An event: who leads now, as far as this node knows; `node` is empty when nobody is known. `own` when it is this node."""

    epoch: int
    node: str
    own: bool


class ContactChanged(Struct, frozen=True, tag="e_contact_changed"):
    """An event: this node hears its leader (again), or hears it no more and starts nothing."""

    is_cut_off: bool


class DrainChanged(Struct, frozen=True, tag="e_drain_changed"):
    """An event: this node takes no more work, because it stops or was asked to; or takes some again."""

    is_draining: bool


class HoldStarts(Struct, frozen=True, tag="hold_starts"):
    """To the own executor: begin nothing, because the leader is not heard; or go on."""

    held: bool


# ---- what clients ask ---------------------------------------------------------------------------------------------------


class Follow(Struct, frozen=True, tag="follow"):
    """Who leads? Also tell me when that changes. Forgotten after 30 s, so a client says it again now and then."""

    key: str


class LeaderIs(Struct, frozen=True, tag="leader_is"):
    """The leader of `epoch` is `node`, reached at `address`; an empty node: nobody is known."""

    key: str
    epoch: int
    node: str
    address: str


class ListMembers(Struct, frozen=True, tag="list_members"):
    """Which nodes are there, and how do they do? Answered by the leader with `MembersListed`, by others with `LeaderIs`."""

    key: str


class MemberStatus(Struct, frozen=True, array_like=True):
    """A node of the cluster. By kind, `room` is how many attempts run there at once, and `out` how many are with it.

    `out` may be more than `room`: short work is handed out ahead. `silent_us` is since it was last heard, `skew_us` its
    UTC clock less the leader's, with the way of a message in it.
    """

    node: str
    incarnation: str
    address: str
    leads: bool
    candidate: bool
    state: NodeState
    labels: tuple[str, ...]
    room: dict[str, int]
    out: dict[str, int]
    silent_us: int
    skew_us: int


class MembersListed(Struct, frozen=True, tag="members_listed"):
    """The nodes of the cluster by name, the leader among them."""

    key: str
    epoch: int
    members: tuple[MemberStatus, ...]


class DrainNode(Struct, frozen=True, tag="drain_node"):
    """Give a node no more work (`on`), or give it work again. `stop` also ends it when nothing runs there any more.

    A leader that is to drain hands over first, and who asked asks the next one. Idempotent.
    """

    key: str
    node: str
    on: bool = True
    stop: bool = False


class NodeDraining(Struct, frozen=True, tag="node_draining"):
    """The node gets no more work (or gets some again); `running` attempts are still with it."""

    key: str
    node: str
    running: int
