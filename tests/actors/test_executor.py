from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from callsheet.actors.actor import deliver, sent
from callsheet.actors.executor.executor import AHEAD_US, Executor
from callsheet.actors.executor.runner import Begun, Capacity, Order, Outcome, Report
from callsheet.actors.messages import (
    Assign,
    AttemptsBegun,
    AttemptsEnded,
    MarksRead,
    Offer,
    Recorded,
    RunnerReported,
    Started,
    StockTaken,
    StopAttempts,
    TakeStock,
    TimerFired,
    Withdraw,
    Withdrawn,
)
from support.actors import NOW, SECOND


class FakeRunner:
    """A runner that only writes down what it is told."""

    capacity = Capacity(4, 4, 4, 4)

    def __init__(self) -> None:
        self.started: list[int] = []
        self.calls: list[tuple[Any, ...]] = []
        self.begun_fences: set[int] = set()
        self.knows = 3

    def open(self, report: Report) -> None:
        raise AssertionError("the node opens the runner")

    def start(self, orders: Sequence[Order]) -> None:
        self.started += [order.fence for order in orders]

    def stop(self, fence: int, reason: Any, grace_us: int) -> None:
        self.calls.append(("stop", fence, reason, grace_us))

    def withdraw(self, fences: Sequence[int]) -> None:
        self.calls.append(("withdraw", *fences))

    def forget(self, fences: Sequence[int]) -> None:
        self.calls.append(("forget", *fences))

    def held(self) -> Sequence[int]:
        return []

    def begun(self, incarnation: str) -> Begun:
        return Begun(incarnation, True, frozenset(self.begun_fences))

    def revoke(self, incarnation: str, fence: int) -> Begun:
        self.calls.append(("revoke", incarnation, fence))
        return Begun(incarnation, True, frozenset(self.begun_fences), dead=incarnation == "dead")

    def hold(self, held: bool) -> None:
        self.calls.append(("hold", held))

    def sweep(self, keep: Sequence[str]) -> None:
        self.calls.append(("sweep", *keep))

    def close(self, timeout_us: int) -> None:
        raise AssertionError("the node closes the runner")


def order(fence: int) -> Order:
    return Order(fence, fence * 10, 1, "t", "work", "thread", "work", b"")


def outcome(fence: int, took: int = 5) -> Outcome:
    return Outcome(fence, fence * 10, 1, "succeeded", NOW, NOW + took)


def working(*fences: int) -> tuple[Executor, FakeRunner]:
    runner = FakeRunner()
    executor = Executor(runner)
    deliver(executor, Started("n", "i"), Assign(1, tuple(map(order, fences))), now=NOW)
    return executor, runner


def test_an_order_that_comes_twice_is_started_once() -> None:
    executor, runner = working(1, 2)
    deliver(executor, Assign(1, (order(2), order(3))), now=NOW)
    assert runner.started == [1, 2, 3]


def test_an_order_of_an_older_epoch_is_dropped() -> None:
    executor, runner = working()
    deliver(executor, Assign(5, (order(1),)), Assign(4, (order(2),)), now=NOW)
    assert runner.started == [1]


def test_outcomes_are_sent_again_until_they_are_recorded() -> None:
    executor, runner = working(1)
    assert sent(deliver(executor, RunnerReported((outcome(1),)), now=NOW), AttemptsEnded)
    again = deliver(executor, TimerFired("resend"), now=NOW + 3 * SECOND)
    assert [it.outcomes for it in sent(again, AttemptsEnded)] == [(outcome(1),)]
    deliver(executor, Recorded((1,)), now=NOW)
    assert sent(deliver(executor, TimerFired("resend"), now=NOW + 6 * SECOND), AttemptsEnded) == []
    assert ("forget", 1) in runner.calls


def test_an_ended_attempt_whose_order_comes_again_is_not_started_again() -> None:
    executor, runner = working(1)
    deliver(executor, RunnerReported((outcome(1),)), Assign(1, (order(1),)), now=NOW)
    assert runner.started == [1]


def test_short_work_is_taken_ahead_and_long_work_is_not() -> None:
    short, _ = working(1)
    (offer,) = sent(deliver(short, RunnerReported((outcome(1, took=100),)), now=NOW), Offer)
    assert offer.room["thread"] == 4 + 4 * AHEAD_US // 100
    long, _ = working(1)
    assert sent(deliver(long, RunnerReported((outcome(1, took=SECOND),)), now=NOW), Offer) == []


def test_an_attempt_that_runs_long_is_said_to_have_begun_once() -> None:
    executor, runner = working(1, 2)
    runner.begun_fences = {1}
    deliver(executor, TimerFired("long"), now=NOW)
    first = deliver(executor, TimerFired("long"), now=NOW + SECOND)
    assert [it.begun for it in sent(first, AttemptsBegun)] == [((10, 1),)]
    assert sent(deliver(executor, TimerFired("long"), now=NOW + 2 * SECOND), AttemptsBegun) == []


def test_a_stop_reaches_the_runner_for_what_is_held_only() -> None:
    executor, runner = working(1)
    deliver(executor, StopAttempts(1, (1, 9), "timed_out", 7), now=NOW)
    assert runner.calls == [("stop", 1, "timed_out", 7)]


def test_what_was_withdrawn_in_vain_has_begun() -> None:
    executor, runner = working(1, 2)
    deliver(executor, Withdraw(1, "w", (1, 2, 9)), now=NOW)
    assert ("withdraw", 1, 2) in runner.calls
    given_back = Outcome(2, 20, 1, "not_started", 0, NOW)
    deliver(executor, RunnerReported((given_back,)), now=NOW)
    assert sent(deliver(executor, TimerFired("withdraw/w"), now=NOW), Withdrawn) == [
        Withdrawn("w", ((10, 1),), unknown=(9,))
    ]


def test_a_new_leader_learns_what_is_held_and_what_the_dead_have_marked() -> None:
    executor, runner = working(1, 2)
    deliver(executor, RunnerReported((outcome(2),)), now=NOW)
    runner.begun_fences = {7}
    effects = deliver(executor, TakeStock(2, ("dead",)), now=NOW)
    assert sent(effects, StockTaken) == [StockTaken(2, "n", "i", (1, 2), (MarksRead("dead", True, (7,), dead=True),))]
    assert [it.outcomes for it in sent(effects, AttemptsEnded)] == [(outcome(2),)], "what ended is said again"
