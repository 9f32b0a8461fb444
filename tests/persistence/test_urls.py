import re
from pathlib import Path

import pytest

from callsheet.actors.persistence.memory import MemoryStore
from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.urls import open_store
from callsheet.errors import DefinitionError


def test_memory_is_a_store_of_its_own_each_time() -> None:
    store = open_store("memory://")
    assert isinstance(store, MemoryStore)
    assert store is not open_store("memory://")


def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    for url, path in (
        ("sqlite:///here.db", "here.db"),
        ("sqlite:///deep/here%20too.db", "deep/here too.db"),
        (f"sqlite:///{tmp_path}/there.db", "there.db"),
    ):
        store = open_store(url)
        store.open()
        store.close()
        assert (tmp_path / path).is_file()


@pytest.mark.parametrize(
    ("query", "promise"),
    [("", "a loss of power\\.$"), ("?synchronous=FULL", "loss of power\\.$"), ("?synchronous=normal", "may take")],
)
def test_what_is_synced_is_an_option(query: str, promise: str) -> None:
    store = open_store(f"sqlite:///jobs.db{query}")
    assert isinstance(store, SQLiteStore)
    assert re.search(promise, store.capabilities.promise)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "names no store; expected one of sqlite:///"),
        ("jobs.db", "names no store; expected one of sqlite:///"),
        ("mysql://host/db", "names no store; expected one of sqlite:///"),
        ("redis://host", "announced, but not there yet"),
        ("postgresql://host/db", "announced, but not there yet"),
        ("files:///folder", "announced, but not there yet"),
        ("sqlite://jobs.db", "has no host; a relative path takes three slashes"),
        ("sqlite://", "expected a file"),
        ("sqlite:///", "expected a file"),
        ("sqlite:///:memory:", "a store in memory is memory://"),
        ("sqlite:///jobs.db?synchronous=off", "full or normal, not 'off'"),
        ("sqlite:///jobs.db?sync=full", "unknown option sync"),
        ("sqlite:///jobs.db#x", "unknown option #x"),
        ("memory://name", "no name and no options"),
        ("sqlite:///jobs\n.db", "'\\n', which an address cannot hold; write it as %0A"),
        ("sqlite:///jobs\udcff.db", "'\\udcff', which an address cannot hold"),
        ("sqlite:///jobs%00.db", "no file has a NUL in its name"),
    ],
)
def test_an_address_that_cannot_be_says_what_was_expected(url: str, says: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        open_store(url)
    assert says in str(caught.value)
    assert repr(url) in str(caught.value)
