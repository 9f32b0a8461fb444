"""Stores by address: `sqlite:///jobs.db`, `sqlite:////var/lib/jobs.db?synchronous=normal`, `memory://`."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ...errors import DefinitionError
from .memory import MemoryStore
from .sqlite import SQLiteStore
from .store import Store

_HERE: Final = "sqlite:///relative.db, sqlite:////absolute.db (with ?synchronous=normal), memory://"
_ODD: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of a character of UTF-16."""
_COMING: Final = {"redis", "rediss", "postgresql", "postgres", "files", "json", "pickle", "shelve"}


def open_store(url: str) -> Store:
    """Make the store that an address names; `Store.open` is still to be called.

    Three slashes begin a path relative to the working directory, four an absolute one.

    Raises:
        DefinitionError: no such kind of store, or the address has parts that it does not know.
    """
    odd = _ODD.search(url)
    if odd is not None:  # of some of these `urlsplit` says nothing and leaves them out, which names another file
        instead = f"; write it as %{ord(odd[0]):02X}" if odd[0].isascii() else ", nor can UTF-8"
        raise DefinitionError(f"{url!r}: has {odd[0]!r}, which an address cannot hold{instead}")
    parts = urlsplit(url)
    match parts.scheme:
        case "memory":
            if parts.netloc or parts.path.strip("/") or parts.query:
                raise DefinitionError(f"{url!r}: the store in memory has no name and no options; expected memory://")
            return MemoryStore()
        case "sqlite":
            return _sqlite(url, parts)
        case scheme if scheme in _COMING:
            raise DefinitionError(f"{url!r}: {scheme} stores are announced, but not there yet; there are {_HERE}")
        case _:
            raise DefinitionError(f"{url!r} names no store; expected one of {_HERE}")


def _sqlite(url: str, parts: SplitResult) -> Store:
    path = unquote(parts.path)
    if "\0" in path:
        raise DefinitionError(f"{url!r}: no file has a NUL in its name")
    if parts.netloc:
        raise DefinitionError(f"{url!r}: an SQLite store has no host; a relative path takes three slashes: sqlite:///…")
    if not path.startswith("/") or path == "/" or path.startswith("/:memory:"):
        raise DefinitionError(f"{url!r}: expected a file, as in sqlite:///jobs.db; a store in memory is memory://")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full").upper()
    if options or parts.fragment:
        unknown = ", ".join(options) or f"#{parts.fragment}"
        raise DefinitionError(f"{url!r}: unknown option {unknown}; SQLite stores know synchronous=full and =normal")
    match synchronous:
        case "FULL" | "NORMAL":
            return SQLiteStore(path[1:], synchronous)
        case _:
            raise DefinitionError(f"{url!r}: synchronous is full or normal, not {synchronous.lower()!r}")
