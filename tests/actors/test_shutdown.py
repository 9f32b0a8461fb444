"""The orderly end of a node that does not lead, and the hand-over of one that does."""

from __future__ import annotations

from typing import Any

from callsheet.actors.actor import PERSISTENCE, Send, deliver
from callsheet.actors.coordinator.coordinator import Coordinator
from callsheet.actors.coordinator.election import LOOK_US
from callsheet.actors.coordinator.shutdown import ASK_EXECUTOR_US
from callsheet.actors.messages import (
    NOT_KNOWN,
    AttemptsEnded,
    Beat,
    DrainNode,
    HandOver,
    Happened,
    LeaderBeat,
    LeaseLost,
    LeaseTaken,
    ListMembers,
    Member,
    MembersListed,
    MemberStatus,
    NodeStopped,
    PeerLost,
    Saved,
    Started,
    Stop,
    TimerFired,
)
from callsheet.actors.persistence.store import Committed, Counters
from support.actors import NOW, SECOND, Leader, sent
from support.membership import OTHER, Cluster, draft, ends, outcome

LIST = (Member("n1", "i1", "", candidate=True), Member("n2", "i2", "", candidate=True, state="draining"))


class Leaver:
    """A node that follows `n1` and is stopping."""

    def __init__(self) -> None:
        self.coordinator = Coordinator(durable=True)
        self.tell(Started("n2", "i2"))
        self.hear(held=1)
        self.tell(Stop(10 * SECOND), sender="client-1")

    def tell(self, *messages: Any, sender: str = "") -> list[Any]:
        return deliver(self.coordinator, *messages, now=NOW, sender=sender)

    def hear(self, **more: Any) -> bool:
        """Hear the leader; say whether the node has stopped."""
        beat = LeaderBeat(1, "n1", "i1", "", **{"listing": 1, "members": LIST, "recipient": "i2", **more})
        effects = self.tell(beat, sender="coordinator@n1")
        if Send("executor", Stop(0)) in effects:
            effects = self.tell(NodeStopped("n2", 0), sender="executor")
        return any(isinstance(it, Send) and isinstance(it.message, NodeStopped) for it in effects)


def test_a_node_has_stopped_when_its_leader_says_that_nothing_is_with_it() -> None:
    node = Leaver()
    assert not node.hear(held=1)
    assert node.hear(held=0)


def test_what_is_with_an_earlier_life_of_a_node_does_not_say_that_this_one_has_ended_its_work() -> None:
    node = Leaver()
    assert not node.hear(held=0, recipient="earlier")
    assert not node.hear(held=1)
    assert node.hear(held=0)


def test_a_node_has_stopped_also_when_the_heartbeat_leaves_out_the_list_that_it_knows() -> None:
    node = Leaver()
    assert not node.hear(held=1)
    assert node.hear(held=0, members=())


def test_a_heartbeat_that_was_overtaken_by_a_newer_list_does_not_say_what_a_node_has() -> None:
    node = Leaver()
    assert not node.hear(held=1, listing=2)
    assert not node.hear(held=0, listing=1, members=()), "orders may have come since, which the leader knew nothing of"
    assert node.hear(held=0, listing=2, members=())


def test_a_node_goes_on_while_its_leader_does_not_know_yet_what_it_runs() -> None:
    node = Leaver()
    assert not node.hear(held=NOT_KNOWN)
    assert node.hear(held=0)


def test_a_leader_that_rebuilds_its_memory_says_to_nobody_that_he_has_nothing() -> None:
    coordinator = Coordinator(durable=True)
    deliver(coordinator, Started("n1", "i1"), LeaseTaken(1, Counters(run_id=0, fence=0, settled=0)), now=NOW)
    (told,) = sent(deliver(coordinator, beat(draining=True), now=NOW, sender="coordinator@n2"), LeaderBeat)
    assert told.held == NOT_KNOWN


def test_a_leader_that_rebuilt_its_memory_says_how_much_a_member_has() -> None:
    leader = Cluster()
    leader.admit(draft())
    leader.be_silent(0.1)
    assert leader.last(LeaderBeat).held == 1


def alone() -> Leader:
    """A node that led until just now, and is to stop; nobody leads."""
    leader = Leader()
    leader.has_nothing = False
    leader.tell(LeaseLost(1))
    leader.tell(Stop(10 * SECOND), sender="client-1")
    return leader


def has_stopped(node: Leader) -> bool:
    return any(isinstance(message, NodeStopped) for message in node.out)


def test_a_node_that_stops_when_nobody_leads_asks_its_executor_whether_anything_is_left() -> None:
    node = alone()
    node.tell(TimerFired("watch"), after=LOOK_US)
    asked = [it.to for it in node.sent if isinstance(it.message, Stop)]
    assert asked == ["executor", "executor"], "again, for the first may be lost"
    assert not has_stopped(node)


def test_a_node_whose_executor_has_nothing_goes_when_nobody_leads() -> None:
    node = alone()
    node.tell(NodeStopped("n", 0), sender="executor")
    assert has_stopped(node)


def test_nobody_else_can_say_that_a_node_has_nothing_left() -> None:
    node = alone()
    node.tell(NodeStopped("n", 0), sender="executor@n2")
    assert not has_stopped(node)


def test_a_node_whose_executor_has_nothing_goes_also_when_somebody_leads_meanwhile() -> None:
    node = Leaver()
    (told,) = sent(node.tell(NodeStopped("n2", 0), sender="executor"), NodeStopped)
    assert told.node == "n2", "its executor begins nothing more, whatever it is given"


def test_a_node_asks_its_executor_before_it_believes_a_leader_that_nothing_is_with_it() -> None:
    node = Leaver()
    beat = LeaderBeat(1, "n1", "i1", "", listing=1, members=LIST, recipient="i2", held=0)
    effects = node.tell(beat, sender="coordinator@n1")
    assert [it.to for it in effects if isinstance(it, Send) and it.message == Stop(0)] == ["executor"]
    assert sent(effects, NodeStopped) == [], "that leader may have been deposed, and the next have given it work"


def test_a_leader_asks_its_executor_before_it_goes() -> None:
    leader = Leader()
    leader.has_nothing = False
    leader.tell(Stop(10 * SECOND), sender="client-1")
    assert not has_stopped(leader), "who deposed it without its knowledge may have given it work"
    leader.tell(TimerFired("beat"), after=ASK_EXECUTOR_US)
    assert [it.to for it in leader.sent if isinstance(it.message, Stop)] == ["executor", "executor"]
    leader.tell(NodeStopped("n", 0), sender="executor")
    assert has_stopped(leader)


def test_a_leader_whose_executor_has_nothing_waits_all_the_same_for_what_others_have() -> None:
    leader = Cluster()
    leader.has_nothing = False
    leader.admit(draft())
    leader.beat(draining=True)
    leader.tell(Stop(10 * SECOND), sender="client-1")
    leader.tell(NodeStopped("n", 0), sender="executor")
    assert not has_stopped(leader)


def test_a_leader_counts_for_a_member_what_came_back_until_it_is_stored() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.hold_saves = True
    leader.tell(AttemptsEnded("n2", (outcome(order),)), sender=OTHER)
    leader.be_silent(0.1)
    assert leader.last(LeaderBeat).held == 1
    (save,) = leader.held
    leader.tell(Saved(save.key, Committed()), sender=PERSISTENCE)
    leader.be_silent(0.1)
    assert leader.last(LeaderBeat).held == 0


def test_a_leader_says_which_life_of_a_node_its_heartbeat_is_meant_for() -> None:
    leader = Cluster()
    leader.be_silent(0.1)
    assert leader.last(LeaderBeat).recipient == "i2"


def beat(draining: bool = False) -> Beat:
    return Beat("n2", "i2", "ipc:///n2", candidate=True, at=NOW, draining=draining)


def asked(leader: Leader) -> int:
    """How often somebody was asked to take over."""
    return sum(isinstance(message, HandOver) for message in leader.out)


def test_a_drained_leader_hands_over_to_a_candidate_that_joins_later() -> None:
    leader = Leader()
    leader.tell(DrainNode("k", "n"), sender="client-1")
    assert asked(leader) == 0
    leader.tell(beat(), sender="coordinator@n2")
    assert asked(leader) == 1


def test_a_drained_leader_hands_over_to_a_candidate_that_is_drained_no_more() -> None:
    leader = Leader()
    leader.tell(beat(draining=True), sender="coordinator@n2")
    leader.tell(DrainNode("k", "n"), sender="client-1")
    assert asked(leader) == 0
    leader.tell(beat(), sender="coordinator@n2")
    assert asked(leader) == 1


def test_a_candidate_that_did_not_take_over_is_not_asked_again_by_its_next_word() -> None:
    leader = Leader()
    leader.tell(beat(), sender="coordinator@n2")
    leader.tell(DrainNode("k", "n"), sender="client-1")
    leader.tell(TimerFired("hand_over"), after=SECOND)
    leader.tell(beat(), sender="coordinator@n2")
    assert asked(leader) == 1


def test_a_drained_leader_asks_again_those_that_did_not_take_over_ever_more_seldom() -> None:
    leader = Cluster()
    leader.tell(DrainNode("k", "n"), sender="client-1")
    leader.tell(TimerFired("hand_over"), after=SECOND)  # n2 could not take over just then
    leader.admit(draft())
    assert len(leader.assigned()) == 1, "meanwhile it goes on"
    leader.tell(TimerFired("hand_over"), after=2 * SECOND)
    assert asked(leader) == 2
    leader.tell(TimerFired("hand_over"), after=SECOND)
    waits = [it.at - leader.now for it in leader.timers if it.key == "hand_over"]
    assert waits[-1] == 4 * SECOND


def test_a_leader_that_is_drained_no_more_asks_nobody() -> None:
    leader = Cluster()
    leader.tell(DrainNode("k", "n"), sender="client-1")
    leader.tell(DrainNode("k", "n", on=False), sender="client-1")
    leader.tell(TimerFired("hand_over"), after=SECOND)
    leader.tell(TimerFired("hand_over"), after=2 * SECOND)
    assert asked(leader) == 1
    leader.admit(draft())
    assert len(leader.assigned()) == 1


def test_a_node_that_drains_and_has_nothing_has_left_when_its_line_is_lost() -> None:
    leader = Cluster()
    leader.beat(draining=True)
    leader.tell(PeerLost("n2", "i2"))
    assert [it.node for it in _listed(leader)] == ["n"]
    assert [it.event.kind for it in leader.events if isinstance(it, Happened)] == ["node_joined", "node_left"]
    leader.beat(draining=True)  # it was the line alone
    assert [it.state for it in _listed(leader) if it.node == "n2"] == ["draining"]


def test_a_node_that_drains_and_has_something_is_waited_for_when_its_line_is_lost() -> None:
    leader = Cluster()
    leader.admit(draft())
    leader.beat(draining=True)
    leader.tell(PeerLost("n2", "i2"))
    assert [it.state for it in _listed(leader) if it.node == "n2"] == ["draining"]
    assert ends(leader) == []


def _listed(leader: Cluster) -> tuple[MemberStatus, ...]:
    leader.tell(ListMembers("k"), sender="client-1")
    rows: tuple[MemberStatus, ...] = leader.last(MembersListed).members
    return rows
