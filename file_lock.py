"""A lock on a file or a folder that dies with the process that holds it.

It is `flock`, so a kill -9 frees it at once and nothing is ever stale. It belongs to the open file, not to the process: two
locks on one file exclude each other within one process as between two, unless both are shared.

    FileLock(path) ── open ──▶ open ── take ──▶ held ── free ──▶ open ── close ──▶ closed      a file of its own, taken again and again
    FileLock.on(path) ───────────────────────▶ held ── close ────────────────────▶ closed      something that is there for another reason

A forked child shares its parent's open file, and with it the lock: it would keep it when the parent dies. So the child's copy
is closed at the fork (`callsheet.forks`); and a child that executes another program loses it by itself. What a parent frees is free
for all.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final, Self

from .forks import forking, register

_MAKE: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
_FIND: Final = os.O_RDONLY | os.O_CLOEXEC
_HELD_BY_ANOTHER: Final = frozenset({errno.EWOULDBLOCK, errno.EACCES, errno.EINTR})


class FileLock:
    """The lock on the file or folder at `path`. Whatever fails but the taking of a lock that somebody has is an OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @classmethod
    def on(cls, path: Path, *, shared: bool = False) -> Self | None:
        """Take the lock on a file or folder that is there; None when somebody has it, or nothing is there.

        Raises:
            OSError: it cannot be opened or locked.
        """
        lock = cls(path)
        try:
            lock._open(_FIND)
        except FileNotFoundError:
            return None
        took = False
        try:
            took = lock.take(shared=shared)
        finally:
            if not took:
                lock.close()
        return lock if took else None

    @property
    def descriptor(self) -> int:
        """The open file."""
        assert self._descriptor is not None, f"{self.path} is not open"
        return self._descriptor

    def open(self) -> None:
        """Open the file, which is made if it is not there, and which only its owner may read then; nothing is locked yet.

        Raises:
            OSError: the file cannot be made.
        """
        self._open(_MAKE)

    def _open(self, how: int) -> None:
        assert self._descriptor is None, f"{self.path} is open already"
        with forking:
            self._descriptor = os.open(self.path, how, 0o600)
            register(self)

    def take(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free, or shared as this is; answers whether it is ours now.

        Raises:
            OSError: the file cannot be locked.
        """
        try:
            fcntl.flock(self.descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD_BY_ANOTHER:
                return False
            raise
        return True

    def free(self) -> None:
        """Let go of the lock, and keep the file open."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the lock and of the file. Twice is harmless."""
        if self._descriptor is not None:
            self.free()  # closing alone would leave it with a child that has not come to its own program yet
            with forking:
                self.let_go()

    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one of this name: somebody may have removed it before it was locked."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def let_go(self) -> None:
        """Close the file; the lock is left to a process that shares it."""
        file, self._descriptor = self._descriptor, None
        if file is not None:
            os.close(file)
