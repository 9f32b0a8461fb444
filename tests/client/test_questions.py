"""What can be asked: jobs, runs, decisions, logs, metrics; tags and tenants kept apart."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from callsheet import Context, Scheduler, UnknownJob, UnknownRun, every
from callsheet.actors.persistence.store import MAX_PAGE
from callsheet.actors.records import Decision
from callsheet.client.questions import Questions
from callsheet.triggers.decision import DecisionKind
from support.reached import Make
from support.waiting import eventually


def test_jobs_are_listed_by_name_by_tag_and_up_to_a_limit(scheduler: Scheduler) -> None:
    for number, tags in enumerate((["a"], ["a", "b"], [], ["b"])):
        scheduler.add(lambda: None, name=f"job {number}", tags=tags)

    assert [view.name for view in scheduler.jobs()] == ["job 0", "job 1", "job 2", "job 3"]
    assert [view.name for view in scheduler.jobs(tag="a")] == ["job 0", "job 1"]
    assert [view.name for view in scheduler.jobs(tag="b", limit=1)] == ["job 1"]
    assert scheduler.jobs(tag="none") == []


def test_runs_are_listed_newest_first_and_can_be_narrowed(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, name="good", tags=["fine"])
    scheduler.add(lambda: 1 / 0, name="bad")
    handles = [scheduler.submit(name) for name in ("good", "bad", "good", "bad", "good")]
    for handle in handles:
        handle.wait(20)
    numbers = [handle.run_id for handle in handles]

    assert [view.run_id for view in scheduler.runs()] == numbers[::-1]
    assert [view.run_id for view in scheduler.runs(limit=2)] == numbers[:2:-1]
    assert [view.run_id for view in scheduler.runs(before=numbers[2])] == numbers[1::-1]
    assert [view.run_id for view in scheduler.runs("good")] == numbers[::2][::-1]
    assert [view.run_id for view in scheduler.runs(state="FAILED")] == numbers[1::2][::-1]
    assert [view.run_id for view in scheduler.runs("bad", state="SUCCEEDED")] == []
    assert [view.run_id for view in scheduler.runs(tag="fine")] == numbers[::2][::-1]


def test_a_run_is_shown_with_all_that_is_known_of_it(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1 / 0, name="bad")
    handle = scheduler.submit("bad")
    handle.wait(20)
    view = scheduler.run_view(handle.run_id)

    assert view == scheduler.runs()[0] == handle.status()
    assert (view.job, view.tenant, view.state, view.cause, view.slot) == ("bad", "default", "FAILED", "submit", None)
    assert view.error == "ZeroDivisionError: division by zero"
    assert view.attempts == 1
    assert view.node
    assert view.look_at is None
    with pytest.raises(UnknownRun, match="no run 777 in tenant 'default'"):
        scheduler.run_view(777)


def test_decisions_are_listed_newest_first(scheduler: Scheduler) -> None:
    scheduler.add(lambda: None, every(0.05), name="tick", overlap="allow_all")
    eventually(lambda: len(scheduler.decisions("tick")) >= 4)
    scheduler.pause("tick")

    found = scheduler.decisions("tick")
    assert [it.slot for it in found] == sorted((it.slot for it in found), reverse=True)
    assert all((it.decision, it.count, it.job) == ("FIRED", 1, "tick") for it in found)
    assert all(it.decided_at >= it.slot for it in found)
    assert scheduler.decisions("tick", limit=2) == found[:2]
    assert {scheduler.run_view(it.run_id or 0).slot for it in found} == {it.slot for it in found}


class Decided(Questions):
    """A job of which so many slots are decided, and a page of them at most is told at once."""

    tenant = "default"

    def __init__(self, count: int) -> None:
        self._rows = [
            Decision("default", "tick", slot, slot, 1, DecisionKind.FIRED, slot) for slot in range(count, 0, -1)
        ]

    def _ask(self, question: Any) -> tuple[Any, ...]:
        rows = [row for row in self._rows if question.before is None or row.slot < question.before]
        return tuple(rows[: min(question.limit, MAX_PAGE)])

    def _name_of(self, job: Any) -> str:
        return str(job)


@pytest.mark.parametrize("limit", [0, 1, 1_000, 1_001, 2_500, 9_000])
def test_more_decisions_than_a_page_holds_are_listed(limit: int) -> None:
    found = Decided(2_500).decisions("tick", limit=limit)

    slots = [row.slot for row in found]
    assert len(slots) == len(set(slots)) == min(limit, 2_500)
    assert slots == sorted(slots, reverse=True)


def test_an_unknown_state_or_job_in_a_question_is_said(scheduler: Scheduler) -> None:
    with pytest.raises(ValueError, match="SLEEPING"):
        scheduler.runs(state="SLEEPING")
    assert scheduler.runs("nobody") == []
    assert scheduler.decisions("nobody") == []
    with pytest.raises(UnknownJob):
        scheduler.job_view("nobody")


def test_what_a_job_prints_and_logs_is_kept_apart_from_what_others_do(scheduler: Scheduler) -> None:
    def talk(ctx: Context, word: str) -> None:
        print(f"{word} printed")  # noqa: T201 - what it is about
        print(f"{word} complained", file=sys.stderr)  # noqa: T201 - likewise
        logging.getLogger("shop").warning("%s logged", word)
        ctx.log(f"{word} said")

    async def talk_async(ctx: Context, word: str) -> None:
        talk(ctx, word)

    handles = {word: scheduler.submit(job, word) for word, job in (("a", talk), ("b", talk_async), ("c", talk))}
    for word, handle in handles.items():
        handle.result(20)
        logs = handle.logs()
        assert all(f"{word} {verb}" in logs for verb in ("printed", "complained", "logged", "said"))
        assert not any(f"{other} printed" in logs for other in set(handles) - {word})


def test_logs_are_capped_and_say_so(scheduler: Scheduler) -> None:
    def talk() -> None:
        for number in range(5_000):
            print(f"line {number} " + "x" * 80)  # noqa: T201 - what it is about

    handle = scheduler.submit(talk)
    handle.result(20)

    assert 1_000 < len(handle.logs()) <= 66_000


def test_progress_is_shown_while_it_runs(scheduler: Scheduler, gate: Any) -> None:
    def work(ctx: Context) -> None:
        ctx.progress(3, 10, "rows")
        gate()

    handle = scheduler.submit(work)
    gate.wait_reached()

    eventually(lambda: "3 of 10 rows" in handle.status().reason)
    gate.open()
    handle.result(20)


def test_every_run_that_has_not_ended_has_a_reason_and_a_next_look(make: Make, gate: Any) -> None:
    scheduler = make("memory://", threads=1).start()
    scheduler.add(gate, name="gate")
    scheduler.add(lambda given: None, name="after", after=["gate"])
    scheduler.add(lambda: None, name="paused")
    scheduler.pause("paused")
    scheduler.trigger("after")
    gate.wait_reached()
    scheduler.submit("paused")
    scheduler.submit(lambda: None)
    scheduler.options(delay=60).submit(lambda: None)

    def all_explained() -> bool:
        live = [it for it in scheduler.runs() if it.ended_at is None]
        return len(live) == 5 and all(it.reason for it in live)

    eventually(all_explained)
    states = {it.state for it in scheduler.runs()}
    assert {"BLOCKED", "READY", "DELAYED"} < states
    gate.open()


def test_metrics_count_what_happened(scheduler: Scheduler) -> None:
    for _ in range(3):
        scheduler.submit(lambda: 1).result(20)
    scheduler.submit(lambda: 1 / 0).wait(20)

    def counted() -> bool:
        text = scheduler.metrics()
        return 'state="SUCCEEDED"} 3.0' in text and 'state="FAILED"} 1.0' in text

    eventually(counted)


# ---- tenants ------------------------------------------------------------------------------------------------------------


def test_tenants_do_not_see_each_other(make: Make, file_url: str) -> None:
    first = make(file_url, tenant="acme")
    first.add(lambda: "acme", name="job", tags=["t"])
    first.start()
    run_id = first.submit("job").run_id
    assert first.handle(run_id).result(20) == "acme"
    first.options(idempotency_key="key").submit("job").result(20)
    first.stop()

    second = make(file_url, tenant="other").start()
    assert [second.jobs(), second.runs(), second.jobs(tag="t"), second.runs(tag="t")] == [[], [], [], []]
    assert second.decisions("job") == []
    for ask in (second.run_view, second.handle, second.cancel, second.logs):
        with pytest.raises(UnknownRun, match=f"no run {run_id} in tenant 'other'"):
            ask(run_id)
    for act in (second.submit, second.trigger, second.pause, second.remove, second.job_view):
        with pytest.raises(UnknownJob, match="no job 'job' in tenant 'other'"):
            act("job")

    second.add(lambda: "other", name="job")
    handle = second.options(idempotency_key="key").submit("job")
    assert handle.result(20) == "other"
    assert handle.run_id != run_id
    assert len(second.runs()) == 1
    second.stop()
    assert len(make(file_url, tenant="acme").start().runs()) == 2


def test_hooks_hear_their_own_tenant_only(make: Make, file_url: str) -> None:
    first = make(file_url, tenant="acme")
    told: list[Any] = []
    first.on("after", told.append, name="ear")
    first.start()
    first.submit(lambda: 1).result(20)
    eventually(lambda: told)
    first.stop()

    second = make(file_url, tenant="other")
    second._functions.register("ear", told.append)
    second.start()
    second.submit(lambda: 1).result(20)
    second.submit(lambda: 2).result(20)
    assert len(told) == 1
    assert len(second.runs(hooks=True)) == 2
