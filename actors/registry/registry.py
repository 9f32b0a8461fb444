"""The registry: job definitions, and the door through which clients come.

    AddJobs ─▶ read what is there ─▶ compare ─▶ Save ─▶ Saved ─▶ Arm (clock), LinkJobs (dependencies), JobsAdded (client)
    Submit ──▶ read unknown jobs ─▶ Plan (dependencies) ─▶ … the coordinator answers the client
    ChangeJob ▶ Save ─▶ Saved ─▶ Disarm or Arm (clock), HoldJob (coordinator) ─▶ JobHeld ─▶ JobChanged (client)
    Query, Watch, CancelRun ─▶ Read ─▶ the client, or the coordinator where a run is alive

Definitions are kept by name up to a limit; the rest is in the store. A definition that has not changed keeps its trigger's
anchor and its high-water mark, so a program that says its jobs anew at every start loses nothing and judges nothing twice.
Every request is kept under its key until it is answered, and begun anew from there when the store did not answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from ..actor import CLOCK, COORDINATOR, DEPENDENCIES, PERSISTENCE, SECOND, Address, Turn
from ..graph import find_cycle
from ..messages import (
    Accepted,
    AddJobs,
    Answer,
    Arm,
    CancelAccepted,
    CancelLive,
    CancelRun,
    ChangeJob,
    Describe,
    Disarm,
    Found,
    HoldJob,
    JobChanged,
    JobHeld,
    JobsAdded,
    KnowJobs,
    Lead,
    LinkJobs,
    Plan,
    PlanItem,
    Query,
    Read,
    ReadRejected,
    RefusalCode,
    RequestRejected,
    RunsEnded,
    Save,
    Saved,
    SaveRejected,
    Started,
    StepDown,
    Submit,
    TimerFired,
    Watch,
    WatchLive,
)
from ..persistence.store import (
    AddDecisions,
    AddEvents,
    AdvanceJob,
    GetJobs,
    GetRuns,
    GetSubmissions,
    InsertJob,
    ListEdges,
    ListRuns,
    PutJob,
    Question,
    SetJobStatus,
    Write,
)
from ..records import Event, Job, JobRecord, JobStatus, RunRecord, RunState, Submission
from ..schedule import first_state, pass_pause
from .comparison import Change, compare

KNOWN_JOBS: Final = 10_000
"""Definitions that are kept in memory."""

MAX_WAITING: Final = 10_000
"""Requests that wait for an answer of the store; further ones are dropped, and their clients ask again."""

ASK_AGAIN_US: Final = SECOND
FORGET_US: Final = 30 * SECOND
"""A request that got nowhere for so long is dropped; its client has asked again, or gone."""

Request = AddJobs | Submit | ChangeJob | CancelRun | Query | Watch
Message = (
    Started
    | Lead
    | StepDown
    | Found
    | ReadRejected
    | Saved
    | SaveRejected
    | JobHeld
    | TimerFired
    | AddJobs
    | Submit
    | ChangeJob
    | CancelRun
    | Query
    | Watch
)
JobKey = tuple[str, str]


class _Waiting(Struct):
    """A request in hand: who asks, what was asked last on its behalf, and what to do with the answer."""

    client: Address
    request: Request
    sent_at: int = 0
    on_found: Callable[[Found, Turn], None] | None = None
    on_saved: Callable[[Turn], None] | None = None
    on_held: Callable[[Turn], None] | None = None


class Registry:
    """Owns the definitions of jobs; answers clients."""

    def __init__(self) -> None:
        self._forget_all()

    def _forget_all(self) -> None:
        self._epoch = 0
        self._loaded = False
        self._known: OrderedDict[JobKey, JobRecord] = OrderedDict()
        self._edges: dict[str, dict[str, tuple[str, ...]]] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._count = 0

    # ---- messages -------------------------------------------------------------------------------------------------------

    def receive(self, message: Message, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        """Take a message; requests wait until the reign has loaded the graph of jobs."""
        match message:
            case Submit() | AddJobs() | ChangeJob() | CancelRun() | Query() | Watch():
                if len(self._waiting) < MAX_WAITING:
                    self._begin(turn.sender, message, turn)
            case Found():
                self._on_found(message, turn)
            case Saved():
                waiting = self._take(message.key)
                if waiting is not None and waiting.on_saved is not None:
                    if message.committed.existing:
                        self._begin(waiting.client, waiting.request, turn)
                    else:
                        waiting.on_saved(turn)
            case SaveRejected():
                self._on_save_rejected(message, turn)
            case JobHeld():
                waiting = self._take(message.key)
                if waiting is not None and waiting.on_held is not None:
                    waiting.on_held(turn)
            case Lead():
                early = self._held_back()
                self._forget_all()
                self._epoch = message.epoch
                self._waiting = early  # came before the reign, and need not be asked again
                self._load(turn)
            case StepDown():
                self._forget_all()
            case TimerFired():
                self._on_timer(turn)
            case Started() | ReadRejected():
                pass
            case _:
                assert_never(message)

    def settle(self, turn: Turn) -> None:
        """Nothing is gathered: a client's message is a batch already."""

    def _begin(self, client: Address, request: Request, turn: Turn) -> None:
        if not self._loaded:
            self._wait(f"load/{self._next()}", _Waiting(client, request))
            return
        match request:
            case Submit():
                self._on_submit(client, request, turn)
            case AddJobs():
                self._on_add_jobs(client, request, turn)
            case ChangeJob():
                self._on_change_job(client, request, turn)
            case CancelRun():
                self._on_cancel_run(client, request, turn)
            case Query():
                self._on_query(client, request, turn)
            case Watch():
                self._on_watch(client, request, turn)
            case _:
                assert_never(request)

    # ---- asking ---------------------------------------------------------------------------------------------------------

    def _next(self) -> str:
        self._count += 1
        return f"{self._epoch}/{self._count}"

    def _wait(self, key: str, waiting: _Waiting) -> None:
        self._waiting[key] = waiting

    def _take(self, key: str) -> _Waiting | None:
        return self._waiting.pop(key, None)

    def _read(
        self, client: Address, request: Request, question: Question, then: Callable[[Found, Turn], None], turn: Turn
    ) -> None:
        key = f"ask/{self._next()}"
        self._wait(key, _Waiting(client, request, turn.elapsed, on_found=then))
        turn.send(PERSISTENCE, Read(key, question))
        self._watch_time(turn)

    def _save(
        self, client: Address, request: Request, writes: Iterable[Write], then: Callable[[Turn], None], turn: Turn
    ) -> None:
        key = f"save/{self._next()}"
        self._wait(key, _Waiting(client, request, turn.elapsed, on_saved=then))
        turn.send(PERSISTENCE, Save(key, self._epoch, tuple(writes)))
        self._watch_time(turn)

    def _hold(
        self, client: Address, request: ChangeJob, hold: HoldJob, then: Callable[[Turn], None], turn: Turn
    ) -> None:
        self._wait(hold.key, _Waiting(client, request, turn.elapsed, on_held=then))
        turn.send(COORDINATOR, hold)
        self._watch_time(turn)

    def _watch_time(self, turn: Turn) -> None:
        if len(self._waiting) == 1:
            turn.set_timer("waiting", turn.elapsed + ASK_AGAIN_US, steady=True)

    def _on_timer(self, turn: Turn) -> None:
        """Drop what got nowhere: each client asks again under the same key."""
        if self._epoch and not self._loaded:
            self._load(turn)
        late = [key for key, it in self._waiting.items() if it.sent_at and it.sent_at + FORGET_US < turn.elapsed]
        for key in late:
            del self._waiting[key]
        if self._waiting:
            turn.set_timer("waiting", turn.elapsed + ASK_AGAIN_US, steady=True)

    def _reject(self, client: Address, key: str, code: RefusalCode, text: str, turn: Turn, index: int = -1) -> None:
        turn.send(client, RequestRejected(key, code, text, index))

    def _on_save_rejected(self, message: SaveRejected, turn: Turn) -> None:
        waiting = self._take(message.key)
        if waiting is None or message.code == "fenced":
            return
        code: RefusalCode = "store_busy" if message.code == "busy" else "store_full"
        self._reject(waiting.client, waiting.request.key, code, f"nothing was stored: {message.text}", turn)

    # ---- the graph ------------------------------------------------------------------------------------------------------

    def _load(self, turn: Turn) -> None:
        turn.send(PERSISTENCE, Read(f"edges/{self._epoch}", ListEdges()))
        turn.set_timer("waiting", turn.elapsed + ASK_AGAIN_US, steady=True)

    def _on_found(self, message: Found, turn: Turn) -> None:
        if message.key == f"edges/{self._epoch}":
            if not self._loaded:
                self._loaded = True
                records: tuple[JobRecord, ...] = message.rows
                for record in records:
                    self._link(record.job)
                held = self._held_back()
                self._waiting = {key: it for key, it in self._waiting.items() if key not in held}
                for it in held.values():
                    self._begin(it.client, it.request, turn)
            return
        found = self._take(message.key)
        if found is not None and found.on_found is not None:
            found.on_found(message, turn)

    def _held_back(self) -> dict[str, _Waiting]:
        """The requests that wait for the graph."""
        return {key: it for key, it in self._waiting.items() if key.startswith("load/")}

    def _link(self, job: Job) -> None:
        edges = self._edges.setdefault(job.tenant, {})
        if job.after:
            edges[job.name] = job.after
        else:
            edges.pop(job.name, None)

    def _is_linked(self, job: Job) -> bool:
        return bool(job.after) or any(job.name in after for after in self._edges.get(job.tenant, {}).values())

    def _know(self, record: JobRecord) -> None:
        self._known[record.job.key] = record
        if len(self._known) > KNOWN_JOBS:
            self._known.popitem(last=False)

    # ---- adding ---------------------------------------------------------------------------------------------------------

    def _on_add_jobs(self, client: Address, request: AddJobs, turn: Turn) -> None:
        names = dict.fromkeys(job.key for job in request.jobs)
        names.update(dict.fromkeys((job.tenant, name) for job in request.jobs for name in job.after))

        def then(message: Found, turn: Turn) -> None:
            there: dict[JobKey, JobRecord] = {record.job.key: record for record in message.rows}
            self._compare(client, request, there, turn)

        self._read(client, request, GetJobs(tuple(names)), then, turn)

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
            edges = dict(self._edges.get(tenant, {}))
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
        changed = [it.record for it in changes if it.kind != "same"]
        for it in changes:
            self._know(it.record)
            self._link(it.record.job)
        if changed:
            turn.send(
                CLOCK,
                Arm(tuple(record for record in changed if record.state.next_due is not None or record.job.version > 1)),
            )
        linked = [it.record.job for it in changes if self._is_linked(it.record.job)]
        upstreams = {(job.tenant, name) for job in linked for name in job.after}
        linked += [record.job for key, record in there.items() if key in upstreams and record.job not in linked]
        if linked or any(it.had_upstreams for it in changes):
            turn.send(
                DEPENDENCIES, LinkJobs(tuple(linked) + tuple(it.record.job for it in changes if it.had_upstreams))
            )
        # what was parked for want of its function may run now; new jobs have nothing parked
        known = tuple(it.record.job for it in changes if it.kind != "new" or it.record.job.hook is not None)
        if known:
            turn.send(COORDINATOR, KnowJobs(known))
        kinds = [it.kind for it in changes]
        turn.send(client, JobsAdded(request.key, kinds.count("new"), kinds.count("changed"), kinds.count("same")))

    # ---- submitting -----------------------------------------------------------------------------------------------------

    def _on_submit(self, client: Address, request: Submit, turn: Turn) -> None:
        if request.repeated:
            self._read(client, request, GetSubmissions((request.key,)), self._after_submissions(client, request), turn)
        else:
            self._plan(client, request, turn)

    def _after_submissions(self, client: Address, request: Submit) -> Callable[[Found, Turn], None]:
        def then(message: Found, turn: Turn) -> None:
            rows: tuple[Submission, ...] = message.rows
            if rows:
                row = rows[0]
                turn.send(client, Accepted(request.key, tuple(range(row.first, row.first + row.count)), durable=True))
            else:
                self._plan(client, request, turn)

        return then

    def _plan(self, client: Address, request: Submit, turn: Turn) -> None:
        """Pass a submission on, with its jobs' definitions; those that are not known are read first."""
        known, tenant = self._known, request.tenant
        names = dict.fromkeys(item.job for item in request.items)
        missing = [(tenant, name) for name in names if (tenant, name) not in known]
        if missing:

            def then(message: Found, turn: Turn) -> None:
                records: tuple[JobRecord, ...] = message.rows
                for record in records:
                    self._know(record)
                self._plan_known(client, request, turn)

            self._read(client, request, GetJobs(tuple(missing)), then, turn)
        else:
            self._plan_known(client, request, turn)

    def _plan_known(self, client: Address, request: Submit, turn: Turn) -> None:
        known, tenant = self._known, request.tenant
        jobs: dict[str, Job] = {}
        items: list[PlanItem] = []
        for index, item in enumerate(request.items):
            job = jobs.get(item.job)
            if job is None:
                record = known.get((tenant, item.job))
                if record is None or record.state.status == "removed":
                    text = f"no job {item.job!r} in tenant {tenant!r}; add it first"
                    self._reject(client, request.key, "unknown_job", text, turn, index)
                    return
                job = jobs[item.job] = record.job
            items.append(PlanItem(job, item))
        turn.send(DEPENDENCIES, Plan(request.key, client, request.cause, tuple(items)))

    # ---- changing -------------------------------------------------------------------------------------------------------

    def _on_change_job(self, client: Address, request: ChangeJob, turn: Turn) -> None:
        def then(message: Found, turn: Turn) -> None:
            records: tuple[JobRecord, ...] = message.rows
            if not records or records[0].state.status == "removed":
                text = f"no job {request.job!r} in tenant {request.tenant!r}"
                self._reject(client, request.key, "unknown_job", text, turn)
                return
            self._change(client, request, records[0], turn)

        self._read(client, request, GetJobs(((request.tenant, request.job),)), then, turn)

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
                after = JobRecord(job, replace(first_state(job), fires=0))
                if state.status == "paused":
                    after = JobRecord(job, replace(after.state, status="paused"))
                writes = [PutJob(after.job, after.state), event]
            case _:
                assert_never(request.action)

        def then(turn: Turn) -> None:
            self._changed(client, request, after, turn)

        self._save(client, request, writes, then, turn)

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

    def _changed(self, client: Address, request: ChangeJob, after: JobRecord, turn: Turn) -> None:
        job = after.job
        self._know(after)
        held = after.state.status in ("paused", "removed")
        if held:
            turn.send(CLOCK, Disarm((job.key,)))
        else:
            turn.send(CLOCK, Arm((after,)))
        if after.state.status == "removed":
            self._edges.get(job.tenant, {}).pop(job.name, None)
            turn.send(DEPENDENCIES, LinkJobs((), (job.key,)))

        def then(turn: Turn) -> None:
            turn.send(client, JobChanged(request.key, after))

        removed = after.state.status == "removed"
        self._hold(client, request, HoldJob(f"hold/{self._next()}", job.tenant, job.name, held, removed), then, turn)

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def _on_cancel_run(self, client: Address, request: CancelRun, turn: Turn) -> None:
        def then(message: Found, turn: Turn) -> None:
            records: tuple[RunRecord, ...] = message.rows
            if not records:
                text = f"no run {request.run_id} in tenant {request.tenant!r}"
                self._reject(client, request.key, "unknown_run", text, turn)
            elif records[0].end is None:
                turn.send(COORDINATOR, CancelLive(request.key, client, request.run_id, request.reason))
            elif records[0].end.state is RunState.CANCELLED:
                turn.send(client, CancelAccepted(request.key, RunState.CANCELLED))
            else:
                text = f"run {request.run_id} has ended already: {records[0].end.state}"
                self._reject(client, request.key, "ended", text, turn)

        self._read(client, request, GetRuns(request.tenant, (request.run_id,)), then, turn)

    def _on_query(self, client: Address, request: Query, turn: Turn) -> None:
        of_runs = isinstance(request.question, GetRuns | ListRuns)

        def then(message: Found, turn: Turn) -> None:
            if of_runs and any(record.end is None for record in message.rows):
                turn.send(COORDINATOR, Describe(request.key, client, message.rows))
            else:
                turn.send(client, Answer(request.key, message.rows))

        self._read(client, request, request.question, then, turn)

    def _on_watch(self, client: Address, request: Watch, turn: Turn) -> None:
        def then(message: Found, turn: Turn) -> None:
            records: tuple[RunRecord, ...] = message.rows
            ends = tuple(record.end for record in records if record.end is not None)
            live = tuple(record.run.run_id for record in records if record.end is None)
            if ends:
                turn.send(client, RunsEnded(ends))
            if live:
                turn.send(COORDINATOR, WatchLive(client, live))

        self._read(client, request, GetRuns(request.tenant, request.run_ids), then, turn)
