"""What becomes of attempts that fail: backoff, Retry, Snooze, which errors count, crashes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from callsheet import Context, DefinitionError, Retry, RunError, Scheduler, Snooze, exponential, fixed, linear
from callsheet.actors.coordinator.backoff import backoff_us


class Flaky:
    """Fails so many times, then answers which attempt it was."""

    def __init__(self, failures: int, error: type[Exception] = ValueError) -> None:
        self.failures = failures
        self.error = error
        self.attempts: list[int] = []

    def __call__(self, ctx: Context) -> int:
        self.attempts.append(ctx.attempt)
        if len(self.attempts) <= self.failures:
            raise self.error(f"failure {len(self.attempts)}")
        return ctx.attempt


@pytest.mark.parametrize(
    "retry",
    [
        fixed(0.01, attempts=4),
        linear(0.01, attempts=4, jitter="none"),
        exponential(first=0.01, cap=0.02, attempts=4, jitter="equal"),
        lambda attempt: attempt * 0.001,
    ],
    ids=["fixed", "linear", "exponential", "function"],
)
def test_a_failed_attempt_is_tried_again(scheduler: Scheduler, retry: Any) -> None:
    flaky = Flaky(2)
    name = scheduler.add(flaky, name="flaky", retry=retry)

    handle = scheduler.submit(name)

    assert handle.result(20) == 3
    assert flaky.attempts == [1, 2, 3]
    assert handle.status().attempts == 3


def test_async_functions_are_tried_again_too(scheduler: Scheduler) -> None:
    attempts = itertools.count(1)

    async def flaky() -> int:
        number = next(attempts)
        if number < 3:
            raise OSError("not yet")
        return number

    scheduler.add(flaky, name="flaky", retry=fixed(0.01))
    assert scheduler.submit("flaky").result(20) == 3


def test_when_the_attempts_are_spent_the_run_fails_with_the_last_error(scheduler: Scheduler) -> None:
    flaky = Flaky(99)
    scheduler.add(flaky, name="flaky", retry=fixed(0.001, attempts=3))
    handle = scheduler.submit("flaky")

    with pytest.raises(RunError, match="ended FAILED: ValueError: failure 3"):
        handle.result(20)
    assert flaky.attempts == [1, 2, 3]


def test_a_job_without_a_retry_policy_is_tried_once(scheduler: Scheduler) -> None:
    flaky = Flaky(1)
    scheduler.add(flaky, name="flaky")

    assert scheduler.submit("flaky").wait(20) == "FAILED"
    assert flaky.attempts == [1]


def test_the_waits_follow_the_curve() -> None:
    def waits(retry: Any) -> list[float]:
        return [backoff_us(retry, attempt, 1) / 1e6 for attempt in range(1, 6)]

    assert waits(fixed(3, jitter="none")) == [3, 3, 3, 3, 3]
    assert waits(linear(3, jitter="none")) == [3, 6, 9, 12, 15]
    assert waits(exponential(first=3, cap=20, jitter="none")) == [3, 6, 12, 20, 20]
    assert all(0 <= wait <= 3 for wait in waits(fixed(3)))
    assert all(1.5 <= wait <= 3 for wait in waits(fixed(3, jitter="equal")))
    assert len(set(waits(fixed(3)))) > 1


def test_a_function_of_the_attempt_is_asked_for_each_failed_attempt(scheduler: Scheduler) -> None:
    asked: list[int] = []

    def backoff(attempt: int) -> float:
        asked.append(attempt)
        return 0.001

    backoff.attempts = 4  # type: ignore[attr-defined] # how a function says how often
    scheduler.add(Flaky(99), name="flaky", retry=backoff)

    assert scheduler.submit("flaky").wait(20) == "FAILED"
    assert asked[:3] == [1, 2, 3]


def test_a_backoff_function_that_fails_itself_does_not_lose_the_run(scheduler: Scheduler) -> None:
    def backoff(attempt: int) -> float:
        raise RuntimeError("no idea")

    flaky = Flaky(1)
    scheduler.add(flaky, name="flaky", retry=backoff)

    assert scheduler.submit("flaky").result(20) == 2


def test_the_wait_that_a_job_asks_for_wins(scheduler: Scheduler) -> None:
    attempts = itertools.count(1)

    def busy() -> int:
        number = next(attempts)
        if number == 1:
            raise Retry(after=0.01)
        return number

    scheduler.add(busy, name="busy", retry=fixed(3600, jitter="none"))
    assert scheduler.submit("busy").result(20) == 2


def test_a_snooze_spends_no_attempt(scheduler: Scheduler) -> None:
    calls = itertools.count(1)

    def not_yet(ctx: Context) -> list[int]:
        number = next(calls)
        if number < 4:
            raise Snooze(0.01)
        return [number, ctx.attempt]

    scheduler.add(not_yet, name="not yet")
    assert scheduler.submit("not yet").result(20) == [4, 1]


def test_only_the_errors_that_were_named_are_tried_again(scheduler: Scheduler) -> None:
    class Teapot(LookupError):
        pass

    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"retry_on": OSError}, ConnectionError, "SUCCEEDED"),  # a subclass is one too
        ({"retry_on": OSError}, ValueError, "FAILED"),
        ({"retry_on": ["OSError", KeyError]}, KeyError, "SUCCEEDED"),
        ({"retry_on": "LookupError"}, Teapot, "SUCCEEDED"),
        ({"give_up_on": ValueError}, ValueError, "FAILED"),
        ({"give_up_on": [Teapot]}, Teapot, "FAILED"),
        ({"give_up_on": LookupError}, Teapot, "FAILED"),
        ({"retry_on": LookupError, "give_up_on": Teapot}, Teapot, "FAILED"),
        ({"give_up_on": ValueError}, OSError, "SUCCEEDED"),
    ]
    handles = []
    for number, (words, error, _) in enumerate(cases):
        name = scheduler.add(Flaky(1, error), name=f"case {number}", retry=fixed(0.001, **words))
        handles.append(scheduler.submit(name))

    assert [handle.wait(20) for handle in handles] == [expected for _, _, expected in cases]


def test_every_attempt_keeps_its_error_and_its_logs(scheduler: Scheduler) -> None:
    def talk(ctx: Context) -> None:
        ctx.log(f"attempt {ctx.attempt}")
        if ctx.attempt < 3:
            raise ValueError(f"failure {ctx.attempt}")

    scheduler.add(talk, name="talk", retry=fixed(0.001))
    handle = scheduler.submit("talk")
    handle.result(20)

    assert handle.logs() == "attempt 1\nattempt 2\nattempt 3\n"
    attempts = scheduler.attempts(handle.run_id)
    assert [(it.attempt, it.outcome, it.error, it.logs) for it in attempts] == [
        (1, "failed", "ValueError: failure 1", "attempt 1\n"),
        (2, "failed", "ValueError: failure 2", "attempt 2\n"),
        (3, "succeeded", "", "attempt 3\n"),
    ]
    assert [it.traceback.endswith(f"{it.error}\n") for it in attempts[:2]] == [True, True]
    assert "in talk" in attempts[0].traceback
    assert attempts[2].traceback == ""


def test_a_run_that_waits_for_its_next_attempt_says_why_and_can_be_cancelled(scheduler: Scheduler) -> None:
    from support.waiting import eventually

    scheduler.add(Flaky(9), name="flaky", retry=fixed(3600, jitter="none"))
    handle = scheduler.submit("flaky")

    eventually(lambda: handle.status().state == "DELAYED")
    status = handle.status()
    assert "attempt 1 of 3: ValueError: failure 1" in status.reason
    assert status.look_at is not None
    assert handle.cancel() == "CANCELLED"


def test_the_delivery_that_holds_is_shown(scheduler: Scheduler) -> None:
    def job() -> None:
        pass

    scheduler.add(job, name="once")
    scheduler.add(job, name="retried", retry=fixed(1))
    scheduler.add(job, name="idempotent", idempotent=True)
    scheduler.add(job, name="retried once", retry=fixed(1), idempotent=False)

    assert {view.name: view.delivery for view in scheduler.jobs()} == {
        "once": "at_most_once",
        "retried": "at_least_once",
        "idempotent": "at_least_once",
        "retried once": "at_most_once",
    }


@pytest.mark.parametrize(
    ("make_retry", "text"),
    [
        (lambda: fixed(-1), "delay is a number of seconds"),
        (lambda: fixed(cast("Any", "soon")), "delay is a number of seconds"),
        (lambda: fixed(1, attempts=0), "attempts is a number from 1"),
        (lambda: fixed(1, attempts=True), "attempts is a number from 1"),
        (lambda: fixed(1, attempts=cast("Any", 1.5)), "attempts is a number from 1"),
        (lambda: fixed(1, jitter="some"), "jitter is 'full', 'equal' or 'none'"),
        (lambda: fixed(1, tries=3), "a retry knows jitter, retry_on and give_up_on; tries was given"),
        (lambda: fixed(1, retry_on=3), "expected an exception class or its name, found 3"),
        (lambda: exponential(first=1, cap=-1), "cap is a number of seconds"),
    ],
    ids=["negative", "text", "none", "bool", "fraction", "jitter", "unknown", "no exception", "cap"],
)
def test_a_policy_that_cannot_be_is_refused(make_retry: Callable[[], Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        make_retry()


# ---- worker processes that die ------------------------------------------------------------------------------------------


def test_a_worker_that_dies_costs_an_at_most_once_run_and_no_other(scheduler: Scheduler, workload: ModuleType) -> None:
    scheduler.add(workload.die, name="die", executor="process")
    scheduler.add(workload.add, name="plus", executor="process")

    handle = scheduler.submit("die")

    assert handle.wait(30) == "LOST"
    assert "its process died" in handle.status().reason
    assert scheduler.submit("plus", 1).result(30) == 2


def test_a_job_that_kills_its_worker_again_and_again_is_quarantined(
    one: Scheduler, workload: ModuleType, tmp_path: Path
) -> None:
    note = tmp_path / "deaths"
    one.add(workload.die, name="die", executor="process", idempotent=True, args=[str(note)], max_crashes=2)

    handle = one.trigger("die")

    assert handle.wait(30) == "QUARANTINED"
    assert note.read_text() == "xx"
