"""The ends of runs: who waits for which, and what must be asked again when somebody else leads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from threading import Lock
from typing import Final, Protocol

from ..actors.messages import RunsEnded
from ..actors.records import End
from ..errors import Forbidden

WATCH_BATCH: Final = 256

FORBIDDEN_S: Final = 2.0
"""How long a refusal counts: whoever waits looks again each second, and a key may be let in again."""


class Ended(Protocol):
    """What wants to know of a run's end."""

    tenant: str
    run_id: int

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for the end just now."""

    def on_end(self, end: End) -> None:
        """Take the end; on the thread that brings it."""


class Ends:
    """Who waits for the ends of which runs.

    A new leader knows of no one who waits, so all runs are to be watched again: those first that somebody waits for just now,
    a batch at a time, so that a leader that has just begun is not flooded. Who waits in vain for a while doubts that he would
    be told; runs that are doubted are asked about together, so that ten thousand who wait cost no more than a few.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, list[Ended]] = {}
        self._unwatched: deque[tuple[str, list[int]]] = deque()
        self._doubted: dict[int, str] = {}
        self._forbidden = ""
        self._forbidden_until = 0.0
        self._lock = Lock()

    def follow(self, handle: Ended) -> None:
        """Tell a handle when its run ends. Twice is harmless."""
        with self._lock:
            handles = self._waiting.get(handle.run_id)
            if handles is None:
                self._waiting[handle.run_id] = [handle]  # never empty: others look at it without the lock
            elif not any(known is handle for known in handles):
                handles.append(handle)

    def follow_new(self, handles: Sequence[Ended], run_ids: Sequence[int]) -> None:
        """Give handles of runs that were just stored their numbers, and tell them when these end."""
        waiting = self._waiting
        for handle, run_id in zip(handles, run_ids, strict=True):
            handle.run_id = run_id
            known = waiting.get(run_id)
            if known is None:
                waiting[run_id] = [handle]
            else:
                known.append(handle)

    def take(self, message: RunsEnded) -> None:
        """Runs have ended: tell whoever waits."""
        waiting = self._waiting
        for end in message.ends:
            handles = waiting.pop(end.run_id, None)
            if handles is not None:
                for handle in handles:
                    handle.on_end(end)

    def doubt(self, handle: Ended) -> bool:
        """Have it asked whether a handle's run has ended; say whether it is the first to be asked about. Twice is once.

        Raises:
            Forbidden: that was refused just now, as when this client's key was revoked.
        """
        with self._lock:
            if time.monotonic() < self._forbidden_until:
                raise Forbidden(self._forbidden, "forbidden")
            is_first = not self._doubted
            self._doubted[handle.run_id] = handle.tenant
        return is_first

    def forbid(self, why: str) -> None:
        """It was refused to tell of ends: whoever waits in vain is told so, until it is tried again."""
        with self._lock:
            self._forbidden, self._forbidden_until = why, time.monotonic() + FORBIDDEN_S

    @property
    def must_look(self) -> bool:
        """Whether there are runs to be asked about."""
        return bool(self._doubted)

    def next_look(self) -> tuple[str, tuple[int, ...]]:
        """The next runs to be asked about, of one tenant, none if they have ended meanwhile, and others that are waited for.

        What was missed was mostly missed together, as when somebody else began to lead; so a request is filled up.
        """
        with self._lock:
            tenant = next(iter(self._doubted.values()))
            taken = list(islice((run_id for run_id, its in self._doubted.items() if its == tenant), WATCH_BATCH))
            for run_id in taken:
                del self._doubted[run_id]
        found = dict.fromkeys(run_id for run_id in taken if run_id in self._waiting)
        if found:
            with suppress(RuntimeError):  # some have come or ended just now; the next look finds the others
                oldest = list(islice(self._waiting.items(), WATCH_BATCH))
                found |= dict.fromkeys(run_id for run_id, known in oldest if known[0].tenant == tenant)
        return tenant, tuple(islice(found, WATCH_BATCH))

    @property
    def must_watch(self) -> bool:
        """Whether there are runs to be watched again."""
        return bool(self._unwatched)

    def forget_watches(self) -> None:
        """Somebody else leads: all runs that are waited for must be watched again."""
        with self._lock:
            self._doubted.clear()
        self._unwatched = deque(_batches(self._waiting.copy()))

    def next_watch(self) -> tuple[str, tuple[int, ...]]:
        """The next runs to be watched again: their tenant and their numbers, none if they have ended meanwhile."""
        tenant, run_ids = self._unwatched.popleft()
        return tenant, tuple(run_id for run_id in run_ids if run_id in self._waiting)


def _batches(waiting: dict[int, list[Ended]]) -> Iterator[tuple[str, list[int]]]:
    for is_awaited in (True, False):
        by_tenant: dict[str, list[int]] = {}
        for run_id, handles in waiting.items():
            if any(handle.is_awaited for handle in handles) is is_awaited:
                by_tenant.setdefault(handles[0].tenant, []).append(run_id)
        for tenant, run_ids in by_tenant.items():
            for start in range(0, len(run_ids), WATCH_BATCH):
                yield tenant, run_ids[start : start + WATCH_BATCH]
