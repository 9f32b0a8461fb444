"""Outcomes on their way to the actor: gathered into batches, never held back for long.

A batch goes out when whoever finished has nothing more at hand, at `FULL` outcomes, or `HOLD_US` after the first that is
unreported, whichever is first. Progress is not a fact but a picture: of one attempt only the newest is kept, and the pictures
go out every `PROGRESS_US`. How many functions the node knows is such a picture too, which waits `LEARNED_US` for the next.

Reports are made by one thread at a time, in the order of `put`: a `Freed` never overtakes the outcome before it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from .runner import Freed, Learned, Outcome, Progress, Report, Reported
from .watch import Watch

FULL: Final = 64
HOLD_US: Final = 1_000
PROGRESS_US: Final = 50_000
LEARNED_US: Final = 10_000

logger: Final = logging.getLogger(__name__)


class Reporter:
    """Carries outcomes to `report` in batches. Safe to use from any thread."""

    def __init__(self, report: Report, watch: Watch) -> None:
        self._report = report
        self._watch = watch
        self._waiting: deque[Outcome | Freed] = deque()
        self._progress: dict[int, Progress] = {}
        self._reporting = threading.Lock()
        self._hold_armed = False
        self._progress_armed = False
        self._learned: Learned | None = None
        self._learned_armed = False

    def put(self, item: Outcome | Freed, *, more: bool = False) -> None:
        """Take an outcome; `more` says that another will follow at once, so that this one may wait for it."""
        self._waiting.append(item)
        if not more or len(self._waiting) >= FULL:
            self.flush()
        elif not self._hold_armed:
            self._hold_armed = True
            self._watch.after(HOLD_US, self._end_hold)

    def put_all(self, items: Sequence[Outcome]) -> None:
        """Take several outcomes, and report them."""
        self._waiting.extend(items)
        self.flush()

    def progress(self, progress: Progress) -> None:
        """Take a picture; it replaces the one of the same attempt."""
        self._progress[progress.fence] = progress
        if not self._progress_armed:
            self._progress_armed = True
            self._watch.after(PROGRESS_US, self._end_progress)

    def learn(self, knows: int) -> None:
        """Take how much is known; it goes out after all outcomes that were put before."""
        self._learned = Learned(knows)
        if not self._learned_armed:
            self._learned_armed = True
            self._watch.after(LEARNED_US, self._end_learning)

    def flush(self) -> None:
        """Report what waits. What another thread puts while this one reports goes out with the next round."""
        while self._waiting and self._reporting.acquire(blocking=False):
            try:
                self._send()
            finally:
                self._reporting.release()

    def _end_hold(self) -> None:
        self._hold_armed = False
        self.flush()

    def _end_progress(self) -> None:
        self._progress_armed = False
        with self._reporting:
            pictures = [self._progress.pop(fence) for fence in list(self._progress)]
            if pictures:
                self._call(pictures)
        self.flush()

    def _end_learning(self) -> None:
        self._learned_armed = False
        learned, self._learned = self._learned, None
        with self._reporting:
            while self._waiting:
                self._send()
            if learned is not None:
                self._call([learned])
        self.flush()

    def _send(self) -> None:
        batch: list[Reported] = []
        while self._waiting and len(batch) < 4 * FULL:
            item = self._waiting.popleft()
            picture = self._progress.pop(item.fence, None) if self._progress else None
            if picture is not None:
                batch.append(picture)
            batch.append(item)
        self._call(batch)

    def _call(self, batch: Sequence[Reported]) -> None:
        try:
            self._report(batch)
        except Exception:
            logger.exception("runner.report_failed items=%d", len(batch))
