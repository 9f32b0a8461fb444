"""The end of a scheduler: what drains, what is released, and that it takes no longer than was said."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from callsheet import CallsheetError, Context, Scheduler, shell
from callsheet.transport.zeromq import ZeroMQ
from support.carrying import LOCAL, break_turns
from support.reached import Make
from support.waiting import eventually


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def stop_s(scheduler: Scheduler, **words: Any) -> float:
    """How long a stop takes."""
    began = time.monotonic()
    scheduler.stop(**words)
    return time.monotonic() - began


def test_stop_may_be_said_twice_and_before_the_start(make: Make, store_url: str) -> None:
    scheduler = make(store_url)
    scheduler.stop()
    scheduler.start()
    scheduler.stop()
    scheduler.stop()
    assert not scheduler.running


def test_an_idle_scheduler_stops_at_once(scheduler: Scheduler) -> None:
    scheduler.submit(lambda: 1).result(20)

    assert stop_s(scheduler) < 1.0


def test_threads_may_stop_one_scheduler_at_once(scheduler: Scheduler) -> None:
    threads = [threading.Thread(target=scheduler.stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert not scheduler.running


def test_a_running_job_may_end_by_itself(make: Make, store_url: str) -> None:
    scheduler = make(store_url, drain_timeout=10).start()
    begun = threading.Event()
    ended: list[int] = []

    async def work() -> None:
        begun.set()
        await asyncio.sleep(0.3)
        ended.append(1)

    handle = scheduler.submit(work)
    assert begun.wait(20)
    took = stop_s(scheduler)

    assert ended == [1]
    assert took < 5
    assert handle.done
    assert handle.wait(0) == "SUCCEEDED"


def test_nothing_new_begins_while_it_drains(make: Make, file_url: str, gate: Any) -> None:
    scheduler = make(file_url, threads=1, drain_timeout=10)
    called = threading.Event()
    scheduler.add(called.set, name="late")
    scheduler.start().submit(gate)
    gate.wait_reached()
    run_id = scheduler.submit("late").run_id
    stopper = threading.Thread(target=scheduler.stop)
    stopper.start()

    def refused() -> bool:
        try:
            scheduler.submit("late")
        except CallsheetError:
            return True
        return False

    eventually(refused)
    gate.open()
    stopper.join(20)
    assert not called.is_set()
    scheduler.start()
    assert scheduler.handle(run_id).wait(20) == "SUCCEEDED"


def test_what_looks_at_its_context_is_released(make: Make, store_url: str) -> None:
    scheduler = make(store_url).start()
    begun = threading.Event()

    def patient(ctx: Context) -> None:
        begun.set()
        eventually(lambda: ctx.cancelled)
        ctx.raise_if_cancelled()

    handle = scheduler.submit(patient)
    assert begun.wait(20)

    assert stop_s(scheduler, drain_timeout=0) < 2
    assert handle.done
    assert handle.wait(0) == "CANCELLED"


def test_what_may_run_again_is_released_unspent_and_goes_on_with_the_next_start(make: Make, file_url: str) -> None:
    begun = threading.Event()
    attempts: list[int] = []

    async def patient(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        begun.set()
        if len(attempts) == 1:
            await asyncio.sleep(60)
        return "done"

    scheduler = make(file_url)
    scheduler.add(patient, name="patient", idempotent=True)
    run_id = scheduler.start().submit("patient").run_id
    assert begun.wait(20)
    assert stop_s(scheduler, drain_timeout=0) < 2
    scheduler.start()

    assert scheduler.handle(run_id).result(20) == "done"
    assert attempts == [1, 1]


def test_a_thread_that_ignores_everything_does_not_hold_up_the_end(make: Make, store_url: str, gate: Any) -> None:
    scheduler = make(store_url, drain_timeout=0.2, stop_timeout=4).start()
    scheduler.submit(gate)
    gate.wait_reached()

    assert stop_s(scheduler) < 4.5


def test_a_coroutine_that_ignores_everything_does_not_hold_up_the_end(make: Make) -> None:
    scheduler = make("memory://", drain_timeout=0.2, stop_timeout=4).start()
    begun, over = threading.Event(), threading.Event()

    async def deaf() -> None:
        begun.set()
        while not over.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    scheduler.submit(deaf)
    assert begun.wait(20)

    assert stop_s(scheduler) < 4.5
    over.set()


def test_processes_that_ignore_everything_are_killed(make: Make, workload: ModuleType, tmp_path: Path) -> None:
    scheduler = make("memory://", drain_timeout=0.2, stop_timeout=6, allow_shell=True).start()
    function, command = tmp_path / "function", tmp_path / "command"
    scheduler.add(workload.hang, name="function", executor="process", args=[str(function)])
    scheduler.add(shell(f"trap '' TERM INT; echo $$ > {command}; while :; do sleep 1; done"), name="command")
    scheduler.trigger("function")
    scheduler.trigger("command")
    eventually(lambda: all(file.exists() and file.read_text().strip() for file in (function, command)), within_s=30)

    assert stop_s(scheduler) < 6.5
    for file in (function, command):
        eventually(lambda file=file: is_gone(int(file.read_text())))  # type: ignore[misc]


def test_hurry_cuts_the_drain_short(make: Make) -> None:
    scheduler = make("memory://", drain_timeout=60, stop_timeout=60).start()
    begun = threading.Event()

    async def patient() -> None:
        begun.set()
        await asyncio.sleep(60)

    scheduler.submit(patient)
    assert begun.wait(20)
    stopper = threading.Thread(target=scheduler.stop)
    stopper.start()

    def over() -> bool:
        scheduler.hurry()
        return not stopper.is_alive()

    eventually(over)


def test_an_exception_within_a_with_block_stops_the_scheduler_and_is_raised(make: Make, store_url: str) -> None:
    scheduler = make(store_url)

    def use() -> None:
        with scheduler:
            scheduler.submit(lambda: 1).result(20)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()

    assert not scheduler.running


def test_run_belongs_on_the_main_thread(make: Make) -> None:
    scheduler = make("memory://")
    found: list[BaseException] = []

    def run() -> None:
        try:
            scheduler.run()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)

    assert "belongs on the main thread; use start() and stop() elsewhere" in str(found[0])
    assert not scheduler.running


def test_no_thread_is_left_when_it_has_stopped(make: Make, store_url: str) -> None:
    before = set(threading.enumerate())
    scheduler = make(store_url).start()
    scheduler.submit(lambda: 1).result(20)

    async def wait() -> None:
        await asyncio.sleep(0)

    scheduler.submit(wait).result(20)
    scheduler.stop()

    eventually(lambda: set(threading.enumerate()) <= before)


def test_a_scheduler_whose_lines_to_others_are_beyond_repair_has_failed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.transport.zeromq.loop.GIVE_UP_S", 0.05)
    scheduler = make("memory://", listen=LOCAL).start()
    transport = scheduler._running.node.transport  # type: ignore[union-attr]
    assert isinstance(transport, ZeroMQ)

    break_turns(transport)

    eventually(lambda: scheduler.health().reason == "failed")
    with pytest.raises(CallsheetError, match="the lines to other nodes failed"):
        scheduler.submit(lambda: 1)
