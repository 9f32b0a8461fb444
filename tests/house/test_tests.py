"""Tests do not wait by the clock, and see the code under one name only."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.source import (
    OUTSIDE_PACKAGE,
    ROOT,
    Module,
    assert_none,
    breaches,
    dotted,
    imports,
    modules_of_tests,
    plant,
)

# Where sleeping is right, by the beginning of the path, and why.
ALLOWED: dict[str, str] = {
    "tests/acceptance/": "jobs in real processes, which are killed and stopped while they sleep",
    "tests/shared/chaos/": "processes that are stopped and cut off for a while, and a load of so many jobs a second",
    "tests/shared/support/waiting.py": "it polls, up to a deadline",
}


def sleeps(module: Module) -> Iterator[str]:
    if str(module.path).startswith(tuple(ALLOWED)):
        return
    instead = "wait on an Event, a handle or a queue with a timeout, or by support.waiting.eventually"
    for each in imports(module):
        if each.name == "time.sleep":
            yield module.at(each.line, f"a test must not sleep; {instead}")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "time.sleep":
            yield module.at(node.lineno, f"a test must not sleep; {instead}")


def test_no_test_sleeps() -> None:
    assert_none(breaches(sleeps, modules_of_tests()))


@pytest.mark.parametrize("text", ["import time\ntime.sleep(1)", "from time import sleep"])
def test_a_planted_sleep_is_found(text: str) -> None:
    assert len(breaches(sleeps, [plant("tests/actors/test_host.py", text)])) == 1
    assert breaches(sleeps, [plant("tests/acceptance/test_kill.py", text)]) == []
    assert breaches(sleeps, [plant("tests/actors/test_host.py", "import time\ntime.monotonic()")]) == []


def test_no_folder_of_tests_is_a_package() -> None:
    packages = [str(module.path) for module in modules_of_tests() if module.path.name == "__init__.py"]
    assert packages == [], "tests are imported by path; remove these files"


def test_the_code_under_test_is_imported_as_callsheet_only() -> None:
    import callsheet

    twice = {
        name: file
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None))
        and name.partition(".")[0] != "callsheet"
        and Path(file).resolve().is_relative_to(ROOT)
        and Path(file).resolve().relative_to(ROOT).parts[0] not in {*OUTSIDE_PACKAGE, ".venv"}
    }

    assert Path(callsheet.__path__[0]).resolve() == ROOT
    assert twice == {}
