"""A lock on a file that dies with the process that holds it.

It is `flock`, so a kill -9 frees it at once and nothing is ever stale. It belongs to the open file, not to the process: two
locks on one file exclude each other within one process as between two.

A forked child shares its parent's open file, and with it the lock: it would keep it when the parent dies. So the child's copy
is closed at the fork, which waits for a file that is just being opened; and a child that executes another program loses it by
itself. What a parent frees is free for all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import weakref
from pathlib import Path
from typing import Final

from ...errors import StoreError

_opened: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()
_forking: Final = threading.Lock()
"""Held while this process forks, and while a file is opened or closed: a fork sees all files that are open, and no other."""


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
        with _forking:
            try:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreError(
                    f"{self.path}: cannot be made ({error.strerror}); is the folder there and writable?"
                ) from None
            _opened.add(self)

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
            with _forking:
                self._forget()

    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one of this name: somebody may have removed it before it was locked."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _opened.discard(self)


def _forget_in_child() -> None:
    _forking.release()
    for lock in list(_opened):
        lock._forget()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forget_in_child)
