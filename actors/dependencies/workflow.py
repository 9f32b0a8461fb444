"""Workflows: which jobs wait for which, as they are stored now, and whose runs belong together by that.

A run that is made already goes by its own version of its job instead; of that no more is asked here than whether a job is
there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable
from typing import Final

from ..graph import downstream_closure, reachable, turned, upstream_closure
from ..messages import Draft
from ..records import Job, JobRecord
from ..schedule import is_manual

NEVER_REMOVED: Final = -1
"""Before all slots."""

MAX_ALONE: Final = 100_000
"""Jobs of which it is remembered in which slot they stood alone last: those that did so most recently."""


class Workflows:
    """The jobs that wait for others, and those that they wait for (the roots), of every tenant."""

    def __init__(self) -> None:
        self._jobs: dict[str, dict[str, Job]] = {}
        self._roots: dict[str, dict[str, Job]] = {}
        self._edges: dict[str, dict[str, tuple[str, ...]]] = {}
        self._downstream: dict[str, dict[str, list[str]]] = {}
        self._anew: dict[tuple[str, str], tuple[int, int]] = {}
        self._alone: OrderedDict[tuple[str, str], int] = OrderedDict()

    # ---- what is known --------------------------------------------------------------------------------------------------

    def link(self, records: Iterable[JobRecord]) -> None:
        """Go by these definitions from now on."""
        tenants: dict[str, None] = {}
        for record in records:
            job, removed = record.job, record.state.removed
            if removed and self._anew.get(job.key, (0, 0))[0] != removed:  # a newer version may have another anchor
                self._anew[job.key] = (removed, job.anchor)
            known = self._jobs.setdefault(job.tenant, {})
            roots = self._roots.setdefault(job.tenant, {})
            (known if job.after else roots)[job.name] = job
            (roots if job.after else known).pop(job.name, None)
            tenants[job.tenant] = None
        for tenant in tenants:
            self._turn(tenant)

    def forget(self, tenant: str, name: str) -> None:
        """A job was removed; none is no error."""
        self._jobs.get(tenant, {}).pop(name, None)
        self._roots.get(tenant, {}).pop(name, None)
        self._anew.pop((tenant, name), None)
        self._turn(tenant)

    def find(self, tenant: str, name: str) -> Job | None:
        """The job of this name; None if it was removed, or if nothing that is stored now has to do with it."""
        return self._jobs.get(tenant, {}).get(name) or self._roots.get(tenant, {}).get(name)

    def removed_until(self, tenant: str, name: str) -> int:
        """Up to which instant no slot of a job comes any more, because it was removed and declared anew then."""
        _, anchor = self._anew.get((tenant, name), (0, NEVER_REMOVED))
        return anchor

    def is_linked(self, job: Job) -> bool:
        """Tell whether a job waits for others, or others for it; also when it does so only by now, in a newer version.

        Then a run of it in the same slot can come of the others' slots too, and both are to be one.
        """
        waits = bool(job.after) or job.name in self._jobs.get(job.tenant, ())
        return waits or job.name in self._downstream.get(job.tenant, ())

    def _turn(self, tenant: str) -> None:
        self._edges[tenant] = {name: job.after for name, job in self._jobs.get(tenant, {}).items()}
        self._downstream[tenant] = turned(self._edges[tenant])

    # ---- who runs together ----------------------------------------------------------------------------------------------

    def companions(self, job: Job, group: str, *, called: bool) -> list[Draft]:
        """Drafts of the jobs that run with one that is fired by hand: what it waits for, and what can then follow.

        A job that is `called` with arguments waits for nothing.
        """
        tenant = job.tenant
        # the job as it was asked for: who asked may have heard of a newer version before this actor
        edges = self._edges.get(tenant, {})
        if edges.get(job.name, ()) != job.after:
            edges = {**edges, job.name: job.after}
        closure = [] if called else upstream_closure(edges, job.name)
        needed = [name for name in closure if self.find(tenant, name) is not None]
        following = downstream_closure(self._downstream.get(tenant, {}), edges, [*needed, job.name])
        names = [*needed, *(name for name in following if name != job.name)]
        return [self._companion(tenant, name, group, slot=None) for name in names]

    def followers(self, job: Job, group: str, slot: int, present: Container[str]) -> list[Draft]:
        """Drafts of the jobs that wait for a job whose slot is due, directly or not, but for those that are `present`.

        A job that stood alone yet in a slot of this instant or a later one does not follow this one: it may have had its own run
        then. Nor does what waits for such a job, which would wait in vain.
        """
        downstream = self._downstream.get(job.tenant, {})
        names = [name for name in reachable(downstream, job.name) if name not in present]
        around = reachable(self._edges.get(job.tenant, {}), *names)
        alone = [
            name
            for name in (*names, *around)
            if name != job.name and name not in present and self._alone.get((job.tenant, name), slot - 1) >= slot
        ]
        behind = {*alone, *reachable(downstream, *alone)}
        return [self._companion(job.tenant, name, group, slot) for name in names if name not in behind]

    def stand_alone(self, job: Job, slot: int) -> None:
        """Note that a job was in no workflow when its slot was due."""
        self._alone[job.key] = max(slot, self._alone.pop(job.key, slot))
        if len(self._alone) > MAX_ALONE:
            self._alone.popitem(last=False)

    def _companion(self, tenant: str, name: str, group: str, slot: int | None) -> Draft:
        """A run that belongs to another's group."""
        job = self.find(tenant, name)
        assert job is not None, "it was found in the graph"
        return Draft(job, "dependency", slot, group, waits=bool(job.after))

    def shares_groups(self, job: Job) -> bool:
        """Tell whether the runs of a slot of this job can also be made by a slot of another one."""
        edges = self._edges.get(job.tenant, {})
        following = reachable(self._downstream.get(job.tenant, {}), job.name)
        around = {*following, *(name for each in (job.name, *following) for name in upstream_closure(edges, each))}
        others = (self.find(job.tenant, name) for name in sorted(around) if name != job.name)
        # one that is there no more may have made some before it was removed
        return any(other is None or not is_manual(other) for other in others)
