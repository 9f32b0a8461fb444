"""No question and no write goes through a whole table that only grows: SQLite's own plans say so."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from callsheet.actors.persistence.sqlite.queries import answer
from callsheet.actors.persistence.sqlite.schema import MIGRATIONS, migrate
from callsheet.actors.persistence.sqlite.writes import Batch
from callsheet.actors.persistence.store import (
    AddAttempts,
    AddEnds,
    AddRuns,
    AdvanceJob,
    DueJobs,
    GetCounters,
    GetDefinitions,
    GetGroup,
    GetJobs,
    GetLiveRuns,
    GetReceipts,
    GetRuns,
    GetSubmissions,
    GetTokens,
    ListAttempts,
    ListDecisions,
    ListEdges,
    ListEvents,
    ListHeld,
    ListJobs,
    ListRuns,
    ListUnarmed,
    PutConditions,
    PutSettled,
    Question,
    SetJobStatus,
    Write,
)
from callsheet.actors.records import Condition, RunState
from support.stored import a_claim, a_record, a_run, an_attempt, an_end, insert, put

TABLES = (
    "jobs",
    "definitions",
    "tags",
    "runs",
    "ends",
    "attempts",
    "conditions",
    "decisions",
    "submissions",
    "receipts",
    "events",
)
SHORT_NAMES = {"j": "jobs", "d": "definitions", "t": "tags", "r": "runs", "e": "ends"}

WRITES: tuple[Write, ...] = (
    *(insert(a_record(f"job-{number}", tags=("x",), after=("job-1",))) for number in range(5)),
    *(put(a_record(f"job-{number}", version=2, tags=("y",))) for number in range(5)),
    *(AdvanceJob("default", f"job-{number}", 2, 5, 1, 9) for number in range(5)),
    SetJobStatus("default", "job-1", 2, "paused"),
    AddRuns(tuple(a_run(number, token=f"t{number}", group="g") for number in range(1, 6))),
    a_claim((1, 1, 1), (2, 1, 2)),
    AddAttempts((an_attempt(1, 1),)),
    AddEnds((an_end(2),)),
    PutConditions((Condition(1, RunState.PARKED, 5, "x"), Condition(3, RunState.READY, 5, ""))),
    PutSettled(1),
)
QUESTIONS: tuple[Question, ...] = (
    GetJobs((("default", "job-1"),)),
    GetDefinitions((("default", "job-1", 1),)),
    ListJobs(tenant="default"),
    ListJobs(tenant="default", tag="x"),
    ListEdges(),
    ListHeld(),
    DueJobs(10, after=(1, "a", "b")),
    ListUnarmed(),
    ListUnarmed(("a", "b")),
    GetLiveRuns(),
    GetRuns("default", (1, 2)),
    *(
        ListRuns(tenant=tenant, job=job, state=state, tag=tag, before=9)
        for tenant in ("default", "acme")
        for job in (None, "job-1")
        for state in (None, RunState.FAILED, RunState.SUCCEEDED, RunState.READY)
        for tag in (None, "x")
    ),
    GetGroup("default", ("g",)),
    GetSubmissions(("key",)),
    GetReceipts(("key",)),
    GetTokens("t", ("token",)),
    ListDecisions(tenant="default", job="job-1", before=9),
    ListAttempts("default", 1),
    ListEvents(tenant="default", job="job-1"),
    GetCounters(),
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
        migrate(connection, "jobs.db", MIGRATIONS)
        yield connection


def scans(connection: sqlite3.Connection, statements: list[str]) -> list[str]:
    """The scans of tables without a bound, and the sorts, in the plans of these statements."""
    found = []
    for statement in statements:
        if not statement.startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            continue
        for _, _, _, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
            match detail.split():
                case ["SCAN", name, *rest] if SHORT_NAMES.get(name, name) in TABLES:
                    found.append(f"{name} {' '.join(rest)}: {statement[:300]}")
                case ["USE", "TEMP", "B-TREE", *_]:
                    found.append(f"sorts: {statement[:300]}")
    return found


def traced(connection: sqlite3.Connection) -> list[str]:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    return statements


def test_no_write_scans_a_table(connection: sqlite3.Connection) -> None:
    statements = traced(connection)
    Batch(WRITES).write(connection, 1)
    connection.set_trace_callback(None)
    assert len(statements) > 15
    assert scans(connection, statements) == []


def test_no_question_scans_a_table_but_from_its_newest_rows_back(connection: sqlite3.Connection) -> None:
    Batch(WRITES).write(connection, 1)
    statements = traced(connection)
    for question in QUESTIONS:
        answer(connection, question)
    connection.set_trace_callback(None)
    assert len(statements) > len(QUESTIONS)
    # all edges; all paused jobs; all that wait for the end of a run; two pages of events
    jobs = ("j USING INDEX jobs_linked", "j USING INDEX jobs_paused", "j USING INDEX jobs_unarmed")
    allowed = (*jobs, "sorts: SELECT at, kind, tenant")
    assert [scan for scan in scans(connection, statements) if not scan.startswith(allowed)] == []


def test_a_planted_scan_is_found(connection: sqlite3.Connection) -> None:
    assert len(scans(connection, ["SELECT * FROM jobs WHERE (tenant, name) IN (VALUES ('a', 'b'), ('c', 'd'))"])) == 1


@pytest.mark.parametrize(
    "question",
    [GetLiveRuns(), ListRuns(tenant="default", state=RunState.READY), GetCounters()],
    ids=lambda it: type(it).__name__,
)
def test_what_a_new_leader_asks_costs_the_same_however_many_runs_there_were(
    connection: sqlite3.Connection, question: Question
) -> None:
    steps = []
    for first, last in ((1, 1_000), (1_001, 10_000)):
        numbers = range(first, last + 1)
        ended = (AddRuns(tuple(map(a_run, numbers))), AddEnds(tuple(map(an_end, numbers))), PutSettled(last + 1))
        Batch(ended).write(connection, 1)
        counted = 0

        def count() -> None:
            nonlocal counted
            counted += 1

        connection.set_progress_handler(count, 1)
        answer(connection, question)
        connection.set_progress_handler(None, 0)
        steps.append(counted)
    assert 0 < steps[1] <= steps[0] + 10
