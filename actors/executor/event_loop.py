"""One event loop, on a thread of its own, for coroutine functions.

A batch of orders reaches the loop by one wake-up, and the outcomes of all coroutines that end within one round of the loop
leave it in one report. `capacity` coroutines run at once; the others wait outside of the loop.

A stop cancels the coroutine's task. One that ignores it is given up when its grace is over, by the watch and not by the loop,
which it may be blocking; it keeps its place until it ends.

The loop belongs to all: a function that blocks it holds everybody up. Once a second, while there is work, the watch asks the
loop for a sign of life; if none comes it logs `event_loop.blocked` with the job and the line it stands in.

No job ends it either. asyncio lets a SystemExit of a task that a job has made through to whoever runs the loop, and a job may
stop the loop: it is run again. A forked child of a job has a copy of the loop, and shares what wakes it: it exits as soon as it
comes back to it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextvars import copy_context
from typing import Any, Final

from ...forks import register
from .call import Wall, call_async, forks, stopped
from .ledger import Ledger
from .live import LiveAttempt
from .pool import LedgerPool
from .reporter import Reporter
from .watch import Watch

BEAT_US: Final = 1_000_000
"""How often the loop is asked for a sign of life."""
FAREWELL_S: Final = 0.2
"""What is left on the loop at its end has this long to end."""

logger: Final = logging.getLogger(__name__)


class EventLoopPool(LedgerPool):
    """Runs coroutines, up to `capacity` at once, on a loop that is started with the first of them."""

    def __init__(self, capacity: int, ledger: Ledger, reporter: Reporter, watch: Watch, wall: Wall) -> None:
        super().__init__(ledger)
        ledger.interrupt = self._interrupt
        self._capacity = capacity
        self._reporter = reporter
        self._watch = watch
        self._wall = wall
        self._ready: deque[LiveAttempt] = deque()
        self._tasks: dict[asyncio.Task[None], LiveAttempt] = {}
        self._pump_armed = False
        self._flush_armed = False
        self._watched = False
        self._beat_owed = False
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="callsheet-loop", daemon=True)
        self._thread.start()
        register(self)

    def start(self, lives: Sequence[LiveAttempt]) -> None:
        """Take attempts, in order of urgency."""
        self._ready.extend(self._ledger.admit(lives))
        if not self._pump_armed:
            self._pump_armed = True
            self._call_soon(self._pump)

    def close(self, deadline_ns: int) -> None:
        """End the loop; waits for its thread until the deadline."""
        self._closing = True
        self._call_soon(self._loop.stop)
        self._thread.join(max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9))

    def let_go(self) -> None:
        """In a child that a job has forked: when it waits on this loop, it exits."""
        if (
            threading.get_ident() == self._thread.ident and not self._loop.is_closed()
        ):  # else the number is another's by now
            self._loop.call_soon(os._exit, 1)

    def _pump(self) -> None:
        self._pump_armed = False
        while self._ready and len(self._tasks) < self._capacity:
            live = self._ready.popleft()
            if self._ledger.begin(live):
                task = self._loop.create_task(self._run(live), context=copy_context())
                self._tasks[task] = live
        if self._tasks and not self._watched:
            self._watched = True
            self._watch.after(BEAT_US, self._check_beat)

    async def _run(self, live: LiveAttempt) -> None:
        task = asyncio.current_task()
        assert task is not None
        live.handle = task
        if live.stop is not None:  # it came between the mark and the first step
            outcome = stopped(live, self._wall() // 1_000)
        else:
            outcome = await call_async(live, self._wall)
        del self._tasks[task]
        self._ledger.end(live, outcome, more=True)
        if not self._flush_armed:
            self._flush_armed = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_armed = False
        self._reporter.flush()
        self._pump()

    def _interrupt(self, live: LiveAttempt, _grace_us: int) -> None:
        self._call_soon(self._cancel, live)

    def _cancel(self, live: LiveAttempt) -> None:
        if live.handle is not None and not live.over:
            live.told = True
            live.handle.cancel()

    def _call_soon(self, callback: Any, *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed: nothing runs on it that could be told
            logger.debug("event_loop.closed")

    def _check_beat(self) -> None:
        """On the watch's thread: was the last question answered? Ask the next."""
        if not self._tasks:
            self._watched = False
            return
        if self._beat_owed:
            self._log_blocked()
        else:
            self._beat_owed = True
            self._call_soon(self._answer_beat)
        self._watch.after(BEAT_US, self._check_beat)

    def _answer_beat(self) -> None:
        self._beat_owed = False

    def _log_blocked(self) -> None:
        task = asyncio.current_task(self._loop)
        live = None if task is None else self._tasks.get(task)
        place = self._place()
        logger.warning("event_loop.blocked job=%r at=%s", live.order.job if live is not None else "?", place)

    def _place(self) -> str:
        """The line of the job's function, or else the innermost, that the loop's thread stands in."""
        frame = inner = sys._current_frames().get(self._thread.ident or 0)
        while frame is not None and frame.f_back is not None and frame.f_back.f_code is not call_async.__code__:
            frame = frame.f_back
        shown = frame if frame is not None and frame.f_back is not None else inner
        return f"{shown.f_code.co_filename}:{shown.f_lineno}" if shown is not None else "?"

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        before = forks()
        try:
            while not self._closing:
                try:
                    self._loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:  # all that asyncio lets through
                    logger.warning("event_loop.interrupted why=%r", error)
                if forks() != before:
                    os._exit(1)
            self._loop.run_until_complete(self._end_rest())
        finally:
            self._loop.close()

    async def _end_rest(self) -> None:
        rest = sorted(asyncio.all_tasks() - {asyncio.current_task()}, key=asyncio.Task.get_name)
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=FAREWELL_S)
        await self._loop.shutdown_asyncgens()
