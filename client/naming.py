"""Names for functions that were not given one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from ..actors.executor.functions import Backoff, Function, Functions
from ..actors.executor.processes.loading import MAIN_NAME
from ..actors.records import MAX_NAME_LENGTH
from ..errors import DefinitionError

MAIN_NAMES: Final = ("__main__", MAIN_NAME)
"""What the program itself is called: a job of it has one name, whoever has loaded it."""

DIGEST_CHARACTERS: Final = 16


def fitted(name: str) -> str:
    """Return a made name, as it is if it is short enough; of a longer one the end gives way to a digest of the whole."""
    if len(name) <= MAX_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST_CHARACTERS]
    return f"{name[: MAX_NAME_LENGTH - DIGEST_CHARACTERS - 1]}~{digest}"


class Names:
    """Which job a function is: kept by the function itself, so two lambdas of one line are two jobs."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._by_function: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def of(self, function: Callable[..., Any]) -> str | None:
        """The job that this function was made, or None."""
        try:
            return self._by_function.get(function)
        except TypeError:
            return None

    def make(self, function: Callable[..., Any], name: str | None, backoff: Backoff | None = None) -> Function:
        """Name a function, by `name` or one made from its own; `keep` puts it into the node's table.

        A name that was asked for means the newest function; a made one never takes another function's place.

        Raises:
            DefinitionError: it is no function.
        """
        if not callable(function):
            raise DefinitionError(f"expected a function, the name of a job, or shell(…); found {function!r}")
        with self._lock:
            chosen = name or self._free_name(function)
            return self._functions.make(chosen, function, backoff=backoff)

    def keep(self, made: Function) -> None:
        """Put a function that `make` answered into the node's table, and know it by itself from now on."""
        with self._lock:
            self._functions.put(made)
            with suppress(TypeError):  # not hashable or not weakly referable: it must be asked for by name
                self._by_function[made.call] = made.name

    def _free_name(self, function: Callable[..., Any]) -> str:
        module = getattr(function, "__module__", None) or "callable"
        qualname = getattr(function, "__qualname__", None) or type(function).__qualname__
        plain = (qualname if module in MAIN_NAMES else f"{module}.{qualname}")[: MAX_NAME_LENGTH - 8]
        number = self._numbers.get(plain, 1)
        name = plain if number == 1 else f"{plain}#{number}"
        while (taken := self._functions.find(name)) is not None and taken.call is not function:
            number += 1
            name = f"{plain}#{number}"
        self._numbers[plain] = number
        return name
