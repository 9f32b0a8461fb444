from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from callsheet.actors.actor import CLOCK, COORDINATOR, DEPENDENCIES, Address, deliver, sent
from callsheet.actors.messages import (
    Accepted,
    AddJobs,
    Admit,
    CancelAccepted,
    CancelLive,
    CancelRun,
    ChangeJob,
    Found,
    HoldJob,
    JobChanged,
    JobsAdded,
    KnowJobs,
    Lead,
    Noted,
    Plan,
    Read,
    RequestRejected,
    RunsEnded,
    Save,
    Saved,
    SaveRejected,
    StepDown,
    Submit,
    SubmitItem,
    TimerFired,
    WatchLive,
)
from callsheet.actors.persistence.store import (
    AddDecisions,
    AddReceipts,
    AdvanceJob,
    Committed,
    GetJobs,
    GetSubmissions,
    InsertJob,
    PutJob,
    SetJobStatus,
)
from callsheet.actors.records import End, JobRecord, Receipt, Run, RunRecord, RunState, Submission
from callsheet.actors.registry.announcement import MAX_UNNOTED, PORTION
from callsheet.actors.registry.changes import GIVEN_UP_US
from callsheet.actors.registry.registry import Registry
from callsheet.triggers import every
from support.actors import MINUTE, NOW, SECOND, make_job, make_record
from support.desk import CLIENT, Desk, add, only


def test_a_registry_that_has_followed_answers_again_when_its_own_node_leads() -> None:
    desk = Desk()
    desk.tell(StepDown(2, "n2"), "coordinator")
    assert only(add(desk, make_job()), RequestRejected).code == "not_leader"

    desk.tell(Lead(3, "n"), "coordinator")

    assert only(add(desk, make_job()), JobsAdded).key == "k"


def test_a_new_job_is_stored_then_armed_and_begins_after_now() -> None:
    desk = Desk()
    out = add(desk, make_job(trigger=every(60)))
    (insert, _) = desk.saves[0].writes
    assert isinstance(insert, InsertJob)
    assert (insert.state.mark, insert.state.next_due) == (NOW - 1, NOW + MINUTE)
    assert only(out, JobsAdded) == JobsAdded("k", 1, 0, 0)
    assert desk.learned(CLOCK) == [("work", "active")]


def test_a_job_that_is_declared_as_it_is_keeps_anchor_and_mark_and_leaves_its_receipt_alone() -> None:
    there = make_record(make_job(trigger=every(60)))
    desk = Desk(there)
    out = add(desk, make_job(trigger=every(60)), now=NOW + 10 * MINUTE)
    assert [save.writes for save in desk.saves] == [(AddReceipts((Receipt("k", NOW + 10 * MINUTE, same=1),)),)]
    assert only(out, JobsAdded) == JobsAdded("k", 0, 0, 1)
    assert desk.told == [(COORDINATOR, KnowJobs(1, 1, (there,)))], "what was parked for it is tried again"


@pytest.mark.parametrize("was_there", [False, True])
def test_what_was_read_of_a_job_before_it_was_declared_does_not_stand_for_it_since(was_there: bool) -> None:
    desk, job = Desk(), make_job()
    (read,) = sent(deliver(desk.registry, Submit("s", "t", (SubmitItem("work"),)), now=NOW, sender=CLIENT), Read)
    if isinstance(read.question, GetSubmissions):
        (read,) = sent(deliver(desk.registry, Found(read.key, ()), now=NOW, sender="persistence"), Read)
    add(desk, job)
    removed = replace(make_record(job), state=replace(make_record(job).state, status="removed"))
    late = desk.tell(Found(read.key, (removed,) * was_there), "persistence")
    assert only(late, Admit).key == "s"
    assert only(desk.tell(Submit("s2", "t", (SubmitItem("work"),))), Admit).key == "s2"


def test_a_changed_definition_keeps_the_trigger_and_its_mark() -> None:
    there = make_record(make_job(trigger=every(60)))
    desk = Desk(there)
    add(desk, make_job(trigger=every(60), priority=5), now=NOW + 10 * MINUTE)
    (put, _) = desk.saves[0].writes
    assert isinstance(put, PutJob)
    assert (put.job.version, put.job.anchor, put.state.mark) == (2, NOW, there.state.mark)


def test_a_job_that_is_declared_after_its_removal_tells_which_version_that_was() -> None:
    there = make_record(make_job(version=3))
    desk = Desk(JobRecord(there.job, replace(there.state, status="removed", removed=3)))
    out = add(desk, make_job())
    (put, _) = desk.saves[0].writes
    assert isinstance(put, PutJob)
    assert (put.job.version, put.state.status, put.state.removed) == (4, "active", 3)
    assert [it.state.removed for to, said in desk.told if to == COORDINATOR for it in said.records] == [3]
    assert only(out, JobsAdded).changed == 1


def test_a_removal_that_is_asked_for_again_stops_what_is_left_of_the_removed_version_alone() -> None:
    there = make_record(make_job(version=4))
    desk = Desk(JobRecord(there.job, replace(there.state, removed=3)))
    desk.receipts["c"] = Receipt("c", NOW)
    held = only(desk.tell(ChangeJob("c", "t", "work", "remove", epoch=-1)), HoldJob)
    assert (held.held, held.removed) == (False, 3)


def test_a_changed_trigger_never_judges_the_past() -> None:
    desk = Desk(make_record(make_job(trigger=every(60))))
    add(desk, make_job(trigger=every(30)), now=NOW + 10 * MINUTE)
    (put, _) = desk.saves[0].writes
    assert isinstance(put, PutJob)
    assert (put.job.anchor, put.state.mark) == (NOW + 10 * MINUTE, NOW + 10 * MINUTE - 1)


def test_a_name_that_is_taken_is_refused_when_a_job_is_added() -> None:
    out = add(Desk(make_record(make_job())), make_job(), mode="add")
    assert only(out, RequestRejected).code == "job_exists"


def test_an_unknown_upstream_is_refused_by_name_and_nothing_is_stored() -> None:
    desk = Desk()
    rejected = only(add(desk, make_job("b", after=("a",))), RequestRejected)
    assert (rejected.code, desk.saves) == ("unknown_upstream", [])
    assert "'b'" in rejected.text
    assert "'a'" in rejected.text


def test_a_cycle_is_refused_with_its_path() -> None:
    desk = Desk(make_record(make_job("a")), make_record(make_job("b", after=("a",))))
    rejected = only(add(desk, make_job("a", after=("b",))), RequestRejected)
    assert rejected.code == "cycle"
    assert "a → b → a" in rejected.text


def test_of_two_declarations_at_once_that_would_make_a_cycle_the_second_is_refused() -> None:
    registry = Registry()
    deliver(registry, Lead(1, "n"), Found("edges/1", ()), now=NOW)
    there = tuple(make_record(make_job(name)) for name in ("a", "b"))

    def store(effects: list[Any]) -> list[Any]:
        """What follows when the store answers, and dependencies notes what it is told."""
        out: list[Any] = []
        for effect in effects:
            match getattr(effect, "message", None):
                case Read(key, _):
                    out += deliver(registry, Found(key, there), now=NOW)
                case Save(key):
                    out += deliver(registry, Saved(key, Committed()), now=NOW)
                case KnowJobs() as told:
                    out += deliver(registry, Noted(told.key), now=NOW)
                case _:
                    out.append(effect)
        return out

    first = deliver(registry, AddJobs("k1", (make_job("a", after=("b",)),), epoch=1), now=NOW, sender="client-1")
    second = deliver(registry, AddJobs("k2", (make_job("b", after=("a",)),), epoch=1), now=NOW, sender="client-2")
    effects = [*first, *second]
    while sent(effects, (Read, Save, KnowJobs)):
        effects = store(effects)

    assert sent(effects, JobsAdded) == [JobsAdded("k1", 0, 1, 0)]
    (rejected,) = sent(effects, RequestRejected)
    assert (rejected.key, rejected.code) == ("k2", "cycle")


def test_linked_jobs_are_told_to_dependencies_with_their_roots() -> None:
    desk = Desk(make_record(make_job("a")))
    add(desk, make_job("b", after=("a",)))
    assert sorted(desk.learned(DEPENDENCIES)) == [("a", "active"), ("b", "active")]


def test_a_full_store_is_a_refusal() -> None:
    desk = Desk()
    desk.refuse = SaveRejected("", "full", "no room")
    rejected = only(add(desk, make_job()), RequestRejected)
    assert (rejected.code, "no room" in rejected.text) == ("store_full", True)


def test_a_submission_of_jobs_that_stand_alone_goes_straight_to_the_coordinator() -> None:
    desk = Desk(make_record(make_job("a")))
    admit = only(desk.tell(Submit("s", "t", (SubmitItem("a", b"\x01"), SubmitItem("a")))), Admit)
    assert (admit.client, admit.asked, [draft.arguments for draft in admit.drafts]) == (CLIENT, 2, [b"\x01", b""])


def test_a_submission_with_a_linked_job_goes_to_dependencies() -> None:
    desk = Desk(make_record(make_job("a")), make_record(make_job("b", after=("a",))))
    plan = only(desk.tell(Submit("s", "t", (SubmitItem("a"),))), Plan)
    assert (plan.client, plan.cause, [it.job.name for it in plan.items]) == (CLIENT, "submit", ["a"])


def test_a_taken_idempotency_key_is_refused_before_anything_is_stored() -> None:
    desk = Desk(make_record(make_job("a")))
    desk.runs = (RunRecord(Run(5, "t", "a", 1, "submit", None, "", NOW, NOW, 0, b"old", "key"), RunState.READY),)
    rejected = only(desk.tell(Submit("s", "t", (SubmitItem("a"), SubmitItem("a", b"new", "key")))), RequestRejected)
    assert (rejected.code, rejected.index) == ("token_conflict", 1)
    same = desk.tell(Submit("s", "t", (SubmitItem("a", b"old", "key"),)))
    assert len(only(same, Admit).drafts) == 1


def test_a_submission_of_an_unknown_job_is_refused_whole_with_the_index() -> None:
    desk = Desk(make_record(make_job("a")))
    out = desk.tell(Submit("s", "t", (SubmitItem("a"), SubmitItem("ghost"))))
    assert [type(message) for message in out] == [RequestRejected]
    assert (out[0].code, out[0].index) == ("unknown_job", 1)


def test_a_job_of_another_tenant_is_unknown() -> None:
    desk = Desk(make_record(make_job("a")))
    assert only(desk.tell(Submit("s", "other", (SubmitItem("a"),))), RequestRejected).code == "unknown_job"


def test_a_submission_that_is_sent_again_after_it_was_stored_gets_the_same_runs() -> None:
    desk = Desk(make_record(make_job("a")))
    desk.submissions = (Submission("s", 7, 2, NOW),)
    again = Submit("s", "t", (SubmitItem("a"), SubmitItem("a")))
    assert only(desk.tell(again), Accepted).run_ids == (7, 8)


def test_a_submission_that_was_sent_to_another_reign_may_be_stored_already() -> None:
    desk = Desk(make_record(make_job("a")))
    desk.submissions = (Submission("s", 7, 1, NOW),)
    assert only(desk.tell(Submit("s", "t", (SubmitItem("a"),), epoch=2)), Accepted).run_ids == (7,)


def test_a_submission_that_is_new_in_this_reign_is_passed_on_without_a_look_into_the_store() -> None:
    desk = Desk(make_record(make_job("a")))
    desk.submissions = (Submission("s", 7, 1, NOW),)
    assert len(only(desk.tell(Submit("s", "t", (SubmitItem("a"),), epoch=1)), Admit).drafts) == 1


def test_a_pause_is_stored_then_the_clock_and_the_coordinator_hold_then_the_client_hears() -> None:
    desk = Desk(make_record(make_job(trigger=every(60))))
    out = desk.tell(ChangeJob("c", "t", "work", "pause"))
    assert [type(message) for message in out] == [HoldJob, JobChanged]
    assert desk.learned(CLOCK) == [("work", "paused")]
    status = next(write for write in desk.saves[0].writes if isinstance(write, SetJobStatus))
    assert status.status == "paused"


def test_what_passed_in_a_pause_is_decided_when_it_is_resumed_and_the_mark_is_moved_with_it() -> None:
    record = make_record(make_job(trigger=every(60)))
    desk = Desk(JobRecord(record.job, replace(record.state, status="paused")))
    out = desk.tell(ChangeJob("c", "t", "work", "resume"), now=NOW + 150 * SECOND)
    writes = desk.saves[0].writes
    decisions = next(write for write in writes if isinstance(write, AddDecisions)).decisions
    assert {decision.kind for decision in decisions} == {"SKIPPED_PAUSED"}
    assert only(out, HoldJob).skipped == decisions, "hooks hear of it"
    assert sum(decision.count for decision in decisions) == 2
    assert next(write for write in writes if isinstance(write, AdvanceJob)).mark == NOW + 2 * MINUTE
    assert [it.state.next_due for to, said in desk.told if to == CLOCK for it in said.records] == [NOW + 3 * MINUTE]


def test_a_removed_job_is_gone_for_submissions_and_for_dependencies() -> None:
    desk = Desk(make_record(make_job()))
    out = desk.tell(ChangeJob("c", "t", "work", "remove"))
    assert desk.learned(DEPENDENCIES) == desk.learned(CLOCK) == desk.learned(COORDINATOR) == [("work", "removed")]
    assert only(out, HoldJob).removed == 1
    assert only(desk.tell(Submit("s", "t", (SubmitItem("work"),))), RequestRejected).code == "unknown_job"


def again(desk: Desk, now: int) -> list[tuple[Address, KnowJobs]]:
    """What is said again by then."""
    before = len(desk.told)
    desk.tell(TimerFired("announcements"), now=now)
    return desk.told[before:]


def test_what_the_clock_has_not_noted_is_said_again_after_a_second_under_a_new_number_until_it_is_noted() -> None:
    desk = Desk()
    desk.deaf = {CLOCK}
    add(desk, make_job(trigger=every(60)))
    assert again(desk, NOW + SECOND - 1) == []

    ((_, first), (_, second)) = (*desk.told, *again(desk, NOW + SECOND))
    assert second.records == first.records
    assert second.number > first.number

    desk.deaf = set()
    assert len(again(desk, NOW + 2 * SECOND)) == 1
    assert again(desk, NOW + 3 * SECOND) == []


def test_of_a_job_only_the_newest_is_said_again_and_an_older_acknowledgement_does_not_stand_for_it() -> None:
    desk = Desk(make_record(make_job(trigger=every(60))))
    desk.deaf = {CLOCK}
    desk.tell(ChangeJob("c", "t", "work", "pause"))
    desk.tell(ChangeJob("d", "t", "work", "reschedule", every(30)), now=NOW + 1)
    desk.tell(Noted(desk.told[0][1].key), CLOCK)

    again(desk, NOW + 2 * SECOND)

    assert desk.learned(CLOCK) == [("work", "paused"), ("work", "active"), ("work", "active")]


def test_a_late_acknowledgement_of_what_was_said_again_meanwhile_counts() -> None:
    desk = Desk()
    desk.deaf = {CLOCK}
    add(desk, make_job(trigger=every(60)))
    assert again(desk, NOW + SECOND)
    desk.tell(Noted(desk.told[0][1].key), CLOCK)
    assert again(desk, NOW + 2 * SECOND) == []


def test_much_is_said_again_in_portions() -> None:
    desk = Desk()
    desk.deaf = {CLOCK}
    for number in range(3):
        add(desk, *(make_job(f"job-{number}-{index}", every(60)) for index in range(200)), key=f"k{number}")
    portions = [len(message.records) for _, message in again(desk, NOW + SECOND)]
    assert (sum(portions), max(portions)) == (600, PORTION)


def test_when_too_much_is_not_noted_further_changes_wait_and_their_clients_ask_again() -> None:
    desk = Desk()
    desk.deaf = {CLOCK}
    for number in range(MAX_UNNOTED // 250):
        assert add(desk, *(make_job(f"job-{number}-{index}", every(60)) for index in range(250)), key=f"k{number}")
    assert add(desk, make_job("one-more", every(60))) == []
    desk.deaf = set()
    again(desk, NOW + SECOND)
    assert only(add(desk, make_job("one-more", every(60))), JobsAdded)


def test_a_new_reign_says_nothing_of_the_last_again() -> None:
    desk = Desk()
    desk.deaf = {CLOCK}
    add(desk, make_job(trigger=every(60)))
    desk.tell(Lead(2, "n"), "coordinator")
    assert again(desk, NOW + MINUTE) == []


def test_linked_jobs_are_added_when_dependencies_knows_them() -> None:
    desk = Desk(make_record(make_job("a")))
    desk.deaf = {DEPENDENCIES}
    assert add(desk, make_job("b", after=("a",))) == []
    desk.deaf = set()
    assert only(desk.tell(TimerFired("announcements"), now=NOW + SECOND), JobsAdded) == JobsAdded("k", 1, 0, 0)


def test_a_job_that_others_wait_for_is_told_to_dependencies_when_it_is_rescheduled() -> None:
    desk = Desk(make_record(make_job("a")), make_record(make_job("b", after=("a",))))
    desk.tell(ChangeJob("c", "t", "a", "reschedule", every(60)))
    assert desk.learned(DEPENDENCIES) == [("a", "active")]


def test_the_coordinator_is_asked_to_hold_a_job_until_it_does() -> None:
    desk = Desk(make_record(make_job()))
    desk.deaf = {COORDINATOR}
    held = only(desk.tell(ChangeJob("c", "t", "work", "pause")), HoldJob)
    assert desk.tell(TimerFired("errands"), now=NOW + SECOND - 1) == []
    assert desk.tell(TimerFired("errands"), now=NOW + SECOND) == [held]
    desk.deaf = set()
    assert [type(message) for message in desk.tell(TimerFired("errands"), now=NOW + 2 * SECOND)] == [
        HoldJob,
        JobChanged,
    ]
    assert desk.tell(TimerFired("errands"), now=NOW + 3 * SECOND) == []


def test_a_hold_is_not_asked_for_again_when_a_later_change_has_the_job_in_hand() -> None:
    desk = Desk(make_record(make_job()))
    desk.deaf = {COORDINATOR}
    desk.tell(ChangeJob("c", "t", "work", "pause"))
    later = NOW + GIVEN_UP_US
    resumed = only(desk.tell(ChangeJob("d", "t", "work", "resume"), now=later), HoldJob)
    assert desk.tell(TimerFired("errands"), now=later) == []
    assert desk.tell(TimerFired("errands"), now=later + SECOND) == [resumed]


def test_the_clock_hears_nothing_of_a_job_that_is_resumed_and_was_not_paused() -> None:
    desk = Desk(make_record(make_job(trigger=every(60))))
    assert only(desk.tell(ChangeJob("c", "t", "work", "resume")), JobChanged)
    assert desk.told == []


def test_a_job_that_was_removed_before_is_unknown_to_who_removes_it_now() -> None:
    record = make_record(make_job())
    desk = Desk(JobRecord(record.job, replace(record.state, status="removed")))
    assert only(desk.tell(ChangeJob("c", "t", "work", "remove")), RequestRejected).code == "unknown_job"


def row(state: RunState | None) -> RunRecord:
    run = Run(5, "t", "work", 1, "submit", None, "", NOW, NOW, 0, b"")
    end = None if state is None else End(5, state, NOW)
    return RunRecord(run, state or RunState.READY, end)


def test_a_cancel_goes_to_the_coordinator_while_the_run_lives() -> None:
    desk = Desk()
    desk.runs = (row(None),)
    assert only(desk.tell(CancelRun("c", "t", 5)), CancelLive).client == CLIENT


def test_a_cancel_of_an_ended_run_is_refused_unless_it_was_cancelled() -> None:
    desk = Desk()
    desk.runs = (row(RunState.SUCCEEDED),)
    assert only(desk.tell(CancelRun("c", "t", 5)), RequestRejected).code == "ended"
    desk.runs = (row(RunState.CANCELLED),)
    assert only(desk.tell(CancelRun("c", "t", 5)), CancelAccepted).state is RunState.CANCELLED
    desk.runs = ()
    assert only(desk.tell(CancelRun("c", "t", 5)), RequestRejected).code == "unknown_run"


def test_requests_that_come_before_the_graph_is_loaded_wait_for_it() -> None:
    registry = Registry()
    early = deliver(registry, Lead(1, "n"), Submit("s", "t", (SubmitItem("a"),), epoch=1), now=NOW, sender=CLIENT)
    assert len(sent(early, Read)) == 1, "only the graph is asked for"
    later = deliver(registry, Found("edges/1", ()), now=NOW)
    assert [read.question for read in sent(later, Read)] == [GetJobs((("t", "a"),))]


def test_requests_that_come_before_the_reign_wait_for_it_and_old_ones_do_not() -> None:
    registry = Registry()
    old = Submit("old", "t", (SubmitItem("gone"),))
    asked = Submit("s", "t", (SubmitItem("a"),), epoch=1)
    assert deliver(registry, old, now=NOW, elapsed=0, sender=CLIENT) == []
    assert deliver(registry, asked, replace(asked, epoch=0), now=NOW, elapsed=5 * MINUTE, sender=CLIENT) == []

    deliver(registry, Lead(1, "n"), now=NOW, elapsed=5 * MINUTE + 1)
    loaded = deliver(registry, Found("edges/1", ()), now=NOW, elapsed=5 * MINUTE + 2)

    assert [read.question for read in sent(loaded, Read)] == [GetSubmissions(("s",))], "once, and as it was sent last"


def test_runs_that_ended_while_a_client_asked_for_them_are_told_of_after_all() -> None:
    desk = Desk()
    run = Run(7, "t", "work", 1, "submit", None, "", NOW, NOW, 0, b"")
    desk.runs = (RunRecord(run, RunState.SUCCEEDED, End(7, RunState.SUCCEEDED, NOW, 1)),)
    told = desk.tell(WatchLive("client-2", "t", (7,)), sender="coordinator")
    assert [[end.run_id for end in message.ends] for message in told if isinstance(message, RunsEnded)] == [[7]]
