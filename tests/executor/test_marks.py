from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from callsheet.actors.executor import marks as marks_module
from callsheet.actors.executor.marks import (
    ALL_FENCES,
    SLOTS,
    AttachedMarks,
    Marks,
    left_marks,
    read_begun,
    remove_marks,
    revoke,
    segment_path,
    sweep_marks,
)


def test_a_mark_that_was_set_is_read_by_another_incarnation(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    marks.set(run_id=7, fence=70)
    marks.set(run_id=8, fence=80)
    begun = read_begun(tmp_path, "one")
    assert begun.readable
    assert begun.fences == {70, 80}
    assert marks.fences() == {70, 80}
    marks.close()


def test_a_forgotten_mark_is_gone_and_its_slot_is_used_again(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    first = marks.reserve(70)
    marks.forget([70, 71])
    assert marks.reserve(80) == first
    assert read_begun(tmp_path, "one").fences == set()
    marks.close()


def test_a_reserved_slot_is_no_mark_until_a_worker_sets_it(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    slot = marks.reserve(70)
    assert not marks.is_set(70)
    AttachedMarks(tmp_path, "one").set(slot, 7, 70)
    assert marks.is_set(70)
    assert read_begun(tmp_path, "one").fences == {70}


def test_a_mark_is_found_wherever_it_stands(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    slots = [marks.reserve(fence) for fence in range(1, SLOTS + 1)]
    worker = AttachedMarks(tmp_path, "one")
    numbers = (1, 255, 256, 257, SLOTS // 2, SLOTS - 1, SLOTS)
    for number in numbers:
        assert worker.set(slots[number - 1], number, number)

    assert read_begun(tmp_path, "one").fences == set(numbers)


def test_marks_grow_by_a_segment_rather_than_refuse(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    slot = [marks.reserve(fence) for fence in range(1, SLOTS + 11)][-1]
    AttachedMarks(tmp_path, "one").set(slot, 1, SLOTS + 10)
    assert segment_path(tmp_path, "one", 1).exists()
    assert read_begun(tmp_path, "one").fences == {SLOTS + 10}
    remove_marks(tmp_path, "one")
    assert list(tmp_path.iterdir()) == []


def test_marks_survive_kill_minus_9(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, os, signal\n"
        "from callsheet.actors.executor.marks import Marks\n"
        "marks = Marks(pathlib.Path(sys.argv[1]), 'dead')\n"
        "for fence in range(1, 101): marks.set(fence, fence)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert read_begun(tmp_path, "dead").fences == set(range(1, 101))


def test_marks_of_another_boot_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Marks(tmp_path, "one").set(7, 70)
    monkeypatch.setattr(marks_module, "boot_id", lambda: "another")
    assert not read_begun(tmp_path, "one").readable


def test_marks_of_another_machine_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Marks(tmp_path, "one").set(7, 70)
    monkeypatch.setattr(marks_module, "machine_id", lambda: "another")
    assert not read_begun(tmp_path, "one").readable


def test_marks_without_a_boot_id_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks_module, "boot_id", lambda: "")
    Marks(tmp_path, "one").set(7, 70)
    assert not read_begun(tmp_path, "one").readable


@pytest.mark.parametrize("length", [0, 5, 127, 128, 4096])
def test_a_torn_file_is_not_trusted(tmp_path: Path, length: int) -> None:
    Marks(tmp_path, "one").set(7, 70)
    os.truncate(segment_path(tmp_path, "one", 0), length)
    assert not read_begun(tmp_path, "one").readable


def test_marks_that_are_missing_are_not_trusted(tmp_path: Path) -> None:
    assert not read_begun(tmp_path, "never").readable
    assert not read_begun(None, "never").readable


def test_an_incarnation_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    assert segment_path(tmp_path, "../../etc/passwd", 0).parent == tmp_path
    assert segment_path(tmp_path, "..", 0).parent == tmp_path


def test_marks_without_a_folder_go_with_the_process() -> None:
    marks = Marks(None, "one")
    folder = marks.folder
    marks.set(7, 70)
    assert marks.fences() == {70}
    marks.close()
    assert not folder.exists()


def test_a_sweep_removes_what_those_of_the_dead_left_that_are_named_and_nothing_of_the_living(tmp_path: Path) -> None:
    dead, other, living = (Marks(tmp_path, name) for name in ("dead", "other", "living"))
    dead.set(1, 1)
    dead.close()
    other.close()
    assert left_marks(tmp_path) == ["dead", "other"]
    sweep_marks(tmp_path, ("dead", "living", "nobody"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["living.marks", "other.marks"]
    living.close()
    sweep_marks(tmp_path, left_marks(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_mark_that_was_revoked_is_not_set_and_a_newer_one_is(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    assert marks.set(7, 70)
    begun = revoke(tmp_path, "one", 80)
    assert (begun.readable, begun.dead, begun.revoked, begun.fences) == (True, False, 80, frozenset({70}))
    assert not marks.set(8, 80)
    assert marks.set(9, 81)
    assert read_begun(tmp_path, "one").fences == {70, 81}
    assert read_begun(tmp_path, "one").revoked == 80
    marks.close()


def test_a_worker_finds_what_was_revoked_also_in_a_later_segment(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    slots = [marks.reserve(fence) for fence in range(1, SLOTS + 3)]
    worker = AttachedMarks(tmp_path, "one")
    revoke(tmp_path, "one", SLOTS + 1)
    assert not worker.set(slots[-2], 1, SLOTS + 1)
    assert worker.set(slots[-1], 1, SLOTS + 2)
    assert revoke(tmp_path, "one", 5).fences == {SLOTS + 2}
    marks.close()


def test_of_many_who_revoke_at_once_the_greatest_fence_stays(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    fences = random.Random(1).sample(range(1, 10_000), 120)
    revokers = [
        threading.Thread(target=lambda part=fences[at::6]: [revoke(tmp_path, "one", it) for it in part])
        for at in range(6)
    ]
    for revoker in revokers:
        revoker.start()
    for revoker in revokers:
        revoker.join()
    assert read_begun(tmp_path, "one").revoked == max(fences)
    marks.close()


def test_nothing_is_revoked_or_readable_while_somebody_else_revokes_and_does_not_end(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    assert not revoke(tmp_path, "one", 80).readable
    assert read_begun(tmp_path, "one").readable, "reading waits for nobody"
    os.close(folder)
    assert marks.set(8, 80)
    marks.close()


CHILD = """
import os, pathlib, signal, sys
from callsheet.actors.executor.marks import Marks
marks = Marks(pathlib.Path(sys.argv[1]), "one")
marks.set(7, 70)
if sys.argv[2:] and os.fork():
    signal.pause()
print(os.getpid(), flush=True)  # a forked child says so when it has let go of what is its parent's
signal.pause()
"""


def start_child(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, child.stdout.readline()


def end_child(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def test_the_living_and_the_frozen_are_not_dead_and_the_killed_are(tmp_path: Path) -> None:
    child, _ = start_child(tmp_path)
    assert not read_begun(tmp_path, "one").dead
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    frozen = revoke(tmp_path, "one", 80)
    assert (frozen.readable, frozen.dead, frozen.revoked, frozen.fences) == (True, False, 80, frozenset({70}))
    end_child(child)
    dead = read_begun(tmp_path, "one")
    assert (dead.readable, dead.dead, dead.fences) == (True, True, frozenset({70}))


def test_a_worker_that_outlives_its_node_begins_nothing_once_the_node_was_found_dead(tmp_path: Path) -> None:
    marks = Marks(tmp_path, "one")
    slot = marks.reserve(70)
    worker = AttachedMarks(tmp_path, "one")
    marks.close()
    assert read_begun(tmp_path, "one").revoked == ALL_FENCES
    assert not worker.set(slot, 7, 70)


def test_a_forked_child_does_not_make_its_dead_parent_living(tmp_path: Path) -> None:
    child, forked = start_child(tmp_path, "fork")
    assert not read_begun(tmp_path, "one").dead
    end_child(child)
    assert Path(f"/proc/{int(forked)}").exists() or sys.platform != "linux"
    assert read_begun(tmp_path, "one").dead
    os.kill(int(forked), signal.SIGKILL)


def test_a_forked_child_that_ends_does_not_remove_the_private_folder_of_its_parent() -> None:
    script = (
        "import os, sys\n"
        "from callsheet.actors.executor.marks import Marks\n"
        "marks = Marks(None, 'one')\n"
        "if not (pid := os.fork()): marks.close() if sys.argv[1:] else None; sys.exit()\n"
        "os.waitpid(pid, 0)\n"
        "assert marks.folder.exists()\n"
        "marks.set(7, 70); marks.close()\n"
        "assert not marks.folder.exists()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    subprocess.run([sys.executable, "-c", script, "close"], check=True)


def test_a_sweep_never_removes_a_file_that_is_just_being_made(tmp_path: Path) -> None:
    ended = threading.Event()
    swept = []

    def sweep() -> None:
        while not ended.is_set():
            sweep_marks(tmp_path, left_marks(tmp_path))
            swept.append(1)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    living = [Marks(tmp_path, f"living-{number}") for number in range(200)]
    ended.set()
    sweeper.join()
    assert swept
    assert all(segment_path(tmp_path, marks.incarnation, 0).exists() for marks in living)
    for marks in living:
        marks.close()


def test_a_file_that_never_got_its_name_is_swept_when_it_is_old(tmp_path: Path) -> None:
    old, new = (segment_path(tmp_path, name, 0).with_suffix(".marks.1.new") for name in ("old", "new"))
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 7_200,) * 2)
    sweep_marks(tmp_path, ())
    assert list(tmp_path.iterdir()) == [new]
