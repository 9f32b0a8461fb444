from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callsheet.actors.executor import marks as marks_module
from callsheet.actors.executor.marks import (
    SLOTS,
    AttachedMarks,
    Marks,
    read_begun,
    remove_marks,
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


def test_a_sweep_removes_what_the_dead_left_and_nothing_of_the_living(tmp_path: Path) -> None:
    dead, kept, living = (Marks(tmp_path, name) for name in ("dead", "kept", "living"))
    dead.set(1, 1)
    dead.close()
    kept.close()
    sweep_marks(tmp_path, ("kept",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.marks", "living.marks"]
    living.close()
    sweep_marks(tmp_path, ())
    assert list(tmp_path.iterdir()) == []
