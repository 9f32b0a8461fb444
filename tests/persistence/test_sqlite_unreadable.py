"""Jobs of which not all can be read here, as after a change of the time zones: they are found with the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.store import (
    DueJobs,
    GetDefinitions,
    GetJobs,
    ListEdges,
    ListHeld,
    ListJobs,
    ListUnarmed,
    Question,
)
from callsheet.actors.records import Hook, JobRecord
from callsheet.triggers import Unreadable, cron
from support.spoiled import spoil
from support.stored import Leader, a_record, insert

ZONED = cron("0 2 * * *", zone="Europe/Berlin")
KEYS = (("default", "a"), ("default", "b"), ("default", "c"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    yield store
    store.close()


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        (GetJobs(KEYS), {}),
        (ListJobs(tenant="default"), {}),
        (ListEdges(), {"hook": Hook(moment="after")}),
        (ListHeld(), {"state": {"status": "paused"}}),
        (DueJobs(9), {"state": {"next_due": 5}}),
        (ListUnarmed(), {"state": {"fires": 1}}),
    ],
    ids=lambda it: type(it).__name__,
)
def test_of_a_job_whose_trigger_cannot_be_read_all_else_is_said(
    store: SQLiteStore, tmp_path: Path, question: Question, fields: dict[str, object]
) -> None:
    a, b, c = (
        a_record(name, target="work", trigger=trigger, **fields)  # type: ignore[arg-type]
        for name, trigger in (("a", cron("0 3 * * *")), ("b", ZONED), ("c", cron("0 4 * * *")))
    )
    Leader(store).write(*map(insert, (a, b, c)))
    spoil(tmp_path / "jobs.db", b"Europe/Berlin", b"Europe/Nowhre")

    found: list[JobRecord] = store.read(question)

    assert (found[0], found[2]) == (a, c)
    why = found[1].job.trigger
    assert isinstance(why, Unreadable)
    assert "no time zone 'Europe/Nowhre'" in why.text
    assert found[1] == replace(b, job=replace(b.job, trigger=why))


def test_of_a_version_whose_trigger_cannot_be_read_all_else_is_said(store: SQLiteStore, tmp_path: Path) -> None:
    b = a_record("b", target="work", trigger=ZONED, priority=7)
    Leader(store).write(insert(b))
    spoil(tmp_path / "jobs.db", b"Europe/Berlin", b"Europe/Nowhre")
    (found,) = store.read(GetDefinitions((("default", "b", 1),)))
    assert isinstance(found.trigger, Unreadable)
    assert found == replace(b.job, trigger=found.trigger)


def test_of_a_definition_that_is_none_the_name_is_known_and_its_state(store: SQLiteStore, tmp_path: Path) -> None:
    a, b = (a_record(name, target="work", executor=kind) for name, kind in (("a", "thread"), ("b", "process")))
    Leader(store).write(insert(a), insert(b))
    spoil(tmp_path / "jobs.db", b"process", b"unknown")
    first, second = store.read(GetJobs(KEYS))
    assert first == a
    assert (second.state, second.job.key, second.job.is_known) == (b.state, b.job.key, False)
    assert isinstance(second.job.trigger, Unreadable)
