"""The deadline for all attempts of a run, and the one until which the first must have begun."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from callsheet.actors.coordinator.reign import LOOKED_A_TURN
from callsheet.actors.messages import (
    Answer,
    Assign,
    AttemptsBegun,
    CancelLive,
    Describe,
    Draft,
    HoldJob,
    KnowJobs,
    MarksRead,
    StockTaken,
    StopAttempts,
    TimerFired,
    Unblock,
    Withdraw,
    Withdrawn,
)
from callsheet.actors.persistence.store import AddEnds
from callsheet.actors.records import ErrorInfo, Hook, Retry, RunRecord, RunState
from support.actors import MINUTE, NOW, SECOND, Leader, live_row, make_job, make_record

ERROR = ErrorInfo("builtins.ValueError", ("builtins.Exception",), "no", "")


def draft(**more: Any) -> Draft:
    waits = more.pop("waits", False)
    return Draft(make_job(**more), "submit", None, "m/1" if waits else "", waits=waits)


def states(leader: Leader) -> list[str]:
    return [str(end.state) for end in leader.written(AddEnds, "ends")]


def begin(*, deadline: int = MINUTE, **more: Any) -> tuple[Leader, Any]:
    """A leader, and the order of a run with a deadline for all attempts."""
    leader = Leader()
    leader.admit(draft(run_deadline_us=deadline, delivery="at_least_once", **more))
    return leader, leader.assigned()[0]


@pytest.mark.parametrize("outcome", ["not_started", "snoozed", "crashed", "cancelled", "unknown_target"])
def test_what_comes_back_after_its_deadline_is_timed_out_however_it_comes_back(outcome: str) -> None:
    leader, order = begin()
    leader.tell(TimerFired("look"), after=MINUTE)
    leader.end(order, outcome, error=ERROR if outcome == "crashed" else None)
    assert states(leader) == ["TIMED_OUT"]
    leader.tell(TimerFired("look"), after=MINUTE)
    assert leader.assigned() == [order]


def test_a_hook_is_held_to_its_deadline_too() -> None:
    leader = Leader(thread=1)
    hook = make_job("hook", hook=Hook(moment="after"), run_deadline_us=MINUTE)
    leader.tell(KnowJobs(1, 1, (make_record(hook),)), HoldJob("h", "t", "hook", held=True), sender="registry")
    leader.admit(draft())
    leader.end(leader.assigned()[0])
    leader.tell(TimerFired("look"), after=MINUTE)
    assert states(leader) == ["SUCCEEDED", "TIMED_OUT"]


def test_what_fails_after_its_deadline_is_not_tried_again() -> None:
    leader, order = begin(retry=Retry(attempts=5, delay_us=0))
    leader.tell(TimerFired("look"), after=MINUTE)
    leader.end(order, "failed", error=ERROR)
    assert states(leader) == ["FAILED"]


def test_a_parked_run_ends_at_its_deadline() -> None:
    leader, order = begin()
    leader.end(order, "unknown_target")
    assert states(leader) == []
    leader.tell(TimerFired("look"), after=MINUTE)
    assert states(leader) == ["TIMED_OUT"]


def test_that_an_attempt_is_to_end_at_its_deadline_is_said_again() -> None:
    leader, order = begin()
    leader.tell(TimerFired("look"), after=MINUTE)
    assert [it.reason for it in leader.out if isinstance(it, StopAttempts)] == ["timed_out"]
    leader.out.clear()
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    (stop,) = [it for it in leader.out if isinstance(it, StopAttempts)]
    assert (stop.reason, stop.fences) == ("timed_out", (order.fence,))
    withdraw, *_ = [it for it in leader.out if isinstance(it, Withdraw)]
    assert not [it for it in leader.out if isinstance(it, Assign)], "an order that is sent again may begin now"
    leader.tell(Withdrawn(withdraw.key, (), unknown=(order.fence,)), sender="executor")
    assert states(leader) == ["TIMED_OUT"]


def test_an_order_whose_claim_is_stored_after_the_deadline_does_not_leave() -> None:
    leader = Leader()
    leader.hold_saves = True
    leader.admit(draft(run_deadline_us=SECOND))
    leader.hold_saves = False
    leader.tell(TimerFired("save"), after=SECOND)
    assert leader.assigned() == []
    assert states(leader) == ["TIMED_OUT"]


def test_a_cancel_before_the_deadline_wins() -> None:
    leader, order = begin()
    leader.tell(CancelLive("c", "client-1", order.run_id, "enough"))
    leader.tell(TimerFired("look"), after=MINUTE)
    leader.end(order, "not_started")
    assert states(leader) == ["CANCELLED"]


def test_a_run_that_waits_for_upstreams_at_its_deadline_expires_and_does_not_begin_for_a_late_word() -> None:
    leader = Leader()
    leader.admit(draft(after=("first",), waits=True, run_deadline_us=MINUTE))
    leader.tell(Unblock(1, ()), after=MINUTE)
    assert (states(leader), leader.assigned()) == (["EXPIRED"], [])


def test_a_new_leader_does_not_begin_what_is_past_its_deadline() -> None:
    jobs = (make_record(make_job(run_deadline_us=MINUTE)),)
    stock = StockTaken(1, "n", "i", (), (MarksRead("dead", readable=True, fences=(), dead=True),))
    row = live_row(1, claim=True)
    early = replace(row, run=replace(row.run, created_at=NOW - MINUTE, not_before=NOW - MINUTE))
    leader = Leader((early,), stock, jobs=jobs)
    assert (states(leader), leader.assigned()) == (["TIMED_OUT"], [])


def test_a_run_whose_deadlines_pass_at_once_ends_once() -> None:
    leader = Leader(thread=0)
    leader.admit(draft(run_deadline_us=MINUTE, start_deadline_us=SECOND))
    leader.tell(TimerFired("look"), after=MINUTE)
    assert states(leader) == ["EXPIRED"]


# ---- the start ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["snoozed", "cancelled"])
def test_what_has_begun_once_does_not_expire_for_want_of_a_start(outcome: str) -> None:
    leader = Leader(thread=1)
    leader.admit(draft(start_deadline_us=MINUTE, delivery="at_least_once"), draft(name="busy"))
    leader.end(leader.assigned()[0], outcome, retry_after_us=2 * MINUTE)
    leader.tell(TimerFired("look"), after=2 * MINUTE)
    leader.tell(TimerFired("look"), after=SECOND)
    assert states(leader) == []
    leader.end(leader.assigned()[1])
    assert leader.assigned()[-1].run_id == 1


def test_a_snooze_for_no_time_in_the_microsecond_of_the_submission_is_a_begin_too() -> None:
    leader = Leader(thread=1)
    leader.admit(draft(start_deadline_us=MINUTE), draft(name="busy"))
    leader.end(leader.assigned()[0], "snoozed", retry_after_us=0)
    leader.tell(TimerFired("look"), after=SECOND)
    leader.tell(TimerFired("look"), after=2 * MINUTE)
    assert states(leader) == []


@pytest.mark.parametrize(("next_at", "expected"), [(0, ["EXPIRED"]), (NOW - SECOND, [])])
def test_a_new_leader_knows_whether_a_run_has_begun(next_at: int, expected: list[str]) -> None:
    row = live_row(1, claim=False, waits_until=next_at)
    early = replace(row, run=replace(row.run, created_at=NOW - MINUTE, not_before=NOW - MINUTE))
    leader = Leader((early,), jobs=(make_record(make_job(start_deadline_us=MINUTE)),))
    assert states(leader) == expected
    assert len(leader.assigned()) == 1 - len(expected)


def test_what_is_given_back_after_its_start_deadline_does_not_begin() -> None:
    leader = Leader()
    leader.admit(draft(start_deadline_us=SECOND))
    leader.end(leader.assigned()[0], "not_started", after=2 * SECOND)
    assert states(leader) == ["EXPIRED"]
    assert len(leader.assigned()) == 1


def test_what_is_tried_anew_after_it_was_parked_for_longer_than_its_start_deadline_does_not_begin() -> None:
    leader = Leader()
    job = make_job(start_deadline_us=SECOND)
    leader.admit(Draft(job, "submit", None, ""))
    leader.end(leader.assigned()[0], "unknown_target")
    leader.tell(KnowJobs(1, 1, (make_record(job),)), sender="registry", after=MINUTE)
    assert states(leader) == ["EXPIRED"]
    assert len(leader.assigned()) == 1


def test_a_run_that_waited_for_upstreams_past_its_start_deadline_begins_if_a_place_is_free() -> None:
    leader = Leader()
    leader.admit(draft(after=("first",), waits=True, start_deadline_us=SECOND))
    leader.tell(Unblock(1, ()), after=MINUTE)
    assert [order.run_id for order in leader.assigned()] == [1]


def test_a_run_that_waited_past_its_start_deadline_begins_also_if_the_store_is_busy_just_then() -> None:
    leader = Leader()
    leader.admit(draft(after=("first",), waits=True, start_deadline_us=SECOND))
    leader.hold_saves = True
    leader.admit(draft(name="busy"), key="2")
    leader.tell(Unblock(1, ()), after=MINUTE)
    leader.tell(TimerFired("look"))
    leader.hold_saves = False
    leader.tell(TimerFired("save"))
    assert [order.run_id for order in leader.assigned()] == [2, 1]


def test_a_run_that_waited_past_its_start_deadline_expires_if_no_place_is_free_for_a_moment() -> None:
    leader = Leader(thread=0)
    leader.admit(draft(after=("first",), waits=True, start_deadline_us=SECOND))
    leader.tell(Unblock(1, ()), after=MINUTE)
    leader.tell(TimerFired("look"))
    assert states(leader) == []
    leader.tell(TimerFired("look"), after=SECOND)
    assert states(leader) == ["EXPIRED"]


def fetched_back(leader: Leader) -> list[int]:
    """The fences of what was asked back since the last time."""
    withdrawn = [fence for it in leader.out if isinstance(it, Withdraw) for fence in it.fences]
    leader.out.clear()
    return withdrawn


def test_an_order_that_still_waits_on_its_node_at_its_start_deadline_is_fetched_back_and_expires() -> None:
    leader = Leader()
    leader.admit(draft(start_deadline_us=MINUTE))
    (order,) = leader.assigned()
    leader.tell(TimerFired("look"), after=MINUTE)
    assert fetched_back(leader) == [order.fence]
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert leader.assigned() == [], "an order that is sent again may begin now"
    assert order.fence in fetched_back(leader), "what was said may be lost"
    leader.end(order, "not_started")
    assert states(leader) == ["EXPIRED"]


def test_what_has_begun_by_its_start_deadline_is_not_fetched_back() -> None:
    leader = Leader()
    leader.admit(draft(start_deadline_us=MINUTE))
    (order,) = leader.assigned()
    leader.tell(AttemptsBegun(((order.run_id, order.fence),)), sender="executor")
    leader.tell(TimerFired("look"), after=MINUTE)
    assert fetched_back(leader) == []
    leader.end(order)
    assert states(leader) == ["SUCCEEDED"]


def test_an_order_whose_claim_is_stored_after_its_start_deadline_does_not_leave() -> None:
    leader = Leader()
    leader.hold_saves = True
    leader.admit(draft(start_deadline_us=SECOND))
    leader.hold_saves = False
    leader.tell(TimerFired("save"), after=SECOND)
    assert (states(leader), leader.assigned()) == (["EXPIRED"], [])


def test_what_waited_for_upstreams_past_its_start_deadline_has_a_moment_to_begin_on_its_node() -> None:
    leader = Leader()
    leader.admit(draft(after=("first",), waits=True, start_deadline_us=SECOND))
    leader.tell(Unblock(1, ()), after=MINUTE)
    (order,) = leader.assigned()
    leader.tell(TimerFired("look"))
    assert fetched_back(leader) == []
    leader.tell(TimerFired("look"), after=SECOND)
    assert fetched_back(leader) == [order.fence]


def test_very_many_runs_that_were_submitted_for_one_instant_become_ready_in_several_turns() -> None:
    leader = Leader(thread=2 * LOOKED_A_TURN)
    at = NOW + MINUTE
    leader.admit(*[replace(draft(), not_before=at)] * (LOOKED_A_TURN + 1))
    leader.timers.clear()
    leader.tell(TimerFired("look"), after=MINUTE)
    assert len(leader.assigned()) == LOOKED_A_TURN
    assert [timer.at for timer in leader.timers if timer.key == "look"] == [at], "it is due at once"
    leader.tell(TimerFired("look"))
    assert [order.run_id for order in leader.assigned()] == list(range(1, LOOKED_A_TURN + 2))


def test_a_new_leader_fetches_back_what_has_not_begun_by_its_start_deadline() -> None:
    stock = StockTaken(1, "n", "i", (), (MarksRead("dead", readable=True, fences=(), dead=False),))
    row = live_row(1, claim=True)
    assert row.claim is not None
    leader = Leader((row,), stock, jobs=(make_record(make_job(start_deadline_us=MINUTE)),))
    fetched_back(leader)
    leader.tell(TimerFired("look"), after=MINUTE)
    assert fetched_back(leader) == [row.claim.fence]


def test_a_new_leader_says_of_a_snoozed_run_why_it_waits() -> None:
    row = live_row(1, claim=False, waits_until=NOW + MINUTE)
    leader = Leader((row,))
    leader.tell(Describe("d", "client-1", (RunRecord(row.run, RunState.DELAYED),)))
    (answer,) = [it for it in leader.out if isinstance(it, Answer)]
    assert answer.rows[0].reason == "put off when it ran; waits for the next attempt"
