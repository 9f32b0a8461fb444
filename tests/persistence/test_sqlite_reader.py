"""Reading a store's file from outside, while it is written and when it is not."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from callsheet.actors.persistence.sqlite import SQLiteReader, SQLiteStore
from callsheet.actors.persistence.sqlite.schema import APPLICATION_ID
from callsheet.actors.persistence.store import AddEnds, AddRuns, GetLiveRuns, ListRuns, Question
from callsheet.errors import StoreError, StoreForeign, StoreTooNew
from support.stored import Leader, a_record, a_run, an_end, insert

READ = """
import sys
from callsheet.actors.persistence.sqlite import SQLiteReader
from callsheet.actors.persistence.store import GetLiveRuns
reader = SQLiteReader(sys.argv[1])
reader.open()
for line in sys.stdin:
    print(len(reader.read(GetLiveRuns())), reader.lease().last_seq, flush=True)
reader.close()
"""


def test_another_process_sees_each_commit_while_the_first_goes_on_writing(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    store.open()
    leader = Leader(store)
    leader.write(AddRuns((a_run(1),)))
    with subprocess.Popen(
        [sys.executable, "-c", READ, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for number in range(2, 12):
            other.stdin.write("look\n")
            other.stdin.flush()
            assert other.stdout.readline() == f"{number - 1} {number - 1}\n"
            leader.write(AddRuns((a_run(number),)))
            store.tidy()
        other.stdin.close()
    assert other.returncode == 0
    store.close()


def test_a_reader_of_the_same_process_sees_commits_and_takes_no_lock_away(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    leader = Leader(store)
    reader = store.open_reader()
    leader.write(AddRuns((a_run(1),)))
    assert len(reader.read(GetLiveRuns())) == 1
    reader.close()
    reader.close()
    leader.write(AddRuns((a_run(2),)))
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
        assert other.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    store.close()


@pytest.mark.parametrize("killed", [False, True])
def test_a_file_that_nobody_holds_is_read_as_it_was_left(tmp_path: Path, killed: bool) -> None:
    path = tmp_path / "jobs.db"
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from callsheet.actors.persistence.sqlite import SQLiteStore\n"
        "from callsheet.actors.persistence.store import AddRuns\n"
        "from support.stored import Leader, a_run\n"
        "store = SQLiteStore(sys.argv[1]); store.open()\n"
        "Leader(store).write(AddRuns((a_run(1),)))\n"
        f"os.kill(os.getpid(), 9) if {killed} else store.close()\n"
    )
    subprocess.run([sys.executable, "-c", script, path, Path(__file__).parents[1] / "shared"], check=False)
    content = path.read_bytes()
    reader = SQLiteReader(path)
    reader.open()
    assert [live.run.run_id for live in reader.read(GetLiveRuns())] == [1]
    assert reader.lease() is not None
    reader.close()
    assert path.read_bytes() == content
    store = SQLiteStore(path)
    store.open()
    assert len(store.read(GetLiveRuns())) == 1
    store.close()


def test_an_answer_is_from_one_moment(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.open()
    leader = Leader(store)
    leader.write(insert(a_record()), AddRuns((a_run(1), a_run(2))), AddEnds((an_end(1),)))
    reader = store.open_reader()
    question: Question = ListRuns(tenant="default")
    assert reader.read(question) == store.read(question)
    leader.write(AddEnds((an_end(2),)))
    assert reader.read(question) == store.read(question)
    reader.close()
    store.close()


def test_a_reader_makes_nothing_and_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.db is not there"):
        SQLiteReader(tmp_path / "none.db").open()
    with pytest.raises(StoreForeign, match="is a folder"):
        SQLiteReader(tmp_path).open()
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreForeign, match="is empty"):
        SQLiteReader(tmp_path / "empty.db").open()
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99")
    with pytest.raises(StoreTooNew, match="version 99"):
        SQLiteReader(tmp_path / "new.db").open()
    with pytest.raises(StoreError, match="not open"):
        SQLiteReader(tmp_path / "new.db").read(GetLiveRuns())
    assert not (tmp_path / "none.db").exists()
