"""One change of a job at a time: who pauses a job and who edits it must not both begin from what was stored before.

A change owns its jobs from when it begins until its client is told how it ended. Another change of one of them waits for that;
the same one, sent again, is dropped, unless it got nowhere. Then it begins anew, and what the store had been asked for it before
counts no more: of two lines of one change, each could write.

Whoever declares jobs that wait for others owns the graph of their tenant too: of two that are stored at once, each could close the
other's cycle.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

from ..actor import SECOND, Address
from ..messages import AddJobs, ChangeJob

JobKey = tuple[str, str]
Change = AddJobs | ChangeJob

GOT_NOWHERE_US: Final = 5 * SECOND
"""After how long the same change begins anew when it is asked again: a message was lost."""

GIVEN_UP_US: Final = 30 * SECOND
"""After how long a change that has not ended is in nobody's way any more."""

GRAPH: Final = ""
"""Stands for a tenant's graph among its jobs, which have names."""

MAX_CHANGES: Final = 1_000
"""Changes in hand and waiting; further ones are dropped, and their clients ask again. Each that ends lets all others try."""


class Changes:
    """The changes in hand, and those that wait for them."""

    def __init__(self) -> None:
        self._owners: dict[JobKey, tuple[str, int]] = {}
        self._in_hand: dict[str, tuple[tuple[JobKey, ...], int]] = {}
        self._waiting: dict[str, tuple[Address, Change, int]] = {}

    def __len__(self) -> int:
        return len(self._in_hand) + len(self._waiting)

    def is_full(self, elapsed: int) -> bool:
        """Whether no more changes are taken now. Those that got nowhere, and whose clients have gone, make room."""
        if len(self) >= MAX_CHANGES:
            old = elapsed - GIVEN_UP_US
            for key in [key for key, (_, since) in self._in_hand.items() if since <= old]:
                self._let_go(key)
            self._waiting = {key: it for key, it in self._waiting.items() if it[2] > old}
        return len(self) >= MAX_CHANGES

    def may_begin(self, client: Address, change: Change, elapsed: int) -> bool:
        """Tell whether a change may begin now; if not, it waits or is dropped."""
        jobs = _jobs_of(change)
        for job in jobs:
            owner, since = self._owners.get(job, (change.key, 0))
            if owner == change.key:
                if since and elapsed - since < GOT_NOWHERE_US:
                    return False
            elif elapsed - since < GIVEN_UP_US:
                self._waiting[change.key] = (client, change, elapsed)
                return False
        self._waiting.pop(change.key, None)
        self._in_hand[change.key] = (jobs, elapsed)
        self._owners.update(dict.fromkeys(jobs, (change.key, elapsed)))
        return True

    def owns(self, change: Change, at: int) -> bool:
        """Tell whether what was asked for a change at this instant counts still.

        It does not when another change has taken its jobs because it took too long, or when it has begun anew.
        """
        owners = (self._owners.get(job, ("", 0)) for job in _jobs_of(change))
        return all(owner == change.key and since <= at for owner, since in owners)

    def over(self, key: str) -> list[tuple[Address, Change]]:
        """A change has ended; answers those that waited for it, in order: each is to be asked anew whether it may begin."""
        self._let_go(key)
        self._waiting.pop(key, None)
        return [(client, change) for client, change, _ in self._waiting.values()]

    def _let_go(self, key: str) -> None:
        jobs, _ = self._in_hand.pop(key, ((), 0))
        for job in jobs:
            if self._owners.get(job, ("", 0))[0] == key:
                del self._owners[job]


def _jobs_of(change: Change) -> tuple[JobKey, ...]:
    if isinstance(change, ChangeJob):
        return ((change.tenant, change.job),)
    graphs = ((job.tenant, GRAPH) for job in change.jobs if job.after)
    return tuple(dict.fromkeys(chain((job.key for job in change.jobs), graphs)))
