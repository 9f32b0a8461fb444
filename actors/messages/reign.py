"""Messages by which the leader's actors keep one another informed."""

from __future__ import annotations

from msgspec import Struct

from ..records import Decision, Job, JobRecord, RunRecord


class Lead(Struct, frozen=True, tag="lead"):
    """A reign begins on this node: forget everything and rebuild from the store."""

    epoch: int
    node: str


class StepDown(Struct, frozen=True, tag="step_down"):
    """The reign is over: forget everything. `leader` is the node that leads instead, empty if it is not known."""

    epoch: int
    leader: str = ""


class KnowJobs(Struct, frozen=True, tag="know_jobs"):
    """These jobs are stored as this from now on: clock, dependencies and coordinator go by it. Said until `Noted(key)`.

    `number` ascends within the reign `epoch`, and with it what is known of a job grows newer.
    """

    epoch: int
    number: int
    records: tuple[JobRecord, ...]

    @property
    def key(self) -> str:
        """Names this message; what it says is said again under another."""
        return f"jobs/{self.epoch}/{self.number}"


class JobEnded(Struct, frozen=True, tag="job_ended"):
    """A run of a job ended whose slots waited for that: look at the store again for what is due at `next_due`.

    The next slot counts from there, and is stored already; or missed slots go on that were to be decided later.
    """

    tenant: str
    job: str
    version: int
    next_due: int


class HoldJob(Struct, frozen=True, tag="hold_job"):
    """Start nothing more of this job (`held`), or go on. Said until `JobHeld(key)`.

    Of a job that was removed what has not begun is cancelled, up to version `removed`; when it is declared anew, runs of its next
    version begin. `mark` is that of a job that goes on: up to there all slots are decided, also one that is still on its way
    from the clock. Of one that was `resumed`, `skipped` says what passed meanwhile: hooks are to hear of it.
    """

    key: str
    tenant: str
    job: str
    held: bool
    removed: int = 0
    mark: int = 0
    resumed: Job | None = None
    skipped: tuple[Decision, ...] = ()


class JobHeld(Struct, frozen=True, tag="job_held"):
    """From now on nothing of the job begins (or it goes on)."""

    key: str


class Describe(Struct, frozen=True, tag="describe"):
    """Complete these rows with what is known of live runs, and answer the client."""

    key: str
    client: str
    rows: tuple[RunRecord, ...]


class WatchLive(Struct, frozen=True, tag="watch_live"):
    """A client waits for these runs, which had not ended when the store was asked.

    Sent back to the registry with those that have ended meanwhile: it finds their ends in the store now.
    """

    client: str
    tenant: str
    run_ids: tuple[int, ...]
