"""Definitions: how jobs are added and changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from msgspec.structs import replace

from ..actor import CLOCK, COORDINATOR, DEPENDENCIES, Address, Turn
from ..audit import audit_events
from ..graph import find_cycle
from ..messages import (
    AddJobs,
    ChangeJob,
    Found,
    HoldJob,
    JobChanged,
    JobsAdded,
    RequestRejected,
)
from ..persistence.store import AddDecisions, AddEvents, AdvanceJob, GetJobs, InsertJob, PutJob, SetJobStatus, Write
from ..records import Event, JobRecord, JobState, JobStatus
from ..schedule import first_state, pass_pause
from .announcement import Announcements
from .catalogue import Catalogue
from .comparison import Change, compare
from .errand import Errands, reject

JobKey = tuple[str, str]


class Definitions:
    """Adds and changes jobs."""

    def __init__(self, catalogue: Catalogue, errands: Errands, announcements: Announcements) -> None:
        self._catalogue = catalogue
        self._errands = errands
        self._announcements = announcements

    # ---- adding ---------------------------------------------------------------------------------------------------------

    def on_add_jobs(self, client: Address, request: AddJobs, turn: Turn) -> None:
        names = dict.fromkeys(job.key for job in request.jobs)
        names.update(dict.fromkeys((job.tenant, name) for job in request.jobs for name in job.after))

        def then(message: Found, turn: Turn) -> None:
            there: dict[JobKey, JobRecord] = {record.job.key: record for record in message.rows}
            self._compare(client, request, there, turn)

        self._errands.read(client, request, GetJobs(tuple(names)), then, turn)

    def _compare(self, client: Address, request: AddJobs, there: dict[JobKey, JobRecord], turn: Turn) -> None:
        refusal = self._refusal(request, there)
        if refusal is not None:
            turn.send(client, refusal)
            return
        changes = [compare(job, there.get(job.key), turn.now) for job in request.jobs]
        writes: list[Write] = [
            InsertJob(it.record.job, it.record.state) if it.kind == "new" else PutJob(it.record.job, it.record.state)
            for it in changes
            if it.kind != "same"
        ]

        def then(turn: Turn) -> None:
            self._added(client, request, changes, there, turn)

        if writes:
            self._save(client, request, writes, then, turn)
        else:
            then(turn)

    def _refusal(self, request: AddJobs, there: dict[JobKey, JobRecord]) -> RequestRejected | None:
        """Why these jobs cannot be added: a name that is taken, an unknown upstream, a cycle."""
        given = {job.key for job in request.jobs}
        for index, job in enumerate(request.jobs):
            record = there.get(job.key)
            if request.mode == "add" and record is not None and record.state.status != "removed":
                text = f"a job {job.name!r} is there already in tenant {job.tenant!r}; change it by declaring it, or use another name"
                return RequestRejected(request.key, "job_exists", text, index)
            for upstream in job.after:
                key = (job.tenant, upstream)
                known = there.get(key)
                if key not in given and (known is None or known.state.status == "removed"):
                    text = f"job {job.name!r} waits for {upstream!r}, which is unknown in tenant {job.tenant!r}; add that job first, or with it"
                    return RequestRejected(request.key, "unknown_upstream", text, index)
        for tenant in dict.fromkeys(job.tenant for job in request.jobs):
            edges = dict(self._catalogue.edges(tenant))
            edges.update({job.name: job.after for job in request.jobs if job.tenant == tenant})
            for index, job in enumerate(request.jobs):
                cycle = find_cycle(edges, job.name) if job.after and job.tenant == tenant else []
                if cycle:
                    text = (
                        f"job {job.name!r} would wait for itself: {' → '.join(cycle)}; take one of these out of `after`"
                    )
                    return RequestRejected(request.key, "cycle", text, index)
        return None

    def _added(
        self, client: Address, request: AddJobs, changes: list[Change], there: dict[JobKey, JobRecord], turn: Turn
    ) -> None:
        for it in changes:
            self._catalogue.know(it.record)
            self._catalogue.link(it.record.job)
        kinds = [it.kind for it in changes]

        def then(turn: Turn) -> None:
            turn.send(client, JobsAdded(request.key, kinds.count("new"), kinds.count("changed"), kinds.count("same")))

        linked = self._linked(changes, there)
        # dependencies first: what fires, or is parked no more, is to be planned by the graph of now
        if linked:
            self._announcements.tell(DEPENDENCIES, linked, turn)
        # what was parked for want of its function may run now; new jobs have nothing parked
        known = [it.record for it in changes if it.kind != "new" or it.record.job.hook is not None]
        if known:
            self._announcements.tell(COORDINATOR, known, turn)
        changed = (it.record for it in changes if it.kind != "same")
        armed = [record for record in changed if record.state.next_due is not None or record.job.version > 1]
        if armed:
            self._announcements.tell(CLOCK, armed, turn)
        if linked:
            self._announcements.when_noted(DEPENDENCIES, then, turn)
        else:
            then(turn)

    def _linked(self, changes: list[Change], there: dict[JobKey, JobRecord]) -> list[JobRecord]:
        """What dependencies is to know of: jobs that wait for others, or did, or that others wait for."""
        known = self._catalogue.known
        records = [it.record for it in changes if it.had_upstreams or self._catalogue.is_linked(it.record.job)]
        names = dict.fromkeys((it.job.tenant, name) for it in records for name in it.job.after)
        changed = {it.record.job.key for it in changes}
        return [*records, *(known.get(key, there[key]) for key in names if key in there and key not in changed)]

    # ---- changing -------------------------------------------------------------------------------------------------------

    def on_change_job(self, client: Address, request: ChangeJob, turn: Turn) -> None:
        def then(message: Found, turn: Turn) -> None:
            records: tuple[JobRecord, ...] = message.rows
            if request.repeated and records and _is_done(request, records[0].state):
                self._hold(client, request, records[0], turn)
            elif not records or records[0].state.status == "removed":
                text = f"no job {request.job!r} in tenant {request.tenant!r}"
                reject(client, request.key, "unknown_job", text, turn)
            else:
                self._change(client, request, records[0], turn)

        self._errands.read(client, request, GetJobs(((request.tenant, request.job),)), then, turn)

    def _change(self, client: Address, request: ChangeJob, record: JobRecord, turn: Turn) -> None:
        job, state = record.job, record.state
        event = AddEvents((Event(turn.now, f"job_{request.action}", job.tenant, job.name),))
        match request.action:
            case "pause" | "remove":
                status: JobStatus = "paused" if request.action == "pause" else "removed"
                after = JobRecord(job, replace(state, status=status))
                writes: list[Write] = [SetJobStatus(job.tenant, job.name, job.version, status), event]
            case "resume":
                after, writes = self._resumed(record, turn.now)
                writes.append(event)
            case "reschedule":
                assert request.trigger is not None, "the client has checked that there is a trigger"
                job = replace(job, trigger=request.trigger, anchor=turn.now, version=job.version + 1)
                after = JobRecord(job, replace(first_state(job, state), fires=0))
                if state.status == "paused":
                    after = JobRecord(job, replace(after.state, status="paused"))
                writes = [PutJob(after.job, after.state), event]
            case _:
                assert_never(request.action)

        def then(turn: Turn) -> None:
            if after is not record:  # else it was not paused, and there is nothing to be known
                self._tell(after, turn)
            self._hold(client, request, after, turn)

        self._save(client, request, writes, then, turn)

    def _save(
        self,
        client: Address,
        request: AddJobs | ChangeJob,
        writes: list[Write],
        then: Callable[[Turn], None],
        turn: Turn,
    ) -> None:
        """Have a change stored together with who asked for it."""
        audited = audit_events(turn.now, client, request, self._errands.epoch)
        self._errands.save(client, request, [*writes, AddEvents(audited)] if audited else writes, then, turn)

    @staticmethod
    def _resumed(record: JobRecord, now: int) -> tuple[JobRecord, list[Write]]:
        """What is written when a job is resumed: what passed meanwhile is SKIPPED_PAUSED, and the mark stands at now."""
        job, state = record.job, record.state
        if state.status != "paused":
            return record, []
        step = pass_pause(job, state, now)
        after = replace(
            state, status="exhausted" if step.exhausted else "active", mark=step.mark, next_due=step.next_due
        )
        writes: list[Write] = [
            SetJobStatus(job.tenant, job.name, job.version, after.status),
            AdvanceJob(job.tenant, job.name, job.version, step.mark, None, step.next_due),
        ]
        if step.decisions:
            writes.append(AddDecisions(step.decisions))
        return JobRecord(job, after), writes

    def _tell(self, after: JobRecord, turn: Turn) -> None:
        """Tell whoever goes by a job that it was changed, or removed."""
        removed = after.state.status == "removed"
        self._catalogue.know(after)
        if removed or self._catalogue.is_linked(after.job):
            self._announcements.tell(DEPENDENCIES, (after,), turn)
        if removed:
            self._catalogue.unlink(after.job.key)
            self._announcements.tell(COORDINATOR, (after,), turn)
        self._announcements.tell(CLOCK, (after,), turn)

    def _hold(self, client: Address, request: ChangeJob, after: JobRecord, turn: Turn) -> None:
        """Have the coordinator start nothing more of a job, or go on with it; then its client is answered."""
        job, status = after.job, after.state.status

        def then(turn: Turn) -> None:
            turn.send(client, JobChanged(request.key, after))

        self._errands.hold(
            client,
            request,
            HoldJob(
                f"hold/{self._errands.next()}",
                job.tenant,
                job.name,
                held=status in ("paused", "removed"),
                removed=status == "removed",
                version=job.version,
                mark=after.state.mark,
            ),
            then,
            turn,
        )


def _is_done(request: ChangeJob, state: JobState) -> bool:
    """Tell whether a job is stored as a client wants it: it asked before, and the answer was lost."""
    match request.action:
        case "pause":
            return state.status == "paused"
        case "remove":
            return state.status == "removed"
        case "resume":
            return state.status in ("active", "exhausted")
        case "reschedule":
            return False  # it begins at the newer instant
        case _:
            assert_never(request.action)
