"""Slots that were missed and are all to run: one after the other, however many portions they come in."""

from __future__ import annotations

from msgspec.structs import replace

from callsheet.actors.actor import CLOCK, deliver, sent
from callsheet.actors.clock.clock import Clock
from callsheet.actors.coordinator.reign import MAX_CAUGHT_UP
from callsheet.actors.messages import (
    AdmitSlot,
    AdmitSlots,
    Decided,
    Draft,
    Due,
    DueSlot,
    Found,
    JobEnded,
    KnowJobs,
    Lead,
    Read,
    TimerFired,
)
from callsheet.actors.persistence.store import AddDecisions, AddRuns, AdvanceJob, GetJobs
from callsheet.actors.records import Decision, Job, JobRecord, LiveRun, Run
from callsheet.triggers import CatchUp, DecisionKind, every
from support.actors import MINUTE, NOW, SECOND, Leader, make_job, make_record

ALL = CatchUp("all", window_us=60 * MINUTE, max_catchup=2)
JOB = make_job(trigger=every(60), catchup=ALL)


def portion(*slots: int, job: Job = JOB) -> AdmitSlots:
    fired = tuple(Decision("t", job.name, at, at, 1, DecisionKind.FIRED, NOW) for at in slots)
    drafts = tuple((Draft(job, "slot", at, ""),) for at in slots)
    return AdmitSlots(f"due/{slots}", (AdmitSlot(DueSlot(job, fired, slots[-1], len(slots), NOW), drafts),))


def late(*minutes: int) -> tuple[int, ...]:
    """Slots of so many minutes before NOW."""
    return tuple(NOW - before * MINUTE for before in minutes)


def decided(leader: Leader) -> list[str]:
    return [str(decision.kind) for decision in leader.written(AddDecisions, "decisions")]


def test_all_missed_slots_run_one_after_the_other_in_whatever_portions_they_come() -> None:
    leader = Leader()
    leader.tell(portion(*late(5, 4)))
    leader.tell(portion(*late(3, 2)), after=1)
    leader.tell(portion(*late(1)), after=1)
    for count in range(1, 6):
        assert len(leader.assigned()) == count
        leader.end(leader.assigned()[-1], after=SECOND)
    assert tuple(order.slot for order in leader.assigned()) == late(5, 4, 3, 2, 1)
    assert decided(leader) == ["FIRED"] * 5


def test_a_slot_that_comes_while_missed_ones_run_is_skipped() -> None:
    leader = Leader()
    leader.tell(portion(*late(2, 1)))
    leader.tell(portion(NOW + MINUTE), after=MINUTE)
    assert decided(leader) == ["FIRED", "FIRED", "SKIPPED_OVERLAP"]


def test_a_new_leader_goes_on_with_what_was_missed_behind_the_runs_that_live() -> None:
    runs = (Run(5 + at, "t", "work", 1, "slot", slot, "", NOW, NOW, 0, b"") for at, slot in enumerate(late(4, 3)))
    leader = Leader(tuple(LiveRun(run) for run in runs), jobs=(make_record(JOB),))
    leader.tell(portion(*late(2, 1)), after=SECOND)
    leader.tell(portion(NOW + MINUTE), after=MINUTE)
    assert decided(leader) == ["FIRED", "FIRED", "SKIPPED_OVERLAP"]
    assert len(leader.assigned()) == 1


def test_a_slot_that_comes_is_skipped_also_when_the_oldest_run_was_made_by_a_clock_that_was_ahead() -> None:
    made = (NOW + 10 * MINUTE, NOW - 3 * MINUTE)
    runs = (Run(5 + at, "t", "work", 1, "slot", slot, "", slot, slot, 0, b"") for at, slot in enumerate(made))
    leader = Leader(tuple(LiveRun(run) for run in runs), jobs=(make_record(JOB),))
    leader.tell(portion(*late(1)), after=SECOND)
    assert decided(leader) == ["SKIPPED_OVERLAP"]


def test_only_a_catch_up_of_all_slots_queues_them() -> None:
    leader = Leader()
    job = replace(JOB, catchup=CatchUp("latest"))
    leader.tell(portion(*late(2), job=job))
    leader.tell(portion(*late(1), job=job), after=1)
    assert decided(leader) == ["FIRED", "SKIPPED_OVERLAP"]


def test_a_missed_slot_is_skipped_for_a_run_that_lived_when_it_came() -> None:
    leader = Leader()
    leader.admit(Draft(JOB, "submit", None, ""))
    leader.tell(portion(NOW + MINUTE, NOW + 2 * MINUTE), after=10 * MINUTE)
    assert decided(leader) == ["SKIPPED_OVERLAP", "SKIPPED_OVERLAP"]


def many() -> tuple[Leader, AdmitSlots]:
    """A leader that has as many runs of a catch-up as one job may have, and the next portion."""
    leader = Leader()
    backlog = range(NOW - 2 * MAX_CAUGHT_UP, NOW)
    leader.tell(portion(*backlog[:MAX_CAUGHT_UP]))
    return leader, portion(*backlog[MAX_CAUGHT_UP:])


def test_a_long_backlog_waits_for_most_of_its_runs_to_end() -> None:
    leader, rest = many()
    leader.tell(rest)
    assert leader.out[-1] == Decided(rest.key, later=(JOB.key,))
    assert len(leader.written(AddRuns, "runs")) == MAX_CAUGHT_UP
    assert len([write for write in leader.writes if isinstance(write, AdvanceJob)]) == 1

    for _ in range(MAX_CAUGHT_UP // 2):
        assert not any(isinstance(message, JobEnded) for message in leader.out)
        leader.end(leader.assigned()[-1])
    (word,) = (it for it in leader.sent if isinstance(it.message, JobEnded))
    assert (word.to, word.message) == (CLOCK, JobEnded("t", "work", 1, NOW))

    leader.tell(replace(rest, key="again"))
    assert len(leader.written(AddRuns, "runs")) == 2 * MAX_CAUGHT_UP


def test_what_comes_while_a_long_backlog_runs_waits_for_nothing() -> None:
    leader, _ = many()
    leader.tell(portion(NOW + MINUTE), after=MINUTE)
    assert decided(leader)[-1] == "SKIPPED_OVERLAP"


def test_slots_that_are_to_be_decided_later_come_again_when_the_coordinator_says_so() -> None:
    clock = Clock()
    record = make_record(JOB)
    deliver(clock, Lead(1, "n"), Found("due/1/1", ()), KnowJobs(1, 1, (record,)), now=NOW)
    now = NOW + 5 * MINUTE
    (first,) = sent(deliver(clock, TimerFired("next"), now=now), Due)
    assert sent(deliver(clock, Decided(first.key, later=(JOB.key,)), now=now), Due) == []
    assert sent(deliver(clock, TimerFired("next"), now=now), Due) == []

    (read,) = sent(deliver(clock, JobEnded("t", "work", 1, now), now=now), Read)
    assert read.question == GetJobs((JOB.key,))
    stored = JobRecord(JOB, record.state)
    (again,) = sent(deliver(clock, Found(read.key, (stored,)), now=now), Due)
    assert [it.slot for it in again.slots[0].decisions] == [NOW + MINUTE, NOW + 2 * MINUTE]
