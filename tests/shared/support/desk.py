"""A registry in a reign, whose store and whose neighbours are played by the test."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from callsheet.actors.actor import COORDINATOR, Address, Send, deliver
from callsheet.actors.messages import (
    AddJobs,
    Found,
    HoldJob,
    JobHeld,
    KnowJobs,
    Lead,
    Noted,
    Read,
    Save,
    Saved,
    SaveRejected,
)
from callsheet.actors.persistence.store import (
    AddReceipts,
    Committed,
    GetJobs,
    GetReceipts,
    GetSubmissions,
)
from callsheet.actors.records import Job, JobRecord, Receipt, RunRecord, Submission
from callsheet.actors.registry.registry import Registry
from support.actors import NOW

CLIENT = "client-1"


class Desk:
    """A registry in a reign, with the store played by the test."""

    def __init__(self, *there: JobRecord) -> None:
        self.there = {record.job.key: record for record in there}
        self.registry = Registry()
        self.saves: list[Save] = []
        self.refuse: SaveRejected | None = None
        self.runs: tuple[RunRecord, ...] = ()
        self.submissions: tuple[Submission, ...] = ()
        self.receipts: dict[str, Receipt] = {}
        self.deaf: set[Address] = set()
        self.told: list[tuple[Address, KnowJobs]] = []
        self.out: list[Any] = []
        edges = tuple(record for record in there if record.job.after)
        deliver(self.registry, Lead(1, "n"), Found("edges/1", edges), now=NOW)

    def tell(self, message: Any, sender: str = CLIENT, now: int = NOW) -> list[Any]:
        """Deliver a message, answer for the store and the coordinator, and return what was sent to others."""
        before = len(self.out)
        for effect in deliver(self.registry, message, now=now, sender=sender):
            if isinstance(effect, Send):
                self._answer(effect.to, effect.message, now)
        return self.out[before:]

    def learned(self, to: Address) -> list[tuple[str, str]]:
        """Which jobs an actor was told of, and their states, in order."""
        return [(it.job.name, it.state.status) for its, message in self.told if its == to for it in message.records]

    def _answer(self, to: Address, message: Any, now: int) -> None:
        match message:
            case KnowJobs():
                self.told.append((to, message))
                if to not in self.deaf:
                    self.tell(Noted(message.key), to, now)
            case Read(key, GetJobs(names)):
                self.tell(
                    Found(key, tuple(self.there[name] for name in names if name in self.there)), "persistence", now
                )
            case Read(key, GetSubmissions()):
                self.tell(Found(key, self.submissions), "persistence", now)
            case Read(key, GetReceipts(keys)):
                receipts = tuple(self.receipts[each] for each in keys if each in self.receipts)
                self.tell(Found(key, receipts), "persistence", now)
            case Read(key, _):
                self.tell(Found(key, self.runs), "persistence", now)
            case Save() if self.refuse is not None:
                self.tell(replace(self.refuse, key=message.key), "persistence", now)
            case Save():
                self.saves.append(message)
                for write in message.writes:
                    if isinstance(write, AddReceipts):
                        self.receipts.update((receipt.key, receipt) for receipt in write.receipts)
                self.tell(Saved(message.key, Committed()), "persistence", now)
            case HoldJob() if COORDINATOR not in self.deaf:
                self.out.append(message)
                self.tell(JobHeld(message.key), "coordinator", now)
            case _:
                self.out.append(message)


def only(messages: list[Any], kind: type) -> Any:
    (found,) = [message for message in messages if isinstance(message, kind)]
    return found


def add(desk: Desk, *jobs: Job, mode: Any = "declare", key: str = "k", now: int = NOW) -> list[Any]:
    return desk.tell(AddJobs(key, jobs, mode), now=now)
