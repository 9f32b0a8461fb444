from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from callsheet.actors.executor.runner import Outcome
from callsheet.actors.messages import (
    Accepted,
    Admit,
    AdmitSlot,
    AdmitSlots,
    AttemptsEnded,
    Beat,
    CancelAccepted,
    CancelLive,
    Decided,
    Draft,
    DueSlot,
    HoldJob,
    KnowJobs,
    MarksRead,
    Recorded,
    RequestRejected,
    Resolve,
    RunsEnded,
    Saved,
    SaveRejected,
    StockTaken,
    Stop,
    StopAttempts,
    TakeStock,
    TimerFired,
    Unblock,
    WatchLive,
)
from callsheet.actors.persistence.store import (
    AddAttempts,
    AddClaim,
    AddDecisions,
    AddEnds,
    AddRuns,
    AdvanceJob,
    Committed,
)
from callsheet.actors.records import (
    Decision,
    ErrorInfo,
    Hook,
    Job,
    Retry,
    RunState,
)
from callsheet.triggers import DecisionKind
from support.actors import MINUTE, NOW, SECOND, Leader, live_row, make_job, make_record

ERROR = ErrorInfo("builtins.ValueError", ("builtins.Exception",), "no", "")


def draft(job: Job | None = None, **more: Any) -> Draft:
    return Draft(job or make_job(), "submit", None, "", **more)


def states(leader: Leader) -> list[str]:
    return [str(end.state) for end in leader.written(AddEnds, "ends")]


def kinds(leader: Leader) -> list[str]:
    return [type(message).__name__ for message in leader.out]


def test_a_submission_is_accepted_and_its_order_leaves_only_when_both_are_durable() -> None:
    leader = Leader()
    leader.hold_saves = True
    leader.admit(draft())
    assert not [message for message in leader.out if isinstance(message, Accepted)]
    assert leader.assigned() == []
    leader.hold_saves = False
    leader.tell(TimerFired("save"))  # nobody answered: it is sent again, and now the store says yes
    assert [message.run_ids for message in leader.out if isinstance(message, Accepted)] == [(1,)]
    assert [order.run_id for order in leader.assigned()] == [1]


def test_a_run_and_its_claim_are_one_transaction_when_a_place_is_free() -> None:
    leader = Leader()
    leader.hold_saves = True
    leader.admit(draft())
    (save,) = leader.held
    assert [type(write) for write in save.writes if isinstance(write, AddRuns | AddClaim)] == [AddRuns, AddClaim]


def test_no_more_is_claimed_than_there_is_room() -> None:
    leader = Leader(thread=2)
    leader.admit(*(draft() for _ in range(5)))
    assert len(leader.assigned()) == 2
    leader.end(leader.assigned()[0])
    assert len(leader.assigned()) == 3


def test_a_repeated_submission_gets_the_same_runs() -> None:
    leader = Leader()
    leader.admit(draft(), key="same")
    leader.admit(draft(), key="same")
    answers = [message for message in leader.out if isinstance(message, Accepted)]
    assert [answer.run_ids for answer in answers] == [(1,), (1,)]
    assert len(leader.assigned()) == 1


def test_the_watcher_hears_of_an_end_and_the_executor_may_forget_it() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.end(leader.assigned()[0], result=b"\x01")
    (news,) = [message for message in leader.out if isinstance(message, RunsEnded)]
    assert (news.ends[0].run_id, news.ends[0].state, news.ends[0].result) == (1, RunState.SUCCEEDED, b"\x01")
    assert Recorded((1,)) in leader.out


def test_an_outcome_with_a_stale_fence_changes_nothing_and_is_acknowledged() -> None:
    leader = Leader()
    leader.admit(draft())
    order = leader.assigned()[0]
    stale = Outcome(order.fence + 7, order.run_id, 1, "succeeded", NOW, NOW)
    leader.tell(AttemptsEnded("n", (stale,)), sender="executor")
    assert states(leader) == []
    assert leader.out[-1] == Recorded((order.fence + 7,))


def test_a_failed_attempt_waits_by_its_policy_and_is_tried_again_up_to_the_limit() -> None:
    retry = Retry(kind="fixed", attempts=3, delay_us=5 * SECOND, jitter="none")
    leader = Leader()
    leader.admit(draft(make_job(retry=retry, delivery="at_least_once")))
    for attempt in (1, 2, 3):
        order = leader.assigned()[-1]
        assert order.attempt == attempt
        leader.end(order, "failed", error=ERROR)
        assert len(leader.assigned()) == attempt, "it must not begin before the wait is over"
        leader.tell(TimerFired("look"), after=5 * SECOND)
    assert len(leader.assigned()) == 3
    assert states(leader) == ["FAILED"]


def test_an_error_that_is_not_to_be_retried_ends_the_run() -> None:
    leader = Leader()
    leader.admit(draft(make_job(retry=Retry(attempts=5, give_up_on=("ValueError",)))))
    leader.end(leader.assigned()[0], "failed", error=ERROR)
    assert states(leader) == ["FAILED"]


def test_a_snooze_spends_no_attempt() -> None:
    leader = Leader()
    leader.admit(draft(make_job(retry=Retry(attempts=2, delay_us=0))))
    leader.end(leader.assigned()[0], "snoozed", retry_after_us=SECOND)
    leader.tell(TimerFired("look"), after=SECOND)
    assert [order.attempt for order in leader.assigned()] == [1, 1]


def test_a_crash_loses_what_may_begin_once_and_repeats_what_may_begin_again() -> None:
    once, again = Leader(), Leader()
    once.admit(draft())
    once.end(once.assigned()[0], "crashed", error=ERROR)
    assert states(once) == ["LOST"]
    again.admit(draft(make_job(delivery="at_least_once", max_crashes=2)))
    again.end(again.assigned()[0], "crashed", error=ERROR)
    again.tell(TimerFired("look"), after=MINUTE)
    again.end(again.assigned()[1], "crashed", error=ERROR)
    assert states(again) == ["QUARANTINED"]


def test_what_an_executor_gives_back_is_claimed_anew_with_a_greater_fence() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.end(leader.assigned()[0], "not_started")
    first, second = leader.assigned()
    assert second.run_id == first.run_id
    assert second.attempt == first.attempt
    assert second.fence > first.fence


def test_that_a_claim_came_back_is_stored() -> None:
    leader = Leader(thread=1)
    leader.admit(draft())
    leader.tell(HoldJob("h", "t", "work", held=True), sender="registry")
    leader.end(leader.assigned()[0], "not_started")
    (attempt,) = leader.written(AddAttempts, "attempts")
    assert (attempt.fence, attempt.outcome, attempt.attempts) == (1, "not_started", 0)


def test_a_run_whose_function_nobody_knows_is_parked_and_not_ended() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.end(leader.assigned()[0], "unknown_target")
    assert states(leader) == []
    leader.tell(CancelLive("c", "client-1", 1, "no more"))
    assert states(leader) == ["CANCELLED"]


def test_larger_priorities_go_first_and_waiting_raises() -> None:
    leader = Leader(thread=1)
    leader.admit(draft(make_job("busy")))
    leader.admit(draft(make_job("low")), key="2")
    leader.admit(draft(make_job("high"), priority=1), key="3")
    leader.end(leader.assigned()[0])
    assert leader.assigned()[1].job == "high"
    late = Leader(thread=1)
    late.admit(draft(make_job("busy")))
    late.admit(draft(make_job("low")), key="2")
    late.now += 2 * MINUTE
    late.admit(draft(make_job("high"), priority=1), key="3")
    late.end(late.assigned()[0])
    assert late.assigned()[1].job == "low"


def test_a_cancel_of_a_running_run_is_stored_before_it_is_asked_to_stop() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.hold_saves = True
    leader.tell(CancelLive("c", "client-1", 1, "enough"))
    assert not [message for message in leader.out if isinstance(message, StopAttempts | CancelAccepted)]
    leader.hold_saves = False
    leader.tell(TimerFired("save"))
    assert [message.state for message in leader.out if isinstance(message, CancelAccepted)] == [RunState.CANCELLING]
    leader.end(leader.assigned()[0], "cancelled")
    assert states(leader) == ["CANCELLED"]


def test_a_slot_that_comes_while_its_job_is_paused_is_left_to_who_lets_it_go_on() -> None:
    leader = Leader()
    job = make_job()
    leader.tell(HoldJob("h", "t", "work", held=True), sender="registry")
    leader.tell(due(job, NOW))
    assert leader.out[-1] == Decided(f"due/{(NOW,)}", held=(job.key,))
    leader.tell(HoldJob("g", "t", "work", held=False, mark=NOW + MINUTE), sender="registry")
    leader.tell(due(job, NOW + MINUTE))
    assert leader.written(AddRuns, "runs") == []
    leader.tell(due(job, NOW + 2 * MINUTE))
    assert len(leader.written(AddRuns, "runs")) == 1


def due(job: Job, *instants: int) -> AdmitSlots:
    fired = tuple(Decision("t", job.name, at, at, 1, DecisionKind.FIRED, NOW) for at in instants)
    slot = DueSlot(job, fired, instants[-1], len(instants), None)
    return AdmitSlots(f"due/{instants}", (AdmitSlot(slot, tuple((Draft(job, "slot", at, ""),) for at in instants)),))


def test_a_client_that_chooses_the_key_of_a_batch_of_slots_keeps_none_of_them_from_being_decided() -> None:
    leader = Leader()
    slots = due(make_job(), NOW)
    leader.admit(Draft(make_job("other"), "submit", None, ""), key=slots.key)
    leader.tell(slots, sender="dependencies")
    assert [it.to for it in leader.sent if isinstance(it.message, Accepted)] == ["client-1"]
    assert [it.to for it in leader.sent if isinstance(it.message, Decided)] == ["clock"]
    assert [run.job for run in leader.written(AddRuns, "runs")] == ["other", "work"]


def test_decision_run_and_mark_of_a_slot_are_one_transaction() -> None:
    leader = Leader()
    leader.hold_saves = True
    leader.tell(due(make_job(), NOW))
    (save,) = leader.held
    assert {AddRuns, AddDecisions, AdvanceJob} <= {type(write) for write in save.writes}
    assert "Decided" not in kinds(leader)


def test_a_slot_is_skipped_while_an_earlier_run_has_not_ended() -> None:
    leader = Leader()
    leader.tell(due(make_job(), NOW))
    leader.tell(due(make_job(), NOW + SECOND))
    found = [(decision.kind, decision.run_id) for decision in leader.written(AddDecisions, "decisions")]
    assert found == [("FIRED", 1), ("SKIPPED_OVERLAP", 1)]
    assert len(leader.assigned()) == 1


def test_overlap_allow_all_starts_another() -> None:
    leader = Leader()
    job = make_job(overlap="allow_all")
    leader.tell(due(job, NOW))
    leader.tell(due(job, NOW + SECOND))
    assert len(leader.assigned()) == 2


def test_slots_that_one_catch_up_fires_run_one_after_the_other() -> None:
    leader = Leader()
    leader.tell(due(make_job(), NOW, NOW + 1, NOW + 2))
    for count in (1, 2, 3):
        assert len(leader.assigned()) == count
        leader.end(leader.assigned()[-1])
    assert [order.slot for order in leader.assigned()] == [NOW, NOW + 1, NOW + 2]


def test_a_repeated_due_makes_no_second_run() -> None:
    leader = Leader()
    leader.tell(due(make_job(), NOW))
    leader.tell(due(make_job(), NOW))
    assert len(leader.written(AddRuns, "runs")) == 1
    assert kinds(leader).count("Decided") == 2
    assert Decided(f"due/{(NOW,)}") in leader.out


def test_a_submission_that_is_asked_again_behind_ten_thousand_others_is_made_once() -> None:
    leader = Leader()
    leader.admit(draft(), key="asked twice")
    others = (Admit(f"other/{number}", "client-2", (draft(),), 1) for number in range(10_000))  # what a mailbox holds
    leader.tell(*others)
    leader.admit(draft(), key="asked twice")
    assert len(leader.written(AddRuns, "runs")) == 10_001


def test_a_waiting_run_begins_when_it_is_unblocked_with_what_is_handed_on() -> None:
    leader = Leader()
    job = make_job("train", after=("ingest",))
    leader.admit(Draft(job, "submit", None, "m/1", waits=True))
    assert leader.assigned() == []
    leader.tell(Unblock(1, (b"\x05",)))
    assert leader.assigned()[0].handed == (b"\x05",)


def test_a_waiting_run_that_is_resolved_ends_with_the_reason() -> None:
    leader = Leader()
    leader.admit(Draft(make_job("train", after=("ingest",)), "submit", None, "m/1", waits=True))
    leader.tell(Resolve(1, RunState.UPSTREAM_FAILED, "upstream 'ingest' ended FAILED"))
    (end,) = leader.written(AddEnds, "ends")
    assert (end.state, end.reason) == (RunState.UPSTREAM_FAILED, "upstream 'ingest' ended FAILED")


def test_a_full_store_refuses_submissions_and_keeps_what_has_run() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.hold_saves = True
    leader.end(leader.assigned()[0])
    leader.tell(SaveRejected(leader.held[-1].key, "full", "disk full"), sender="persistence")
    leader.admit(draft(), key="2")
    assert [message.code for message in leader.out if isinstance(message, RequestRejected)] == ["store_full"]
    leader.hold_saves = False
    leader.tell(TimerFired("save"))
    assert states(leader) == ["SUCCEEDED"]
    leader.admit(draft(), key="3")
    assert len(leader.assigned()) == 2, "with room again, it takes work again"


def test_a_submission_that_did_not_fit_is_refused_and_leaves_nothing() -> None:
    leader = Leader()
    leader.hold_saves = True
    leader.admit(draft())
    leader.tell(SaveRejected(leader.held[-1].key, "full", "disk full"), sender="persistence")
    assert [message.code for message in leader.out if isinstance(message, RequestRejected)] == ["store_full"]
    leader.hold_saves = False
    leader.tell(TimerFired("save"))
    assert leader.written(AddRuns, "runs") == []
    leader.admit(*(draft() for _ in range(4)), key="2")
    assert len(leader.assigned()) == 4, "the places of what was refused are free again"


def test_the_hooks_before_a_run_that_was_there_by_its_key_are_cancelled() -> None:
    leader = Leader()
    leader.tell(KnowJobs(1, 1, (make_record(make_job("first", hook=Hook(moment="before"))),)))
    leader.hold_saves = True
    leader.admit(draft(token="key"))
    (held,) = leader.held
    (runs,) = [write.runs for write in held.writes if isinstance(write, AddRuns)]
    asked, hook = sorted(runs, key=lambda run: run.job, reverse=True)
    leader.hold_saves = False
    leader.tell(Saved(held.key, Committed(tokens=((asked.run_id, replace(asked, run_id=99)),))), sender="persistence")
    assert leader.assigned() == []
    assert [(end.run_id, end.state) for end in leader.written(AddEnds, "ends")] == [(hook.run_id, RunState.CANCELLED)]


def test_a_new_leader_settles_the_claims_of_the_dead_by_their_marks() -> None:
    rows = (live_row(1, claim=True), live_row(2, claim=True), live_row(3, claim=False))
    stock = StockTaken(1, "n", "i", (), (MarksRead("dead", readable=True, fences=(91,), dead=True),))
    leader = Leader(rows, stock)
    assert [(end.run_id, end.state) for end in leader.written(AddEnds, "ends")] == [(1, RunState.LOST)]
    assert sorted(order.run_id for order in leader.assigned()) == [2, 3]


def test_an_answer_to_another_question_does_not_settle_the_claims_of_a_new_leader() -> None:
    other = StockTaken(1, "n", "i", (), (MarksRead("another", readable=True, fences=(), dead=True),))
    leader = Leader((live_row(1, claim=True, by="i"),), other, StockTaken(1, "n", "i", (), ()))
    assert states(leader) == []
    assert [order.run_id for order in leader.assigned()] == [1], "the marks of its own life tell that it was not begun"


def test_where_marks_cannot_be_read_what_was_claimed_counts_as_begun_when_its_node_is_given_up() -> None:
    stock = StockTaken(1, "n", "i", (), (MarksRead("dead", readable=False, fences=()),))
    leader = Leader((live_row(1, claim=True),), stock)
    assert states(leader) == []
    for _ in range(101):
        leader.tell(TimerFired("members"), after=SECOND // 10)
    assert states(leader) == ["LOST"]


def test_what_this_executor_still_holds_goes_on() -> None:
    leader = Leader((live_row(1, claim=True, by="i"),), StockTaken(1, "n", "i", (91,), ()))
    assert leader.assigned() == []
    ended = Outcome(91, 1, 1, "succeeded", NOW, NOW + 1)
    leader.tell(AttemptsEnded("n", (ended,)), sender="executor")
    assert states(leader) == ["SUCCEEDED"]


def test_an_order_whose_claim_is_not_durable_is_not_sent_again_either() -> None:
    leader = Leader(thread=1)
    leader.admit(draft(), draft())
    first, *_ = leader.assigned()
    leader.hold_saves = True
    leader.end(first, after=MINUTE)  # gives its place to the second, which has waited for long
    leader.tell(TimerFired("audit"))
    assert leader.assigned() == [first]
    leader.tell(Saved(leader.held[-1].key, Committed()), sender="persistence")
    assert [order.run_id for order in leader.assigned()] == [first.run_id, first.run_id + 1]


def test_a_stopping_scheduler_takes_nothing_new_and_says_when_all_has_ended() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.tell(Stop(10 * SECOND), sender="client-1")
    leader.admit(draft(), key="2")
    assert [message.code for message in leader.out if isinstance(message, RequestRejected)] == ["stopping"]
    assert "NodeStopped" not in kinds(leader)
    leader.end(leader.assigned()[0])
    assert "NodeStopped" in kinds(leader)


def test_what_drains_too_slowly_is_made_to_stop() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.tell(Stop(10 * SECOND), sender="client-1")
    leader.tell(TimerFired("stop"), after=10 * SECOND)
    assert [message.reason for message in leader.out if isinstance(message, StopAttempts)] == ["shutdown"]
    assert states(leader) == []


def test_a_key_that_was_taken_after_the_registry_looked_is_refused_whole() -> None:
    leader = Leader()
    leader.admit(draft(arguments=b"a", token="key"))
    leader.admit(draft(), draft(arguments=b"b", token="key"), key="2")
    (refused,) = [message for message in leader.out if isinstance(message, RequestRejected)]
    assert (refused.key, refused.code, refused.index) == ("2", "token_conflict", 1)
    assert len(leader.written(AddRuns, "runs")) == 1


def test_the_key_of_a_submission_that_did_not_fit_is_free() -> None:
    leader = Leader()
    leader.hold_saves = True
    leader.admit(draft(arguments=b"a", token="key"))
    leader.tell(SaveRejected(leader.held[-1].key, "full", "disk full"), sender="persistence")
    leader.hold_saves = False
    leader.tell(TimerFired("save"))
    leader.admit(draft(arguments=b"b", token="key"), key="2")
    assert [message.key for message in leader.out if isinstance(message, Accepted)] == ["2"]


def test_who_watches_a_run_whose_end_is_being_stored_is_told_of_it() -> None:
    leader = Leader()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.hold_saves = True
    leader.end(order)
    leader.tell(WatchLive("client-2", "t", (order.run_id,)), sender="registry")
    leader.hold_saves = False
    leader.tell(Saved(leader.held[-1].key, Committed()), sender="persistence")
    told = [(it.to, it.message) for it in leader.sent if isinstance(it.message, RunsEnded)]
    assert [to for to, _ in told] == ["client-1", "client-2"]


def test_a_run_that_had_ended_before_it_was_watched_is_looked_for_again() -> None:
    leader = Leader()
    leader.admit(draft(), draft())
    ended, running = leader.assigned()
    leader.end(ended)
    leader.tell(WatchLive("client-2", "t", (ended.run_id, running.run_id)), sender="registry")
    assert leader.out[-1] == WatchLive("client-2", "t", (ended.run_id,))


def test_an_executor_whose_word_of_a_free_place_was_lost_is_asked_what_it_has() -> None:
    leader = Leader()
    leader.tell(Beat("n2", "i2", "", candidate=True, at=leader.now), sender="coordinator@n2")
    leader.sent.clear()
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert sorted(it.to for it in leader.sent if isinstance(it.message, TakeStock)) == ["executor", "executor@n2"]
