"""A constant of a module says that it is one, so that the type checker holds everybody to it."""

import ast
import re
from collections.abc import Iterator

import pytest

from support.source import Module, assert_none, breaches, dotted, modules, package_modules, plant

CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]+")
# Modules that do without, and why.
ALLOWED: dict[str, str] = {
    "actors/executor/warden_process.py": "it imports nothing but what every interpreter has loaded, and typing is not",
}


def leaves_a_constant_open(module: Module) -> Iterator[str]:
    if str(module.path) in ALLOWED:
        return
    for node in module.tree.body:
        for name in _constants(node):
            yield module.at(node.lineno, f"{name} may be set by anybody; write {name}: Final = …")


def _constants(statement: ast.stmt) -> Iterator[str]:
    """The constants that a statement sets without calling them final."""
    match statement:
        case ast.Assign(targets=targets):
            assigned = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        case ast.AnnAssign(target=ast.Name() as name, annotation=annotation) if not _is_final(annotation):
            assigned = [name]
        case _:
            assigned = []
    yield from (name.id for name in assigned if isinstance(name.ctx, ast.Store) and CONSTANT.fullmatch(name.id))


def _is_final(annotation: ast.expr) -> bool:
    return dotted(annotation.value if isinstance(annotation, ast.Subscript) else annotation) in (
        "Final",
        "typing.Final",
    )


def test_each_constant_of_the_package_is_final() -> None:
    assert_none(breaches(leaves_a_constant_open, package_modules()))


def test_each_module_that_does_without_still_has_constants() -> None:
    there = {str(module.path): module for module in modules()}
    for path in ALLOWED:
        bare = plant("elsewhere.py", there[path].text)
        assert breaches(leaves_a_constant_open, [bare]), f"{path} has no open constant any more; take it off ALLOWED"


@pytest.mark.parametrize("text", ["LIMIT = 1", "_LIMIT = 1", "A1, B1 = 1, 2", "LIMITS: dict[str, int] = {}"])
def test_a_planted_open_constant_is_found(text: str) -> None:
    assert breaches(leaves_a_constant_open, [plant("errors.py", text)])


@pytest.mark.parametrize(
    "text",
    [
        "LIMIT: Final = 1",
        "LIMITS: Final[dict[str, int]] = {}",
        "LIMIT: typing.Final = 1",
        "Result = TypeVar('Result')",
        "T = 1",
        "limit = 1",
        "def f():\n    LIMIT = 1",
        "LIMITS[1] = 2",
    ],
)
def test_what_is_final_or_no_constant_is_no_breach(text: str) -> None:
    assert breaches(leaves_a_constant_open, [plant("errors.py", text)]) == []
