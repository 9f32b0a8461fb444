"""Attempt time-outs on every kind of executor, deadlines of runs, start deadlines."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from callsheet import Context, RunError, Scheduler, fixed, shell
from support.reached import Make
from support.waiting import eventually


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if Path("/proc").exists() else True
    )


def test_a_thread_that_looks_at_its_context_ends_at_its_time_out(scheduler: Scheduler) -> None:
    def patient(ctx: Context) -> None:
        eventually(lambda: ctx.cancelled)
        ctx.raise_if_cancelled()

    scheduler.add(patient, name="patient", timeout=0.1)
    handle = scheduler.submit("patient")

    assert handle.wait(20) == "TIMED_OUT"
    with pytest.raises(RunError, match="run 1 of job 'patient' ended TIMED_OUT"):
        handle.result(1)


def test_a_coroutine_is_cancelled_at_its_time_out(scheduler: Scheduler) -> None:
    async def patient() -> None:
        await asyncio.sleep(60)

    scheduler.add(patient, name="patient", timeout=timedelta(seconds=0.1))
    assert scheduler.submit("patient").wait(20) == "TIMED_OUT"


def test_worker_processes_and_commands_are_killed_with_their_children_at_their_time_out(
    make: Make, workload: ModuleType, tmp_path: Path
) -> None:
    scheduler = make("memory://", allow_shell=True).start()
    function, command = tmp_path / "function", tmp_path / "command"
    line = f"trap '' TERM; sleep 60 & echo $! > {command}; wait; sleep 60"
    scheduler.add(workload.hang, name="function", executor="process", timeout=0.3, args=[str(function)])
    scheduler.add(shell(line), name="command", timeout=0.3)
    scheduler.add(workload.add, name="plus", executor="process")

    handles = [scheduler.trigger(name) for name in ("function", "command")]

    assert [handle.wait(30) for handle in handles] == ["TIMED_OUT", "TIMED_OUT"]
    for file in (function, command):
        eventually(lambda file=file: not is_alive(int(file.read_text())))  # type: ignore[misc]
    assert scheduler.submit("plus", 1).result(30) == 2


def test_an_attempt_that_timed_out_is_tried_again(scheduler: Scheduler) -> None:
    async def patient(ctx: Context) -> int:
        if ctx.attempt == 1:
            await asyncio.sleep(60)
        return ctx.attempt

    scheduler.add(patient, name="patient", timeout=0.1, retry=fixed(0.01))
    assert scheduler.submit("patient").result(20) == 2


def test_a_time_out_counts_from_the_begin_and_not_in_the_queue(make: Make, gate: Any) -> None:
    scheduler = make("memory://", threads=1).start()
    scheduler.submit(gate)
    gate.wait_reached()
    scheduler.add(lambda: "done", name="quick", timeout=0.05)
    handle = scheduler.submit("quick")

    with pytest.raises(TimeoutError):
        handle.result(0.2)
    gate.open()
    assert handle.result(20) == "done"


def test_a_run_that_is_not_over_by_its_deadline_is_timed_out_whatever_its_attempts(scheduler: Scheduler) -> None:
    async def patient() -> None:
        await asyncio.sleep(60)

    def fail() -> None:
        raise ValueError("again")

    scheduler.add(patient, name="patient", deadline=0.2, retry=fixed(0.01, attempts=100))
    scheduler.add(fail, name="fail", deadline=0.2, retry=fixed(3600, attempts=100, jitter="none"))
    running, waiting = scheduler.submit("patient"), scheduler.submit("fail")

    assert running.wait(20) == "TIMED_OUT"
    assert waiting.wait(20) == "TIMED_OUT"
    assert "deadline" in waiting.status().reason


def test_a_run_that_found_no_place_by_its_start_deadline_expires(make: Make, store_url: str, gate: Any) -> None:
    scheduler = make(store_url, threads=1).start()
    scheduler.submit(gate)
    gate.wait_reached()
    called = threading.Event()
    scheduler.add(called.set, name="soon", start_deadline=0.1)

    handle = scheduler.submit("soon")

    assert handle.wait(20) == "EXPIRED"
    with pytest.raises(RunError, match="EXPIRED: no place was free before its start deadline"):
        handle.result(1)
    gate.open()
    assert scheduler.submit(lambda: 1).result(20) == 1
    assert not called.is_set()


def test_a_start_deadline_does_not_end_what_has_begun(scheduler: Scheduler) -> None:
    async def slow() -> str:
        await asyncio.sleep(0.4)
        return "done"

    scheduler.add(slow, name="slow", start_deadline=0.1)
    assert scheduler.submit("slow").result(20) == "done"


def test_a_thread_that_ignores_its_time_out_keeps_its_place_and_that_is_known(make: Make, gate: Any) -> None:
    scheduler = make("memory://", threads=2).start()
    scheduler.add(gate, name="deaf", timeout=0.05)
    handle = scheduler.submit("deaf")
    gate.wait_reached()

    assert handle.wait(30) == "TIMED_OUT"  # given up after its grace
    began = time.monotonic()
    assert [it.result(20) for it in scheduler.submit_many([(str, n) for n in range(20)])] == [str(n) for n in range(20)]
    assert time.monotonic() - began < 10
    gate.open()
    assert scheduler.submit(lambda: 1).result(20) == 1
