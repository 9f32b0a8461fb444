from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from callsheet.actors.actor import deliver, sent
from callsheet.actors.messages import (
    Accepted,
    AddJobs,
    Admit,
    Arm,
    CancelAccepted,
    CancelLive,
    CancelRun,
    ChangeJob,
    Disarm,
    Found,
    HoldJob,
    JobChanged,
    JobHeld,
    JobsAdded,
    KnowJobs,
    Lead,
    LinkJobs,
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
    WatchLive,
)
from callsheet.actors.persistence.store import (
    AddDecisions,
    AdvanceJob,
    Committed,
    GetJobs,
    GetSubmissions,
    InsertJob,
    PutJob,
    SetJobStatus,
)
from callsheet.actors.records import End, Job, JobRecord, Run, RunRecord, RunState, Submission
from callsheet.actors.registry.registry import Registry
from callsheet.triggers import every
from support.actors import MINUTE, NOW, make_job, make_record

CLIENT = "client-1"


class Desk:
    """A registry in a reign, with the store played by the test."""

    def __init__(self, *there: JobRecord) -> None:
        self.there = {record.job.key: record for record in there}
        self.registry = Registry()
        self.saves: list[Save] = []
        self.refuse: SaveRejected | None = None
        self.runs: tuple[RunRecord, ...] = ()
        self.submissions: tuple[Submission, ...] = ()
        self.out: list[Any] = []
        edges = tuple(record for record in there if record.job.after)
        deliver(self.registry, Lead(1, "n"), Found("edges/1", edges), now=NOW)

    def tell(self, message: Any, sender: str = CLIENT, now: int = NOW) -> list[Any]:
        """Deliver a message, answer for the store and the coordinator, and return what was sent to others."""
        before = len(self.out)
        for effect in deliver(self.registry, message, now=now, sender=sender):
            self._answer(getattr(effect, "message", None), now)
        return self.out[before:]

    def _answer(self, message: Any, now: int) -> None:
        match message:
            case None:
                pass
            case Read(key, GetJobs(names)):
                self.tell(
                    Found(key, tuple(self.there[name] for name in names if name in self.there)), "persistence", now
                )
            case Read(key, GetSubmissions()):
                self.tell(Found(key, self.submissions), "persistence", now)
            case Read(key, _):
                self.tell(Found(key, self.runs), "persistence", now)
            case Save() if self.refuse is not None:
                self.tell(replace(self.refuse, key=message.key), "persistence", now)
            case Save():
                self.saves.append(message)
                self.tell(Saved(message.key, Committed()), "persistence", now)
            case HoldJob():
                self.out.append(message)
                self.tell(JobHeld(message.key), "coordinator", now)
            case _:
                self.out.append(message)


def only(messages: list[Any], kind: type) -> Any:
    (found,) = [message for message in messages if isinstance(message, kind)]
    return found


def add(desk: Desk, *jobs: Job, mode: Any = "declare", now: int = NOW) -> list[Any]:
    return desk.tell(AddJobs("k", jobs, mode), now=now)


def test_a_registry_that_has_followed_answers_again_when_its_own_node_leads() -> None:
    desk = Desk()
    desk.tell(StepDown(2, "n2"), "coordinator")
    assert only(add(desk, make_job()), RequestRejected).code == "not_leader"

    desk.tell(Lead(3, "n"), "coordinator")

    assert only(add(desk, make_job()), JobsAdded).key == "k"


def test_a_new_job_is_stored_then_armed_and_begins_after_now() -> None:
    desk = Desk()
    out = add(desk, make_job(trigger=every(60)))
    (insert,) = desk.saves[0].writes
    assert isinstance(insert, InsertJob)
    assert (insert.state.mark, insert.state.next_due) == (NOW - 1, NOW + MINUTE)
    assert only(out, JobsAdded) == JobsAdded("k", 1, 0, 0)
    assert only(out, Arm).records[0].job.version == 1


def test_a_job_that_is_declared_as_it_is_keeps_anchor_and_mark_and_writes_nothing() -> None:
    there = make_record(make_job(trigger=every(60)))
    desk = Desk(there)
    out = add(desk, make_job(trigger=every(60)), now=NOW + 10 * MINUTE)
    assert desk.saves == []
    assert only(out, JobsAdded) == JobsAdded("k", 0, 0, 1)
    assert only(out, KnowJobs).jobs == (there.job,), "what was parked for it is tried again"


def test_a_changed_definition_keeps_the_trigger_and_its_mark() -> None:
    there = make_record(make_job(trigger=every(60)))
    desk = Desk(there)
    add(desk, make_job(trigger=every(60), priority=5), now=NOW + 10 * MINUTE)
    (put,) = desk.saves[0].writes
    assert isinstance(put, PutJob)
    assert (put.job.version, put.job.anchor, put.state.mark) == (2, NOW, there.state.mark)


def test_a_changed_trigger_never_judges_the_past() -> None:
    desk = Desk(make_record(make_job(trigger=every(60))))
    add(desk, make_job(trigger=every(30)), now=NOW + 10 * MINUTE)
    (put,) = desk.saves[0].writes
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


def test_linked_jobs_are_told_to_dependencies_with_their_roots() -> None:
    desk = Desk(make_record(make_job("a")))
    out = add(desk, make_job("b", after=("a",)))
    assert sorted(job.name for job in only(out, LinkJobs).jobs) == ["a", "b"]


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
    again = Submit("s", "t", (SubmitItem("a"), SubmitItem("a")), repeated=True)
    assert only(desk.tell(again), Accepted).run_ids == (7, 8)


def test_a_pause_is_stored_then_the_clock_and_the_coordinator_hold_then_the_client_hears() -> None:
    desk = Desk(make_record(make_job(trigger=every(60))))
    out = desk.tell(ChangeJob("c", "t", "work", "pause"))
    assert [type(message) for message in out] == [Disarm, HoldJob, JobChanged]
    status = next(write for write in desk.saves[0].writes if isinstance(write, SetJobStatus))
    assert status.status == "paused"


def test_what_passed_in_a_pause_is_decided_when_it_is_resumed_and_the_mark_is_moved_with_it() -> None:
    record = make_record(make_job(trigger=every(60)))
    desk = Desk(JobRecord(record.job, replace(record.state, status="paused")))
    out = desk.tell(ChangeJob("c", "t", "work", "resume"), now=NOW + 150 * 1_000_000)
    writes = desk.saves[0].writes
    decisions = next(write for write in writes if isinstance(write, AddDecisions)).decisions
    assert {decision.kind for decision in decisions} == {"SKIPPED_PAUSED"}
    assert sum(decision.count for decision in decisions) == 2
    assert next(write for write in writes if isinstance(write, AdvanceJob)).mark == NOW + 2 * MINUTE
    assert only(out, Arm).records[0].state.next_due == NOW + 3 * MINUTE


def test_a_removed_job_is_gone_for_submissions_and_for_dependencies() -> None:
    desk = Desk(make_record(make_job()))
    out = desk.tell(ChangeJob("c", "t", "work", "remove"))
    assert only(out, LinkJobs).removed == (("t", "work"),)
    assert only(out, HoldJob).removed
    assert only(desk.tell(Submit("s", "t", (SubmitItem("work"),))), RequestRejected).code == "unknown_job"


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
    early = deliver(registry, Lead(1, "n"), Submit("s", "t", (SubmitItem("a"),)), now=NOW, sender=CLIENT)
    assert len(sent(early, Read)) == 1, "only the graph is asked for"
    later = deliver(registry, Found("edges/1", ()), now=NOW)
    assert [read.question for read in sent(later, Read)] == [GetJobs((("t", "a"),))]


def test_requests_that_come_before_the_reign_wait_for_it_and_old_ones_do_not() -> None:
    registry = Registry()
    old = Submit("old", "t", (SubmitItem("gone"),))
    asked = Submit("s", "t", (SubmitItem("a"),))
    assert deliver(registry, old, now=NOW, elapsed=0, sender=CLIENT) == []
    assert deliver(registry, asked, replace(asked, repeated=True), now=NOW, elapsed=5 * MINUTE, sender=CLIENT) == []

    deliver(registry, Lead(1, "n"), now=NOW, elapsed=5 * MINUTE + 1)
    loaded = deliver(registry, Found("edges/1", ()), now=NOW, elapsed=5 * MINUTE + 2)

    assert [read.question for read in sent(loaded, Read)] == [GetSubmissions(("s",))], "once, and as it was sent last"


def test_runs_that_ended_while_a_client_asked_for_them_are_told_of_after_all() -> None:
    desk = Desk()
    run = Run(7, "t", "work", 1, "submit", None, "", NOW, NOW, 0, b"")
    desk.runs = (RunRecord(run, RunState.SUCCEEDED, End(7, RunState.SUCCEEDED, NOW, 1)),)
    told = desk.tell(WatchLive("client-2", "t", (7,)), sender="coordinator")
    assert [[end.run_id for end in message.ends] for message in told if isinstance(message, RunsEnded)] == [[7]]
