"""A full disk: what is submitted is refused, nothing that was acknowledged is lost, and it goes on when there is room again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = '''
import json, os, resource, signal, sys, threading, time
from callsheet import Scheduler
from callsheet.errors import StoreFull

path, way = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
said = {}
gate = threading.Event()


def fill(scheduler):
    """No more room: for files at all, or for pages in the store."""
    if way == "file size":
        size = max(os.path.getsize(path), os.path.getsize(path + "-wal"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    else:
        connection = scheduler.store._file._open
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")


def make_room(scheduler):
    if way == "file size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        scheduler.store._file._open.execute("PRAGMA max_page_count = 1000000")


def refused(scheduler):
    """Submit until it is refused: what was accepted, and what the refusal says."""
    accepted = []
    for _ in range(3_000):
        try:
            accepted.append(scheduler.options(timeout=20).submit("large", "x" * 20_000).run_id)
        except StoreFull as error:
            return accepted, str(error)
    return accepted, ""


with Scheduler(f"sqlite:///{path}", threads=4) as scheduler:
    scheduler.add(lambda text: len(text), name="large")
    scheduler.add(lambda: gate.wait(30) and "y" * 50_000, name="gated")
    running = [scheduler.submit("gated") for _ in range(3)]
    while not all(handle.status().state in ("RUNNING", "CLAIMED") for handle in running):
        time.sleep(0.01)
    fill(scheduler)
    said["before"], said["text"] = refused(scheduler)
    gate.set()  # these end while there is no room to write it down
    time.sleep(0.5)
    said["again"] = refused(scheduler)[1]
    said["ends while it is full"] = sum(handle.done for handle in running)
    make_room(scheduler)
    said["ran"] = [len(handle.result(20)) for handle in running]
    said["after"] = scheduler.submit("large", "z" * 20_000).result(20)
    deadline = time.monotonic() + 30
    while any(it.ended_at is None for it in scheduler.runs(limit=10_000)) and time.monotonic() < deadline:
        time.sleep(0.05)
    said["runs"] = {it.run_id: str(it.state) for it in scheduler.runs(limit=10_000)}
with Scheduler(f"sqlite:///{path}") as scheduler:
    said["stored"] = {it.run_id: str(it.state) for it in scheduler.runs(limit=10_000)}
print(json.dumps(said))
'''


def play(folder: Path, way: str) -> dict[str, Any]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    command: list[str | Path] = [sys.executable, program, folder / "jobs.db", way]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-5_000:]
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


def judge(said: dict[str, Any], text: str) -> None:
    assert "the store takes no writes" in said["text"]
    assert text in said["text"]
    assert said["again"]
    assert said["ends while it is full"] == 0, "an end is told when it is stored"
    assert said["ran"] == [50_000] * 3
    assert said["after"] == 20_000
    assert said["stored"] == said["runs"]
    assert set(said["stored"].values()) == {"SUCCEEDED"}
    assert {str(run_id) for run_id in said["before"]} <= set(said["stored"])


def test_a_store_without_room_for_pages_refuses_and_recovers(tmp_path: Path) -> None:
    judge(play(tmp_path, "pages"), "Make room on the disk")


def test_a_disk_without_room_for_files_refuses_and_recovers(tmp_path: Path) -> None:
    judge(play(tmp_path, "file size"), "disk I/O error")
