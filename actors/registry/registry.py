"""The registry: job definitions, and the door through which clients come.

    AddJobs ─▶ read what is there ─▶ compare ─▶ Save ─▶ Saved ─▶ KnowJobs (dependencies, coordinator, clock) ─▶ JobsAdded (client)
    Submit ──▶ read unknown jobs ─▶ Admit (coordinator), or Plan (dependencies) where jobs are linked ─▶ … Accepted (client)
    ChangeJob ▶ Save ─▶ Saved ─▶ KnowJobs (clock …), HoldJob (coordinator) ─▶ JobHeld ─▶ JobChanged (client)
    Query, Watch, CancelRun ─▶ Read ─▶ the client, or the coordinator where a run is alive

A change of jobs (AddJobs, ChangeJob) is stored with a receipt under the key of its request. One that may have been carried out
before, because it was sent again or was meant for another reign, begins with a look for that receipt: if it is there, its client
is answered as before and nothing is changed, for others may have changed the job since. What makes no sense in itself is refused
before anything is asked for it (`sense.py`).

Definitions are kept by name up to a limit; the rest is in the store. A definition that has not changed keeps its trigger's
anchor and its high-water mark, so a program that says its jobs anew at every start loses nothing and judges nothing twice.

What has changed is said to the others until they have noted it (`announcement.py`), and `HoldJob` until the job is held. A
client is told that linked jobs are added when dependencies knows it: what it submits next is planned with them.
"""

from __future__ import annotations

from typing import assert_never

from ..actor import PERSISTENCE, Address, Send, Turn
from ..messages import (
    AddJobs,
    CancelRun,
    ChangeJob,
    Found,
    JobChanged,
    JobHeld,
    JobsAdded,
    Lead,
    Noted,
    Query,
    Read,
    ReadRejected,
    RequestRejected,
    Saved,
    SaveRejected,
    Started,
    StepDown,
    Submit,
    TimerFired,
    Watch,
    WatchLive,
)
from ..persistence.store import ListEdges
from ..records import JobRecord
from .announcement import Announcements
from .catalogue import Catalogue
from .changes import Changes
from .definition import Definitions
from .errand import ASK_AGAIN_US, Errands, Request, reject
from .inquiry import Inquiries
from .sense import find_fault

Message = (
    Started
    | Lead
    | StepDown
    | Found
    | ReadRejected
    | Saved
    | SaveRejected
    | JobHeld
    | Noted
    | WatchLive
    | TimerFired
    | AddJobs
    | Submit
    | ChangeJob
    | CancelRun
    | Query
    | Watch
)


class Registry:
    """Owns the definitions of jobs; answers clients."""

    def __init__(self) -> None:
        self._over = 0
        self._leader = ""
        self._reset(0)

    def _reset(self, epoch: int) -> None:
        """Forget everything; epoch 0 means that there is no reign to speak in."""
        self._epoch = epoch
        self._loaded = False
        self._catalogue = Catalogue()
        self._errands = Errands(epoch)
        self._announcements = Announcements(epoch)
        self._definitions = Definitions(self._catalogue, self._errands, self._announcements)
        self._inquiries = Inquiries(self._catalogue, self._errands)
        self._changes = Changes()

    def receive(self, message: Message, turn: Turn) -> None:
        """Take a message; requests wait until there is a reign that has loaded the graph of jobs."""
        mark = len(turn.effects)
        self._take(message, turn)
        while self._changes and mark < len(turn.effects):
            # a change is over when its client is told so; what waited for it may begin, and be over in turn
            effects, mark = turn.effects[mark:], len(turn.effects)
            for effect in effects:
                if isinstance(effect, Send) and isinstance(effect.message, JobsAdded | JobChanged | RequestRejected):
                    for client, change in self._changes.over(effect.message.key):
                        if self._changes.may_begin(
                            client, change, turn.elapsed
                        ):  # whether it makes sense was asked before
                            self._begin(client, change, turn)

    def _take(self, message: Message, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        match message:
            case Submit() | AddJobs() | ChangeJob() | CancelRun() | Query() | Watch():
                if not self._is_full(message, turn.elapsed):
                    self._ask(turn.sender, message, turn)
            case Found():
                if message.key == f"edges/{self._epoch}":
                    self._on_edges(message, turn)
                else:
                    self._errands.on_found(message, self._changes, turn)
            case Saved():
                again = self._errands.on_saved(message, turn)
                if again is not None:
                    self._definitions.add_jobs(*again, turn)
            case SaveRejected():
                self._errands.on_save_rejected(message, turn)
            case JobHeld():
                self._errands.on_held(message, turn)
            case Noted():
                self._announcements.on_noted(message, turn)
            case WatchLive():
                self._inquiries.on_missed(message, turn)
            case Lead():
                if message.epoch > max(self._epoch, self._over):
                    early = self._errands.early
                    self._reset(message.epoch)
                    self._errands.early = early
                    self._leader = ""  # it is this node
                    self._load(turn)
            case StepDown():
                if message.epoch >= max(self._epoch, self._over):
                    self._on_step_down(message, turn)
            case TimerFired():
                self._on_timer_fired(message, turn)
            case Started() | ReadRejected():
                pass
            case _:
                assert_never(message)

    def settle(self, turn: Turn) -> None:
        """Nothing is gathered: a client's message is a batch already."""

    def _is_full(self, request: Request, elapsed: int) -> bool:
        """Tell whether a request is dropped for now; its client asks again."""
        if isinstance(request, AddJobs | ChangeJob) and (self._announcements.full or self._changes.is_full(elapsed)):
            return True
        return self._errands.full

    def _ask(self, client: Address, request: Request, turn: Turn) -> None:
        """Begin a request, unless it must wait."""
        if self._leader:
            reject(client, request.key, "not_leader", f"{self._leader} leads; ask its registry", turn)
        elif (fault := find_fault(request)) is not None:
            reject(client, request.key, fault.code, fault.text, turn, fault.index)
        elif not self._loaded:
            self._errands.keep(client, request, turn)
        elif not isinstance(request, AddJobs | ChangeJob) or self._changes.may_begin(client, request, turn.elapsed):
            self._begin(client, request, turn)

    def _begin(self, client: Address, request: Request, turn: Turn) -> None:
        match request:
            case Submit():
                self._inquiries.on_submit(client, request, turn)
            case AddJobs():
                self._definitions.on_add_jobs(client, request, turn)
            case ChangeJob():
                self._definitions.on_change_job(client, request, turn)
            case CancelRun():
                self._inquiries.on_cancel_run(client, request, turn)
            case Query():
                self._inquiries.on_query(client, request, turn)
            case Watch():
                self._inquiries.on_watch(client, request, turn)
            case _:
                assert_never(request)

    def _on_step_down(self, message: StepDown, turn: Turn) -> None:
        """The reign is over; who asks is told so, as soon as somebody else is known to lead."""
        early = self._errands.take_kept(turn)
        self._reset(0)
        self._over, self._leader = message.epoch, message.leader
        for client, request in early:
            self._ask(client, request, turn)

    # ---- the graph ------------------------------------------------------------------------------------------------------

    def _load(self, turn: Turn) -> None:
        turn.send(PERSISTENCE, Read(f"edges/{self._epoch}", ListEdges()))
        turn.set_timer("load", turn.elapsed + ASK_AGAIN_US, steady=True)

    def _on_edges(self, message: Found, turn: Turn) -> None:
        if self._loaded:
            return
        self._loaded = True
        turn.cancel_timer("load")
        records: tuple[JobRecord, ...] = message.rows
        for record in records:
            self._catalogue.link(record.job)
        for client, request in self._errands.take_kept(turn):
            self._ask(client, request, turn)

    def _on_timer_fired(self, message: TimerFired, turn: Turn) -> None:
        if message.key == "errands":
            self._errands.on_timer(self._changes, turn)
        elif message.key == "announcements":
            self._announcements.on_timer(turn)
        elif self._epoch and not self._loaded:
            self._load(turn)
