"""What the tests of the face share: schedulers on both stores that end with the test, and things jobs can wait for."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from callsheet import Scheduler
from support.reached import Make, add_echo_and_fail

PATIENCE_S = 20.0


class Gate:
    """What a job stands before: the test sees it come, and lets it pass."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self, *_: Any) -> int:
        with self._lock:
            self.count += 1
            number = self.count
        self.reached.set()
        assert self.opened.wait(PATIENCE_S), "nobody opened the gate"
        return number

    def wait_reached(self) -> None:
        assert self.reached.wait(PATIENCE_S), "no job came to the gate"

    def open(self) -> None:
        self.opened.set()


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """A store that outlives its scheduler."""
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes schedulers, not started yet, that are stopped at the end."""
    made: list[Scheduler] = []

    def make_one(store: str | None = None, **options: Any) -> Scheduler:
        made.append(Scheduler(store, **{"threads": 4, "processes": 1, "drain_timeout": 2.0, **options}))
        return made[-1]

    yield make_one
    for scheduler in made:
        scheduler.stop(drain_timeout=0)


@pytest.fixture
def scheduler(make: Make, store_url: str) -> Scheduler:
    """A scheduler that runs, on each store."""
    return make(store_url).start()


@pytest.fixture
def one(make: Make) -> Scheduler:
    """A scheduler that runs, on the store in memory, for what no store has a part in."""
    return make("memory://").start()


@pytest.fixture
def node(make: Make) -> Scheduler:
    """A scheduler that runs, that anybody on this machine may reach, with the jobs `echo` and `fail`."""
    return add_echo_and_fail(make("memory://", processes=0, listen="tcp://127.0.0.1:*")).start()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


@pytest.fixture
def gates() -> Iterator[Callable[[], Gate]]:
    made: list[Gate] = []

    def make_one() -> Gate:
        made.append(Gate())
        return made[-1]

    yield make_one
    for each in made:
        each.open()


@pytest.fixture(scope="session")
def workload() -> ModuleType:
    """Functions in a file of their own, where worker processes find them."""
    file = Path(__file__).with_name("workload.py")
    spec = importlib.util.spec_from_file_location("client_workload", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
