"""The warden: a small process that outlives this one for a moment, to end what this one has started.

After kill -9 nobody runs a `finally`. Worker processes notice that their parent is gone, but what their jobs have started does
not, nor do commands; and a run that is tried again on another node must not meet its own first attempt. So every process group
is told to the warden, and taken back when it has ended. The warden reads its standard input; the end of it is the end of the
parent, whatever that died of, and what it was told of and not taken back is killed.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

PROGRAM: Final = Path(__file__).with_name("warden_process.py")
FAREWELL_S: Final = 1.0
MAX_STARTS: Final = 8
"""Somebody who keeps killing the warden does not want one."""

logger: Final = logging.getLogger(__name__)


class Warden:
    """Answers for process groups. Started with the first of them. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: dict[int, None] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._starts = 0

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

    def _tell(self, line: bytes) -> None:
        if self.process is not None and self._write(line):
            return
        while self._groups and self._starts < MAX_STARTS:
            self._starts += 1
            if self._start() and self._write(b"".join(b"+%d\n" % group for group in self._groups)):
                return

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
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM)], stdin=subprocess.PIPE, bufsize=0, start_new_session=True
            )
        except OSError as error:
            logger.warning("warden.start_failed why=%r", str(error))
            return False
        return True
