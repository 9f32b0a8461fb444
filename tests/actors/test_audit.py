"""What is written down of who changed what."""

import pytest

from callsheet.actors.actor import deliver
from callsheet.actors.audit import MAX_NAMED, audit_events, who
from callsheet.actors.messages import (
    AddJobs,
    Admit,
    CancelLive,
    ChangeJob,
    Draft,
    DrainNode,
    Found,
    Lead,
    Query,
    Read,
    Save,
)
from callsheet.actors.persistence.store import AddEvents, AddRuns, GetJobs, ListEvents
from callsheet.actors.records import Event
from callsheet.actors.registry.registry import Registry
from support.actors import NOW, Leader, make_job, make_record, sent

ALICE = "client-7~alice@n1"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("client-7~alice@n1", "alice"),
        ("client-7~alice", "alice"),
        ("client-7~root~alice@n1~bob", "alice"),
        ("client-7", ""),
        ("client-7@n1", ""),
        ("client-7@n~1", ""),
        ("registry", ""),
        ("", ""),
    ],
)
def test_the_name_of_who_asked_stands_last_in_the_name_of_the_client(address: str, name: str) -> None:
    assert who(address) == name


def test_an_event_says_who_what_whose_and_in_which_reign() -> None:
    [event] = audit_events(NOW, ALICE, ChangeJob("k", "t", "work", "pause"), 5)

    assert event == Event(
        NOW, "audit", "t", "work", None, "who=alice message=ChangeJob tenant='t' action=pause epoch=5"
    )


def test_each_tenant_gets_its_own_line_and_sees_no_other() -> None:
    other = make_job("theirs", description="x")
    jobs = (make_job("a"), make_job("b"), type(other)(tenant="u", name="theirs"))

    events = audit_events(NOW, ALICE, AddJobs("k", jobs), 5)

    assert [event.tenant for event in events] == ["t", "u"]
    assert events[0].text == "who=alice message=AddJobs tenant='t' mode=declare jobs=['a', 'b'] epoch=5"
    assert (events[1].job, "'a'" in events[1].text) == ("theirs", False)


def test_a_long_list_of_jobs_is_cut() -> None:
    jobs = tuple(make_job(f"job{number:03}") for number in range(MAX_NAMED + 5))

    [event] = audit_events(NOW, ALICE, AddJobs("k", jobs), 5)

    assert "job019" in event.text
    assert "job020" not in event.text
    assert "and 5 more" in event.text


def test_what_a_client_writes_itself_cannot_look_like_another_line() -> None:
    run = Leader()
    run.admit(Draft(make_job(), "submit", None, ""))
    [made] = run.written(AddRuns, "runs")
    evil = CancelLive("k", ALICE, made.run_id, "x'\nwho=root message=DrainNode")

    [event] = audit_events(NOW, ALICE, evil, 5, run=made)

    assert "\n" not in event.text
    assert event.text.startswith("who=alice message=CancelRun tenant='t' reason=")
    assert event.run_id == made.run_id


def test_a_drain_is_written_down_for_everybody() -> None:
    [event] = audit_events(NOW, ALICE, DrainNode("k", "n2", stop=True), 5)

    assert event.tenant == ""
    assert event.text == "who=alice message=DrainNode tenant='' node='n2' on=True stop=True epoch=5"


@pytest.mark.parametrize(
    ("address", "message"),
    [("client-7", ChangeJob("k", "t", "work", "pause")), (ALICE, Query("k", ListEvents(tenant="t")))],
)
def test_local_calls_and_questions_are_not_written_down(address: str, message: object) -> None:
    assert audit_events(NOW, address, message, 5) == ()


# ---- in the transaction of the change -------------------------------------------------------------------------------------


def leading_registry() -> Registry:
    registry = Registry()
    deliver(registry, Lead(1, "n"), now=NOW)
    deliver(registry, Found("edges/1", ()), now=NOW)
    return registry


def saved_events(registry: Registry, request: object, client: str, *there: object) -> list[str]:
    """The audit of what the registry has stored for a client's request."""
    [read] = [
        it for it in sent(deliver(registry, request, now=NOW, sender=client), Read) if isinstance(it.question, GetJobs)
    ]
    [save] = sent(deliver(registry, Found(read.key, tuple(there)), now=NOW), Save)
    events = [event for write in save.writes if isinstance(write, AddEvents) for event in write.events]
    return [event.text for event in events if event.kind == "audit"]


def test_added_jobs_are_stored_with_who_added_them() -> None:
    texts = saved_events(leading_registry(), AddJobs("k", (make_job(),), epoch=1), ALICE)

    assert texts == ["who=alice message=AddJobs tenant='t' mode=declare jobs=['work'] epoch=1"]


def test_a_changed_job_is_stored_with_who_changed_it() -> None:
    request = ChangeJob("k", "t", "work", "pause", epoch=1)

    texts = saved_events(leading_registry(), request, ALICE, make_record(make_job()))

    assert texts == ["who=alice message=ChangeJob tenant='t' action=pause epoch=1"]


def test_what_the_program_itself_changes_is_stored_without_a_name() -> None:
    assert saved_events(leading_registry(), AddJobs("k", (make_job(),), epoch=1), "client-1") == []


def test_submitted_runs_are_stored_with_who_submitted_them() -> None:
    leader = Leader()

    leader.admit(Draft(make_job(), "submit", None, ""), client=ALICE)

    [save] = [event for event in leader.written(AddEvents, "events") if event.kind == "audit"]
    assert save.text == "who=alice message=Submit tenant='t' cause=submit runs=1 jobs=['work'] epoch=1"


def test_a_submission_that_is_sent_again_is_written_down_once() -> None:
    leader = Leader()

    leader.admit(Draft(make_job(), "submit", None, ""), client=ALICE)
    leader.admit(Draft(make_job(), "submit", None, ""), client=ALICE)

    assert [event.kind for event in leader.written(AddEvents, "events")].count("audit") == 1


def test_a_cancel_is_stored_with_who_cancelled() -> None:
    leader = Leader()
    leader.admit(Draft(make_job(), "submit", None, "", not_before=NOW + 60_000_000))
    [run] = leader.written(AddRuns, "runs")

    leader.tell(CancelLive("c", ALICE, run.run_id, "enough"))

    [event] = [event for event in leader.written(AddEvents, "events") if event.kind == "audit"]
    assert (event.run_id, event.job) == (run.run_id, "work")
    assert event.text == "who=alice message=CancelRun tenant='t' reason='enough' epoch=1"


def test_the_program_itself_submits_and_cancels_without_a_name() -> None:
    leader = Leader()
    leader.admit(Draft(make_job(), "submit", None, "", not_before=NOW + 60_000_000))
    [run] = leader.written(AddRuns, "runs")

    leader.tell(CancelLive("c", "client-1", run.run_id, "enough"))

    assert [event for event in leader.written(AddEvents, "events") if event.kind == "audit"] == []


def test_many_runs_of_one_submission_are_one_line() -> None:
    drafts = tuple(Draft(make_job(), "submit", None, "") for _ in range(3))

    [event] = audit_events(NOW, ALICE, Admit("k", ALICE, drafts, len(drafts)), 5)

    assert event.text == "who=alice message=Submit tenant='t' cause=submit runs=3 jobs=['work'] epoch=5"


def test_a_drain_is_stored_with_who_drained() -> None:
    leader = Leader()

    leader.tell(DrainNode("k", "n"), sender=ALICE)
    leader.tell(DrainNode("k", "n", on=False), sender="coordinator@n2")

    [event] = [event for event in leader.written(AddEvents, "events") if event.kind == "audit"]
    assert event.text == "who=alice message=DrainNode tenant='' node='n' on=True stop=False epoch=1"
