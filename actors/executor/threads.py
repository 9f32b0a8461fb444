"""A pool of threads for functions that are not coroutines.

Orders wait in one deque, threads take them from its head. What a wake-up costs (a futex, and two threads that contend for the
GIL) is many times what a small job costs, so a batch of orders does not wake as many threads:

    an order comes            wakes one idle thread, unless a thread took an order within the last millisecond and jobs
                              are brisk: that one will be back before another is awake
    a thread takes an order   and sees more waiting: wakes one more, unless jobs are brisk
    a tick of the watch       the head of the queue has not moved for a millisecond: whoever is running is not brisk after
                              all, and one idle thread is woken, which wakes the next

So a stream of no-op jobs stays on one thread, and eight jobs that sleep get eight threads within a millisecond. No order
waits longer than that behind a running one while a thread is idle.

A thread cannot be killed. When a stop's grace is over, the attempt's outcome is reported as `stuck`, and the thread keeps its
place until the function ends. The threads are daemons: an interpreter that exits after `close` does not wait for one that is
stuck. What that function does then is cut off wherever it is; the attempt was given up long before.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Final

from .call import Wall
from .ledger import Ledger
from .live import LiveAttempt
from .pool import LedgerPool
from .runner import Outcome
from .watch import Watch

BRISK_US: Final = 200
"""Jobs that take less are brisk."""
TICK_US: Final = 1_000
STUCK_NS: Final = 200_000_000
"""How long `close` waits for its threads when some of them were given up."""

Perform = Callable[[LiveAttempt, Wall], Outcome]


class ThreadPool(LedgerPool):
    """Runs attempts on up to `capacity` threads, which are started when they are first needed."""

    def __init__(self, capacity: int, ledger: Ledger, watch: Watch, wall: Wall, perform: Perform) -> None:
        super().__init__(ledger)
        self._capacity = capacity
        self._watch = watch
        self._wall = wall
        self._perform = perform
        self._ready: deque[LiveAttempt] = deque()
        self._idle: list[threading.Lock] = []
        self._threads: list[threading.Thread] = []
        self._growing = threading.Lock()
        self._closing = False
        self._brisk = False
        self._last_taken_at = 0
        self._head: LiveAttempt | None = None
        self._tick_armed = False

    def start(self, lives: Sequence[LiveAttempt]) -> None:
        """Take attempts, in order of urgency."""
        self._ready.extend(self._ledger.admit(lives))
        working = len(self._threads) - len(self._idle)
        if working and self._brisk and self._wall() // 1_000 - self._last_taken_at < TICK_US:
            self._arm_tick()
        else:
            self._wake_one()

    def close(self, deadline_ns: int) -> None:
        """End the threads; waits for them until the (monotonic) deadline."""
        self._closing = True
        while self._idle:
            self._idle.pop().release()
        if self._ledger.stuck:  # these were given up, and may never end
            deadline_ns = min(deadline_ns, time.monotonic_ns() + STUCK_NS)
        for thread in self._threads:
            thread.join(max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9))

    def _work(self, parked: threading.Lock) -> None:
        ready = self._ready
        while True:
            try:
                live = ready.popleft()
            except IndexError:
                if not self._park(parked):
                    return
            else:
                self._run(live)
                del live  # an idle thread holds nothing of its last job

    def _run(self, live: LiveAttempt) -> None:
        ledger = self._ledger
        if not ledger.begin(live):
            return
        self._last_taken_at = live.started_at
        if self._ready:
            if self._brisk:
                self._arm_tick()
            else:
                self._wake_one()
        outcome = copy_context().run(self._perform, live, self._wall)
        self._brisk = outcome.ended_at - outcome.started_at < BRISK_US
        ledger.end(live, outcome, more=bool(self._ready))

    def _park(self, parked: threading.Lock) -> bool:
        """Wait to be woken; false when the pool closes. Whoever takes the lock out of `_idle` releases it."""
        if self._closing:
            return False
        self._idle.append(parked)
        if self._ready or self._closing:  # it came between the last look and the announcement
            try:
                self._idle.remove(parked)
            except ValueError:
                parked.acquire()
            return True
        parked.acquire()
        return True

    def _wake_one(self) -> None:
        try:
            parked = self._idle.pop()
        except IndexError:
            self._grow()
        else:
            parked.release()

    def _grow(self) -> None:
        with self._growing:
            if self._closing or len(self._threads) >= self._capacity:
                return
            parked = threading.Lock()
            parked.acquire()
            name = f"callsheet-{self._ledger.kind}-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._work, args=(parked,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _arm_tick(self) -> None:
        if self._tick_armed or not (self._idle or len(self._threads) < self._capacity):
            return
        self._tick_armed = True
        self._head = self._peek()
        self._watch.after(TICK_US, self._tick)

    def _tick(self) -> None:
        self._tick_armed = False
        head = self._peek()
        if head is None:
            return
        if head is self._head:
            self._brisk = False
            self._wake_one()
        else:
            self._arm_tick()

    def _peek(self) -> LiveAttempt | None:
        try:
            return self._ready[0]
        except IndexError:
            return None
