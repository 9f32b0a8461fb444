"""How a command reaches what it asks or changes.

    a scheduler runs     by its control socket, the same words as in its own process
    none runs            to ask: the store's file, only read        to change: a scheduler that runs nothing, for a moment

Which it is can change under our hands: a scheduler starts or stops, or another command has the store for a moment. So a store
that is in use by somebody who does not answer is tried again for a while.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..actors.persistence.store import Store
from ..actors.persistence.urls import open_store
from ..client.control import Control
from ..client.desk import Desk
from ..client.questions import Questions
from ..client.reading import StoreReading
from ..client.vocabulary import Vocabulary
from ..errors import NotRunning, StoreError, StoreInUse
from .option import store_url
from .outcome import STORE, CommandError, WrongUsage

PATIENCE_S: Final = 10.0
"""How long a store that is in use is tried again."""
PAUSE_S: Final = 0.1


@contextmanager
def asking(url: str | None, tenant: str) -> Iterator[Questions]:
    """Reach who answers questions: the scheduler that runs, else the store's file.

    Raises:
        StoreError: there is no such file, or it is none of ours.
    """
    store = find_store(url)
    try:
        line = Control.of(store, tenant=tenant)
    except NotRunning:
        with _reading(store, tenant) as reading:
            yield reading
        return
    with line:
        yield line


@contextmanager
def reading(url: str | None, tenant: str) -> Iterator[Questions]:
    """Reach the store's file, whether or not a scheduler runs on it.

    Raises:
        StoreError: there is no such file, or it is none of ours.
    """
    with _reading(find_store(url), tenant) as found:
        yield found


@contextmanager
def changing(url: str | None, tenant: str, *, make: bool = False) -> Iterator[Vocabulary]:
    """Reach who changes things: the scheduler that runs, else one that runs nothing; `make` a store that is not there.

    Raises:
        StoreError: the store cannot be used.
    """
    store = find_store(url)
    if not make:
        _check_there(store)
    reached = _reach(store, tenant)
    try:
        yield reached
    finally:
        reached.close() if isinstance(reached, Control) else reached.stop()


def find_store(url: str | None) -> Store:
    """Return the store that is meant, not opened.

    Raises:
        WrongUsage: the address cannot be read, or means a store that no other process can see.
    """
    address = store_url(url)
    store = open_store(address)
    if getattr(store, "path", None) is None:
        raise WrongUsage(
            f"{address} lives within the process that made it; name a store with a file: sqlite:///jobs.db"
        )
    return store


def is_running(vocabulary: Vocabulary) -> bool:
    """Whether what was reached runs jobs."""
    return isinstance(vocabulary, Control)


def _reach(store: Store, tenant: str) -> Control | Desk:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return Control.of(store, tenant=tenant)
        except NotRunning:
            pass
        desk = Desk(store, tenant=tenant)
        try:
            desk.start()
        except StoreInUse as error:
            if time.monotonic() > deadline:
                raise CommandError(f"{error}; it does not answer on its control socket", STORE) from None
            time.sleep(PAUSE_S)
        else:
            return desk


def _path(store: Store) -> Path:
    path = getattr(store, "path", None)
    assert isinstance(path, Path), "find_store has refused stores without a file"
    return path


def _reading(store: Store, tenant: str) -> StoreReading:
    return StoreReading(_path(store), tenant=tenant)


def _check_there(store: Store) -> None:
    path = _path(store)
    if not path.exists():
        raise StoreError(f"{path} is not there; name the store with --store, or start a scheduler that makes it")
