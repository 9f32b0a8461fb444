"""One transaction in the making: what is to be written, and what follows once it is durable.

Handlers append facts to the batch in hand; when the coordinator settles, the batch goes to persistence as one `Save`. Only
one is on its way at a time: what comes meanwhile gathers in the next, so the batches are durable in their order, and under
load they grow by themselves. Nothing leaves the coordinator before its facts are saved.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import chain
from typing import NamedTuple

from msgspec import Struct

from ..actor import Address
from ..messages import Decided, GroupEnd, Happened, MadeRun
from ..persistence.store import (
    AddAttempts,
    AddClaim,
    AddDecisions,
    AddEnds,
    AddEvents,
    AddRuns,
    AddSubmissions,
    AdvanceJob,
    PutConditions,
    PutSettled,
    Write,
)
from ..records import Attempt, Claim, ClaimEntry, Condition, Decision, End, Event, Run, Submission
from .book import Live
from .places import Place


class Admitted(Struct):
    """A client's submission within a batch: whom to tell, and which runs it made (asked for, and all)."""

    key: str
    client: Address
    run_ids: list[int]
    lives: list[Live]
    audited: tuple[Event, ...] = ()


class Claimed(NamedTuple):
    """An attempt that is claimed in a batch; the run may have another one in hand by the time the batch is durable."""

    live: Live
    fence: int
    attempt: int

    @property
    def in_hand(self) -> bool:
        """Whether it still is the attempt that counts."""
        return self.live.fence == self.fence


class Batch:
    """Facts to be written in one transaction, with their consequences."""

    def __init__(self) -> None:
        # what is written
        self.runs: list[Run] = []
        self.decisions: list[Decision] = []
        self.advances: list[AdvanceJob] = []
        self.ends: list[End] = []
        self.attempts: list[Attempt] = []
        self.conditions: list[Condition] = []
        self.events: list[Event] = []
        self.claimed: dict[Place, list[Claimed]] = {}
        self.settled: int | None = None
        # what follows
        self.admitted: list[Admitted] = []
        self.ended: list[tuple[Live, End]] = []
        self.recorded: dict[Address, list[int]] = {}
        self.made: list[MadeRun] = []
        self.moved: list[GroupEnd] = []
        self.decided: list[tuple[Address, Decided]] = []
        self.sends: list[tuple[Address, Struct]] = []
        self.happened: list[Happened] = []

    def __bool__(self) -> bool:
        return bool(
            self.runs
            or self.ends
            or self.claimed
            or self.attempts
            or self.decisions
            or self.advances
            or self.conditions
            or self.events
            or self.admitted
            or self.decided
            or self.sends
            or self.recorded
        )

    def forget(self, gone: Container[int]) -> None:
        """Take out all that was gathered of runs that turn out not to be stored."""
        self.runs = [run for run in self.runs if run.run_id not in gone]
        self.ends = [end for end in self.ends if end.run_id not in gone]
        self.attempts = [attempt for attempt in self.attempts if attempt.run_id not in gone]
        self.conditions = [it for it in self.conditions if it.run_id not in gone]
        self.events = [event for event in self.events if event.run_id not in gone]
        for place, claimed in list(self.claimed.items()):
            self.claimed[place] = [it for it in claimed if it.live.run.run_id not in gone]
            if not self.claimed[place]:
                del self.claimed[place]
        self.ended = [(live, end) for live, end in self.ended if end.run_id not in gone]
        self.made = [made for made in self.made if made.run_id not in gone]
        self.moved = [end for end in self.moved if end.run_id not in gone]
        self.happened = [it for it in self.happened if it.event.run_id not in gone]

    def all_claimed(self) -> Iterator[Claimed]:
        """The attempts that are claimed in it, wherever."""
        return chain.from_iterable(self.claimed.values())

    def send(self, to: Address, message: Struct) -> None:
        """Send `message` once the batch is durable."""
        self.sends.append((to, message))

    def record(self, executor: Address, fence: int) -> None:
        """Let this executor forget this attempt once the batch is durable."""
        self.recorded.setdefault(executor, []).append(fence)

    def writes(self, epoch: int, now: int) -> tuple[Write, ...]:
        """The facts as the store takes them; a claim for each executor."""
        writes: list[Write] = []
        if self.runs:
            writes.append(AddRuns(tuple(self.runs)))
        if self.admitted:
            found = (Submission(it.key, it.run_ids[0], len(it.run_ids), now) for it in self.admitted if it.key)
            writes.append(AddSubmissions(tuple(found)))
        if self.decisions:
            writes.append(AddDecisions(tuple(self.decisions)))
        writes.extend(self.advances)
        for place, claimed in self.claimed.items():
            entries = tuple(ClaimEntry(it.live.run.run_id, it.attempt, it.fence) for it in claimed)
            writes.append(AddClaim(Claim(place.node, place.incarnation, epoch, now, entries)))
        if self.attempts:
            writes.append(AddAttempts(tuple(self.attempts)))
        if self.ends:
            writes.append(AddEnds(tuple(self.ends)))
        if self.conditions:
            writes.append(PutConditions(tuple(self.conditions)))
        # with the submission, so that one that is refused later leaves no line either
        events = [*self.events, *(event for it in self.admitted for event in it.audited)]
        if events:
            writes.append(AddEvents(tuple(events)))
        if self.settled is not None:
            writes.append(PutSettled(self.settled))
        return tuple(writes)
