"""Of which nodes the transport is told, and that it is told also when they are no more."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from callsheet.actors.actor import Emit, Turn, deliver
from callsheet.actors.coordinator.acquaintance import Acquaintances
from callsheet.actors.coordinator.coordinator import Coordinator
from callsheet.actors.messages import (
    LeaderBeat,
    LeaseLost,
    LeaseSeen,
    LeaseTaken,
    Member,
    PeersForgotten,
    PeersKnown,
    Started,
    StockTaken,
)
from callsheet.actors.persistence.store import Counters, Lease
from support.membership import Cluster

News = PeersKnown | PeersForgotten
NOTHING = Counters(run_id=0, fence=0, settled=0)


def known(*names: str) -> PeersKnown:
    return PeersKnown(tuple((name, f"ipc:///{name}") for name in names))


def members(*names: str) -> tuple[Member, ...]:
    return tuple(Member(name, f"{name}-1", f"ipc:///{name}", candidate=True) for name in names)


class Follower:
    """The coordinator of the node n2, and what it has told its transport."""

    def __init__(self) -> None:
        self.coordinator = Coordinator(durable=True)
        self.told: list[News] = []
        self.tell(Started("n2", "n2-1", "ipc:///n2"))

    def tell(self, message: Any) -> None:
        for effect in deliver(self.coordinator, message, now=0):
            if isinstance(effect, Emit) and isinstance(effect.event, News):
                self.told.append(effect.event)

    def hear(self, leader: str, epoch: int, *names: str) -> None:
        """A heartbeat of the leader, with its list of members."""
        self.tell(LeaderBeat(epoch, leader, f"{leader}-1", f"ipc:///{leader}", 1, members(*names)))

    def see_lease(self, leader: str) -> None:
        self.tell(LeaseSeen(Lease(f"{leader}/{leader}-1", 1, 0, 0, f"ipc:///{leader}"), dead=True))


def told(leader: Cluster) -> list[News]:
    return [it for it in leader.events if isinstance(it, News)]


# ---- a leader -------------------------------------------------------------------------------------------------------------


def test_a_node_that_is_gone_is_forgotten_and_known_again_when_it_comes_back() -> None:
    leader = Cluster()

    leader.read_marks(dead=True)
    leader.beat(incarnation="i3")

    assert told(leader) == [known("n2"), PeersForgotten(("n2",)), known("n2")]


def test_a_node_of_which_another_life_has_come_is_not_forgotten_with_the_earlier_one() -> None:
    leader = Cluster()
    leader.be_silent(1)
    leader.beat(incarnation="i3")

    leader.read_marks(dead=True)

    assert told(leader) == [known("n2"), known("n2")]


def test_who_was_gone_for_the_leader_before_is_forgotten_by_the_next() -> None:
    leader = Cluster()
    gone, alive = members("n3", "n4")
    leader.tell(LeaseLost(1), sender="persistence")
    listed = (replace(gone, state="gone"), alive)
    leader.tell(LeaderBeat(2, "n4", "n4-1", "ipc:///n4", 1, listed), sender="coordinator@n4")
    assert told(leader)[-2:] == [known("n3", "n4"), PeersForgotten(("n2",))]

    leader.tell(LeaseTaken(3, NOTHING), sender="persistence")
    leader.tell(StockTaken(3, "n", "i", (), ()), sender="executor")

    assert told(leader)[-2:] == [known("n4"), PeersForgotten(("n3",))]


# ---- a follower -----------------------------------------------------------------------------------------------------------


def test_a_node_that_its_leader_does_not_list_any_more_is_forgotten_until_it_is_listed_again() -> None:
    node = Follower()
    node.hear("n1", 1, "n1", "n2", "n3", "n4")

    node.hear("n1", 1, "n1", "n2", "n4")
    node.hear("n1", 1, "n1", "n2", "n3", "n4")

    assert node.told == [
        known("n1", "n3", "n4"),
        known("n1", "n4"),
        PeersForgotten(("n3",)),
        known("n1", "n3", "n4"),
    ]


def test_a_leader_is_not_forgotten_because_it_does_not_list_itself() -> None:
    node = Follower()
    node.see_lease("n1")

    node.hear("n1", 1, "n2", "n3")

    assert node.told == [known("n1"), known("n3")]


def test_a_leader_that_was_followed_by_another_is_forgotten_when_that_one_does_not_list_it() -> None:
    node = Follower()
    node.hear("n1", 1, "n1", "n2", "n3")

    node.hear("n3", 2, "n2", "n3")

    assert node.told[-1] == PeersForgotten(("n1",))


def test_a_leader_that_was_known_by_the_lease_alone_is_forgotten_when_another_leads() -> None:
    node = Follower()
    node.see_lease("n1")

    node.tell(LeaseTaken(2, NOTHING))

    assert node.told == [known("n1"), PeersForgotten(("n1",))]


# ---- both -----------------------------------------------------------------------------------------------------------------


def test_of_two_lives_of_a_node_the_transport_is_told_where_the_later_one_is() -> None:
    turn = Turn(0, 0, "")

    Acquaintances("n1").meet((("n2", "ipc:///old"), ("n1", "ipc:///own"), ("n2", "ipc:///new"), ("n3", "")), turn)

    assert turn.effects == [Emit(PeersKnown((("n2", "ipc:///new"),)))]
