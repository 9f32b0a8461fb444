"""One thread that calls back later: grace periods, time-outs, flushes. Callbacks are short and never wait."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

logger: Final = logging.getLogger(__name__)


class Watch:
    """Calls back at monotonic instants. Safe to use from any thread, also from a callback."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def after(self, delay_us: int, callback: Callable[[], None]) -> None:
        """Call back once, `delay_us` from now; not at all when closed before."""
        self.at(time.monotonic_ns() + delay_us * 1_000, callback)

    def at(self, instant_ns: int, callback: Callable[[], None]) -> None:
        """Call back once at a monotonic instant (ns)."""
        with self._condition:
            if self._closed:
                return
            sooner = not self._due or instant_ns < self._due[0][0]
            heapq.heappush(self._due, (instant_ns, next(self._count), callback))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="callsheet-watch", daemon=True)
                self._thread.start()
            elif sooner:
                self._condition.notify()

    def close(self) -> None:
        """Forget what is due and end the thread."""
        with self._condition:
            self._closed = True
            self._due.clear()
            self._condition.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (callback := self._next()) is not None:
            try:
                callback()
            except Exception:
                logger.exception("watch.callback_failed")

    def _next(self) -> Callable[[], None] | None:
        with self._condition:
            while not self._closed:
                if not self._due:
                    self._condition.wait()
                    continue
                wait_ns = self._due[0][0] - time.monotonic_ns()
                if wait_ns <= 0:
                    return heapq.heappop(self._due)[2]
                self._condition.wait(wait_ns / 1e9)
        return None
