"""Who may import whom, and which module knows which library."""

from collections.abc import Iterator

import pytest

from support.source import Import, Module, assert_none, breaches, imports, package_modules, plant

ABOVE = ("callsheet.cli", "callsheet.client", "callsheet.node", "callsheet.personas", "callsheet.web")

# What a folder must not import, what of it it may all the same, and what to do instead.
LAYERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "actors": (
        ("callsheet.transport", *ABOVE),
        (),
        "an actor sends by its turn, and the node wires it to a transport",
    ),
    "transport": (
        ("callsheet.actors", *ABOVE),
        ("callsheet.actors.actor", "callsheet.actors.messages", "callsheet.actors.records"),
        "a transport knows only the contract: actors.messages, actors.actor, actors.records",
    ),
    "triggers": (
        ("callsheet.actors", "callsheet.transport", *ABOVE),
        (),
        "a trigger is a pure function of an instant; what it needs comes as an argument",
    ),
}

# The one module (ends in .py) or folder (ends in /) of the package that knows a library, and what
# everybody else does instead.
OWNERS: dict[str, tuple[str, str]] = {
    "croniter": ("triggers/", "compute the next instant by callsheet.triggers"),
    "dateutil": ("triggers/", "compute the next instant by callsheet.triggers"),
    "msgpack": ("data.py", "encode and decode by callsheet.data or transport.codec, which set the limits"),
    "prometheus_client": ("actors/metrics/", "report an event by turn.emit; the metrics actor counts it"),
    "psycopg": ("actors/persistence/", "go through the store contract"),
    "pykka": ("actors/host.py", "let the shell of actors.host run it"),
    "redis": ("actors/persistence/", "go through the store contract"),
    "rich": ("cli/", "return data and let the command show it"),
    "sqlite3": ("actors/persistence/", "go through the store contract"),
    "starlette": ("web/", "answer data and let callsheet.web serve it"),
    "typer": ("cli/", "take arguments in the command only"),
    "uvicorn": ("web/", "answer data and let callsheet.web serve it"),
    "zmq": ("transport/zeromq/", "use the transport contract"),
}
# Of these folders, a single module.
IN_ONE_MODULE = ("croniter",)
# Who else may import a library, and why.
ALSO: dict[str, dict[str, str]] = {
    "msgpack": {"transport/codec.py": "the bytes of an envelope are its own affair"},
    "zmq": {"transport/security/curve.py": "keys, handshakes and the options of CURVE"},
}


def crosses_a_layer(module: Module) -> Iterator[str]:
    banned, allowed, instead = LAYERS.get(module.path.parts[0], ((), (), ""))
    for each in imports(module):
        if each.within(*banned) and not each.within(*allowed):
            yield module.at(each.line, f"{module.path.parts[0]} must not import {each.name}; {instead}")


def borrows_a_library(module: Module) -> Iterator[str]:
    for each in imports(module):
        owner, instead = OWNERS.get(_library(each), ("", ""))
        if not str(module.path).startswith(owner) and str(module.path) not in ALSO.get(_library(each), {}):
            yield module.at(each.line, f"only {owner} may import {_library(each)}; {instead}")


def imports_absolutely(module: Module) -> Iterator[str]:
    for each in imports(module):
        if each.within("callsheet") and not each.relative:
            yield module.at(each.line, f"import {each.name} relatively: from .module import name")


def _library(imported: Import) -> str:
    return "" if imported.relative else imported.name.partition(".")[0]


def test_each_layer_imports_only_what_lies_below_it() -> None:
    assert_none(breaches(crosses_a_layer, package_modules()))


def test_each_library_is_known_to_one_place() -> None:
    assert_none(breaches(borrows_a_library, package_modules()))


@pytest.mark.parametrize("library", IN_ONE_MODULE)
def test_some_libraries_are_known_to_one_module(library: str) -> None:
    knowing = {
        str(module.path) for module in package_modules() for each in imports(module) if _library(each) == library
    }
    assert len(knowing) <= 1, f"{sorted(knowing)} import {library}; let one wrap it for the others"


def test_the_package_imports_itself_relatively() -> None:
    assert_none(breaches(imports_absolutely, package_modules()))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("transport/zeromq.py", "from ..actors.host import Shell"),
        ("transport/zeromq.py", "from ..actors import host"),
        ("transport/deep/er.py", "from ...actors.clock.clock import Clock"),
        ("transport/codec.py", "from ..cli import main"),
        ("actors/clock/clock.py", "from ...transport.codec import encode"),
        ("actors/clock/clock.py", "def late():\n    from ... import transport"),
        ("actors/host.py", "from ..client import Scheduler"),
        ("triggers/cron.py", "from ..actors.records import Job"),
        ("triggers/__init__.py", "import callsheet.client.scheduler"),
    ],
)
def test_a_planted_crossing_is_found(path: str, text: str) -> None:
    assert len(breaches(crosses_a_layer, [plant(path, text)])) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "transport/codec.py",
            "from ..actors.messages import Submit\nfrom ..actors import records\nfrom ..errors import X",
        ),
        ("actors/clock/clock.py", "from ..messages import Due\nfrom ...triggers import Trigger"),
        ("client/scheduler.py", "from ..transport.in_process import InProcess\nfrom ..actors.host import Shell"),
    ],
)
def test_a_legal_import_is_no_crossing(path: str, text: str) -> None:
    assert breaches(crosses_a_layer, [plant(path, text)]) == []


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_planted_borrowing_is_found_and_the_owner_is_not(library: str) -> None:
    owner = OWNERS[library][0]
    home = owner if owner.endswith(".py") else owner + "module.py"

    for text in (f"import {library}", f"import {library}.x as y", f"from {library} import z"):
        assert len(breaches(borrows_a_library, [plant("errors.py", text)])) == 1
        assert breaches(borrows_a_library, [plant(home, text)]) == []
    assert breaches(borrows_a_library, [plant("errors.py", f"from .{library} import z")]) == []
    assert len(breaches(borrows_a_library, [plant("errors.py", f"importlib.import_module('{library}')")])) == 1


@pytest.mark.parametrize(
    "text", ["import callsheet", "from callsheet.actors import host", "import callsheet.errors as e"]
)
def test_a_planted_absolute_import_is_found(text: str) -> None:
    assert len(breaches(imports_absolutely, [plant("actors/host.py", text)])) == 1
    assert breaches(imports_absolutely, [plant("actors/host.py", "from ..errors import CallsheetError")]) == []
