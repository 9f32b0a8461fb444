"""Jobs that wait for others: chains, diamonds, results handed on, and what becomes of those whose upstreams end badly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callsheet import DependencyError, RunError, Scheduler, Snooze, at, every, fixed
from support.reached import Make
from support.waiting import eventually


def states(scheduler: Scheduler) -> dict[str, str]:
    """The state of the newest run of each job."""
    found: dict[str, str] = {}
    for view in scheduler.runs(limit=100):
        found.setdefault(view.job, str(view.state))
    return found


def add(scheduler: Scheduler, name: str, function: Callable[..., Any], *after: str, **options: Any) -> str:
    return scheduler.add(function, name=name, after=list(after), **options)


def ended(scheduler: Scheduler, name: str) -> Any:
    """The newest run of a job, when it has ended."""
    return eventually(lambda: next((it for it in scheduler.runs(name, limit=1) if it.ended_at is not None), None))


def diamond(scheduler: Scheduler) -> None:
    add(scheduler, "top", lambda: 1)
    add(scheduler, "left", lambda top: top + 10, "top")
    add(scheduler, "right", lambda top: top + 100, "top")
    add(scheduler, "bottom", lambda left, right: [left, right], "left", "right")


# ---- results ------------------------------------------------------------------------------------------------------------


def test_a_chain_hands_its_results_on(scheduler: Scheduler) -> None:
    @scheduler.job(name="rows")
    def rows() -> list[int]:
        return [1, 2, 3]

    @scheduler.job(name="total", after=[rows])
    async def total(ctx: Any, given: list[int]) -> int:
        return sum(given)

    @scheduler.job(name="report", after=[total])
    def report(given: int) -> str:
        return f"total {given}"

    handle = scheduler.trigger(report)

    assert handle.result(20) == "total 6"
    assert states(scheduler) == {"rows": "SUCCEEDED", "total": "SUCCEEDED", "report": "SUCCEEDED"}
    assert rows() == [1, 2, 3]
    assert report(5) == "total 5"


def test_a_diamond_runs_each_job_once_and_in_order(scheduler: Scheduler) -> None:
    diamond(scheduler)

    handle = scheduler.trigger("bottom")

    assert handle.result(20) == [11, 101]
    assert sorted(view.job for view in scheduler.runs()) == ["bottom", "left", "right", "top"]


def test_results_come_in_the_order_in_which_the_upstreams_are_named(scheduler: Scheduler) -> None:
    for name in ("c", "a", "b"):
        add(scheduler, name, lambda name=name: name)
    add(scheduler, "all", lambda *given: list(given), "b", "c", "a")

    assert scheduler.trigger("all").result(20) == ["b", "c", "a"]


def test_arguments_of_the_job_come_after_the_results(scheduler: Scheduler) -> None:
    add(scheduler, "one", lambda: 1)
    add(scheduler, "two", lambda one, own, word="": [one, own, word], "one", args=[2], kwargs={"word": "x"})

    assert scheduler.trigger("two").result(20) == [1, 2, "x"]


def test_an_upstream_that_is_triggered_brings_what_waits_for_it(scheduler: Scheduler) -> None:
    diamond(scheduler)

    assert scheduler.trigger("top").result(20) == 1
    bottom = ended(scheduler, "bottom")
    assert scheduler.handle(bottom.run_id).result(20) == [11, 101]


def test_a_dependent_that_is_submitted_with_arguments_waits_for_nobody(scheduler: Scheduler) -> None:
    diamond(scheduler)

    assert scheduler.submit("bottom", 7, 8).result(20) == [7, 8]
    assert [view.job for view in scheduler.runs()] == ["bottom"]


def test_the_runs_of_two_triggers_do_not_mix(scheduler: Scheduler) -> None:
    numbers = iter(range(100))
    lock = threading.Lock()

    def top() -> int:
        with lock:
            return next(numbers)

    add(scheduler, "top", top)
    add(scheduler, "same", lambda given: given, "top")
    add(scheduler, "both", lambda top, same: [top, same], "top", "same")

    handles = [scheduler.trigger("both") for _ in range(10)]

    found = [handle.result(20) for handle in handles]
    assert sorted(found) == [[number, number] for number in range(10)]


def test_what_waits_says_for_what(scheduler: Scheduler, gate: Any) -> None:
    add(scheduler, "slow", gate)
    add(scheduler, "after", lambda given: given, "slow")
    handle = scheduler.trigger("after")
    gate.wait_reached()

    status = handle.status()
    assert (status.state, status.cause) == ("BLOCKED", "trigger")
    assert status.reason == "waits for slow"
    assert status.look_at is not None
    gate.open()
    assert handle.result(20) == 1


# ---- slots --------------------------------------------------------------------------------------------------------------


def test_a_slot_brings_all_that_waits_for_its_job(scheduler: Scheduler) -> None:
    begin = datetime.now(UTC) + timedelta(seconds=0.2)
    scheduler.add(lambda: 1, at(begin), name="top")
    add(scheduler, "next", lambda given: given + 1, "top")
    add(scheduler, "last", lambda given: given + 1, "next")

    last = eventually(lambda: scheduler.runs("last", state="SUCCEEDED"))[0]

    assert scheduler.handle(last.run_id).result(1) == 3
    assert {view.slot for view in scheduler.runs()} == {begin}
    assert [(it.decision, it.slot) for it in scheduler.decisions("top")] == [("FIRED", begin)]


def test_two_upstreams_of_one_slot_are_waited_for_together(scheduler: Scheduler) -> None:
    begin = datetime.now(UTC) + timedelta(seconds=0.3)
    scheduler.add(lambda: "a", at(begin), name="a")
    scheduler.add(lambda: "b", at(begin), name="b")
    add(scheduler, "both", lambda a, b: a + b, "a", "b")

    run = eventually(lambda: scheduler.runs("both", state="SUCCEEDED"))[0]

    assert scheduler.handle(run.run_id).result(1) == "ab"
    eventually(lambda: len(scheduler.runs("b", state="SUCCEEDED")) == 1)
    assert [len(scheduler.runs(name)) for name in ("a", "b", "both")] == [1, 1, 1]


def test_each_slot_of_a_recurring_job_has_its_own_followers(scheduler: Scheduler) -> None:
    scheduler.add(lambda ctx: str(ctx.slot), every(0.1), name="tick", overlap="allow_all")
    add(scheduler, "tock", lambda ctx, tick: [tick, str(ctx.slot)], "tick", overlap="allow_all")

    eventually(lambda: len(scheduler.runs("tock", state="SUCCEEDED")) >= 3)
    scheduler.remove("tick")

    tocks = [it for it in scheduler.runs("tock") if it.state == "SUCCEEDED"]
    found = [scheduler.handle(it.run_id).result(5) for it in tocks]
    assert all(tick == tock for tick, tock in found)
    assert len({tick for tick, _ in found}) == len(found)


# ---- bad ends -----------------------------------------------------------------------------------------------------------


def test_a_failure_fails_what_waits_for_it_at_once(scheduler: Scheduler, gate: Any) -> None:
    def broken() -> None:
        raise ValueError("no")

    add(scheduler, "broken", broken)
    add(scheduler, "slow", gate)
    add(scheduler, "next", lambda *given: None, "broken", "slow")
    add(scheduler, "last", lambda given: None, "next")

    handle = scheduler.trigger("last")

    assert handle.wait(20) == "UPSTREAM_FAILED"
    with pytest.raises(RunError, match="UPSTREAM_FAILED: upstream 'next' ended UPSTREAM_FAILED"):
        handle.result(1)
    assert "'broken' ended FAILED" in scheduler.runs("next")[0].reason
    gate.open()


def test_an_upstream_that_recovers_by_retry_harms_nobody(scheduler: Scheduler) -> None:
    def flaky(ctx: Any) -> int:
        if ctx.attempt < 3:
            raise ValueError("no")
        attempt: int = ctx.attempt
        return attempt

    add(scheduler, "flaky", flaky, retry=fixed(0.01))
    add(scheduler, "next", lambda given: given * 2, "flaky")

    assert scheduler.trigger("next").result(20) == 6


def test_an_upstream_that_snoozes_is_waited_for(scheduler: Scheduler) -> None:
    calls: list[int] = []

    def sleepy() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise Snooze(0.01)
        return len(calls)

    add(scheduler, "sleepy", sleepy)
    add(scheduler, "next", lambda given: given, "sleepy")

    assert scheduler.trigger("next").result(20) == 3


def test_a_cancelled_upstream_lets_what_waits_for_it_be_skipped(scheduler: Scheduler) -> None:
    begun = threading.Event()

    def patient(ctx: Any) -> None:
        begun.set()
        eventually(lambda: ctx.cancelled)
        ctx.raise_if_cancelled()

    add(scheduler, "patient", patient)
    add(scheduler, "next", lambda given: None, "patient")
    add(scheduler, "last", lambda given: None, "next")
    last = scheduler.trigger("last")
    assert begun.wait(20)

    scheduler.cancel(scheduler.runs("patient")[0].run_id)

    assert last.wait(20) == "SKIPPED"
    assert states(scheduler) == {"patient": "CANCELLED", "next": "SKIPPED", "last": "SKIPPED"}


def test_a_dependent_that_waits_can_be_cancelled(scheduler: Scheduler, gate: Any) -> None:
    add(scheduler, "slow", gate)
    add(scheduler, "next", lambda given: None, "slow")
    handle = scheduler.trigger("next")
    gate.wait_reached()

    assert handle.cancel() == "CANCELLED"
    gate.open()
    eventually(lambda: states(scheduler) == {"slow": "SUCCEEDED", "next": "CANCELLED"})


def test_a_removed_upstream_fails_what_waits_for_it(scheduler: Scheduler, gate: Any) -> None:
    scheduler.pause(add(scheduler, "top", lambda: 1))
    add(scheduler, "next", lambda given: None, "top")
    handle = scheduler.trigger("next")
    assert handle.status().state == "BLOCKED"

    scheduler.remove("top")

    assert handle.wait(20) == "UPSTREAM_FAILED"


def test_a_wait_has_a_deadline(scheduler: Scheduler, gate: Any) -> None:
    add(scheduler, "slow", gate)
    add(scheduler, "next", lambda given: None, "slow", wait_deadline=0.2)

    handle = scheduler.trigger("next")

    assert handle.wait(20) == "EXPIRED"
    assert "deadline" in handle.status().reason


# ---- what cannot be -----------------------------------------------------------------------------------------------------


def test_a_cycle_is_refused_with_its_path(scheduler: Scheduler) -> None:
    add(scheduler, "a", lambda *_: None)
    add(scheduler, "b", lambda *_: None, "a")
    add(scheduler, "c", lambda *_: None, "b")

    with pytest.raises(DependencyError, match=r"job 'a' would wait for itself: a → c → b → a; take one of these out"):
        add(scheduler, "a", lambda *_: None, "c")
    with pytest.raises(DependencyError, match=r"'self' would wait for itself: self → self"):
        add(scheduler, "self", lambda *_: None, "self")
    assert scheduler.job_view("a").after == ()


def test_an_unknown_upstream_is_refused_by_name(scheduler: Scheduler) -> None:
    with pytest.raises(
        DependencyError, match="job 'next' waits for 'nobody', which is unknown in tenant 'default'; add"
    ):
        add(scheduler, "next", lambda *_: None, "nobody")
    assert scheduler.jobs() == []


def test_what_was_refused_does_not_come_back_with_the_next_start(scheduler: Scheduler) -> None:
    with pytest.raises(DependencyError):
        add(scheduler, "next", lambda *_: None, "nobody")

    scheduler.stop()
    scheduler.start()

    assert scheduler.submit(lambda: 1).result(20) == 1


def test_a_cycle_among_declared_jobs_is_refused_at_the_start(make: Make, store_url: str) -> None:
    scheduler = make(store_url)
    add(scheduler, "a", lambda *_: None, "b")
    add(scheduler, "b", lambda *_: None, "a")

    with pytest.raises(DependencyError, match="would wait for itself"):
        scheduler.start()
    assert not scheduler.running
    assert make("memory://").start().submit(lambda: 1).result(20) == 1


def test_jobs_may_be_declared_before_their_upstreams(make: Make, store_url: str) -> None:
    scheduler = make(store_url)
    add(scheduler, "next", lambda given: given, "top")
    add(scheduler, "top", lambda: 5)

    assert scheduler.start().trigger("next").result(20) == 5


def test_an_upstream_may_be_taken_away_again(scheduler: Scheduler) -> None:
    add(scheduler, "top", lambda: 1)
    add(scheduler, "next", lambda given=0: given, "top")
    assert scheduler.trigger("next").result(20) == 1

    add(scheduler, "next", lambda given=0: given)

    assert scheduler.trigger("next").result(20) == 0
    assert scheduler.trigger("top").result(20) == 1
    assert [len(scheduler.runs(name)) for name in ("top", "next")] == [2, 2]
