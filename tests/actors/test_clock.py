from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from callsheet.actors.actor import HOUR, Emit, SetTimer, deliver, sent
from callsheet.actors.clock.clock import ASK_AGAIN_US, HORIZON_US, MAX_UNDECIDED, Clock
from callsheet.actors.clock.stopped import StoppedClock
from callsheet.actors.messages import (
    Decided,
    Due,
    Found,
    Happened,
    JobEnded,
    KnowJobs,
    Lead,
    Noted,
    Read,
    StepDown,
    TimerFired,
)
from callsheet.actors.persistence.store import MAX_PAGE, DueJobs, GetJobs, ListUnarmed
from callsheet.actors.records import JobRecord
from callsheet.triggers import CatchUp, Unreadable, at, every
from support.actors import MINUTE, NOW, SECOND, make_job, make_record


def leading(*jobs: Any, now: int = NOW) -> Clock:
    clock = Clock()
    records = tuple(make_record(job) for job in jobs)
    deliver(clock, Lead(1, "n"), Found("due/1/1", ()), KnowJobs(1, 1, records), now=now)
    return clock


def unread(name: str, **state: Any) -> JobRecord:
    """A job as a store says it whose zone is not known here."""
    record = changed(make_record(make_job(name)), **state)
    return replace(record, job=replace(record.job, trigger=Unreadable("no zone")))


def wake(clock: Clock, now: int) -> list[Due]:
    return sent(deliver(clock, TimerFired("next"), now=now), Due)


def fired(dues: list[Due]) -> list[int]:
    return [it.slot for due in dues for slot in due.slots for it in slot.decisions if it.kind == "FIRED"]


def test_a_new_leader_asks_for_what_is_due_within_the_horizon() -> None:
    effects = deliver(Clock(), Lead(1, "n"), now=NOW)
    (read,) = sent(effects, Read)
    assert read.question == DueJobs(until=NOW + HORIZON_US)


def test_a_job_whose_trigger_cannot_be_read_is_told_of_and_all_others_fire() -> None:
    clock = Clock()
    deliver(clock, Lead(1, "n"), now=NOW)
    unreadable = unread("bad", next_due=NOW)
    page = (make_record(make_job(trigger=every(60))), *(unreadable,) * (MAX_PAGE - 1))

    effects = deliver(clock, Found("due/1/1", page), now=NOW)

    assert [it.question for it in sent(effects, Read)] == [DueJobs(until=NOW + HORIZON_US, after=(NOW, "t", "bad"))]
    (told,) = [it.event for it in effects if isinstance(it, Emit) and isinstance(it.event, Happened)]
    assert told.event.kind == "jobs_unreadable"
    assert "999 jobs whose triggers cannot be read here do not fire: 'bad' of tenant 't': no zone" in told.event.text
    assert fired(wake(clock, NOW + MINUTE)) == [NOW + MINUTE]

    effects = deliver(clock, Found("unarmed/1/1", (unread("last"),) * MAX_PAGE), now=NOW)

    assert [it.question for it in sent(effects, Read)] == [ListUnarmed(("t", "last"))]


@pytest.mark.parametrize("key", ["job/1", "held/1"])
def test_a_job_whose_trigger_cannot_be_read_is_not_watched_however_it_is_heard_of(key: str) -> None:
    clock = leading()
    deliver(clock, KnowJobs(1, 2, (unread("told", next_due=NOW),)), now=NOW)
    deliver(clock, Found(key, (unread("asked", next_due=NOW),)), now=NOW)
    assert wake(clock, NOW + MINUTE) == []


def test_what_is_due_is_asked_again_soon_when_no_answer_comes_and_else_after_half_the_horizon() -> None:
    clock = Clock()
    assert SetTimer("horizon", NOW + ASK_AGAIN_US) in deliver(clock, Lead(1, "n"), now=NOW)

    (again,) = sent(deliver(clock, TimerFired("horizon"), now=NOW + ASK_AGAIN_US), Read)

    assert SetTimer("horizon", NOW + HORIZON_US // 2) in deliver(clock, Found(again.key, ()), now=NOW)


def test_a_slot_fires_at_its_instant_and_the_timer_is_set_for_the_next() -> None:
    clock = leading(make_job(trigger=every(60)))
    assert wake(clock, NOW + MINUTE - 1) == []
    effects = deliver(clock, TimerFired("next"), now=NOW + MINUTE)
    assert fired(sent(effects, Due)) == [NOW + MINUTE]
    assert SetTimer("next", NOW + 2 * MINUTE) in effects


def test_a_late_wake_up_fires_once_for_the_latest_missed_slot() -> None:
    clock = leading(make_job(trigger=every(60)))
    (due,) = wake(clock, NOW + 3 * MINUTE + 7)
    decisions = [(it.kind, (it.slot - NOW) // MINUTE, it.into) for it in due.slots[0].decisions]
    into = NOW + 3 * MINUTE
    assert decisions == [("COALESCED_INTO", 1, into), ("COALESCED_INTO", 2, into), ("FIRED", 3, None)]
    assert (due.slots[0].mark, due.slots[0].fires, due.slots[0].next_due) == (into, 1, NOW + 4 * MINUTE)


def test_catch_up_all_fires_every_missed_slot_oldest_first() -> None:
    clock = leading(make_job(trigger=every(60), catchup=CatchUp("all")))
    assert fired(wake(clock, NOW + 3 * MINUTE)) == [NOW + MINUTE, NOW + 2 * MINUTE, NOW + 3 * MINUTE]


def test_a_clock_that_is_set_back_fires_nothing_twice() -> None:
    clock = leading(make_job(trigger=every(60)))
    assert fired(wake(clock, NOW + MINUTE)) == [NOW + MINUTE]
    assert wake(clock, NOW) == []
    assert wake(clock, NOW + MINUTE + 1) == []


def test_a_jump_of_the_wall_clock_is_reported() -> None:
    clock = leading(make_job(trigger=every(3600)))
    effects = deliver(clock, TimerFired("x"), now=NOW + 600 * SECOND, elapsed=NOW + SECOND)
    events = [effect.event for effect in effects if hasattr(effect, "event")]
    assert [event.event.kind for event in events if isinstance(event, Happened)] == ["clock_jumped"]


def test_a_limit_on_fires_exhausts_the_job() -> None:
    clock = leading(make_job(trigger=every(60).but(limit=2), catchup=CatchUp("all")))
    (due,) = wake(clock, NOW + 5 * MINUTE)
    assert fired([due]) == [NOW + MINUTE, NOW + 2 * MINUTE]
    assert (due.slots[0].exhausted, due.slots[0].next_due, due.slots[0].mark) == (True, None, NOW + 2 * MINUTE)


def changed(record: JobRecord, **state: Any) -> JobRecord:
    return JobRecord(record.job, replace(record.state, **state))


@pytest.mark.parametrize("status", ["paused", "removed"])
def test_a_paused_or_removed_job_does_not_fire(status: str) -> None:
    job = make_job(trigger=every(60))
    clock = leading(job)
    deliver(clock, KnowJobs(1, 2, (changed(make_record(job), status=status),)), now=NOW)
    assert wake(clock, NOW + MINUTE) == []


def test_what_is_said_of_jobs_is_acknowledged_unless_a_later_word_has_overtaken_it_or_the_reign_is_another() -> None:
    clock, record = leading(), make_record(make_job(trigger=every(60)))
    early, newer = KnowJobs(1, 2, (record,)), KnowJobs(1, 3, (changed(record, status="paused"),))

    (noted,) = sent(deliver(clock, newer, now=NOW, sender="registry"), Noted)
    late = deliver(clock, early, newer, KnowJobs(2, 4, (record,)), now=NOW, sender="registry")

    assert (noted.key, sent(late, Noted)) == (newer.key, [])
    assert wake(clock, NOW + MINUTE) == []


def test_a_clock_that_knows_of_no_reign_acknowledges_nothing() -> None:
    assert sent(deliver(Clock(), KnowJobs(1, 1, ()), now=NOW, sender="registry"), Noted) == []


def test_a_stopped_clock_acknowledges_what_is_said_of_jobs() -> None:
    assert sent(deliver(StoppedClock(), KnowJobs(3, 1, ()), now=NOW, sender="registry"), Noted) == [Noted("jobs/3/1")]


def test_a_job_that_is_said_again_while_it_is_watched_fires_no_slot_twice() -> None:
    job = make_job(trigger=every(60))
    clock = leading(job)
    (due,) = wake(clock, NOW + MINUTE)
    again = deliver(clock, KnowJobs(1, 2, (make_record(job),)), now=NOW + MINUTE)
    decided = deliver(clock, Decided(due.key), now=NOW + MINUTE)
    assert fired(sent([*again, *decided], Due)) == []
    assert fired(wake(clock, NOW + 2 * MINUTE)) == [NOW + 2 * MINUTE]


def test_a_job_that_is_told_as_it_stands_in_the_store_is_not_decided_anew_while_a_later_slot_is_on_its_way() -> None:
    job = make_job(trigger=every(60))
    clock = leading(job)
    (first,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(first.key), now=NOW + MINUTE)
    wake(clock, NOW + 2 * MINUTE)
    stored = changed(make_record(job), mark=NOW + MINUTE, fires=1, next_due=NOW + 2 * MINUTE)
    told = deliver(clock, KnowJobs(1, 2, (stored,)), now=NOW + 2 * MINUTE)
    assert fired(sent(told, Due)) == []


def test_a_job_that_is_said_again_after_it_was_decided_and_dropped_fires_no_slot_twice() -> None:
    job = make_job(trigger=at((NOW + MINUTE) // SECOND))
    clock = leading(job)
    (due,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(due.key), now=NOW + MINUTE)
    again = deliver(clock, KnowJobs(1, 2, (make_record(job),)), now=NOW + MINUTE)
    assert fired([*sent(again, Due), *wake(clock, NOW + 2 * MINUTE)]) == []


def test_a_job_that_counts_from_the_end_of_its_run_keeps_its_next_slot_when_an_older_word_is_said_again() -> None:
    job = make_job(trigger=every(60, after_end=True))
    clock = leading(job)
    (due,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(due.key), now=NOW + MINUTE)
    ended = changed(make_record(job), mark=NOW + MINUTE, fires=1, next_due=NOW + 5 * MINUTE)
    deliver(clock, Found("job/1", (ended,)), now=NOW + 4 * MINUTE)
    deliver(clock, KnowJobs(1, 2, (make_record(job),)), now=NOW + 4 * MINUTE)
    assert fired(wake(clock, NOW + 5 * MINUTE)) == [NOW + 5 * MINUTE]


def test_a_job_that_was_resumed_goes_on_behind_its_pause_also_when_the_word_of_the_pause_was_lost() -> None:
    job = make_job(trigger=every(60))
    clock = leading(job)
    (due,) = wake(clock, NOW + 2 * MINUTE)
    resumed = changed(make_record(job), mark=NOW + MINUTE, next_due=NOW + 2 * MINUTE)
    early = deliver(clock, KnowJobs(1, 2, (resumed,)), now=NOW + 2 * MINUTE + 1)
    assert fired(sent(early, Due)) == [], "whether what came last was decided is not known yet"
    deliver(clock, Decided(due.key, (job.key,)), now=NOW + 2 * MINUTE + 2)
    late = deliver(clock, Found("held/1", (resumed,)), now=NOW + 2 * MINUTE + 3)
    assert fired(sent(late, Due)) == [NOW + 2 * MINUTE], "it came while the job was held, and was not decided"


def test_a_slot_that_was_held_is_decided_by_what_the_store_says_of_its_job() -> None:
    job, other = make_job(trigger=every(60)), make_job("other", every(60))
    clock = leading(job, other)
    (due,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(due.key, held=(job.key,)), now=NOW + MINUTE)
    later = NOW + MINUTE + 100_000
    for _ in range(2):  # the first question is lost
        assert sent(deliver(clock, TimerFired("held"), now=later), Read) == [Read("held/1", GetJobs((job.key,)))]

    found = deliver(clock, Found("held/1", (make_record(job),)), now=later)
    assert fired(sent(found, Due)) == [NOW + MINUTE]
    assert sent(deliver(clock, TimerFired("held"), now=later), Read) == []
    assert fired(wake(clock, NOW + 2 * MINUTE)) == [NOW + 2 * MINUTE], "that of the other job, and this one's waits"


def test_a_job_that_was_held_because_it_is_paused_is_watched_no_more() -> None:
    job = make_job(trigger=every(60))
    clock = leading(job)
    (due,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(due.key, held=(job.key,)), now=NOW + MINUTE)
    paused = changed(make_record(job), status="paused")
    found = deliver(clock, Found("held/1", (paused,)), now=NOW + MINUTE + 100_000)
    assert fired([*sent(found, Due), *wake(clock, NOW + HOUR)]) == []


def test_an_undecided_due_is_sent_again_and_a_decided_one_is_not() -> None:
    clock = leading(make_job(trigger=every(300)))
    (due,) = wake(clock, NOW + 300 * SECOND)
    later = NOW + 305 * SECOND
    assert sent(deliver(clock, TimerFired("resend"), now=later), Due) == [due]
    deliver(clock, Decided(due.key), now=later)
    assert sent(deliver(clock, TimerFired("resend"), now=later + 5 * SECOND), Due) == []


def test_a_clock_that_goes_on_in_the_same_reign_uses_no_key_again() -> None:
    job = make_job(trigger=every(60))
    clock = leading(job)
    (first,) = wake(clock, NOW + MINUTE)
    effects = deliver(clock, Decided(first.key), StepDown(1), Lead(1, "n"), now=NOW + MINUTE)
    (asked,) = sent(effects, Read)
    assert asked.key != "due/1/1", "what is found for the first question is old"

    stored = changed(make_record(job), mark=NOW + MINUTE, next_due=NOW + 2 * MINUTE)
    deliver(clock, Found(asked.key, (stored,)), now=NOW + MINUTE)
    (second,) = wake(clock, NOW + 2 * MINUTE)

    assert second.key != first.key, "whoever answered the first remembers it"
    assert fired([second]) == [NOW + 2 * MINUTE]


def test_the_clock_waits_for_decisions_when_too_many_are_on_their_way() -> None:
    seconds = range(1, MAX_UNDECIDED + 10)
    clock = leading(*(make_job(f"job-{second}", at((NOW + second * SECOND) / SECOND)) for second in seconds))
    dues = []
    for second in seconds:
        dues += wake(clock, NOW + second * SECOND)
    assert len(dues) == MAX_UNDECIDED
    later = NOW + HOUR
    assert wake(clock, later) == []
    more = sent(deliver(clock, Decided(dues[0].key), now=later), Due)
    assert len(more) == 1


def test_the_slots_of_a_job_are_sent_in_their_order_one_batch_after_the_other() -> None:
    clock = leading(make_job(trigger=every(60)))
    (first,) = wake(clock, NOW + MINUTE)
    assert wake(clock, NOW + 2 * MINUTE) == []
    assert wake(clock, NOW + 3 * MINUTE) == []

    (second,) = sent(deliver(clock, Decided(first.key), now=NOW + 3 * MINUTE), Due)

    assert [it.slot for it in second.slots[0].decisions] == [NOW + 2 * MINUTE, NOW + 3 * MINUTE]
    assert [it.kind for it in second.slots[0].decisions] == ["FIRED", "FIRED"]
    assert second.slots[0].mark == NOW + 3 * MINUTE


SOON_THEN_FAR = at((NOW + MINUTE) // SECOND) | every(24 * 3600)


def test_what_is_due_beyond_the_horizon_is_left_to_the_store() -> None:
    clock = leading(make_job(trigger=SOON_THEN_FAR))
    (due,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(due.key), now=NOW + MINUTE)
    assert wake(clock, NOW + 24 * 3600 * SECOND) == [], "it is armed again by a look at the store"


def crossing(job: Any, mark: int = NOW - 1) -> JobRecord:
    """The job as an edit stored it that had been read before its first slot was decided."""
    edited = make_record(replace(job, version=2, priority=7))
    return changed(edited, mark=mark)


@pytest.mark.parametrize("looks", [0, 1, 3])
def test_an_edit_that_crosses_a_slot_does_not_fire_it_again_after_it_was_decided_and_dropped(looks: int) -> None:
    job = make_job(trigger=SOON_THEN_FAR)
    clock = leading(job)
    (due,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(due.key), now=NOW + MINUTE)
    for _ in range(looks):  # the store is asked again and again, for it does not answer
        deliver(clock, TimerFired("horizon"), now=NOW + MINUTE)
    said = deliver(clock, KnowJobs(1, 2, (crossing(job),)), now=NOW + MINUTE + 1)
    assert fired([*sent(said, Due), *wake(clock, NOW + 2 * MINUTE)]) == []
    near = NOW + 24 * HOUR - MINUTE
    (read,) = sent(deliver(clock, TimerFired("horizon"), now=near), Read)
    stored = changed(crossing(job), mark=NOW + MINUTE, next_due=NOW + 24 * HOUR)
    deliver(clock, Found(read.key, (stored,)), now=near)
    assert fired(wake(clock, NOW + 24 * HOUR)) == [NOW + 24 * HOUR]


def test_an_edit_that_crosses_the_last_slot_of_a_job_exhausts_it() -> None:
    job = make_job(trigger=at((NOW + MINUTE) // SECOND))
    clock = leading(job)
    (due,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(due.key), now=NOW + MINUTE)
    (last,) = sent(deliver(clock, KnowJobs(1, 2, (crossing(job),)), now=NOW + MINUTE + 1), Due)
    (slot,) = last.slots
    assert (slot.job.version, slot.decisions, slot.mark, slot.exhausted) == (2, (), NOW + MINUTE, True)


def test_an_edit_that_crosses_a_slot_leaves_the_count_of_fires_as_it_is() -> None:
    job = make_job(trigger=(at((NOW + MINUTE) // SECOND) | at((NOW + 30 * MINUTE) // SECOND)).but(limit=2))
    clock = leading(job)
    (due,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(due.key), now=NOW + MINUTE)
    deliver(clock, KnowJobs(1, 2, (crossing(job),)), now=NOW + MINUTE + 1)
    (last,) = wake(clock, NOW + 30 * MINUTE)
    assert (last.slots[0].fires, last.slots[0].exhausted) == (2, True)


def test_an_older_answer_of_the_store_does_not_bring_a_decided_slot_back() -> None:
    job = make_job(trigger=SOON_THEN_FAR)
    clock = leading(job)
    deliver(clock, TimerFired("horizon"), now=NOW)
    (due,) = wake(clock, NOW + MINUTE)
    deliver(clock, Decided(due.key), now=NOW + MINUTE)
    late = deliver(clock, Found("due/1/2", (make_record(job),)), now=NOW + MINUTE + 1)
    assert fired(sent(late, Due)) == []


def test_a_fixed_delay_counts_from_the_end_of_the_last_run() -> None:
    job = make_job(trigger=every(60, after_end=True))
    clock = leading(job)
    (due,) = wake(clock, NOW + MINUTE)
    assert (fired([due]), due.slots[0].next_due, due.slots[0].exhausted) == ([NOW + MINUTE], None, False)
    deliver(clock, Decided(due.key), now=NOW + MINUTE)
    effects = deliver(clock, JobEnded("t", "work", 1, NOW + 5 * MINUTE), now=NOW + 4 * MINUTE)
    assert [read.question for read in sent(effects, Read)] == [GetJobs((job.key,))]


def test_after_the_step_down_nothing_fires() -> None:
    clock = leading(make_job(trigger=every(60)))
    deliver(clock, StepDown(1), now=NOW)
    assert wake(clock, NOW + MINUTE) == []


def test_a_job_that_is_far_is_not_held_and_found_when_its_time_comes_near() -> None:
    far = make_job(trigger=every(24 * 3600))
    clock = leading(far)
    day = NOW + 24 * 3600 * SECOND
    assert wake(clock, day) == [], "it was left to the store"
    near = day - 60 * SECOND
    deliver(clock, TimerFired("horizon"), now=near)
    deliver(clock, Found("due/1/2", (make_record(far),)), now=near)
    assert fired(wake(clock, day)) == [day]
