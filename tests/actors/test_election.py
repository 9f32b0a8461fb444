"""Who leads, as one node sees it: a coordinator is told what comes, and what it wants done is looked at."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from callsheet.actors.actor import (
    COORDINATOR,
    EXECUTOR,
    MILLISECOND,
    PERSISTENCE,
    REGISTRY,
    CancelTimer,
    Emit,
    Send,
    Turn,
    on_node,
)
from callsheet.actors.coordinator.coordinator import Coordinator
from callsheet.actors.messages import (
    AskWhetherHeard,
    Beat,
    ContactChanged,
    Follow,
    HandOver,
    Happened,
    HoldStarts,
    Lead,
    LeaderBeat,
    LeaderChanged,
    LeaderIs,
    LeaseLost,
    LeaseRejected,
    LeaseSeen,
    LeaseTaken,
    Member,
    PeerFound,
    PeerLost,
    PeerRestarted,
    Started,
    StillHeard,
    StillHere,
    Stop,
    TakeLease,
    TimerFired,
    WatchLease,
)
from callsheet.actors.persistence.store import Counters, Lease

SECOND = 1_000 * MILLISECOND
NOTHING = Counters(run_id=0, fence=0, settled=0)


def members(*names: str) -> tuple[Member, ...]:
    return tuple(Member(name, f"{name}-1", f"ipc:///{name}", candidate=True) for name in names)


def lease(holder: str, epoch: int = 1, beat: int = 0) -> Lease:
    return Lease(f"{holder}/{holder}-1", epoch, beat, 0, f"ipc:///{holder}")


class OneNode:
    """A coordinator, a steady clock, and the timers it has set."""

    def __init__(self, name: str = "n2", *, worker_only: bool = False) -> None:
        self.coordinator = Coordinator(durable=True, worker_only=worker_only)
        self.elapsed = 0
        self.timers: dict[str, int] = {}
        self.sent: list[Send] = []
        self.events: list[Any] = []
        self.tell(Started(name, f"{name}-1", f"ipc:///{name}"))

    def tell(self, *messages: Any, sender: str = "") -> list[Any]:
        """Deliver messages; answer what was sent by it."""
        turn = Turn(self.elapsed, self.elapsed, sender)
        for message in messages:
            self.coordinator.receive(message, turn)
        self.coordinator.settle(turn)
        before = len(self.sent)
        for effect in turn.effects:
            match effect:
                case Send():
                    self.sent.append(effect)
                case Emit():
                    self.events.append(effect.event)
                case CancelTimer():
                    self.timers.pop(effect.key, None)
                case _:
                    self.timers[effect.key] = effect.at
        return [it.message for it in self.sent[before:]]

    def wait(self, until: int) -> list[Any]:
        """Let time pass, and ring the timers that come due, each at its instant; answer what was sent meanwhile."""
        found: list[Any] = []
        while self.timers and min(self.timers.values()) <= until:
            key = min(self.timers, key=lambda it: self.timers[it])
            self.elapsed = max(self.elapsed, self.timers.pop(key))
            found += self.tell(TimerFired(key))
        self.elapsed = until
        return found

    def hear(self, leader: str = "n1", epoch: int = 1, *names: str) -> list[Any]:
        """A heartbeat of the leader."""
        beat = LeaderBeat(epoch, leader, f"{leader}-1", f"ipc:///{leader}", 1, members(*(names or ("n1", "n2", "n3"))))
        return self.tell(beat, sender=on_node(COORDINATOR, leader))

    def takes(self, messages: list[Any]) -> bool:
        return any(isinstance(message, TakeLease) for message in messages)


def test_a_coordinator_that_is_made_anew_lets_its_executor_go_on_whatever_the_one_before_said() -> None:
    node = OneNode()
    assert Send(EXECUTOR, HoldStarts(held=False)) in node.sent
    assert HoldStarts(held=False) in node.wait(node.elapsed + SECOND)  # the first may be lost


def test_a_lease_that_nobody_ever_held_is_taken_at_once() -> None:
    node = OneNode()
    assert [it.message for it in node.sent] == [HoldStarts(held=False), WatchLease()]
    assert node.tell(LeaseSeen(None, dead=False)) == [TakeLease("n2/n2-1", "ipc:///n2", None)]


def test_a_lease_whose_holder_is_dead_is_taken_at_once() -> None:
    node = OneNode()
    assert node.takes(node.tell(LeaseSeen(lease("n1"), dead=True)))


def test_a_node_that_finds_a_leader_says_that_it_is_there() -> None:
    node = OneNode()
    node.tell(LeaseSeen(lease("n1"), dead=False))
    assert [(it.to, type(it.message)) for it in node.sent[1:] if "@" in it.to] == [("coordinator@n1", Beat)]


def test_a_leader_whose_name_has_a_slash_is_found() -> None:
    node = OneNode()
    node.tell(LeaseSeen(Lease("rack/n1/71-a1b2", 1, 0, 0, "ipc:///n1"), dead=False))
    assert [it.to for it in node.sent[1:] if "@" in it.to] == ["coordinator@rack/n1"]


def test_a_lease_of_a_leader_that_was_never_heard_is_taken_only_when_it_stood_still() -> None:
    node = OneNode()
    taken: list[int] = []
    for beat in [0] * 15 + [1] * 15 + [2] * 40:
        if node.takes(node.tell(LeaseSeen(lease("n1", beat=beat), dead=False))):
            taken.append(node.elapsed)
            break
        node.wait(node.elapsed + 100 * MILLISECOND)
    assert taken == [30 * 100 * MILLISECOND + 2 * SECOND]


def test_a_follower_answers_each_heartbeat_of_its_leader() -> None:
    node = OneNode()
    assert [it for it in node.hear() if isinstance(it, Beat)] == [
        Beat("n2", "n2-1", "ipc:///n2", candidate=True, at=0, listing=1)
    ]
    assert LeaderChanged(1, "n1", own=False) in node.events


def test_a_follower_says_no_more_than_that_it_lives_while_the_leader_knows_the_rest() -> None:
    node = OneNode()
    node.hear()
    assert node.hear() == [StillHere("n2-1", 1)]
    node.elapsed += 4_999 * MILLISECOND
    assert node.hear() == [StillHere("n2-1", 1)]
    node.elapsed += MILLISECOND
    assert [type(it) for it in node.hear()] == [Beat]  # its clock is told, too
    assert node.hear() == [StillHere("n2-1", 1)]


def test_a_follower_tells_of_itself_as_long_as_the_leader_says_otherwise() -> None:
    node = OneNode()
    node.hear()
    for said in (
        members("n1", "n3"),
        (Member("n2", "n2-0", "ipc:///n2", candidate=True),),
        (Member("n2", "n2-1", "", candidate=True),),
        (Member("n2", "n2-1", "ipc:///n2", candidate=False),),
        (Member("n2", "n2-1", "ipc:///n2", candidate=True, state="suspect"),),
        (Member("n2", "n2-1", "ipc:///n2", candidate=True, state="draining"),),
    ):
        answer = node.tell(LeaderBeat(1, "n1", "n1-1", "ipc:///n1", 1, said), sender="coordinator@n1")
        assert [type(it) for it in answer] == [Beat]


def test_a_follower_says_which_list_it_has_and_keeps_it_until_there_is_another() -> None:
    node = OneNode()

    def answer(listing: int, *names: str) -> list[Any]:
        beat = LeaderBeat(1, "n1", "n1-1", "ipc:///n1", listing, members(*names))
        return node.tell(beat, sender="coordinator@n1")

    answer(1, "n1", "n2")
    assert answer(1) == [StillHere("n2-1", 1)]
    assert answer(2) == [StillHere("n2-1", 1)]  # what had the second list in it was lost
    assert answer(2, "n1", "n2", "n3") == [StillHere("n2-1", 2)]
    assert [it.node for it in node.coordinator._election.members] == ["n1", "n2", "n3"]


def test_who_is_not_asked_answers_only_when_there_is_something_to_say() -> None:
    node = OneNode()
    node.hear()

    def answer(listing: int, **more: Any) -> list[type]:
        beat = LeaderBeat(1, "n1", "n1-1", "ipc:///n1", listing, **more, asks=False)
        return [type(it) for it in node.tell(beat, sender="coordinator@n1")]

    assert answer(1) == []
    assert answer(2) == [StillHere]  # a list was lost
    assert answer(2, members=members("n1", "n2", "n3", "n4")) == []
    assert answer(3, members=(Member("n2", "n2-1", "ipc:///n2", candidate=True, state="suspect"),)) == [Beat]
    node.elapsed += 10 * SECOND
    node.hear()
    assert answer(1) == []


def test_the_heartbeats_that_a_node_has_slept_through_are_answered_once() -> None:
    node = OneNode()
    node.hear()
    slept = [LeaderBeat(1, "n1", "n1-1", "ipc:///n1", 1, asks=number == 0) for number in range(100)]
    assert node.tell(*slept, sender="coordinator@n1") == [StillHere("n2-1", 1)]
    assert node.tell(*slept[1:], sender="coordinator@n1") == []
    newer = [LeaderBeat(2, "n3", "n3-1", "ipc:///n3", number) for number in range(1, 100)]
    answers = [it for it in node.tell(*slept, *newer, sender="coordinator@n3") if isinstance(it, Beat | StillHere)]
    assert [type(it) for it in answers] == [Beat]


def test_a_list_of_an_earlier_reign_is_none() -> None:
    node = OneNode()
    node.hear()
    beat = LeaderBeat(2, "n3", "n3-1", "ipc:///n3", 1)
    for _ in range(2):
        answer = node.tell(beat, sender="coordinator@n3")
        assert [type(it) for it in answer if isinstance(it, Beat | StillHere)] == [Beat]


def test_a_new_leader_is_told_in_full() -> None:
    node = OneNode()
    node.hear()
    assert [type(it) for it in node.hear("n3", 2) if isinstance(it, Beat | StillHere)] == [Beat]


def test_why_a_node_may_not_lead_is_told_once_and_again_after_a_while() -> None:
    node = OneNode()

    def told() -> list[str]:
        return [it.event.text for it in node.events if isinstance(it, Happened) and it.event.kind == "lease_rejected"]

    for text in ("", "no space", "no space", "locked"):
        node.tell(LeaseRejected(text))
    assert told() == ["no space", "locked"]
    node.elapsed += 30 * SECOND
    node.tell(LeaseRejected("locked"))
    assert told() == ["no space", "locked", "locked"]


def test_a_heartbeat_of_an_older_reign_is_not_followed() -> None:
    node = OneNode()
    node.hear("n3", 2)
    assert node.hear("n1", 1) == []


def test_a_silent_leader_is_replaced_when_nobody_else_hears_it() -> None:
    node = OneNode()
    node.hear()
    seen = node.wait(400 * MILLISECOND)
    assert WatchLease() in seen
    asked = node.tell(LeaseSeen(lease("n1"), dead=False))
    assert AskWhetherHeard(1) in asked
    assert [it.to for it in node.sent if isinstance(it.message, AskWhetherHeard)] == ["coordinator@n3"]
    assert node.takes(node.wait(node.elapsed + 20 * MILLISECOND))


def test_a_node_that_alone_hears_nothing_is_held_back_by_the_others() -> None:
    node = OneNode()
    node.hear()
    node.wait(400 * MILLISECOND)
    node.tell(LeaseSeen(lease("n1"), dead=False))
    node.tell(StillHeard(1), sender="coordinator@n3")
    node.tell(LeaseSeen(lease("n1"), dead=False))
    assert not node.takes(node.wait(node.elapsed + 50 * MILLISECOND))


def test_who_hears_the_leader_says_so_and_who_does_not_is_silent() -> None:
    node = OneNode()
    node.hear()
    assert node.tell(AskWhetherHeard(1), sender="coordinator@n3") == [StillHeard(1)]
    node.elapsed += 300 * MILLISECOND
    assert node.tell(AskWhetherHeard(1), sender="coordinator@n3") == []
    node.hear()
    node.tell(PeerLost("n1", "n1-1"))
    assert node.tell(AskWhetherHeard(1), sender="coordinator@n3") == []


def test_when_the_line_to_the_leader_is_lost_the_lease_is_looked_at_at_once() -> None:
    node = OneNode()
    node.hear()
    assert node.tell(PeerLost("n1", "n1-1"))[0] == WatchLease()
    assert node.takes(node.tell(LeaseSeen(lease("n1"), dead=True)))


def test_a_line_that_is_lost_to_somebody_else_means_nothing() -> None:
    node = OneNode()
    node.hear()
    assert node.tell(PeerLost("n3", "n3-1")) == []
    assert node.tell(PeerLost("n1", "n1-0")) == []


def test_candidates_wait_for_those_before_them() -> None:
    first, second = OneNode("n2"), OneNode("n3")
    for node in (first, second):
        node.hear()
        node.tell(PeerLost("n1", "n1-1"))
    assert first.takes(first.tell(LeaseSeen(lease("n1"), dead=True)))
    assert not second.takes(second.tell(LeaseSeen(lease("n1"), dead=True)))
    assert second.takes(second.wait(10 * MILLISECOND))


def test_a_node_whose_own_loop_was_late_forgets_its_suspicion() -> None:
    node = OneNode()
    node.hear()
    node.elapsed = 5 * SECOND
    node.timers.clear()
    assert node.tell(TimerFired("watch")) == [HoldStarts(held=False)]  # a reminder; it looks at no lease
    assert node.tell(AskWhetherHeard(1), sender="coordinator@n3") == [StillHeard(1)]


def test_a_race_that_is_lost_ends_in_following_the_winner() -> None:
    node = OneNode()
    node.tell(LeaseSeen(None, dead=False))
    node.tell(LeaseRejected())
    assert WatchLease() in node.wait(node.elapsed + 50 * MILLISECOND)
    node.tell(LeaseSeen(lease("n1"), dead=False))
    assert node.hear()[-1] == StillHere("n2-1", 1)  # it has told of itself when it saw the lease


def test_a_leader_that_hands_over_is_followed_in_office_at_once() -> None:
    node = OneNode()
    node.hear()
    assert node.tell(HandOver(1), sender="coordinator@n1")[0] == WatchLease()
    assert node.takes(node.tell(LeaseSeen(lease("n1", beat=7), dead=False)))


def test_a_deposed_leader_does_not_fight_a_leader_that_it_cannot_hear() -> None:
    node = OneNode()
    node.tell(LeaseSeen(None, dead=False))
    node.tell(LeaseTaken(1, NOTHING), sender=PERSISTENCE)
    node.tell(LeaseLost(1), sender=PERSISTENCE)
    for beat in range(100):
        node.wait(node.elapsed + 100 * MILLISECOND)
        assert not node.takes(node.tell(LeaseSeen(lease("n1", epoch=2, beat=beat), dead=False)))


def test_a_leader_steps_down_for_a_newer_one_and_not_for_an_older() -> None:
    node = OneNode()
    node.tell(LeaseSeen(None, dead=False))
    node.tell(LeaseTaken(5, NOTHING), sender=PERSISTENCE)
    assert node.hear("n1", 4) == []
    node.hear("n1", 6)
    assert LeaderChanged(6, "n1", own=False) in node.events


def test_a_node_that_hears_its_leader_no_more_starts_nothing_until_it_does() -> None:
    node = OneNode()
    node.hear()
    node.wait(1_100 * MILLISECOND)
    assert Send(EXECUTOR, HoldStarts(held=True)) in node.sent
    assert ContactChanged(is_cut_off=True) in node.events
    node.hear()
    assert Send(EXECUTOR, HoldStarts(held=False)) in node.sent
    assert node.events[-1] == ContactChanged(is_cut_off=False)


def test_an_executor_that_had_no_room_for_it_is_told_again_that_it_may_start_what_it_has() -> None:
    node = OneNode()
    node.hear()
    node.wait(1_100 * MILLISECOND)
    node.hear()
    heard_at = node.elapsed
    told: list[int] = []
    while node.elapsed < heard_at + 5 * SECOND:
        messages = node.wait(node.elapsed + 100 * MILLISECOND) + node.hear()
        assert HoldStarts(held=True) not in messages
        told += [node.elapsed - heard_at] * messages.count(HoldStarts(held=False))
    assert len(told) == 3, "soon at first, and then ever more seldom"
    assert told[0] <= SECOND


def test_a_leader_that_was_cut_off_before_tells_its_executor_again_that_it_may_start_what_it_has() -> None:
    node = OneNode()
    node.hear()
    node.wait(1_100 * MILLISECOND)
    node.tell(LeaseSeen(lease("n1"), dead=True))
    node.tell(LeaseTaken(2, NOTHING), sender=PERSISTENCE)
    assert HoldStarts(held=False) in node.wait(node.elapsed + SECOND)


def test_an_actor_that_had_no_room_for_it_hears_again_of_the_reign_soon_and_then_ever_more_seldom() -> None:
    node = OneNode()
    node.tell(LeaseSeen(None, dead=False))
    node.tell(LeaseTaken(1, NOTHING), sender=PERSISTENCE)
    node.sent.clear()
    told: list[int] = []
    while node.elapsed < 2 * 60 * SECOND:
        node.wait(node.elapsed + SECOND // 2)
        told += [node.elapsed] * sum(it == Send(REGISTRY, Lead(1, "n2")) for it in node.sent)
        node.sent.clear()
    first = SECOND // 2
    assert told[:6] == [first, 3 * first, 7 * first, 15 * first, 31 * first, 63 * first]
    assert {after - before for before, after in pairwise(told[6:])} == {30 * SECOND}


def test_a_node_that_only_works_asks_whom_it_can_reach_and_never_looks_at_a_lease() -> None:
    node = OneNode("w1", worker_only=True)
    assert node.sent == [Send(EXECUTOR, HoldStarts(held=False))]
    (beat,) = node.tell(PeerFound("n2", "n2-1"))
    assert (beat.node, beat.candidate) == ("w1", False)
    node.tell(LeaderIs("", 3, "n1", "tcp://127.0.0.1:1"), sender="coordinator@n2")
    assert node.sent[-1].to == "coordinator@n1"
    node.hear("n1", 3, "n1", "w1")
    node.wait(10 * SECOND)
    assert not any(isinstance(it.message, WatchLease | TakeLease) for it in node.sent)


def test_a_node_that_only_works_asks_everybody_when_its_leader_is_silent() -> None:
    node = OneNode("w1", worker_only=True)
    node.hear("n1", 3, "n1", "w1")
    node.tell(PeerLost("n1", "n1-1"))
    node.tell(PeerFound("n2", "n2-1"))  # it does not lead yet, so what it is told now is lost on it
    node.sent.clear()
    node.wait(node.elapsed + SECOND)
    asked = [it.to for it in node.sent if isinstance(it.message, Beat)]
    assert asked.count("coordinator@n2") >= 5
    assert asked.count("coordinator@n1") >= 5
    node.hear("n2", 4, "n2", "w1")
    node.sent.clear()
    node.wait(node.elapsed + SECOND // 4)
    assert node.sent == []


def test_the_leader_is_asked_to_take_stock_of_an_executor_that_was_made_anew() -> None:
    node = OneNode()
    node.hear()
    node.tell(PeerRestarted("executor"))
    assert node.sent[-1] == Send("coordinator@n1", PeerFound("n2", "n2-1"))


def test_a_hint_that_says_nothing_new_is_not_answered() -> None:
    node = OneNode("n3")
    hint = LeaderIs("", 3, "n1", "ipc:///n1")
    assert [it for it in node.tell(hint, sender="coordinator@n2") if isinstance(it, Beat)]
    assert not [it for it in node.tell(hint, hint, sender="coordinator@n2") if isinstance(it, Beat)]


def test_a_client_is_told_who_leads_and_again_when_that_changes() -> None:
    node = OneNode()
    assert node.tell(Follow("k"), sender="client-1") == [LeaderIs("k", 0, "", "")]
    assert LeaderIs("k", 1, "n1", "ipc:///n1") in node.hear()
    assert LeaderIs("k", 2, "n3", "ipc:///n3") in node.hear("n3", 2)
    node.elapsed += 31 * SECOND
    assert not [it for it in node.hear("n1", 3) if isinstance(it, LeaderIs)]


def test_a_node_that_stops_never_stands() -> None:
    node = OneNode()
    node.hear()
    node.tell(Stop(SECOND), sender="client-1")
    node.tell(PeerLost("n1", "n1-1"))
    assert not node.takes(node.tell(LeaseSeen(lease("n1"), dead=True)))


@pytest.mark.parametrize("stance", ["looking", "following", "standing", "taking", "leading"])
def test_a_heartbeat_of_a_newer_leader_is_followed_in_every_stance(stance: str) -> None:
    node = OneNode()
    match stance:
        case "following":
            node.hear()
        case "standing":
            node.hear()
            node.wait(400 * MILLISECOND)
            node.tell(LeaseSeen(lease("n1"), dead=False))
        case "taking" | "leading":
            node.tell(LeaseSeen(None, dead=False))
            if stance == "leading":
                node.tell(LeaseTaken(1, NOTHING), sender=PERSISTENCE)
        case _:
            pass
    node.hear("n3", 7)
    assert LeaderChanged(7, "n3", own=False) in node.events
    assert node.tell(AskWhetherHeard(7), sender="coordinator@n1") == [StillHeard(7)]
