"""A system that has no thread left."""

from __future__ import annotations

import threading
from collections.abc import Callable


def no_thread_called(name: str) -> Callable[[threading.Thread], None]:
    """What `threading.Thread.start` is to be in place of itself, so that threads of this name cannot be started."""
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    return start_others
