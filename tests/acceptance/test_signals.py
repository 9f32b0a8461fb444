"""run() in a process of its own, and signals: the first stops in order, the second hurries, the third exits."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, sys, threading, time
from callsheet import Scheduler, every

path, kind = sys.argv[1:]
scheduler = Scheduler(f"sqlite:///{path}", drain_timeout=30, stop_timeout=40, processes=1)


def say(text):
    os.write(1, f"{text}\\n".encode())


@scheduler.job(every(3600, start="now"))
async def patient(ctx):
    say("begun")
    try:
        await asyncio.sleep({"short": 1.0}.get(kind, 60))
        say("ended")
    finally:
        say("left")


@scheduler.job(every(3600, start="now"))
def deaf():
    say("begun")
    if kind == "deaf":
        time.sleep(60)


scheduler.run()
say("stopped")
"""

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def start_one(kind: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, program, tmp_path / "jobs.db", kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str], within_s: float) -> tuple[int, list[str], str, float]:
    """How a process ended: its code, what it said, what it complained of, and how long that took."""
    began = time.monotonic()
    said, complained = process.communicate(timeout=within_s)
    return process.returncode, said.split(), complained, time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_running_jobs_end(start: Start, number: int) -> None:
    process = start("short")

    process.send_signal(number)

    code, said, complained, _ = finish(process, 20)
    assert (code, said, complained) == (0, ["ended", "left", "stopped"], "")


def test_the_second_signal_does_not_wait_for_them(start: Start) -> None:
    process = start("long")

    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.7)
    process.send_signal(signal.SIGINT)

    code, said, complained, took = finish(process, 20)
    assert (code, said, complained) == (0, ["left", "stopped"], "")
    assert took < 5


def test_the_third_signal_exits_whatever_runs(start: Start) -> None:
    process = start("deaf")

    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    process.send_signal(signal.SIGTERM)

    code, said, _, took = finish(process, 20)
    assert code == 128 + signal.SIGTERM
    assert "stopped" not in said
    assert took < 2


def test_a_job_that_ignores_the_end_does_not_keep_the_process(start: Start) -> None:
    process = start("deaf")

    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)

    code, said, _, took = finish(process, 20)
    assert code == 0
    assert said[-1] == "stopped"
    assert took < 12


def test_a_program_that_ends_without_a_stop_leaves_no_process_behind(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, time\n"
        "from callsheet import Scheduler\n"
        "def who():\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    scheduler = Scheduler(f'sqlite:///{sys.argv[1]}', processes=1).start()\n"
        "    scheduler.add(who, name='who', executor='process')\n"
        "    print(scheduler.submit('who').result(20))\n"
    )
    ran = subprocess.run(
        [sys.executable, program, tmp_path / "jobs.db"], check=False, capture_output=True, text=True, timeout=60
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    deadline = time.monotonic() + 10
    while Path(f"/proc/{int(ran.stdout)}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(int(ran.stdout), 0)
