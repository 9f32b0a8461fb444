"""What tests of an executor share: a runner that only writes down what it is told, orders and outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from callsheet.actors.actor import deliver
from callsheet.actors.executor.executor import Executor
from callsheet.actors.executor.runner import Begun, Capacity, Order, Outcome, Report
from callsheet.actors.messages import Assign, Started
from support.actors import NOW


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
        return Begun(incarnation, True, frozenset(self.begun_fences), dead=incarnation == "dead", revoked=fence)

    def hold(self, held: bool) -> None:
        self.calls.append(("hold", held))

    def left(self) -> Sequence[str]:
        return ["dead", "buried"]

    def sweep(self, incarnations: Sequence[str]) -> None:
        self.calls.append(("sweep", *incarnations))

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
