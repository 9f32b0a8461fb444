"""What a forked child must not keep of its parent.

A child that a program forks (a web server's worker, a job's own fork) shares the parent's locks, pipes and sockets. It would
keep a lock when the parent dies, so that the parent counts as living, and hold open the pipe whose end tells others that the
parent is gone. So whoever has such a thing registers itself, and lets go of it in the child.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import Final, Protocol

forking: Final = threading.RLock()
"""Hold it from the making of a descriptor to `register`, so that no fork comes between."""


class Keeper(Protocol):
    """Has what is its process's alone."""

    def let_go(self) -> None:
        """In a forked child: close what is shared with the parent, and change nothing of the parent's."""


class Descriptors:
    """Numbers of open files that are this process's alone, each with the file it stands for."""

    def __init__(self) -> None:
        self._inodes: dict[int, int] = {}

    def __contains__(self, descriptor: object) -> bool:
        return descriptor in self._inodes

    def add(self, descriptor: int) -> None:
        """Note an open file; that it is closed already is no error."""
        with contextlib.suppress(OSError):
            self._inodes[descriptor] = os.fstat(descriptor).st_ino

    def discard(self, descriptor: int) -> None:
        """Forget a number, because its file was closed; not to know it is no error."""
        self._inodes.pop(descriptor, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._inodes.clear()

    def is_same(self, descriptor: int, duplicate: int) -> bool:
        """Whether a duplicate is of the file that was noted: the number may have become another's since."""
        return self._inodes.get(descriptor) == os.fstat(duplicate).st_ino

    def close_in_child(self) -> None:
        """In a forked child: close them, without the objects that they belong to, which are the parent's.

        Such an object may still close its number some day. So that it does not close what the child has opened meanwhile,
        something that leads nowhere takes the place.
        """
        for descriptor in list(self._inodes):
            with contextlib.suppress(OSError):
                if self.is_same(descriptor, descriptor):
                    os.close(descriptor)  # first, because perhaps no other number is free
                    nowhere = os.open(os.devnull, os.O_RDWR)
                    if nowhere != descriptor:
                        os.dup2(nowhere, descriptor, inheritable=False)
                        os.close(nowhere)
        self.clear()


_keepers: Final[weakref.WeakSet[Keeper]] = weakref.WeakSet()


def register(keeper: Keeper) -> None:
    """Have it let go in every child that is forked from now on; it is not kept alive by this."""
    with forking:
        _keepers.add(keeper)


def _let_go_in_child() -> None:
    try:
        for keeper in list(_keepers):
            with contextlib.suppress(OSError):
                keeper.let_go()
    finally:
        forking.release()


os.register_at_fork(before=forking.acquire, after_in_parent=forking.release, after_in_child=_let_go_in_child)
