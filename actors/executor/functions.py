"""The node's own table of functions: the only place where a name becomes code.

Jobs, orders and stores carry names. A name that is not in this table is `unknown_target`, whatever it says; nothing is ever
imported because data asked for it. A function is registered by the program itself, and stays the function it was.

A worker process holds no table. It is sent a `Location` (a module or a file, and a qualified name) by its own parent, which
looked the name up here; so a closure, a lambda or a bound method, which has no place to be found at, cannot run there.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

from msgspec import Struct

from ...errors import DefinitionError

FunctionKind = Literal["sync", "async"]
Backoff = Callable[[int], float | timedelta]
"""Answers how long to wait before the next attempt (seconds or a timedelta), given the number of the one that failed."""

CONTEXT_NAME: Final = "ctx"
_UNBOUNDED: Final = sys.maxsize


class Location(Struct, frozen=True, array_like=True):
    """Where a worker process finds a function: in the module of this name, or else in the file, under the qualified name."""

    module: str
    file: str
    qualname: str


class Function:
    """A registered function: what it is called with, and where it can be found.

    `kind` says whether it answers a coroutine. `wants_context` is true when its first parameter is named `ctx`: it is then
    called with a `Context` before everything else. `backoff` is the job's own wait between attempts, or None.
    """

    __slots__ = ("_location", "_shape", "backoff", "call", "kind", "name", "wants_context")

    def __init__(self, name: str, call: Callable[..., Any], backoff: Backoff | None = None) -> None:
        self.name = name
        self.call = call
        self.backoff = backoff
        self.kind: FunctionKind = "async" if _answers_coroutine(call) else "sync"
        signature = _signature(call)
        self.wants_context = signature is not None and _first_name(signature) == CONTEXT_NAME
        self._shape = _Shape(signature, self.wants_context)
        self._location: Location | None = None

    def __repr__(self) -> str:
        return f"<Function {self.name!r}: {self.call!r}>"

    def check_call(self, args: Sequence[Any], kwargs: Mapping[str, Any], handed: int = 0) -> None:
        """Check that arguments fit the signature; `handed` upstreams' results stand before them.

        Raises:
            DefinitionError: they do not fit; the text says what is missing or too much.
        """
        if not self._shape.fits(len(args) + handed, kwargs):
            fault = self._shape.fault((None,) * handed + tuple(args), kwargs)
            if fault:
                raise DefinitionError(self._misfit(fault, handed))

    def locate(self) -> Location:
        """Answer where a worker process finds this function.

        Raises:
            DefinitionError: it has no such place; the text says why and what to do.
        """
        if self._location is None:
            self._location = _locate(self.name, self.call)
        return self._location

    def check_place(self) -> None:
        """Check that a worker process could find this function once its module is complete; for use by a decorator.

        While a decorator runs, the name it decorates is not there yet. `locate` follows it, when the function is needed.

        Raises:
            DefinitionError: it has no place to be found at; the text says why and what to do.
        """
        _find_place(self.name, self.call)

    def _misfit(self, fault: str, handed: int) -> str:
        before = f" after {handed} upstream result(s)" if handed else ""
        return f"job {self.name!r}: the arguments{before} do not fit {self._shape.text}: {fault}; correct the call or the function"


class Functions:
    """The table of a node. Safe to use from any thread; a name that is registered again means the newer function."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, Function] = {}
        self._listeners: list[Callable[[], None]] = []

    def register(self, name: str, function: Callable[..., Any], *, backoff: Backoff | None = None) -> Function:
        """Put a function under a name.

        Raises:
            DefinitionError: as `make`.
        """
        made = self.make(name, function, backoff=backoff)
        self.put(made)
        return made

    def make(self, name: str, function: Callable[..., Any], *, backoff: Backoff | None = None) -> Function:
        """Look at a function, without putting it into the table.

        Raises:
            DefinitionError: it cannot be called, or what it yields is not a result (an async generator).
        """
        if not callable(function):
            raise DefinitionError(f"job {name!r}: expected a function, found {type(function).__name__}")
        if inspect.isasyncgenfunction(function):
            raise DefinitionError(f"job {name!r}: an async generator has no result; return a list instead")
        return Function(name, function, backoff)

    def put(self, made: Function) -> None:
        """Put what `make` answered into the table."""
        with self._lock:
            is_new = made.name not in self._by_name
            self._by_name[made.name] = made
            listeners = list(self._listeners) if is_new else []
        for listener in listeners:
            listener()

    @property
    def count(self) -> int:
        """How many names are known; none is ever forgotten."""
        return len(self._by_name)

    def listen(self, listener: Callable[[], None]) -> None:
        """Have it called after each new name, by the thread that put it."""
        with self._lock:
            self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Call it no more; one that is called just now is not waited for."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def find(self, name: str) -> Function | None:
        """Answer the function of this name, or None."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        """Answer all names, sorted."""
        with self._lock:
            return sorted(self._by_name)


class _Shape:
    """What calls a signature takes, precomputed so that the usual check is two comparisons."""

    __slots__ = ("_context", "_fewest", "_keywords", "_most", "_positional", "_required_keywords", "_signature", "text")

    def __init__(self, signature: inspect.Signature | None, context: bool) -> None:
        self._signature = signature
        self._context = context
        self.text = str(signature)
        parameters = list(signature.parameters.values())[1 if context else 0 :] if signature else []
        kinds = {parameter.kind for parameter in parameters}
        places = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
        self._positional = tuple((p.name, p.default is p.empty, p.kind is p.POSITIONAL_ONLY) for p in places)
        self._fewest = sum(required for _, required, _ in self._positional)
        variable = signature is None or inspect.Parameter.VAR_POSITIONAL in kinds
        self._most = _UNBOUNDED if variable else len(places)
        named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self._required_keywords = frozenset(p.name for p in named if p.default is p.empty)
        accepted = frozenset(p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY})
        anything = signature is None or inspect.Parameter.VAR_KEYWORD in kinds
        self._keywords = None if anything else accepted

    def fits(self, count: int, kwargs: Mapping[str, Any]) -> bool:
        if not kwargs:
            return self._fewest <= count <= self._most and not self._required_keywords
        if count > self._most or not self._required_keywords <= kwargs.keys():
            return False
        if self._keywords is not None and not kwargs.keys() <= self._keywords:
            return False
        return self._places_fit(count, kwargs)

    def _places_fit(self, count: int, kwargs: Mapping[str, Any]) -> bool:
        for place, (name, required, positional_only) in enumerate(self._positional):
            named = name in kwargs and not positional_only
            if named if place < count else required and not named:
                return False
        return True

    def fault(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Ask `Signature.bind`, which is slow but says what is wrong; empty if nothing is."""
        assert self._signature is not None
        try:
            self._signature.bind(*((None,) if self._context else ()), *args, **kwargs)
        except TypeError as error:
            return str(error)
        return ""


def _signature(call: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(call)
    except (TypeError, ValueError):  # some builtins have none: anything may fit
        return None


def _first_name(signature: inspect.Signature) -> str:
    first = next(iter(signature.parameters.values()), None)
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return first.name if first is not None and first.kind in places else ""


def _answers_coroutine(call: Callable[..., Any]) -> bool:
    while isinstance(call, functools.partial):
        call = call.func
    if inspect.iscoroutinefunction(call):
        return True
    return not inspect.isroutine(call) and inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004 - its method is asked, not whether it has one


def _locate(name: str, call: Callable[..., Any]) -> Location:
    place = _find_place(name, call)
    module_name, qualname = call.__module__, place.qualname
    found = _follow(sys.modules[module_name], qualname)
    if found is None:
        raise _no_place(name, f"module {module_name} has no {qualname}")
    if found != call and inspect.unwrap(found) is not inspect.unwrap(call):
        raise _no_place(name, f"{qualname} in module {module_name} is something else: {found!r}")
    return place


def _no_place(name: str, why: str) -> DefinitionError:
    return DefinitionError(
        f"job {name!r} cannot run in a worker process: {why}; "
        f'define the function at the top of a module or script, or use executor="thread"'
    )


def _find_place(name: str, call: Callable[..., Any]) -> Location:
    """Say where the function should be, by its own account."""

    def refuse(why: str) -> DefinitionError:
        return _no_place(name, why)

    qualname = getattr(call, "__qualname__", "")
    module_name = getattr(call, "__module__", None) or ""
    if not qualname or not module_name:
        raise refuse(f"{call!r} is an object of type {type(call).__name__} and no name leads to it")
    if "<lambda>" in qualname:
        raise refuse("it is a lambda")
    if "<locals>" in qualname:
        raise refuse(f"{qualname} is made inside another function")
    module = sys.modules.get(module_name)
    if module is None:
        raise refuse(f"its module {module_name} is not loaded under this name")
    return _place(module, module_name, qualname, refuse)


def _place(module: ModuleType, name: str, qualname: str, refuse: Callable[[str], DefinitionError]) -> Location:
    """Say where the module is; a program's main module by the name it was run by (`-m`), else by its file."""
    spec = getattr(module, "__spec__", None)
    file = getattr(module, "__file__", None) or ""
    path = str(Path(file).resolve()) if file and Path(file).is_file() else ""
    if name != "__main__":
        return Location(name, path, qualname)
    if spec is not None and spec.name:
        return Location(spec.name, path, qualname)
    if not path:
        raise refuse("it was defined at a prompt or by -c, so there is no file to load it from")
    return Location("", path, qualname)


def _follow(found: Any, qualname: str) -> Any:
    for part in qualname.split("."):
        found = getattr(found, part, None)
        if found is None:
            return None
    return found
