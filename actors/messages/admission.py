"""Messages on the way to a run: from a slot or a submission to what is stored, and what follows others."""

from __future__ import annotations

from msgspec import Struct

from ..records import Cause, Decision, Job, RunState
from .request import SubmitItem


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

    Of the decisions, those of kind FIRED want a run each. `mark`, `fires`, `next_due` are the job's new state. The next slot of
    a job that counts from the end of its last run is the coordinator's to say; without a decision this asks for it.
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
    """What the clock sent under this key is stored, but for the slots of the jobs (tenant, name) that are `held`, or come `later`.

    A pause has come first; or the job was resumed, and who decides has not heard of it. What the store says of such a job counts.
    Later means that so many runs of a catch-up live that the rest waits, until `JobEnded`.
    """

    key: str
    held: tuple[tuple[str, str], ...] = ()
    later: tuple[tuple[str, str], ...] = ()


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
    """A due slot with the drafts of its workflow, for each FIRED decision a tuple, its own job's run first.

    An empty tuple: the run was made with another slot of the same instant, and stands in the decision.
    """

    due: DueSlot
    drafts: tuple[tuple[Draft, ...], ...]


class AdmitSlots(Struct, frozen=True, tag="admit_slots"):
    """Decide overlap, make the runs, store decisions, runs and marks in one transaction; then tell the clock `Decided(key)`."""

    key: str
    slots: tuple[AdmitSlot, ...]


class MadeRun(Struct, frozen=True, gc=False, array_like=True):
    """A stored run of a workflow. `after` are the upstreams it waits for by its own version of the job, none if it does not."""

    run_id: int
    tenant: str
    job: str
    group: str
    after: tuple[str, ...]
    slot: int | None
    deadline_at: int


class RunsMade(Struct, frozen=True, tag="runs_made"):
    """Runs of workflows are stored: dependencies follows them. Sent again until `Noted(key)`.

    `rebuilt` says that other runs of their groups may have ended in an earlier reign, or long ago.
    """

    key: str
    runs: tuple[MadeRun, ...]
    rebuilt: bool = False


class GroupEnd(Struct, frozen=True, gc=False, array_like=True):
    """How a run of a workflow ended, with its result; `removed` if it was cancelled because its job was removed."""

    run_id: int
    tenant: str
    job: str
    group: str
    state: RunState
    result: bytes
    removed: bool = False


class GroupsMoved(Struct, frozen=True, tag="groups_moved"):
    """Runs of workflows have ended, durably. Sent again until `Noted(key)`."""

    key: str
    ends: tuple[GroupEnd, ...]


class Noted(Struct, frozen=True, tag="noted"):
    """`RunsMade`, `GroupsMoved` or `KnowJobs` of this key arrived."""

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
