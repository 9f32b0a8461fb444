"""A process that is stopped while it keeps the write lock: real ones, stopped and ended by signals."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.sqlite.process import end_if_frozen, started_at
from callsheet.actors.persistence.sqlite.write_lock import WriteLock
from callsheet.actors.persistence.store import AddRuns, GetLiveRuns, Lease
from callsheet.errors import Fenced, StoreBusy
from support.stored import Leader, a_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows who is stopped and holds a lock")

SHARED = str(Path(__file__).parents[1] / "shared")
MUCH_LESS_THAN_THE_LIMIT_S = 1.0

# Whether its arguments are empty is asked of a run while its row is written: in the middle of the transaction.
LEAD = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.store import AddRuns
from callsheet.errors import Fenced
from support.stored import Leader, a_run

class Stops(bytes):
    def __bool__(self):
        os.kill(os.getpid(), signal.SIGSTOP)
        return False

store = SQLiteStore(sys.argv[1])
store.open()
store.enter("frozen/1")
leader = Leader(store, "frozen/1")
leader.write(AddRuns((a_run(1),)))
if sys.argv[3] == "within":
    leader.write(AddRuns((a_run(2), a_run(3, arguments=Stops()))))
os.kill(os.getpid(), signal.SIGSTOP)
for step in (lambda: leader.write(AddRuns((a_run(4),))), lambda: store.renew_lease("frozen/1", leader.epoch)):
    try:
        step()
    except Fenced:
        print("fenced", flush=True)
print(store.tidy(), flush=True)
store.close()
"""


@contextmanager
def stopped(path: Path, where: str) -> Iterator[subprocess.Popen[str]]:
    """A leader that has stopped itself, `within` a transaction or `outside`."""
    command = [sys.executable, "-c", LEAD, str(path), SHARED, where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    store.close()
    return store.path


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    store.open()
    store.enter("next/1")
    yield store
    store.close()


def live(store: SQLiteStore) -> list[int]:
    return [live.run.run_id for live in store.read(GetLiveRuns())]


def test_a_leader_that_is_stopped_within_a_transaction_is_ended_and_its_lease_taken(
    store: SQLiteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with stopped(path, "within") as frozen:
        seen = store.lease()
        assert seen is not None
        assert (seen.holder, store.is_dead("frozen/1"), live(store)) == ("frozen/1", False, [1])
        began = time.monotonic()
        with caplog.at_level(logging.WARNING):
            assert store.take_lease("next/1", "", seen) == Lease("next/1", 2, 0, 0, "")
        assert time.monotonic() - began < MUCH_LESS_THAN_THE_LIMIT_S
        assert frozen.wait() == -signal.SIGKILL
    assert f"ended process {frozen.pid} with SIGKILL: it is stopped, is a node of" in caplog.text
    assert live(store) == [1]
    store.commit([AddRuns((a_run(2),))], epoch=2, holder="next/1", seq=1)
    assert live(store) == [1, 2]


def test_a_leader_that_is_stopped_outside_is_left_alone_and_writes_nothing_when_it_goes_on(
    store: SQLiteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with stopped(path, "outside") as frozen:
        assert not store.is_dead("frozen/1")
        assert store.take_lease("next/1", "", store.lease()) == Lease("next/1", 2, 0, 0, "")
        frozen.send_signal(signal.SIGCONT)
        told, _ = frozen.communicate()
        assert (told, frozen.returncode) == ("fenced\nfenced\nFalse\n", 0)
    assert (live(store), store.lease()) == ([1], Lease("next/1", 2, 0, 0, ""))
    assert caplog.text == ""


def test_a_stopped_leader_is_not_ended_for_a_lock_that_another_keeps(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.actors.persistence.sqlite.write_lock.LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr("callsheet.actors.persistence.sqlite.write_lock.LOOK_AFTER_S", 0.01)
    with stopped(path, "outside") as frozen:
        another = WriteLock(path)
        another.file.open()
        with another.held(), pytest.raises(StoreBusy):
            store.take_lease("next/1", "", store.lease())
        another.file.close()
        assert frozen.poll() is None
        assert store.take_lease("next/1", "", store.lease()) is not None


def test_a_stopped_process_that_keeps_the_lock_is_ended_whatever_is_to_be_written(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.actors.persistence.sqlite.write_lock.LOOK_AFTER_S", 0.01)
    with stopped(path, "within") as frozen:
        assert store.take_lease("next/1", "", Lease("somebody/1", 9, 0, 1, "")) is None  # it was not as it was seen
        assert frozen.wait() == -signal.SIGKILL


def test_who_waits_to_write_ends_it_too(store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callsheet.actors.persistence.sqlite.write_lock.LOOK_AFTER_S", 0.01)
    leader = Leader(store, "next/1")
    with stopped(path, "within") as frozen:
        with pytest.raises(Fenced):  # the stopped one had taken the lease
            leader.write()
        assert frozen.wait() == -signal.SIGKILL


def test_no_process_is_ended_that_runs_or_is_another_or_is_this_one(path: Path) -> None:
    lock = WriteLock(path)
    lock.file.open()
    with stopped(path, "within") as frozen:
        started = started_at(frozen.pid)
        assert not end_if_frozen(frozen.pid, started + 1, lock.file.descriptor)
        assert not end_if_frozen(frozen.pid, 0, lock.file.descriptor)
        with (path.parent / "another.lock").open("w") as another:
            assert not end_if_frozen(frozen.pid, started, another.fileno())
        assert frozen.poll() is None
        assert end_if_frozen(frozen.pid, started, lock.file.descriptor)
        assert frozen.wait() == -signal.SIGKILL
        assert not end_if_frozen(frozen.pid, started, lock.file.descriptor)
    with lock.held():
        assert not end_if_frozen(os.getpid(), started_at(os.getpid()), lock.file.descriptor)
    lock.file.close()


def test_a_process_that_runs_and_keeps_the_lock_is_not_ended(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from callsheet.actors.persistence.sqlite.write_lock import WriteLock\n"
        "lock = WriteLock(Path(sys.argv[1])); lock.file.open(); lock.take()\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    lock = WriteLock(path)
    lock.file.open()
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        started = started_at(process.pid)
        assert not end_if_frozen(process.pid, started, lock.file.descriptor)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert end_if_frozen(process.pid, started, lock.file.descriptor)
    lock.file.close()
