"""A process that this demo starts, listens to, and kills or asks to stop: a node of the cluster, or the shop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from evidence import Acknowledged
from footprint import now

HERE: Final = Path(__file__).resolve().parent
PATIENCE_S: Final = 60.0
"""How long anything may take that should take moments, on a machine that is busy with other things."""
SHOWN_LINES: Final = 20


class ChildFailed(Exception):
    """A process did not do what it was asked for; the text has the end of its log."""


class Child:
    """A process of its own session and group, with a pipe each way. What came through the pipe before a kill counts.

    Args:
        folder: where it works, and its log is.
        name: what it is called; its only argument.
        program: a file of this folder, without `.py`.
    """

    def __init__(self, folder: Path, name: str, program: str) -> None:
        self.name = name
        self.acknowledged: list[Acknowledged] = []
        self.ready_at = 0
        self.ended_at = 0
        self._log = folder / f"{name}.log"
        self._told: dict[str, threading.Event] = {it: threading.Event() for it in ("loaded", "ready", "closed")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / f"{program}.py"), name],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, name=name, daemon=True)
        self._listener.start()

    @property
    def process(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    def has_told(self, what: str) -> bool:
        """Whether it has told that it has `loaded` its program, is `ready`, or has `closed` its shop.

        Raises:
            ChildFailed: it has ended before.
        """
        told = self._told[what].is_set()
        if not told and self._process.poll() is not None:
            raise self.failure(f"ended with exit status {self._process.returncode} before it had told {what!r}")
        return told

    def kill(self) -> None:
        """Kill its whole process group, and hear what it had still said."""
        self.ended_at = now()
        os.killpg(self.process, signal.SIGKILL)
        self._process.wait(PATIENCE_S)
        self._listener.join(PATIENCE_S)

    def say(self, line: str) -> None:
        """Say a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self.ended_at = now()
        self._process.terminate()

    def wait_stopped(self) -> None:
        """Wait until it has stopped.

        Raises:
            ChildFailed: it did not, or not in order.
        """
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
        return ChildFailed("\n".join([f"{self.name} (process {self.process}) {what}", *lines]))

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(b"\n"):
                self._hear(json.loads(line))

    def _hear(self, told: dict[str, Any]) -> None:
        match told["kind"]:
            case "acknowledged":
                self.acknowledged.append(Acknowledged(told["key"], told["run_id"], told["at"]))
            case "ready":
                self.ready_at = told["at"]
                self._told["ready"].set()
            case what:
                self._told[what].set()
