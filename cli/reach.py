"""How a command reaches what it asks or changes.

    a scheduler runs     as a client of it: the lease in the store says where its cluster's leader listens
    none runs            to ask: the store's file, only read        to change: a scheduler that runs nothing, for a moment

A scheduler that starts at that moment is waited for, and then asked. Of several commands that change a store at once while none
runs, one after the other has the lease; who comes later waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from ..actors.persistence.store import Store
from ..actors.persistence.urls import open_store
from ..client.desk import Desk
from ..client.endpoint import addresses_of, is_listening
from ..client.gateway import REQUEST_S
from ..client.questions import Questions
from ..client.reading import StoreReading
from ..client.remote import Client
from ..client.vocabulary import Vocabulary
from ..errors import StoreError
from .option import key_file, store_url
from .outcome import WrongUsage

OPEN_S: Final = 5.0
"""How long it may take until a scheduler that listens has said who leads."""
LOOK_S: Final = 0.02
LISTENING_S: Final = 1.0
"""How long it may take until a connection stands."""


@contextmanager
def asking(url: str | None, tenant: str) -> Iterator[Questions]:
    """Reach who answers questions: the scheduler that runs, else the store's file.

    Raises:
        StoreError: there is no such file, or it is none of ours.
    """
    store = find_store(url)
    client = _client_of(store, url, tenant)
    if client is None:
        _check_there(store)
        with _reading(store, tenant) as reading:
            yield reading
        return
    with closing(client.open(OPEN_S)):
        yield client


@contextmanager
def reading(url: str | None, tenant: str) -> Iterator[Questions]:
    """Reach the store's file, whether or not a scheduler runs on it.

    Raises:
        StoreError: there is no such file, or it is none of ours.
    """
    store = find_store(url)
    _check_there(store)
    with _reading(store, tenant) as found:
        yield found


@contextmanager
def changing(url: str | None, tenant: str, *, make: bool = False, key: Path | None = None) -> Iterator[Vocabulary]:
    """Reach who changes things: the scheduler that runs, else one that runs nothing; `make` a store that is not there.

    Raises:
        StoreError: the store cannot be used.
    """
    store = find_store(url)
    if not make:
        _check_there(store)
    reached = _reach(store, url, tenant, key)
    try:
        yield reached
    finally:
        reached.close() if isinstance(reached, Client) else reached.stop()


@contextmanager
def submitting(to: Sequence[str], url: str | None, key: Path | None, tenant: str) -> Iterator[Vocabulary]:
    """Reach who takes submissions: the cluster at these endpoints, or else who changes things in a store.

    Raises:
        StoreError: the store cannot be used.
        TimeoutError: nobody at the endpoints says who leads.
    """
    if not to:
        with changing(url, tenant, key=key) as found:
            yield found
        return
    if url is not None:
        raise WrongUsage("say --to ENDPOINT or --store URL, not both")
    with Client(to, key=key_file(key), tenant=tenant) as client:
        yield client


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


def is_served(store: Store) -> bool:
    """Whether a scheduler runs on a store, and takes connections."""
    return any(is_listening(address, LISTENING_S) for address in addresses_of(_path(store)))


def is_running(vocabulary: Vocabulary) -> bool:
    """Whether what was reached runs jobs."""
    return isinstance(vocabulary, Client)


def _client_of(store: Store, url: str | None, tenant: str, key: Path | None = None) -> Client | None:
    """Return a client of the scheduler that runs on a store, not opened; None when none does."""
    return Client(store_url(url), key=key_file(key), tenant=tenant) if is_served(store) else None


def _reach(store: Store, url: str | None, tenant: str, key: Path | None) -> Client | Desk:
    until = time.monotonic() + REQUEST_S
    while True:
        client = _client_of(store, url, tenant, key)
        if client is not None:
            return client.open(OPEN_S)
        desk = Desk(store, tenant=tenant)
        desk.start()
        if _has_the_lead(desk, until):
            return desk
        desk.stop()
        store = find_store(url)  # one that was closed is not opened again


def _has_the_lead(desk: Desk, until: float) -> bool:
    """Wait until a desk leads; False when a scheduler has come first, which the desk does not reach and a client does."""
    while desk.health().role != "leader":
        if is_served(desk.store):
            return False
        if time.monotonic() >= until:
            return True  # another command keeps the lease; what is asked will say that nobody answers
        time.sleep(LOOK_S)
    return True


def _path(store: Store) -> Path:
    path = getattr(store, "path", None)
    assert isinstance(path, Path), "find_store has refused stores without a file"
    return path


def _reading(store: Store, tenant: str) -> StoreReading:
    return StoreReading(_path(store), tenant=tenant)


def _check_there(store: Store) -> None:
    path = _path(store)
    if not path.exists():
        raise StoreError(
            f"{path} is not there; name the store with --store or $CALLSHEET_STORE, or start a scheduler that makes it"
        )
