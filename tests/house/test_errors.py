"""Broad `except` belongs to the shell, and to the ports that call a user's code."""

import ast
from collections.abc import Iterator

import pytest

from support.source import Module, assert_none, breaches, dotted, modules, package_modules, plant

BROAD = ("Exception", "BaseException", "builtins.BaseException", "builtins.Exception")

# Where anything may be raised, and why. ruff's BLE001 wants a reason at the line as well.
ALLOWED: dict[str, str] = {
    "actors/executor/processes/pool.py": "the pool's thread must outlive a turn that failed, and logs it",
    "actors/host.py": "an actor that raises is thrown away and made anew; its thread must live to say so",
    "actors/executor/call.py": "a job may raise anything, SystemExit too; it becomes the outcome of its attempt",
    "actors/executor/capture.py": "formatting a job's log record calls the job's own code",
    "actors/executor/reporter.py": "the thread must outlive a report that failed, and logs it",
    "actors/executor/watch.py": "the thread must outlive a callback that failed, and logs it",
    "cli/application.py": "a fault of ours is told in one line as well, with what to do to see where",
    "cli/program.py": "a program that is loaded may raise anything; whoever ran it is told what and in which line",
    "transport/zeromq/loop.py": "whoever takes mail or news may raise; the lines to all others must stand",
    "data.py": "bytes from outside can break a decoder in any way; every failure is theirs, a DecodeError",
}


def catches_everything(module: Module) -> Iterator[str]:
    if str(module.path) in ALLOWED:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_again(node):
            yield module.at(
                node.lineno,
                "name the errors that are expected here, or end the handler with `raise`; a broad except is for the "
                "shell and for ports that call a user's code (ALLOWED in tests/house/test_errors.py, with its reason)",
            )
        if isinstance(node, ast.Call) and dotted(node.func) in ("suppress", "contextlib.suppress"):
            for argument in node.args:
                if _is_broad(argument):
                    yield module.at(node.lineno, "suppress the errors that are expected here, by name")


def _is_broad(caught: ast.expr | None) -> bool:
    match caught:
        case None:
            return True
        case ast.Tuple():
            return any(_is_broad(each) for each in caught.elts)
        case _:
            return dotted(caught) in BROAD


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_broad_excepts_stay_in_the_shell_and_the_ports() -> None:
    assert_none(breaches(catches_everything, package_modules()))


def test_each_allowed_broad_except_is_still_needed() -> None:
    there = {str(module.path): module for module in modules()}
    for path in ALLOWED.keys() & there.keys():
        bare = plant("elsewhere.py", there[path].text)
        assert breaches(catches_everything, [bare]), f"{path} has no broad except any more; take it off ALLOWED"


@pytest.mark.parametrize(
    "text",
    [
        "try: f()\nexcept: pass",
        "try: f()\nexcept Exception: pass",
        "try: f()\nexcept BaseException as e: log(e)",
        "try: f()\nexcept (ValueError, Exception): pass",
        "try: f()\nexcept Exception as e: raise DecodeError from e",
        "with contextlib.suppress(Exception): f()",
    ],
)
def test_a_planted_broad_except_is_found(text: str) -> None:
    assert len(breaches(catches_everything, [plant("client/scheduler.py", text)])) == 1
    assert breaches(catches_everything, [plant("actors/host.py", text)]) == []


@pytest.mark.parametrize(
    "text",
    [
        "try: f()\nexcept ValueError: pass",
        "try: f()\nexcept BaseException:\n    undo()\n    raise",
        "with suppress(KeyError): f()",
    ],
)
def test_a_narrow_except_and_a_clean_up_are_no_breach(text: str) -> None:
    assert breaches(catches_everything, [plant("client/scheduler.py", text)]) == []
