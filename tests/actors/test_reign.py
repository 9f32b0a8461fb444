"""What a leader keeps of the runs that have ended: nothing that grows."""

from __future__ import annotations

from msgspec.structs import replace

from callsheet.actors.coordinator.book import Book, Live
from callsheet.actors.coordinator.reign import LOOKS_A_RUN, LOOKS_SLACK, REMEMBERED_REMOVED, Reign
from callsheet.actors.coordinator.request import MAX_WATCHERS
from callsheet.actors.lifecycle import REMOVED
from callsheet.actors.messages import Draft, RunsEnded, WatchLive
from callsheet.actors.persistence.store import Counters
from callsheet.actors.records import Run, RunState
from support.actors import MINUTE, NOW, Leader, make_job


def live(number: int) -> Live:
    run = Run(number, "t", "work", 1, "submit", None, "", NOW, NOW, 0, b"")
    return Live(run, make_job(run_deadline_us=MINUTE), RunState.READY)


def test_looks_at_runs_that_have_ended_are_not_kept_until_they_are_due() -> None:
    reign = Reign(1, "n", Counters(run_id=0, fence=0, settled=0))
    kept = live(1)
    reign.book.enter(kept)
    reign.look(NOW + MINUTE, "run_deadline", kept)
    for number in range(2, 4 * LOOKS_SLACK):
        gone = live(number)
        reign.book.enter(gone)
        reign.look(NOW + 2 * MINUTE, "run_deadline", gone)
        reign.book.leave(gone)
        assert reign.looks() <= 2 * LOOKS_A_RUN + LOOKS_SLACK
    assert reign.next_look() == NOW + MINUTE
    assert reign.due_looks(NOW + MINUTE) == [("run_deadline", kept)]


def test_the_same_look_at_a_run_is_kept_once() -> None:
    reign = Reign(1, "n", Counters(run_id=0, fence=0, settled=0))
    kept = live(1)
    reign.book.enter(kept)
    for _ in range(4 * LOOKS_SLACK):
        reign.look(NOW + MINUTE, "start_deadline", kept)
        assert reign.looks() <= 2 * LOOKS_A_RUN + LOOKS_SLACK
    assert ("start_deadline", kept) in reign.due_looks(NOW + MINUTE)


def test_of_very_many_who_watch_a_run_those_who_came_last_are_told_of_its_end() -> None:
    leader = Leader()
    leader.admit(Draft(make_job(), "submit", None, ""))
    (order,) = leader.assigned()
    for number in range(2 * MAX_WATCHERS):
        leader.tell(WatchLive(f"client-{number}", "t", (order.run_id,)), sender="registry")
    leader.end(order)
    told = [it.to for it in leader.sent if isinstance(it.message, RunsEnded)]
    assert told == [f"client-{number}" for number in range(MAX_WATCHERS, 2 * MAX_WATCHERS)]


def test_a_run_that_ends_while_its_job_is_paused_is_not_kept_until_the_job_goes_on() -> None:
    book = Book()
    first, second = live(1), live(2)
    for waiting in (first, second):
        book.enter(waiting)
        book.put_aside(waiting)
    book.leave(first)
    assert book.aside(first.key) == [second]
    book.leave(second)
    assert book.aside(second.key) == []


def test_of_very_many_jobs_that_were_removed_only_the_latest_and_those_with_live_runs_are_remembered() -> None:
    reign = Reign(1, "n", Counters(run_id=0, fence=0, settled=0))
    lives = live(1)
    reign.book.enter(lives)
    reign.remove(lives.key, 1)
    for audit in range(5):
        for number in range(REMEMBERED_REMOVED + 1):
            reign.remove(("t", f"job-{audit}-{number}"), 1)
        reign.forget_removed()
        assert reign.removed() <= 2 * (REMEMBERED_REMOVED + 2)
    assert reign.is_removed(lives), "what it has begun is not tried again"
    latest = Live(replace(lives.run, job="job-4-0"), lives.job, RunState.READY)
    assert reign.is_removed(latest), "a run of it may be on its way"


def test_of_a_job_that_is_removed_a_long_row_of_runs_that_wait_for_one_another_ends() -> None:
    reign = Reign(1, "n", Counters(run_id=0, fence=0, settled=0))
    row = [live(number) for number in range(1, 2_001)]
    for number, each in enumerate(row):
        reign.book.enter(each)
        if number:
            reign.book.gate(each, number)
            reign.make_ready(each, NOW)
    reign.remove(row[0].key, 1)
    reign.end(row[0], RunState.CANCELLED, NOW, reason=REMOVED)
    assert [end.run_id for end in reign.batch.ends] == list(range(1, 2_001))


def test_that_a_job_is_removed_again_is_remembered_by_its_newer_version() -> None:
    reign = Reign(1, "n", Counters(run_id=0, fence=0, settled=0))
    newer = Live(replace(live(1).run, version=3), live(1).job, RunState.READY)
    reign.book.enter(newer)
    for audit in range(3):
        reign.remove(newer.key, 1 + audit)
        assert reign.is_removed(newer) is (audit == 2)
        for number in range(REMEMBERED_REMOVED):
            reign.remove(("t", f"job-{audit}-{number}"), 1)
        reign.forget_removed()
        assert reign.is_removed(newer) is (audit == 2)
