"""Runs that wait for a place: how urgent they are, what is said of them, and that each gets its turn."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from callsheet.actors.coordinator.attempts import STARVED_US
from callsheet.actors.coordinator.leadership import AUDITED_A_TURN
from callsheet.actors.messages import (
    Answer,
    AttemptsEnded,
    CancelLive,
    Describe,
    Draft,
    HoldJob,
    Noted,
    PeerLost,
    RunsMade,
    TimerFired,
)
from callsheet.actors.records import Retry, RunRecord, RunState
from support.actors import MINUTE, NOW, SECOND, Leader, live_row, make_job
from support.membership import OTHER, Cluster, outcome


def draft(name: str = "work", **more: Any) -> Draft:
    priority = more.pop("priority", None)
    return Draft(make_job(name, **more), "submit", None, "", priority=priority)


def jobs(leader: Leader) -> list[str]:
    """The jobs whose runs were ordered, in order."""
    return [order.job for order in leader.assigned()]


def shown(leader: Leader, run_id: int) -> RunRecord:
    """A live run as a client sees it."""
    leader.tell(Describe("d", "client-1", (RunRecord(live_row(run_id, claim=False).run, RunState.READY),)))
    (answer,) = [message for message in leader.out if isinstance(message, Answer)][-1:]
    record: RunRecord = answer.rows[0]
    return record


# ---- urgency ------------------------------------------------------------------------------------------------------------


def test_of_runs_that_need_different_things_the_most_urgent_goes_first() -> None:
    leader = Cluster(room=0)
    labels = [f"host={number}" for number in range(20)]
    for number in range(60):
        leader.admit(
            draft(f"job-{number}", labels=(labels[number % 20],), priority=number * 37 % 100), key=f"k{number}"
        )
    leader.offer(room=7, labels=labels)
    leader.offer(room=60, labels=labels)
    assert jobs(leader) == [f"job-{number}" for number in sorted(range(60), key=lambda it: -(it * 37 % 100))]


def test_a_run_that_was_cancelled_lends_its_urgency_to_nobody() -> None:
    leader = Cluster(room=0)
    leader.admit(
        draft("urgent", labels=("gpu",), priority=100), draft("later", labels=("gpu",)), draft("b", priority=50)
    )
    leader.tell(CancelLive("c", "client-1", 1, "not wanted"), sender="registry")
    leader.offer(room=1, labels=("gpu",))
    assert jobs(leader) == ["b"]


def test_what_is_given_back_keeps_the_urgency_that_it_had() -> None:
    leader = Leader(thread=1)
    leader.admit(draft("first"))
    leader.now += MINUTE
    leader.admit(draft("second"), key="2")
    leader.end(leader.assigned()[0], "not_started", after=MINUTE)
    assert jobs(leader) == ["first", "first"]


def test_what_a_pause_held_up_keeps_the_urgency_that_it_had() -> None:
    leader = Leader(thread=1)
    leader.tell(HoldJob("h", "t", "first", held=True), sender="registry")
    leader.admit(draft("first"))
    leader.admit(draft("busy"), key="2")
    leader.now += MINUTE
    leader.admit(draft("second"), key="3")
    leader.now += MINUTE
    leader.tell(HoldJob("g", "t", "first", held=False), sender="registry")
    leader.end(leader.assigned()[0])
    assert jobs(leader) == ["busy", "first"]


def test_a_new_leader_ranks_by_how_long_runs_have_waited_and_not_since_it_leads() -> None:
    row = live_row(7, claim=False)
    low = replace(row, run=replace(row.run, created_at=NOW - 100 * MINUTE, not_before=NOW - 100 * MINUTE, priority=-90))
    leader = Leader((low,), thread=0)
    leader.admit(draft("high"))
    leader.out.clear()
    leader.tell_room(1)
    assert [order.run_id for order in leader.assigned()] == [7]


def test_a_retry_ages_from_the_end_of_its_wait() -> None:
    leader = Leader(thread=1)
    leader.admit(draft("again", retry=Retry(kind="fixed", attempts=2, delay_us=10 * MINUTE, jitter="none")))
    leader.end(leader.assigned()[0], "failed")
    leader.admit(draft("busy"), key="2")
    leader.admit(draft("later", priority=-3), key="3")
    leader.tell(TimerFired("look"), after=10 * MINUTE)
    leader.end(leader.assigned()[1])
    assert jobs(leader) == ["again", "busy", "later"]


# ---- what is said -------------------------------------------------------------------------------------------------------


def test_why_a_run_waits_is_renewed_when_the_only_node_that_could_run_it_has_left_and_when_one_has_come() -> None:
    leader = Cluster(room=1, resources={"gpu": 1})
    leader.admit(draft(resources={"gpu": 1}), draft(resources={"gpu": 1}))
    assert shown(leader, 2).reason == "waits for a free place"
    leader.tell(PeerLost("n2", "i2"))
    leader.read_marks(leader.assigned()[0].fence, dead=True)
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    now = shown(leader, 2)
    assert (now.reason, now.look_at) == ("waits for a node that has 1 gpu", leader.now + 30 * SECOND)
    leader.beat("n3", "i3")
    leader.offer("n3", "i3", room=0, resources={"gpu": 1})
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert shown(leader, 2).reason == "waits for a free place"


def test_of_very_many_runs_it_is_asked_again_in_several_turns_what_they_wait_for() -> None:
    leader = Leader()
    train = Draft(make_job("train", after=("ingest",)), "submit", None, "m/1", waits=True)
    leader.admit(*[train] * (AUDITED_A_TURN + 1))
    leader.tell(*(Noted(it.key) for it in leader.out if isinstance(it, RunsMade)))
    leader.out.clear()

    def asked() -> list[int]:
        return [made.run_id for it in leader.out if isinstance(it, RunsMade) for made in it.runs]

    leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert asked() == list(range(1, AUDITED_A_TURN + 1))
    leader.tell(TimerFired("audit_runs"))
    assert asked()[AUDITED_A_TURN:] == [AUDITED_A_TURN + 1]


def test_what_has_ended_while_others_were_asked_about_waits_for_nothing() -> None:
    leader = Leader()
    train = Draft(make_job("train", after=("ingest",)), "submit", None, "m/1", waits=True)
    leader.admit(*[train] * (AUDITED_A_TURN + 1))
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    leader.tell(CancelLive("c", "client-1", AUDITED_A_TURN + 1, "not wanted"), sender="registry")
    leader.out.clear()
    leader.tell(TimerFired("audit_runs"))
    assert [it for it in leader.out if isinstance(it, RunsMade)] == []


def test_of_very_many_runs_it_is_said_anew_in_several_turns_why_they_wait() -> None:
    leader = Leader(thread=0)
    leader.admit(*[draft()] * (AUDITED_A_TURN + 1))
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    first, last = shown(leader, 1), shown(leader, AUDITED_A_TURN + 1)
    assert (first.look_at, last.look_at) == (leader.now + 30 * SECOND, leader.now)
    leader.tell(TimerFired("audit_runs"))
    assert shown(leader, AUDITED_A_TURN + 1).look_at == leader.now + 30 * SECOND
    assert [timer.key for timer in leader.timers].count("audit_runs") == 1, "when all are renewed it is over"


def test_somebody_looks_again_at_a_run_that_waits_for_a_hook_after_each_audit() -> None:
    leader = Leader(thread=0)
    leader.admit(Draft(make_job("next", after=("first",)), "submit", None, "m/1", waits=True))
    for _ in range(3):
        leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert shown(leader, 1).look_at == leader.now + 30 * SECOND


# ---- resources ----------------------------------------------------------------------------------------------------------


def cluster(**more: Any) -> Cluster:
    """A node with four units of a resource, which four small runs have taken."""
    leader = Cluster(room=8, resources={"gpu": 4}, **more)
    leader.admit(*(draft("small", priority=-100, resources={"gpu": 1}) for _ in range(4)))
    return leader


def end(leader: Cluster, order: Any) -> None:
    leader.tell(AttemptsEnded("n2", (outcome(order),)), sender=OTHER)


def test_a_run_that_needs_all_of_a_resource_gets_it_though_small_ones_keep_coming() -> None:
    leader = cluster()
    leader.admit(draft("big", priority=100, resources={"gpu": 4}), key="big")
    leader.now += STARVED_US
    for number in range(4):
        leader.admit(draft("small", priority=-100, resources={"gpu": 1}), key=f"small {number}")
        end(leader, leader.assigned()[number])
    assert jobs(leader) == ["small"] * 4 + ["big"]
    end(leader, leader.assigned()[4])
    assert jobs(leader)[5:] == ["small"] * 4


def test_units_are_kept_for_nobody_who_has_not_waited_for_long_or_is_less_urgent_or_paused() -> None:
    for wait, priority, held in ((0, 100, False), (STARVED_US, -100, False), (STARVED_US, 100, True)):
        leader = cluster()
        leader.admit(draft("big", priority=priority, resources={"gpu": 4}), key="big")
        if held:
            leader.tell(HoldJob("h", "t", "big", held=True), sender="registry")
        leader.now += wait
        leader.admit(draft("small", priority=0, resources={"gpu": 1}), key="more")
        end(leader, leader.assigned()[0])
        assert jobs(leader) == ["small"] * 5, (wait, priority, held)


def test_what_uses_other_resources_or_none_is_not_held_up_by_who_waits_for_long() -> None:
    leader = Cluster(room=8, resources={"gpu": 4, "disk": 4})
    leader.admit(draft("small", resources={"gpu": 1}))
    leader.admit(draft("big", priority=100, resources={"gpu": 4}), key="big")
    leader.now += STARVED_US
    leader.admit(draft("plain"), draft("disk", resources={"disk": 1}), draft("small", resources={"gpu": 1}), key="more")
    assert sorted(jobs(leader)) == ["disk", "plain", "small"]


def test_units_beyond_what_is_kept_are_given_to_others() -> None:
    leader = Cluster(room=2, resources={"gpu": 4})
    leader.admit(draft("busy"), draft("busy"))
    leader.admit(draft("big", priority=100, resources={"gpu": 2}), key="big")  # it lacks a place, not units
    leader.now += STARVED_US
    leader.admit(*(draft("other", executor="process", resources={"gpu": 1}) for _ in range(4)), key="more")
    assert jobs(leader) == ["busy", "busy", "other", "other"]
    end(leader, leader.assigned()[0])
    assert jobs(leader)[4:] == ["big"]


def test_of_several_nodes_only_the_one_that_is_freed_soonest_keeps_its_units() -> None:
    leader = Cluster(room=8, resources={"gpu": 4})
    leader.beat("n3", "i3")
    leader.offer("n3", "i3", room=8, resources={"gpu": 4})
    leader.admit(*(draft("small", resources={"gpu": 1}) for _ in range(8)))
    leader.admit(draft("big", priority=100, resources={"gpu": 4}), key="big")
    leader.now += STARVED_US
    leader.admit(*(draft("small", priority=-100, resources={"gpu": 1}) for _ in range(8)), key="more")
    there = [order for to, order in leader.ordered() if to == OTHER]
    for order in there:
        end(leader, order)
    elsewhere = [order for to, order in leader.ordered() if to != OTHER]
    leader.tell(AttemptsEnded("n3", (outcome(elsewhere[0]),)), sender="executor@n3")
    assert [order.job for to, order in leader.ordered() if to == OTHER] == ["small"] * 4 + ["big"]
    assert len([order for to, order in leader.ordered() if to != OTHER]) == 5
