"""Runs as their submitters hold them: handles, await, trigger, cancel, and what is not there."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from callsheet import (
    Context,
    NotRunning,
    Refused,
    RunError,
    Scheduler,
    UnknownJob,
    UnknownRun,
)
from support.reached import Make
from support.waiting import eventually


def add(left: int, right: int = 1) -> int:
    return left + right


# ---- handles ------------------------------------------------------------------------------------------------------------


def test_a_handle_waits_as_long_as_it_is_told(scheduler: Scheduler, gate: Any) -> None:
    handle = scheduler.submit(gate)
    gate.wait_reached()

    with pytest.raises(TimeoutError, match=f"run {handle.run_id} of job '.*' has not ended within 0.05 s"):
        handle.result(0.05)
    assert not handle.done
    gate.open()
    assert handle.result(20) == 1
    assert handle.done
    assert handle.wait(0) == "SUCCEEDED"


def test_a_failed_run_says_what_was_raised(scheduler: Scheduler) -> None:
    def broken() -> None:
        raise KeyError("the till")

    handle = scheduler.submit(broken)
    with pytest.raises(
        RunError, match=rf"run {handle.run_id} of job '.*broken' ended FAILED: KeyError: 'the till'"
    ) as caught:
        handle.result(20)

    assert (caught.value.state, caught.value.error_type) == ("FAILED", "KeyError")
    assert "in broken" in caught.value.traceback
    assert handle.wait(1) == "FAILED"


def test_the_status_of_a_handle_follows_the_run(scheduler: Scheduler, gate: Any) -> None:
    handle = scheduler.submit(gate)
    gate.wait_reached()

    eventually(lambda: handle.status().state == "RUNNING")
    gate.open()
    handle.result(20)
    status = handle.status()
    assert (status.state, status.cause, status.attempts, status.error) == ("SUCCEEDED", "submit", 1, "")
    assert status.started_at is not None
    assert status.ended_at is not None
    assert status.created_at <= status.started_at <= status.ended_at


def test_the_logs_of_a_handle_are_what_the_job_printed_and_logged(scheduler: Scheduler) -> None:
    def talk(ctx: Context) -> None:
        print("printed")  # noqa: T201 - what it is about
        ctx.log("said")

    handle = scheduler.submit(talk)
    handle.result(20)

    assert handle.logs() == "printed\nsaid\n"


def test_a_handle_can_be_had_again_by_the_number_of_its_run(scheduler: Scheduler) -> None:
    run_id = scheduler.submit(add, 1).run_id
    again = scheduler.handle(run_id)

    assert again.result(20) == 2
    assert scheduler.handle(run_id).result(20) == 2
    with pytest.raises(UnknownRun, match="no run 123456 "):
        scheduler.handle(123_456)


def test_handles_can_be_awaited_together(scheduler: Scheduler) -> None:
    async def main() -> list[int]:
        handles = scheduler.submit_many([(add, number) for number in range(20)])
        return list(await asyncio.gather(*(_wait(handle) for handle in handles)))

    async def _wait(handle: Any) -> int:
        value: int = await handle
        return value

    assert asyncio.run(main()) == list(range(1, 21))


def test_an_awaited_run_that_fails_raises_and_a_wait_that_is_over_harms_nothing(
    scheduler: Scheduler, gate: Any
) -> None:
    handle = scheduler.submit(gate)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_await(handle), 0.05)
        with pytest.raises(RunError, match="ZeroDivisionError"):
            await scheduler.submit(lambda: 1 / 0)
        gate.open()
        assert await handle == 1
        assert await handle == 1

    asyncio.run(main())
    assert handle.result(5) == 1


async def _await(handle: Any) -> Any:
    return await handle


def test_several_threads_may_wait_for_one_handle(scheduler: Scheduler, gate: Any) -> None:
    handle = scheduler.submit(gate)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(handle.result(20))) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(20)

    assert found == [1] * 5


# ---- trigger, cancel ----------------------------------------------------------------------------------------------------


def test_a_job_is_triggered_by_hand_with_its_own_arguments(scheduler: Scheduler) -> None:
    name = scheduler.add(add, name="plus", args=[40], kwargs={"right": 2})

    handle = scheduler.trigger(name)

    assert handle.result(20) == 42
    assert handle.status().cause == "trigger"
    assert scheduler.submit("plus").result(20) == 42
    assert scheduler.submit("plus", 1).result(20) == 2


def test_a_run_that_waits_is_cancelled_at_once(make: Make, store_url: str, gate: Any) -> None:
    scheduler = make(store_url, threads=1).start()
    scheduler.submit(gate)
    gate.wait_reached()
    called = threading.Event()

    handle = scheduler.submit(called.set)

    assert handle.cancel() in {"CANCELLED", "CANCELLING"}
    assert handle.wait(20) == "CANCELLED"
    with pytest.raises(RunError, match="ended CANCELLED"):
        handle.result(1)
    gate.open()
    assert scheduler.submit(add, 1).result(20) == 2
    assert not called.is_set()


def test_a_delayed_run_is_cancelled_at_once(scheduler: Scheduler) -> None:
    handle = scheduler.options(delay=3600).submit(add, 1)

    assert scheduler.cancel(handle.run_id) == "CANCELLED"
    assert handle.wait(20) == "CANCELLED"


def test_a_running_function_is_asked_to_end(scheduler: Scheduler) -> None:
    begun = threading.Event()

    def patient(ctx: Context) -> None:
        begun.set()
        eventually(lambda: ctx.cancelled)
        ctx.raise_if_cancelled()

    handle = scheduler.submit(patient)
    assert begun.wait(20)

    assert handle.cancel() == "CANCELLING"
    assert handle.wait(20) == "CANCELLED"


def test_a_running_coroutine_is_cancelled(scheduler: Scheduler) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def patient() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    handle = scheduler.submit(patient)
    assert begun.wait(20)

    handle.cancel()
    assert handle.wait(20) == "CANCELLED"
    assert ended.is_set()


def test_what_has_ended_cannot_be_cancelled(scheduler: Scheduler) -> None:
    handle = scheduler.submit(add, 1)
    handle.result(20)

    with pytest.raises(Refused, match=f"run {handle.run_id} has ended already"):
        handle.cancel()
    with pytest.raises(UnknownRun, match="no run 99999 "):
        scheduler.cancel(99_999)


def test_a_cancel_may_be_asked_twice(scheduler: Scheduler) -> None:
    handle = scheduler.options(delay=3600).submit(add, 1)

    assert [handle.cancel(), handle.cancel()] == ["CANCELLED", "CANCELLED"]


# ---- what is not there --------------------------------------------------------------------------------------------------


def test_a_job_that_is_unknown_is_refused_by_name(scheduler: Scheduler) -> None:
    for call in (scheduler.submit, scheduler.trigger, scheduler.pause, scheduler.resume, scheduler.remove):
        with pytest.raises(UnknownJob, match="no job 'nobody' in tenant 'default'"):
            call("nobody")
    with pytest.raises(UnknownJob, match="no job 'nobody'"):
        scheduler.job_view("nobody")


def test_a_scheduler_that_does_not_run_says_so(make: Make, store_url: str) -> None:
    scheduler = make(store_url)
    for call in (lambda: scheduler.submit(add, 1), scheduler.jobs, scheduler.runs, lambda: scheduler.cancel(1)):
        with pytest.raises(NotRunning, match=r"not running; call start\(\)"):
            call()

    scheduler.start()
    handle = scheduler.options(delay=3600).submit(add, 1)
    scheduler.stop()
    with pytest.raises(NotRunning):
        handle.result(5)
    with pytest.raises(NotRunning):
        scheduler.submit(add, 1)


def test_whoever_waits_for_a_result_is_told_when_the_scheduler_stops(scheduler: Scheduler) -> None:
    handle = scheduler.options(delay=3600).submit(add, 1)
    found: list[BaseException] = []

    def wait() -> None:
        try:
            handle.result(30)
        except BaseException as error:  # noqa: BLE001 - it is looked at
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    scheduler.stop()
    thread.join(10)

    assert [type(error) for error in found] == [NotRunning]
