"""Several connections to one file, of one process and of several: one writes at a time, and one reign at a time."""

import os
import random
import selectors
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest

from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.sqlite.write_lock import WriteLock
from callsheet.actors.persistence.store import AddRuns, GetLiveRuns, Lease
from callsheet.errors import StoreBusy
from support.stored import Leader, a_run

SHARED = str(Path(__file__).parents[1] / "shared")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def opened(path: Path) -> SQLiteStore:
    store = SQLiteStore(path)
    store.open()
    return store


def runs(first: int, count: int = 10) -> AddRuns:
    return AddRuns(tuple(a_run(number, arguments=bytes(1_000)) for number in range(first, first + count)))


# ---- the write lock -----------------------------------------------------------------------------------------------------


def test_while_another_keeps_the_write_lock_the_store_is_busy_and_can_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.actors.persistence.sqlite.write_lock.LONGEST_WAIT_S", 0.02)
    store = opened(path)
    leader = Leader(store)
    leader.write(runs(1))
    another = WriteLock(path)
    another.file.open()
    with another.held():
        for step in (
            lambda: leader.write(runs(11)),
            lambda: store.renew_lease("leader", 1),
            lambda: store.take_lease("next", "", store.lease()),
            store.tidy,
        ):
            with pytest.raises(StoreBusy, match=r"held by another process .* nothing of this batch was stored"):
                step()
        assert len(store.read(GetLiveRuns())) == 10
        late = opened(path)  # a file that is complete is opened without writing
        assert len(late.read(GetLiveRuns())) == 10
        late.close()
    leader.write(runs(11))
    assert len(store.read(GetLiveRuns())) == 20
    assert store.lease() == Lease("leader", 1, 0, 3, "")
    store.close()
    another.file.close()


def test_the_write_lock_is_had_as_soon_as_it_is_free(path: Path) -> None:
    store = opened(path)
    leader = Leader(store)
    another = WriteLock(path)
    another.file.open()
    another.take()
    writer = threading.Thread(target=lambda: leader.write(runs(1)))
    writer.start()
    another.file.free()
    writer.join()
    assert len(store.read(GetLiveRuns())) == 10
    store.close()
    another.file.close()


def test_after_each_step_the_write_lock_is_free(path: Path) -> None:
    store = opened(path)
    another = WriteLock(path)
    another.file.open()
    leader = Leader(store)
    for step in (
        lambda: leader.write(runs(1)),
        lambda: leader.store.renew_lease("leader", 1),
        store.tidy,
        lambda: store.read(GetLiveRuns()),
        store.close,
    ):
        step()
        assert another.file.take()
        another.file.free()
    another.file.close()


# ---- who brings the log into the file -----------------------------------------------------------------------------------


def test_who_leads_brings_a_grown_log_into_the_file_within_a_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.actors.persistence.sqlite.file.CHECKPOINT_PAGES", 10)
    store = opened(path)
    before = path.stat().st_size
    leader = Leader(store)
    for batch in range(20):
        leader.write(runs(1 + 10 * batch))
    assert path.stat().st_size > before
    store.close()


def test_who_does_not_lead_never_tidies(path: Path) -> None:
    follower, store = opened(path), opened(path)
    leader = Leader(store, "first")
    leader.write(runs(1))
    before = path.stat().st_size
    assert (follower.tidy(), path.stat().st_size) == (False, before)
    Leader(follower, "second").write(runs(11))
    assert (store.tidy(), path.stat().st_size) == (False, before), "deposed, and finds it out here"
    assert follower.tidy()
    assert path.stat().st_size > before
    for each in (follower, store):
        each.close()


# ---- taking the lease ---------------------------------------------------------------------------------------------------


def test_of_many_who_take_the_lease_at_once_exactly_one_gets_it(path: Path) -> None:
    stores = [opened(path) for _ in range(6)]
    for epoch in range(1, 16):
        seen = stores[0].lease()
        start = threading.Barrier(len(stores))
        taken: list[Lease | None] = []

        def take(store: SQLiteStore, name: str, seen: Lease | None = seen, start: threading.Barrier = start) -> None:
            start.wait()
            taken.append(store.take_lease(name, "", seen))  # noqa: B023 -- the threads end before the next round

        threads = [threading.Thread(target=take, args=(store, f"n{n}")) for n, store in enumerate(stores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [winner] = [lease for lease in taken if lease is not None]
        assert len(taken) == len(stores)
        assert winner.epoch == epoch
        assert [store.lease() for store in stores] == [winner] * len(stores)
    for store in stores:
        store.close()


# ---- real processes -----------------------------------------------------------------------------------------------------

PROCESSES = 4
KILLS = 16
MOST_KILLS = 10 * KILLS
"""Until the lease has changed hands often enough; who is killed does not always hold it."""
LINES_BETWEEN_KILLS = 40

# Takes the lease of the dead at once and now and then that of the living, and writes in its reign until it is deposed. Each
# batch is a run and an event of its epoch: the event's number says when it was written.
HAMMER = """
import os, random, sys
sys.path.insert(0, sys.argv[2])
from callsheet.actors.persistence.sqlite import SQLiteStore, file
from callsheet.actors.persistence.store import AddEvents, AddRuns, GetCounters
from callsheet.actors.records import Event
from callsheet.errors import Fenced
from support.stored import Leader, a_run

file.CHECKPOINT_PAGES = 8
chance = random.Random(int(sys.argv[3]))
name = f"node/{os.getpid()}"

def reign(store, lease):
    epoch, seq = lease.epoch, 0
    [counters] = store.read(GetCounters())
    print("took", epoch, 0, flush=True)
    while True:
        seq += 1
        run_id = counters.run_id + seq
        writes = [
            AddRuns((a_run(run_id, arguments=bytes(chance.randrange(3_000))),)),
            AddEvents((Event(epoch, "wrote", "default", run_id=run_id),)),
        ]
        store.commit(writes, epoch=epoch, holder=name, seq=seq)
        print("wrote", epoch, run_id, flush=True)
        if seq % 5 == 0:
            store.renew_lease(name, epoch)
        if seq % 13 == 0:
            store.tidy()

store = SQLiteStore(sys.argv[1], "NORMAL")
store.open()
store.enter(name)
while True:
    seen = store.lease()
    store.tidy()
    if seen is None or store.is_dead(seen.holder) or chance.random() < 0.01:
        taken = store.take_lease(name, "", seen)
        if taken is not None:
            try:
                reign(store, taken)
            except Fenced:
                pass
"""

Told = list[tuple[str, int, int]]


class Hammers:
    """Processes that fight for one store, and what they said."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self._path, self._chance = path, chance
        self._selector = selectors.DefaultSelector()
        self.running: list[subprocess.Popen[bytes]] = []
        self.told: Told = []
        self.kills = 0
        self._parts: dict[IO[bytes], bytes] = {}

    def start(self) -> None:
        command = [sys.executable, "-c", HAMMER, str(self._path), SHARED, str(self._chance.randrange(2**32))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ)
        self._parts[process.stdout] = b""
        self.running.append(process)

    def listen(self, lines: int) -> None:
        """Take in at least so many lines."""
        wanted = len(self.told) + lines
        while len(self.told) < wanted:
            for key, _ in self._selector.select():
                assert not isinstance(key.fileobj, int)
                self._take(key.fileobj, os.read(key.fd, 65_536))  # type: ignore[arg-type]  # a pipe, as registered

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End it, and take in what it still said."""
        process.kill()
        self.kills += 1
        assert process.stdout is not None
        self._selector.unregister(process.stdout)
        self._take(process.stdout, process.stdout.read())
        process.stdout.close()
        assert process.wait() == -9, "it failed by itself before"
        self.running.remove(process)

    def _take(self, source: IO[bytes], heard: bytes) -> None:
        assert heard or source.closed or self.running, "all of them ended"
        *lines, rest = (self._parts[source] + heard).split(b"\n")
        self._parts[source] = rest
        for line in lines:
            what, epoch, run_id = line.split()
            self.told.append((what.decode(), int(epoch), int(run_id)))


def test_processes_that_fight_for_a_store_and_are_killed_lose_nothing_and_damage_nothing(path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 -- shown when it fails
    chance = random.Random(seed)
    hammers = Hammers(path, chance)
    for _ in range(PROCESSES):
        hammers.start()
    try:
        for number in range(MOST_KILLS):
            if number >= KILLS and sum(what == "took" for what, _, _ in hammers.told) > PROCESSES:
                break
            hammers.listen(chance.randrange(1, 2 * LINES_BETWEEN_KILLS))
            hammers.kill(chance.choice(hammers.running))
            hammers.start()
        hammers.listen(LINES_BETWEEN_KILLS)
    finally:
        for process in list(hammers.running):
            hammers.kill(process)
    check(path, hammers.told, hammers.kills)


def check(path: Path, told: Told, kills: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        written = connection.execute("SELECT at, run_id FROM events ORDER BY event_id").fetchall()
        added = connection.execute("SELECT run_id FROM runs ORDER BY run_id").fetchall()
        [(last_epoch,)] = connection.execute("SELECT epoch FROM lease").fetchall()
    acknowledged = [(epoch, run_id) for what, epoch, run_id in told if what == "wrote"]
    taken = [epoch for what, epoch, _ in told if what == "took"]
    epochs = [epoch for epoch, _ in written]
    assert epochs == sorted(epochs), "an older epoch wrote after a newer one"
    assert set(acknowledged) <= set(written), "something acknowledged is not there"
    assert len(set(acknowledged)) == len(acknowledged)
    assert [(run_id,) for _, run_id in written] == added == [(number,) for number in range(1, len(added) + 1)]
    assert len(set(taken)) == len(taken), "two held one epoch"
    assert max(taken) <= last_epoch
    assert (len(acknowledged) > KILLS * LINES_BETWEEN_KILLS // 4, len(taken) > PROCESSES) == (True, True)
    assert len(written) - len(acknowledged) <= kills, "each kill leaves at most one that nobody was told of"


def test_the_files_of_those_that_were_killed_are_swept(path: Path) -> None:
    chance = random.Random(1)
    hammers = Hammers(path, chance)
    for _ in range(2):
        hammers.start()
    hammers.listen(10)
    for process in list(hammers.running):
        hammers.kill(process)
    store = opened(path)
    store.enter("node/last")
    seen = store.lease()
    assert seen is not None
    assert store.is_dead(seen.holder)
    assert store.take_lease("node/last", "", seen) is not None
    assert len(list(path.with_name("jobs.db.nodes").iterdir())) == 1
    store.close()
