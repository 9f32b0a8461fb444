"""One process at a time: a lock that dies with the process that holds it.

The lock is `flock` on a file beside the store, so a kill -9 frees it at once and nothing is ever stale. The text in the
file (process and host) is for the person who meets it; nothing is decided by it. The file itself stays: removing it would
let two processes hold locks on two files of one name.

A forked child shares its parent's lock and would keep it when the parent dies, so the child's copy is closed at the fork.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import weakref
from pathlib import Path

from ...errors import StoreError, StoreInUse

_held: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


class ProcessLock:
    """The lock of the store at `path`; its file is `path` + ".lock"."""

    def __init__(self, path: Path) -> None:
        self._store = path
        self._file = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock, or fail at once.

        Raises:
            StoreInUse: another process (or another store of this one) holds it.
            StoreError: the file cannot be made.
        """
        assert self._descriptor is None, "the lock is held already"
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"{self._file}: cannot be made ({error.strerror}); is the folder there and writable?"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise StoreError(f"{self._file}: cannot be locked ({error.strerror})") from None
            raise StoreInUse(
                f"{self._store} is in use by {holder}; one process at a time may open it. Stop that one, "
                f"or give this one a store of its own"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._descriptor = descriptor
        _held.add(self)

    def release(self) -> None:
        """Let go of the lock; twice is harmless."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _held.discard(self)


def _let_go_in_child() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
