"""What becomes of the work of a node that is silent, or dead, or was given up."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from callsheet.actors.executor.runner import Outcome
from callsheet.actors.messages import (
    Answer,
    AttemptsBegun,
    AttemptsEnded,
    AttemptsLost,
    Beat,
    ClearMarks,
    Describe,
    MarksRead,
    PeerFound,
    PeerLost,
    Recorded,
    StockTaken,
    TimerFired,
    Unblock,
    Withdraw,
    Withdrawn,
)
from callsheet.actors.persistence.store import AddAttempts
from callsheet.actors.records import Condition, RunRecord, RunState
from support.actors import NOW, SECOND, Leader, live_row, make_job
from support.membership import OTHER, Cluster, draft, ends, outcome


def test_an_attempt_whose_outcome_a_failed_executor_knew_counts_as_crashed() -> None:
    leader = Cluster()
    leader.admit(draft(delivery="at_most_once"))
    (order,) = leader.assigned()

    leader.tell(AttemptsLost("i1", (order.fence,)), sender=OTHER)
    assert ends(leader) == []
    leader.tell(AttemptsLost("i2", (order.fence,)), sender=OTHER)
    assert ends(leader) == [(order.run_id, RunState.LOST)]
    assert order.fence in leader.last(Recorded).fences


def test_a_silent_node_gets_no_work_and_what_it_has_not_begun_goes_elsewhere() -> None:
    leader = Cluster()
    leader.admit(draft(), draft())
    begun, waiting = leader.assigned()
    leader.be_silent(0.5)
    leader.read_marks(begun.fence, revoked=waiting.fence)
    assert [(it.run_id, it.outcome) for it in leader.written(AddAttempts, "attempts")] == [
        (waiting.run_id, "not_started")
    ]
    leader.offer("n", "i", room=4)  # the leader's own executor has room now
    assert [order.run_id for order in leader.assigned()[2:]] == [waiting.run_id]
    assert ends(leader) == []


def test_what_was_not_revoked_is_not_taken_back_from_a_node_that_may_live() -> None:
    leader = Cluster()
    leader.admit(draft())
    leader.be_silent(0.5)
    leader.read_marks(revoked=0)
    assert leader.written(AddAttempts, "attempts") == []


def test_a_node_that_is_heard_again_keeps_what_it_has_begun() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.be_silent(5)
    leader.read_marks(order.fence, revoked=order.fence)
    leader.beat()
    leader.tell(AttemptsEnded("n2", (outcome(order),)), sender=OTHER)
    assert ends(leader) == [(order.run_id, RunState.SUCCEEDED)]


@pytest.mark.parametrize(("delivery", "expected"), [("at_most_once", [RunState.LOST]), ("at_least_once", [])])
def test_what_a_dead_node_had_begun_is_settled_by_its_delivery_promise(delivery: Any, expected: list[RunState]) -> None:
    leader = Cluster()
    leader.admit(draft(delivery=delivery))
    (order,) = leader.assigned()
    leader.tell(PeerLost("n2", "i2"))
    leader.read_marks(order.fence, dead=True)
    assert [state for _, state in ends(leader)] == expected
    crashed = [it.outcome for it in leader.written(AddAttempts, "attempts")]
    assert crashed == ([] if expected else ["crashed"])


def test_what_a_dead_node_had_not_begun_is_given_back_unspent() -> None:
    leader = Cluster()
    leader.admit(draft())
    leader.tell(PeerLost("n2", "i2"))
    leader.read_marks(dead=True)
    assert [it.outcome for it in leader.written(AddAttempts, "attempts")] == ["not_started"]
    assert ends(leader) == []


def test_the_marks_of_the_dead_go_only_with_something_that_was_written() -> None:
    leader = Cluster()
    leader.hold_saves = True
    leader.tell(PeerLost("n2", "i2"))
    leader.read_marks(dead=True)
    assert ClearMarks(("i2",)) not in leader.out, "another may lead, and have given it what these marks tell of"
    leader.hold_saves = False
    leader.tell(TimerFired("save"))
    assert ClearMarks(("i2",)) in leader.out


def test_the_marks_of_a_dead_node_that_cannot_be_read_count_as_begun() -> None:
    leader = Cluster()
    leader.admit(draft())
    leader.tell(PeerLost("n2", "i2"))
    leader.read_marks(dead=True, readable=False)
    assert [state for _, state in ends(leader)] == [RunState.LOST]


def test_what_a_dead_life_said_does_not_bring_it_back_however_late_it_arrives() -> None:
    leader = Cluster()
    leader.tell(PeerLost("n2", "i2"))
    leader.read_marks(dead=True)
    leader.beat()
    leader.offer()
    leader.admit(draft())
    assert leader.assigned() == []
    leader.beat(incarnation="i3")
    leader.offer(incarnation="i3")
    assert len(leader.assigned()) == 1, "another life of the node is welcome"


def test_a_node_that_is_silent_for_long_is_given_up_and_gets_nothing_for_late_words_until_it_is_heard() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.be_silent(9.9)
    assert ends(leader) == []
    leader.be_silent(0.2)
    leader.read_marks(order.fence, revoked=order.fence)
    assert [state for _, state in ends(leader)] == [RunState.LOST]
    leader.tell(AttemptsEnded("n2", (outcome(order),)), sender=OTHER)
    assert [state for _, state in ends(leader)] == [RunState.LOST]
    leader.offer()
    leader.admit(draft(), key="k2")
    assert leader.assigned() == [order]
    leader.beat()
    leader.offer()
    assert len(leader.assigned()) == 2


def test_an_order_that_was_taken_back_while_its_claim_was_being_stored_never_leaves() -> None:
    leader = Cluster()
    leader.hold_saves = True
    leader.admit(draft())
    leader.be_silent(0.5)
    leader.read_marks(revoked=1_000)
    leader.hold_saves = False
    leader.tell(TimerFired("save"))
    assert leader.assigned() == []


def test_orders_that_a_node_does_not_know_of_are_asked_for_when_its_line_stands_again() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.tell(PeerFound("n2", "i2"))
    leader.tell(StockTaken(1, "n2", "i2", (), ()), sender=OTHER)
    withdraw = leader.last(Withdraw)
    assert withdraw.fences == (order.fence,)
    leader.tell(Withdrawn(withdraw.key, (), (order.fence,)), sender=OTHER)
    assert [it.run_id for it in leader.assigned()] == [order.run_id, order.run_id]


def test_an_order_that_leaves_after_stock_was_asked_for_is_not_missed() -> None:
    leader = Cluster()
    leader.hold_saves = True
    leader.admit(draft())
    leader.tell(PeerFound("n2", "i2"))
    leader.tell(StockTaken(1, "n2", "i2", (), ()), sender=OTHER)
    leader.tell(PeerFound("n2", "i2"))
    leader.hold_saves = False
    leader.tell(TimerFired("save"))
    assert len(leader.assigned()) == 1
    leader.tell(StockTaken(1, "n2", "i2", (), ()), sender=OTHER)
    assert not [message for message in leader.out if isinstance(message, Withdraw)]


def reason(leader: Leader, run_id: int) -> str:
    """Why a live run is not further, as a client is told."""
    row = RunRecord(live_row(run_id, claim=False).run, RunState.READY)
    leader.tell(Describe("d", "client-1", (row,)))
    (answer,) = [message for message in leader.out if isinstance(message, Answer)][-1:]
    return str(answer.rows[0].reason)


def test_that_the_node_of_a_running_attempt_is_silent_is_said_while_it_is() -> None:
    leader = Cluster()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.be_silent(0.5)
    leader.read_marks(order.fence, revoked=order.fence)
    assert reason(leader, order.run_id) == "running; n2 is silent"
    leader.beat()
    assert reason(leader, order.run_id) == "running"


def test_what_a_new_leader_has_found_with_a_node_that_answers_is_not_said_to_be_silent() -> None:
    row = replace(live_row(1, claim=True, by="i2"), claimed_by="n2")
    leader = Leader((row,), StockTaken(1, "n", "i", (), (MarksRead("i2", readable=True, fences=(91,)),)))
    assert reason(leader, 1) == "running; n2 is silent"
    leader.tell(Beat("n2", "i2", "", candidate=True, at=NOW), sender="coordinator@n2")
    assert reason(leader, 1) == "running"


def test_a_new_leader_says_of_every_run_why_it_is_not_further() -> None:
    cancelled = Condition(2, RunState.CANCELLING, NOW, "")
    rows = (live_row(1, claim=True, by="i"), replace(live_row(2, claim=True, by="i"), condition=cancelled))
    leader = Leader(rows, StockTaken(1, "n", "i", (91, 92), ()))
    assert reason(leader, 1) == "claimed; its function has not been seen to begin"
    assert reason(leader, 2) == "cancelled by request"
    leader.tell(AttemptsBegun(((1, 91),)), sender="executor")
    assert reason(leader, 1) == "running"


def test_an_order_goes_out_again_from_a_new_leader_only_with_what_the_upstreams_hand_on() -> None:
    run = replace(live_row(1, claim=False).run, group="m/1")
    row = replace(live_row(1, claim=True, by="i"), run=run)
    leader = Leader((row,), StockTaken(1, "n", "i", (91,), ()), definitions=(make_job(after=("ingest",)),))
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert leader.assigned() == [], "dependencies has not said yet what is handed on"
    leader.tell(Unblock(1, (b"\x05",)), sender="dependencies")
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert [(order.fence, order.handed) for order in leader.assigned()] == [(91, (b"\x05",))]


def test_what_a_new_leader_cannot_give_its_upstreams_results_yet_is_fetched_back_if_its_order_was_lost() -> None:
    run = replace(live_row(1, claim=False).run, group="m/1")
    row = replace(live_row(1, claim=True, by="i"), run=run)
    leader = Leader((row,), StockTaken(1, "n", "i", (91,), ()), definitions=(make_job(after=("ingest",)),))
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    (withdraw,) = [message for message in leader.out if isinstance(message, Withdraw)]
    leader.tell(Withdrawn(withdraw.key, (), withdraw.fences, "i"), sender="executor")
    leader.tell(Unblock(1, (b"\x05",)), sender="dependencies")
    assert [order.handed for order in leader.assigned()] == [(b"\x05",)]


def test_what_was_taken_for_begun_and_comes_back_waits_again_for_what_is_handed_on() -> None:
    run = replace(live_row(1, claim=False).run, group="m/1")
    row = replace(live_row(1, claim=True, by="i"), run=run)
    leader = Leader((row,), StockTaken(1, "n", "i", (91,), ()), definitions=(make_job(after=("ingest",)),))
    leader.tell(AttemptsBegun(((1, 91),)), sender="executor")  # a worker process had it
    came_back = Outcome(91, 1, 1, "not_started", 0, NOW)
    leader.tell(AttemptsEnded("n", (came_back,)), sender="executor")
    assert reason(leader, 1) == "waits for ingest"
    leader.tell(Unblock(1, (b"\x05",)), sender="dependencies")
    assert [order.handed for order in leader.assigned()] == [(b"\x05",)]


def test_what_was_taken_for_begun_and_comes_back_is_parked_when_nobody_knows_its_function_any_more() -> None:
    leader = Leader()
    leader.admit(draft(), draft())
    first, second = leader.assigned()
    leader.tell(AttemptsBegun(((second.run_id, second.fence),)), sender="executor")  # a worker process had it
    leader.end(first, "unknown_target")
    leader.end(second, "not_started")
    assert reason(leader, second.run_id) == "no node knows the function 'work'; declare it where it is to run"
