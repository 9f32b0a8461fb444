"""What is stored and carried: jobs, runs, claims, ends, decisions. All of it is data, none of it changes.

A fact is appended, not changed: a run is one row, its end another, and a batch of claims a third. Only three things are
rewritten: a job's `JobState`, a live run's `Condition`, and the lease.

Instants and durations are integer microseconds; instants are UTC since 1970. Arguments and results are MessagePack bytes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct, field

from ..triggers import CatchUp, DecisionKind, Manual, Trigger

DEFAULT_TENANT: Final = "default"
MAX_PRIORITY: Final = 100
MAX_NAME_LENGTH: Final = 200
MAX_ARGUMENT_BYTES: Final = 256 * 1024
MAX_RESULT_BYTES: Final = 1024 * 1024
MAX_LOG_BYTES: Final = 64 * 1024
DEFAULT_WAIT_DEADLINE_US: Final = 24 * 3600 * 1_000_000
DEFAULT_MAX_CRASHES: Final = 3
MAX_DEFINITION_BYTES: Final = 512 * 1024
"""Of a job's definition in all, so that a page of them fits into a message."""

MAX_ATTEMPTS: Final = 10_000
MAX_TAGS: Final = 64
LONGEST_US: Final = 100 * 365 * 86_400 * 1_000_000
"""A hundred years: the longest length of time that may be said of a job."""


class RunState(StrEnum):
    """The states of a run; the legal moves between them are `callsheet.actors.lifecycle.MOVES`."""

    BLOCKED = "BLOCKED"
    DELAYED = "DELAYED"
    READY = "READY"
    CLAIMED = "CLAIMED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    EXPIRED = "EXPIRED"
    LOST = "LOST"
    QUARANTINED = "QUARANTINED"
    PARKED = "PARKED"


Delivery = Literal["at_most_once", "at_least_once"]
ExecutorKind = Literal["thread", "async", "process", "command"]
JobStatus = Literal["active", "paused", "exhausted", "removed"]
Overlap = Literal["skip", "allow_all"]
Cause = Literal["slot", "submit", "trigger", "dependency", "hook"]
HookMoment = Literal["before", "after", "on_success", "on_failure", "on_retry", "on_skip"]

EXECUTOR_KINDS: Final[tuple[ExecutorKind, ...]] = ("thread", "async", "process", "command")


class Retry(Struct, frozen=True, tag="retry", kw_only=True):
    """How a failed run is tried again.

    `kind` names the curve: the n-th wait is `delay` (fixed), `delay·n` (linear), `min(cap, delay·2^(n-1))` (exponential), or
    what the job's own function answers for n (custom; the node that ran the attempt asks it). `attempts` counts all tries.
    `retry_on` and `give_up_on` are names of exception types, matched against the type's bases too; `give_up_on` wins.
    """

    kind: Literal["fixed", "linear", "exponential", "custom"] = "exponential"
    attempts: int = 3
    delay_us: int = 1_000_000
    cap_us: int = 3600 * 1_000_000
    jitter: Literal["full", "equal", "none"] = "full"
    retry_on: tuple[str, ...] = ()
    give_up_on: tuple[str, ...] = ()


class Command(Struct, frozen=True, tag="command", kw_only=True):
    """A command line for `/bin/sh -c`, or `argv` to run as it is; runs only on nodes that allow it."""

    line: str = ""
    argv: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    stdin: str = ""


class Hook(Struct, frozen=True, tag="hook", kw_only=True):
    """Makes a job a hook: it runs at `moment` of the runs it matches, with what happened as its argument.

    It matches the runs of `job`, of the jobs with `tag`, or of all jobs of the tenant where both are empty.
    """

    moment: HookMoment
    job: str = ""
    tag: str = ""


class Job(Struct, frozen=True, kw_only=True):
    """What to run and when: one version of a job's definition.

    `target` is the name of a registered function; a command job has `command` instead. `anchor` is when the trigger was
    added. `arguments` (MessagePack `[args, kwargs]`, or empty) are what a slot's run is called with. It runs only on nodes that have
    all its `labels`, and takes its `resources` of a node's while it runs.
    """

    tenant: str
    name: str
    version: int = 1
    target: str = ""
    command: Command | None = None
    trigger: Trigger = field(default_factory=Manual)
    anchor: int = 0
    executor: ExecutorKind = "thread"
    delivery: Delivery = "at_most_once"
    arguments: bytes = b""
    priority: int = 0
    retry: Retry | None = None
    attempt_timeout_us: int | None = None
    run_deadline_us: int | None = None
    start_deadline_us: int | None = None
    overlap: Overlap = "skip"
    catchup: CatchUp = field(default_factory=CatchUp)
    after: tuple[str, ...] = ()
    hook: Hook | None = None
    wait_deadline_us: int = DEFAULT_WAIT_DEADLINE_US
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    resources: dict[str, int] = {}
    max_crashes: int = DEFAULT_MAX_CRASHES
    description: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Tenant and name: what identifies the job."""
        return (self.tenant, self.name)

    @property
    def is_known(self) -> bool:
        """Whether it is known what the job does: of a definition that cannot be read at all nothing is but its name."""
        return bool(self.target) or self.command is not None


class JobState(Struct, frozen=True, kw_only=True):
    """What changes about a job: rewritten with every slot that was decided.

    `mark` is the high-water mark: every slot up to it has its decision. `fires` counts the slots that fired.
    `next_due` is when the clock must look at the job again, None when never. `removed` is the last version that was removed, 0 for
    none: runs of it and of those before it begin no more, also when the job has been declared anew since.
    """

    tenant: str
    name: str
    version: int
    status: JobStatus
    mark: int
    fires: int = 0
    next_due: int | None = None
    removed: int = 0


class JobRecord(Struct, frozen=True):
    """A job as the store knows it: its current definition and its state."""

    job: Job
    state: JobState


class Run(Struct, frozen=True, gc=False, array_like=True):
    """A run as it was asked for; what became of it stands in its `Claim`s, `Attempt`s and `End`.

    `group` ties the runs of one workflow (one slot, or one submission by hand): runs of one group depend on each other by
    their jobs' names. It is empty for a job that has neither upstream nor downstream. `arguments` empty means the job's own.
    `token` is the idempotency key it was submitted with, or None. `parent` is the run that this one follows: whose hook it is,
    or which it tries again.
    """

    run_id: int
    tenant: str
    job: str
    version: int
    cause: Cause
    slot: int | None
    group: str
    created_at: int
    not_before: int
    priority: int
    arguments: bytes
    token: str | None = None
    parent: int | None = None


class ClaimEntry(Struct, frozen=True, gc=False, array_like=True):
    """One attempt that is handed to a node."""

    run_id: int
    attempt: int
    fence: int


class Claim(Struct, frozen=True, array_like=True):
    """A batch of attempts handed to one incarnation of a node: durable before any of them may start."""

    node: str
    incarnation: str
    epoch: int
    at: int
    entries: tuple[ClaimEntry, ...]


AttemptOutcome = Literal[
    "succeeded", "failed", "timed_out", "cancelled", "crashed", "not_started", "unknown_target", "snoozed"
]
"""How an attempt ended. `crashed`: the process that ran it died. `not_started` and `unknown_target` are not spent."""


class ErrorInfo(Struct, frozen=True, gc=False, array_like=True):
    """An error as data: its type's qualified name, those of its bases, its text and the traceback's text."""

    type: str
    bases: tuple[str, ...]
    text: str
    traceback: str


class Attempt(Struct, frozen=True, gc=False, array_like=True):
    """An attempt that ended without ending its run: a retry, a crash, a release.

    `attempts` and `crashes` are how many the run has spent so far; `next_at` is when the next may begin.
    """

    run_id: int
    attempt: int
    fence: int
    node: str
    outcome: AttemptOutcome
    started_at: int
    ended_at: int
    attempts: int
    crashes: int
    next_at: int
    error: ErrorInfo | None = None
    logs: bytes = b""


class End(Struct, frozen=True, gc=False, array_like=True):
    """The end of a run, with what its last attempt left. It never changes.

    `started_at` is when the last attempt's function was called, 0 when none was.
    """

    run_id: int
    state: RunState
    ended_at: int
    attempt: int = 0
    fence: int = 0
    node: str = ""
    started_at: int = 0
    result: bytes = b""
    error: ErrorInfo | None = None
    logs: bytes = b""
    reason: str = ""


class Condition(Struct, frozen=True, gc=False, array_like=True):
    """What else is to be known of a live run: a cancel that was asked for, or that it is parked. The newest one counts."""

    run_id: int
    state: RunState
    at: int
    reason: str


class Decision(Struct, frozen=True, gc=False, array_like=True):
    """What became of a slot, or of a row of `count` slots from `slot` to `last` that share one fate.

    `run_id` is the run that a `FIRED` slot made, or the run that a skipped one would have overlapped; `into` is the slot that
    a coalesced one went into.
    """

    tenant: str
    job: str
    slot: int
    last: int
    count: int
    kind: DecisionKind
    at: int
    run_id: int | None = None
    into: int | None = None


class Submission(Struct, frozen=True, gc=False, array_like=True):
    """A client's batch that was accepted, by its key, so that a repeated batch gives the same runs: `first` … `first+count-1`."""

    key: str
    first: int
    count: int
    at: int


class Receipt(Struct, frozen=True, gc=False, array_like=True):
    """A client's change of jobs that was carried out, by its key, so that it is done once and answered the same again.

    Of `AddJobs` it says how many jobs were new, changed, or there as they were; of the change of one job nothing more.
    """

    key: str
    at: int
    added: int = 0
    changed: int = 0
    same: int = 0


class Event(Struct, frozen=True, gc=False, array_like=True):
    """A line of the history that is no run's fact: a pause, an edit, a reign, a clock that jumped, a hook that failed."""

    at: int
    kind: str
    tenant: str = ""
    job: str = ""
    run_id: int | None = None
    text: str = ""


class LiveRun(Struct, frozen=True):
    """All the store knows of a run that has not ended: what a leader rebuilds its memory from.

    `claimed_by` and `incarnation` say which life of which node holds the claim.
    """

    run: Run
    attempts: int = 0
    crashes: int = 0
    next_at: int = 0
    claim: ClaimEntry | None = None
    claimed_by: str = ""
    incarnation: str = ""
    condition: Condition | None = None


class RunRecord(Struct, frozen=True):
    """A run as it is shown: its row, its end if there is one, and its state as far as the asked one knows."""

    run: Run
    state: RunState
    end: End | None = None
    attempts: int = 0
    reason: str = ""
    look_at: int | None = None
