"""What waits for a worker, and how much of it goes to one worker at once.

A message to a worker and back costs more than a small job, so brisk jobs travel by the dozen: as many as make about `BATCH_US`
together, by what their targets took lately, and at most `MAX_BATCH`. A target that is new, or takes long, travels alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from ..live import LiveAttempt

MAX_BATCH: Final = 64
BATCH_US: Final = 2_000
BRISK_US: Final = 1_000
"""Jobs that take longer travel alone."""
OVERHEAD_US: Final = 15
"""What a job costs besides its own time."""
MAX_TARGETS: Final = 10_000
"""Of which it is remembered how long they take."""


class Backlog:
    """Attempts in order of urgency, and what their targets took lately."""

    def __init__(self) -> None:
        self._queue: deque[LiveAttempt] = deque()
        self._waiting: dict[int, LiveAttempt] = {}
        self._took_us: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, lives: Sequence[LiveAttempt]) -> None:
        """Put attempts behind the others."""
        self._queue.extend(lives)
        self._waiting.update((live.order.fence, live) for live in lives)

    def give_back(self, lives: Sequence[LiveAttempt]) -> None:
        """Put attempts before the others: they had been there."""
        self._queue.extendleft(reversed(lives))
        self._waiting.update((live.order.fence, live) for live in lives)

    def remove(self, fence: int) -> LiveAttempt | None:
        """Take an attempt out; None if it does not wait."""
        return self._waiting.pop(fence, None)

    def remove_all(self) -> list[LiveAttempt]:
        """Take all out."""
        lives = list(self._waiting.values())
        self._waiting.clear()
        self._queue.clear()
        return lives

    def learn(self, target: str, took_us: int) -> None:
        """Remember what a job took: a quarter of what is known is replaced each time."""
        known = self._took_us.get(target)
        if known is None and len(self._took_us) >= MAX_TARGETS:
            self._took_us.clear()
        self._took_us[target] = took_us if known is None else known + (took_us - known) // 4

    def cost_us(self, live: LiveAttempt) -> int:
        """What an attempt is expected to take, its overhead included; a new target is expected to take long."""
        return self._took_us.get(live.order.target, BRISK_US) + OVERHEAD_US

    def cut(self, room_us: int, share: int, *, alone: bool) -> list[LiveAttempt]:
        """Take a batch from the head for a worker: at most `share`, for `room_us`; a long one only where it may be `alone`."""
        batch: list[LiveAttempt] = []
        queue, waiting, took_us = self._queue, self._waiting, self._took_us
        most = min(share, MAX_BATCH)
        while queue and len(batch) < most:
            live = queue[0]
            fence = live.order.fence
            if waiting.get(fence) is not live:  # it was removed
                queue.popleft()
                continue
            cost_us = took_us.get(live.order.target, BRISK_US) + OVERHEAD_US
            long = cost_us > BRISK_US
            if (batch or not alone) if long else cost_us > room_us:
                break
            room_us -= cost_us
            batch.append(queue.popleft())
            del waiting[fence]
            if long:
                break
        return batch
