"""The warden: a small process that outlives this one for a moment, to end what this one has started.

After kill -9 nobody runs a `finally`. Worker processes notice that their parent is gone, but what their jobs have started does
not, nor do commands; and a run that is tried again on another node must not meet its own first attempt. So every process group
is told to the warden, and taken back when it has ended. The warden reads its standard input; the end of it is the end of the
parent, whatever that died of, and what it was told of and not taken back is killed.

A command runs before its parent knows the number of its group. So it is announced first, by a mark in its environment; if the
parent dies before it has told the number, the warden looks for the process that bears the mark. (A worker process runs
nothing before its number was told.)

A forked child closes its copy of the
pipe, so that it does not keep the end from being seen.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from ...forks import forking, register

PROGRAM: Final = Path(__file__).with_name("warden_process.py")
MARK: Final = "CALLSHEET_STARTED_AS"
"""The variable in the environment of a process that was announced."""
FAREWELL_S: Final = 1.0
MAX_STARTS: Final = 8
"""Somebody who keeps killing the warden does not want one."""

logger: Final = logging.getLogger(__name__)


class Warden:
    """Answers for process groups. Started with the first of them. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: dict[int, None] = {}
        self._announced: dict[str, None] = {}
        self._count = itertools.count(1)
        self.process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        register(self)

    def announce(self) -> str:
        """Answer the value of `MARK` for a process that is about to be made, in a group of its own; `watch` or `cancel` follows."""
        with self._lock:
            mark = f"{os.getpid()}.{next(self._count)}"
            self._announced[mark] = None
            self._tell(f"?{mark}\n".encode())
        return mark

    def cancel(self, mark: str) -> None:
        """The process that was announced is watched now, or was not made."""
        with self._lock:
            self._announced.pop(mark, None)
            self._tell(f"!{mark}\n".encode())

    def watch(self, group: int) -> None:
        """Have this group killed if this process dies."""
        with self._lock:
            self._groups[group] = None
            self._tell(b"+%d\n" % group)

    def release(self, group: int) -> None:
        """This group has ended, or may go on without us."""
        with self._lock:
            self._groups.pop(group, None)
            self._tell(b"-%d\n" % group)

    def close(self) -> None:
        """End the warden; a group that is still watched is killed."""
        with self._lock:
            process, self.process = self.process, None
            self._starts = MAX_STARTS
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                process.wait(FAREWELL_S)
            except subprocess.TimeoutExpired:  # a fork of a job's holds the pipe open
                process.kill()
                process.wait()

    def let_go(self) -> None:
        """In a forked child: the pipe is the parent's."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def _tell(self, line: bytes) -> None:
        if self.process is not None and self._write(line):
            return
        while (self._groups or self._announced) and self._starts < MAX_STARTS:
            self._starts += 1
            if self._start() and self._write(self._all()):
                return

    def _all(self) -> bytes:
        groups = [f"+{group}\n" for group in self._groups]
        return "".join([*groups, *(f"?{mark}\n" for mark in self._announced)]).encode()

    def _write(self, line: bytes) -> bool:
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line)
        except OSError:  # it is gone: somebody killed it
            self.process.stdin.close()
            self.process.kill()
            self.process.wait()
            self.process = None
            return False
        return True

    def _start(self) -> bool:
        try:
            with forking:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(PROGRAM), MARK],
                    stdin=subprocess.PIPE,
                    bufsize=0,
                    start_new_session=True,
                )
        except OSError as error:
            logger.warning("warden.start_failed why=%r", str(error))
            return False
        return True
