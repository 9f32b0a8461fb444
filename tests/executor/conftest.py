"""What the tests of the runner share: a runner that is open, a collector of what it reports, orders, and a deadline."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from callsheet.actors.executor.functions import Functions
from callsheet.actors.executor.local_runner import LocalRunner
from callsheet.actors.executor.runner import Freed, Order, Outcome, Reported
from callsheet.actors.records import ExecutorKind
from callsheet.data import pack_call

PATIENCE_S = 30.0


class Collector:
    """Keeps what a runner reports, and lets a test wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.items: list[Reported] = []
        self.batches: list[int] = []

    def __call__(self, items: Sequence[Reported]) -> None:
        with self._changed:
            self.items.extend(items)
            self.batches.append(len(items))
            self._changed.notify_all()

    @property
    def outcomes(self) -> list[Outcome]:
        return [item for item in list(self.items) if isinstance(item, Outcome)]

    def of(self, fence: int) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.fence == fence]

    def freed(self, fence: int) -> bool:
        return any(isinstance(item, Freed) and item.fence == fence for item in list(self.items))

    def wait(self, fence: int, patience_s: float = PATIENCE_S) -> Outcome:
        """Wait for the outcome of an order."""
        return self.wait_all([fence], patience_s)[0]

    def wait_all(self, fences: Sequence[int], patience_s: float = PATIENCE_S) -> list[Outcome]:
        """Wait for the outcomes of all these, in their order."""
        with self._changed:
            assert self._changed.wait_for(lambda: {o.fence for o in self.outcomes} >= set(fences), patience_s), (
                f"no outcome of {sorted(set(fences) - {o.fence for o in self.outcomes})[:10]} within {patience_s} s"
            )
        by_fence = {outcome.fence: outcome for outcome in self.outcomes}
        return [by_fence[fence] for fence in fences]


class Stage:
    """A runner with the functions of the workload, and what it reported."""

    def __init__(self, workload: ModuleType, folder: Path, **options: Any) -> None:
        self.workload = workload
        self.folder = folder
        self.functions = Functions()
        for name, value in vars(workload).items():
            if callable(value) and getattr(value, "__module__", "") == workload.__name__:
                self.functions.register(name, value)
        self.seen = Collector()
        settings: dict[str, Any] = {
            "incarnation": "here",
            "marks_folder": folder / "marks",
            "processes": 2,
            "allow_commands": True,
        }
        self.runner = LocalRunner(self.functions, **(settings | options))
        self.runner.open(self.seen)
        self._fences = itertools.count(1)

    def order(self, target: str, *args: Any, kind: ExecutorKind = "thread", **fields: Any) -> Order:
        """Make an order with the next fence."""
        fence = next(self._fences)
        kwargs = fields.pop("kwargs", {})
        arguments = pack_call(args, kwargs, what="arguments", limit=1 << 20)
        settings: dict[str, Any] = {"run_id": 1000 + fence, "attempt": 1, "tenant": "default", "job": target} | fields
        return Order(fence=fence, kind=kind, target=target, arguments=arguments, **settings)

    def run(self, target: str, *args: Any, **fields: Any) -> Outcome:
        """Order one attempt and wait for its outcome."""
        order = self.order(target, *args, **fields)
        self.runner.start([order])
        return self.seen.wait(order.fence)

    def path(self, name: str) -> Path:
        return self.folder / name

    def close(self) -> None:
        self.runner.close(10_000_000)


@pytest.fixture(scope="session")
def workload() -> ModuleType:
    file = Path(__file__).with_name("workload.py")
    spec = importlib.util.spec_from_file_location("executor_workload", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_stage(workload: ModuleType, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make(**options: Any) -> Stage:
        stages.append(Stage(workload, tmp_path, **options))
        return stages[-1]

    yield make
    for stage in stages:
        (tmp_path / "go").touch()
        stage.close()


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()
