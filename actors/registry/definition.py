"""Definitions: how jobs are added and changed, each request once.

    first copy, in the reign it was sent to ───────────────▶ read the jobs ─▶ Save(change, receipt) ─▶ tell others ─▶ answer
    any other copy ─▶ read the receipt ─▶ it is not there ──────▲
                                     └──▶ it is there ──────────────────────────────────────────────────────────────▶ answer

A copy of a request may lie somewhere for long: in the mailbox of a node that was frozen, or that did not lead. Its client had its
answer from another leader meanwhile, and has perhaps asked for the opposite. So the receipt is stored in the transaction of
the change, and also when a declaration changes nothing: it would undo what was declared after it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, assert_never

from msgspec.structs import replace

from ...errors import DefinitionError
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
from ..persistence.store import (
    AddDecisions,
    AddEvents,
    AddReceipts,
    AdvanceJob,
    GetJobs,
    GetReceipts,
    InsertJob,
    PutJob,
    SetJobStatus,
    Write,
)
from ..records import Decision, Event, Job, JobRecord, JobStatus, Receipt
from ..schedule import first_state, pass_pause
from .announcement import Announcements
from .catalogue import Catalogue
from .comparison import Change, compare
from .errand import Errands, reject
from .sense import check_size

JobKey = tuple[str, str]

Changed = tuple[JobRecord, list[Write], tuple[Decision, ...]]
"""A job as it becomes, what is written for that, and what becomes of slots by it."""

MAX_BEGUN: Final = 10_000
"""Requests whose keys are remembered within a reign; of an older one that comes twice as the first copy nobody knows."""


UNUSABLE: Final = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, OSError)
"""What a trigger of the right shape may make the libraries raise that calendars, zones and rules are read with."""


class Definitions:
    """Adds and changes jobs."""

    def __init__(self, catalogue: Catalogue, errands: Errands, announcements: Announcements) -> None:
        self._catalogue = catalogue
        self._errands = errands
        self._announcements = announcements
        self._begun: OrderedDict[str, None] = OrderedDict()

    # ---- once -----------------------------------------------------------------------------------------------------------

    def _once(
        self,
        client: Address,
        request: AddJobs | ChangeJob,
        begin: Callable[[Turn], None],
        again: Callable[[Receipt, Turn], None],
        turn: Turn,
    ) -> None:
        """Carry a request out, unless it was before; the store is asked if that may be."""
        is_new = request.epoch == self._errands.epoch and request.key not in self._begun
        self._begun[request.key] = None
        if len(self._begun) > MAX_BEGUN:
            self._begun.popitem(last=False)
        if is_new:
            begin(turn)
            return

        def then(message: Found, turn: Turn) -> None:
            receipts: tuple[Receipt, ...] = message.rows
            if receipts:
                again(receipts[0], turn)
            else:
                begin(turn)

        self._errands.read(client, request, GetReceipts((request.key,)), then, turn)

    # ---- adding ---------------------------------------------------------------------------------------------------------

    def on_add_jobs(self, client: Address, request: AddJobs, turn: Turn) -> None:
        def again(receipt: Receipt, turn: Turn) -> None:
            def answer(turn: Turn) -> None:
                turn.send(client, JobsAdded(request.key, receipt.added, receipt.changed, receipt.same))

            def then(message: Found, turn: Turn) -> None:
                self._tell_stored(message.rows, turn)
                self._announcements.when_noted(DEPENDENCIES, answer, turn)

            self._errands.read(client, request, GetJobs(_names(request)), then, turn)

        self._once(client, request, partial(self.add_jobs, client, request), again, turn)

    def add_jobs(self, client: Address, request: AddJobs, turn: Turn) -> None:
        """Add jobs without a look for a receipt: there is none, or it was stored without all of the jobs."""

        def then(message: Found, turn: Turn) -> None:
            there: dict[JobKey, JobRecord] = {record.job.key: record for record in message.rows}
            self._compare(client, request, there, turn)

        self._errands.read(client, request, GetJobs(_names(request)), then, turn)

    def _compare(self, client: Address, request: AddJobs, there: dict[JobKey, JobRecord], turn: Turn) -> None:
        refusal = self._refusal(request, there)
        if refusal is not None:
            turn.send(client, refusal)
            return
        changes: list[Change] = []
        for index, job in enumerate(request.jobs):
            try:
                changes.append(compare(job, there.get(job.key), turn.now))
            except UNUSABLE as error:
                reject(client, request.key, "impossible", _unusable(job, error), turn, index)
                return
        writes: list[Write] = [
            InsertJob(it.record.job, it.record.state) if it.kind == "new" else PutJob(it.record.job, it.record.state)
            for it in changes
            if it.kind != "same"
        ]

        kinds = [it.kind for it in changes]
        receipt = Receipt(request.key, turn.now, kinds.count("new"), kinds.count("changed"), kinds.count("same"))

        def then(turn: Turn) -> None:
            self._added(client, receipt, changes, there, turn)

        self._save(client, request, writes, receipt, then, turn)

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
        self, client: Address, receipt: Receipt, changes: list[Change], there: dict[JobKey, JobRecord], turn: Turn
    ) -> None:
        for it in changes:
            self._catalogue.know(it.record)
            self._catalogue.link(it.record.job)

        def then(turn: Turn) -> None:
            turn.send(client, JobsAdded(receipt.key, receipt.added, receipt.changed, receipt.same))

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
        def begin(turn: Turn) -> None:
            self._look(client, request, turn, is_done=False)

        def again(_receipt: Receipt, turn: Turn) -> None:
            self._look(client, request, turn, is_done=True)

        self._once(client, request, begin, again, turn)

    def _look(self, client: Address, request: ChangeJob, turn: Turn, *, is_done: bool) -> None:
        """Read the job of a request, and change it; if that is done already, answer with the job as it is by now."""

        def then(message: Found, turn: Turn) -> None:
            records: tuple[JobRecord, ...] = message.rows
            if is_done and records:
                self._tell_stored(records, turn)
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
        skipped: tuple[Decision, ...] = ()
        match request.action:
            case "pause" | "remove":
                status: JobStatus = "paused" if request.action == "pause" else "removed"
                removed = job.version if status == "removed" else state.removed
                after = JobRecord(job, replace(state, status=status, removed=removed))
                writes: list[Write] = [SetJobStatus(job.tenant, job.name, job.version, status), event]
            case "resume" | "reschedule":
                try:
                    change = self._resumed if request.action == "resume" else self._rescheduled
                    after, writes, skipped = change(record, request, turn.now)
                except UNUSABLE as error:
                    reject(client, request.key, "impossible", _unusable(job, error), turn)
                    return
                writes.append(event)
            case _:
                assert_never(request.action)

        def then(turn: Turn) -> None:
            if after is not record:  # else it was not paused, and there is nothing to be known
                self._tell(after, turn)
            self._hold(client, request, after, turn, skipped)

        self._save(client, request, writes, Receipt(request.key, turn.now), then, turn)

    def _save(
        self,
        client: Address,
        request: AddJobs | ChangeJob,
        writes: list[Write],
        receipt: Receipt,
        then: Callable[[Turn], None],
        turn: Turn,
    ) -> None:
        """Have a change stored together with its receipt, and with who asked for it."""
        audited = audit_events(turn.now, client, request, self._errands.epoch) if writes else ()
        if audited:
            writes = [*writes, AddEvents(audited)]
        self._errands.save(client, request, [*writes, AddReceipts((receipt,))], then, turn)

    @staticmethod
    def _rescheduled(record: JobRecord, request: ChangeJob, now: int) -> Changed:
        """What is written when a job gets another trigger."""
        assert request.trigger is not None, "the client has checked that there is a trigger"
        if not record.job.is_known:
            raise DefinitionError("nothing of the job can be read here but its name; declare it anew")
        job = replace(record.job, trigger=request.trigger, anchor=now, version=record.job.version + 1)
        check_size(job)
        state = replace(first_state(job, record.state), fires=0)
        if record.state.status == "paused":
            state = replace(state, status="paused")
        return JobRecord(job, state), [PutJob(job, state)], ()

    @staticmethod
    def _resumed(record: JobRecord, _request: ChangeJob, now: int) -> Changed:
        """What is written when a job is resumed: what passed meanwhile is SKIPPED_PAUSED, and the mark stands at now."""
        job, state = record.job, record.state
        if state.status != "paused":
            return record, [], ()
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
        return JobRecord(job, after), writes, step.decisions

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

    def _tell_stored(self, records: Sequence[JobRecord], turn: Turn) -> None:
        """Tell of jobs as they stand in the store: that a change was stored may never have been heard here."""
        active = [record for record in records if record.state.status != "removed"]
        waited = [record for record in active if self._catalogue.edges(record.job.tenant).get(record.job.name)]
        for record in active:
            self._catalogue.link(record.job)
        for record in records:
            self._tell(record, turn)
        let_go = [record for record in waited if not self._catalogue.is_linked(record.job)]
        if let_go:
            self._announcements.tell(DEPENDENCIES, let_go, turn)
        if active:
            self._announcements.tell(COORDINATOR, active, turn)

    def _hold(
        self,
        client: Address,
        request: ChangeJob,
        after: JobRecord,
        turn: Turn,
        skipped: tuple[Decision, ...] = (),
    ) -> None:
        """Have the coordinator start nothing more of a job, or go on with it; then its client is answered."""
        job, state = after.job, after.state

        def then(turn: Turn) -> None:
            turn.send(client, JobChanged(request.key, after))

        self._errands.hold(
            client,
            request,
            HoldJob(
                f"hold/{self._errands.next()}",
                job.tenant,
                job.name,
                held=state.status == "paused",
                removed=state.removed,
                mark=state.mark,
                resumed=job if skipped else None,
                skipped=skipped,
            ),
            then,
            turn,
        )


def _names(request: AddJobs) -> tuple[JobKey, ...]:
    """The jobs of a declaration, and those they wait for."""
    names = dict.fromkeys(job.key for job in request.jobs)
    names.update(dict.fromkeys((job.tenant, name) for job in request.jobs for name in job.after))
    return tuple(names)


def _unusable(job: Job, error: Exception) -> str:
    """Say that a trigger is of the right shape and yet cannot be used."""
    return f"job {job.name!r}: its trigger cannot be used: {type(error).__name__}: {error}"
