"""A life of the scheduler: one process, which this demo starts, listens to, and kills or asks to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from evidence import Acknowledged, Life
from footprint import now

PROGRAM: Final = Path(__file__).resolve().parent / "pipeline.py"
PATIENCE_S: Final = 60.0
"""How long anything may take that should take moments, on a machine that is busy with other things."""
SHOWN_LINES: Final = 20


class ChildFailed(Exception):
    """A process of the scheduler did not do what it was asked for; the text has the end of its log."""


class Child:
    """A process of its own session and group, with a pipe each way. What came through the pipe before a kill counts."""

    def __init__(self, folder: Path, number: int, first_order: int) -> None:
        self.number = number
        self.acknowledged: list[Acknowledged] = []
        self.next_order = first_order
        self.ready_at = 0
        self.ended_at = 0
        self._log = folder / f"scheduler-{number}.log"
        self._told: dict[str, threading.Event] = {"ready": threading.Event(), "closed": threading.Event()}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(first_order)],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, name=f"life {number}", daemon=True)
        self._listener.start()

    @property
    def process(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    @property
    def life(self) -> Life:
        """What the verdict wants to know of it."""
        return Life(self.process, self.ready_at, self.ended_at)

    def has_told(self, what: str) -> bool:
        """Whether it has told that it is `ready`, or that its shop has `closed`.

        Raises:
            ChildFailed: it has ended before.
        """
        told = self._told[what].is_set()
        if not told and self._process.poll() is not None:
            raise self.failure(f"ended with exit status {self._process.returncode} before it was {what}")
        return told

    def kill(self) -> None:
        """Kill its whole process group, and hear what it had still said."""
        self.ended_at = now()
        os.killpg(self.process, signal.SIGKILL)
        self._process.wait(PATIENCE_S)
        self._listener.join(PATIENCE_S)

    def close_books(self) -> None:
        """Let it submit the last work of the day."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"close the books\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """Ask it to stop, and wait until it has.

        Raises:
            ChildFailed: it did not, or not in order.
        """
        self.ended_at = now()
        self._process.terminate()
        try:
            status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.abandon()
            raise self.failure(f"did not stop within {PATIENCE_S:g} s of SIGTERM") from None
        self._listener.join(PATIENCE_S)
        if status != 0:
            raise self.failure(f"stopped with exit status {status}")

    def abandon(self) -> None:
        """Kill it if it is still there: the demo itself has failed."""
        if self._process.poll() is None:
            self.kill()

    def failure(self, what: str) -> ChildFailed:
        """The error that says what happened, with the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        return ChildFailed("\n".join([f"life {self.number} of the scheduler (process {self.process}) {what}", *lines]))

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(b"\n"):
                self._hear(json.loads(line))

    def _hear(self, told: dict[str, Any]) -> None:
        match told["kind"]:
            case "acknowledged":
                self.acknowledged.append(Acknowledged(told["key"], told["run_id"], told["at"]))
                self.next_order = max(self.next_order, told["order"] + 1)
            case "ready":
                self.ready_at = told["at"]
                self._told["ready"].set()
            case "closed":
                self._told["closed"].set()
