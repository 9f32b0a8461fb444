"""An actor touches nothing but its turn, and its effects do not depend on the order of a set."""

import ast
from collections.abc import Iterable, Iterator

import pytest

from support.source import Module, assert_none, breaches, dotted, imports, package_modules, plant

ROOMS = ("clock", "coordinator", "dependencies", "metrics", "registry")
# Rooms with a port to the world: there only the actor itself is held to the rule.
ACTORS_WITH_A_PORT = ("actors/executor/executor.py", "actors/persistence/persistence.py")
# The shell is where the world begins.
SHELL = ("actors/host.py", "actors/inbox.py")

_CLOCK = "take the instant from turn.now (UTC) or turn.elapsed (only grows), and wait by turn.set_timer"
_CHANCE = "let the host or the message bring the number, so that a run of the simulator repeats"
_THREADS = "append an effect to the turn; the host or the executor's runner performs it"
_WORLD = "go through the port of persistence or of the executor"
_REPORT = "report an event by turn.emit; logging and counting subscribe"

BANNED_MODULES = {
    **dict.fromkeys(("time", "sched"), _CLOCK),
    **dict.fromkeys(("random", "secrets", "uuid"), _CHANCE),
    **dict.fromkeys(
        ("asyncio", "concurrent", "multiprocessing", "queue", "signal", "subprocess", "threading"), _THREADS
    ),
    **dict.fromkeys(("io", "os", "pathlib", "select", "selectors", "shutil", "socket", "ssl", "tempfile"), _WORLD),
    "logging": _REPORT,
}
BANNED_CALLS = {
    **dict.fromkeys(("breakpoint", "eval", "exec", "input", "open"), _WORLD),
    "hash": "use zlib.crc32: the hash of a text differs from process to process",
    "print": _REPORT,
}
BANNED_METHODS = {"now": _CLOCK, "today": _CLOCK, "utcnow": _CLOCK}
DATE_TYPES = ("date", "datetime")

SET_METHODS = ("difference", "intersection", "symmetric_difference", "union")
ORDERED_ANYHOW = ("all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
KEEPS_ORDER = ("enumerate", "iter", "list", "reversed", "tuple", "zip")


def is_actor_code(module: Module) -> bool:
    path = str(module.path)
    match module.path.parts:
        case ("actors", room, _, *_) if room in ROOMS:
            return True
        case ("actors", _):
            return path not in SHELL
        case _:
            return path in ACTORS_WITH_A_PORT


def touches_the_world(module: Module) -> Iterator[str]:
    if not is_actor_code(module):
        return
    for each in imports(module):
        if not each.relative and (instead := BANNED_MODULES.get(each.name.partition(".")[0])):
            yield module.at(each.line, f"an actor must not import {each.name}; {instead}")
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        *owner, called = dotted(node.func).split(".")
        if not owner and (instead := BANNED_CALLS.get(called)):
            yield module.at(node.lineno, f"an actor must not call {called}(); {instead}")
        if owner and owner[-1] in DATE_TYPES and (instead := BANNED_METHODS.get(called)):
            yield module.at(node.lineno, f"an actor must not call {'.'.join(owner)}.{called}(); {instead}")


def iterates_a_set(module: Module) -> Iterator[str]:
    if module.path.parts[0] != "actors":
        return
    attributes = {name for name in _names_of_sets(ast.walk(module.tree)) if "." in name}
    harmless = {
        id(argument)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and dotted(node.func) in ORDERED_ANYHOW
        for argument in node.args
    }
    for nodes, known in _scopes(module.tree, attributes):
        for line in (line for line, iterated in _iterated(nodes, harmless) if _is_set(iterated, known)):
            yield module.at(
                line, "the order of a set differs from run to run; iterate sorted(…), or keep a dict or a list"
            )


def _scopes(scope: ast.AST, known: set[str]) -> Iterator[tuple[list[ast.AST], set[str]]]:
    """The nodes of each scope with the names of sets that are known there, its functions' after its own."""
    nodes: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        if not isinstance(node, FUNCTIONS):
            waiting.extend(ast.iter_child_nodes(node))
    known = known | set(_names_of_sets(nodes))
    yield nodes, known
    for node in nodes:
        if isinstance(node, FUNCTIONS):
            yield from _scopes(node, known)


def _iterated(nodes: list[ast.AST], harmless: set[int]) -> Iterator[tuple[int, ast.expr]]:
    """What is iterated where the order can be seen; not so within the harmless ones."""
    for node in nodes:
        match node:
            case ast.For() | ast.AsyncFor():
                yield node.lineno, node.iter
            case ast.ListComp() | ast.DictComp() | ast.GeneratorExp() if id(node) not in harmless:
                yield from ((node.lineno, generator.iter) for generator in node.generators)
            case ast.Call() if dotted(node.func) in KEEPS_ORDER and id(node) not in harmless:
                yield from ((node.lineno, argument) for argument in node.args)
            case ast.Starred():
                yield node.lineno, node.value


def _is_set(node: ast.expr, known: set[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Call(func=ast.Attribute(attr=method, value=value)) if method in SET_METHODS:
            return _is_set(value, known)
        case ast.BinOp(op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
            return _is_set(node.left, known) or _is_set(node.right, known)
        case ast.Name() | ast.Attribute():
            return dotted(node) in known
        case _:
            return False


def _names_of_sets(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Variables and attributes that are annotated as a set or given one."""
    for node in nodes:
        match node:
            case ast.AnnAssign(target=target, annotation=annotation) if _says_set(annotation):
                yield dotted(target)
            case ast.arg(arg=name, annotation=ast.expr() as annotation) if _says_set(annotation):
                yield name
            case ast.Assign(targets=[target], value=value) if _is_set(value, set()):
                yield dotted(target)


def _says_set(annotation: ast.expr) -> bool:
    base = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return dotted(base).rpartition(".")[2] in ("AbstractSet", "MutableSet", "Set", "frozenset", "set")


def test_actors_touch_nothing_but_their_turn() -> None:
    assert_none(breaches(touches_the_world, package_modules()))


def test_no_effect_depends_on_the_order_of_a_set() -> None:
    assert_none(breaches(iterates_a_set, package_modules()))


@pytest.mark.parametrize("name", sorted(BANNED_MODULES))
def test_a_planted_module_of_the_world_is_found(name: str) -> None:
    for text in (f"import {name}", f"import {name} as other", f"def f():\n    from {name} import x"):
        for path in ("actors/clock/clock.py", "actors/metrics/deep/er.py", "actors/messages.py", *ACTORS_WITH_A_PORT):
            assert len(breaches(touches_the_world, [plant(path, text)])) == 1


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}('x')" for name in sorted(BANNED_CALLS)),
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "x = [date.today()]",
    ],
)
def test_a_planted_call_to_the_world_is_found(text: str) -> None:
    assert len(breaches(touches_the_world, [plant("actors/registry/registry.py", text)])) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("actors/host.py", "import threading"),
        ("actors/executor/runner.py", "import subprocess\nimport time"),
        ("actors/persistence/sqlite.py", "open('x')"),
        ("actors/clock/clock.py", "from datetime import datetime, time\nfrom .time import x\nturn.now + store.open()"),
    ],
)
def test_the_world_is_open_to_ports_and_shell(path: str, text: str) -> None:
    assert breaches(touches_the_world, [plant(path, text)]) == []


@pytest.mark.parametrize(
    "text",
    [
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "for i, x in enumerate(frozenset(y)): pass",
        "for x in {z for z in y}: pass",
        "for x in set(a) - b: pass",
        "for x in set(a).union(b): pass",
        "y = [x for x in set(a)]",
        "y = list({1, 2})",
        "y = [*set(a)]",
        "class A:\n    def f(self):\n        self.waiting: set[int] = set()\n        for x in self.waiting: pass",
        "def f(ready: set[str]):\n    return tuple(ready)",
        "ready = set()\nturn.send([x for x in ready])",
        "ready = set()\ndef f():\n    for x in ready: pass",
    ],
)
def test_a_planted_iteration_over_a_set_is_found(text: str) -> None:
    assert len(breaches(iterates_a_set, [plant("actors/clock/clock.py", text)])) == 1


@pytest.mark.parametrize(
    "text",
    [
        "for x in sorted({1, 2}): pass",
        "y = sorted(x for x in {1, 2})",
        "y = any(x for x in {1, 2})",
        "y = {x for x in {1, 2}}",
        "y = sorted(list({1, 2}))",
        "ready = {}\nfor x in ready: pass",
        "x = 1 in {1, 2}",
        "def f(x: set[int]): pass\ndef g(x: list[int]):\n    for y in x: pass",
    ],
)
def test_an_order_that_is_made_or_not_seen_is_no_breach(text: str) -> None:
    assert breaches(iterates_a_set, [plant("actors/clock/clock.py", text)]) == []
