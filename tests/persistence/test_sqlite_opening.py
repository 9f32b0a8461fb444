"""What an SQLite store does with the file it is given."""

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from subprocess import PIPE

import pytest

from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.sqlite.schema import APPLICATION_ID, MIGRATIONS
from callsheet.actors.persistence.store import AddReceipts, GetCounters, GetJobs, GetLiveRuns, GetReceipts, InsertJob
from callsheet.actors.records import Receipt
from callsheet.errors import Fenced, StoreError, StoreForeign, StoreTooNew
from support.stored import Leader, a_record, insert

VERSION_1 = Path(__file__).with_name("version_1.sql")


def header(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as connection:
        [owner] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
    return owner, version


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        return [(name, " ".join(text.split())) for name, text in rows]


def make(path: Path, *statements: str) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.executescript(statement)
    return path.read_bytes()


def test_a_new_file_is_ours_at_the_newest_version_and_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    store.open()
    Leader(store).write(insert(a_record()))
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir() if file.is_file()} == {0o600}
    assert (tmp_path / "jobs.db.nodes").stat().st_mode & 0o777 == 0o700
    assert {file.name for file in tmp_path.iterdir()} >= {"jobs.db", "jobs.db-wal", "jobs.db.lock"}
    store.close()
    assert header(path) == (APPLICATION_ID, len(MIGRATIONS))


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    store = SQLiteStore(path)
    store.open()
    store.close()
    assert header(path) == (APPLICATION_ID, len(MIGRATIONS))


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE t (x)",),
        ("PRAGMA application_id = 7",),
        ("PRAGMA user_version = 3",),
        ("PRAGMA journal_mode = WAL", "CREATE TABLE t (x)", "PRAGMA application_id = 7"),
    ],
)
def test_the_database_of_another_program_is_left_as_it_is(tmp_path: Path, statements: Sequence[str]) -> None:
    path = tmp_path / "other.db"
    before = make(path, *statements)
    with pytest.raises(
        StoreForeign, match=r"other\.db is an SQLite database of another program .* Choose another file"
    ):
        SQLiteStore(path).open()
    assert path.read_bytes() == before
    assert not (tmp_path / "other.db.lock").exists()


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Remember the milk.\n" * 100)
    with pytest.raises(StoreForeign, match=r"notes\.txt is not an SQLite database"):
        SQLiteStore(path).open()
    assert path.read_text() == "Remember the milk.\n" * 100
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreForeign, match="is a folder; the store is a file"):
        SQLiteStore(tmp_path).open()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none.* cannot be made"):
        SQLiteStore(tmp_path / "none" / "jobs.db").open()


def test_a_file_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    before = make(path, f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StoreTooNew, match=rf"version {len(MIGRATIONS) + 1}, this one knows up to {len(MIGRATIONS)}"):
        SQLiteStore(path).open()
    assert path.read_bytes() == before


def test_another_process_opens_the_store_as_well_and_reads_what_the_first_wrote(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    store.open()
    leader = Leader(store)
    leader.write(insert(a_record()))
    script = (
        "import sys; from callsheet.actors.persistence.sqlite import SQLiteStore\n"
        "store = SQLiteStore(sys.argv[1]); store.open(); print(store.lease().holder); store.close()\n"
    )
    (tmp_path / "link.db").symlink_to(path)
    for name in ("jobs.db", "link.db"):
        told = subprocess.run(
            [sys.executable, "-c", script, tmp_path / name], capture_output=True, text=True, check=True
        ).stdout
        assert told == "leader\n"
    leader.write(insert(a_record("more")))
    store.close()
    assert not (tmp_path / "link.db.lock").exists()


def test_processes_that_open_a_new_file_at_once_make_it_once(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    script = (
        "import sys; from callsheet.actors.persistence.sqlite import SQLiteStore\n"
        "store = SQLiteStore(sys.argv[1]); sys.stdin.readline(); store.open(); print(store.lease()); store.close()\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    processes = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60) for process in processes]
    assert told == [("None\n", "")] * 4
    assert header(path) == (APPLICATION_ID, len(MIGRATIONS))


def test_a_store_that_failed_to_open_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    broken = SQLiteStore(path, migrations=(("CREATE TABEL oops",),))
    with pytest.raises(StoreError, match="syntax error"):
        broken.open()
    store = SQLiteStore(path)
    store.open()
    store.close()


def test_the_same_file_is_opened_twice_in_one_process_and_one_of_them_leads(tmp_path: Path) -> None:
    stores = [SQLiteStore(tmp_path / "jobs.db") for _ in range(2)]
    for store in stores:
        store.open()
    first, second = stores
    deposed = Leader(first)
    deposed.write(insert(a_record("one")))
    Leader(second, "next").write(insert(a_record("two")))
    with pytest.raises(Fenced):
        deposed.write(insert(a_record("three")))
    names = tuple(("default", name) for name in ("one", "two", "three"))
    for store in stores:
        assert [record.job.name for record in store.read(GetJobs(names))] == ["one", "two"]
        store.close()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    with pytest.raises(StoreError, match="not open"):
        store.lease()
    with pytest.raises(StoreError, match="not open"):
        store.commit([], epoch=1, holder="x", seq=1)


def test_a_file_of_version_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    make(path, VERSION_1.read_text())
    store = SQLiteStore(path)
    store.open()
    [record] = store.read(GetJobs((("default", "nightly"),)))
    [live] = store.read(GetLiveRuns())
    assert (record.job.tags, record.state.next_due) == (("x",), 1_000)
    assert (live.run.run_id, live.claim.fence, live.condition.reason) == (2, 11, "no target")
    assert store.lease() is not None
    assert store.read(GetReceipts(("key",))) == []
    Leader(store).write(insert(a_record("new")), AddReceipts((Receipt("key", 5),)))
    assert store.read(GetReceipts(("key",))) == [Receipt("key", 5)]
    store.close()


def test_what_was_removed_in_a_file_of_version_1_is_known_as_removed(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    make(path, VERSION_1.read_text() + "UPDATE lease SET epoch = 9; UPDATE jobs SET status = 'removed', epoch = 9;")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE lease SET epoch = 10")
        connection.commit()
    store = SQLiteStore(path)
    store.open()
    [record] = store.read(GetJobs((("default", "nightly"),)))
    assert record.state.removed == record.state.version > 0
    store.close()


def test_the_file_of_version_1_has_the_tables_of_version_1(tmp_path: Path) -> None:
    make(tmp_path / "old.db", VERSION_1.read_text())
    new = SQLiteStore(tmp_path / "new.db", migrations=MIGRATIONS[:1])
    new.open()
    new.close()
    assert schema(tmp_path / "old.db") == schema(tmp_path / "new.db")


def test_a_migration_brings_the_content_along(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    make(path, VERSION_1.read_text())
    steps = (*MIGRATIONS, ("ALTER TABLE jobs ADD COLUMN note TEXT", "UPDATE jobs SET note = 'seen'"))
    store = SQLiteStore(path, migrations=steps)
    store.open()
    assert len(store.read(GetJobs((("default", "nightly"),)))) == 1
    store.close()
    assert header(path) == (APPLICATION_ID, len(steps))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT DISTINCT note FROM jobs").fetchall() == [("seen",)]
    with pytest.raises(StoreTooNew):
        SQLiteStore(path, migrations=steps[:1]).open()


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    make(path, VERSION_1.read_text())
    steps = (
        MIGRATIONS[0],
        ("CREATE TABLE fine (x)",),
        ("CREATE TABLE half (x)", "DROP TABLE runs", "CREATE TABEL oops"),
    )
    with pytest.raises(StoreError, match="syntax error"):
        SQLiteStore(path, migrations=steps).open()
    assert header(path) == (APPLICATION_ID, 2)
    store = SQLiteStore(path, migrations=steps[:2])
    store.open()
    assert [live.run.run_id for live in store.read(GetLiveRuns())] == [2]
    store.close()


def test_tidying_brings_the_log_into_the_file_and_is_done_once(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    leader = Leader(store)
    leader.write(*(InsertJob(each.job, each.state) for each in (a_record(f"job-{n}") for n in range(200))))
    before = (tmp_path / "jobs.db").stat().st_size
    assert [store.tidy(), store.tidy()] == [True, False]
    assert (tmp_path / "jobs.db").stat().st_size > before
    leader.write()
    assert store.tidy()
    assert len(store.read(GetJobs(tuple(("default", f"job-{n}") for n in range(200))))) == 200
    assert store.read(GetCounters()) != []
    store.close()
