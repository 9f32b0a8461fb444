"""Every message that actors, nodes and clients exchange.

Commands are imperative (`Submit`), facts past (`RunsEnded`), refusals end in `Rejected`. Each has a tag chosen by hand, which
is its name on the wire. A message that changes state says what makes it idempotent: `key` is the requester's correlation key,
and a repeated key gives the same answer.

The way of one job:

    client ─Submit─▶ registry ─Plan─▶ dependencies ─Admit─▶ coordinator ─Save─▶ persistence
    clock ──Due────▶ dependencies ─Admit─▶ coordinator          │◀──────────Saved──┘
                                             │─Accepted─▶ client
                                             │─Assign──▶ executor ─AttemptsEnded─▶ coordinator ─Save─▶ …
                                             └─RunsEnded─▶ dependencies, clients
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from ..triggers import Trigger
from .actor import Address
from .executor.runner import Capacity, Freed, Order, Outcome, Progress, StopReason
from .persistence.store import Committed, Counters, Question, Write
from .records import (
    Attempt,
    Cause,
    Decision,
    End,
    Event,
    Job,
    JobRecord,
    LiveRun,
    RunRecord,
    RunState,
    Submission,
)

RefusalCode = Literal[
    "unknown_job",
    "unknown_run",
    "unknown_upstream",
    "cycle",
    "job_exists",
    "job_removed",
    "token_conflict",
    "too_many_queued",
    "store_full",
    "store_busy",
    "ended",
    "stopping",
    "not_leader",
    "impossible",
]

MAX_BATCH: Final = 256
"""Jobs or runs that one message of a client carries at most."""


class Envelope(Struct, frozen=True, gc=False):
    """A batch of messages on its way; immutable, so that a carrier may hand over the object itself.

    `epoch` is the reign in which the sender speaks, 0 when it knows of none.
    """

    sender: Address
    recipient: Address
    epoch: int
    messages: tuple[Any, ...]


# ---- from the host ------------------------------------------------------------------------------------------------------


class Started(Struct, frozen=True, tag="started"):
    """The first message an actor gets: on which node it lives."""

    node: str
    incarnation: str
    address: str = ""


class TimerFired(Struct, frozen=True, tag="timer"):
    """A timer came due."""

    key: str


class Stop(Struct, frozen=True, tag="stop"):
    """Begin the orderly shutdown (coordinator, executor): QUIET, DRAINING, RELEASING, STOPPED.

    `drain_us` is how long running work may take to end by itself, `hurry` skips to releasing.
    """

    drain_us: int
    hurry: bool = False


class PeerRestarted(Struct, frozen=True, tag="peer_restarted"):
    """An actor of this node failed and was made anew; whoever relied on its memory must begin a new reign."""

    actor: str


class NodeStopped(Struct, frozen=True, tag="node_stopped"):
    """The coordinator of `node` has finished its shutdown: nothing runs, all is stored."""

    node: str
    released: int


# ---- persistence --------------------------------------------------------------------------------------------------------


class Save(Struct, frozen=True, tag="save"):
    """Write all of it or nothing; idempotent by `key` within the reign."""

    key: str
    epoch: int
    writes: tuple[Write, ...]


class Saved(Struct, frozen=True, tag="saved"):
    """The batch is durable, as far as the store's promise goes."""

    key: str
    committed: Committed


class SaveRejected(Struct, frozen=True, tag="save_rejected"):
    """Nothing of the batch was written. `fenced`: step down; `full` and `busy`: try again later; `broken`: the store is gone."""

    key: str
    code: Literal["fenced", "full", "busy", "broken"]
    text: str


class Read(Struct, frozen=True, tag="read"):
    """Ask the store."""

    key: str
    question: Question


ROW_KINDS: Final[dict[str, type[Struct]]] = {
    "job_record": JobRecord,
    "job": Job,
    "live_run": LiveRun,
    "run_record": RunRecord,
    "submission": Submission,
    "decision": Decision,
    "attempt": Attempt,
    "event": Event,
    "counters": Counters,
}
"""The types of rows that `Found` and `Answer` carry, by their names on the wire. The rows of one message are of one type."""


class Found(Struct, frozen=True, tag="found"):
    """What the store answered: the list that is said at the question."""

    key: str
    rows: tuple[Any, ...]


class ReadRejected(Struct, frozen=True, tag="read_rejected"):
    """The store could not answer."""

    key: str
    text: str


class TakeLease(Struct, frozen=True, tag="take_lease"):
    """Take the leadership if it is free or stood still long enough."""

    holder: str
    address: str


class LeaseTaken(Struct, frozen=True, tag="lease_taken"):
    """A new reign: everything of older epochs is final, and the numbering goes on behind `counters`."""

    epoch: int
    counters: Counters


class LeaseRejected(Struct, frozen=True, tag="lease_rejected"):
    """Somebody else leads, or the store could not be asked."""

    text: str


class RenewLease(Struct, frozen=True, tag="renew_lease"):
    """Beat once."""

    holder: str
    epoch: int


class LeaseRenewed(Struct, frozen=True, tag="lease_renewed"):
    """Still leading."""

    epoch: int
    beat: int


class LeaseLost(Struct, frozen=True, tag="lease_lost"):
    """A newer epoch exists: step down at once."""

    epoch: int


# ---- reign --------------------------------------------------------------------------------------------------------------


class Lead(Struct, frozen=True, tag="lead"):
    """A reign begins on this node: forget everything and rebuild from the store."""

    epoch: int
    node: str


class StepDown(Struct, frozen=True, tag="step_down"):
    """The reign is over: forget everything."""

    epoch: int


# ---- client ↔ registry --------------------------------------------------------------------------------------------------


class AddJobs(Struct, frozen=True, tag="add_jobs"):
    """Add or change jobs; all or none. Their `version` and `anchor` are set by the registry.

    `declare` leaves a job that is there with the same definition as it is, and makes a new version of one that differs;
    `add` refuses a name that is taken. Idempotent by the definitions themselves.
    """

    key: str
    jobs: tuple[Job, ...]
    mode: Literal["declare", "add"] = "declare"


class JobsAdded(Struct, frozen=True, tag="jobs_added"):
    """The jobs are stored and armed; how many were new, changed, or there as they are."""

    key: str
    added: int
    changed: int
    same: int


class SubmitItem(Struct, frozen=True, gc=False, array_like=True):
    """One run that is asked for. `priority` None and `arguments` empty mean the job's own; `not_before` 0 means now."""

    job: str
    arguments: bytes = b""
    token: str | None = None
    priority: int | None = None
    not_before: int = 0


class Submit(Struct, frozen=True, tag="submit"):
    """Ask for runs; all or none. Idempotent by `key`, also over crashes: it is stored with the runs.

    `cause` `trigger` fires a job by hand: what waits for it, and what it waits for, runs with it. A client that sends a batch
    again says so by `repeated`.
    """

    key: str
    tenant: str
    items: tuple[SubmitItem, ...]
    cause: Cause = "submit"
    repeated: bool = False


class Accepted(Struct, frozen=True, tag="accepted"):
    """The runs are stored: `run_ids` in the order of the items. `durable` says whether they survive the process."""

    key: str
    run_ids: tuple[int, ...]
    durable: bool


class RequestRejected(Struct, frozen=True, tag="request_rejected"):
    """A client's request was refused; nothing of it was done. `index` is the item at fault, −1 when it is none alone."""

    key: str
    code: RefusalCode
    text: str
    index: int = -1


class ChangeJob(Struct, frozen=True, tag="change_job"):
    """Pause, resume, remove or reschedule a job. Idempotent by what it asks for."""

    key: str
    tenant: str
    job: str
    action: Literal["pause", "resume", "remove", "reschedule"]
    trigger: Trigger | None = None


class JobChanged(Struct, frozen=True, tag="job_changed"):
    """The change is stored, and nothing that contradicts it will start any more."""

    key: str
    record: JobRecord


class CancelRun(Struct, frozen=True, tag="cancel_run"):
    """Cancel a run, and with it what waits for it. Idempotent: a cancelled run stays cancelled."""

    key: str
    tenant: str
    run_id: int
    reason: str = "cancelled by request"


class CancelLive(Struct, frozen=True, tag="cancel_live"):
    """A client's cancel of a run that had not ended when the store was asked."""

    key: str
    client: str
    run_id: int
    reason: str


class CancelAccepted(Struct, frozen=True, tag="cancel_accepted"):
    """The cancel is stored; `state` is CANCELLED, or CANCELLING while its function is still running."""

    key: str
    state: RunState


class Query(Struct, frozen=True, tag="query"):
    """Ask about jobs, runs, decisions or the history; the tenant stands in the question."""

    key: str
    question: Question


class Answer(Struct, frozen=True, tag="answer"):
    """The rows that the question promises; live runs with their state, reason and next look as the leader knows them."""

    key: str
    rows: tuple[Any, ...]


class Watch(Struct, frozen=True, tag="watch"):
    """Tell me, with `RunsEnded`, when these runs end; those that have ended already at once. Idempotent."""

    key: str
    tenant: str
    run_ids: tuple[int, ...]


class RunsEnded(Struct, frozen=True, tag="runs_ended"):
    """These runs have ended, durably."""

    ends: tuple[End, ...]


# ---- registry → clock, coordinator, dependencies ------------------------------------------------------------------------


class Arm(Struct, frozen=True, tag="arm"):
    """Watch these jobs' triggers; a record replaces what is known of its job."""

    records: tuple[JobRecord, ...]


class Disarm(Struct, frozen=True, tag="disarm"):
    """Forget these jobs (tenant, name)."""

    names: tuple[tuple[str, str], ...]


class JobEnded(Struct, frozen=True, tag="job_ended"):
    """The last run of a job ended whose next slot counts from there: look again at `next_due`, which is stored already."""

    tenant: str
    job: str
    version: int
    next_due: int


class HoldJob(Struct, frozen=True, tag="hold_job"):
    """Start nothing more of this job (`held`), or go on; `removed` cancels what has not begun. Answered by `JobHeld`."""

    key: str
    tenant: str
    job: str
    held: bool
    removed: bool = False


class JobHeld(Struct, frozen=True, tag="job_held"):
    """From now on nothing of the job begins (or it goes on)."""

    key: str


class LinkJobs(Struct, frozen=True, tag="link_jobs"):
    """Jobs with upstreams, or that had some: dependencies keeps the graph."""

    jobs: tuple[Job, ...]
    removed: tuple[tuple[str, str], ...] = ()


class KnowJobs(Struct, frozen=True, tag="know_jobs"):
    """Definitions the coordinator asked for, or that have changed."""

    jobs: tuple[Job, ...]


class Describe(Struct, frozen=True, tag="describe"):
    """Complete these rows with what is known of live runs, and answer the client."""

    key: str
    client: str
    rows: tuple[RunRecord, ...]


class WatchLive(Struct, frozen=True, tag="watch_live"):
    """A client waits for these runs, which had not ended when the store was asked."""

    client: str
    run_ids: tuple[int, ...]


# ---- the way to a run ---------------------------------------------------------------------------------------------------


class PlanItem(Struct, frozen=True, gc=False):
    """A run that a client asked for, with its job's definition."""

    job: Job
    item: SubmitItem


class Plan(Struct, frozen=True, tag="plan"):
    """A client's submission, checked: find out which other runs belong to it."""

    key: str
    client: str
    cause: Cause
    items: tuple[PlanItem, ...]


class DueSlot(Struct, frozen=True, gc=False):
    """What the clock decided about a job: decisions oldest first, and where its trigger stands now.

    Of the decisions, those of kind FIRED want a run each. `mark`, `fires`, `next_due` are the job's new state.
    """

    job: Job
    decisions: tuple[Decision, ...]
    mark: int
    fires: int
    next_due: int | None
    exhausted: bool = False


class Due(Struct, frozen=True, tag="due"):
    """Slots have passed. Idempotent by slot; sent again until `Decided(key)` comes."""

    key: str
    slots: tuple[DueSlot, ...]


class Decided(Struct, frozen=True, tag="decided"):
    """What the clock sent under this key is stored."""

    key: str


class Draft(Struct, frozen=True, gc=False):
    """A run to be made. `waits` when it has upstreams in its group, and so begins BLOCKED."""

    job: Job
    cause: Cause
    slot: int | None
    group: str
    arguments: bytes = b""
    token: str | None = None
    priority: int | None = None
    not_before: int = 0
    waits: bool = False


class Admit(Struct, frozen=True, tag="admit"):
    """Make these runs and store them in one transaction: those that a client asked for first, in order, then the others."""

    key: str
    client: str
    drafts: tuple[Draft, ...]
    asked: int


class AdmitSlot(Struct, frozen=True, gc=False):
    """A due slot with the drafts of its workflow, for each FIRED decision a tuple, its own job's run first."""

    due: DueSlot
    drafts: tuple[tuple[Draft, ...], ...]


class AdmitSlots(Struct, frozen=True, tag="admit_slots"):
    """Decide overlap, make the runs, store decisions, runs and marks in one transaction; then tell the clock `Decided(key)`."""

    key: str
    slots: tuple[AdmitSlot, ...]


class MadeRun(Struct, frozen=True, gc=False, array_like=True):
    """A stored run of a workflow."""

    run_id: int
    tenant: str
    job: str
    group: str
    waits: bool
    slot: int | None
    deadline_at: int


class RunsMade(Struct, frozen=True, tag="runs_made"):
    """Runs of workflows are stored: dependencies follows them. Sent again until `Noted(key)`.

    `rebuilt` says that other runs of their groups may have ended in an earlier reign.
    """

    key: str
    runs: tuple[MadeRun, ...]
    rebuilt: bool = False


class GroupEnd(Struct, frozen=True, gc=False, array_like=True):
    """How a run of a workflow ended, with its result."""

    run_id: int
    tenant: str
    job: str
    group: str
    state: RunState
    result: bytes


class GroupsMoved(Struct, frozen=True, tag="groups_moved"):
    """Runs of workflows have ended, durably. Sent again until `Noted(key)`."""

    key: str
    ends: tuple[GroupEnd, ...]


class Noted(Struct, frozen=True, tag="noted"):
    """`RunsMade` or `GroupsMoved` of this key arrived."""

    key: str


class Unblock(Struct, frozen=True, tag="unblock"):
    """The upstreams of this run are as its rule wants them; `handed` are their results in the order of `after`. Idempotent."""

    run_id: int
    handed: tuple[bytes, ...]


class Resolve(Struct, frozen=True, tag="resolve"):
    """A waiting run will never run: end it in `state`, for `reason`. Idempotent."""

    run_id: int
    state: RunState
    reason: str


# ---- coordinator ↔ executor ---------------------------------------------------------------------------------------------


class Offer(Struct, frozen=True, tag="offer"):
    """What a node can take, by kind: how many attempts may be with it at once (its places, and a little ahead for short work)."""

    node: str
    incarnation: str
    room: dict[str, int]
    capacity: Capacity


class Assign(Struct, frozen=True, tag="assign"):
    """Run these attempts; they are claimed for this incarnation, durably. Idempotent by fence."""

    epoch: int
    orders: tuple[Order, ...]


class StopAttempts(Struct, frozen=True, tag="stop_attempts"):
    """End these attempts. Idempotent by fence; each is answered in `AttemptsEnded`."""

    epoch: int
    fences: tuple[int, ...]
    reason: StopReason
    grace_us: int


class Withdraw(Struct, frozen=True, tag="withdraw"):
    """Give back those of these that have not begun; answered by `AttemptsEnded` (`not_started`) and then `Withdrawn(key)`."""

    epoch: int
    key: str
    fences: tuple[int, ...]


class Withdrawn(Struct, frozen=True, tag="withdrawn"):
    """What had not begun was given back; the others, `begun`, go on."""

    key: str
    begun: tuple[int, ...]


class AttemptsBegun(Struct, frozen=True, tag="attempts_begun"):
    """The functions of these attempts were called a while ago and still run."""

    fences: tuple[int, ...]


class AttemptsEnded(Struct, frozen=True, tag="attempts_ended"):
    """How attempts ended. Sent again until `Recorded` names their fences."""

    node: str
    outcomes: tuple[Outcome, ...]


class RunnerReported(Struct, frozen=True, tag="runner_reported"):
    """What the runner tells its executor: outcomes, progress, places that are free again."""

    reports: tuple[Outcome | Progress | Freed, ...]


class AttemptsProgressed(Struct, frozen=True, tag="attempts_progressed"):
    """How far running attempts say they are."""

    progress: tuple[Progress, ...]


class Recorded(Struct, frozen=True, tag="recorded"):
    """These outcomes are durable, or of no more interest: forget them and their marks."""

    fences: tuple[int, ...]


class TakeStock(Struct, frozen=True, tag="take_stock"):
    """Tell what you hold, and what the marks of these other incarnations say."""

    epoch: int
    incarnations: tuple[str, ...] = ()


class MarksRead(Struct, frozen=True, gc=False, array_like=True):
    """What the marks of an incarnation say; where `readable` is false, what was claimed counts as begun."""

    incarnation: str
    readable: bool
    fences: tuple[int, ...]


class StockTaken(Struct, frozen=True, tag="stock_taken"):
    """What an executor holds: fences it was given and that have not ended, and outcomes that are not recorded yet."""

    epoch: int
    node: str
    incarnation: str
    held: tuple[int, ...]
    marks: tuple[MarksRead, ...]


class ClearMarks(Struct, frozen=True, tag="clear_marks"):
    """The marks of these incarnations were dealt with."""

    incarnations: tuple[str, ...]


# ---- events -------------------------------------------------------------------------------------------------------------


class RunsCreated(Struct, frozen=True, tag="e_runs_created"):
    """Runs were stored."""

    count: int


class AttemptsStarted(Struct, frozen=True, tag="e_attempts_started"):
    """Attempts were handed to an executor; `waited_us` is the sum of their waits since they were ready."""

    count: int
    waited_us: int


class RunsFinished(Struct, frozen=True, tag="e_runs_finished"):
    """Runs ended, durably: how many by state, and the sum of their running times."""

    states: dict[str, int]
    ran_us: int


class AttemptsRetried(Struct, frozen=True, tag="e_attempts_retried"):
    """Attempts failed and will be tried again."""

    count: int


class SlotsDecided(Struct, frozen=True, tag="e_slots_decided"):
    """Slots have their decisions, by kind; `late_us` are the latenesses of those that fired."""

    kinds: dict[str, int]
    late_us: tuple[int, ...] = ()


class Happened(Struct, frozen=True, tag="e_happened"):
    """A line for the log and the history."""

    event: Event
    level: Literal["debug", "info", "warning", "error"] = "info"


class Gauged(Struct, frozen=True, tag="e_gauged"):
    """How full things are: name → value, e.g. `ready`, `running`, `blocked`, `armed`."""

    values: dict[str, float]


class ReportMetrics(Struct, frozen=True, tag="report_metrics"):
    """Ask metrics for its text in Prometheus' format; answered by `MetricsReported`."""

    key: str


class MetricsReported(Struct, frozen=True, tag="metrics_reported"):
    """The metrics as text."""

    key: str
    text: str


