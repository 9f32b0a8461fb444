"""Hooks: the six moments, what they are told, and that one that fails harms nothing."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from callsheet import DefinitionError, Scheduler, at, every, fixed
from support.reached import Make
from support.waiting import eventually

Told = dict[str, Any]


class Ear:
    """Hears hooks."""

    def __init__(self, scheduler: Scheduler, *moments: Any, **scope: Any) -> None:
        self.told: list[Told] = []
        for moment in moments:
            scheduler.on(moment, self.told.append, **scope)

    def moments(self, job: str = "") -> list[str]:
        return [it["moment"] for it in list(self.told) if not job or it["job"] == job]

    def wait(self, count: int) -> list[Told]:
        eventually(lambda: len(self.told) >= count)
        return self.told


ALL = ("before", "after", "on_success", "on_failure", "on_retry", "on_skip")


def test_a_success_is_told_before_on_success_and_after(scheduler: Scheduler) -> None:
    ear = Ear(scheduler, *ALL)
    scheduler.add(lambda: 1, name="job")

    handle = scheduler.submit("job")
    handle.result(20)

    ear.wait(3)
    assert sorted(ear.moments("job")) == ["after", "before", "on_success"]
    told = next(it for it in ear.told if it["moment"] == "on_success")
    assert told == {
        "moment": "on_success", "job": "job", "tenant": "default", "run": handle.run_id, "slot": None,
        "state": "SUCCEEDED", "attempt": 1, "error_type": "", "error": "", "reason": "",
    }  # fmt: skip


def test_a_failure_is_told_with_its_error(scheduler: Scheduler) -> None:
    ear = Ear(scheduler, "on_failure")

    def broken() -> None:
        raise LookupError("not there")

    scheduler.add(broken, name="job")
    scheduler.submit("job").wait(20)

    [told] = ear.wait(1)
    assert (told["state"], told["error_type"], told["error"]) == ("FAILED", "LookupError", "not there")


def test_each_retry_is_told(scheduler: Scheduler) -> None:
    ear = Ear(scheduler, "on_retry", "on_success")

    def flaky(ctx: Any) -> None:
        if ctx.attempt < 3:
            raise ValueError(f"failure {ctx.attempt}")

    scheduler.add(flaky, name="job", retry=fixed(0.01))
    scheduler.submit("job").result(20)

    ear.wait(3)
    retries = [(it["attempt"], it["error"]) for it in ear.told if it["moment"] == "on_retry"]
    assert sorted(retries) == [(1, "failure 1"), (2, "failure 2")]


def test_a_skipped_slot_and_a_skipped_run_are_told(scheduler: Scheduler, gate: Any) -> None:
    ear = Ear(scheduler, "on_skip")
    scheduler.add(gate, every(0.1), name="slow")

    told = ear.wait(1)[0]

    assert (told["job"], told["state"]) == ("slow", "SKIPPED_OVERLAP")
    assert told["slot"] is not None
    scheduler.remove("slow")
    gate.open()


def test_the_job_begins_when_its_before_hooks_have_ended(scheduler: Scheduler, gate: Any) -> None:
    order: list[str] = []

    def before(told: Told) -> None:
        gate()
        order.append("hook")

    scheduler.add(lambda: order.append("job"), name="job")
    scheduler.on("before", before, job="job")
    handle = scheduler.submit("job")
    gate.wait_reached()

    assert handle.status().state == "BLOCKED"
    gate.open()
    handle.result(20)
    assert order == ["hook", "job"]


@pytest.mark.parametrize("moment", ALL)
def test_a_hook_that_fails_is_reported_and_harms_nothing(
    one: Scheduler, moment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(told: Told) -> None:
        raise RuntimeError("the hook is broken")

    def flaky(ctx: Any) -> str:
        if ctx.attempt == 1:
            raise ValueError
        return "done"

    one.on(moment, broken)
    one.add(flaky, name="flaky", retry=fixed(0.01))
    one.add(lambda: 1 / 0, name="fails")
    handles = [one.submit("flaky"), one.submit("fails")]

    assert [handle.wait(20) for handle in handles] == ["SUCCEEDED", "FAILED"]
    if moment != "on_skip":
        failed = eventually(lambda: [it for it in one.runs(hooks=True, state="FAILED") if it.cause == "hook"])
        assert "RuntimeError: the hook is broken" in failed[0].error
        eventually(lambda: "hook" in caplog.text)
        assert "the hook is broken" in caplog.text


def test_a_hook_may_be_for_one_job_or_for_a_tag(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, name="a", tags=["money"])
    scheduler.add(lambda: 1, name="b")
    scheduler.add(lambda: 1, name="c", tags=["money", "nightly"])
    of_job, of_tag, of_all = (
        Ear(scheduler, "on_success", job="b"),
        Ear(scheduler, "on_success", tag="money"),
        Ear(scheduler, "on_success"),
    )

    for name in ("a", "b", "c"):
        scheduler.submit(name).result(20)

    of_all.wait(3)
    of_tag.wait(2)
    of_job.wait(1)
    assert sorted(it["job"] for it in of_tag.told) == ["a", "c"]
    assert [it["job"] for it in of_job.told] == ["b"]


def test_two_hooks_of_one_job_with_a_very_long_name_are_both_called(scheduler: Scheduler) -> None:
    long = "j" * 200
    scheduler.add(lambda: 1, name=long)
    first, second = threading.Event(), threading.Event()
    names = [
        scheduler.on("after", lambda _: first.set(), job=long, name="first"),
        scheduler.on("after", lambda _: second.set(), job=long, name="second"),
    ]

    scheduler.submit(long).result(20)

    assert first.wait(20)
    assert second.wait(20)
    assert len(set(names)) == 2
    assert all(len(name) == 200 for name in names)
    assert scheduler.on("after", lambda _: None, job=long, name="first") == names[0], "the same hook has one name"


def test_a_hook_can_be_a_decorator_and_stays_the_function_it_was(scheduler: Scheduler) -> None:
    heard = threading.Event()

    @scheduler.on("on_success")  # type: ignore[untyped-decorator] # as a decorator it gives back what it was given
    def hear(told: Told) -> str:
        heard.set()
        return "heard"

    scheduler.submit(lambda: 1).result(20)

    assert heard.wait(20)
    assert hear({}) == "heard"


def test_hooks_of_hooks_are_not_called(scheduler: Scheduler) -> None:
    ear = Ear(scheduler, "after")

    scheduler.submit(lambda: 1).result(20)
    ear.wait(1)
    scheduler.submit(lambda: 1).result(20)
    ear.wait(2)

    assert len(scheduler.runs(hooks=True)) == 4
    assert len(ear.told) == 2


def test_hooks_are_not_among_the_jobs_and_runs_unless_asked_for(scheduler: Scheduler) -> None:
    ear = Ear(scheduler, "after")
    scheduler.submit(lambda: 1).result(20)
    ear.wait(1)

    assert len(scheduler.jobs()) == len(scheduler.runs()) == 1
    assert len(scheduler.jobs(hooks=True)) == 2
    eventually(lambda: len(scheduler.runs(hooks=True)) == 2)


def test_a_hook_that_was_removed_is_called_no_more(scheduler: Scheduler) -> None:
    told: list[Told] = []
    name = scheduler.on("after", told.append)
    scheduler.submit(lambda: 1).result(20)
    eventually(lambda: told)

    scheduler.remove(name)
    scheduler.submit(lambda: 2).result(20)

    eventually(lambda: not [it for it in scheduler.runs(hooks=True) if it.ended_at is None])
    assert len(told) == 1


def test_async_hooks_are_called_too(scheduler: Scheduler) -> None:
    heard = threading.Event()

    async def hear(told: Told) -> None:
        heard.set()

    scheduler.on("after", hear)
    scheduler.submit(lambda: 1).result(20)
    assert heard.wait(20)


def test_a_hook_is_called_after_a_restart_for_what_ended_before(make: Make, file_url: str, gate: Any) -> None:
    first = make(file_url)
    first.on("on_success", gate, name="ear")
    first.add(lambda: 1, name="job")
    first.start().submit("job").result(20)
    gate.wait_reached()
    first.stop(drain_timeout=0)

    told: list[Told] = []
    second = make(file_url)
    second.on("on_success", told.append, name="ear")
    second.start()

    eventually(lambda: told)
    assert told[0]["job"] == "job"
    gate.open()


def test_a_hook_that_was_declared_in_an_earlier_life_waits_for_its_function(make: Make, file_url: str) -> None:
    first = make(file_url)
    first.on("on_success", lambda told: None, name="ear")
    first.start().stop()

    second = make(file_url).start()
    second.submit(lambda: 1, *()).result(20)
    run = eventually(lambda: [it for it in second.runs(hooks=True) if it.cause == "hook" and it.state == "PARKED"])[0]
    assert "'ear'" in run.reason
    told: list[Told] = []
    second.on("on_success", told.append, name="ear")
    eventually(lambda: told)


def test_a_slot_is_told_by_its_instant(scheduler: Scheduler) -> None:
    begin = datetime.now(UTC) + timedelta(seconds=0.2)
    ear = Ear(scheduler, "on_success")
    scheduler.add(lambda: 1, at(begin), name="job")

    [told] = ear.wait(1)
    assert told["slot"] == int(begin.timestamp() * 1_000_000) or told["slot"] == round(begin.timestamp() * 1_000_000)


def test_what_is_no_hook_is_refused(one: Scheduler) -> None:
    def no_arguments() -> None:
        pass

    bad: Any = "sometimes"
    with pytest.raises(DefinitionError, match=r"a hook's moment is one of before, after, .*; 'sometimes' was given"):
        one.on(bad, lambda told: None)
    with pytest.raises(DefinitionError, match="do not fit"):
        one.on("after", cast("Any", no_arguments))
    nothing: Any = 5
    with pytest.raises(DefinitionError, match="expected a function"):
        one.on("after", nothing)
    with pytest.raises(DefinitionError, match="declare it first"):
        one.on("after", lambda told: None, job=lambda: 1)
    assert one.jobs(hooks=True) == []
