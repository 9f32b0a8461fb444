"""Jobs as they are declared: decorators, names, options, and what is refused before anything is stored."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType
from typing import Any

import pytest

from callsheet import (
    CallsheetError,
    DataError,
    DefinitionError,
    RunError,
    Scheduler,
    TriggerError,
    at,
    calendar_interval,
    cron,
    delay,
    every,
    fixed,
    rrule,
    shell,
)
from support.reached import Make


def double(value: int) -> int:
    return value * 2


# ---- declaring ----------------------------------------------------------------------------------------------------------


def test_a_decorated_function_stays_the_function_it_was(make: Make, store_url: str) -> None:
    scheduler = make(store_url)

    @scheduler.job(cron("0 2 * * *", zone="Europe/Berlin"), retry=fixed(1), tags=["nightly"], args=[1])
    def ingest(value: int) -> int:
        """Takes it in."""
        return value + 1

    @scheduler.job()
    async def wait(value: int) -> int:
        return value

    assert ingest(2) == 3
    assert (ingest.__name__, ingest.__doc__) == ("ingest", "Takes it in.")
    scheduler.start()
    assert scheduler.submit(ingest).result(20) == 2
    assert scheduler.submit(ingest, 5).result(20) == 6
    assert scheduler.submit(wait, 5).result(20) == 5


def test_a_decorator_without_brackets_is_refused_instead_of_swallowing_the_function(scheduler: Scheduler) -> None:
    def backup() -> None: ...

    with pytest.raises(DefinitionError, match=r"job 'backup': write @scheduler\.job\(\), with brackets"):
        scheduler.job(backup)  # type: ignore[arg-type]


def test_a_job_is_named_for_its_function_unless_a_name_is_given(scheduler: Scheduler) -> None:
    assert scheduler.add(double).endswith("test_declaring.double")
    assert scheduler.add(double, name="twice") == "twice"
    assert scheduler.submit("twice", 2).result(20) == 4


def test_jobs_are_declared_before_or_after_the_start(make: Make, store_url: str) -> None:
    scheduler = make(store_url)
    scheduler.add(double, name="before")
    scheduler.start()
    scheduler.add(double, name="after")

    assert [view.name for view in scheduler.jobs()] == ["after", "before"]


def test_many_jobs_are_added_at_once(scheduler: Scheduler) -> None:
    names = scheduler.add_many(
        (double, every(3600), {"name": f"job {number:04}", "args": [number]}) for number in range(1_500)
    )

    assert names == [f"job {number:04}" for number in range(1_500)]
    assert [view.name for view in scheduler.jobs(limit=2_000)] == names
    assert scheduler.submit("job 0021").result(20) == 42
    assert scheduler.trigger("job 0021").result(20) == 42
    assert scheduler.add_many([]) == []


def test_many_jobs_may_be_added_before_the_start(make: Make, store_url: str) -> None:
    scheduler = make(store_url)
    scheduler.add_many((double, None, {"name": f"job {number}"}) for number in range(600))

    assert len(scheduler.start().jobs()) == 600


def test_a_name_that_is_declared_again_means_the_newer_function(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, name="job")
    scheduler.add(lambda: 2, name="job")

    assert scheduler.submit("job").result(20) == 2
    assert len(scheduler.jobs()) == 1


def test_a_job_is_shown_as_it_was_declared(scheduler: Scheduler) -> None:
    scheduler.add(
        double,
        every(3600),
        name="job",
        args=[1],
        tags=["a", "b", "a"],
        description="doubles",
        priority=5,
        idempotent=True,
    )
    [view] = scheduler.jobs()

    assert (view.name, view.tenant, view.status, view.executor) == ("job", "default", "active", "thread")
    assert (view.tags, view.description, view.delivery, view.version) == (("a", "b"), "doubles", "at_least_once", 1)
    assert view.trigger == "Every hour."
    assert view.next_due is not None
    assert timedelta(minutes=59) < view.next_due - datetime.now(UTC) <= timedelta(hours=1)
    assert scheduler.job_view("job") == view


def test_the_executor_is_chosen_by_the_function_or_by_the_job(scheduler: Scheduler, workload: ModuleType) -> None:
    async def wait() -> None:
        pass

    scheduler.add(wait, name="async")
    scheduler.add(double, name="thread")
    scheduler.add(workload.add, name="process", executor="process")

    assert {view.name: view.executor for view in scheduler.jobs()} == {
        "async": "async",
        "thread": "thread",
        "process": "process",
    }


def test_worker_processes_run_functions_with_arguments_logs_and_errors(one: Scheduler, workload: ModuleType) -> None:
    import os

    for function in (workload.add, workload.process_id, workload.say, workload.fail, workload.answer_object):
        one.add(function, name=function.__name__, executor="process")

    assert one.submit("add", 1, right=2).result(30) == 3
    assert one.submit("process_id").result(30) != os.getpid()
    said = one.submit("say", "hello")
    assert said.wait(30) == "SUCCEEDED"
    assert said.logs() == "hello\n"
    with pytest.raises(RunError, match="FAILED: ValueError: no"):
        one.submit("fail", "no").result(30)
    with pytest.raises(RunError, match="the result of job 'answer_object' is not data"):
        one.submit("answer_object").result(30)


def test_commands_run_where_they_are_allowed(make: Make, store_url: str) -> None:
    scheduler = make(store_url, allow_shell=True).start()
    scheduler.add(shell("echo out; echo err >&2"), name="echo")
    scheduler.add(shell(argv=["sh", "-c", "exit 3"]), name="fails")

    handle = scheduler.submit("echo")
    handle.result(30)
    assert "out" in handle.logs()
    assert "err" in handle.logs()
    with pytest.raises(RunError, match=r"FAILED: .*3"):
        scheduler.submit("fails").result(30)


def test_a_command_where_none_is_allowed_is_refused(one: Scheduler) -> None:
    with pytest.raises(
        DefinitionError, match=r"commands run only where that is allowed: Scheduler\(…, allow_shell=True\)"
    ):
        one.add(shell("true"))
    with pytest.raises(DefinitionError, match="exactly one"):
        shell()
    with pytest.raises(DefinitionError, match="exactly one"):
        shell("true", argv=["true"])


# ---- what cannot be -----------------------------------------------------------------------------------------------------

OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"retries": 3}, "job 'job': unknown option retries; known are after, args, .*, retry"),
    (
        {"retry": 3},
        r"job 'job': retry is fixed\(…\), linear\(…\), exponential\(…\) or a function of the attempt; 3 was given",
    ),
    ({"retry": fixed}, "job 'job': retry"),
    ({"timeout": -1}, "job 'job': timeout is a number of seconds or a timedelta, .*; -1 was given"),
    ({"timeout": "1h"}, "job 'job': timeout is a number of seconds"),
    ({"timeout": True}, "job 'job': timeout is a number of seconds"),
    ({"timeout": float("nan")}, "job 'job': timeout is a number of seconds"),
    ({"timeout": timedelta(days=-1)}, "job 'job': timeout is a number of seconds"),
    ({"timeout": 0}, "job 'job': timeout"),
    ({"deadline": -0.1}, "job 'job': deadline is a number of seconds"),
    (
        {"start_deadline": 1e12},
        "job 'job': start_deadline is a number of seconds or a timedelta, up to a hundred years",
    ),
    ({"wait_deadline": None, "catchup_window": -1}, "job 'job': catchup_window is a number of seconds"),
    ({"wait_deadline": -1}, "job 'job': wait_deadline is a number of seconds"),
    ({"priority": 101}, "job 'job': priority is a whole number from −100 to 100; 101 was given"),
    ({"priority": 1.5}, "job 'job': priority is a whole number"),
    ({"priority": True}, "job 'job': priority is a whole number"),
    ({"overlap": "queue"}, "job 'job': overlap is one of 'skip', 'allow_all'; 'queue' was given"),
    ({"catchup": "some"}, "job 'job': catchup (must be|is one of) 'latest', 'earliest', 'all'"),
    ({"max_catchup": 0}, "job 'job': max_catchup"),
    ({"max_catchup": "many"}, "job 'job': max_catchup"),
    ({"executor": "gpu"}, "job 'job': executor is one of 'thread', 'process'; 'gpu' was given"),
    ({"executor": "async"}, "job 'job': executor .*'async' was given"),
    ({"tags": "nightly"}, r"job 'job': tags is a list of words, not one text: tags=\['nightly'\]"),
    ({"tags": ["a\nb"]}, r"job 'job': a tag is printable text of 1 to 200 characters; 'a\\nb' was given"),
    ({"tags": [""]}, "job 'job': a tag is printable text"),
    ({"tags": [5]}, "job 'job': a tag is printable text"),
    ({"tags": [str(number) for number in range(65)]}, "job 'job': a job has at most 64 tags; 65 were given"),
    ({"tags": 5}, "job 'job': tags is a list of words"),
    ({"after": "other"}, r"job 'job': after is a list of jobs, not one: after=\['other'\]"),
    ({"after": 5}, "job 'job': after is a list of jobs"),
    ({"after": [5]}, "job 'job': .*5"),
    ({"after": [double]}, "job 'job': .*double.* is no job of this scheduler yet; declare it first"),
    ({"tenant": ""}, "a tenant's name is printable text"),
    ({"args": 5}, "job 'job': args is a list of arguments"),
    ({"args": "ab"}, "job 'job': args is a list of arguments"),
    ({"kwargs": 5}, "job 'job': kwargs is a map"),
    ({"args": [object()]}, r"job 'job': its arguments is not data|job 'job': its arguments are not data"),
    ({"args": [1, 2]}, "job 'job': the arguments do not fit"),
    ({"kwargs": {"colour": 1}}, "job 'job': the arguments do not fit"),
    ({"max_crashes": 0}, "job 'job': max_crashes"),
    ({"max_crashes": "3"}, "job 'job': max_crashes"),
    ({"description": 5}, "job 'job': description is text"),
    ({"idempotent": "yes"}, "job 'job': idempotent is True or False"),
]


@pytest.mark.parametrize(("options", "text"), OPTIONS, ids=[str(number) for number in range(len(OPTIONS))])
def test_a_wrong_option_is_refused_with_the_name_of_the_job_and_what_is_right(
    one: Scheduler, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(CallsheetError, match=text) as caught:
        one.add(double, **{"name": "job", **options})

    assert isinstance(caught.value, (DefinitionError, DataError))
    assert one.jobs() == []


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "x" * 201, 5, b"bytes"], ids=range(6))
def test_a_name_that_cannot_be_is_refused(one: Scheduler, name: Any) -> None:
    with pytest.raises(DefinitionError, match="a job's name is printable text of 1 to 200 characters"):
        one.add(double, name=name)
    assert one.jobs() == []


def test_names_may_be_anything_that_can_be_printed(scheduler: Scheduler) -> None:
    for name in ("Ünïcode 🎬", "a/b:c#d*e?", "x" * 200, "'quoted' \"twice\"", "--all"):
        scheduler.add(lambda: 1, name=name)
        assert scheduler.submit(name).result(20) == 1
    assert len(scheduler.jobs()) == 5


def test_what_is_no_function_is_refused(one: Scheduler) -> None:
    bad: Any
    for bad in (5, None, "text", [double]):
        with pytest.raises(DefinitionError, match=r"expected a function, .*found"):
            one.add(bad)

    async def stream() -> Any:
        yield 1

    with pytest.raises(DefinitionError, match="an async generator has no result; return a list instead"):
        one.add(stream)
    assert one.jobs() == []


def test_what_was_refused_leaves_the_job_that_was_there(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, name="job")

    bad: Any = {"priority": 500}
    with pytest.raises(DefinitionError):
        scheduler.add(lambda: 2, name="job", **bad)

    assert scheduler.submit("job").result(20) == 1


def test_a_function_that_a_worker_process_cannot_find_is_refused(one: Scheduler) -> None:
    def closure() -> None:
        pass

    class Till:
        def put(self) -> None:
            pass

    for function, why in (
        (lambda: None, "it is a lambda"),
        (closure, "is made inside another function"),
        (functools.partial(double, 1), "no name leads to it"),
        (Till().put, "is made inside another function"),
    ):
        with pytest.raises(
            DefinitionError, match=rf'job .* cannot run in a worker process: .*{why}.*executor="thread"'
        ):
            one.add(function, executor="process")
    assert one.jobs() == []


@pytest.mark.parametrize(
    ("make_trigger", "text"),
    [
        (lambda: cron("0 2 * * *", zone="Europe/Berlim"), "Europe/Berlim"),
        (lambda: cron("0 2 30 2 *"), "never"),
        (lambda: cron("61 * * * *"), "61"),
        (lambda: cron("* * *"), "five fields|5 fields|fields"),
        (lambda: cron(""), "field|empty"),
        (lambda: cron("0 0 * * *", zone=5), "zone"),  # type: ignore[arg-type]
        (lambda: at(datetime(2030, 1, 1)), "zone"),  # noqa: DTZ001 - what it is about
        (lambda: at("2030-01-01T00:00"), "zone"),
        (lambda: at("soon"), "soon"),
        (lambda: every(0), "period"),
        (lambda: every(-1), "period"),
        (lambda: every("often"), "often"),
        (lambda: every(60, start=datetime(2030, 1, 1)), "zone"),  # noqa: DTZ001 - what it is about
        (lambda: delay(-1), "negative|delay"),
        (calendar_interval, "step|interval"),
        (lambda: calendar_interval(months=1, day=32), "32"),
        (lambda: rrule("FREQ=SOMETIMES"), "SOMETIMES"),
        (lambda: rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "never|date"),
    ],
    ids=range(18),
)
def test_a_trigger_that_cannot_be_is_refused_with_what_was_wrong(
    one: Scheduler, make_trigger: Callable[[], Any], text: str
) -> None:
    with pytest.raises(TriggerError, match=text):
        one.add(double, make_trigger(), name="job", args=[1])
    assert one.submit(double, 1).result(20) == 2


# ---- arguments and results ----------------------------------------------------------------------------------------------


def test_arguments_that_do_not_fit_are_refused_at_submit(scheduler: Scheduler) -> None:
    scheduler.add(double, name="job")

    for args, kwargs, fault in (
        ((), {}, "missing a required argument: 'value'"),
        ((1, 2), {}, "too many positional arguments"),
        ((), {"colour": 1}, "missing a required argument|unexpected keyword argument"),
        ((1,), {"value": 2}, "multiple values for argument 'value'"),
    ):
        with pytest.raises(DefinitionError, match=rf"job 'job': the arguments do not fit \(.*\).*: .*({fault})"):
            scheduler.submit("job", *args, **kwargs)
    assert scheduler.runs() == []


def test_arguments_of_a_slot_must_fit_when_the_job_is_declared(scheduler: Scheduler) -> None:
    with pytest.raises(
        DefinitionError, match=r"job 'job': the arguments do not fit .*missing a required argument: 'value'"
    ):
        scheduler.add(double, every(60), name="job")
    scheduler.add(double, every(60), name="job", args=[1])


def test_results_of_upstreams_must_fit_when_the_job_is_declared(scheduler: Scheduler) -> None:
    scheduler.add(lambda: 1, name="up")
    with pytest.raises(DefinitionError, match=r"job 'job': the arguments after 1 upstream result\(s\) do not fit"):
        scheduler.add(lambda: None, name="job", after=["up"])


def test_arguments_that_are_no_data_are_refused_with_where_they_stand(scheduler: Scheduler) -> None:
    for value, fault in (
        (object(), r"it\[0\]\[0\] is .*object"),
        ({"a": [1, {2}]}, "set"),
        ({1: "a"}, "key"),
        (2**70, "beyond 64 bits"),
        (datetime(2030, 1, 1), "naive datetime"),  # noqa: DTZ001 - what it is about
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "datetime that UTC does not have"),
        ([datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2)))], "datetime that UTC does not have"),
        (threading.Lock(), "lock"),
    ):
        with pytest.raises(DataError, match=rf"job 'job': its arguments (is|are) not data: .*{fault}"):
            scheduler.options().submit(scheduler.add(lambda it: None, name="job"), value)
    assert scheduler.runs() == []


def test_arguments_that_are_too_large_are_refused_with_the_limit(scheduler: Scheduler) -> None:
    scheduler.add(len, name="job")

    assert scheduler.submit("job", bytes(200_000)).result(20) == 200_000
    with pytest.raises(
        DataError, match=r"job 'job': its arguments ha\w+ 300,0\d\d bytes, the limit is 262,144; store it elsewhere"
    ):
        scheduler.submit("job", bytes(300_000))


def test_a_result_that_is_no_data_fails_the_run_and_says_so(scheduler: Scheduler) -> None:
    scheduler.add(lambda: {"x": [object()]}, name="job")
    handle = scheduler.submit("job")

    with pytest.raises(
        RunError, match=r"run \d+ of job 'job' ended FAILED: .*DataError: the result of job 'job' is not data: .*object"
    ):
        handle.result(20)


def test_a_result_that_is_too_large_fails_the_run_and_says_so(scheduler: Scheduler) -> None:
    scheduler.add(bytes, name="job")

    assert len(scheduler.submit("job", 1_000_000).result(20)) == 1_000_000
    with pytest.raises(RunError, match=r"the result of job 'job' has 2,000,00. bytes, the limit is 1,048,576"):
        scheduler.submit("job", 2_000_000).result(20)


def test_what_cannot_be_said_of_a_submission_is_refused(one: Scheduler) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"priority": 200}, "priority is a whole number"),
        ({"delay": -1}, "delay is a number of seconds"),
        ({"delay": 1, "at": datetime.now(UTC)}, "say delay or at, not both"),
        ({"at": datetime(2030, 1, 1)}, "has no time zone; give one"),  # noqa: DTZ001 - what it is about
        ({"at": "tomorrow"}, "at is an aware datetime"),
        ({"idempotency_key": ""}, "an idempotency key is printable text"),
        ({"idempotency_key": 7}, "an idempotency key is printable text"),
    ]
    for words, text in cases:
        with pytest.raises(DefinitionError, match=text):
            one.options(**words)


def test_what_cannot_be_submitted_is_refused(one: Scheduler) -> None:
    bad: Any
    for bad in (5, None, [1]):
        with pytest.raises(DefinitionError, match="expected a function"):
            one.submit(bad)
    with pytest.raises(DefinitionError, match="submit_many"):
        one.submit_many([double])  # type: ignore[list-item]
    with pytest.raises(DefinitionError, match="submit_many"):
        one.submit_many([()])


def test_what_cannot_be_said_of_a_scheduler_is_refused() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"threads": -1}, "threads is a number of places"),
        ({"threads": "8"}, "threads is a number of places"),
        ({"processes": 1.5}, "processes is a number of places"),
        ({"tenant": ""}, "a tenant's name"),
        ({"drain_timeout": -1}, "drain_timeout"),
        ({"stop_timeout": "x"}, "stop_timeout"),
    ]
    for words, text in cases:
        with pytest.raises(DefinitionError, match=text):
            Scheduler("memory://", **words)
    for store in ("redis://localhost", "jobs.db", "sqlite://host/x", "sqlite:///", "memory://name", ""):
        with pytest.raises(DefinitionError, match=r"expected|not there yet|has no host"):
            Scheduler(store)
