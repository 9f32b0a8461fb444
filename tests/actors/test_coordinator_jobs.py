"""What the registry says of jobs to a coordinator that leads."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from callsheet.actors.actor import REGISTRY, Send
from callsheet.actors.coordinator.reign import REMEMBERED_MARKS
from callsheet.actors.messages import (
    AdmitSlot,
    AdmitSlots,
    AttemptsBegun,
    CancelLive,
    Draft,
    DueSlot,
    GroupsMoved,
    HoldJob,
    JobHeld,
    KnowJobs,
    MarksRead,
    Noted,
    SlotsDecided,
    StockTaken,
    StopAttempts,
    TimerFired,
    Withdraw,
    Withdrawn,
)
from callsheet.actors.persistence.store import AddEnds, AddRuns
from callsheet.actors.records import Decision, ErrorInfo, Hook, Job, JobRecord, Retry, RunState
from callsheet.triggers import DecisionKind, every
from support.actors import MINUTE, NOW, SECOND, Leader, live_row, make_job, make_record

ERROR = ErrorInfo("builtins.ValueError", ("builtins.Exception",), "no", "")

FIRST = make_record(make_job("first", hook=Hook(moment="before")))
GONE = JobRecord(FIRST.job, replace(FIRST.state, status="removed", removed=1))


def draft(job: Job | None = None) -> Draft:
    return Draft(job or make_job(), "submit", None, "")


def ends(leader: Leader) -> list[tuple[int, RunState]]:
    return [(end.run_id, end.state) for end in leader.written(AddEnds, "ends")]


def ordered(leader: Leader) -> list[str]:
    """The jobs whose runs are ordered when a run is submitted."""
    leader.admit(draft())
    return [order.job for order in leader.assigned()]


def test_what_is_said_of_jobs_is_acknowledged_unless_a_later_word_has_overtaken_it_or_the_reign_is_another() -> None:
    leader = Leader()
    leader.tell(KnowJobs(1, 2, (GONE,)), KnowJobs(1, 1, (FIRST,)), KnowJobs(2, 3, (FIRST,)), sender=REGISTRY)
    assert [send for send in leader.sent if isinstance(send.message, Noted)] == [Send(REGISTRY, Noted("jobs/1/2"))]
    assert ordered(leader) == ["work"], "no hook is in force"


def test_a_hook_that_is_removed_is_in_force_no_more() -> None:
    leader = Leader()
    leader.tell(KnowJobs(1, 1, (FIRST,)), sender=REGISTRY)
    assert ordered(leader) == ["first"]
    leader = Leader()
    leader.tell(KnowJobs(1, 1, (FIRST,)), KnowJobs(1, 2, (GONE,)), sender=REGISTRY)
    assert ordered(leader) == ["work"]


def test_hooks_that_are_said_again_are_called_once_and_in_the_order_they_had() -> None:
    leader = Leader()
    second = make_record(make_job("second", hook=Hook(moment="before")))
    leader.tell(KnowJobs(1, 1, (FIRST, second)), KnowJobs(1, 2, (FIRST,)), sender=REGISTRY)
    assert ordered(leader) == ["first", "second"]


def test_of_a_hook_that_was_read_when_a_reign_began_an_older_version_that_is_said_later_changes_nothing() -> None:
    leader = Leader()
    newer = make_record(make_job("first", version=3, hook=Hook(moment="before")))
    older = make_record(make_job("first", version=2, hook=Hook(moment="before")))
    leader.tell(KnowJobs(1, 1, (newer,)), KnowJobs(1, 2, (older,)), KnowJobs(1, 3, (newer,)), sender=REGISTRY)
    assert ordered(leader) == ["first"]


def test_a_hook_that_is_declared_anew_for_another_moment_is_in_force_for_that_one_alone() -> None:
    leader = Leader()
    after = make_record(make_job("first", version=2, hook=Hook(moment="after")))
    leader.tell(KnowJobs(1, 1, (FIRST,)), KnowJobs(1, 2, (after,)), sender=REGISTRY)
    assert ordered(leader) == ["work"]


def test_a_hook_that_is_declared_anew_as_a_plain_job_is_in_force_no_more() -> None:
    leader = Leader()
    plain = make_record(make_job("first", version=2))
    leader.tell(KnowJobs(1, 1, (FIRST,)), KnowJobs(1, 2, (plain,)), sender=REGISTRY)
    assert ordered(leader) == ["work"]


def test_a_hook_that_is_declared_anew_outlives_the_late_word_that_it_was_a_plain_job() -> None:
    leader = Leader()
    newer = make_record(make_job("first", version=3, hook=Hook(moment="before")))
    plain = make_record(make_job("first", version=2))
    leader.tell(KnowJobs(1, 1, (newer,)), KnowJobs(1, 2, (plain,)), sender=REGISTRY)
    assert ordered(leader) == ["first"]


def test_no_hook_is_told_of_a_retry_that_will_not_come() -> None:
    leader = Leader()
    hook = make_record(make_job("hook", hook=Hook(moment="on_retry")))
    anew = make_record(make_job(version=2))
    leader.tell(KnowJobs(1, 1, (hook,)), sender=REGISTRY)
    leader.admit(draft(make_job(retry=Retry(attempts=3, delay_us=0))))
    leader.tell(KnowJobs(1, 2, (JobRecord(anew.job, replace(anew.state, removed=1)),)), sender=REGISTRY)
    leader.end(leader.assigned()[0], "failed", error=ERROR)
    assert ends(leader) == [(1, RunState.CANCELLED)]
    assert [run.job for run in leader.written(AddRuns, "runs")] == ["work"]


def test_a_hold_that_is_asked_for_again_while_it_is_under_way_is_answered_when_all_is_fetched_back() -> None:
    leader = Leader()
    ordered(leader)
    hold = HoldJob("h", "t", "work", held=True)
    leader.tell(hold, hold, sender=REGISTRY)
    (withdraw, _) = [message for message in leader.out if isinstance(message, Withdraw)]
    assert [message for message in leader.out if isinstance(message, JobHeld)] == []

    leader.tell(Withdrawn("h", (), incarnation=withdraw.incarnation, over=withdraw.fences), sender="executor")

    assert [message.key for message in leader.out if isinstance(message, JobHeld)] == ["h"]


def test_a_pause_is_acknowledged_after_what_had_not_begun_was_fetched_back() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.tell(HoldJob("h", "t", "work", held=True), sender="registry")
    assert [message for message in leader.out if isinstance(message, Withdraw)]
    assert not [message for message in leader.out if isinstance(message, JobHeld)]


def test_a_paused_job_keeps_its_runs_until_it_is_resumed() -> None:
    leader = Leader()
    leader.tell(HoldJob("h", "t", "work", held=True), sender="registry")
    leader.admit(draft())
    assert leader.assigned() == []
    leader.tell(HoldJob("g", "t", "work", held=False), sender="registry")
    assert len(leader.assigned()) == 1


def test_a_new_leader_begins_nothing_of_a_version_that_was_removed_though_the_job_is_declared_anew() -> None:
    anew = make_record(make_job(version=2))
    removed = JobRecord(anew.job, replace(anew.state, removed=1))
    crashed = StockTaken(1, "n", "i", (), (MarksRead("dead", readable=True, fences=(), dead=True),))
    leader = Leader((live_row(1, claim=False), live_row(2, claim=True)), crashed, jobs=(removed,))
    assert ends(leader) == [
        (1, RunState.CANCELLED),
        (2, RunState.CANCELLED),
    ]
    leader.admit(draft(make_job(version=2)))
    assert len(leader.assigned()) == 1


def test_what_was_removed_is_known_from_what_is_said_of_the_job_when_it_is_declared_anew() -> None:
    leader = Leader()
    leader.admit(draft(make_job(retry=Retry(attempts=3, delay_us=0))))
    anew = make_record(make_job(version=2))
    leader.tell(KnowJobs(1, 1, (JobRecord(anew.job, replace(anew.state, removed=1)),)), sender="registry")
    leader.end(leader.assigned()[0], "failed", error=ERROR)
    assert ends(leader) == [(1, RunState.CANCELLED)]


def test_a_removal_that_is_said_late_leaves_what_was_declared_since() -> None:
    leader = Leader(thread=1)
    hook = make_record(make_job("work", version=2, hook=Hook(moment="after")))
    leader.tell(KnowJobs(1, 1, (hook,)), sender="registry")
    leader.admit(draft(make_job("busy")))
    leader.admit(draft(make_job(version=1)), draft(make_job(version=2)), key="2")
    leader.tell(HoldJob("h", "t", "work", held=False, removed=1), sender="registry")
    assert ends(leader) == [(2, RunState.CANCELLED)]
    assert [message.key for message in leader.out if isinstance(message, JobHeld)] == ["h"]
    assert [run.run_id for run in leader.written(AddRuns, "runs") if run.cause == "hook"] == [4], "it is in force still"


# ---- removal ------------------------------------------------------------------------------------------------------------

REMOVE = HoldJob("h", "t", "work", held=True, removed=1)


def test_a_function_that_has_begun_goes_on_when_its_job_is_removed() -> None:
    leader = Leader()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.tell(REMOVE, sender="registry")
    leader.tell(Withdrawn("h", ((order.run_id, order.fence),), incarnation="i"), sender="executor")
    assert [message.key for message in leader.out if isinstance(message, JobHeld)] == ["h"]
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert [message for message in leader.out if isinstance(message, StopAttempts)] == []
    leader.end(order)
    assert ends(leader) == [(1, RunState.SUCCEEDED)]


def test_what_had_not_begun_when_its_job_was_removed_is_cancelled_when_it_comes_back() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.tell(REMOVE, sender="registry")
    leader.end(leader.assigned()[0], "not_started")
    assert ends(leader) == [(1, RunState.CANCELLED)]


def test_a_run_of_a_removed_job_whose_function_nobody_knows_is_cancelled_and_not_parked() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.tell(REMOVE, sender="registry")
    leader.end(leader.assigned()[0], "unknown_target")
    assert ends(leader) == [(1, RunState.CANCELLED)]


def test_dependencies_is_told_which_runs_were_cancelled_because_their_job_was_removed() -> None:
    leader = Leader(thread=0)
    leader.admit(Draft(make_job(), "submit", None, "m/1"), Draft(make_job("other"), "submit", None, "m/2"))
    leader.tell(CancelLive("c", "client-1", 2, "enough"), sender="registry")
    leader.tell(REMOVE, sender="registry")
    moved = [end for message in leader.out if isinstance(message, GroupsMoved) for end in message.ends]
    assert [(end.run_id, end.state, end.removed) for end in moved] == [
        (2, RunState.CANCELLED, False),
        (1, RunState.CANCELLED, True),
    ]


def test_what_had_begun_when_its_job_was_removed_is_not_tried_again_and_says_why() -> None:
    leader = Leader()
    leader.admit(draft(make_job(delivery="at_least_once")))
    (order,) = leader.assigned()
    leader.tell(AttemptsBegun(((order.run_id, order.fence),)), REMOVE, sender="registry")
    leader.end(order, "crashed", error=ERROR)
    (end,) = leader.written(AddEnds, "ends")
    assert (end.state, end.reason) == (RunState.CANCELLED, "its job was removed")


def test_an_order_whose_job_is_removed_while_its_claim_is_being_stored_does_not_leave() -> None:
    leader = Leader()
    leader.hold_saves = True
    leader.admit(draft())
    leader.tell(REMOVE, sender="registry")
    leader.hold_saves = False
    leader.tell(TimerFired("save"))
    assert leader.assigned() == []
    assert ends(leader) == [(1, RunState.CANCELLED)]


def test_an_order_that_was_lost_is_not_sent_again_when_its_job_was_removed() -> None:
    leader = Leader()
    leader.admit(draft())
    (order,) = leader.assigned()
    leader.tell(REMOVE, sender="registry")
    leader.out.clear()
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert leader.assigned() == []
    assert (order.fence,) in [message.fences for message in leader.out if isinstance(message, Withdraw)]


def test_a_new_leader_lets_go_on_what_had_begun_when_its_job_was_removed() -> None:
    record = make_record(make_job())
    removed = JobRecord(record.job, replace(record.state, status="removed", removed=1))
    leader = Leader((live_row(1, claim=True, by="i"),), StockTaken(1, "n", "i", (91,), ()), jobs=(removed,))
    leader.tell(AttemptsBegun(((1, 91),)), sender="executor")
    leader.tell(TimerFired("audit"), after=30 * SECOND)
    assert [message for message in leader.out if isinstance(message, StopAttempts)] == []
    assert ends(leader) == []


def late(job: Job, kind: DecisionKind) -> AdmitSlot:
    """A slot of the job at NOW."""
    slot = Decision("t", job.name, NOW, NOW, 1, kind, NOW)
    drafts = ((Draft(job, "slot", NOW, ""),),) if kind == "FIRED" else ()
    return AdmitSlot(DueSlot(job, (slot,), NOW, 1, None), drafts)


@pytest.mark.parametrize("audits", [0, 1])
def test_a_slot_that_was_decided_while_its_job_was_paused_does_not_fire_however_many_others_do(audits: int) -> None:
    leader = Leader()
    leader.tell(HoldJob("h", "t", "work", held=False, mark=NOW + MINUTE), sender=REGISTRY)
    others = (make_job(f"job-{number}", every(60)) for number in range(REMEMBERED_MARKS + 1))
    leader.tell(AdmitSlots("others", tuple(late(job, DecisionKind.SKIPPED_LATE) for job in others)))
    for _ in range(audits):
        leader.tell(TimerFired("audit"))
    leader.tell(AdmitSlots("late", (late(make_job(trigger=every(60)), DecisionKind.FIRED),)))
    assert leader.written(AddRuns, "runs") == []


def test_what_was_skipped_in_a_pause_calls_the_hooks_for_that_and_is_counted_once() -> None:
    leader = Leader()
    told = make_job("told", hook=Hook(moment="on_skip"))
    leader.tell(KnowJobs(1, 1, (make_record(told),)), sender=REGISTRY)
    leader.tell(HoldJob("h", "t", "work", held=True), sender=REGISTRY)
    skipped = Decision("t", "work", NOW, NOW + MINUTE, 2, DecisionKind.SKIPPED_PAUSED, NOW)
    for key in ("g", "g", "again"):
        go_on = HoldJob(key, "t", "work", held=False, mark=NOW + MINUTE, resumed=make_job(), skipped=(skipped,))
        leader.tell(go_on, sender=REGISTRY)
    assert [(run.job, run.cause) for run in leader.written(AddRuns, "runs")] == [("told", "hook")]
    assert [event.kinds for event in leader.events if isinstance(event, SlotsDecided)] == [{"SKIPPED_PAUSED": 2}]
