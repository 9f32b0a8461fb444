"""A disk that is full, fails or is damaged, and a writer whose reign is over: in real files, in processes of their own."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.store import (
    AddClaim,
    AddRuns,
    GetLiveRuns,
    GetRuns,
    ListRuns,
)
from callsheet.actors.records import Claim, ClaimEntry, Run
from callsheet.errors import Fenced, StoreError
from support.stored import Leader, a_record, a_run, insert

FILL = """
import os, resource, subprocess, sys
from pathlib import Path
from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.store import AddRuns, GetLiveRuns, ListRuns
from callsheet.errors import StoreFull, StoreUnknown
from support.stored import Leader, a_record, a_run, insert

def fill(leader):
    "Commit until it fails; answer the error and the numbers that were acknowledged."
    acknowledged, run_id = [], 1
    while run_id < 10_000:
        batch = range(run_id, run_id + 10)
        try:
            leader.write(AddRuns(tuple(a_run(number, arguments=bytes(10_000)) for number in batch)))
        except (StoreFull, StoreUnknown) as error:
            return error, acknowledged
        acknowledged += batch
        run_id += 10

def stored(store):
    found = []
    while page := store.read(ListRuns(tenant="default", before=found[-1] if found else None, limit=50)):
        found += [record.run.run_id for record in page]
    return found[::-1]
"""

ON_A_SMALL_DISK = (
    FILL
    + """
folder = Path(sys.argv[1])
try:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=True, capture_output=True)
except (OSError, subprocess.CalledProcessError):
    sys.exit(77)
filler = folder / "filler"
filler.write_bytes(bytes(1_000_000))
store = SQLiteStore(folder / "jobs.db")
store.open()
leader = Leader(store)
error, acknowledged = fill(leader)
assert isinstance(error, StoreFull), repr(error)
assert "no room is left" in str(error)
assert stored(store) == acknowledged, "nothing of the refused batch is there"
assert store.last_seq() == leader.seq - 1
filler.unlink()
leader.write(AddRuns((a_run(20_000),)))
store.close()
store.open()
assert stored(store) == [*acknowledged, 20_000]
store.close()
print("acknowledged", len(acknowledged))
"""
)

WITH_A_LIMIT = (
    FILL
    + """
path = Path(sys.argv[1]) / "jobs.db"
store = SQLiteStore(path)
store.open()
leader = Leader(store)
other = SQLiteStore(path)
other.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
error, acknowledged = fill(leader)
assert isinstance(error, StoreUnknown), repr(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
done = store.last_seq() == leader.seq
assert stored(store) == (list(range(1, leader.seq * 10 + 1)) if done else acknowledged)
assert path.with_name("jobs.db-wal").stat().st_size == 0, "nothing is left that could come to life"
assert stored(other) == stored(store)
leader.write(AddRuns((a_run(20_000),)))
assert stored(store)[-1] == stored(other)[-1] == 20_000
store.close()
other.close()
print("acknowledged", len(acknowledged))
"""
)


FAILING_SYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int fails(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return strstr(path, "-wal") && access(getenv("FAILS_WHILE"), F_OK) == 0;
}
int fdatasync(int file) {
    if (fails(file)) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(file);
}
int fsync(int file) {
    if (fails(file)) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(file);
}
"""

WITH_A_FAILING_SYNC = """
import os
from pathlib import Path
from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.store import AddRuns
from callsheet.errors import StoreUnknown
from support.stored import Leader, a_record, a_run, insert

fails = Path(os.environ["FAILS_WHILE"])
stores = [SQLiteStore(sys.argv[1]) for _ in range(int(sys.argv[2]))]
for store in stores:
    store.open()
leader = Leader(stores[0])
leader.write(AddRuns((a_run(1),)))
fails.touch()
try:
    leader.write(AddRuns((a_run(2),)))
except StoreUnknown:
    fails.unlink()
    print(leader.store.last_seq(), flush=True)
os.kill(os.getpid(), 9)
"""


def run_alone(script: str, *arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    path = str(Path(__file__).parents[1] / "shared")
    command = [
        *prefix,
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {path!r})\n{script}",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_on_a_full_disk_a_batch_is_refused_whole_and_later_ones_work(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        pytest.skip("needs unshare and mount to make a small disk")
    told = run_alone(ON_A_SMALL_DISK, tmp_path, prefix=("unshare", "--user", "--map-root-user", "--mount"))
    if told.returncode == 77 or "unshare" in told.stderr:
        pytest.skip("this system does not let us mount a small disk")
    assert told.returncode == 0, told.stderr
    assert int(told.stdout.split()[1]) > 10


def test_when_the_disk_fails_in_a_commit_the_outcome_is_unknown_until_it_is_read_back(tmp_path: Path) -> None:
    told = run_alone(WITH_A_LIMIT, tmp_path)
    assert told.returncode == 0, told.stderr
    assert int(told.stdout.split()[1]) > 10


@pytest.mark.parametrize("open_connections", [1, 2])
def test_what_was_read_back_after_a_failed_sync_is_still_true_after_a_kill(
    tmp_path: Path, open_connections: int
) -> None:
    compiler, path = shutil.which("cc"), tmp_path / "jobs.db"
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler to make a sync that fails")
    (tmp_path / "sync.c").write_text(FAILING_SYNC)
    library = tmp_path / "sync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "sync.c", "-ldl"], check=True)
    environment = ("env", f"LD_PRELOAD={library}", f"FAILS_WHILE={tmp_path / 'fails'}")
    told = run_alone(WITH_A_FAILING_SYNC, path, open_connections, prefix=environment)
    assert (told.stderr, told.stdout in ("1\n", "2\n")) == ("", True)
    store = SQLiteStore(path)
    store.open()
    assert store.last_seq() == int(told.stdout)
    assert [live.run.run_id for live in store.read(GetLiveRuns())] == list(range(1, int(told.stdout) + 1))
    store.close()


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    store.open()
    Leader(store).write(AddRuns(tuple(a_run(number, arguments=bytes(1_000)) for number in range(1, 500))))
    store.close()
    content = bytearray(path.read_bytes())
    content[8_192:] = b"\xaa" * (len(content) - 8_192)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"jobs\.db is damaged .* go back to a backup"):  # noqa: PT012
        store.open()
        store.read(GetLiveRuns())
    store.close()


@pytest.mark.parametrize("instead", [False, True], ids=["removed", "replaced"])
def test_a_file_that_was_removed_or_replaced_is_not_written_to_and_works_when_it_is_back(
    tmp_path: Path, instead: bool
) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    leader = Leader(store)
    leader.write(AddRuns((a_run(1),)))
    store.path.rename(tmp_path / "moved.db")
    if instead:
        shutil.copy(tmp_path / "moved.db", store.path)
    for write in (lambda: leader.write(AddRuns((a_run(2),))), lambda: store.renew_lease("n/i", 1)):
        with pytest.raises(StoreError, match=r"jobs\.db: was removed, or another file was put in its place"):
            write()
    (tmp_path / "moved.db").rename(store.path)
    leader.write(AddRuns((a_run(3),)))
    store.close()
    store.open()
    assert [record.run.run_id for record in store.read(ListRuns(tenant="default"))] == [3, 1]
    store.close()


def test_another_programs_lock_makes_the_store_busy_and_nothing_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.actors.persistence.sqlite.connection.BUSY_TIMEOUT_MS", 10)
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    leader = Leader(store)
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked for longer than 10 ms; nothing of this batch was stored"):
            leader.write(AddRuns((a_run(1),)))
        other.execute("ROLLBACK")
    assert (store.last_seq(), store.read(GetLiveRuns())) == (0, [])
    leader.write(AddRuns((a_run(1),)))
    store.close()


def test_rows_of_an_older_epoch_are_refused_by_the_file_itself(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    Leader(store, "first")
    leader = Leader(store, "second")
    leader.write(insert(a_record("job")))
    store.close()
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
        for statement in (
            "INSERT INTO claims VALUES (1, 'n', 'i', 1, 5, 1, 1, 1, x'90')",
            "INSERT INTO jobs VALUES ('default', 'x', 1, 'active', 0, 0, NULL, 0, 1, 0)",
            "UPDATE jobs SET mark = 9, epoch = 1",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="an older epoch writes"):
                other.execute(statement)
        other.execute("UPDATE jobs SET mark = 9, epoch = 2")
        assert other.total_changes == 1


def test_a_claim_of_an_older_epoch_in_a_batch_of_the_newer_is_fenced(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    Leader(store, "first")
    leader = Leader(store, "second")
    with pytest.raises(Fenced, match="older epoch"):
        leader.write(AddRuns((a_run(1),)), AddClaim(Claim("n", "i", 1, 5, (ClaimEntry(1, 1, 1),))))
    assert store.read(GetRuns("default", (1,))) == []
    store.close()


@pytest.mark.parametrize("run", [a_run(2**63), a_run(2, priority=2**64), a_run(2, job="\udcff")])
def test_a_value_that_sqlite_cannot_hold_is_refused_with_its_batch_and_later_ones_work(
    tmp_path: Path, run: Run
) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    leader = Leader(store)
    with pytest.raises(StoreError, match="cannot be stored"):
        leader.write(AddRuns((a_run(1), run)))
    with pytest.raises(StoreError, match="cannot be stored"):
        store.read(GetRuns("default", (2**63,)))
    assert store.read(ListRuns(tenant="default")) == []
    leader.write(AddRuns((a_run(1),)))
    assert [record.run.run_id for record in store.read(GetRuns("default", (1,)))] == [1]
    store.close()
