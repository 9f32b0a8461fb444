"""Names and sizes of modules and functions."""

import ast
import sys
from collections.abc import Iterator

import pytest

from support.source import Module, assert_none, breaches, modules, plant

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60

GENERIC_NAMES = ("common", "helper", "helpers", "misc", "util", "utilities", "utils")
# Paths whose name is also one of the standard library's, and why.
ALLOWED_NAMES: dict[str, str] = {}


def is_too_long(module: Module) -> Iterator[str]:
    lines = len(module.text.splitlines())
    if lines > MAX_MODULE_LINES:
        yield module.at(lines, f"{lines} lines, at most {MAX_MODULE_LINES}; split it by what it is about")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := _lines(node)) > MAX_FUNCTION_LINES:
            yield module.at(
                node.lineno, f"{node.name} has {lines} lines, at most {MAX_FUNCTION_LINES}; name its steps as functions"
            )


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which may be as long as its readers need."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    match function.body[0]:
        case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=int(last)):
            lines -= last - first + 1
    return lines


def says_nothing(module: Module) -> Iterator[str]:
    names = {module.name, *module.path.parts[:-1]}
    for name in sorted(names & {*GENERIC_NAMES}):
        yield module.at(1, f"{name} says nothing; name a module for the one thing it is about")
    if module.path.parts[0] != "tests" and str(module.path) not in ALLOWED_NAMES:
        for name in sorted(names & sys.stdlib_module_names):
            yield module.at(1, f"{name} is a module of the standard library; choose another name")


def test_modules_and_functions_fit_on_a_few_screens() -> None:
    assert_none(breaches(is_too_long, modules()))


def test_modules_are_named_for_what_they_are_about() -> None:
    assert_none(breaches(says_nothing, modules()))


def test_a_planted_long_module_is_found() -> None:
    assert len(breaches(is_too_long, [plant("errors.py", "x = 1\n" * (MAX_MODULE_LINES + 1))])) == 1
    assert breaches(is_too_long, [plant("errors.py", "x = 1\n" * MAX_MODULE_LINES)]) == []


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_planted_long_function_is_found(kind: str) -> None:
    docstring = '    """One.\n\n    Two.\n    """\n'
    fits = f"class A:\n {kind} f():\n{docstring}" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1)

    assert breaches(is_too_long, [plant("errors.py", fits)]) == []
    assert len(breaches(is_too_long, [plant("errors.py", fits + "    x = 1\n")])) == 1


@pytest.mark.parametrize(
    "path", ["utils.py", "actors/helpers.py", "tests/common.py", "utils/__init__.py", "client/queue.py", "logging/x.py"]
)
def test_a_planted_name_that_says_nothing_is_found(path: str) -> None:
    assert len(breaches(says_nothing, [plant(path, "")])) == 1
    assert breaches(says_nothing, [plant("actors/clock/clock.py", "")]) == []
