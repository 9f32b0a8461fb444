"""The pool of worker processes, in the parent.

One thread owns everything: the queue, the workers, their sockets, the timers. Others leave a request and ring its bell.

    start ─▶ backlog.py ── batches by expected time ──▶ worker_process.py ══ channel.py ══▶ worker.py (the child)
             foreman.py decides who gets what, and what becomes of it ◀════ outcomes, what it gives back, its death

Brisk jobs travel in batches, others alone. When the guess was wrong, the worker itself gives back what waits behind a long job.

Promises
    a worker that dies costs only what had begun, by the start marks it sets itself: that yields `crashed`, with how it ended.
    What it had finished is found in its outbox; the rest of what it held goes back to the head of the queue, unspent
    a stop ends one job: TERM to the worker's group, which raises in that job; KILL when the grace is over; then the worker
    is retired with all that the job may have started
    an order that is on its way to a worker counts as begun when it is withdrawn; it goes on, or comes back by itself
    an attempt whose function is next when its worker dies goes to another one; with the third, it fails and says so
    workers that do not start at all are tried a few times; then what waits fails with the reason, and a pause follows

All workers are made by this one thread, because the kernel takes the end of the thread that made a child for the end of its
parent.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ..call import Wall
from ..live import LiveAttempt
from ..marks import Marks
from ..reporter import Reporter
from ..runner import StopReason
from ..warden import Warden
from .foreman import Foreman, WorkerLimits

logger: Final = logging.getLogger(__name__)


class ProcessPool:
    """Runs attempts on up to `capacity` worker processes, which are made when they are first needed."""

    def __init__(
        self,
        capacity: int,
        marks: Marks,
        reporter: Reporter,
        warden: Warden,
        wall: Wall,
        grace_us: int,
        limits: WorkerLimits,
    ) -> None:
        self._owed: dict[int, LiveAttempt] = {}
        self._requests: deque[Callable[[], None]] = deque()
        self._rung = False
        self._reporter = reporter
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._timer_count = itertools.count()
        self._ended = False
        self._selector = selectors.DefaultSelector()
        self._bell = os.pipe()
        for end in self._bell:
            os.set_blocking(end, False)
        self._selector.register(self._bell[0], selectors.EVENT_READ)
        self._foreman = Foreman(
            capacity, self._owed, marks, reporter, warden, self._selector, self._after, wall, grace_us, limits
        )
        self._thread = threading.Thread(target=self._serve, name="callsheet-processes", daemon=True)
        self._thread.start()

    def start(self, lives: Sequence[LiveAttempt]) -> None:
        """Take attempts, in order of urgency."""
        new = [live for live in lives if live.order.fence not in self._owed]
        for live in new:
            self._owed[live.order.fence] = live
        self._request(lambda: self._foreman.enqueue(new))

    def withdraw(self, fences: Sequence[int]) -> None:
        """Give back those that no worker has been sent."""
        owed = [fence for fence in fences if fence in self._owed]
        if owed:
            self._request(lambda: self._foreman.withdraw(owed))

    def stop(self, fence: int, reason: StopReason, grace_us: int) -> None:
        """End one attempt; none of this fence is no error."""
        if fence in self._owed:
            self._request(lambda: self._foreman.stop(fence, reason, grace_us))

    def stop_all(self, reason: StopReason, grace_us: int) -> None:
        """End all attempts."""
        for fence in list(self._owed):
            self.stop(fence, reason, grace_us)

    def held(self) -> list[int]:
        """The fences whose outcomes are owed."""
        return list(self._owed)

    def idle(self) -> bool:
        """Whether no outcome is owed."""
        return not self._owed

    def close(self, deadline_ns: int) -> None:
        """End all workers; waits until the deadline, when they are killed."""
        self._request(lambda: self._begin_end(deadline_ns))
        self._thread.join(max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9) + 1.0)

    # The rest runs on the pool's own thread.

    def _request(self, request: Callable[[], None]) -> None:
        self._requests.append(request)
        if not self._rung:
            self._rung = True
            try:
                os.write(self._bell[1], b"!")
            except (BlockingIOError, OSError):
                logger.debug("processes.bell_failed")

    def _serve(self) -> None:
        while not (self._ended and not self._foreman.workers):
            try:
                self._turn()
            except Exception:
                logger.exception("processes.turn_failed")
        self._selector.close()
        for end in self._bell:
            os.close(end)

    def _begin_end(self, deadline_ns: int) -> None:
        self._ended = True
        self._foreman.begin_end(deadline_ns)

    def _turn(self) -> None:
        wait_s = None
        if self._timers:
            wait_s = max(0.0, (self._timers[0][0] - time.monotonic_ns()) / 1e9)
        for key, events in self._selector.select(wait_s):
            if key.data is None:
                os.read(self._bell[0], 64)
                self._rung = False  # after the read: a request that comes now is taken below, or rings again
            else:
                self._foreman.hear(key.data, events)
        while self._requests:
            self._requests.popleft()()
        now = time.monotonic_ns()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        self._foreman.dispatch()
        self._reporter.flush()

    def _after(self, delay_us: int, callback: Callable[[], None]) -> None:
        entry = (time.monotonic_ns() + delay_us * 1_000, next(self._timer_count), callback)
        heapq.heappush(self._timers, entry)
