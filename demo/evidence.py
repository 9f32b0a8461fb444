"""Evidence: everything that is known after a demo, from the jobs themselves, from the parent's notes and from the store.

Three sources, kept apart. What the jobs left (footprints, warehouse rows) and what the parent noted (acknowledgements that
came through the pipe, when it killed) say what happened. The store's books are asked for two things only: the reason why
something did not happen, and the tables that are shown. They can excuse nothing without saying why.
"""

from __future__ import annotations

import csv
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import footprint
from callsheet.actors.persistence.sqlite import SQLiteReader
from callsheet.actors.persistence.store import MAX_PAGE, ListDecisions, ListJobs, ListRuns
from callsheet.actors.records import DEFAULT_TENANT, Decision, JobRecord, RunRecord, RunState
from footprint import Footprint
from plan import ORDERS, STORE, WAREHOUSE, Rhythm


@dataclass(frozen=True)
class Acknowledged:
    """A submission whose `submit` returned before any kill: the parent read of it in the pipe."""

    key: str
    run_id: int
    at: int


@dataclass(frozen=True)
class Life:
    """One process of a node. `ended` is when it was killed or asked to stop."""

    process: int
    ready: int
    ended: int
    killed: bool = False


@dataclass(frozen=True)
class Book:
    """What the store says of a run."""

    job: str
    state: RunState
    at_most_once: bool
    slot: int | None


@dataclass
class Evidence:
    """All of it. `reasons` says for a (job, slot) that did not fire which decision was made; `books` is by run number."""

    lives: list[Life]
    owed: list[Rhythm]
    footprints: list[Footprint] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    reasons: dict[tuple[str, int], str] = field(default_factory=dict)
    books: dict[int, Book] = field(default_factory=dict)
    decisions: Counter[str] = field(default_factory=Counter)
    orders: set[str] = field(default_factory=set)
    warehouse: list[str] = field(default_factory=list)

    @property
    def ready(self) -> int:
        """When the first node had declared the jobs."""
        return min(life.ready for life in self.lives)

    @property
    def killed(self) -> list[Life]:
        """The nodes that were killed."""
        return [life for life in self.lives if life.killed]


def gather(folder: Path, lives: list[Life], owed: list[Rhythm], acknowledged: list[Acknowledged]) -> Evidence:
    """Read what lies in the folder of a demo that has ended."""
    found = Evidence(lives, owed, footprint.read(folder), acknowledged)
    found.orders, found.warehouse = read_orders(), read_warehouse(folder)
    reader = Reader(folder)
    try:
        jobs = {job.job.name: job for job in reader.jobs()}
        for record in reader.runs():
            run = record.run
            fragile = run.job in jobs and jobs[run.job].job.delivery == "at_most_once"
            found.books[run.run_id] = Book(run.job, record.state, fragile, run.slot)
        for name in jobs:
            for decision in reader.decisions(name):
                found.decisions[str(decision.kind)] += decision.count
                if decision.kind != "FIRED":
                    _note(found, decision)
    finally:
        reader.close()
    return found


def _note(found: Evidence, decision: Decision) -> None:
    """Remember why slots did not fire; a decision may be about a row of them."""
    for rhythm in found.owed:
        if rhythm.job == decision.job:
            for slot in rhythm.slots():
                if decision.slot <= slot <= decision.last:
                    found.reasons[rhythm.job, slot] = str(decision.kind)


def read_orders() -> set[str]:
    """Return the number of every order in the files."""
    found = set()
    for file in sorted(ORDERS.glob("*.csv")):
        with file.open(newline="") as lines:
            found |= {row["order_id"] for row in csv.DictReader(lines)}
    return found


def read_warehouse(folder: Path) -> list[str]:
    """Return the number of every order in the warehouse, loaded or rejected, as often as it is there."""
    file = folder / WAREHOUSE
    if not file.exists():
        return []
    connection = sqlite3.connect(file)
    try:
        query = "SELECT order_id FROM orders UNION ALL SELECT order_id FROM rejected"
        return [order for (order,) in connection.execute(query)]
    finally:
        connection.close()


class Reader:
    """Reads the store beside the nodes, also while none of them leads."""

    def __init__(self, folder: Path) -> None:
        self._reader = SQLiteReader(folder / STORE)
        self._reader.open()

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()

    def leader(self) -> str:
        """The node that leads, by the lease; empty for nobody."""
        lease = self._reader.lease()
        return "" if lease is None else lease.holder.rpartition("/")[0]

    def jobs(self) -> list[JobRecord]:
        """All jobs, by name."""
        return self._reader.read(ListJobs(tenant=DEFAULT_TENANT, limit=MAX_PAGE))

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """All runs, or the newest `limit`; newest first."""
        found: list[RunRecord] = []
        before = None
        while limit is None or len(found) < limit:
            size = MAX_PAGE if limit is None else min(MAX_PAGE, limit - len(found))
            page = self._reader.read(ListRuns(tenant=DEFAULT_TENANT, before=before, limit=size))
            found += page
            if len(page) < size:
                break
            before = page[-1].run.run_id
        return found

    def decisions(self, job: str) -> list[Decision]:
        """All decisions about a job's slots, newest first."""
        found: list[Decision] = []
        before = None
        while True:
            page = self._reader.read(ListDecisions(tenant=DEFAULT_TENANT, job=job, before=before, limit=MAX_PAGE))
            found += page
            if len(page) < MAX_PAGE:
                return found
            before = page[-1].slot
