import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callsheet.file_lock import FileLock

HOLDER = """
import sys
from pathlib import Path
from callsheet.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
lock.open()
assert lock.take()
print("held", flush=True)
sys.stdin.read()
"""


def opened(path: Path) -> FileLock:
    lock = FileLock(path)
    lock.open()
    return lock


def test_two_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    assert [first.take(), second.take(), first.take()] == [True, False, True]
    first.free()
    assert [second.take(), first.take()] == [True, False]
    second.close()
    second.close()
    assert first.take()
    first.close()


def test_a_killed_process_lets_go_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        lock = opened(path)
        assert not lock.take()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert lock.take()
        lock.close()


def test_a_forked_child_does_not_hold_the_lock_on(tmp_path: Path) -> None:
    lock = opened(tmp_path / "lock")
    assert lock.take()
    forked, forked_in_child = os.pipe()
    end_in_child, end = os.pipe()
    child = os.fork()
    if child == 0:  # lives on while the parent dies, as far as its files go
        os.close(end)
        os.write(forked_in_child, b".")
        os.read(end_in_child, 1)
        os._exit(0)
    try:
        os.read(forked, 1)
        os.close(
            lock.descriptor
        )  # as a kill does it, and unlike `close`, which frees the lock for all who have the file
        again = opened(tmp_path / "lock")
        assert again.take()
        again.close()
    finally:
        for descriptor in (end, end_in_child, forked, forked_in_child):
            os.close(descriptor)
        os.waitpid(child, 0)


def test_a_fork_takes_nothing_from_the_parent(tmp_path: Path) -> None:
    lock, other = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    assert lock.take()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert not other.take()
    for each in (lock, other):
        each.close()


def test_a_file_that_was_removed_is_not_in_place(tmp_path: Path) -> None:
    lock = opened(tmp_path / "lock")
    assert lock.is_in_place()
    lock.path.unlink()
    assert not lock.is_in_place()
    lock.path.touch()
    assert not lock.is_in_place()
    lock.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none/lock"):
        opened(tmp_path / "none" / "lock")


def test_the_lock_file_is_its_owners_only(tmp_path: Path) -> None:
    lock = opened(tmp_path / "lock")
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    lock.close()


def test_a_file_or_folder_that_is_there_is_locked_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    for each in (path, tmp_path):
        lock = FileLock.on(each)
        assert lock is not None
        assert lock.is_in_place()
        assert FileLock.on(each) is None
        lock.close()
        again = FileLock.on(each)
        assert again is not None
        again.close()
    assert path.read_text() == "text"


def test_what_is_not_there_is_not_made_by_looking_for_its_lock(tmp_path: Path) -> None:
    assert FileLock.on(tmp_path / "none") is None
    assert list(tmp_path.iterdir()) == []


def test_shared_locks_exclude_none_but_the_one_that_is_not(tmp_path: Path) -> None:
    first, second, alone = opened(tmp_path / "lock"), opened(tmp_path / "lock"), opened(tmp_path / "lock")
    assert [first.take(shared=True), second.take(shared=True), alone.take()] == [True, True, False]
    first.close()
    assert not alone.take()
    second.close()
    assert [alone.take(), FileLock.on(tmp_path / "lock", shared=True)] == [True, None]
    alone.close()
