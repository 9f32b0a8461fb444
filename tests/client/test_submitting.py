"""Runs that are asked for: submit, submit_many, and what can be said of them."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callsheet import (
    CallsheetError,
    Context,
    JobConflict,
    Scheduler,
    UnknownJob,
)
from callsheet.client import gateway as gateway_module
from support.reached import Make


def add(left: int, right: int = 1) -> int:
    return left + right


class Till:
    def __init__(self, start: int) -> None:
        self.total = start

    def put(self, amount: int) -> int:
        self.total += amount
        return self.total

    async def look(self) -> int:
        return self.total

    @staticmethod
    def double(amount: int) -> int:
        return amount * 2

    @classmethod
    def name(cls) -> str:
        return cls.__name__


# ---- functions ----------------------------------------------------------------------------------------------------------


def test_a_function_is_submitted_with_arguments_and_answers(scheduler: Scheduler) -> None:
    assert scheduler.submit(add, 1, right=41).result(20) == 42


def test_a_lambda_a_closure_and_a_partial_can_be_jobs(scheduler: Scheduler) -> None:
    def make(offset: int) -> Callable[[int], int]:
        def inner(value: int) -> int:
            return value + offset

        return inner

    assert scheduler.submit(lambda: "lambda").result(20) == "lambda"
    assert [scheduler.submit(make(offset), 1).result(20) for offset in (10, 20)] == [11, 21]
    assert scheduler.submit(functools.partial(add, 1), 2).result(20) == 3


def test_two_lambdas_of_one_line_are_two_jobs(scheduler: Scheduler) -> None:
    handles = [scheduler.submit(each) for each in (lambda: 1, lambda: 2)]

    assert [handle.result(20) for handle in handles] == [1, 2]
    assert handles[0].job != handles[1].job


def test_methods_can_be_jobs_and_one_method_of_one_object_is_one_job(scheduler: Scheduler) -> None:
    till, other = Till(0), Till(100)

    handles = [scheduler.submit(till.put, 1) for _ in range(3)]
    assert sorted(handle.result(20) for handle in handles) == [1, 2, 3]
    assert scheduler.submit(other.put, 1).result(20) == 101
    assert scheduler.submit(till.look).result(20) == 3
    assert scheduler.submit(Till.double, 21).result(20) == 42
    assert scheduler.submit(Till.name).result(20) == "Till"
    assert len({handle.job for handle in handles}) == 1


def test_an_object_that_can_be_called_can_be_a_job(scheduler: Scheduler) -> None:
    class Caller:
        def __call__(self, value: int) -> int:
            return value + 1

    assert scheduler.submit(Caller(), 1).result(20) == 2


def test_async_functions_run_on_the_loop_and_sync_ones_in_threads(scheduler: Scheduler) -> None:
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert scheduler.submit(where).result(20) == "callsheet-loop"
    assert scheduler.submit(lambda: threading.current_thread().name).result(20).startswith("callsheet-thread")


def test_a_function_whose_first_parameter_is_ctx_is_told_about_its_run(scheduler: Scheduler) -> None:
    def tell(ctx: Context, value: int) -> list[Any]:
        return [ctx.run_id, ctx.job, ctx.attempt, ctx.slot, ctx.tenant, value, ctx.idempotency_key]

    handle = scheduler.submit(tell, 5)

    assert handle.result(20)[:6] == [handle.run_id, handle.job, 1, None, "default", 5]
    assert handle.result(20)[6]


def test_data_of_every_kind_comes_back_as_it_was(scheduler: Scheduler) -> None:
    value = {
        "none": None, "bool": True, "int": -(2**63), "large": 2**64 - 1, "float": 0.1, "text": "ä\x00🎬", "bytes": b"\xff",
        "list": [1, [2, {}]], "instant": datetime(2026, 3, 29, 2, 30, tzinfo=UTC),
        "ends": [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)],
    }  # fmt: skip

    assert scheduler.submit(lambda it: it, value).result(20) == value


# ---- many ---------------------------------------------------------------------------------------------------------------


def test_submit_many_answers_handles_in_order(scheduler: Scheduler) -> None:
    handles = scheduler.submit_many([(add, number, 1) for number in range(1_000)])

    assert [handle.result(30) for handle in handles] == list(range(1, 1_001))
    assert len({handle.run_id for handle in handles}) == 1_000


def test_submit_many_takes_different_jobs_and_names(scheduler: Scheduler) -> None:
    scheduler.add(add, name="plus")

    handles = scheduler.submit_many([("plus", 1, 2), (add, 2), (lambda: 9,)])

    assert [handle.result(20) for handle in handles] == [3, 3, 9]


def test_submit_many_of_nothing_is_nothing(scheduler: Scheduler) -> None:
    assert scheduler.submit_many([]) == []


def test_submit_many_stores_nothing_when_one_call_does_not_fit(scheduler: Scheduler) -> None:
    scheduler.add(add)
    with pytest.raises(CallsheetError, match="add"):
        scheduler.submit_many([(add, 1), (add, 1, 2, 3)])

    assert scheduler.runs() == []


def test_of_a_submission_that_is_refused_half_way_the_error_has_the_handles_of_what_is_stored(
    scheduler: Scheduler,
) -> None:
    scheduler.add(add, name="plus", overlap="allow_all")
    calls = [("nobody",)] * 256 + [("plus", number) for number in range(256 * 20)]

    with pytest.raises(
        UnknownJob, match=r"no job 'nobody' .*; of 5,376 runs [0-9,]+ are stored, .* `submitted`$"
    ) as caught:
        scheduler.submit_many(calls)

    submitted = caught.value.submitted
    assert len(submitted) == len(calls)
    assert submitted[:256] == [None] * 256
    stored = [handle for handle in submitted if handle is not None]
    assert len(stored) == len(scheduler.runs(limit=len(calls))) < len(calls), "no batch is sent after the refusal"
    left = [call for call, handle in zip(calls[256:], submitted[256:], strict=True) if handle is None]
    again = scheduler.submit_many(left)
    assert sorted(handle.result(30) for handle in (*stored, *again)) == list(range(1, 256 * 20 + 1))


def test_of_a_single_batch_that_is_refused_nothing_is_stored(scheduler: Scheduler) -> None:
    scheduler.add(add, name="plus")

    with pytest.raises(UnknownJob, match=r"no job 'nobody' in tenant 'default'; add it first$") as caught:
        scheduler.submit_many([("plus", 1), ("nobody",)])

    assert caught.value.submitted == [None, None]
    assert scheduler.runs() == []


def test_many_threads_may_submit_at_once(scheduler: Scheduler) -> None:
    results: list[int] = []

    def submit_some(number: int) -> None:
        handles = [scheduler.submit(add, number, each) for each in range(20)]
        results.extend(handle.result(30) for handle in handles)

    threads = [threading.Thread(target=submit_some, args=(number * 100,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(results) == sorted(number * 100 + each for number in range(8) for each in range(20))


def test_a_job_may_submit_another(scheduler: Scheduler) -> None:
    def outer() -> int:
        value: int = scheduler.submit(add, 1, 1).result(20)
        return value + 1

    assert scheduler.submit(outer).result(20) == 3


# ---- options ------------------------------------------------------------------------------------------------------------


def test_the_first_request_after_the_start_does_not_wait_to_be_asked_again(
    make: Make, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "ASK_AGAIN_S", 100.0)
    scheduler = make(store_url)
    scheduler.add(add, name="plus")

    assert scheduler.start().options(timeout=10).submit("plus", 1).result(10) == 2


def test_a_larger_priority_is_sooner(make: Make, store_url: str, gate: Any) -> None:
    scheduler = make(store_url, threads=1).start()
    order: list[int] = []
    first = scheduler.submit(gate)
    gate.wait_reached()
    scheduler.add(order.append, name="note", overlap="allow_all")

    handles = [scheduler.options(priority=each).submit("note", each) for each in (0, -5, 100, 7, -100, 7)]
    gate.open()
    for handle in (first, *handles):
        handle.result(20)

    assert order == [100, 7, 7, 0, -5, -100]


def test_runs_of_one_priority_begin_in_the_order_of_their_submission(make: Make, store_url: str, gate: Any) -> None:
    scheduler = make(store_url, threads=1).start()
    order: list[int] = []
    scheduler.submit(gate)
    gate.wait_reached()

    handles = scheduler.submit_many([(order.append, number) for number in range(50)])
    gate.open()
    for handle in handles:
        handle.result(20)

    assert order == list(range(50))


def test_the_priority_of_the_job_counts_where_none_is_said(make: Make, gate: Any) -> None:
    scheduler = make("memory://", threads=1).start()
    order: list[str] = []
    scheduler.add(lambda: order.append("low"), name="low", priority=-1)
    scheduler.add(lambda: order.append("high"), name="high", priority=1)
    scheduler.submit(gate)
    gate.wait_reached()

    handles = [scheduler.submit("low"), scheduler.submit("high")]
    gate.open()
    for handle in handles:
        handle.result(20)

    assert order == ["high", "low"]


def test_an_idempotency_key_gives_the_same_run(scheduler: Scheduler) -> None:
    calls: list[int] = []
    scheduler.add(calls.append, name="note")
    keyed = scheduler.options(idempotency_key="order-7")

    handles = [keyed.submit("note", 7) for _ in range(3)]

    assert len({handle.run_id for handle in handles}) == 1
    assert [handle.result(20) for handle in handles] == [None] * 3
    assert calls == [7]
    assert keyed.submit("note", 7).result(20) is None
    assert len(scheduler.runs("note")) == 1


def test_an_idempotency_key_with_other_arguments_is_refused(scheduler: Scheduler) -> None:
    scheduler.add(add, name="plus")
    keyed = scheduler.options(idempotency_key="order-7")
    handle = keyed.submit("plus", 1)

    with pytest.raises(JobConflict, match=rf"'order-7' belongs to run {handle.run_id} of job 'plus'"):
        keyed.submit("plus", 2)
    assert handle.result(20) == 2
    assert len(scheduler.runs("plus")) == 1


def test_an_idempotency_key_of_many_runs_is_refused(scheduler: Scheduler) -> None:
    with pytest.raises(CallsheetError, match="one idempotency key names one run"):
        scheduler.options(idempotency_key="k").submit_many([(add, 1)])


def test_threads_that_race_with_one_key_get_one_run(scheduler: Scheduler) -> None:
    scheduler.add(add, name="plus")
    found: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(scheduler.options(idempotency_key="race").submit("plus", 1).run_id)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(found) == 8
    assert len(set(found)) == 1
    assert scheduler.handle(found[0]).result(20) == 2


def test_a_delayed_run_begins_not_before_its_time(scheduler: Scheduler) -> None:
    asked = datetime.now(UTC)
    handle = scheduler.options(delay=0.3).submit(lambda: datetime.now(UTC))

    assert handle.status().state == "DELAYED"
    assert handle.result(20) - asked >= timedelta(seconds=0.3)
    assert (handle.status().attempts, handle.status().state) == (1, "SUCCEEDED")


def test_a_run_for_an_instant_begins_not_before_it(scheduler: Scheduler) -> None:
    when = datetime.now(UTC) + timedelta(seconds=0.3)

    assert scheduler.options(at=when).submit(lambda: datetime.now(UTC)).result(20) >= when
    assert scheduler.options(at=when - timedelta(days=1)).submit(add, 1).result(20) == 2
