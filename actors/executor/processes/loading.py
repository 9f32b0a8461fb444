"""Finding a function in a worker process, by the location its parent sent.

A module is imported by its name, if the name leads to the file that the parent has loaded; else the file is loaded under
that name. The program's own script is loaded under `MAIN_NAME`, which is not `__main__`, so that its guard holds.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ..functions import Location
from .inside import WorkerReachedRun

MAIN_NAME: Final = "__callsheet_main__"


class NotFound(LookupError):
    """There is no such function where the parent said."""


def load(location: Location) -> Callable[..., Any]:
    """Answer the function at a location.

    Raises:
        NotFound: no module, no file or no such name is there.
        BaseException: what the module's own code raises when it is imported.
    """
    module = _load_module(location)
    found: Any = module
    for part in location.qualname.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise NotFound(f"{_where(location)} has no {location.qualname}")
    if not callable(found):
        raise NotFound(f"{location.qualname} in {_where(location)} is no function")
    return found  # type: ignore[no-any-return]  # any callable is one


def _load_module(location: Location) -> ModuleType:
    name = location.module or MAIN_NAME
    loaded = sys.modules.get(name)
    if loaded is not None and (not location.file or _same_file(getattr(loaded, "__file__", None), location.file)):
        return loaded
    spec = _spec_by_name(location) if location.module else None
    if spec is None and location.file and Path(location.file).is_file():
        spec = importlib.util.spec_from_file_location(name, location.file)
    if spec is None or spec.loader is None:
        raise NotFound(f"{_where(location)} is not there")
    return _execute(spec)


def _spec_by_name(location: Location) -> ModuleSpec | None:
    try:
        spec = importlib.util.find_spec(location.module)  # imports the packages above it
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or (location.file and not _same_file(spec.origin, location.file)):
        return None
    return spec


def _execute(spec: ModuleSpec) -> ModuleType:
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except WorkerReachedRun:
        return module
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    return sys.modules.get(spec.name, module)  # a module may put something else in its place


def _same_file(one: str | None, other: str) -> bool:
    return one is not None and Path(one).resolve() == Path(other)


def _where(location: Location) -> str:
    return f"module {location.module}" if location.module else f"script {location.file}"
