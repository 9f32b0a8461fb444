"""Jobs that recur: slots, overlap, catch-up after a stop, pause, resume, reschedule, remove, preview."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from callsheet import DefinitionError, Scheduler, UnknownJob, at, cron, delay, every, manual, preview
from callsheet.actors.persistence.store import InsertJob
from callsheet.actors.persistence.urls import open_store
from callsheet.actors.records import Job
from callsheet.actors.schedule import first_state
from callsheet.triggers import CatchUp
from support.reached import Make
from support.stored import Leader
from support.waiting import eventually


def decided(scheduler: Scheduler, name: str) -> list[str]:
    """The kinds of a job's decisions, oldest first, one for each slot."""
    return [it.decision for it in reversed(scheduler.decisions(name, limit=1_000)) for _ in range(it.count)]


def slots(scheduler: Scheduler, name: str) -> list[datetime]:
    return [it.slot for it in reversed(scheduler.decisions(name, limit=1_000))]


def missed(make: Make, file_url: str, count: int, **catch_up: Any) -> Scheduler:
    """A scheduler that starts when `count` slots of the job "tick" have passed with nobody there; two seconds lie between them."""
    now = int(datetime.now(UTC).timestamp() * 1e6)
    begin = now - (count - 1) * 2_000_000 - 500_000
    start = datetime.fromtimestamp(begin / 1e6, UTC)
    job = Job(
        tenant="default",
        name="tick",
        target="tick",
        trigger=every(2, start=start),
        anchor=begin,
        catchup=CatchUp(**catch_up),
    )
    store = open_store(file_url)
    store.open()
    Leader(store).write(InsertJob(job, first_state(job)))
    store.close()
    scheduler = make(file_url)
    scheduler._functions.register("tick", lambda: None)
    return scheduler.start()


# ---- slots --------------------------------------------------------------------------------------------------------------


def test_a_job_recurs_at_its_rate_and_each_slot_is_decided_once(scheduler: Scheduler) -> None:
    scheduler.add(lambda ctx: str(ctx.slot), every(0.1), name="tick", overlap="allow_all")

    eventually(lambda: len(scheduler.decisions("tick")) >= 5)
    scheduler.pause("tick")

    fired = slots(scheduler, "tick")
    assert {later - earlier for earlier, later in pairwise(fired)} == {timedelta(seconds=0.1)}
    eventually(lambda: all(it.state == "SUCCEEDED" for it in scheduler.runs("tick")))
    runs = {it.slot: it for it in scheduler.runs("tick")}
    assert set(runs) == set(fired)
    assert all(scheduler.handle(it.run_id).result(5) == str(slot) for slot, it in runs.items())
    assert all(it.cause == "slot" for it in runs.values())
    assert scheduler.job_view("tick").fires == len(fired)


def test_a_run_begins_not_before_its_slot_and_soon_after(scheduler: Scheduler) -> None:
    when = datetime.now(UTC) + timedelta(seconds=0.25)
    scheduler.add(lambda: None, at(when), name="once")

    run = eventually(lambda: scheduler.runs("once", state="SUCCEEDED"))[0]

    assert run.slot == when
    assert run.started_at is not None
    assert when <= run.started_at < when + timedelta(seconds=2)
    assert scheduler.job_view("once").status == "exhausted"
    assert scheduler.job_view("once").next_due is None


def test_a_limit_of_fires_exhausts_a_job_which_stays_visible(scheduler: Scheduler) -> None:
    scheduler.add(lambda: None, every(0.05).but(limit=3), name="thrice")

    eventually(lambda: scheduler.job_view("thrice").status == "exhausted")

    assert decided(scheduler, "thrice").count("FIRED") + decided(scheduler, "thrice").count("SKIPPED_OVERLAP") == 3
    assert [it.name for it in scheduler.jobs()] == ["thrice"]


def test_a_delay_counts_from_the_moment_the_job_is_added(scheduler: Scheduler) -> None:
    before = datetime.now(UTC)
    scheduler.add(lambda: None, delay(0.2), name="later")

    run = eventually(lambda: scheduler.runs("later", state="SUCCEEDED"))[0]
    assert run.started_at is not None
    assert run.started_at - before >= timedelta(seconds=0.2)


def test_an_interval_after_the_end_waits_for_the_end(scheduler: Scheduler) -> None:
    ends: list[datetime] = []
    begins: list[datetime] = []

    async def work() -> None:
        import asyncio

        begins.append(datetime.now(UTC))
        await asyncio.sleep(0.15)
        ends.append(datetime.now(UTC))

    scheduler.add(work, every(0.1, after_end=True), name="pulse")

    eventually(lambda: len(begins) >= 4)
    scheduler.remove("pulse")
    gaps = [begin - end for end, begin in zip(ends, begins[1:], strict=False)]
    assert all(gap >= timedelta(seconds=0.099) for gap in gaps)


def test_a_manual_job_never_fires_by_itself(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 5, manual(), name="by hand")

    assert scheduler.job_view("by hand").next_due is None
    assert scheduler.trigger("by hand").result(20) == 5
    assert scheduler.decisions("by hand") == []
    assert scheduler.job_view("by hand").status == "active"


def test_triggers_combine(scheduler: Scheduler) -> None:
    begin = datetime.now(UTC) + timedelta(seconds=0.2)
    later = begin + timedelta(seconds=0.1)
    scheduler.add(lambda: None, (at(begin) | at(later)) - at(later), name="either")

    eventually(lambda: scheduler.job_view("either").status == "exhausted")
    assert [(it.slot, it.decision) for it in scheduler.decisions("either")] == [(begin, "FIRED")]


def test_a_new_job_never_judges_the_past(scheduler: Scheduler) -> None:
    scheduler.add(lambda: None, every(3600, start=datetime.now(UTC) - timedelta(days=30)), name="old")
    scheduler.add(lambda: None, at(datetime.now(UTC) - timedelta(seconds=5)), name="gone")

    assert scheduler.submit(lambda: 1).result(20) == 1
    assert scheduler.decisions("old") == []
    next_due = scheduler.job_view("old").next_due
    assert next_due is not None
    assert next_due > datetime.now(UTC)
    assert scheduler.job_view("gone").status == "exhausted"


# ---- overlap ------------------------------------------------------------------------------------------------------------


def test_a_slot_that_would_overlap_is_skipped_and_says_which_run_it_would_have_overlapped(
    scheduler: Scheduler, gate: Any
) -> None:
    scheduler.add(gate, every(0.1), name="slow")

    eventually(lambda: "SKIPPED_OVERLAP" in decided(scheduler, "slow"))
    skipped = next(it for it in scheduler.decisions("slow") if it.decision == "SKIPPED_OVERLAP")
    [run] = scheduler.runs("slow")
    assert skipped.run_id == run.run_id
    assert gate.count == 1
    gate.open()
    eventually(lambda: decided(scheduler, "slow").count("FIRED") >= 2)


def test_waiting_for_a_retry_counts_as_not_ended(scheduler: Scheduler) -> None:
    from callsheet import fixed

    def fail() -> None:
        raise ValueError("no")

    scheduler.add(fail, every(0.1), name="flaky", retry=fixed(3600, jitter="none"))

    eventually(lambda: decided(scheduler, "flaky").count("SKIPPED_OVERLAP") >= 2)
    assert decided(scheduler, "flaky").count("FIRED") == 1


def test_runs_may_overlap_when_the_job_says_so(scheduler: Scheduler, gate: Any) -> None:
    scheduler.add(gate, every(0.1), name="slow", overlap="allow_all")

    eventually(lambda: gate.count >= 3)
    scheduler.remove("slow")
    assert set(decided(scheduler, "slow")) == {"FIRED"}
    gate.open()


def test_runs_by_hand_are_not_kept_from_overlapping(scheduler: Scheduler, gate: Any) -> None:
    scheduler.add(gate, name="slow")

    handles = [scheduler.submit("slow"), scheduler.submit("slow")]
    eventually(lambda: gate.count == 2)
    gate.open()
    assert sorted(handle.result(20) for handle in handles) == [1, 2]


# ---- catch-up -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("latest", ["COALESCED_INTO"] * 4 + ["FIRED"]),
        ("earliest", ["FIRED"] + ["COALESCED_INTO"] * 4),
        ("all", ["FIRED"] * 5),
        ("none", ["SKIPPED_CATCHUP"] * 4 + ["FIRED"]),  # the last is not late enough to have been missed
    ],
)
def test_slots_that_passed_while_nobody_ran_are_decided_by_the_policy(
    make: Make, file_url: str, policy: str, expected: list[str]
) -> None:
    scheduler = missed(make, file_url, 5, policy=policy)

    eventually(lambda: len(decided(scheduler, "tick")) >= 5)
    scheduler.pause("tick")

    assert decided(scheduler, "tick")[:5] == expected
    fired = [it for it in scheduler.decisions("tick") if it.decision == "FIRED"]
    runs = {it.run_id: it for it in scheduler.runs("tick")}
    assert all(runs[it.run_id or 0].slot == it.slot for it in fired)
    coalesced = [it for it in scheduler.decisions("tick") if it.decision == "COALESCED_INTO"]
    assert all(it.into in {fire.slot for fire in fired} for it in coalesced)


def test_slots_later_than_the_window_are_skipped(make: Make, file_url: str) -> None:
    scheduler = missed(make, file_url, 5, policy="all", window_us=5_000_000)

    eventually(lambda: len(decided(scheduler, "tick")) >= 5)
    assert decided(scheduler, "tick")[:5] == ["SKIPPED_LATE"] * 2 + ["FIRED"] * 3


def test_all_missed_slots_run_oldest_first_and_do_not_overlap(make: Make, file_url: str) -> None:
    scheduler = missed(make, file_url, 6, policy="all")

    eventually(lambda: len([it for it in scheduler.runs("tick") if it.state == "SUCCEEDED"]) >= 6)
    times = sorted((it.slot, it.started_at, it.ended_at) for it in scheduler.runs("tick") if it.slot and it.ended_at)[
        :6
    ]
    assert all(began and ended <= began for (_, _, ended), (_, began, _) in pairwise(times))


def test_a_stop_of_a_moment_loses_no_slot_and_fires_none_twice(make: Make, file_url: str) -> None:
    scheduler = make(file_url)
    scheduler.add(lambda: None, every(0.2), name="tick", overlap="allow_all", catchup="all")
    for _ in range(3):
        scheduler.start()
        count = len(slots(scheduler, "tick"))
        eventually(lambda count=count: len(slots(scheduler, "tick")) >= count + 2)  # type: ignore[misc]
        scheduler.stop()

    scheduler.start()
    scheduler.pause("tick")
    found = slots(scheduler, "tick")
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(seconds=0.2)}
    eventually(lambda: all(it.ended_at for it in scheduler.runs("tick")))
    runs = [it.slot for it in scheduler.runs("tick")]
    assert len(runs) == len(set(runs))


# ---- pause, resume, reschedule, remove ----------------------------------------------------------------------------------


def test_a_paused_job_fires_nothing_and_what_passes_is_told(scheduler: Scheduler) -> None:
    scheduler.add(lambda: None, every(0.1), name="tick")
    eventually(lambda: scheduler.decisions("tick"))

    scheduler.pause("tick")
    before = len(scheduler.runs("tick"))
    assert scheduler.job_view("tick").status == "paused"
    assert scheduler.job_view("tick").next_due is None
    scheduler.options(delay=0.35).submit(lambda: None).result(20)
    assert len(scheduler.runs("tick")) == before
    scheduler.resume("tick")

    assert scheduler.job_view("tick").status == "active"
    assert decided(scheduler, "tick").count("SKIPPED_PAUSED") >= 3
    eventually(lambda: decided(scheduler, "tick")[-1] == "FIRED")
    assert len(slots(scheduler, "tick")) == len(set(slots(scheduler, "tick")))


def test_runs_of_a_paused_job_begin_when_it_is_resumed(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 7, name="job")
    scheduler.pause("job")
    handle = scheduler.submit("job")

    assert scheduler.submit(lambda: 1).result(20) == 1
    status = handle.status()
    assert (status.state, status.reason) == ("READY", "its job is paused")
    scheduler.resume("job")
    assert handle.result(20) == 7


def test_a_pause_outlives_a_restart_for_slots_and_for_runs(make: Make, file_url: str) -> None:
    calls: list[int] = []
    scheduler = make(file_url)
    scheduler.add(lambda: calls.append(1), every(0.05), name="tick")
    scheduler.add(lambda: calls.append(2), name="job")
    scheduler.start()
    scheduler.pause("tick")
    scheduler.pause("job")
    handle = scheduler.submit("job")
    run_id = handle.run_id
    scheduler.options(delay=0.1).submit(lambda: None).result(20)
    del calls[:]

    scheduler.stop()
    scheduler.start()

    assert scheduler.job_view("tick").status == "paused"
    scheduler.options(delay=0.2).submit(lambda: None).result(20)
    assert calls == []
    scheduler.resume("job")
    assert scheduler.handle(run_id).wait(20) == "SUCCEEDED"
    assert 2 in calls


def test_pause_and_resume_may_be_said_twice(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, name="job")
    for act in (scheduler.pause, scheduler.pause, scheduler.resume, scheduler.resume):
        act("job")
    assert scheduler.submit("job").result(20) == 1


def test_a_rescheduled_job_follows_its_new_trigger(scheduler: Scheduler) -> None:
    scheduler.add(lambda: None, every(3600), name="tick")

    scheduler.reschedule("tick", every(0.05))

    eventually(lambda: len(scheduler.runs("tick", state="SUCCEEDED")) >= 2)
    assert scheduler.job_view("tick").trigger == "Every 50 milliseconds."
    scheduler.reschedule("tick", manual())
    assert scheduler.job_view("tick").next_due is None


def test_a_job_that_is_declared_anew_with_another_trigger_follows_that(scheduler: Scheduler) -> None:
    function = lambda: None  # noqa: E731 - one function for both
    scheduler.add(function, every(3600), name="tick")
    scheduler.add(function, every(0.05), name="tick")

    eventually(lambda: scheduler.runs("tick", state="SUCCEEDED"))
    assert scheduler.job_view("tick").version == 2


def test_a_job_that_is_declared_again_unchanged_stays_as_it_is(make: Make, file_url: str) -> None:
    views = []
    for _ in range(2):
        scheduler = make(file_url)
        scheduler.add(lambda: None, every(3600), name="tick", tags=["a"])
        scheduler.start()
        views.append(scheduler.job_view("tick"))
        scheduler.stop()

    assert views[0] == views[1]


def test_a_removed_job_is_gone_and_its_history_stays(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, every(0.05), name="tick")
    eventually(lambda: scheduler.runs("tick", state="SUCCEEDED"))

    scheduler.remove("tick")

    assert scheduler.jobs() == []
    assert scheduler.runs("tick")
    with pytest.raises(UnknownJob, match="no job 'tick'"):
        scheduler.submit("tick")
    with pytest.raises(UnknownJob):
        scheduler.job_view("tick")


def test_what_waited_of_a_removed_job_is_cancelled(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, name="job")
    delayed = scheduler.options(delay=3600).submit("job")
    scheduler.pause("job")
    held = scheduler.submit("job")

    scheduler.remove("job")

    assert [delayed.wait(20), held.wait(20)] == ["CANCELLED", "CANCELLED"]
    assert "removed" in held.status().reason


def test_a_paused_job_that_is_removed_and_declared_again_is_not_paused(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, name="job")
    scheduler.pause("job")
    scheduler.remove("job")
    scheduler.add(lambda: 2, name="job")

    assert scheduler.submit("job").result(20) == 2


def test_an_edit_fires_no_slot_twice_however_often_a_job_is_edited(scheduler: Scheduler) -> None:
    function = lambda: None  # noqa: E731 - one function for all versions
    scheduler.add(function, every(0.01), name="tick", overlap="allow_all")

    def edit(number: int) -> bool:
        scheduler.add(function, every(0.01), name="tick", overlap="allow_all", description=f"version {number}")
        scheduler.resume("tick")
        scheduler.pause("tick")
        scheduler.resume("tick")
        return len(scheduler.decisions("tick", limit=1_000)) >= 150

    numbers = iter(range(1_000_000))
    eventually(lambda: edit(next(numbers)), within_s=20)
    scheduler.remove("tick")

    decisions = [it.slot for it in scheduler.decisions("tick", limit=1_000)]
    runs = [it.slot for it in scheduler.runs("tick", limit=1_000)]
    assert len(runs) > 10
    assert len(runs) == len(set(runs))
    fired = {it.slot: it.run_id for it in scheduler.decisions("tick", limit=1_000) if it.decision == "FIRED"}
    assert fired == {it.slot: it.run_id for it in scheduler.runs("tick", limit=1_000)}
    assert len(decisions) == len(set(decisions))


def test_a_removed_job_can_be_declared_again(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, name="job")
    scheduler.remove("job")
    scheduler.add(lambda: 2, name="job")

    assert scheduler.submit("job").result(20) == 2
    assert scheduler.job_view("job").status == "active"


# ---- preview ------------------------------------------------------------------------------------------------------------


def test_a_preview_lists_the_next_instants_and_what_is_special(scheduler: Scheduler) -> None:
    trigger = cron("30 2 * * *", zone="Europe/Berlin")
    start = datetime(2035, 3, 24, tzinfo=UTC)
    scheduler.add(lambda: None, trigger, name="nightly")

    found = scheduler.preview("nightly", 3, start)

    assert [it.instant for it in found] == [
        datetime(2035, 3, 24, 1, 30, tzinfo=UTC),
        datetime(2035, 3, 25, 1, 0, tzinfo=UTC),
        datetime(2035, 3, 26, 0, 30, tzinfo=UTC),
    ]
    assert [it.note for it in found] == ["", "gap→03:00", ""]
    assert scheduler.preview(trigger, 3, start) == preview(trigger, 3, start) == found
    with pytest.raises(UnknownJob, match="nobody"):
        scheduler.preview("nobody")


def test_a_preview_of_a_trigger_needs_no_scheduler_that_runs(make: Make) -> None:
    assert len(make("memory://").preview(every(60), 7)) == 7


def test_the_next_due_of_a_job_is_what_its_preview_says(scheduler: Scheduler) -> None:
    scheduler.add(lambda: None, cron("15 4 * * *", zone="Asia/Tokyo"), name="nightly")

    assert scheduler.job_view("nightly").next_due == scheduler.preview("nightly", 1)[0].instant


def test_what_is_no_trigger_is_refused(one: Scheduler) -> None:
    bad: Any = "0 2 * * *"
    with pytest.raises(
        DefinitionError, match=r"job 'tick': expected a trigger such as cron\(…\) or every\(…\), found '0 2"
    ):
        one.add(lambda: None, bad, name="tick")
    one.add(lambda: None, every(60), name="tick")
    with pytest.raises(DefinitionError, match=r"expected a trigger such as .* found '0 2 \* \* \*'"):
        one.reschedule("tick", bad)
