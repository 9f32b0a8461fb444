"""What no store can hold is refused where it is said, and harms nobody: numbers, texts, triggers, waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from callsheet import (
    Calendar,
    CallsheetError,
    Client,
    DefinitionError,
    RunError,
    Scheduler,
    Snooze,
    UnknownRun,
    every,
    fixed,
    shell,
)
from callsheet.actors.executor.context import Retry
from callsheet.client.async_client import AsyncClient
from support.reached import WAIT_S, Make, add_echo_and_fail
from support.waiting import eventually

TOO_LARGE = 10**19
HALF = "a\udcff"
"""Half a character of UTF-16: what Python makes of a file's name that is no UTF-8."""
NO_TEXT = "printable text|that UTF-8 can carry|cannot be stored"

Ask = Callable[[Any], object]


def nothing(*_: Any) -> None:
    pass


NUMBERS: dict[str, Ask] = {
    "run_view": lambda it: it.run_view(TOO_LARGE),
    "the next of the greatest": lambda it: it.run_view(2**63),
    "nought": lambda it: it.run_view(0),
    "logs": lambda it: it.logs(TOO_LARGE),
    "attempts": lambda it: it.attempts(TOO_LARGE),
    "cancel": lambda it: it.cancel(TOO_LARGE),
    "handle": lambda it: it.handle(10**30),
}
NO_NUMBERS: dict[str, Ask] = {
    "a run's text": lambda it: it.run_view("7"),
    "truth": lambda it: it.cancel(True),
    "before": lambda it: it.runs(before=TOO_LARGE),
    "runs": lambda it: it.runs(limit=-1),
    "jobs": lambda it: it.jobs(limit=1.5),
    "events": lambda it: it.events(limit="all"),
    "decisions": lambda it: it.decisions("echo", limit=TOO_LARGE),
    "time before now": lambda it: it.options(timeout=-1).submit("echo", "a"),
    "no time": lambda it: it.options(timeout=float("nan")).submit("echo", "a"),
    "more time than there is": lambda it: it.options(timeout=10**12).submit("echo", "a"),
    "time for members": lambda it: it.members(timeout="long"),
}
TEXTS: dict[str, Ask] = {
    "submit": lambda it: it.submit(HALF),
    "submit_many": lambda it: it.submit_many([(HALF,)]),
    "trigger": lambda it: it.trigger(HALF),
    "pause": lambda it: it.pause(HALF),
    "job_view": lambda it: it.job_view(HALF),
    "jobs": lambda it: it.jobs(tag=HALF),
    "runs": lambda it: it.runs(HALF),
    "runs with a tag": lambda it: it.runs(tag=HALF),
    "events": lambda it: it.events(HALF),
    "decisions": lambda it: it.decisions(HALF),
    "drain": lambda it: it.drain(HALF),
    "key": lambda it: it.options(idempotency_key=HALF),
    "command": lambda it: it.trigger(shell(f"echo {HALF}")),
}
DECLARED: dict[str, Ask] = {
    "name": lambda it: it.add(nothing, name=HALF),
    "description": lambda it: it.add(nothing, description=HALF),
    "tag": lambda it: it.add(nothing, tags=[HALF]),
    "tenant": lambda it: it.add(nothing, tenant=HALF),
    "upstream": lambda it: it.add(nothing, after=[HALF]),
    "error to retry": lambda it: it.add(nothing, retry=fixed(1, retry_on=HALF)),
    "environment": lambda it: it.add(shell("env", env={"A": HALF}), name="env"),
    "calendar": lambda it: it.add(nothing, every("1m").but(calendar=Calendar(name=HALF))),
    "limit": lambda it: it.add(nothing, every("1m").but(limit=10**30)),
    "hook": lambda it: it.on("after", nothing, name=HALF),
    "hook's job": lambda it: it.on("after", nothing, job=HALF),
    "hook's tag": lambda it: it.on("after", nothing, tag=HALF),
}


@pytest.fixture
def filed(make: Make, file_url: str) -> Scheduler:
    return add_echo_and_fail(make(file_url, processes=0, allow_shell=True, listen="tcp://127.0.0.1:*")).start()


def refused(kind: type[CallsheetError], match: str, asks: dict[str, Ask], whom: Any) -> None:
    for name, ask in asks.items():
        with pytest.raises(kind, match=match):
            ask(whom)
        assert whom.submit("echo", "a").result(WAIT_S) == "aa", name


def test_a_number_that_no_run_can_have_is_that_of_an_unknown_run(filed: Scheduler) -> None:
    refused(UnknownRun, r"no run \d+ in tenant 'default'", NUMBERS, filed)
    with Client(filed.endpoints[0]) as client:
        refused(UnknownRun, r"no run \d+ in tenant 'default'", NUMBERS, client)


def test_what_is_no_number_is_refused(filed: Scheduler) -> None:
    refused(DefinitionError, "number", NO_NUMBERS, filed)
    with Client(filed.endpoints[0]) as client:
        refused(DefinitionError, "number", NO_NUMBERS, client)


def test_a_text_that_is_no_utf_8_is_refused_wherever_it_is_said(filed: Scheduler) -> None:
    refused(DefinitionError, NO_TEXT, {**TEXTS, **DECLARED}, filed)
    assert [job.name for job in filed.jobs(hooks=True)] == ["echo", "fail"], "nothing of it was stored"
    with Client(filed.endpoints[0]) as client:
        refused(DefinitionError, NO_TEXT, TEXTS, client)
    with pytest.raises(DefinitionError):
        AsyncClient(filed.endpoints[0], tenant=HALF)


def test_a_definition_that_fits_into_no_message_is_refused(one: Scheduler) -> None:
    with pytest.raises(DefinitionError, match=r"its definition is 6\d\d,\d+ bytes, more than the 524,288 allowed"):
        one.add(nothing, description="x" * 600_000)


def test_a_calendar_by_its_name_is_refused_with_what_to_do(filed: Scheduler) -> None:
    trigger = every("1m").but(calendar="holidays")

    for declare in (lambda: filed.add(nothing, trigger), lambda: filed.reschedule("echo", trigger)):
        with pytest.raises(DefinitionError, match=r"no calendar is named 'holidays'.*give the calendar itself"):
            declare()

    filed.reschedule("echo", every("1m").but(calendar=Calendar(name="holidays", excluded_dates=("12-25",))))
    assert filed.job_view("echo").next_due is not None


@pytest.mark.parametrize("wait", [1e13, timedelta(days=36_501), float("inf")])
@pytest.mark.parametrize("asked", [Snooze, Retry])
def test_a_wait_of_more_than_a_hundred_years_fails_the_attempt_and_says_so(
    filed: Scheduler, asked: type[Snooze | Retry], wait: Any
) -> None:
    def wish() -> None:
        raise asked(wait)

    with pytest.raises(RunError, match="expected a wait of 0 seconds or more, up to a hundred years; found"):
        filed.submit(wish).result(WAIT_S)


@pytest.mark.parametrize("wait", [10**13, 1e300, float("inf"), timedelta.max])
def test_a_backoff_of_more_than_a_hundred_years_is_one_of_a_hundred_years(filed: Scheduler, wait: Any) -> None:
    def fail() -> None:
        raise ValueError("no good")

    filed.add(fail, name="far", retry=lambda attempt: wait)
    handle = filed.submit("far")

    eventually(lambda: handle.status().state == "DELAYED")
    status = handle.status()
    assert status.look_at is not None
    assert timedelta(days=36_499) < status.look_at - status.created_at < timedelta(days=36_501)
    assert handle.cancel() == "CANCELLED"


def test_an_error_whose_name_is_no_text_is_told_as_far_as_it_is_one(filed: Scheduler) -> None:
    class OddError(Exception):
        pass

    def fail() -> None:
        raise OddError(HALF)

    OddError.__qualname__ = HALF
    with pytest.raises(RunError, match=r"\.a\?: a\?$"):
        filed.submit(fail).result(WAIT_S)


def test_a_snooze_of_ones_own_that_says_no_time_comes_again_at_once(filed: Scheduler) -> None:
    class Later(Snooze):
        def __init__(self) -> None:
            pass

    came: list[int] = []

    def wish() -> int:
        came.append(1)
        if len(came) < 3:
            raise Later
        return len(came)

    assert filed.submit(wish).result(WAIT_S) == 3
