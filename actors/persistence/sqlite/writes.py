"""The writes of a batch as few, large statements.

While `sqlite3_step` runs, the interpreter's lock is free for other threads; taking it again can cost up to the switch
interval (5 ms) when a thread computes. So a batch must not take one step for each row (as `executemany` does) but one for
up to 256 rows: `INSERT … VALUES (…),(…),…` in a few fixed sizes, so that each text is compiled once.

Writes of different kinds touch different tables and do not look at each other, so a batch is sorted by kind first; only
those on jobs keep their order among themselves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Final, TypeVar, assert_never, cast

from msgspec.structs import replace

from ...records import Attempt, Claim, Condition, Decision, End, Event, Receipt, Run, RunState, Submission
from .. import store as contract
from ..store import Committed, Write
from .rows import (
    RUN_COLUMNS,
    Row,
    advance_row,
    attempt_row,
    claim_rows,
    decision_row,
    definition_row,
    end_row,
    event_row,
    job_row,
    run_row,
    to_outline,
)

CHUNKS: Final = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""Rows in one statement. 256 rows of 13 values stay far below SQLite's limit of 32,766 values."""

JobKey = tuple[str, str]
JobWrite = contract.InsertJob | contract.PutJob | contract.SetJobStatus | contract.AdvanceJob
JobWriteT = TypeVar("JobWriteT", contract.PutJob, contract.AdvanceJob)

_NOTHING: Final = Committed()
_TEXT: Final = "nullif(?, 0)"
_NUMBER: Final = "nullif(?, '')"


class _Statement:
    """A statement over rows of values, compiled for each size in CHUNKS."""

    def __init__(self, head: str, values: str, tail: str = "") -> None:
        self._head, self._values, self._tail = head, values, tail
        self._texts: dict[int, str] = {}

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
        """Run it over all rows; answer how many rows were changed."""
        changed = start = 0
        for size in CHUNKS:
            while len(rows) - start >= size:
                values = tuple(chain.from_iterable(rows[start : start + size]))
                changed += connection.execute(self._text(size), values).rowcount
                start += size
        return changed

    def fetch(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> list[Row]:
        """Ask it for all rows; answer what it found."""
        found: list[Row] = []
        start = 0
        for size in CHUNKS:
            while len(rows) - start >= size:
                values = tuple(chain.from_iterable(rows[start : start + size]))
                found += connection.execute(self._text(size), values).fetchall()
                start += size
        return found

    def _text(self, size: int) -> str:
        text = self._texts.get(size)
        if text is None:
            text = self._texts[size] = f"{self._head} {', '.join([self._values] * size)} {self._tail}"
        return text


_KEEP_FIRST: Final = "ON CONFLICT DO NOTHING"


def _plain(table: str, columns: int, tail: str = "", verb: str = "INSERT") -> _Statement:
    return _Statement(f"{verb} INTO {table} VALUES", f"({', '.join('?' * columns)})", tail)


def _state(assignments: str) -> _Statement:
    return _Statement(
        "INSERT INTO jobs (tenant, name, version, status, mark, fires, next_due, removed, linked, epoch) VALUES",
        f"(?, ?, ?, ?, ?, ?, {_NUMBER}, ?, ?, ?)",
        "ON CONFLICT (tenant, name) DO UPDATE SET version = excluded.version, mark = max(mark, excluded.mark), "
        "removed = max(removed, excluded.removed), linked = excluded.linked, epoch = excluded.epoch, " + assignments,
    )


_ADD_RUNS: Final = _Statement(
    "INSERT INTO runs VALUES", f"(?, ?, ?, ?, ?, {_NUMBER}, ?, ?, ?, ?, ?, {_TEXT}, {_NUMBER})"
)
_ADD_ENDS: Final = _plain("ends", 11, _KEEP_FIRST)
_ADD_CLAIMS: Final = _Statement(
    "INSERT INTO claims (node, incarnation, epoch, at, first_run, last_run, fence, entries) VALUES",
    "(?, ?, ?, ?, ?, ?, max(?, coalesce((SELECT fence FROM claims ORDER BY claim_id DESC LIMIT 1), 0)), ?)",
)
_ADD_ATTEMPTS: Final = _Statement(
    "INSERT INTO attempts (run_id, attempt, fence, node, outcome, started_at, ended_at, attempts, crashes, next_at, "
    "error, logs) VALUES",
    f"({', '.join('?' * 12)})",
)
_ADD_DECISIONS: Final = _Statement(
    "INSERT INTO decisions VALUES", f"(?, ?, ?, ?, ?, ?, ?, {_NUMBER}, {_NUMBER})", _KEEP_FIRST
)
_ADD_SUBMISSIONS: Final = _plain("submissions", 4, _KEEP_FIRST)
_ADD_RECEIPTS: Final = _plain("receipts", 5, _KEEP_FIRST)
_PUT_CONDITIONS: Final = _plain("conditions", 4, verb="INSERT OR REPLACE")
_CLEAR_CONDITIONS: Final = _Statement("DELETE FROM conditions WHERE run_id IN (VALUES", "(?)", ")")
_ADD_EVENTS: Final = _Statement(
    "INSERT INTO events (at, kind, tenant, job, run_id, text) VALUES", f"(?, ?, ?, ?, {_NUMBER}, ?)"
)
_PUT_DEFINITIONS: Final = _plain("definitions", 4, verb="INSERT OR REPLACE")
_PUT_JOBS: Final = _state("status = excluded.status, fires = excluded.fires, next_due = excluded.next_due")
_EDIT_JOBS: Final = _state(
    "fires = iif(mark > excluded.mark, fires, excluded.fires), "
    "next_due = iif(mark > excluded.mark, next_due, excluded.next_due), "
    "status = iif(mark > excluded.mark AND status = 'exhausted' AND excluded.status = 'active', status, excluded.status)"
)
"""For jobs that keep their trigger: what was written about slots since the edit was read stays."""
_ADVANCE_JOBS: Final = _Statement(
    "WITH new (tenant, name, version, mark, fires, next_due, exhausted, epoch) AS (VALUES",
    f"(?, ?, ?, ?, {_NUMBER}, {_NUMBER}, ?, ?)",
    ") UPDATE jobs SET mark = new.mark, epoch = new.epoch, "
    "fires = iif(jobs.version = new.version, coalesce(new.fires, jobs.fires), jobs.fires), "
    "next_due = iif(jobs.version = new.version, new.next_due, jobs.next_due), "
    "status = iif(jobs.version = new.version AND new.exhausted AND jobs.status = 'active', 'exhausted', jobs.status) FROM new "
    "WHERE jobs.tenant = new.tenant AND jobs.name = new.name AND jobs.version >= new.version AND jobs.mark <= new.mark",
)
_SET_STATUS: Final = (
    "UPDATE jobs SET status = ?1, removed = iif(?1 = 'removed', version, removed), epoch = ?2 "
    "WHERE tenant = ?3 AND name = ?4 AND version = ?5"
)
_FIND_JOBS: Final = _Statement(
    "WITH asked (tenant, name) AS (VALUES",
    "(?, ?)",
    ") SELECT j.tenant, j.name FROM asked a CROSS JOIN jobs j ON j.tenant = a.tenant AND j.name = a.name",
)
_FIND_DEFINITIONS: Final = _Statement(
    "WITH asked (tenant, name) AS (VALUES",
    "(?, ?)",
    ") SELECT d.job FROM asked a CROSS JOIN jobs j ON j.tenant = a.tenant AND j.name = a.name "
    "CROSS JOIN definitions d ON d.tenant = j.tenant AND d.name = j.name AND d.version = j.version",
)
_FIND_NEWER: Final = _Statement(
    "WITH asked (tenant, name, version) AS (VALUES",
    "(?, ?, ?)",
    ") SELECT j.tenant, j.name, j.version, old.job, new.job FROM asked a "
    "CROSS JOIN jobs j ON j.tenant = a.tenant AND j.name = a.name AND j.version > a.version "
    "CROSS JOIN definitions old ON old.tenant = a.tenant AND old.name = a.name AND old.version = a.version "
    "CROSS JOIN definitions new ON new.tenant = j.tenant AND new.name = j.name AND new.version = j.version",
)
_FIND_TOKENS: Final = _Statement(
    "WITH asked (tenant, token) AS (VALUES",
    "(?, ?)",
    f") SELECT {RUN_COLUMNS} FROM asked a CROSS JOIN runs r INDEXED BY runs_by_token "
    "ON r.tenant = a.tenant AND r.token = a.token AND r.token IS NOT NULL",
)
_USE_NUMBER: Final = (
    "INSERT INTO marks VALUES ('numbered', ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
)
"""Other facts may stand under the number of a run that was not stored: it must not be given to another one."""
_FORGET_TAG: Final = "DELETE FROM tags WHERE tenant = ? AND tag = ? AND name = ?"
_ADD_TAGS: Final = _plain("tags", 3, _KEEP_FIRST)


class Batch:
    """The writes of one transaction, sorted by kind."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self._on_jobs: list[JobWrite] = []
        self._runs: list[Run] = []
        self._claims: list[Claim] = []
        self._attempts: list[Attempt] = []
        self._ends: list[End] = []
        self._decisions: list[Decision] = []
        self._submissions: list[Submission] = []
        self._receipts: list[Receipt] = []
        self._conditions: list[Condition] = []
        self._events: list[Event] = []
        self._settled = 0
        for write in writes:
            self._sort(write)

    def _sort(self, write: Write) -> None:
        match write:
            case contract.AddRuns():
                self._runs += write.runs
            case contract.AddEnds():
                self._ends += write.ends
            case contract.AddClaim():
                self._claims.append(write.claim)
            case contract.InsertJob() | contract.PutJob() | contract.SetJobStatus() | contract.AdvanceJob():
                self._on_jobs.append(write)
            case contract.AddDecisions():
                self._decisions += write.decisions
            case contract.AddAttempts():
                self._attempts += write.attempts
            case contract.AddSubmissions():
                self._submissions += write.submissions
            case contract.AddReceipts():
                self._receipts += write.receipts
            case contract.PutConditions():
                self._conditions += write.conditions
            case contract.AddEvents():
                self._events += write.events
            case contract.PutSettled():
                self._settled = max(self._settled, write.run_id)
            case _:
                assert_never(write)

    def write(self, connection: sqlite3.Connection, epoch: int) -> Committed:
        """Write all of it; the caller began the transaction and ends it."""
        existing = _write_jobs(connection, self._on_jobs, epoch) if self._on_jobs else []
        tokens = _add_runs(connection, self._runs) if self._runs else []
        if self._claims:
            _add_claims(connection, self._claims)
        if self._attempts:
            _ADD_ATTEMPTS.run(connection, [attempt_row(attempt) for attempt in self._attempts])
        if self._ends:
            _ADD_ENDS.run(connection, [end_row(end) for end in self._ends])
        if self._decisions:
            _ADD_DECISIONS.run(connection, [decision_row(decision) for decision in self._decisions])
        if self._submissions:
            _ADD_SUBMISSIONS.run(connection, [(s.key, s.first, s.count, s.at) for s in self._submissions])
        if self._receipts:
            _ADD_RECEIPTS.run(connection, [(r.key, r.at, r.added, r.changed, r.same) for r in self._receipts])
        if self._conditions:
            _put_conditions(connection, self._conditions)
        if self._events:
            _ADD_EVENTS.run(connection, [event_row(event) for event in self._events])
        if self._settled:
            connection.execute("UPDATE marks SET value = max(value, ?) WHERE name = 'settled'", (self._settled,))
        return Committed(existing=tuple(existing), tokens=tuple(tokens)) if existing or tokens else _NOTHING


def _add_runs(connection: sqlite3.Connection, runs: list[Run]) -> list[tuple[int, Run]]:
    tokens: list[tuple[int, Run]] = []
    if any(run.token is not None for run in runs):
        runs, tokens = _drop_known_tokens(connection, runs)
        if tokens:
            connection.execute(_USE_NUMBER, (max(number for number, _ in tokens),))
    _ADD_RUNS.run(connection, [run_row(run) for run in runs])
    return tokens


def _drop_known_tokens(connection: sqlite3.Connection, runs: list[Run]) -> tuple[list[Run], list[tuple[int, Run]]]:
    """Leave out runs whose token is there already, or came earlier in the batch; answer the rest, and who was first."""
    keys = dict.fromkeys((run.tenant, run.token) for run in runs if run.token is not None)
    first = {(run.tenant, run.token): run for run in (Run(*row) for row in _FIND_TOKENS.fetch(connection, list(keys)))}
    kept: list[Run] = []
    dropped: list[tuple[int, Run]] = []
    for run in runs:
        holder = run if run.token is None else first.setdefault((run.tenant, run.token), run)
        if holder is run:
            kept.append(run)
        else:
            dropped.append((run.run_id, holder))
    return kept, dropped


def _add_claims(connection: sqlite3.Connection, claims: list[Claim]) -> None:
    rows: list[Row] = []
    greatest = 0
    for claim in claims:
        for first, last, fence, entries in claim_rows(claim.entries):
            greatest = max(greatest, fence)
            rows.append((claim.node, claim.incarnation, claim.epoch, claim.at, first, last, greatest, entries))
    _ADD_CLAIMS.run(connection, rows)


def _put_conditions(connection: sqlite3.Connection, conditions: list[Condition]) -> None:
    newest = {condition.run_id: condition for condition in conditions}
    cleared = [(run_id,) for run_id, condition in newest.items() if condition.state is RunState.READY]
    _CLEAR_CONDITIONS.run(connection, cleared)
    kept = (condition for condition in newest.values() if condition.state is not RunState.READY)
    _PUT_CONDITIONS.run(connection, [(c.run_id, c.state._value_, c.at, c.reason) for c in kept])


def _write_jobs(connection: sqlite3.Connection, writes: Sequence[JobWrite], epoch: int) -> list[JobKey]:
    existing: list[JobKey] = []
    for _, group in groupby(writes, key=type):
        alike = list(group)
        match alike[0]:
            case contract.InsertJob():
                existing += _insert_jobs(connection, cast("list[contract.InsertJob]", alike), epoch)
            case contract.PutJob():
                _put_jobs(connection, cast("list[contract.PutJob]", alike), epoch)
            case contract.AdvanceJob():
                _advance_jobs(connection, cast("list[contract.AdvanceJob]", alike), epoch)
            case contract.SetJobStatus():
                _set_statuses(connection, cast("list[contract.SetJobStatus]", alike), epoch)
    return existing


def _set_statuses(connection: sqlite3.Connection, writes: Iterable[contract.SetJobStatus], epoch: int) -> None:
    for write in writes:
        connection.execute(_SET_STATUS, (write.status, epoch, write.tenant, write.job, write.version))


def _advance_jobs(connection: sqlite3.Connection, writes: Iterable[contract.AdvanceJob], epoch: int) -> None:
    for advances in _once_each(writes, lambda write: (write.tenant, write.job)):
        newer = _versions_since(connection, advances)
        for key, version in newer.items():
            advances[key] = replace(advances[key], version=version)
        _ADVANCE_JOBS.run(connection, [advance_row(write, epoch) for write in advances.values()])


def _versions_since(connection: sqlite3.Connection, advances: dict[JobKey, contract.AdvanceJob]) -> dict[JobKey, int]:
    """Which jobs have a newer version by now that kept the trigger: what is decided of the older one counts for it."""
    asked = [(*key, write.version) for key, write in advances.items()]
    found = _FIND_NEWER.fetch(connection, asked)
    return {
        (tenant, name): version
        for tenant, name, version, old, new in found
        if to_outline(old).anchor == to_outline(new).anchor
    }


def _once_each(writes: Iterable[JobWriteT], key_of: Callable[[JobWriteT], JobKey]) -> Iterator[dict[JobKey, JobWriteT]]:
    """The writes in order, a job once in each part: a statement sees each job once, and one that comes again sees the first."""
    part: dict[JobKey, JobWriteT] = {}
    for write in writes:
        key = key_of(write)
        if key in part:
            yield part
            part = {}
        part[key] = write
    yield part


def _insert_jobs(connection: sqlite3.Connection, writes: list[contract.InsertJob], epoch: int) -> list[JobKey]:
    known = _known_jobs(connection, [write.job.key for write in writes])
    existing: list[JobKey] = []
    added: list[contract.InsertJob] = []
    for write in writes:
        if write.job.key in known:
            existing.append(write.job.key)
        else:
            known.add(write.job.key)
            added.append(write)
    _write_definitions(connection, added, epoch)
    return existing


def _known_jobs(connection: sqlite3.Connection, keys: Sequence[JobKey]) -> set[JobKey]:
    return {(tenant, name) for tenant, name in _FIND_JOBS.fetch(connection, keys)}


def _put_jobs(connection: sqlite3.Connection, writes: Iterable[contract.PutJob], epoch: int) -> None:
    for edits in _once_each(writes, lambda write: write.job.key):
        kept: set[JobKey] = set()
        for (packed,) in _FIND_DEFINITIONS.fetch(connection, list(edits)):
            old = to_outline(packed)
            key = old.tenant, old.name
            if edits[key].job.anchor == old.anchor:
                kept.add(key)
            for tag in old.tags:
                connection.execute(_FORGET_TAG, (old.tenant, tag, old.name))
        _write_definitions(connection, [it for key, it in edits.items() if key not in kept], epoch)
        _write_definitions(connection, [it for key, it in edits.items() if key in kept], epoch, _EDIT_JOBS)


def _write_definitions(
    connection: sqlite3.Connection,
    writes: Sequence[contract.InsertJob | contract.PutJob],
    epoch: int,
    statement: _Statement = _PUT_JOBS,
) -> None:
    _PUT_DEFINITIONS.run(connection, [definition_row(write.job) for write in writes])
    statement.run(connection, [job_row(write.job, write.state, epoch) for write in writes])
    _ADD_TAGS.run(connection, [(w.job.tenant, tag, w.job.name) for w in writes for tag in w.job.tags])
