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
