"""What every kind of function job is promised, run over threads, the event loop and worker processes alike."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from callsheet.actors.executor.runner import Learned, Outcome, Progress
from callsheet.data import pack, unpack
from support.waiting import eventually

SECOND = 1_000_000

KINDS = ["thread", "async", "process"]


class Cast:
    """A stage on which all orders are of one kind."""

    def __init__(self, stage: Any, kind: str) -> None:
        self.stage = stage
        self.kind = kind
        self.seen = stage.seen
        self.runner = stage.runner
        self.suffix = "_async" if kind == "async" else ""

    def order(self, target: str, *args: Any, **fields: Any) -> Any:
        return self.stage.order(target + self.suffix, *args, kind=self.kind, job="job", **fields)

    def start(self, target: str, *args: Any, **fields: Any) -> Any:
        order = self.order(target, *args, **fields)
        self.runner.start([order])
        return order

    def run(self, target: str, *args: Any, **fields: Any) -> Outcome:
        outcome: Outcome = self.seen.wait(self.start(target, *args, **fields).fence)
        return outcome


@pytest.fixture(params=KINDS)
def cast(request: pytest.FixtureRequest, make_stage: Callable[..., Any]) -> Cast:
    return Cast(make_stage(threads=2, asynchronous=2, processes=2), request.param)


def test_a_function_is_called_and_its_answer_comes_back(cast: Cast) -> None:
    order = cast.order("add", 2, 5, kwargs={"c": 10})
    cast.runner.start([order])
    outcome = cast.seen.wait(order.fence)
    assert (outcome.outcome, unpack(outcome.result)) == ("succeeded", 17)
    assert (outcome.run_id, outcome.attempt) == (order.run_id, 1)
    assert 0 < outcome.started_at <= outcome.ended_at


def test_results_of_upstreams_stand_before_the_other_arguments(cast: Cast) -> None:
    assert unpack(cast.run("add", 5, handed=(pack(2),)).result) == 7


def test_each_order_of_many_yields_exactly_one_outcome(cast: Cast) -> None:
    orders = [cast.order("add", number) for number in range(2_000)]
    for at in range(0, len(orders), 300):
        cast.runner.start(orders[at : at + 300])
    outcomes = cast.seen.wait_all([order.fence for order in orders])
    assert [unpack(outcome.result) for outcome in outcomes] == list(range(1, 2_001))
    assert len(cast.seen.items) == len(orders)
    assert len(cast.seen.batches) < len(orders)


def test_an_order_that_is_told_twice_is_one_order(cast: Cast) -> None:
    order = cast.order("wait_for", str(cast.stage.path("go")))
    cast.runner.start([order])
    eventually(cast.stage.path("go.begun").exists)
    cast.runner.start([order])
    cast.stage.path("go").touch()
    cast.seen.wait(order.fence)
    cast.run("noop")
    assert len(cast.seen.of(order.fence)) == 1
    assert cast.stage.path("go.begun").read_text() == "called\n"


def test_what_a_function_raises_comes_back_as_data(cast: Cast) -> None:
    outcome = cast.run("fail", "short and stout")
    assert outcome.outcome == "failed"
    assert outcome.error is not None
    assert outcome.error.type.endswith(".Teapot")
    assert outcome.error.bases == ("ValueError", "Exception", "BaseException")
    assert outcome.error.text == "short and stout"
    assert "raise Teapot(text)" in outcome.error.traceback
    assert "call.py" not in outcome.error.traceback


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_a_function_that_raises_to_leave_the_program_fails_and_harms_nothing(cast: Cast, kind: str) -> None:
    outcome = cast.run("leave", kind)
    assert outcome.outcome == "failed"
    assert outcome.error is not None
    assert outcome.error.type == kind
    assert cast.run("noop").outcome == "succeeded"


def test_an_answer_that_is_no_data_fails_and_says_what_to_do(cast: Cast) -> None:
    outcome = cast.run("answer_no_data")
    assert outcome.outcome == "failed"
    assert outcome.error is not None
    assert outcome.error.type == "callsheet.errors.DataError"
    assert "the result of job 'job' is not data: it is of type object" in outcome.error.text


def test_an_answer_whose_own_code_raises_while_it_is_stored_fails_with_that(cast: Cast) -> None:
    outcome = cast.run("answer_what_raises")
    assert outcome.error is not None
    assert (outcome.outcome, outcome.error.type) == ("failed", "NotImplementedError")
    assert cast.run("noop").outcome == "succeeded"


def test_an_answer_that_is_too_large_fails_and_says_what_to_do(cast: Cast) -> None:
    outcome = cast.run("answer_much")
    assert outcome.outcome == "failed"
    assert outcome.error is not None
    assert "store it elsewhere" in outcome.error.text


def test_arguments_that_do_not_fit_fail_with_the_signature(cast: Cast) -> None:
    outcome = cast.run("add", 1, 2, 3)
    assert outcome.outcome == "failed"
    assert outcome.error is not None
    assert "do not fit (a: 'int', b: 'int' = 1, *, c: 'int' = 0)" in outcome.error.text


def test_deep_recursion_is_a_failure_like_others(cast: Cast) -> None:
    outcome = cast.run("recurse")
    assert outcome.outcome == "failed"
    assert outcome.error is not None
    assert outcome.error.type == "RecursionError"
    assert cast.run("noop").outcome == "succeeded"


def test_a_name_that_is_not_registered_is_unknown_and_nothing_is_called(cast: Cast) -> None:
    outcome = cast.seen.wait(
        cast.stage.runner.start([order := cast.stage.order("os.getpid", kind=cast.kind)]) or order.fence
    )
    assert outcome.outcome == "unknown_target"
    assert outcome.error is not None
    assert "'os.getpid'" in outcome.error.text


def test_a_function_that_wants_it_gets_its_context(cast: Cast) -> None:
    order = cast.order("who", slot=1_700_000_000_000_000, key="k-1", tenant="acme")
    cast.runner.start([order])
    outcome = cast.seen.wait(order.fence)
    assert unpack(outcome.result) == {
        "run_id": order.run_id,
        "job": "job",
        "tenant": "acme",
        "attempt": 1,
        "slot": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "fence": order.fence,
        "key": "k-1",
        "cancelled": False,
    }
    assert outcome.logs == b"asked\n"


def test_progress_is_reported_before_the_outcome(cast: Cast) -> None:
    order = cast.start("who")
    cast.seen.wait(order.fence)
    assert cast.seen.items[0] == Progress(order.fence, order.run_id, 3.0, 10.0, "rows")


def test_what_a_function_prints_is_kept_with_its_attempt(cast: Cast, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = cast.run("talk", 2), cast.run("noop")
    assert first.logs.decode().splitlines() == ["line 0 " + "x" * 80, "line 1 " + "x" * 80, "the last one"]
    assert second.logs == b""


def test_a_function_that_closes_the_streams_closes_them_to_nobody(
    cast: Cast, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cast.run("close_the_streams").logs == b"before\nafter\n"
    assert cast.run("talk", 1).outcome == "succeeded"
    sys.stdout.write("the program\n")
    assert "the program" in capsys.readouterr().out


def test_megabytes_of_print_are_cut_to_the_limit(cast: Cast, capfd: pytest.CaptureFixture[str]) -> None:
    logs = cast.run("talk", 30_000).logs
    assert 60_000 < len(logs) <= 65_536
    assert logs.startswith(b"line 0 ")
    assert logs.endswith(b"the last one\n")


def test_an_order_that_is_withdrawn_before_it_begins_is_never_called(cast: Cast) -> None:
    blockers = [cast.start("wait_for", str(cast.stage.path("go"))) for _ in range(2)]
    eventually(lambda: cast.stage.path("go.begun").exists() and len(cast.stage.path("go.begun").read_text()) == 14)
    waiting = [cast.start("touch", str(cast.stage.path("called"))) for _ in range(50)]
    cast.runner.withdraw([order.fence for order in (*blockers, *waiting)])
    given_back = cast.seen.wait_all([order.fence for order in waiting])
    assert {outcome.outcome for outcome in given_back} == {"not_started"}
    assert all(outcome.started_at == 0 for outcome in given_back)
    cast.stage.path("go").touch()
    assert {o.outcome for o in cast.seen.wait_all([order.fence for order in blockers])} == {"succeeded"}
    assert not cast.stage.path("called").exists()


def test_an_order_that_is_stopped_before_it_begins_is_not_started(cast: Cast) -> None:
    for _ in range(2):
        cast.start("wait_for", str(cast.stage.path("go")))
    eventually(lambda: cast.stage.path("go.begun").exists() and len(cast.stage.path("go.begun").read_text()) == 14)
    waiting = cast.start("touch", str(cast.stage.path("called")))
    cast.runner.stop(waiting.fence, "cancelled", 10 * SECOND)
    assert cast.seen.wait(waiting.fence).outcome == "not_started"


@pytest.mark.parametrize("reason", ["cancelled", "timed_out"])
def test_a_function_that_is_stopped_may_clean_up(cast: Cast, reason: Any) -> None:
    order = cast.start("clean_up", str(cast.stage.path("it")))
    eventually(cast.stage.path("it.begun").exists)
    cast.runner.stop(order.fence, reason, 20 * SECOND)
    outcome = cast.seen.wait(order.fence)
    assert outcome.outcome == reason
    assert not outcome.stuck
    assert cast.stage.path("it.cleaned").exists()
    assert cast.run("noop").outcome == "succeeded"


def test_an_attempt_whose_own_time_is_over_is_stopped(cast: Cast) -> None:
    order = cast.start("clean_up", str(cast.stage.path("it")), timeout_us=50_000)
    assert cast.seen.wait(order.fence).outcome == "timed_out"
    assert cast.stage.path("it.cleaned").exists()


def test_a_stop_touches_only_its_own_attempt(cast: Cast) -> None:
    stopped = cast.start("clean_up", str(cast.stage.path("it")))
    other = cast.start("wait_for", str(cast.stage.path("go")))
    eventually(lambda: cast.stage.path("it.begun").exists() and cast.stage.path("go.begun").exists())
    cast.runner.stop(stopped.fence, "cancelled", 20 * SECOND)
    assert cast.seen.wait(stopped.fence).outcome == "cancelled"
    cast.stage.path("go").touch()
    assert cast.seen.wait(other.fence).outcome == "succeeded"


def test_a_stop_for_an_attempt_that_has_ended_is_no_error(cast: Cast) -> None:
    order = cast.start("noop")
    cast.seen.wait(order.fence)
    cast.runner.stop(order.fence, "cancelled", 0)
    assert cast.run("noop").outcome == "succeeded"
    assert len(cast.seen.items) == 2


def test_a_long_job_holds_back_neither_outcomes_nor_other_orders(cast: Cast) -> None:
    short = [cast.order("noop") for _ in range(100)]
    long = cast.order("wait_for", str(cast.stage.path("go")))
    cast.runner.start([*short[:50], long, *short[50:]])
    cast.seen.wait_all([order.fence for order in short])
    assert not cast.seen.of(long.fence)
    cast.stage.path("go").touch()
    assert cast.seen.wait(long.fence).outcome == "succeeded"


def test_a_mark_is_set_before_the_function_is_called_and_kept_until_forgotten(cast: Cast) -> None:
    order = cast.start("wait_for", str(cast.stage.path("go")))
    eventually(cast.stage.path("go.begun").exists)
    assert cast.runner.begun("here").fences == {order.fence}
    cast.stage.path("go").touch()
    cast.seen.wait(order.fence)
    assert cast.runner.begun("here").fences == {order.fence}
    cast.runner.forget([order.fence])
    assert cast.runner.begun("here").fences == set()


def test_what_has_not_begun_is_given_back_while_starts_are_held(cast: Cast) -> None:
    running = [cast.start("wait_for", str(cast.stage.path(name))) for name in ("a", "b")]
    eventually(lambda: cast.stage.path("a.begun").exists() and cast.stage.path("b.begun").exists())
    waiting = [cast.start("touch", str(cast.stage.path("called"))) for _ in range(20)]
    cast.runner.hold(True)
    assert {o.outcome for o in cast.seen.wait_all([order.fence for order in waiting])} == {"not_started"}
    assert cast.run("touch", str(cast.stage.path("called"))).outcome == "not_started"
    for name in ("a", "b"):
        cast.stage.path(name).touch()
    assert {o.outcome for o in cast.seen.wait_all([order.fence for order in running])} == {"succeeded"}
    assert not cast.stage.path("called").exists()
    cast.runner.hold(False)
    assert cast.run("touch", str(cast.stage.path("called"))).outcome == "succeeded"
    assert len(cast.seen.items) == 24


def test_nothing_begins_once_starts_are_held(cast: Cast) -> None:
    cast.run("noop")
    cast.seen.wait_all([cast.start("noop").fence for _ in range(100)])  # now it is known to be brisk
    for _ in range(20):
        orders = [cast.order("noop") for _ in range(2_000)]
        cast.runner.hold(False)
        cast.runner.start(orders)
        cast.seen.wait(orders[0].fence)
        cast.runner.hold(True)
        begun = cast.runner.begun("here").fences
        outcomes = cast.seen.wait_all([order.fence for order in orders])
        called = {outcome.fence for outcome in outcomes if outcome.outcome == "succeeded"}
        assert called <= begun
        assert {outcome.outcome for outcome in outcomes} <= {"succeeded", "not_started"}
        if 0 < len(called) < len(orders):
            return
    raise AssertionError("no hold came between two starts")


def test_what_was_revoked_is_given_back_and_newer_orders_go_on(cast: Cast) -> None:
    old = [cast.order("touch", str(cast.stage.path("called"))) for _ in range(5)]
    begun = cast.runner.revoke("here", old[-1].fence)
    assert (begun.readable, begun.dead, begun.revoked, begun.fences) == (True, False, old[-1].fence, frozenset())
    cast.runner.start(old)
    assert {o.outcome for o in cast.seen.wait_all([order.fence for order in old])} == {"not_started"}
    assert not cast.stage.path("called").exists()
    assert cast.run("touch", str(cast.stage.path("called"))).outcome == "succeeded"
    assert cast.runner.revoke("here", 1).revoked == old[-1].fence


def test_a_function_that_is_learned_later_is_told_after_what_was_not_known(cast: Cast) -> None:
    unknown = cast.start("later")
    assert cast.seen.wait(unknown.fence).outcome == "unknown_target"
    before = cast.runner.knows
    cast.stage.functions.register("later" + cast.suffix, getattr(cast.stage.workload, "noop" + cast.suffix))
    cast.stage.functions.register("later" + cast.suffix, getattr(cast.stage.workload, "noop" + cast.suffix))
    eventually(lambda: len(cast.seen.items) == 2)
    assert cast.seen.items[1] == Learned(before + 1)
    assert cast.runner.knows == before + 1
    assert cast.run("later").outcome == "succeeded"


def test_close_gives_back_what_waits_and_ends_what_runs(cast: Cast) -> None:
    running = [cast.start("clean_up", str(cast.stage.path(name))) for name in ("a", "b")]
    eventually(lambda: cast.stage.path("a.begun").exists() and cast.stage.path("b.begun").exists())
    waiting = [cast.start("noop") for _ in range(20)]
    cast.runner.close(20 * SECOND)
    cast.runner.close(20 * SECOND)
    assert {o.outcome for o in cast.seen.wait_all([order.fence for order in running])} == {"cancelled"}
    assert {o.outcome for o in cast.seen.wait_all([order.fence for order in waiting])} == {"not_started"}
    late = cast.start("noop")
    assert cast.seen.wait(late.fence).outcome == "not_started"


def test_a_job_may_fork(cast: Cast) -> None:
    assert unpack(cast.run("fork").result) == 5


def test_orders_may_come_from_many_threads_at_once(cast: Cast) -> None:
    orders = [[cast.order("add", number) for number in range(200)] for _ in range(4)]
    starters = [threading.Thread(target=cast.runner.start, args=(part,)) for part in orders]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    cast.seen.wait_all([order.fence for part in orders for order in part])
    assert len(cast.seen.items) == 800
