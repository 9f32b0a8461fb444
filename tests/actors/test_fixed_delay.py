"""A job that counts from the end of its last run always has a next slot, or a run whose end will bring it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from callsheet.actors.actor import CLOCK, REGISTRY, Send, deliver, sent
from callsheet.actors.clock.clock import Clock
from callsheet.actors.messages import (
    AdmitSlot,
    AdmitSlots,
    CancelLive,
    Decided,
    Draft,
    Due,
    DueSlot,
    Found,
    HoldJob,
    JobEnded,
    KnowJobs,
    Lead,
    Read,
    TimerFired,
)
from callsheet.actors.persistence.store import AdvanceJob, GetJobs, ListUnarmed
from callsheet.actors.records import Decision, Job, JobRecord, LiveRun, Run
from callsheet.actors.schedule import compile_job, next_after_end, pass_pause
from callsheet.triggers import DecisionKind, at, cron, every
from support.actors import MINUTE, NOW, SECOND, Leader, make_job, make_record

JOB = make_job(trigger=every(60, after_end=True))
DELAY = MINUTE
FIRST = NOW + DELAY
HOUR_LATER = 60 * MINUTE


def due(slot: int | None, job: Job = JOB, *, mark: int = 0, next_due: int | None = None, key: str = "") -> AdmitSlots:
    """A slot of the job, or without one the question for the next."""
    fired = () if slot is None else (Decision("t", job.name, slot, slot, 1, DecisionKind.FIRED, NOW),)
    drafts = () if slot is None else ((Draft(job, "slot", slot, ""),),)
    return AdmitSlots(
        key or f"due/{slot}/{job.version}", (AdmitSlot(DueSlot(job, fired, slot or mark, 1, next_due), drafts),)
    )


def at_first(*args: Any, **more: Any) -> Leader:
    """A leader at the instant of the first slot."""
    leader = Leader(*args, **more)
    leader.now = FIRST
    return leader


def stored(leader: Leader, version: int = 1) -> tuple[int, int | None] | None:
    """Mark and next slot of the job as a store has them after all that was written."""
    found: tuple[int, int | None] | None = None
    newest = 0
    for write in leader.writes:
        if isinstance(write, AdvanceJob) and write.job == "work" and write.mark >= newest:
            newest = write.mark
            if write.version == version:
                found = (write.mark, write.next_due)
    return found


def told(leader: Leader) -> list[int]:
    """The next slots that the clock was told of."""
    return [it.message.next_due for it in leader.sent if it.to == CLOCK and isinstance(it.message, JobEnded)]


def edited(job: Job = JOB, *, mark: int = FIRST, next_due: int | None = None, **state: Any) -> JobRecord:
    """The job as it is stored when it was declared anew while its run lives."""
    newer = replace(job, version=job.version + 1, priority=7)
    values = {"version": newer.version, "mark": mark, "fires": 1, "next_due": next_due, **state}
    return JobRecord(newer, replace(make_record(job).state, **values))


# ---- the coordinator ----------------------------------------------------------------------------------------------------


def test_the_next_slot_counts_from_the_end_of_the_run() -> None:
    leader = at_first()
    leader.tell(due(FIRST))
    assert stored(leader) == (FIRST, None)
    leader.end(leader.assigned()[0], after=SECOND)
    assert stored(leader) == (FIRST, leader.now + DELAY)
    assert told(leader) == [leader.now + DELAY]


def test_a_slot_that_is_skipped_for_a_run_by_hand_is_followed_by_another() -> None:
    leader = at_first()
    leader.admit(Draft(JOB, "submit", None, ""))
    leader.tell(due(FIRST), after=SECOND)
    assert stored(leader) == (FIRST, leader.now + DELAY)
    assert told(leader) == [leader.now + DELAY]


def test_a_slot_that_is_skipped_for_a_run_of_the_job_is_followed_by_one_after_its_end() -> None:
    leader = at_first()
    leader.tell(due(FIRST))
    leader.tell(HoldJob("h", "t", "work", held=True), sender=REGISTRY)
    leader.tell(HoldJob("g", "t", "work", held=False, mark=FIRST), sender=REGISTRY)
    leader.tell(due(FIRST + DELAY), after=DELAY)
    assert stored(leader) == (FIRST + DELAY, None)
    leader.end(leader.assigned()[0], after=SECOND)
    assert stored(leader) == (FIRST + DELAY, leader.now + DELAY)


def test_a_slot_that_a_late_edit_brought_back_takes_nothing_of_the_next() -> None:
    leader = at_first()
    leader.tell(due(FIRST))
    leader.end(leader.assigned()[0])
    leader.tell(due(FIRST, edited().job), after=SECOND)
    assert len(leader.assigned()) == 1
    assert stored(leader, version=2) == (FIRST, leader.now + DELAY)


def test_the_next_slot_is_written_for_the_newest_version_of_the_job() -> None:
    leader = at_first()
    leader.tell(due(FIRST))
    leader.tell(KnowJobs(1, 1, (edited(),)), sender=REGISTRY)
    leader.end(leader.assigned()[0], after=SECOND)
    assert stored(leader, version=2) == (FIRST, leader.now + DELAY)


def test_a_job_that_counts_no_more_from_the_end_of_a_run_is_left_alone_by_it() -> None:
    leader = at_first()
    leader.tell(due(FIRST))
    leader.tell(KnowJobs(1, 1, (edited(replace(JOB, trigger=every(60))),)), sender=REGISTRY)
    leader.end(leader.assigned()[0], after=SECOND)
    assert told(leader) == []


def test_a_run_that_is_cancelled_brings_the_next_slot_too() -> None:
    leader = at_first(thread=0)
    leader.tell(due(FIRST))
    leader.tell(CancelLive("c", "client-1", 1, "no more"), after=SECOND)
    assert stored(leader) == (FIRST, leader.now + DELAY)


@pytest.mark.parametrize("lives", [True, False])
def test_a_slot_whose_run_another_jobs_slot_made_counts_from_its_end(lives: bool) -> None:
    leader = at_first()
    other = make_job("other", every(60))
    slot = Decision("t", "other", FIRST, FIRST, 1, DecisionKind.FIRED, NOW)
    drafts = (Draft(other, "slot", FIRST, f"s/{FIRST}"), Draft(JOB, "dependency", FIRST, f"s/{FIRST}"))
    leader.tell(AdmitSlots("o", (AdmitSlot(DueSlot(other, (slot,), FIRST, 1, None), (drafts,)),)))
    order = next(order for order in leader.assigned() if order.job == "work")
    if not lives:
        leader.end(order)
    made = Decision("t", "work", FIRST, FIRST, 1, DecisionKind.FIRED, NOW, order.run_id)
    leader.tell(AdmitSlots("w", (AdmitSlot(DueSlot(JOB, (made,), FIRST, 1, None), ((),)),)), after=SECOND)
    assert stored(leader) == (FIRST, None if lives else leader.now + DELAY)
    if lives:
        leader.end(order, after=SECOND)
        assert stored(leader) == (FIRST, leader.now + DELAY)


def test_a_run_that_stands_for_another_jobs_slot_moves_nothing() -> None:
    leader = at_first()
    leader.tell(due(FIRST))
    first = leader.assigned()[0]
    later = FIRST + 7
    other = make_job("other", every(60))
    slot = Decision("t", "other", later, later, 1, DecisionKind.FIRED, NOW)
    drafts = (Draft(other, "slot", later, f"s/{later}"), Draft(JOB, "dependency", later, f"s/{later}"))
    leader.end(first)
    armed = stored(leader)
    leader.tell(AdmitSlots("o", (AdmitSlot(DueSlot(other, (slot,), later, 1, None), (drafts,)),)))
    leader.end(next(order for order in leader.assigned()[1:] if order.job == "work"), after=SECOND)
    assert stored(leader) == armed


def live_slot_run(version: int = 1) -> LiveRun:
    run = Run(5, "t", "work", version, "slot", FIRST, "", FIRST, FIRST, 0, b"")
    return LiveRun(run)


def test_a_new_leader_gives_the_next_slot_to_the_version_that_is_stored_by_now() -> None:
    leader = at_first((live_slot_run(),), jobs=(edited(),))
    leader.end(leader.assigned()[0], after=SECOND)
    assert stored(leader, version=2) == (FIRST, leader.now + DELAY)


def test_who_asks_for_the_next_slot_of_a_job_gets_it_unless_a_run_of_it_lives() -> None:
    idle, busy = at_first(), at_first((live_slot_run(),), jobs=(edited(),))
    for leader in (idle, busy):
        leader.tell(due(None, edited().job, mark=FIRST), after=SECOND)
    assert stored(idle, version=2) == (FIRST, idle.now + DELAY)
    assert stored(busy, version=2) == (FIRST, None)
    assert Decided("due/None/2") in busy.out


def test_a_clock_that_was_set_back_gets_its_next_slot_behind_the_mark() -> None:
    leader = at_first()
    leader.tell(due(FIRST))
    leader.now -= 10 * MINUTE
    leader.end(leader.assigned()[0])
    assert stored(leader) == (FIRST, FIRST + DELAY)


def test_a_job_whose_next_slot_would_come_after_its_end_is_exhausted() -> None:
    job = replace(JOB, trigger=every(60, after_end=True).but(end=(FIRST + SECOND) // SECOND))
    leader = at_first()
    leader.tell(due(FIRST, job))
    leader.end(leader.assigned()[0])
    assert [write.exhausted for write in leader.writes if isinstance(write, AdvanceJob)] == [False, True]


# ---- the clock ----------------------------------------------------------------------------------------------------------


def clock_of(record: JobRecord | None, now: int = NOW) -> Clock:
    clock = Clock()
    records = () if record is None else (record,)
    deliver(clock, Lead(1, "n"), Found("due/1/1", ()), KnowJobs(1, 1, records), now=now)
    return clock


def asked(effects: list[Any]) -> list[tuple[int, int]]:
    """The jobs, by version and mark, whose next slot the coordinator is asked for."""
    slots = [slot for it in sent(effects, Due) for slot in it.slots]
    return [(slot.job.version, slot.mark) for slot in slots if not slot.decisions and slot.next_due is None]


def test_a_new_clock_asks_for_the_next_slot_of_jobs_that_have_none() -> None:
    clock = Clock()
    deliver(clock, Lead(1, "n"), now=NOW)
    (read,) = sent(deliver(clock, Found("due/1/1", ()), now=NOW), Read)
    assert read.question == ListUnarmed()

    manual = JobRecord(make_job("by-hand"), replace(make_record(make_job("by-hand")).state, fires=1))
    found = deliver(clock, Found(read.key, (edited(), manual)), now=NOW + HOUR_LATER)

    assert asked(found) == [(2, FIRST)]
    (ask,) = sent(found, Due)
    assert Send("dependencies", ask) in deliver(clock, TimerFired("resend"), now=NOW + 2 * HOUR_LATER)


def test_a_job_that_is_declared_anew_while_its_run_lives_is_asked_for_when_its_slot_is_decided() -> None:
    clock = clock_of(make_record(JOB))
    (fired,) = sent(deliver(clock, TimerFired("next"), now=FIRST), Due)
    crossing = edited(mark=NOW - 1, next_due=FIRST)  # read before the slot was stored
    assert sent(deliver(clock, KnowJobs(1, 2, (crossing,)), now=FIRST), Due) == []
    assert asked(deliver(clock, Decided(fired.key), now=FIRST)) == [(2, FIRST)]


def test_a_job_that_is_declared_anew_after_its_slot_was_decided_is_asked_for() -> None:
    clock = clock_of(make_record(JOB))
    (fired,) = sent(deliver(clock, TimerFired("next"), now=FIRST), Due)
    deliver(clock, Decided(fired.key), now=FIRST)
    assert asked(deliver(clock, KnowJobs(1, 2, (edited(),)), now=FIRST)) == [(2, FIRST)]


def test_the_end_of_a_run_moves_a_slot_that_is_watched_already() -> None:
    resumed = JobRecord(JOB, replace(make_record(JOB).state, mark=FIRST, fires=1, next_due=FIRST + DELAY))
    clock = clock_of(resumed)
    effects = deliver(clock, JobEnded("t", "work", 1, FIRST + 2 * DELAY), now=FIRST + DELAY - 1)
    assert [read.question for read in sent(effects, Read)] == [GetJobs((JOB.key,))]
    ended = JobRecord(JOB, replace(resumed.state, next_due=FIRST + 2 * DELAY))
    deliver(clock, Found("job/1", (ended,)), now=FIRST + DELAY - 1)
    assert sent(deliver(clock, TimerFired("next"), now=FIRST + DELAY), Due) == []
    assert len(sent(deliver(clock, TimerFired("next"), now=FIRST + 2 * DELAY), Due)) == 1


def test_a_union_with_a_fixed_delay_goes_by_the_end_of_the_run_too() -> None:
    job = replace(JOB, trigger=every(60, after_end=True) | cron("5 * * * *"))
    clock = clock_of(make_record(job))
    (fired,) = sent(deliver(clock, TimerFired("next"), now=FIRST), Due)
    deliver(clock, Decided(fired.key), now=FIRST)
    ended = JobRecord(job, replace(make_record(job).state, mark=FIRST, fires=1, next_due=FIRST + DELAY))
    deliver(clock, Found("job/1", (ended,)), now=FIRST + 1)
    assert len(sent(deliver(clock, TimerFired("next"), now=FIRST + DELAY), Due)) == 1


# ---- the schedule -------------------------------------------------------------------------------------------------------


def test_a_jitter_is_added_once_to_the_end_of_a_run() -> None:
    job = replace(JOB, trigger=every(60, after_end=True).but(jitter=30))
    next_due = next_after_end(job, NOW + MINUTE)
    assert next_due is not None
    assert next_due > NOW + 2 * MINUTE
    state = replace(make_record(job).state, mark=NOW + 1, fires=1, next_due=next_due)
    upcoming = compile_job(job, state).next(state.mark)
    assert upcoming is not None
    assert (upcoming.instant, upcoming.due) == (NOW + 2 * MINUTE, next_due)


def test_a_job_that_is_resumed_counts_from_now_within_its_bounds() -> None:
    record = edited(mark=FIRST)
    assert pass_pause(record.job, record.state, FIRST + 5).next_due == FIRST + 5 + DELAY
    bounded = replace(record.job, trigger=JOB.trigger.but(end=at(FIRST // SECOND + 1).when / SECOND))
    step = pass_pause(bounded, record.state, FIRST + 5)
    assert (step.next_due, step.exhausted) == (None, True)
