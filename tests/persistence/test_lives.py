"""Who lives: known by a lock that the kernel frees."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from callsheet.actors.persistence.sqlite.lives import Life, Lives
from callsheet.actors.persistence.sqlite.process import started_at
from callsheet.errors import NameTaken, StoreError

ENTER = """
import sys
from pathlib import Path
from callsheet.actors.persistence.sqlite.lives import Lives
lives = Lives(Path(sys.argv[1]))
lives.enter("other/1")
print("entered", flush=True)
sys.stdin.read()
lives.leave()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has entered as `other/1`, and leaves when its input ends."""
    command = [sys.executable, "-c", ENTER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "entered\n"
        try:
            yield process
        finally:
            process.kill()


def files(path: Path) -> list[Path]:
    return sorted(path.with_name("jobs.db.nodes").iterdir())


def test_a_process_is_dead_for_certain_after_a_kill_and_not_before(path: Path) -> None:
    lives = Lives(path)
    with another_process(path) as process:
        assert not lives.is_dead("other/1")
        process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert not lives.is_dead("other/1")
        process.kill()
        process.wait()
        assert lives.is_dead("other/1")


def test_of_who_never_came_and_who_has_left_nothing_is_said(path: Path) -> None:
    lives = Lives(path)
    assert not lives.is_dead("other/1")
    with another_process(path) as process:
        process.communicate()
        assert process.returncode == 0
    assert not lives.is_dead("other/1")
    assert files(path) == []


def test_who_leaves_and_is_still_named_is_seen_to_be_gone(path: Path) -> None:
    gone, lives = Lives(path), Lives(path)
    gone.enter("node/1")
    gone.leave(keep=True)
    gone.leave()
    assert lives.is_dead("node/1")


def test_two_of_one_process_live_and_die_apart(path: Path) -> None:
    first, second = Lives(path), Lives(path)
    first.enter("node/1")
    second.enter("node/2")
    assert (first.name, second.name) == ("node/1", "node/2")
    assert not first.is_dead("node/2")
    second.leave(keep=True)
    assert [first.is_dead("node/1"), first.is_dead("node/2")] == [False, True]
    first.leave()


def test_a_name_belongs_to_one_that_lives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callsheet.actors.persistence.sqlite.lives.ENTER_TRIES", 2)
    first, second = Lives(path), Lives(path)
    first.enter("node/1")
    with pytest.raises(NameTaken, match=r"jobs\.db\.nodes: another process lives under the name 'node/1'"):
        second.enter("node/1")
    first.leave()
    second.enter("node/1")
    second.leave()


def test_a_file_that_cannot_be_made_is_named(path: Path) -> None:
    lives = Lives(path)
    lives.enter("node/1")
    lives.leave(keep=True)
    [file] = files(path)
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError, match=r"\.life: cannot be made or locked"):
        lives.enter("node/1")
    assert lives.name == ""


def test_a_name_may_be_long_and_of_any_letters(path: Path) -> None:
    lives = Lives(path)
    name = "../" + "\N{SNOWMAN}\n" * 2_000
    lives.enter(name)
    assert len(Lives(path).others()) == 1
    lives.leave(keep=True)
    assert Lives(path).is_dead(name)


def test_a_living_process_is_known_by_number_and_start_and_a_dead_one_is_not(path: Path) -> None:
    lives = Lives(path)
    with another_process(path) as process:
        [life] = lives.others()
        assert (life.process, life.started_at > 0) == (process.pid, sys.platform == "linux")
        process.kill()
        process.wait()
        assert lives.others() == []


def test_sweeping_removes_what_the_dead_left_and_nothing_else(path: Path) -> None:
    lives, gone = Lives(path), Lives(path)
    lives.enter("node/1")
    gone.enter("gone/1")
    gone.leave(keep=True)
    with another_process(path):
        assert len(files(path)) == 3
        lives.sweep()
        assert len(files(path)) == 2
        assert not lives.is_dead("other/1")
    lives.sweep()
    assert len(files(path)) == 1
    lives.leave()
    lives.sweep()
    assert files(path) == []
    (path.with_name("jobs.db.nodes") / "of another.use").touch()
    lives.sweep()
    assert len(files(path)) == 1


def test_what_lies_there_is_its_owners_only(path: Path) -> None:
    lives = Lives(path)
    lives.enter("node/1")
    [file] = files(path)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    lives.leave()


def test_a_forked_child_does_not_live_for_its_parent(path: Path) -> None:
    with another_process(path) as process:
        process.kill()
        process.wait()
    parent, lives = Lives(path), Lives(path)
    end_in_child, end = os.pipe()
    told, tell = os.pipe()
    middle = os.fork()
    if middle == 0:  # enters, forks a child that lives on, and is killed
        parent.enter("parent/1")
        if os.fork() == 0:
            os.close(end)
            os.write(tell, b".")
            os.read(end_in_child, 1)
            os._exit(0)
        os.read(told, 1)
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        os.waitpid(middle, 0)
        assert lives.is_dead("parent/1")
    finally:
        for descriptor in (end, end_in_child, told, tell):
            os.close(descriptor)


def test_sweepers_and_onlookers_take_nothing_from_who_enters(path: Path) -> None:
    """Races of files that are made, locked, looked at and removed, in threads with locks of their own."""
    ended = threading.Event()
    counts = {"swept": 0}

    def sweep() -> None:
        sweeper = Lives(path)
        while not ended.is_set():
            sweeper.sweep()
            counts["swept"] += 1

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in sweepers:
        thread.start()
    onlooker = Lives(path)
    try:
        for number in range(300):
            lives = Lives(path)
            lives.enter(f"node/{number}")
            assert Life(os.getpid(), started_at(os.getpid())) in onlooker.others()
            assert not onlooker.is_dead(f"node/{number}")
            lives.leave(keep=number % 2 == 0)
    finally:
        ended.set()
        for thread in sweepers:
            thread.join()
    assert counts["swept"] > 0
    onlooker.sweep()
    assert files(path) == []
