"""The catalogue: the definitions that are kept in memory, and which job waits for which."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ..records import Job, JobRecord

KNOWN_JOBS: Final = 10_000
"""Definitions that are kept in memory."""

JobKey = tuple[str, str]


class Catalogue:
    """Definitions by tenant and name, the newest of them; and the edges of the graph, all of them."""

    def __init__(self) -> None:
        self.known: OrderedDict[JobKey, JobRecord] = OrderedDict()
        self._edges: dict[str, dict[str, tuple[str, ...]]] = {}
        self._upstreams: dict[str, frozenset[str]] = {}

    def know(self, record: JobRecord) -> None:
        """Keep a definition, in place of the one of its name."""
        self.known[record.job.key] = record
        if len(self.known) > KNOWN_JOBS:
            self.known.popitem(last=False)

    def edges(self, tenant: str) -> dict[str, tuple[str, ...]]:
        """A tenant's jobs that wait for others, by name."""
        return self._edges.setdefault(tenant, {})

    def link(self, job: Job) -> None:
        """Note what a job waits for."""
        if job.after:
            self._upstreams.pop(job.tenant, None)
            self.edges(job.tenant)[job.name] = job.after
        else:
            self.unlink(job.key)

    def unlink(self, key: JobKey) -> None:
        """Note that a job waits for nothing, or is gone."""
        if self.edges(key[0]).pop(key[1], None) is not None:
            self._upstreams.pop(key[0], None)

    def is_linked(self, job: Job) -> bool:
        """Whether a job waits for others, or others for it."""
        if job.after:
            return True
        upstreams = self._upstreams.get(job.tenant)
        if upstreams is None:
            found = (name for after in self.edges(job.tenant).values() for name in after)
            upstreams = self._upstreams[job.tenant] = frozenset(found)
        return job.name in upstreams
