"""The answers of the SQLite store: every question of the contract as SQL over a connection that may be read-only."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, assert_never

from ...lifecycle import FINAL
from ...records import DEFAULT_TENANT, Event, Job, JobRecord, LiveRun, Receipt, Run, RunRecord, Submission
from .. import store as contract
from ..store import MAX_PAGE, Lease, Question
from ..view import NO_FACTS, Facts, Holder, Progress, ended_record, live_record, live_run, page_size
from .rows import (
    ATTEMPT_COLUMNS,
    DECISION_COLUMNS,
    END_COLUMNS,
    RUN_COLUMNS,
    RUN_WIDTH,
    STATE_COLUMNS,
    Row,
    to_attempt,
    to_condition,
    to_decision,
    to_end,
    to_entries,
    to_job,
    to_job_record,
)

LEASE: Final = "leader"
"""The name of the one lease."""

_JOBS: Final = (
    f"SELECT {STATE_COLUMNS}, d.job FROM jobs j "
    "JOIN definitions d ON d.tenant = j.tenant AND d.name = j.name AND d.version = j.version"
)
_GREATEST: Final = 2**63 - 1


def read_lease(connection: sqlite3.Connection) -> Lease | None:
    """The lease as it stands, None before the first reign."""
    row = connection.execute(
        "SELECT holder, epoch, beat, last_seq, address FROM lease WHERE name = ?", (LEASE,)
    ).fetchone()
    return Lease(*row) if row is not None else None


def answer(connection: sqlite3.Connection, question: Question) -> list[Any]:  # noqa: C901 -- one case for each question
    """Answer a question; the list's items are said at the question."""
    match question:
        case contract.GetJobs(names=names):
            return _get_jobs(connection, names)
        case contract.GetDefinitions(versions=versions):
            return _get_definitions(connection, versions)
        case contract.ListJobs():
            return _list_jobs(connection, question)
        case contract.ListEdges():
            rows = connection.execute(f"{_JOBS} WHERE j.linked = 1 AND j.status <> 'removed' ORDER BY j.tenant, j.name")
            return [to_job_record(row) for row in rows.fetchall()]
        case contract.ListHeld():
            rows = connection.execute(f"{_JOBS} WHERE j.status = 'paused' ORDER BY j.tenant, j.name")
            return [to_job_record(row) for row in rows.fetchall()]
        case contract.DueJobs():
            return _due_jobs(connection, question)
        case contract.ListUnarmed():
            return _list_unarmed(connection, question)
        case contract.GetLiveRuns():
            return _live_runs(connection, question)
        case contract.GetRuns(tenant=tenant, run_ids=run_ids):
            return _get_runs(connection, tenant, run_ids)
        case contract.ListRuns():
            return _list_runs(connection, question)
        case contract.GetGroup(tenant=tenant, groups=groups):
            return _get_group(connection, tenant, groups)
        case contract.GetTokens(tenant=tenant, tokens=tokens):
            return _get_tokens(connection, tenant, tokens)
        case contract.GetSubmissions(keys=keys):
            return _get_submissions(connection, keys)
        case contract.GetReceipts(keys=keys):
            return _get_receipts(connection, keys)
        case contract.ListDecisions():
            return _list_decisions(connection, question)
        case contract.ListAttempts(tenant=tenant, run_id=run_id):
            return _list_attempts(connection, tenant, run_id)
        case contract.ListEvents():
            return _list_events(connection, question)
        case contract.GetCounters():
            return _get_counters(connection)
        case _:
            assert_never(question)


# ---- jobs ---------------------------------------------------------------------------------------------------------------


def _get_jobs(connection: sqlite3.Connection, names: Iterable[tuple[str, str]]) -> list[JobRecord]:
    query = f"{_JOBS} WHERE j.tenant = ? AND j.name = ?"
    rows = (connection.execute(query, key).fetchone() for key in dict.fromkeys(names))
    return [to_job_record(row) for row in rows if row is not None]


def _get_definitions(connection: sqlite3.Connection, versions: Iterable[tuple[str, str, int]]) -> list[Job]:
    query = "SELECT job FROM definitions WHERE tenant = ? AND name = ? AND version = ?"
    rows = ((key, connection.execute(query, key).fetchone()) for key in dict.fromkeys(versions))
    return [to_job(row[0], *key) for key, row in rows if row is not None]


def _list_jobs(connection: sqlite3.Connection, question: contract.ListJobs) -> list[JobRecord]:
    status = "" if question.removed else "AND j.status <> 'removed'"
    limit = page_size(question.limit)
    if question.tag is None:
        query = f"{_JOBS} WHERE j.tenant = ? AND j.name > ? {status} ORDER BY j.name LIMIT ?"
        values: Row = (question.tenant, question.after, limit)
    else:
        query = (
            f"{_JOBS.replace('FROM jobs j', 'FROM tags t JOIN jobs j ON j.tenant = t.tenant AND j.name = t.name')} "
            f"WHERE t.tenant = ? AND t.tag = ? AND t.name > ? {status} ORDER BY t.name LIMIT ?"
        )
        values = (question.tenant, question.tag, question.after, limit)
    return [to_job_record(row) for row in connection.execute(query, values).fetchall()]


def _due_jobs(connection: sqlite3.Connection, question: contract.DueJobs) -> list[JobRecord]:
    after, values = "", [question.until]
    if question.after is not None:
        after = "AND (j.next_due, j.tenant, j.name) > (?, ?, ?)"
        values += question.after  # type: ignore[arg-type]
    rows = connection.execute(
        f"{_JOBS} WHERE j.status = 'active' AND j.next_due <= ? {after} ORDER BY j.next_due, j.tenant, j.name LIMIT ?",
        (*values, page_size(question.limit)),
    )
    return [to_job_record(row) for row in rows.fetchall()]


def _list_unarmed(connection: sqlite3.Connection, question: contract.ListUnarmed) -> list[JobRecord]:
    after, values = "", ()
    if question.after is not None:
        after, values = "AND (j.tenant, j.name) > (?, ?)", question.after  # type: ignore[assignment]
    rows = connection.execute(
        f"{_JOBS} WHERE j.status = 'active' AND j.next_due IS NULL AND j.fires > 0 {after} "
        "ORDER BY j.tenant, j.name LIMIT ?",
        (*values, page_size(question.limit)),
    )
    return [to_job_record(row) for row in rows.fetchall()]


# ---- runs ---------------------------------------------------------------------------------------------------------------


def _live_runs(connection: sqlite3.Connection, question: contract.GetLiveRuns) -> list[LiveRun]:
    # one bound and not two: of two SQLite begins at the first, and looks at every run there ever was
    rows = connection.execute(
        f"SELECT {RUN_COLUMNS} FROM runs r WHERE r.run_id > max(?, (SELECT value FROM marks WHERE name = 'settled') - 1) "
        f"AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.run_id = r.run_id) ORDER BY r.run_id LIMIT ?",
        (question.after, page_size(question.limit)),
    ).fetchall()
    runs = [Run(*row) for row in rows]
    facts = _facts(connection, [run.run_id for run in runs])
    return [live_run(run, facts.get(run.run_id, NO_FACTS)) for run in runs]


def _get_runs(connection: sqlite3.Connection, tenant: str, run_ids: Sequence[int]) -> list[RunRecord]:
    query = f"{_runs_and_ends()} WHERE r.run_id = ? AND r.tenant = ?"
    rows = [connection.execute(query, (run_id, tenant)).fetchone() for run_id in dict.fromkeys(run_ids)]
    return _records(connection, [row for row in rows if row is not None])


def _get_group(connection: sqlite3.Connection, tenant: str, groups: Iterable[str]) -> list[RunRecord]:
    query = f"{_runs_and_ends()} WHERE r.tenant = ? AND r.grp = ? AND r.grp <> ''"
    rows = [row for group in dict.fromkeys(groups) for row in connection.execute(query, (tenant, group)).fetchall()]
    return _records(connection, sorted(rows, key=lambda row: row[0]))


def _get_tokens(connection: sqlite3.Connection, tenant: str, tokens: Iterable[str]) -> list[RunRecord]:
    query = f"{_runs_and_ends()} WHERE r.tenant = ? AND r.token = ? AND r.token IS NOT NULL"
    rows = [row for token in dict.fromkeys(tokens) for row in connection.execute(query, (tenant, token)).fetchall()]
    return _records(connection, sorted(rows, key=lambda row: row[0]))


def _list_runs(connection: sqlite3.Connection, question: contract.ListRuns) -> list[RunRecord]:
    limit = page_size(question.limit)
    if question.state is None or question.state in FINAL:
        query, values = _runs_query(question, question.before, limit)
        return _records(connection, connection.execute(query, values).fetchall())
    found = (record for record in _each_live(connection, question) if record.state is question.state)
    return list(islice(found, limit))


def _each_live(connection: sqlite3.Connection, question: contract.ListRuns) -> Iterator[RunRecord]:
    """The live runs that a question is about, newest first, whatever their state."""
    before = question.before
    while True:
        query, values = _runs_query(question, before, MAX_PAGE)
        rows = connection.execute(query, values).fetchall()
        yield from _records(connection, rows)
        if len(rows) < MAX_PAGE:
            return
        before = rows[-1][0]


def _runs_query(question: contract.ListRuns, before: int | None, limit: int) -> tuple[str, Row]:
    """The SQL for a page of runs: by the index on rare states, the one on jobs, or from the newest back."""
    source, order = "runs r LEFT JOIN ends e ON e.run_id = r.run_id", "r.run_id"
    where = ["r.tenant = ?", "r.run_id < ?"]
    values: list[Any] = [question.tenant, _GREATEST if before is None else before]
    if question.tenant != DEFAULT_TENANT:
        where.append("r.tenant <> 'default'")  # as the index on the runs of tenants says
    elif question.job is None:
        source = "runs r NOT INDEXED LEFT JOIN ends e ON e.run_id = r.run_id"
    if question.job is not None:
        where.append("r.job = ?")
        values.append(question.job)
    if question.tag is not None:
        where.append("r.job IN (SELECT t.name FROM tags t WHERE t.tenant = ? AND t.tag = ?)")
        values += (question.tenant, question.tag)
    if not question.hooks:
        where.append("r.cause <> 'hook'")
    if question.state is not None and question.state not in FINAL:
        where.append("e.run_id IS NULL AND r.run_id >= (SELECT value FROM marks WHERE name = 'settled')")
    elif question.state is not None:
        where.append("e.state = ?")
        values.append(question.state.value)
        if question.state.value != "SUCCEEDED":
            source, order = "ends e INDEXED BY ends_by_state CROSS JOIN runs r ON r.run_id = e.run_id", "e.run_id"
            where[1] = "e.run_id < ?"
            where.append("e.state <> 'SUCCEEDED'")
    query = (
        f"SELECT {RUN_COLUMNS}, {END_COLUMNS} FROM {source} WHERE {' AND '.join(where)} ORDER BY {order} DESC LIMIT ?"
    )
    return query, (*values, limit)


def _runs_and_ends() -> str:
    return f"SELECT {RUN_COLUMNS}, {END_COLUMNS} FROM runs r LEFT JOIN ends e ON e.run_id = r.run_id"


def _records(connection: sqlite3.Connection, rows: Sequence[Row]) -> list[RunRecord]:
    """Rows of RUN_COLUMNS and END_COLUMNS as records, with what else is known of those that have not ended."""
    facts = _facts(connection, [row[0] for row in rows if row[RUN_WIDTH] is None])
    records = []
    for row in rows:
        run = Run(*row[:RUN_WIDTH])
        if row[RUN_WIDTH] is None:
            records.append(live_record(run, facts.get(run.run_id, NO_FACTS)))
        else:
            records.append(ended_record(run, to_end(row[RUN_WIDTH:])))
    return records


def _facts(connection: sqlite3.Connection, run_ids: Sequence[int]) -> dict[int, Facts]:
    """What the store knows of these live runs beside their rows."""
    facts: dict[int, Facts] = defaultdict(Facts)
    for start in range(0, len(run_ids), MAX_PAGE):
        _gather(connection, run_ids[start : start + MAX_PAGE], facts)
    return facts


def _gather(connection: sqlite3.Connection, run_ids: Sequence[int], facts: dict[int, Facts]) -> None:
    numbers = (f"[{','.join(map(str, run_ids))}]",)
    for row in connection.execute(
        "WITH newest AS (SELECT max(attempt_id) AS attempt_id, max(fence) AS fence FROM attempts "
        "WHERE run_id IN (SELECT value FROM json_each(?)) GROUP BY run_id) "
        "SELECT a.run_id, a.attempts, a.crashes, a.next_at, a.ended_at, newest.fence "
        "FROM newest JOIN attempts a ON a.attempt_id = newest.attempt_id",
        numbers,
    ).fetchall():
        facts[row[0]].progress = Progress(*row[1:])
    for row in connection.execute(
        "SELECT run_id, state, at, reason FROM conditions WHERE run_id IN (SELECT value FROM json_each(?))", numbers
    ).fetchall():
        facts[row[0]].condition = to_condition(row)
    wanted = frozenset(run_ids)
    for node, incarnation, packed in connection.execute(
        "SELECT node, incarnation, entries FROM claims WHERE last_run >= ? AND first_run <= ? ORDER BY claim_id",
        (min(run_ids), max(run_ids)),
    ).fetchall():
        for entry in to_entries(packed):
            if entry.run_id in wanted:
                known = facts[entry.run_id]
                if known.holder is None or entry.fence >= known.holder.entry.fence:
                    known.holder = Holder(entry, node, incarnation)


# ---- the rest -----------------------------------------------------------------------------------------------------------


def _get_submissions(connection: sqlite3.Connection, keys: Iterable[str]) -> list[Submission]:
    query = "SELECT key, first, count, at FROM submissions WHERE key = ?"
    rows = (connection.execute(query, (key,)).fetchone() for key in dict.fromkeys(keys))
    return [Submission(*row) for row in rows if row is not None]


def _get_receipts(connection: sqlite3.Connection, keys: Iterable[str]) -> list[Receipt]:
    query = "SELECT key, at, added, changed, same FROM receipts WHERE key = ?"
    rows = (connection.execute(query, (key,)).fetchone() for key in dict.fromkeys(keys))
    return [Receipt(*row) for row in rows if row is not None]


def _list_decisions(connection: sqlite3.Connection, question: contract.ListDecisions) -> list[Any]:
    before = ("AND slot < ?", (question.before,)) if question.before is not None else ("", ())
    rows = connection.execute(
        f"SELECT {DECISION_COLUMNS} FROM decisions WHERE tenant = ? AND job = ? {before[0]} ORDER BY slot DESC LIMIT ?",
        (question.tenant, question.job, *before[1], page_size(question.limit)),
    )
    return [to_decision(row) for row in rows.fetchall()]


def _list_attempts(connection: sqlite3.Connection, tenant: str, run_id: int) -> list[Any]:
    rows = connection.execute(
        f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE run_id = ? AND EXISTS (SELECT 1 FROM runs r WHERE r.run_id = ? "
        "AND r.tenant = ?) ORDER BY attempt_id",
        (run_id, run_id, tenant),
    )
    return [to_attempt(row) for row in rows.fetchall()]


def _list_events(connection: sqlite3.Connection, question: contract.ListEvents) -> list[Event]:
    job, values = ("", ()) if question.job is None else ("AND job = ?", (question.job,))
    limit = page_size(question.limit)
    newest = f"SELECT * FROM (SELECT * FROM events WHERE tenant = ? {job} ORDER BY event_id DESC LIMIT ?)"
    tenants = list(dict.fromkeys((question.tenant, "")))
    rows = connection.execute(
        f"SELECT at, kind, tenant, job, run_id, text FROM ({' UNION ALL '.join([newest] * len(tenants))}) "
        "ORDER BY event_id DESC LIMIT ?",
        (*(value for tenant in tenants for value in (tenant, *values, limit)), limit),
    )
    return [Event(*row) for row in rows.fetchall()]


def _get_counters(connection: sqlite3.Connection) -> list[contract.Counters]:
    row = connection.execute(
        "SELECT max(coalesce((SELECT max(run_id) FROM runs), 0), coalesce((SELECT max(run_id) FROM ends), 0), "
        "coalesce((SELECT value FROM marks WHERE name = 'numbered'), 0), "
        "(SELECT value - 1 FROM marks WHERE name = 'settled')), "
        "coalesce((SELECT fence FROM claims ORDER BY claim_id DESC LIMIT 1), 0), "
        "(SELECT value FROM marks WHERE name = 'settled')"
    ).fetchone()
    return [contract.Counters(*row)]
