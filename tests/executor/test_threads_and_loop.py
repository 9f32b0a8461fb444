"""What cannot be killed: threads and coroutines. And what only they promise."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callsheet.actors.executor.runner import Freed
from callsheet.actors.records import ExecutorKind
from callsheet.data import unpack
from support.waiting import eventually

SECOND = 1_000_000
KINDS: list[tuple[ExecutorKind, str]] = [("thread", ""), ("async", "_async")]


@pytest.mark.parametrize(("kind", "suffix"), KINDS, ids=["thread", "async"])
def test_what_ignores_a_stop_is_stuck_and_its_place_is_freed_when_it_ends(
    make_stage: Callable[..., Any], kind: ExecutorKind, suffix: str
) -> None:
    stage = make_stage(threads=1, asynchronous=1)
    order = stage.order(f"ignore_stop{suffix}", str(stage.path("go")), kind=kind)
    stage.runner.start([order])
    eventually(stage.path("go.begun").exists)
    stage.runner.stop(order.fence, "timed_out", 50_000)
    outcome = stage.seen.wait(order.fence)
    assert (outcome.outcome, outcome.stuck) == ("timed_out", True)
    behind = stage.order(f"noop{suffix}", kind=kind)
    stage.runner.start([behind])
    assert not stage.seen.of(behind.fence)
    stage.path("go").touch()
    assert stage.seen.wait(behind.fence).outcome == "succeeded"
    assert stage.seen.items[1] == Freed(order.fence, kind)
    assert len(stage.seen.of(order.fence)) == 1


def test_a_stop_without_grace_yields_the_outcome_at_once(stage: Any) -> None:
    order = stage.order("ignore_stop", str(stage.path("go")))
    stage.runner.start([order])
    eventually(stage.path("go.begun").exists)
    stage.runner.stop(order.fence, "cancelled", 0)
    assert stage.seen.wait(order.fence).stuck


def test_a_function_that_never_learnt_of_the_stop_and_ends_has_succeeded(stage: Any) -> None:
    order = stage.order("finish_although_stopped", str(stage.path("go")))
    stage.runner.start([order])
    eventually(stage.path("go.begun").exists)
    stage.runner.stop(order.fence, "cancelled", 20 * SECOND)
    stage.path("go").touch()
    outcome = stage.seen.wait(order.fence)
    assert (outcome.outcome, unpack(outcome.result)) == ("succeeded", 42)


def test_a_function_that_saw_the_stop_and_returns_is_cancelled(stage: Any) -> None:
    order = stage.order("stop_early", str(stage.path("it")))
    stage.runner.start([order])
    eventually(stage.path("it.begun").exists)
    stage.runner.stop(order.fence, "cancelled", 20 * SECOND)
    outcome = stage.seen.wait(order.fence)
    assert (outcome.outcome, outcome.result, outcome.error) == ("cancelled", b"", None)


@pytest.mark.parametrize(("kind", "suffix"), KINDS, ids=["thread", "async"])
def test_a_job_may_ask_for_a_retry_or_a_snooze(stage: Any, kind: ExecutorKind, suffix: str) -> None:
    retry = stage.run(f"retry_in_a_minute{suffix}", kind=kind)
    assert (retry.outcome, retry.retry_after_us) == ("failed", 60 * SECOND)
    assert retry.error.text == "the other side is down"
    snooze = stage.run(f"snooze_for_an_hour{suffix}", kind=kind)
    assert (snooze.outcome, snooze.retry_after_us, snooze.error) == ("snoozed", 3600 * SECOND, None)


def test_a_job_s_own_backoff_is_asked_with_the_attempt(stage: Any) -> None:
    stage.functions.register("fail", stage.workload.fail, backoff=lambda attempt: 2.0**attempt)
    assert stage.run("fail", "x", attempt=5).retry_after_us == 32 * SECOND


def test_a_backoff_that_fails_leaves_the_wait_to_the_policy(stage: Any) -> None:
    stage.functions.register("fail", stage.workload.fail, backoff=lambda attempt: 1 / 0)
    outcome = stage.run("fail", "x")
    assert (outcome.outcome, outcome.retry_after_us) == ("failed", None)


def test_coroutines_share_one_loop_and_take_turns(make_stage: Callable[..., Any]) -> None:
    stage = make_stage(asynchronous=100)
    loops = {unpack(stage.run("loop_of_async", kind="async").result) for _ in range(5)}
    assert len(loops) == 1
    orders = [stage.order("wait_for_async", str(stage.path("go")), kind="async") for _ in range(100)]
    stage.runner.start(orders)
    eventually(lambda: stage.path("go.begun").exists() and stage.path("go.begun").read_text().count("\n") == 100)
    stage.path("go").touch()
    stage.seen.wait_all([order.fence for order in orders])


def test_a_coroutine_function_may_run_in_a_thread_too(stage: Any) -> None:
    assert unpack(stage.run("add_async", 1, kind="thread").result) == 2


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
def test_a_task_of_a_coroutine_that_leaves_the_program_fails_it_and_harms_nobody_else(
    stage: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = stage.order("wait_for_async", str(stage.path("go")), kind="async")
    stage.runner.start([other])
    eventually(stage.path("go.begun").exists)
    outcome = stage.run("leave_from_a_task_async", kind, kind="async")
    assert (outcome.outcome, outcome.error.type) == ("failed", kind)
    stage.path("go").touch()
    assert stage.seen.wait(other.fence).outcome == "succeeded"
    assert "event_loop.interrupted" in caplog.text


def test_a_coroutine_that_stops_the_loop_harms_nobody(stage: Any) -> None:
    assert stage.run("stop_the_loop_async", kind="async").outcome == "succeeded"
    assert stage.run("noop_async", kind="async").outcome == "succeeded"


@pytest.mark.parametrize(("how", "status"), [("answers", 0), ("raises", 1), ("sleeps", 1)])
def test_a_child_that_a_coroutine_forks_ends_when_it_comes_back_to_the_loop(stage: Any, how: str, status: int) -> None:
    outcome = stage.run("fork_and_come_back_async", how, kind="async")
    assert (outcome.outcome, unpack(outcome.result)) == ("succeeded", status)


def test_a_function_that_blocks_the_loop_is_named_in_the_log(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    order = stage.order("block_the_loop_async", str(stage.path("go")), kind="async", job="greedy")
    stage.runner.start([order])
    eventually(lambda: "event_loop.blocked" in caplog.text)
    assert "job='greedy'" in caplog.text
    assert "workload.py:" in caplog.text
    stage.path("go").touch()
    assert stage.seen.wait(order.fence).outcome == "succeeded"


def test_all_threads_are_used_for_jobs_that_wait(make_stage: Callable[..., Any]) -> None:
    stage = make_stage(threads=8)
    for _ in range(100):
        stage.run("noop")  # the pool takes jobs for brisk now
    orders = [stage.order("wait_for", str(stage.path("go"))) for _ in range(8)]
    stage.runner.start(orders)
    eventually(lambda: stage.path("go.begun").exists() and stage.path("go.begun").read_text().count("\n") == 8)
    stage.path("go").touch()
    stage.seen.wait_all([order.fence for order in orders])


def test_an_interpreter_exits_after_close_although_a_thread_is_stuck(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            """
            import threading, time
            from callsheet.actors.executor.functions import Functions
            from callsheet.actors.executor.local_runner import LocalRunner
            from callsheet.actors.executor.runner import Order

            began = threading.Event()

            def job():
                began.set()
                while True:
                    time.sleep(1)

            functions = Functions()
            functions.register("job", job)
            runner = LocalRunner(functions, incarnation="it")
            runner.open(lambda items: print(*[(item.outcome, item.stuck) for item in items], flush=True))
            runner.start([Order(1, 1, 1, "default", "job", "thread", "job", b"")])
            began.wait()
            runner.close(200_000)
            """
        )
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (0, "('cancelled', True)\n"), ended.stderr
