"""A change of jobs is carried out once for each key, however late and however often its copies come."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from callsheet.actors.actor import CLOCK, COORDINATOR, DEPENDENCIES, deliver, sent
from callsheet.actors.messages import (
    AddJobs,
    ChangeJob,
    Found,
    HoldJob,
    JobChanged,
    JobsAdded,
    Lead,
    Plan,
    Query,
    Read,
    RequestRejected,
    Submit,
    SubmitItem,
    TimerFired,
)
from callsheet.actors.persistence.store import AddReceipts, GetJobs, GetReceipts
from callsheet.actors.records import JobRecord, Receipt
from callsheet.actors.registry.changes import GIVEN_UP_US, GOT_NOWHERE_US, MAX_CHANGES, Changes
from callsheet.actors.registry.registry import Registry
from callsheet.triggers import every
from support.actors import NOW, SECOND, make_job, make_record
from support.desk import CLIENT, Desk, add, only


@pytest.mark.parametrize(("action", "status"), [("pause", "paused"), ("remove", "removed"), ("resume", "active")])
def test_a_change_that_was_stored_before_its_answer_was_lost_is_held_and_answered_without_being_written_again(
    action: Any, status: Any
) -> None:
    record = make_record(make_job(trigger=every(60)))
    desk = Desk(JobRecord(record.job, replace(record.state, status=status)))
    desk.receipts = {"c": Receipt("c", NOW)}
    out = desk.tell(ChangeJob("c", "t", "work", action))
    assert [type(message) for message in out] == [HoldJob, JobChanged]
    assert desk.saves == []
    assert desk.learned(CLOCK) == [("work", status)], "who was to be told of it may not have been"


LATE_CHANGES = [ChangeJob("c", "t", "work", "pause"), ChangeJob("c", "t", "work", "remove")]


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("change", LATE_CHANGES)
def test_a_late_copy_of_a_change_undoes_nothing_that_came_after_it_and_is_answered(
    change: ChangeJob, epoch: int
) -> None:
    active = make_record(make_job(trigger=every(60)))
    desk = Desk(active)
    desk.receipts = {"c": Receipt("c", NOW)}
    out = desk.tell(replace(change, epoch=epoch))
    assert not only(out, HoldJob).held
    assert only(out, JobChanged).record == active
    assert desk.saves == []
    assert {status for to in (CLOCK, COORDINATOR) for _, status in desk.learned(to)} == {"active"}


def test_a_late_copy_of_a_declaration_undoes_nothing_that_came_after_it_and_is_answered_as_before() -> None:
    desk = Desk(make_record(make_job(trigger=every(60))))
    desk.receipts = {"k": Receipt("k", NOW, 1, 2, 3)}
    out = add(desk, make_job(trigger=every(30)))
    assert out == [JobsAdded("k", 1, 2, 3)]
    assert desk.saves == []
    assert [record.job.trigger for _, said in desk.told for record in said.records] == [every(60)] * 2


def test_a_declaration_whose_storing_was_never_heard_is_known_when_it_is_asked_for_again() -> None:
    job = make_job("load", after=("work",), version=2)
    before = make_record(make_job("load"))
    desk = Desk(JobRecord(before.job, replace(before.state, status="removed", removed=1)), make_record(make_job()))
    assert only(desk.tell(Submit("s", "t", (SubmitItem("load"),), epoch=1)), RequestRejected).code == "unknown_job"
    desk.there[job.key] = make_record(job)
    desk.receipts = {"k": Receipt("k", NOW, changed=1)}
    assert add(desk, job) == [JobsAdded("k", 0, 1, 0)]
    for actor in (DEPENDENCIES, COORDINATOR, CLOCK):
        assert ("load", "active") in desk.learned(actor)
    assert ("work", "active") in desk.learned(DEPENDENCIES), "somebody waits for it now"
    assert only(desk.tell(Submit("s2", "t", (SubmitItem("load"),), epoch=1)), Plan).key == "s2"


def test_a_declaration_without_upstreams_whose_storing_was_never_heard_is_told_to_dependencies_too() -> None:
    desk = Desk(make_record(make_job("work")), make_record(make_job("load", after=("work",))))
    anew = make_job("load", version=2)
    desk.there[anew.key] = make_record(anew)
    desk.receipts = {"k": Receipt("k", NOW, changed=1)}
    assert add(desk, anew) == [JobsAdded("k", 0, 1, 0)]
    assert desk.learned(DEPENDENCIES) == [("load", "active")], "it goes on making runs of it with those of `work` else"
    assert add(desk, make_job("work", after=("load",)), key="k2") == [JobsAdded("k2", 0, 1, 0)], "it is no cycle now"


def test_the_late_first_copy_of_a_change_that_is_not_stored_is_carried_out() -> None:
    desk = Desk(make_record(make_job()))
    assert only(desk.tell(ChangeJob("c", "t", "work", "pause", epoch=2)), JobChanged).record.state.status == "paused"


def test_a_change_that_is_new_in_this_reign_is_begun_without_a_look_for_its_receipt() -> None:
    desk = Desk(make_record(make_job()))
    desk.receipts = {"c": Receipt("c", NOW), "k": Receipt("k", NOW, same=1)}
    desk.tell(ChangeJob("c", "t", "work", "pause", epoch=1))
    desk.tell(AddJobs("k", (make_job("more"),), epoch=1))
    assert len(desk.saves) == 2


def test_a_change_that_comes_twice_as_the_first_copy_is_carried_out_once() -> None:
    desk = Desk(make_record(make_job()))
    twice = ChangeJob("c", "t", "work", "pause", epoch=1)
    desk.tell(twice)
    desk.tell(ChangeJob("d", "t", "work", "resume", epoch=1))
    assert only(desk.tell(twice), JobChanged).record.state.status == "active"
    assert len(desk.saves) == 2


def test_a_declaration_that_changed_nothing_undoes_nothing_when_it_comes_late() -> None:
    before, after = make_record(make_job()), make_record(make_job(trigger=every(30)))
    desk = Desk(before)
    assert add(desk, before.job) == [JobsAdded("k", 0, 0, 1)]
    desk.there = {after.job.key: after}
    assert add(desk, before.job) == [JobsAdded("k", 0, 0, 1)]
    assert len(desk.saves) == 1


def test_the_receipt_is_stored_with_the_change() -> None:
    desk = Desk(make_record(make_job()))
    desk.tell(ChangeJob("c", "t", "work", "pause"))
    add(desk, make_job(trigger=every(30)), make_job("more"))
    kept = [write.receipts for save in desk.saves for write in save.writes if isinstance(write, AddReceipts)]
    assert kept == [(Receipt("c", NOW),), (Receipt("k", NOW, added=1, changed=1),)]


def test_a_receipt_for_a_job_that_nobody_knows_is_no_reason_to_fail() -> None:
    desk = Desk()
    desk.receipts = {"c": Receipt("c", NOW)}
    assert only(desk.tell(ChangeJob("c", "t", "work", "pause")), RequestRejected).code == "unknown_job"


def test_a_declaration_that_is_answered_again_waits_until_dependencies_knows_its_jobs() -> None:
    desk = Desk(make_record(make_job("a")))
    desk.deaf = {DEPENDENCIES}
    assert add(desk, make_job("b", after=("a",))) == []
    assert add(desk, make_job("b", after=("a",)), now=NOW + GOT_NOWHERE_US) == []
    assert len(desk.saves) == 1
    desk.deaf = set()
    answers = desk.tell(TimerFired("announcements"), now=NOW + 2 * GOT_NOWHERE_US)
    assert set(answers) == {JobsAdded("k", 1, 0, 0)}


def test_what_the_store_says_of_a_change_that_has_begun_anew_meanwhile_is_not_written_by() -> None:
    registry = Registry()
    deliver(registry, Lead(1, "n"), Found("edges/1", ()), now=NOW)
    change = ChangeJob("c", "t", "work", "pause", epoch=1)
    (first,) = sent(deliver(registry, change, now=NOW, elapsed=SECOND, sender=CLIENT), Read)
    later = SECOND + GOT_NOWHERE_US
    (second,) = sent(deliver(registry, replace(change, epoch=0), now=NOW, elapsed=later, sender=CLIENT), Read)
    found = Found(first.key, (make_record(make_job()),))
    assert deliver(registry, found, now=NOW, elapsed=later + 1) == [], "two lines of one change could write twice"
    assert second.question == GetReceipts(("c",))
    assert len(sent(deliver(registry, Found(second.key, ()), now=NOW, elapsed=later + 2), Read)) == 1


def test_what_was_read_for_a_change_whose_job_another_took_over_is_not_written_by() -> None:
    registry = Registry()
    deliver(registry, Lead(1, "n"), Found("edges/1", ()), now=NOW)
    (stuck,) = sent(
        deliver(registry, ChangeJob("c", "t", "work", "pause", epoch=1), now=NOW, elapsed=SECOND, sender=CLIENT), Read
    )
    later = SECOND + GIVEN_UP_US
    other = AddJobs("k", (make_job(),), epoch=1)
    assert len(sent(deliver(registry, other, now=NOW, elapsed=later, sender=CLIENT), Read)) == 1
    assert deliver(registry, Found(stuck.key, (make_record(make_job()),)), now=NOW, elapsed=later) == []


def test_changes_that_wait_for_one_job_are_limited_and_those_that_got_nowhere_make_room() -> None:
    changes = Changes()
    for number in range(MAX_CHANGES):
        assert not changes.is_full(number)
        assert changes.may_begin(CLIENT, ChangeJob(f"c{number}", "t", "work", "pause"), number) is (number == 0)
    assert changes.is_full(MAX_CHANGES)
    assert not changes.is_full(GIVEN_UP_US + 1)
    assert len(changes) == MAX_CHANGES - 2
    assert changes.may_begin(CLIENT, ChangeJob("later", "t", "work", "pause"), GIVEN_UP_US + 1)


def test_a_registry_whose_changes_are_full_takes_no_more_of_them_and_goes_on_with_the_rest() -> None:
    registry = Registry()
    deliver(registry, Lead(1, "n"), Found("edges/1", ()), now=NOW)
    for number in range(MAX_CHANGES + 5):
        deliver(registry, ChangeJob(f"c{number}", "t", "work", "pause", epoch=1), now=NOW, sender=CLIENT)
    assert sent(deliver(registry, AddJobs("a", (make_job(),), epoch=1), now=NOW, sender=CLIENT), Read) == []
    assert sent(deliver(registry, Query("q", GetJobs((("t", "work"),))), now=NOW, sender=CLIENT), Read) != []
