"""A lock on a file that dies with the process that holds it.

It is `flock`, so a kill -9 frees it at once and nothing is ever stale. It belongs to the open file, not to the process: two
locks on one file exclude each other within one process as between two.

A forked child shares its parent's open file, and with it the lock: it would keep it when the parent dies. So the child's copy
is closed at the fork (`callsheet.forks`); and a child that executes another program loses it by itself. What a parent frees is free
for all.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from ...errors import StoreError
from ...forks import forking, register


class FileLock:
    """The lock on the file at `path`, which is made if it is not there, and which only its owner may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """The open file."""
        assert self._descriptor is not None, f"{self.path} is not open"
        return self._descriptor

    def open(self) -> None:
        """Open the file; nothing is locked yet.

        Raises:
            StoreError: the file cannot be made.
        """
        assert self._descriptor is None, f"{self.path} is open already"
        with forking:
            try:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreError(
                    f"{self.path}: cannot be made ({error.strerror}); is the folder there and writable?"
                ) from None
            register(self)

    def take(self) -> bool:
        """Take the lock if it is free; answers whether it is ours now.

        Raises:
            StoreError: the file cannot be locked.
        """
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES, errno.EINTR}:
                return False
            raise StoreError(f"{self.path}: cannot be locked ({error.strerror})") from None
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
