"""The checkout as text and syntax trees, for the house rules.

A rule is a function from a module to its breaches. `plant` makes a module of a string, so that
each rule is also shown something it must find.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[3]

# What a clone does not have, and what is not ours.
NOT_SOURCE = re.compile(
    r"^(\.git|\.venv|\.idea|\.vscode|\.\w+_cache|\.hypothesis|__pycache__|build|dist|.*\.egg-info)$"
    r"|.*(\.py[cod]|\.db|\.sqlite|\.db-\w+|\.sqlite-\w+|\.swp)$"
)
# Folders of the root that are no part of the package.
OUTSIDE_PACKAGE = frozenset({"benchmarks", "demo", "docs", "examples", "scripts", "tests"})


@dataclass(frozen=True)
class Module:
    """A Python file: its path in the checkout, its text and its syntax tree."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The file's name without `.py`, or its folder's for an `__init__.py`."""
        return self.path.parent.name if self.path.stem == "__init__" else self.path.stem

    def at(self, line: int, what: str) -> str:
        return f"{self.path}:{line}: {what}"


@dataclass(frozen=True)
class Import:
    """One imported thing, by its absolute dotted name: `from ..actors import actor` is callsheet.actors.actor."""

    name: str
    line: int
    relative: bool

    def within(self, *packages: str) -> bool:
        return any(self.name == package or self.name.startswith(package + ".") for package in packages)


Rule = Callable[[Module], Iterable[str]]


def plant(path: str, text: str) -> Module:
    return Module(PurePosixPath(path), text, ast.parse(text))


@cache
def files() -> tuple[PurePosixPath, ...]:
    """Every file of the checkout that a clone has or will have, sorted."""
    return tuple(sorted(PurePosixPath(path.relative_to(ROOT)) for path in _walk(ROOT)))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if NOT_SOURCE.match(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.is_file():
            yield path


@cache
def modules() -> tuple[Module, ...]:
    """Every Python file of the checkout."""
    found = tuple(plant(str(path), (ROOT / path).read_text("utf-8")) for path in files() if path.suffix == ".py")
    assert found, f"no Python file below {ROOT}"
    return found


def package_modules() -> tuple[Module, ...]:
    """The files of the package `callsheet`."""
    found = tuple(module for module in modules() if module.path.parts[0] not in OUTSIDE_PACKAGE)
    assert found, f"no module of the package below {ROOT}"
    return found


def modules_of_tests() -> tuple[Module, ...]:
    found = tuple(module for module in modules() if module.path.parts[0] == "tests")
    assert found, f"no test below {ROOT}"
    return found


def breaches(rule: Rule, among: Iterable[Module]) -> list[str]:
    return [breach for module in among for breach in rule(module)]


def assert_none(found: Iterable[str]) -> None:
    """Fails with all that was found, a line each."""
    lines = list(found)
    assert not lines, "\n" + "\n".join(lines)


def imports(module: Module) -> Iterator[Import]:
    """What a module imports, wherever in it, also for types only or by `import_module("…")`."""
    package = ("callsheet", *module.path.parts[:-1])
    for node in ast.walk(module.tree):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield Import(alias.name, node.lineno, relative=False)
            case ast.ImportFrom():
                base = package[: len(package) - node.level + 1] if node.level else ()
                origin = ".".join((*base, node.module) if node.module else base)
                for alias in node.names:
                    yield Import(f"{origin}.{alias.name}", node.lineno, relative=node.level > 0)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                match node.args:
                    case [ast.Constant(value=str(name)), *_]:
                        yield Import(name, node.lineno, relative=name.startswith("."))


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute chain, "" for anything else."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return f"{front}.{node.attr}" if (front := dotted(node.value)) else ""
        case _:
            return ""
