"""The store in memory: the contract with dictionaries. Nothing survives the process.

It keeps everything it is given, so it is for tests, for the simulator and for schedulers that live as long as their work.
A batch is checked as a whole before any of it is applied, and applying cannot fail, so it is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from ....errors import Fenced, StoreError
from ...records import (
    Attempt,
    Claim,
    End,
    Event,
    Job,
    JobRecord,
    JobState,
    Run,
    RunState,
)
from .. import store as contract
from ..store import Capabilities, Committed, Lease, Question, Write
from ..view import Facts, Holder, Progress
from .queries import answer
from .tables import JobKey, Tables, append, due_key, is_unarmed

_NOTHING: Final = Committed()


class Snapshot:
    """A `MemoryStore`'s content at one moment."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables


class MemoryStore:
    """A store that lasts as long as this object: closing keeps what is in it, so a test can open it again."""

    capabilities = Capabilities(
        durable=False,
        many_processes=False,
        many_hosts=False,
        promise="Everything is kept in this process's memory and is gone when it ends.",
    )

    def __init__(self) -> None:
        self._tables = Tables()
        self._found = _NOTHING
        self._holder = ""

    def open(self) -> None:
        """Do nothing: there is nothing to open."""

    def enter(self, holder: str) -> None:
        """Note the name of this life."""
        self._holder = holder

    def is_dead(self, holder: str) -> bool:
        """Whoever is not the one that entered last: no two lives share this memory."""
        return holder != self._holder

    def tidy(self) -> bool:
        """Nothing here may be put off."""
        return False

    def close(self) -> None:
        """Do nothing: what was committed stays as long as this object."""

    def snapshot(self) -> Snapshot:
        """Remember the content as it is; takes time in proportion to it."""
        return Snapshot(self._tables.copy())

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a remembered content; it can be gone back to again."""
        self._tables = snapshot._tables.copy()

    # ---- the lease ------------------------------------------------------------------------------------------------------

    def lease(self) -> Lease | None:
        """The lease as it stands."""
        return self._tables.lease

    def take_lease(self, holder: str, address: str, seen: Lease | None) -> Lease | None:
        """Take over if the lease is as it was seen; None: the race is lost."""
        lease = self._tables.lease
        if (lease is None) != (seen is None):
            return None
        if lease is not None and seen is not None and (lease.epoch, lease.beat) != (seen.epoch, seen.beat):
            return None
        epoch = lease.epoch + 1 if lease is not None else 1
        self._tables.lease = Lease(holder=holder, epoch=epoch, beat=0, last_seq=0, address=address)
        return self._tables.lease

    def renew_lease(self, holder: str, epoch: int) -> int:
        """Beat once."""
        lease = self._held(holder, epoch)
        self._tables.lease = msgspec.structs.replace(lease, beat=lease.beat + 1)
        return lease.beat + 1

    def last_seq(self) -> int:
        """The seq of the newest batch of this reign."""
        return self._tables.lease.last_seq if self._tables.lease is not None else 0

    def _held(self, holder: str, epoch: int) -> Lease:
        lease = self._tables.lease
        if lease is None or lease.holder != holder or lease.epoch != epoch:
            raise Fenced(f"epoch {epoch} of {holder} is over: the lease is {lease}")
        return lease

    # ---- writing --------------------------------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write], *, epoch: int, holder: str, seq: int) -> Committed:
        """Do all writes in order, or none."""
        lease = self._held(holder, epoch)
        self._check(writes, epoch)
        existing: list[JobKey] = []
        tokens: list[tuple[int, Run]] = []
        for write in writes:
            self._apply(write, existing, tokens)
        self._tables.lease = Lease(lease.holder, lease.epoch, lease.beat, seq, lease.address)
        self._found = Committed(existing=tuple(existing), tokens=tuple(tokens)) if existing or tokens else _NOTHING
        return self._found

    def found_before(self, writes: Sequence[Write]) -> Committed:
        """What the newest commit found there before."""
        return self._found

    def _check(self, writes: Sequence[Write], epoch: int) -> None:
        """Refuse a batch that cannot be applied, before any of it is."""
        added: set[int] = set()
        tokens: set[JobKey] = set()
        for write in writes:
            match write:
                case contract.AddRuns(runs=runs):
                    self._check_runs(runs, added, tokens)
                case contract.AddClaim(claim=claim):
                    if claim.entries and claim.epoch < epoch:
                        raise Fenced(f"a claim of epoch {claim.epoch} in a batch of epoch {epoch}; nothing was stored")
                case contract.InsertJob(job=job, state=state) | contract.PutJob(job=job, state=state):
                    assert (*job.key, job.version) == (state.tenant, state.name, state.version), (job.key, state)

    def _check_runs(self, runs: Iterable[Run], added: set[int], tokens: set[JobKey]) -> None:
        for run in runs:
            if run.token is not None:
                key = (run.tenant, run.token)
                if key in self._tables.by_token or key in tokens:
                    continue  # it will not be added
                tokens.add(key)
            if run.run_id in self._tables.runs or run.run_id in added:
                raise StoreError(f"run {run.run_id} of job {run.job!r} is there already; nothing was stored")
            added.add(run.run_id)

    def _apply(  # noqa: C901 -- one case for each write
        self, write: Write, existing: list[JobKey], tokens: list[tuple[int, Run]]
    ) -> None:
        match write:
            case contract.AddRuns():
                self._add_runs(write.runs, tokens)
            case contract.AddEnds():
                self._add_ends(write.ends)
            case contract.AddClaim():
                self._add_claim(write.claim)
            case contract.AdvanceJob():
                self._advance(write)
            case contract.AddDecisions():
                for decision in write.decisions:
                    slots = self._tables.decisions.setdefault((decision.tenant, decision.job), {})
                    slots.setdefault(decision.slot, decision)
            case contract.InsertJob():
                if write.job.key in self._tables.jobs:
                    existing.append(write.job.key)
                else:
                    self._put_job(write.job, write.state)
            case contract.PutJob():
                there = self._tables.jobs.get(write.job.key)
                self._put_job(write.job, write.state if there is None else _edited(write, there))
            case contract.SetJobStatus():
                record = self._tables.jobs.get((write.tenant, write.job))
                if record is not None and record.state.version == write.version:
                    removed = write.version if write.status == "removed" else record.state.removed
                    self._put_job(
                        record.job, msgspec.structs.replace(record.state, status=write.status, removed=removed)
                    )
            case contract.AddAttempts():
                self._add_attempts(write.attempts)
            case contract.PutConditions():
                for condition in write.conditions:
                    kept = None if condition.state is RunState.READY else condition
                    self._facts(condition.run_id).condition = kept
            case contract.AddSubmissions():
                for submission in write.submissions:
                    self._tables.submissions.setdefault(submission.key, submission)
            case contract.AddReceipts():
                for receipt in write.receipts:
                    self._tables.receipts.setdefault(receipt.key, receipt)
            case contract.AddEvents():
                self._add_events(write.events)
            case contract.PutSettled():
                self._tables.settled = max(self._tables.settled, write.run_id)

    def _put_job(self, job: Job, state: JobState) -> None:
        tables = self._tables
        old = tables.jobs.get(job.key)
        if old is None:
            tables.names.add(job.key)
        else:
            due = due_key(old.state)
            if due is not None:
                tables.due.remove(due)
            if is_unarmed(old.state):
                tables.unarmed.remove(job.key)
        tables.jobs[job.key] = JobRecord(job, state)
        tables.definitions[job.tenant, job.name, job.version] = job
        due = due_key(state)
        if due is not None:
            tables.due.add(due)
        if is_unarmed(state):
            tables.unarmed.add(job.key)

    def _advance(self, write: contract.AdvanceJob) -> None:
        record = self._tables.jobs.get((write.tenant, write.job))
        if record is None or record.state.version < write.version or record.state.mark > write.mark:
            return
        old = record.state
        if old.version != write.version:
            decided = self._tables.definitions.get((write.tenant, write.job, write.version))
            if decided is None or decided.anchor != record.job.anchor:
                self._put_job(record.job, msgspec.structs.replace(old, mark=write.mark))
                return
        state = JobState(
            tenant=old.tenant,
            name=old.name,
            version=old.version,
            status="exhausted" if write.exhausted and old.status == "active" else old.status,
            mark=write.mark,
            fires=old.fires if write.fires is None else write.fires,
            next_due=write.next_due,
            removed=old.removed,
        )
        self._put_job(record.job, state)

    def _add_runs(self, runs: Iterable[Run], tokens: list[tuple[int, Run]]) -> None:
        tables = self._tables
        for run in runs:
            tables.run_id = max(tables.run_id, run.run_id)
            if run.token is not None:
                first = tables.by_token.setdefault((run.tenant, run.token), run)
                if first is not run:
                    tokens.append((run.run_id, first))
                    continue
            run_id = run.run_id
            tables.runs[run_id] = run
            if run_id not in tables.ends:
                tables.live[run_id] = run
            append(tables.by_tenant, run.tenant, run_id)
            append(tables.by_job, (run.tenant, run.job), run_id)
            if run.group:
                append(tables.by_group, (run.tenant, run.group), run_id)

    def _add_ends(self, ends: Iterable[End]) -> None:
        tables = self._tables
        for end in ends:
            tables.run_id = max(tables.run_id, end.run_id)
            if end.run_id not in tables.ends:
                tables.ends[end.run_id] = end
                tables.live.pop(end.run_id, None)
                tables.facts.pop(end.run_id, None)

    def _add_claim(self, claim: Claim) -> None:
        tables = self._tables
        for entry in claim.entries:
            if entry.run_id not in tables.ends:
                facts = self._facts(entry.run_id)
                if facts.holder is None or entry.fence >= facts.holder.entry.fence:
                    facts.holder = Holder(entry, claim.node, claim.incarnation)
            tables.fence = max(tables.fence, entry.fence)

    def _add_attempts(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            facts = self._facts(attempt.run_id)
            fence = max(attempt.fence, facts.progress.fence if facts.progress else 0)
            facts.progress = Progress(attempt.attempts, attempt.crashes, attempt.next_at, attempt.ended_at, fence)
            self._tables.attempts.setdefault(attempt.run_id, []).append(attempt)

    def _add_events(self, events: Iterable[Event]) -> None:
        for event in events:
            self._tables.event_count += 1
            self._tables.events.setdefault(event.tenant, []).append((self._tables.event_count, event))

    def _facts(self, run_id: int) -> Facts:
        facts = self._tables.facts.get(run_id)
        if facts is None:
            facts = self._tables.facts[run_id] = Facts()
        return facts

    # ---- reading --------------------------------------------------------------------------------------------------------

    def read(self, question: Question) -> list[Any]:
        """Answer a question; the list's items are said at the question."""
        return answer(self._tables, question)


def _edited(write: contract.PutJob, there: JobRecord) -> JobState:
    """The state of a job after an edit; what was written about slots since the edit was read stays."""
    old, state = there.state, write.state
    state = msgspec.structs.replace(state, mark=max(old.mark, state.mark), removed=max(old.removed, state.removed))
    if old.mark <= write.state.mark or there.job.anchor != write.job.anchor:
        return state
    is_over = old.status == "exhausted" and state.status == "active"
    status = "exhausted" if is_over else state.status
    return msgspec.structs.replace(state, fires=old.fires, next_due=old.next_due, status=status)
