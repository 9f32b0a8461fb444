"""The nodes of a leader: who gets work, and how they come and go."""

from __future__ import annotations

from msgspec.structs import replace

from callsheet.actors.actor import MILLISECOND
from callsheet.actors.coordinator.election import HEARTBEAT_US
from callsheet.actors.coordinator.shutdown import FAREWELL_US, RELEASE_US
from callsheet.actors.executor.runner import Capacity, Outcome
from callsheet.actors.messages import (
    AttemptsEnded,
    CancelAccepted,
    CancelLive,
    DrainNode,
    HandOver,
    Happened,
    HoldJob,
    JobHeld,
    LeaderBeat,
    ListMembers,
    MembersListed,
    NodeDraining,
    NodeStopped,
    Offer,
    PeerFound,
    Recorded,
    RequestRejected,
    StillHere,
    StockTaken,
    Stop,
    StopAttempts,
    TakeStock,
    TimerFired,
    Withdraw,
    Withdrawn,
)
from callsheet.actors.persistence.store import AddClaim, PutConditions
from callsheet.actors.records import RunState
from support.actors import NOW, SECOND, Leader
from support.membership import OTHER, Cluster, draft, ends, outcome


def test_a_node_that_joins_gets_work_and_the_claim_names_its_life() -> None:
    leader = Cluster()
    leader.admit(draft())
    assert [(write.claim.node, write.claim.incarnation) for write in leader.writes if isinstance(write, AddClaim)] == [
        ("n2", "i2")
    ]
    assert len(leader.assigned()) == 1


def test_an_outcome_of_another_node_is_stored_and_acknowledged_to_it() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.tell(AttemptsEnded("n2", (outcome(order),)), sender=OTHER)
    assert ends(leader) == [(order.run_id, RunState.SUCCEEDED)]
    assert leader.last(Recorded).fences == (order.fence,)


def test_a_pause_is_acknowledged_when_every_node_has_given_back_what_it_had_not_begun() -> None:
    leader = Cluster(own_room=1, room=1)
    leader.admit(draft(), draft())
    leader.tell(HoldJob("h", "t", "work", held=True), sender="registry")
    asked = {it.incarnation: it.fences for it in leader.out if isinstance(it, Withdraw)}
    assert sorted(asked) == ["i", "i2"]

    leader.tell(Withdrawn("h", (), (), "i2", asked["i2"]), sender=OTHER)
    assert not [it for it in leader.out if isinstance(it, JobHeld)]
    leader.tell(Withdrawn("h", (), (), "i", asked["i"]), sender="executor")
    assert leader.last(JobHeld).key == "h"


def test_a_node_that_joins_is_told_who_leads_and_asked_what_it_holds() -> None:
    leader = Cluster()
    beat = leader.last(LeaderBeat)
    assert (beat.node, beat.epoch, [member.node for member in beat.members]) == ("n", 1, ["n", "n2"])


def states(leader: Cluster) -> dict[str, str]:
    """The state of each node, by name."""
    leader.tell(ListMembers("k"), sender="client-1")
    return {row.node: row.state for row in leader.last(MembersListed).members}


def test_a_member_that_only_says_that_it_lives_is_not_suspected() -> None:
    leader = Cluster()
    for _ in range(20):
        leader.be_silent(0.1)
        leader.tell(StillHere("i2", 1), sender="coordinator@n2")
    assert states(leader) == {"n": "alive", "n2": "alive"}


def test_a_member_whose_last_sign_of_life_waited_to_be_read_is_suspected_as_soon_as_another() -> None:
    leader = Cluster()
    leader.admit(draft())
    leader.be_silent(0.1)
    leader.tell(StillHere("i2", 1), sender="coordinator@n2", after=99 * MILLISECOND)
    leader.tell(TimerFired("members"), after=MILLISECOND)  # asks again
    leader.be_silent(0.3)
    assert states(leader)["n2"] == "alive"
    leader.be_silent(0.1)
    assert states(leader)["n2"] == "suspect"


def test_who_has_work_is_asked_by_each_heartbeat_and_who_has_none_by_each_tenth() -> None:
    leader = Cluster()
    leader.tell(StillHere("i2", 1), sender="coordinator@n2")

    def asked(seconds: float) -> list[bool]:
        found = []
        for _ in range(int(seconds * 10)):
            leader.be_silent(0.1)
            found.append(leader.last(LeaderBeat).asks)
            if found[-1]:
                leader.tell(StillHere("i2", 1), sender="coordinator@n2")
        return found

    assert asked(3) == [*[False] * 9, True] * 3
    leader.admit(draft())
    assert asked(0.5) == [True] * 5


def test_who_does_not_answer_is_asked_until_it_does() -> None:
    leader = Cluster()
    leader.tell(StillHere("i2", 1), sender="coordinator@n2")
    leader.be_silent(1)
    assert leader.last(LeaderBeat).asks
    leader.be_silent(0.3)
    assert (states(leader)["n2"], leader.last(LeaderBeat).asks) == ("alive", True)
    leader.be_silent(0.1)
    assert (states(leader)["n2"], leader.last(LeaderBeat).asks) == ("suspect", True)


def test_a_leader_whose_timer_waits_behind_very_much_mail_tells_meanwhile_that_it_lives() -> None:
    leader = Cluster()
    leader.tell(TimerFired("members"), after=HEARTBEAT_US)
    leader.out.clear()
    for number in range(8):
        leader.admit(draft(), key=f"k{number}")
        leader.now += HEARTBEAT_US // 2
    assert len([it for it in leader.out if isinstance(it, LeaderBeat)]) == 1, "each fourth of these is overdue"
    leader.now += HEARTBEAT_US
    leader.admit(draft(), key="last")
    assert len([it for it in leader.out if isinstance(it, LeaderBeat)]) == 2


def test_who_is_suspected_or_unknown_must_tell_of_itself_first() -> None:
    leader = Cluster()
    leader.be_silent(0.5)
    leader.tell(StillHere("i2", 1), StillHere("unknown", 1), sender="coordinator@n2")
    leader.be_silent(0.1)
    assert states(leader) == {"n": "alive", "n2": "suspect"}
    leader.beat()
    leader.be_silent(0.1)
    assert states(leader)["n2"] == "alive"


def test_the_list_of_members_is_told_until_a_member_has_it() -> None:
    leader = Cluster()
    leader.be_silent(0.2)
    beats = [it for it in leader.out if isinstance(it, LeaderBeat)][-2:]
    assert [[it.node for it in beat.members] for beat in beats] == [["n", "n2"]] * 2

    listing = beats[-1].listing
    leader.tell(StillHere("i2", listing), sender="coordinator@n2")
    leader.be_silent(0.1)
    assert leader.last(LeaderBeat).members == ()

    leader.beat("n3", "i3")
    leader.be_silent(0.1)
    told = [it for it in leader.out if isinstance(it, LeaderBeat)][-2:]
    assert [(it.listing, len(it.members)) for it in told] == [(listing + 1, 3)] * 2


def test_a_second_node_of_a_name_is_refused_while_the_first_is_heard() -> None:
    leader = Cluster()
    leader.beat("n2", "i3")
    leader.tell(ListMembers("k"), sender="client-1")
    assert [row.incarnation for row in leader.last(MembersListed).members] == ["i", "i2"]
    leader.be_silent(0.5)
    leader.beat("n2", "i3")
    leader.tell(ListMembers("k"), sender="client-1")
    assert [row.incarnation for row in leader.last(MembersListed).members] == ["i", "i2", "i3"]


def test_a_job_with_labels_runs_only_where_they_are() -> None:
    leader = Cluster(own_room=4, labels=("gpu", "zone=eu"))
    leader.admit(*(draft(labels=("gpu",)) for _ in range(2)))
    claims = [write.claim.node for write in leader.writes if isinstance(write, AddClaim)]
    assert set(claims) == {"n2"}


def test_a_job_whose_labels_nobody_has_waits_and_says_for_what() -> None:
    leader = Cluster(own_room=4)
    leader.admit(draft(labels=("gpu",)))
    assert leader.assigned() == []
    leader.offer(labels=("gpu",))
    assert len(leader.assigned()) == 1


def test_resources_are_shared_by_what_runs_at_once() -> None:
    leader = Cluster(resources={"memory_gb": 8})
    leader.admit(*(draft(resources={"memory_gb": 3}) for _ in range(4)))
    assert len(leader.assigned()) == 2
    leader.tell(AttemptsEnded("n2", (outcome(leader.assigned()[0]),)), sender=OTHER)
    assert len(leader.assigned()) == 3


def test_a_run_that_needs_a_scarce_thing_does_not_hold_up_the_others() -> None:
    leader = Cluster(own_room=4, labels=("gpu",), room=0)
    leader.admit(draft(labels=("gpu",), priority=9), draft())
    assert len(leader.assigned()) == 1


def test_a_function_that_one_node_does_not_know_is_tried_on_another_and_else_parked() -> None:
    leader = Cluster(own_room=1)
    leader.admit(draft())
    (order,) = leader.assigned()
    unknown = Outcome(order.fence, order.run_id, order.attempt, "unknown_target", 0, NOW)
    first = "executor" if leader.writes and _node_of(leader) == "n" else OTHER
    leader.tell(AttemptsEnded("x", (unknown,)), sender=first)
    second = leader.assigned()[1]
    unknown = Outcome(second.fence, second.run_id, second.attempt, "unknown_target", 0, NOW)
    leader.tell(AttemptsEnded("x", (unknown,)), sender=OTHER if first == "executor" else "executor")
    assert len(leader.assigned()) == 2
    leader.offer(knows=5)
    assert len(leader.assigned()) == 3


def test_all_runs_of_a_function_that_turns_out_to_be_unknown_still_are_parked_not_the_first_alone() -> None:
    leader = Leader(thread=1)
    leader.admit(draft(), draft())
    for number in range(2):
        _end_unknown(leader, number, "executor")
    leader.tell(Offer("n", "i", {"thread": 1}, Capacity(1, 1, 1, 1), knows=5))
    _end_unknown(leader, 2, "executor")
    assert len(leader.assigned()) == 3
    assert _conditions(leader) == {1: "PARKED", 2: "PARKED"}


def test_what_waits_for_the_only_node_that_knows_its_function_is_parked_when_that_is_gone() -> None:
    leader = Cluster(own_room=1, room=0)
    leader.admit(draft())
    _end_unknown(leader, 0, "executor")
    leader.offer(room=1)
    leader.admit(draft(), key="2")
    assert [order.run_id for order in leader.assigned()] == [1, 1]
    leader.be_silent(1)
    leader.read_marks(leader.assigned()[1].fence, dead=True)
    assert _conditions(leader) == {2: "PARKED"}


def _end_unknown(leader: Leader, number: int, executor: str = OTHER) -> None:
    order = leader.assigned()[number]
    unknown = Outcome(order.fence, order.run_id, order.attempt, "unknown_target", 0, NOW)
    leader.tell(AttemptsEnded("x", (unknown,)), sender=executor)


def _conditions(leader: Leader) -> dict[int, str]:
    return {it.run_id: str(it.state) for it in leader.written(PutConditions, "conditions")}


def _node_of(leader: Leader) -> str:
    return str([write.claim.node for write in leader.writes if isinstance(write, AddClaim)][-1])


def _claims_by_node(leader: Leader) -> dict[str, int]:
    by_node: dict[str, int] = {}
    for write in leader.writes:
        if isinstance(write, AddClaim):
            by_node[write.claim.node] = by_node.get(write.claim.node, 0) + len(write.claim.entries)
    return by_node


def test_several_nodes_share_what_is_there() -> None:
    leader = Cluster(own_room=16, room=16)
    leader.admit(*(draft() for _ in range(24)))
    assert sorted(_claims_by_node(leader).values()) == [8, 16]


def test_idle_places_elsewhere_come_before_room_ahead() -> None:
    leader = Cluster(room=110, capacity=Capacity(4, 4, 4, 4))
    leader.beat("n3", "i3")
    leader.offer("n3", "i3", room=4)
    leader.admit(*(draft() for _ in range(8)))
    assert _claims_by_node(leader) == {"n2": 4, "n3": 4}
    leader.admit(*(draft() for _ in range(5)), key="2")
    assert _claims_by_node(leader) == {"n2": 9, "n3": 4}


def test_idle_nodes_get_single_runs_in_turn_whatever_they_take_ahead() -> None:
    leader = Cluster(room=110, capacity=Capacity(4, 4, 4, 4))
    leader.beat("n3", "i3")
    leader.offer("n3", "i3", room=4)
    for number in range(4):
        leader.admit(draft(), key=str(number))
        leader.tell(AttemptsEnded(_node_of(leader), (outcome(leader.assigned()[-1]),)), sender=OTHER)
    assert _claims_by_node(leader) == {"n2": 2, "n3": 2}


def test_a_node_that_drains_gets_nothing_new_and_learns_when_it_is_empty() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.beat(draining=True)
    leader.admit(draft(), key="2")
    assert len(leader.assigned()) == 1
    leader.tell(TimerFired("members"))
    assert leader.last(LeaderBeat).held == 1
    leader.tell(AttemptsEnded("n2", (outcome(order),)), sender=OTHER)
    leader.tell(TimerFired("members"))
    assert leader.last(LeaderBeat).held == 0


def test_a_node_that_will_wait_no_longer_has_its_attempts_stopped() -> None:
    leader = Cluster()
    leader.admit(draft())
    leader.beat(draining=True, hurry=True)
    assert leader.last(StopAttempts).reason == "shutdown"


def test_a_drain_from_outside_is_handed_to_its_node() -> None:
    leader = Cluster()
    leader.tell(DrainNode("k", "n2"), sender="client-1")
    assert leader.last(NodeDraining) == NodeDraining("k", "n2", 0)
    assert leader.last(DrainNode).node == "n2"
    leader.tell(DrainNode("k", "nobody"), sender="client-1")
    assert leader.last(RequestRejected).code == "unknown_node"


def test_a_node_is_told_to_drain_until_it_answers_and_the_newest_word_counts() -> None:
    leader = Cluster()
    leader.tell(DrainNode("k", "n2"), sender="client-1")
    leader.tell(DrainNode("l", "n2", on=False), sender="client-1")
    leader.tell(NodeDraining("k", "n2", 0), sender="coordinator@n2")
    leader.out.clear()
    leader.beat()
    leader.tell(TimerFired("members"), after=SECOND)
    assert [it.key for it in leader.out if isinstance(it, DrainNode)] == ["l"]

    leader.tell(NodeDraining("l", "n2", 0), sender="coordinator@n2")
    leader.out.clear()
    leader.beat()
    leader.tell(TimerFired("members"), after=SECOND)
    assert [it for it in leader.out if isinstance(it, DrainNode)] == []


def test_a_node_that_is_told_the_same_again_answers_and_does_it_once() -> None:
    leader = Leader()
    for key, on in (("k", True), ("l", False), ("l", False)):
        leader.tell(DrainNode(key, "n", on=on), sender="client-1~ann")
    assert [it.key for it in leader.out if isinstance(it, NodeDraining)] == ["k", "l", "l"]
    audited = [it.event.text for it in leader.events if isinstance(it, Happened) and "who=ann" in it.event.text]
    assert len(audited) == 2


def test_a_leader_goes_on_when_the_node_it_has_told_to_drain_answers() -> None:
    leader = Cluster()
    leader.tell(DrainNode("k", "n2"), sender="client-1")
    leader.tell(NodeDraining("k", "n2", 0), sender="coordinator@n2")
    leader.admit(draft())
    assert len(leader.assigned()) == 1


def test_a_leader_that_stops_hands_over_and_tells_its_clients_to_ask_the_next() -> None:
    leader = Cluster()
    leader.tell(Stop(10 * SECOND), sender="client-1")
    assert leader.last(HandOver).epoch == 1
    leader.admit(draft())
    assert leader.last(RequestRejected).code == "not_leader"
    assert not [message for message in leader.out if isinstance(message, NodeStopped)]


def test_a_leader_whose_successors_do_not_answer_stops_all_the_same() -> None:
    leader = Cluster()
    leader.tell(Stop(10 * SECOND), sender="client-1")
    leader.tell(TimerFired("hand_over"), after=300 * MILLISECOND)
    assert leader.last(NodeStopped).node == "n"


def test_a_leader_that_stops_with_all_others_stays_until_their_work_is_recorded_and_they_know() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.beat(draining=True)

    leader.tell(Stop(10 * SECOND), sender="client-1")
    assert not [message for message in leader.out if isinstance(message, NodeStopped)]

    leader.tell(AttemptsEnded("n2", (outcome(order),)), sender=OTHER)
    assert ends(leader) == [(order.run_id, RunState.SUCCEEDED)]
    assert leader.last(LeaderBeat).held == 0
    assert not [message for message in leader.out if isinstance(message, NodeStopped)]

    leader.tell(TimerFired("farewell"), after=FAREWELL_US)
    assert leader.last(NodeStopped).node == "n"


def test_a_leader_that_stops_does_not_wait_longer_for_others_than_for_itself() -> None:
    leader = Cluster()
    leader.admit(draft())
    leader.beat(draining=True)
    leader.tell(Stop(10 * SECOND), sender="client-1")
    leader.tell(TimerFired("stop"), after=10 * SECOND)
    leader.tell(TimerFired("stop"), after=RELEASE_US)
    assert leader.last(NodeStopped).node == "n"


def test_a_drained_leader_without_a_successor_goes_on_leading() -> None:
    leader = Leader()
    leader.tell(DrainNode("k", "n"), sender="client-1")
    leader.admit(draft())
    assert leader.assigned() == []  # its own executor gets no work
    leader.tell(DrainNode("k", "n", on=False), sender="client-1")
    leader.tell(TimerFired("nothing"))
    assert len(leader.assigned()) == 1


def test_members_are_listed_with_their_places_and_skew() -> None:
    leader = Cluster(labels=("gpu",))
    leader.tell(ListMembers("k"), sender="client-1")
    own, other = leader.last(MembersListed).members
    assert (own.node, own.leads, other.node, other.leads) == ("n", True, "n2", False)
    assert (other.labels, other.room["thread"], other.state) == (("gpu",), 4, "alive")


def test_listed_are_the_places_of_a_node_not_what_it_takes_ahead() -> None:
    leader = Cluster(room=110, capacity=Capacity(4, 4, 4, 4))
    leader.tell(ListMembers("k"), sender="client-1")
    assert leader.last(MembersListed).members[1].room["thread"] == 4


def test_a_line_that_stands_again_makes_the_leader_take_stock() -> None:
    leader = Cluster()
    leader.sent.clear()
    leader.tell(PeerFound("n2", "i2"))
    assert OTHER in [it.to for it in leader.sent if isinstance(it.message, TakeStock)]


def test_a_node_that_has_not_said_what_it_holds_is_asked_again_until_it_does() -> None:
    leader = Cluster()

    def asked_within(seconds: int) -> int:
        leader.sent.clear()
        for _ in range(10 * seconds):
            leader.tell(TimerFired("members"), after=100 * MILLISECOND)
            leader.beat()
        return sum(it.to == OTHER and isinstance(it.message, TakeStock) for it in leader.sent)

    assert asked_within(3) == 3
    leader.tell(StockTaken(1, "n2", "i2", (), ()), sender=OTHER)
    assert asked_within(3) == 0


def test_a_cancel_of_what_another_node_was_given_is_acknowledged_when_that_node_has_said_how_far_it_is() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.tell(CancelLive("c", "client-1", order.run_id, "no more"), sender="registry")
    assert not [it for it in leader.out if isinstance(it, CancelAccepted)]
    asked = leader.last(Withdraw)
    leader.tell(AttemptsEnded("n2", (replace(outcome(order), outcome="not_started"),)), sender=OTHER)
    leader.tell(Withdrawn(asked.key, (), (), "i2"), sender=OTHER)
    assert leader.last(CancelAccepted) == CancelAccepted("c", RunState.CANCELLED)


def test_who_cancels_a_run_that_ends_on_its_node_before_the_cancel_came_there_is_told_that_it_had_ended() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.tell(CancelLive("c", "client-1", order.run_id, "no more"), sender="registry")
    asked = leader.last(Withdraw)
    leader.tell(AttemptsEnded("n2", (outcome(order),)), sender=OTHER)
    leader.tell(Withdrawn(asked.key, (), (), "i2"), sender=OTHER)
    assert ends(leader) == [(order.run_id, RunState.SUCCEEDED)]
    assert not [it for it in leader.out if isinstance(it, CancelAccepted)]
    refused = leader.last(RequestRejected)
    assert (refused.key, refused.code, refused.text) == (
        "c",
        "ended",
        f"run {order.run_id} has ended already: SUCCEEDED",
    )
