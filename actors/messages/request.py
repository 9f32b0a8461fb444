"""Messages of clients, and what they are answered."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from ...triggers import Trigger
from ..persistence.store import Question
from ..records import Cause, End, Job, JobRecord, RunState

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
    "unknown_node",
    "impossible",
    "forbidden",
]

MAX_BATCH: Final = 256
"""Jobs or runs that one message of a client carries at most."""


class AddJobs(Struct, frozen=True, tag="add_jobs"):
    """Add or change jobs; all or none. Their `version` and `anchor` are set by the registry.

    `declare` leaves a job that is there with the same definition as it is, and makes a new version of one that differs;
    `add` refuses a name that is taken. Idempotent by `key`, also over crashes: a receipt is stored with the jobs. `epoch` is as
    in `Submit`.
    """

    key: str
    jobs: tuple[Job, ...]
    mode: Literal["declare", "add"] = "declare"
    epoch: int = 0


class JobsAdded(Struct, frozen=True, tag="jobs_added"):
    """The jobs are stored and armed; how many were new, changed, or there as they are. Asked again, the same is answered."""

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

    `cause` `trigger` fires a job by hand: what waits for it, and what it waits for, runs with it. `epoch` is that of the leader
    to whom a client sends it for the first time; 0 when it is sent again, or nobody knows. In that very epoch it can be stored
    by nobody else yet; in any other, as when it arrives late, the store is asked first whether it is there.
    """

    key: str
    tenant: str
    items: tuple[SubmitItem, ...]
    cause: Cause = "submit"
    epoch: int = 0


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
    """Pause, resume, remove or reschedule a job. Idempotent by `key`, also over crashes: a receipt is stored with the change.

    `epoch` is as in `Submit`. One that arrives when others have changed the job since it was carried out undoes nothing.
    """

    key: str
    tenant: str
    job: str
    action: Literal["pause", "resume", "remove", "reschedule"]
    trigger: Trigger | None = None
    epoch: int = 0


class JobChanged(Struct, frozen=True, tag="job_changed"):
    """The change is stored, and nothing that contradicts it will start any more. `record` is the job as it is by now."""

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
