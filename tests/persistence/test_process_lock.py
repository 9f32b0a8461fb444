import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callsheet.actors.persistence.process_lock import ProcessLock
from callsheet.errors import StoreError, StoreInUse

HOLDER = """
import sys
from pathlib import Path
from callsheet.actors.persistence.process_lock import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
lock.take()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    store = tmp_path / "jobs.db"
    first, second = ProcessLock(store), ProcessLock(store)
    first.take()
    with pytest.raises(StoreInUse, match=rf"jobs\.db is in use by process {os.getpid()} on "):
        second.take()
    first.release()
    first.release()
    second.take()
    second.release()


def test_a_killed_process_lets_go_at_once(tmp_path: Path) -> None:
    store = tmp_path / "jobs.db"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        lock = ProcessLock(store)
        with pytest.raises(StoreInUse, match=f"process {holder.pid} "):
            lock.take()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        lock.take()
        lock.release()


def test_a_forked_child_does_not_hold_the_lock_on(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "jobs.db")
    lock.take()
    forked, forked_in_child = os.pipe()
    end_in_child, end = os.pipe()
    child = os.fork()
    if child == 0:  # lives on while the parent lets go
        os.close(end)
        os.write(forked_in_child, b".")
        os.read(end_in_child, 1)
        os._exit(0)
    try:
        os.read(forked, 1)
        lock.release()
        again = ProcessLock(tmp_path / "jobs.db")
        again.take()
        again.release()
    finally:
        for descriptor in (end, end_in_child, forked, forked_in_child):
            os.close(descriptor)
        os.waitpid(child, 0)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none/jobs\.db\.lock: cannot be made"):
        ProcessLock(tmp_path / "none" / "jobs.db").take()


def test_the_lock_file_is_its_owners_only(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "jobs.db")
    lock.take()
    assert (tmp_path / "jobs.db.lock").stat().st_mode & 0o777 == 0o600
    lock.release()
