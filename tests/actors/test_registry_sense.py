"""Requests that make no sense in themselves: each is refused with a reason, and no actor fails by one."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from msgspec.structs import replace

from callsheet.actors.messages import AddJobs, CancelRun, ChangeJob, Query, RequestRejected, Submit, SubmitItem, Watch
from callsheet.actors.persistence.store import GetDefinitions, GetRuns, ListAttempts, ListDecisions, ListRuns
from callsheet.actors.records import (
    LONGEST_US,
    MAX_ARGUMENT_BYTES,
    Cause,
    Command,
    Hook,
    Job,
    Retry,
)
from callsheet.actors.registry.sense import CAUSES
from callsheet.triggers import CatchUp, Unreadable, every
from callsheet.triggers.trigger import Constrained, RRule, Union
from support.actors import make_job, make_record
from support.desk import Desk, only

HUGE = 2**63
HARDLY = 2**63 - 1


def refusal(request: Any, *there: Job) -> RequestRejected:
    """What a client is answered that asks for this; nothing is asked of anybody or stored for it."""
    desk = Desk(*map(make_record, there))
    (answer,) = desk.tell(request)
    assert isinstance(answer, RequestRejected)
    assert desk.saves == []
    return answer


@pytest.mark.parametrize(
    "question",
    [
        GetRuns("t", (1, HUGE)),
        GetDefinitions((("t", "work", HUGE),)),
        ListRuns(tenant="t", before=HUGE),
        ListDecisions(tenant="t", job="work", before=2**64 - 1),
        ListAttempts("t", HUGE),
    ],
)
def test_a_number_that_no_store_holds_is_refused_in_a_question(question: Any) -> None:
    refused = refusal(Query("q", question))
    assert (refused.key, refused.code) == ("q", "impossible")
    assert "9,223,372,036,854,775,808" in refused.text or "18,446" in refused.text


def test_a_number_that_no_run_can_have_is_that_of_an_unknown_run() -> None:
    for number in (HUGE, 0, -1):
        assert refusal(CancelRun("c", "t", number)).code == "unknown_run"
    assert refusal(Watch("w", "t", (HUGE,))).code == "impossible"


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (SubmitItem("work", priority=10**9), "priority is a whole number from -100 to 100"),
        (SubmitItem("work", not_before=HARDLY), "not_before"),
        (SubmitItem("work", token=""), "idempotency key"),
        (SubmitItem("work", token="x" * 201), "idempotency key"),
        (SubmitItem("work", b"x" * (MAX_ARGUMENT_BYTES + 1)), "262,144 bytes"),
    ],
)
def test_a_run_that_is_out_of_range_is_refused_with_its_index(item: SubmitItem, text: str) -> None:
    refused = refusal(Submit("s", "t", (SubmitItem("work"), item)), make_job())
    assert (refused.code, refused.index) == ("impossible", 1)
    assert text in refused.text


def test_a_request_brings_something_and_not_too_much() -> None:
    for request in (Submit("s", "t", ()), Submit("s", "t", (SubmitItem("work"),) * 257), AddJobs("a", ())):
        assert "1 to 256" in refusal(request, make_job()).text


def test_a_client_names_no_cause_but_its_own() -> None:
    assert set(CAUSES) <= set(get_args(Cause))
    assert refusal(Submit("s", "t", (SubmitItem("work"),), cause="slot"), make_job()).code == "impossible"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": ""}, "a job's name"),
        ({"name": "a\nb"}, "a job's name"),
        ({"tenant": "x" * 201}, "a tenant"),
        ({"target": ""}, "either a `target` or"),
        ({"executor": "command"}, "either a `target` or"),
        ({"command": Command(line="true")}, "either a `target` or"),
        ({"target": "", "executor": "command", "command": Command(line="x" * 70_000)}, "65,536 characters"),
        ({"description": "x" * 70_000}, "65,536 characters"),
        ({"priority": HUGE}, "priority"),
        ({"max_crashes": 0}, "max_crashes"),
        ({"attempt_timeout_us": HARDLY}, "attempt_timeout_us"),
        ({"run_deadline_us": -1}, "run_deadline_us"),
        ({"start_deadline_us": LONGEST_US + 1}, "start_deadline_us"),
        ({"wait_deadline_us": HARDLY}, "wait_deadline_us"),
        ({"catchup": CatchUp(window_us=HARDLY)}, "catchup.window_us"),
        ({"retry": Retry(attempts=0)}, "retry.attempts"),
        ({"retry": Retry(delay_us=HARDLY)}, "retry.delay_us"),
        ({"retry": Retry(cap_us=HARDLY)}, "retry.cap_us"),
        ({"arguments": b"x" * (MAX_ARGUMENT_BYTES + 1)}, "262,144 bytes"),
        ({"hook": Hook(moment="before", job="x" * 201)}, "a hook"),
        ({"after": tuple(f"job-{number}" for number in range(1_001))}, "1,000 upstreams"),
        ({"after": ("",)}, "each upstream"),
        ({"tags": tuple(f"tag-{number}" for number in range(65))}, "64 tags"),
        ({"target": "", "executor": "command", "command": Command(argv=("x" * 60_000,) * 9)}, "524,288 bytes"),
        ({"labels": ("two words",)}, "a label"),
        ({"resources": {"gpu": 0}}, "gpu"),
        ({"resources": {"gpu": -4}}, "gpu"),
    ],
)
def test_a_job_that_is_out_of_range_is_refused_with_its_index(fields: dict[str, Any], text: str) -> None:
    refused = refusal(AddJobs("a", (make_job("good"), replace(make_job(), **fields))))
    assert (refused.code, refused.index) == ("impossible", 1)
    assert text in refused.text


def nested(depth: int) -> Constrained:
    trigger = every(1) | every(2)
    for number in range(depth):
        trigger = (trigger - every(number + 7)) | every(3)
    return trigger.but(limit=3)


UNUSABLE = [
    (Unreadable("no zone"), "cannot be read"),
    (every("1m") | Unreadable("no zone"), "cannot be read here: no zone"),
    (every("1m").but(calendar="holidays"), "no calendar is named 'holidays'"),
    (nested(20), "nested"),
    (every(5) | RRule("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30").but(start=0), "never fires"),
]


@pytest.mark.parametrize(("trigger", "text"), UNUSABLE)
def test_a_trigger_that_cannot_be_compiled_is_refused_and_no_actor_fails(trigger: Any, text: str) -> None:
    refused = only(Desk().tell(AddJobs("a", (make_job("good"), make_job(trigger=trigger)))), RequestRejected)
    assert (refused.code, refused.index) == ("impossible", 1)
    assert text in refused.text
    desk = Desk(make_record(make_job()))
    refused = only(desk.tell(ChangeJob("c", "t", "work", "reschedule", trigger)), RequestRejected)
    assert text in refused.text
    assert desk.saves == []


def test_a_job_that_would_be_too_large_with_its_new_trigger_is_not_rescheduled() -> None:
    some = Union((RRule("FREQ=DAILY" + ";INTERVAL=1" * 300),) * 64)
    large = Union((some, some, some))
    desk = Desk(make_record(make_job()))
    refused = only(desk.tell(ChangeJob("c", "t", "work", "reschedule", large)), RequestRejected)
    assert refused.code == "impossible"
    assert "524,288 bytes" in refused.text
    assert desk.saves == []


def test_a_job_that_is_to_be_added_twice_by_one_request_is_refused() -> None:
    refused = refusal(AddJobs("a", (make_job("a"), make_job("b"), make_job("a", priority=3)), mode="add"))
    assert (refused.code, refused.index) == ("impossible", 2)
    assert "'a'" in refused.text


def test_to_reschedule_takes_a_trigger() -> None:
    assert "brings none" in refusal(ChangeJob("c", "t", "work", "reschedule"), make_job()).text
