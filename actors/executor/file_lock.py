"""A lock on a file or a folder that dies with its process: `flock`, so that nothing is ever stale, and no fork shares it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ...forks import forking, register


class FileLock:
    """A lock on a file or folder, which dies with the process, and which no child shares."""

    def __init__(self) -> None:
        self._file: int | None = None

    def take(self, path: Path, how: int) -> bool:
        """Take it, exclusive or shared; false when somebody has it, or nothing is there."""
        with forking:
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(file, how | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                return False
            self._file = file
            register(self)
        return True

    def release(self) -> None:
        """Let others have it; twice is harmless."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self.let_go()

    def let_go(self) -> None:
        """Close the file; the lock is left to a process that shares it."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
