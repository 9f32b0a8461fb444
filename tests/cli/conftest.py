"""The command as a process of its own, in a folder of its own."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from callsheet.log import LOGGER
from support.waiting import eventually

COMMAND = [sys.executable, "-m", "callsheet.cli"]
PROGRAM = """
import asyncio

from callsheet import Scheduler, every

scheduler = Scheduler("sqlite:///jobs.db", threads=2, processes=1)


@scheduler.job(every("1h"), tags=["hourly"])
def greet():
    print("good morning")


@scheduler.job()
def fail():
    raise ValueError("no good")


@scheduler.job()
async def hang():
    await asyncio.sleep(3600)


@scheduler.job(executor="process")
def double(n=21):
    return 2 * n


if __name__ == "__main__":
    raise SystemExit("this program was run as __main__")
"""


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command that is called in this process sets up the log of the whole of it, on a stream that ends with the test."""
    handlers, level = LOGGER.handlers.copy(), LOGGER.level
    yield
    LOGGER.handlers[:] = handlers
    LOGGER.setLevel(level)


@dataclass
class Ran:
    """What a command that has ended left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The table of a pipe, each row by its titles."""
        titles, *lines = self.out.splitlines()
        return [dict(zip(titles.split("\t"), line.split("\t"), strict=True)) for line in lines]


class Shell:
    """Runs the command in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        hidden = {"CALLSHEET_STORE", "NO_COLOR", "FORCE_COLOR", "COLUMNS"}
        self.environment = {key: value for key, value in os.environ.items() if key not in hidden}
        self.environment |= {"TZ": "UTC", "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"}
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Ran:
        ran = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command that stays; what it prints goes to files, so that it never waits for a reader."""
        number = len(self._started)
        with (self.folder / f"out{number}").open("w") as out, (self.folder / f"err{number}").open("w") as err:
            started = subprocess.Popen(
                [*COMMAND, *arguments], cwd=self.folder, env=self.environment, stdout=out, stderr=err, text=True
            )
        self._started.append(started)
        return started

    def serve(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `run`, and waits until it runs."""
        started = self.start("run", *arguments)
        number = len(self._started) - 1

        def runs() -> bool:
            assert started.poll() is None, self.text(f"err{number}")
            return "running" in self.text(f"out{number}") or '"started"' in self.text(f"out{number}")

        eventually(runs, within_s=30)
        return started

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def on_terminal(self, *arguments: str) -> Ran:
        """Runs the command with a terminal as its standard output."""
        ours, theirs = pty.openpty()
        try:
            ran = subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=self.folder,
                env={**self.environment, "COLUMNS": "100"},
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=subprocess.PIPE,
                text=True,
            )
            os.close(theirs)
            shown = _read_terminal(ours)
            _, err = ran.communicate(timeout=30)
        finally:
            os.close(ours)
        return Ran(ran.returncode, shown.replace("\r\n", "\n"), err)

    def end(self) -> None:
        for each in self._started:
            if each.poll() is None:
                each.kill()
            each.wait(10)


def _read_terminal(ours: int) -> str:
    pieces: list[bytes] = []
    while select.select([ours], [], [], 30)[0]:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # Linux says so when the other end was closed
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces).decode()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.end()


@pytest.fixture
def program(shell: Shell) -> Path:
    return shell.write("app.py", PROGRAM)


@pytest.fixture
def stop() -> Callable[[subprocess.Popen[str]], int]:
    """Ends a scheduler as a service manager does, and answers its exit code."""

    def end(process: subprocess.Popen[str]) -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(40)

    return end
