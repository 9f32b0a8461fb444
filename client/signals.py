"""SIGINT and SIGTERM, for who stays until one comes: the first asks, the second hurries, the third exits."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from ..errors import CallsheetError


@contextmanager
def stop_signals(hurry: Callable[[], None]) -> Iterator[SimpleQueue[None]]:
    """Within this, each signal puts something into the queue; the second calls `hurry` on a thread, the third ends the process.

    A handler runs in the midst of whatever the main thread does, so it must not need a lock that this may hold: that of an
    event, for one. The queue needs none.

    Raises:
        CallsheetError: this is not the main thread, which alone may handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise CallsheetError("run() handles signals and belongs on the main thread; use start() and stop() elsewhere")
    asked: SimpleQueue[None] = SimpleQueue()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    count = 0

    def on_signal(number: int, frame: object) -> None:
        nonlocal count
        count += 1
        asked.put(None)
        if count == 2:
            threading.Thread(target=hurry, daemon=True).start()
        elif count > 2:
            os._exit(128 + number)  # nobody waits any longer; the store knows what ran

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
