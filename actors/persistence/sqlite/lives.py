"""Who lives: each process that uses a store holds a lock on a file of its own, which the kernel frees when it dies.

The files lie in `<path>.nodes/`, where nodes may keep other things too: one for each incarnation of a node, named after a
digest of its name (which may be of any length and of any letters). What is in it: the process's number, when it started, and
the name.

    enter ──▶ locked ──process dies──▶ free, with text: dead for certain
                 │                          └──somebody takes the lease──▶ removed
                 └──leaves──▶ removed, or free where the lease still names it

A process that is stopped or hangs keeps its lock, so it lives. No file says nothing: nobody of that name ever came, or it was
swept. Of two that meet at one file, the sweeper removes it only under its lock, and who enters looks after locking whether the
file is still the one of that name; so nobody holds a lock that others cannot see.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from ....errors import NameTaken, StoreError
from ....file_lock import FileLock
from .process import started_at

ENTER_TRIES: Final = 50
ENTER_PAUSE_S: Final = 0.001
"""A file is also locked, for some microseconds, by who looks whether its process is dead."""

SUFFIX: Final = ".life"
LONGEST_TEXT: Final = 4_096


class Life(Struct, frozen=True):
    """A process, and the clock tick of its machine at which it started (0: not known)."""

    process: int
    started_at: int


class Lives:
    """The lives that use the store at `path`."""

    def __init__(self, path: Path) -> None:
        self._folder = path.with_name(path.name + ".nodes")
        self._name = ""
        self._own: FileLock | None = None

    @property
    def name(self) -> str:
        """The name under which this process has entered, empty if it has not."""
        return self._name

    def enter(self, name: str) -> None:
        """Be known as `name`; the same again is harmless, another name replaces it.

        Raises:
            NameTaken: a process that lives has this name.
            StoreError: the file cannot be made or locked.
        """
        if self._own is not None and self._name == name:
            return
        self.leave()
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self._folder}: cannot be made ({error.strerror}); is its folder writable?") from None
        for _ in range(ENTER_TRIES):
            own = FileLock(self._file(name))
            if self._take(own):
                self._sign(own, name)
                self._own, self._name = own, name
                return
            time.sleep(ENTER_PAUSE_S)
        raise NameTaken(
            f"{self._folder}: another process lives under the name {name!r}; give each node of a store a name of its own"
        )

    def leave(self, *, keep: bool = False) -> None:
        """Be known no more. `keep` leaves the file, by which others see that this life is over. Twice is harmless."""
        own, self._own, self._name = self._own, None, ""
        if own is None:
            return
        if not keep:
            with suppress(OSError):
                own.path.unlink()
        own.close()

    def is_dead(self, name: str) -> bool:
        """Whether the process of this name is gone for certain."""
        return self._is_free(self._file(name))

    def others(self) -> list[Life]:
        """The processes beside this one that have entered and are not dead."""
        found = []
        for file in sorted(self._folder.glob(f"*{SUFFIX}")):
            if (self._own is None or file != self._own.path) and not self._is_free(file):
                with suppress(OSError, ValueError):  # it is being made, or removed
                    process, started, *_ = file.read_text(errors="replace").split()
                    found.append(Life(int(process), int(started)))
        return found

    def sweep(self) -> None:
        """Remove what the dead left behind."""
        with suppress(OSError):
            for file in sorted(self._folder.glob(f"*{SUFFIX}")):
                if self._own is None or file != self._own.path:
                    _remove_if_free(file)

    def _file(self, name: str) -> Path:
        return self._folder / (hashlib.blake2b(name.encode(), digest_size=16).hexdigest() + SUFFIX)

    @staticmethod
    def _take(own: FileLock) -> bool:
        """Whether the lock is ours now, on the file that everybody finds under this name; else it is closed."""
        try:
            own.open()
            if own.take() and own.is_in_place():
                return True
        except OSError as error:
            own.close()
            raise StoreError(f"{own.path}: cannot be made or locked ({error.strerror})") from None
        own.close()
        return False

    @staticmethod
    def _sign(own: FileLock, name: str) -> None:
        text = f"{os.getpid()} {started_at(os.getpid())} {name}\n".encode()[:LONGEST_TEXT]
        try:
            os.ftruncate(own.descriptor, 0)
            os.pwrite(own.descriptor, text, 0)
        except OSError as error:
            own.close()
            raise StoreError(f"{own.path}: cannot be written ({error.strerror})") from None

    @staticmethod
    def _is_free(file: Path) -> bool:
        """Whether the file is signed, and nobody locks it."""
        try:
            lock = FileLock.on(file, shared=True)  # shared: two may look at once
        except OSError:
            return False
        if lock is None:
            return False
        try:
            return os.fstat(lock.descriptor).st_size > 0
        finally:
            lock.close()


def _remove_if_free(file: Path) -> None:
    with suppress(OSError):
        lock = FileLock.on(file)
        if lock is not None:
            try:
                if lock.is_in_place():
                    file.unlink()
            finally:
                lock.close()
