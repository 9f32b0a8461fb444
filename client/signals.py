"""SIGINT and SIGTERM, for who stays until one comes: the first asks, the second hurries, the third exits.

Python's handlers run on the main thread alone, and that must wake for them. Waiting for a lock is no way to: of two signals in
close succession another thread may take both, and the system then lets the main thread sleep on. So it waits for a socket, to
which whichever thread takes a signal writes (`signal.set_wakeup_fd`).
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from ..descriptor import check_room
from ..errors import CallsheetError

DESCRIPTORS: Final = 2


class Asking:
    """Waits until somebody asks to end. No lock is needed to ask, as a handler runs in the midst of whatever holds one."""

    def __init__(self) -> None:
        self._ear, self._hand = socket.socketpair()
        self._hand.setblocking(False)
        self._is_asked = False

    def fileno(self) -> int:
        """What may be written to, to let `wait` look."""
        return self._hand.fileno()

    def ask(self) -> None:
        """Let `wait` return. From any thread, and from a signal's handler; more than once is harmless, and so is too late."""
        self._is_asked = True
        with suppress(OSError):  # it is awake, or has gone
            self._hand.send(b"\0")

    def wait(self) -> None:
        """Wait until it is asked."""
        while not self._is_asked:
            self._ear.recv(4096)

    def close(self) -> None:
        """Let go of it."""
        self._ear.close()
        self._hand.close()


@contextmanager
def stop_signals(hurry: Callable[[], None]) -> Iterator[Asking]:
    """Within this, the first signal asks, the second calls `hurry` on a thread, the third ends the process at once.

    Raises:
        CallsheetError: this is not the main thread, which alone may handle signals; or no file can be opened.
    """
    if threading.current_thread() is not threading.main_thread():
        raise CallsheetError("run() handles signals and belongs on the main thread; use start() and stop() elsewhere")
    check_room(DESCRIPTORS, "waiting for signals")
    asking = Asking()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    count = 0

    def on_signal(number: int, frame: object) -> None:
        nonlocal count
        count += 1
        asking.ask()
        if count == 2:
            threading.Thread(target=hurry, daemon=True).start()
        elif count > 2:
            os._exit(128 + number)  # nobody waits any longer; the store knows what ran

    woken_before = signal.set_wakeup_fd(asking.fileno(), warn_on_full_buffer=False)
    for number in before:
        signal.signal(number, on_signal)
    try:
        yield asking
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken_before)
        asking.close()
