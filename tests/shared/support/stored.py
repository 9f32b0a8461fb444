"""Records to store, with what a test does not care about filled in, and somebody who leads."""

from collections.abc import Callable
from typing import Any

import msgspec

from callsheet.actors.persistence.store import AddClaim, Committed, InsertJob, PutJob, Question, Store, Write
from callsheet.actors.records import (
    Attempt,
    Claim,
    ClaimEntry,
    End,
    Job,
    JobRecord,
    JobState,
    Run,
    RunState,
)


def a_job(name: str = "job", **fields: Any) -> Job:
    return Job(tenant=fields.pop("tenant", "default"), name=name, **fields)


def a_record(name: str = "job", *, state: dict[str, Any] | None = None, **fields: Any) -> JobRecord:
    job = a_job(name, **fields)
    values = {"status": "active", "mark": 0, **(state or {})}
    return JobRecord(job, JobState(tenant=job.tenant, name=job.name, version=job.version, **values))


def insert(record: JobRecord) -> InsertJob:
    return InsertJob(record.job, record.state)


def put(record: JobRecord) -> PutJob:
    return PutJob(record.job, record.state)


def a_run(run_id: int, job: str = "job", **fields: Any) -> Run:
    values: dict[str, Any] = {
        "tenant": "default",
        "version": 1,
        "cause": "submit",
        "slot": None,
        "group": "",
        "created_at": 1_000,
        "not_before": 1_000,
        "priority": 0,
        "arguments": b"",
    }
    return Run(run_id=run_id, job=job, **{**values, **fields})


def an_end(run_id: int, state: RunState = RunState.SUCCEEDED, **fields: Any) -> End:
    return End(run_id=run_id, state=state, **{"ended_at": 2_000, **fields})


def an_attempt(run_id: int, fence: int, **fields: Any) -> Attempt:
    values: dict[str, Any] = {
        "attempt": 1,
        "node": "node-1",
        "outcome": "failed",
        "started_at": 1_500,
        "ended_at": 1_600,
        "attempts": 1,
        "crashes": 0,
        "next_at": 1_600,
    }
    return Attempt(run_id=run_id, fence=fence, **{**values, **fields})


def a_claim(*entries: tuple[int, int, int], node: str = "node-1", incarnation: str = "life-1") -> AddClaim:
    """A claim of (run, attempt, fence)."""
    return AddClaim(Claim(node, incarnation, 1, 1_400, tuple(ClaimEntry(*entry) for entry in entries)))


class Leader:
    """Holds the lease of a store and numbers its batches."""

    def __init__(self, store: Store, holder: str = "leader") -> None:
        self.store = store
        store.enter(holder)
        lease = store.take_lease(holder, "", store.lease())
        assert lease is not None
        self.holder, self.epoch, self.seq = holder, lease.epoch, 0

    def write(self, *writes: Write) -> Committed:
        self.seq += 1
        return self.store.commit(writes, epoch=self.epoch, holder=self.holder, seq=self.seq)

    def read(self, question: Question) -> list[Any]:
        return self.store.read(question)


class Place:
    """Where a store lasts from one opening to the next."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self._store: Store | None = None
        self._beside: list[Store] = []

    def open(self) -> Store:
        """Open the store; one that is open is closed first, as by a restart."""
        self.close()
        self._store = self._make()
        self._store.open()
        return self._store

    def beside(self) -> Store:
        """Open one more store at the same place, as another process does; where there is one for all, it is that one."""
        self._beside.append(self._make())
        if self._beside[-1] is not self._store:
            self._beside[-1].open()
        return self._beside[-1]

    def close(self) -> None:
        for store in (*self._beside, self._store):
            if store is not None:
                store.close()
        self._beside.clear()


def changed(record: JobRecord, **state: Any) -> JobRecord:
    """The record with other values in its state."""
    return JobRecord(record.job, msgspec.structs.replace(record.state, **state))
