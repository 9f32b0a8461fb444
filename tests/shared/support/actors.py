"""What tests of actors share: jobs, records and a coordinator that leads, all made by calls."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from callsheet.actors.actor import COORDINATOR, PERSISTENCE, Emit, Send, SetTimer, Turn, deliver, sent
from callsheet.actors.coordinator.coordinator import Coordinator
from callsheet.actors.executor.runner import Capacity, Outcome
from callsheet.actors.messages import (
    Admit,
    Assign,
    AttemptsEnded,
    Draft,
    Found,
    LeaseTaken,
    MarksRead,
    NodeStopped,
    Offer,
    Read,
    Save,
    Saved,
    Started,
    StockTaken,
    Stop,
    TakeStock,
)
from callsheet.actors.persistence.store import MAX_PAGE, Committed, Counters, GetLiveRuns
from callsheet.actors.records import ClaimEntry, Job, JobRecord, LiveRun, Run
from callsheet.actors.schedule import first_state
from callsheet.triggers import Trigger, manual

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_800_000_000 * SECOND
ROOM = {"thread": 4, "async": 4, "process": 4, "command": 4}


def make_job(name: str = "work", trigger: Trigger | None = None, **more: Any) -> Job:
    """A job that was added at NOW."""
    return Job(tenant="t", name=name, target=name, trigger=trigger or manual(), anchor=NOW, **more)


def make_record(job: Job) -> JobRecord:
    """A job as the store knows it just after it was added."""
    return JobRecord(job, first_state(job))


class Leader:
    """A coordinator that leads, and a store that answers it at once with yes.

    What it sends to others is gathered in `out`; `assigned` are the orders that reached the executor. It answers with `stocks`
    when its executor is asked what is there, and with nothing begun for the other lives that it is asked of. Where it is to
    revoke something, the test answers. `jobs` are in the store, with the runs `rows`.
    """

    def __init__(
        self,
        rows: tuple[LiveRun, ...] = (),
        *stocks: StockTaken,
        jobs: tuple[JobRecord, ...] = (),
        definitions: tuple[Job, ...] = (),
        **room: int,
    ) -> None:
        self.coordinator = Coordinator(durable=True)
        self.out: list[Any] = []
        self.events: list[Any] = []
        self.timers: list[SetTimer] = []
        self.sent: list[Send] = []
        self.writes: list[Any] = []
        self.now = NOW
        self._rows = rows
        self._jobs = jobs
        self._definitions = definitions or self._said()
        self._stocks = stocks or (StockTaken(1, "n", "i", (), ()),)
        self.hold_saves = False
        self.has_nothing = True
        self.held: list[Save] = []
        self.tell(Started("n", "i"))
        self.tell(Offer("n", "i", {**ROOM, **room}, Capacity(4, 4, 4, 4)))
        self.tell(LeaseTaken(1, Counters(run_id=0, fence=0, settled=0)), sender=PERSISTENCE)

    def tell(self, *messages: Any, sender: str = "", after: int = 0) -> None:
        """Deliver messages, `after` µs later, and play the store and the executor's stock until all is quiet."""
        self.now += after
        effects = deliver(self.coordinator, *messages, now=self.now, sender=sender)
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append(effect)
            elif isinstance(effect, Emit):
                self.events.append(effect.event)
            elif isinstance(effect, SetTimer):
                self.timers.append(effect)
            message = getattr(effect, "message", None)
            match message:
                case Read():
                    self.tell(Found(message.key, self._found(message)), sender=PERSISTENCE)
                case TakeStock():
                    for stock in (*self._stocks[:-1], _complete(self._stocks[-1], message)):
                        self.tell(stock, sender="executor")
                case Stop() if self.has_nothing:
                    self.tell(NodeStopped("n", 0), sender="executor")
                case Save() if not self.hold_saves:
                    self.writes.extend(message.writes)
                    self.tell(Saved(message.key, Committed()), sender=PERSISTENCE)
                case Save():
                    self.held.append(message)
                case None:
                    pass
                case _:
                    self.out.append(message)

    def _found(self, read: Read) -> tuple[Any, ...]:
        if isinstance(read.question, GetLiveRuns):
            after = read.question.after
            return tuple(row for row in self._rows if row.run.run_id > after)[:MAX_PAGE]
        paused = tuple(record for record in self._jobs if record.state.status == "paused")
        rows = {"definitions": self._definitions, "jobs": self._jobs, "held": paused}
        return rows.get(read.key.split("/")[2], ())

    def _said(self) -> tuple[Job, ...]:
        said = {(record.job.name, record.job.version): record.job for record in self._jobs}
        wanted = dict.fromkeys((row.run.job, row.run.version) for row in self._rows)
        return tuple(said.get(version) or make_job(version[0]) for version in wanted)

    def admit(self, *drafts: Draft, key: str = "k", client: str = "client-1") -> None:
        """Submit runs."""
        self.tell(Admit(key, client, drafts, len(drafts)))

    def assigned(self) -> list[Any]:
        """The orders that left for the executor, in order."""
        return [order for message in self.out if isinstance(message, Assign) for order in message.orders]

    def ordered(self) -> list[tuple[str, Any]]:
        """The executor of each order that left, and the order."""
        return [(it.to, order) for it in self.sent if isinstance(it.message, Assign) for order in it.message.orders]

    def tell_room(self, thread: int) -> None:
        """Let the leader's own executor offer so many places for threads."""
        self.tell(Offer("n", "i", {**ROOM, "thread": thread}, Capacity(4, 4, 4, 4)), sender="executor")

    def end(self, order: Any, outcome: str = "succeeded", after: int = 0, **more: Any) -> None:
        """Report the outcome of an order."""
        ended = Outcome(order.fence, order.run_id, order.attempt, outcome, self.now, self.now + 1, **more)  # type: ignore[arg-type]
        self.tell(AttemptsEnded("n", (ended,)), sender="executor", after=after)

    def written(self, kind: type, field: str) -> list[Any]:
        """All that was written in writes of one kind, flat."""
        return [it for write in self.writes if isinstance(write, kind) for it in getattr(write, field)]


def _complete(stock: StockTaken, asked: TakeStock) -> StockTaken:
    """An executor answers for every life that it was asked of."""
    if asked.revoke:
        return stock
    named = {mark.incarnation for mark in stock.marks}
    others = (MarksRead(it, readable=True, fences=()) for it in asked.incarnations if it not in named)
    return replace(stock, marks=(*stock.marks, *others))


def live_row(run_id: int, *, claim: bool, by: str = "dead", waits_until: int = 0) -> LiveRun:
    """A run of `work` as a new leader reads it, claimed by a life of this node or not at all."""
    run = Run(run_id, "t", "work", 1, "submit", None, "", NOW, NOW, 0, b"")
    return LiveRun(
        run,
        next_at=waits_until,
        claim=ClaimEntry(run_id, 1, 90 + run_id) if claim else None,
        claimed_by="n",
        incarnation=by,
    )


__all__ = ["COORDINATOR", "Leader", "Turn", "deliver", "make_job", "make_record", "sent"]
