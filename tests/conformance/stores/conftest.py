"""Every store, for every test of this folder. A new store is a line in PLACES."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callsheet.actors.persistence.memory import MemoryStore
from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.store import (
    Store,
)
from support.stored import (
    Leader,
    Place,
)


def _memory(folder: Path) -> Place:
    store = MemoryStore()
    return Place(lambda: store)


PLACES: dict[str, Callable[[Path], Place]] = {
    "memory": _memory,
    "sqlite-full": lambda folder: Place(lambda: SQLiteStore(folder / "jobs.db")),
    "sqlite-normal": lambda folder: Place(lambda: SQLiteStore(folder / "jobs.db", "NORMAL")),
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = PLACES[request.param](tmp_path)
    yield place
    place.close()


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()


@pytest.fixture
def leader(store: Store) -> Leader:
    return Leader(store)
