"""Events on their way to metrics: gathered, and handed over a few times a second.

Each turn of the coordinator reports several events. Told one by one they would wake the metrics' thread in the midst of a job's
way from thread to thread, where it competes for the interpreter: measured as a tenth of the time from `submit` to the first line.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

HAND_OVER_S: Final = 0.1
"""How old an event is at most when it is counted."""

MAX_GATHERED: Final = 10_000
"""Events that are gathered at most; with one more they are handed over at once."""


class EventQueue:
    """Gathers events from any thread.

    Args:
        hand_over: takes events in their order; called on the queue's own thread, and on that of who flushes.
    """

    def __init__(self, hand_over: Callable[[tuple[Any, ...]], None]) -> None:
        self._hand_over = hand_over
        self._events: deque[Any] = deque()
        self._bell = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Begin to hand over."""
        self._thread.start()

    def put(self, event: Any) -> None:
        """Gather an event."""
        self._events.append(event)
        if not self._bell.is_set():
            self._bell.set()
        if len(self._events) > MAX_GATHERED:
            self.flush()

    def flush(self) -> None:
        """Hand over what is gathered, now."""
        with self._lock:
            events = tuple(self._events.popleft() for _ in range(len(self._events)))
            if events:
                self._hand_over(events)

    def close(self) -> None:
        """Hand over what is left, and end. Twice is harmless."""
        self._closed.set()
        self._bell.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._bell.wait()
            self._closed.wait(HAND_OVER_S)
            self._bell.clear()
            self.flush()
