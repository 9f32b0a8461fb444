"""Messages to persistence, and its answers."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from ..persistence.store import Committed, Counters, Lease, Question, Write
from ..records import Attempt, Decision, Event, Job, JobRecord, LiveRun, Receipt, RunRecord, Submission


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
    """Nothing of the batch was written, and by this key nothing will be.

    `fenced`: step down; `full` and `busy`: try again later; `broken`: the store is gone.
    """

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
    "receipt": Receipt,
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


class WatchLease(Struct, frozen=True, tag="watch_lease"):
    """Read the lease, and find out whether its holder is certainly dead. Answered by `LeaseSeen` or `LeaseRejected`."""


class LeaseSeen(Struct, frozen=True, tag="lease_seen"):
    """The lease as it stands, None before the first reign. `dead`: the process that holds it is no more, for certain."""

    lease: Lease | None
    dead: bool


class TakeLease(Struct, frozen=True, tag="take_lease"):
    """Take the leadership, if the lease still is as it was `seen`."""

    holder: str
    address: str
    seen: Lease | None


class LeaseTaken(Struct, frozen=True, tag="lease_taken"):
    """A new reign: everything of older epochs is final, and the numbering goes on behind `counters`."""

    epoch: int
    counters: Counters


class LeaseRejected(Struct, frozen=True, tag="lease_rejected"):
    """Another node was faster; or the store could not be asked, or does not let this node lead, and `text` says why."""

    text: str = ""


class RenewLease(Struct, frozen=True, tag="renew_lease"):
    """Beat once. Answered only by `LeaseLost`, if the lease is another's."""

    holder: str
    epoch: int


class LeaseLost(Struct, frozen=True, tag="lease_lost"):
    """A newer epoch exists: step down at once."""

    epoch: int
