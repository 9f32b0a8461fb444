"""The contract of a store. One conformance suite runs over every implementation.

A store is called by one actor, persistence, on one thread at a time. Writing is one call: `commit` takes a batch and does
all of it or nothing, durably, and only if the epoch is still the lease's. Reading is one call too: `read` takes a question
and answers a list. A store decides nothing, with one exception: it says which of the batch was there before (`InsertJob`
and tokens), because only it can know.

Promises
    atomic       a batch is there whole or not at all, after any crash
    fenced       `commit` compares the epoch with the lease in the same transaction, and raises `Fenced`
    ordered      a batch that was committed is seen by every later read
    durable      when `commit` has returned, as far as `Capabilities.durable` says
    recoverable  after `StoreUnknown`, `last_seq()` tells whether the batch took effect

Who lives: a process says by `enter` under which name it holds leases, and `is_dead` tells of another's name whether its
process is gone, where a store can know that: then nobody needs to wait until the lease has stood still for long enough.

Failures, each with the class it raises (see `callsheet.errors`): StoreFull, StoreBusy, StoreUnknown, Fenced, and on opening
StoreForeign, StoreTooNew, on entering NameTaken. After StoreFull, StoreBusy and Fenced nothing of the batch is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from ..records import (
    Attempt,
    Claim,
    Condition,
    Decision,
    End,
    Event,
    Job,
    JobRecord,
    JobState,
    JobStatus,
    LiveRun,
    Receipt,
    Run,
    RunRecord,
    RunState,
    Submission,
)

MAX_PAGE: Final = 1_000
"""Rows that one `read` answers at most."""


class Capabilities(Struct, frozen=True):
    """What a store can do. `promise` says it to a person in one sentence."""

    durable: bool
    many_processes: bool
    many_hosts: bool
    promise: str


class Lease(Struct, frozen=True):
    """Who leads. There is no expiry in it, so no two clocks are ever compared."""

    holder: str
    epoch: int
    beat: int
    last_seq: int
    address: str


# ---- writes -------------------------------------------------------------------------------------------------------------


class InsertJob(Struct, frozen=True, tag="insert_job"):
    """Add a job unless one of its tenant and name is there; then it is named in `Committed.existing` and nothing is done."""

    job: Job
    state: JobState


class PutJob(Struct, frozen=True, tag="put_job"):
    """Write a new version of a job's definition and its state; a mark that is there and greater stays, and so does `removed`.

    With a greater mark that is there slots were decided since the edit was read. If its trigger is the same, by its anchor, what
    was written with that mark stays too: the count of fires, when to look next, and that the job is exhausted.
    """

    job: Job
    state: JobState


class SetJobStatus(Struct, frozen=True, tag="set_job_status"):
    """Write a job's status, and of a removed one which version that was.

    None or another version there: nothing is done. What the clock writes (`AdvanceJob`) stays.
    """

    tenant: str
    job: str
    version: int
    status: JobStatus


class AdvanceJob(Struct, frozen=True, gc=False, tag="advance_job"):
    """Move a job's high-water mark on, with its count of fires and when to look next.

    Nothing is done when the mark that is there is greater. When the job has a newer version by now, with another trigger (by its
    anchor), its mark alone is moved: the slots up to it are decided, whatever the version. `exhausted` makes an active job
    `exhausted`; the status is not touched otherwise. `fires` None leaves the count.
    """

    tenant: str
    job: str
    version: int
    mark: int
    fires: int | None
    next_due: int | None
    exhausted: bool = False


class AddRuns(Struct, frozen=True, tag="add_runs"):
    """Add runs. A run whose (tenant, token) is there already is not added: see `Committed.tokens`. Its number counts as used."""

    runs: tuple[Run, ...]


class AddClaim(Struct, frozen=True, tag="add_claim"):
    """Record a batch of claims."""

    claim: Claim


class AddAttempts(Struct, frozen=True, tag="add_attempts"):
    """Record attempts that ended without ending their runs; the newest of a run replaces what its claims said."""

    attempts: tuple[Attempt, ...]


class AddEnds(Struct, frozen=True, tag="add_ends"):
    """End runs. An end that is there already stays as it is (a final state never changes)."""

    ends: tuple[End, ...]


class AddDecisions(Struct, frozen=True, tag="add_decisions"):
    """Record what became of slots. A slot (tenant, job, instant) that has its decision keeps it."""

    decisions: tuple[Decision, ...]


class AddSubmissions(Struct, frozen=True, tag="add_submissions"):
    """Remember accepted client batches by key."""

    submissions: tuple[Submission, ...]


class AddReceipts(Struct, frozen=True, tag="add_receipts"):
    """Remember by key the changes of jobs that this batch carries out. A receipt that is there already stays as it is."""

    receipts: tuple[Receipt, ...]


class PutConditions(Struct, frozen=True, tag="put_conditions"):
    """Write the condition of live runs, one for each run; READY clears it."""

    conditions: tuple[Condition, ...]


class AddEvents(Struct, frozen=True, tag="add_events"):
    """Append to the history."""

    events: tuple[Event, ...]


class PutSettled(Struct, frozen=True, tag="put_settled"):
    """All runs below `run_id` have ended: a rebuild need not look at them. It only grows."""

    run_id: int


Write = (
    InsertJob
    | PutJob
    | SetJobStatus
    | AdvanceJob
    | AddRuns
    | AddClaim
    | AddAttempts
    | AddEnds
    | AddDecisions
    | AddSubmissions
    | AddReceipts
    | PutConditions
    | AddEvents
    | PutSettled
)


class Committed(Struct, frozen=True):
    """What the store found there before: jobs not inserted, and runs not added because of their token (new id → old run)."""

    existing: tuple[tuple[str, str], ...] = ()
    tokens: tuple[tuple[int, Run], ...] = ()


# ---- questions ----------------------------------------------------------------------------------------------------------


class GetJobs(Struct, frozen=True, tag="get_jobs"):
    """→ list[JobRecord], the jobs of these names (tenant, name), removed ones too; unknown names are left out."""

    names: tuple[tuple[str, str], ...]


class GetDefinitions(Struct, frozen=True, tag="get_definitions"):
    """→ list[Job], these versions (tenant, name, version)."""

    versions: tuple[tuple[str, str, int], ...]


class ListJobs(Struct, frozen=True, tag="list_jobs", kw_only=True):
    """→ list[JobRecord] by name, after the name `after`: what a person asks. `tag` filters; removed jobs are left out unless asked for."""

    tenant: str
    after: str = ""
    limit: int = 100
    tag: str | None = None
    removed: bool = False


class ListEdges(Struct, frozen=True, tag="list_edges"):
    """→ list[JobRecord] of all jobs, of every tenant, that are not removed and have upstreams or are hooks. Not paged."""


class ListHeld(Struct, frozen=True, tag="list_held"):
    """→ list[JobRecord] of all paused jobs, of every tenant, by tenant and name. Not paged."""


class DueJobs(Struct, frozen=True, tag="due_jobs"):
    """→ list[JobRecord], active, with `next_due` <= until, ordered by (next_due, tenant, name), after that triple; at most `limit`."""

    until: int
    after: tuple[int, str, str] | None = None
    limit: int = MAX_PAGE


class ListUnarmed(Struct, frozen=True, tag="list_unarmed"):
    """→ list[JobRecord], active, that have fired and have no `next_due`, of every tenant, by name, after `after`; at most `limit`.

    These count from the end of their last run.
    """

    after: tuple[str, str] | None = None
    limit: int = MAX_PAGE


class GetLiveRuns(Struct, frozen=True, tag="get_live_runs"):
    """→ list[LiveRun] of every tenant that have not ended, by run_id, after `after`; at most `limit`."""

    after: int = 0
    limit: int = MAX_PAGE


class GetRuns(Struct, frozen=True, tag="get_runs"):
    """→ list[RunRecord], these runs of the tenant, with their ends; unknown ones are left out."""

    tenant: str
    run_ids: tuple[int, ...]


class ListRuns(Struct, frozen=True, tag="list_runs", kw_only=True):
    """→ list[RunRecord], newest first, before run `before`. The state of a live run is as far as the store knows it.

    `job`, `state` and `tag` filter; hook runs are left out unless `hooks`.
    """

    tenant: str
    job: str | None = None
    state: RunState | None = None
    tag: str | None = None
    before: int | None = None
    limit: int = 100
    hooks: bool = False


class GetGroup(Struct, frozen=True, tag="get_group"):
    """→ list[RunRecord], all runs of these groups of the tenant, with their ends."""

    tenant: str
    groups: tuple[str, ...]


class GetTokens(Struct, frozen=True, tag="get_tokens"):
    """→ list[RunRecord], the tenant's runs that were submitted with these idempotency keys, with their ends, by run_id."""

    tenant: str
    tokens: tuple[str, ...]


class GetSubmissions(Struct, frozen=True, tag="get_submissions"):
    """→ list[Submission] with these keys."""

    keys: tuple[str, ...]


class GetReceipts(Struct, frozen=True, tag="get_receipts"):
    """→ list[Receipt] with these keys."""

    keys: tuple[str, ...]


class ListDecisions(Struct, frozen=True, tag="list_decisions", kw_only=True):
    """→ list[Decision] of a job, newest slot first, with slot < `before`."""

    tenant: str
    job: str
    before: int | None = None
    limit: int = 100


class ListAttempts(Struct, frozen=True, tag="list_attempts"):
    """→ list[Attempt] of a run that did not end it, oldest first."""

    tenant: str
    run_id: int


class ListEvents(Struct, frozen=True, tag="list_events", kw_only=True):
    """→ list[Event] of the tenant (and those of no tenant), newest first."""

    tenant: str
    job: str | None = None
    limit: int = 100


class GetCounters(Struct, frozen=True, tag="get_counters"):
    """→ list with one `Counters`: where the numbering of runs and fences goes on."""


class Counters(Struct, frozen=True):
    """The greatest run id and fence that were ever used, and the settled mark.

    An end uses the number of its run, and the settled mark all below it: a new run of such a number would have ended, or be hidden.
    """

    run_id: int
    fence: int
    settled: int


Question = (
    GetJobs
    | GetDefinitions
    | ListJobs
    | ListEdges
    | ListHeld
    | DueJobs
    | ListUnarmed
    | GetLiveRuns
    | GetRuns
    | ListRuns
    | GetGroup
    | GetTokens
    | GetSubmissions
    | GetReceipts
    | ListDecisions
    | ListAttempts
    | ListEvents
    | GetCounters
)

Answers = JobRecord | Job | LiveRun | RunRecord | Submission | Receipt | Decision | Attempt | Event | Counters


class Store(Protocol):
    """The port that persistence holds."""

    capabilities: Capabilities

    def open(self) -> None:
        """Make or migrate what is there.

        Raises:
            StoreForeign: it is another program's.
            StoreTooNew: a newer version wrote it.
        """

    def close(self) -> None:
        """Let go of it; what was committed stays. Twice is harmless."""

    def enter(self, holder: str) -> None:
        """From now on this process is known as `holder`, its node and incarnation; the same name twice is harmless.

        Raises:
            NameTaken: another process that lives has this name.
            StoreError: it cannot be made known.
        """

    def is_dead(self, holder: str) -> bool:
        """Whether the process of this name is gone for certain. False where nobody can tell, as of who never entered."""

    def lease(self) -> Lease | None:
        """The lease as it stands, None before the first reign."""

    def take_lease(self, holder: str, address: str, seen: Lease | None) -> Lease | None:
        """Take over, if the lease still is as it was seen: epoch grows by one, beat and last_seq begin at 0. None: the race is lost."""

    def renew_lease(self, holder: str, epoch: int) -> int:
        """Beat once; answer the beat.

        Raises:
            Fenced: the lease is another's.
        """

    def last_seq(self) -> int:
        """The seq of the newest batch of this reign that took effect."""

    def commit(self, writes: Sequence[Write], *, epoch: int, holder: str, seq: int) -> Committed:
        """Do all writes in order, in one transaction, and set the lease's last_seq to `seq`."""

    def found_before(self, writes: Sequence[Write]) -> Committed:
        """What the newest commit found there before: asked after `StoreUnknown`, if `last_seq` says that it took effect.

        `writes` are those of that commit, for a store that must look again.
        """

    def tidy(self) -> bool:
        """Do what may be put off, when nothing else waits; answers whether there was anything. Takes milliseconds."""

    def read(self, question: Question) -> list[Any]:
        """Answer a question; the list's items are said at the question."""
