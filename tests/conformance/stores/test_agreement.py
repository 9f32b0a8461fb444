"""Whatever is written, all stores answer alike: the one in memory is the model of the others."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callsheet.actors.persistence.memory import MemoryStore
from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.store import (
    AddAttempts,
    AddClaim,
    AddDecisions,
    AddEnds,
    AddEvents,
    AddReceipts,
    AddRuns,
    AddSubmissions,
    AdvanceJob,
    Committed,
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
from callsheet.actors.records import (
    Attempt,
    Claim,
    ClaimEntry,
    Condition,
    Decision,
    End,
    ErrorInfo,
    Event,
    JobRecord,
    Receipt,
    Run,
    RunState,
    Submission,
)
from callsheet.errors import StoreError
from callsheet.triggers import DecisionKind
from support.stored import Leader, a_record, insert, put

TENANTS = ("default", "acme", "")
NAMES = ("a", "b", "é\x00\U0001f600")
GROUPS = ("", "g", "h")
TOKENS = (None, "", "t", "u")
TAGS = ("x", "y")
RUNS = range(1, 9)
LIVE = (RunState.PARKED, RunState.CANCELLING, RunState.READY)
FINAL = (RunState.SUCCEEDED, RunState.FAILED, RunState.LOST)

tenants, names = st.sampled_from(TENANTS), st.sampled_from(NAMES)
tags = st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple)
run_ids, small = st.sampled_from(RUNS), st.integers(0, 9)
instants = st.integers(-(2**63), 2**63 - 1) | small
maybe = st.none() | instants
blobs, texts = st.binary(max_size=4), st.text(max_size=3)
errors = st.none() | st.builds(ErrorInfo, texts, st.just(("B",)), texts, texts)
statuses = st.sampled_from(("active", "paused", "exhausted", "removed"))


def several(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=5).map(tuple)


@st.composite
def records(draw: st.DrawFn) -> JobRecord:
    state = {"status": draw(statuses), "mark": draw(small), "fires": draw(small), "next_due": draw(st.none() | small)}
    return a_record(
        draw(names),
        tenant=draw(tenants),
        version=draw(st.integers(1, 2)),
        anchor=draw(st.integers(0, 1)),
        tags=draw(tags),
        after=draw(st.sampled_from(((), ("a",)))),
        arguments=draw(blobs),
        state=state,
    )


runs = st.builds(
    Run,
    run_id=run_ids,
    tenant=tenants,
    job=names,
    version=st.just(1),
    cause=st.sampled_from(("slot", "submit", "hook")),
    slot=maybe,
    group=st.sampled_from(GROUPS),
    created_at=small,
    not_before=small,
    priority=small,
    arguments=blobs,
    token=st.sampled_from(TOKENS),
    parent=maybe,
)
claims = st.builds(Claim, names, texts, small, instants, several(st.builds(ClaimEntry, run_ids, small, small)))
attempts = st.builds(
    Attempt, run_ids, small, small, texts, st.just("failed"), instants, small, small, small, small, errors, blobs
)
ends = st.builds(
    End, run_ids, st.sampled_from(FINAL), instants, small, small, texts, small, blobs, errors, blobs, texts
)
kinds = st.sampled_from((DecisionKind.FIRED, DecisionKind.SKIPPED_LATE))
decisions = st.builds(Decision, tenants, names, small, small, small, kinds, instants, maybe, maybe)
writes: st.SearchStrategy[Write] = st.one_of(
    records().map(insert),
    records().map(put),
    st.builds(SetJobStatus, tenants, names, st.integers(1, 2), statuses),
    st.builds(
        AdvanceJob, tenants, names, st.integers(1, 2), small, st.none() | small, st.none() | small, st.booleans()
    ),
    st.builds(AddRuns, several(runs)),
    st.builds(AddClaim, claims),
    st.builds(AddAttempts, several(attempts)),
    st.builds(AddEnds, several(ends)),
    st.builds(AddDecisions, several(decisions)),
    st.builds(AddSubmissions, several(st.builds(Submission, names, small, small, instants))),
    st.builds(AddReceipts, several(st.builds(Receipt, names, instants, small, small, small))),
    st.builds(PutConditions, several(st.builds(Condition, run_ids, st.sampled_from(LIVE), small, texts))),
    st.builds(AddEvents, several(st.builds(Event, instants, texts, tenants, names, maybe, texts))),
    st.builds(PutSettled, run_ids),
)
limits = st.integers(-1, 4)
questions: st.SearchStrategy[Question] = st.one_of(
    st.builds(ListJobs, tenant=tenants, after=names | st.just(""), limit=limits, tag=st.none() | st.sampled_from(TAGS)),
    st.builds(DueJobs, small, st.none() | st.tuples(small, tenants, names), limits),
    st.builds(ListUnarmed, st.none() | st.tuples(tenants, names), limits),
    st.builds(GetLiveRuns, st.integers(0, 8), limits),
    st.builds(
        ListRuns,
        tenant=tenants,
        job=st.none() | names,
        state=st.none() | st.sampled_from(RunState),
        tag=st.none() | st.sampled_from(TAGS),
        before=st.none() | run_ids,
        limit=limits,
        hooks=st.booleans(),
    ),
    st.builds(ListDecisions, tenant=tenants, job=names, before=st.none() | small, limit=limits),
    st.builds(ListEvents, tenant=tenants, job=st.none() | names, limit=limits),
)
ALL: tuple[Question, ...] = (
    GetJobs(tuple((tenant, name) for tenant in TENANTS for name in NAMES)),
    GetDefinitions(tuple((tenant, name, version) for tenant in TENANTS for name in NAMES for version in (1, 2))),
    ListEdges(),
    ListHeld(),
    DueJobs(9),
    ListUnarmed(),
    GetLiveRuns(),
    *(ListRuns(tenant=tenant, hooks=True) for tenant in TENANTS),
    *(GetRuns(tenant, tuple(RUNS)) for tenant in TENANTS),
    *(GetGroup(tenant, GROUPS[1:]) for tenant in TENANTS),
    *(ListAttempts(tenant, run_id) for tenant in TENANTS for run_id in RUNS),
    *(ListDecisions(tenant=tenant, job=name) for tenant in TENANTS for name in NAMES),
    *(ListEvents(tenant=tenant) for tenant in TENANTS),
    GetSubmissions(NAMES),
    GetReceipts(NAMES),
    *(GetTokens(tenant, tuple(token for token in TOKENS if token)) for tenant in TENANTS),
    GetCounters(),
)


def outcome(leader: Leader, batch: list[Write]) -> Committed | None:
    """What the commit found there, None if it was refused."""
    try:
        return leader.write(*batch)
    except StoreError:
        return None


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=st.lists(st.lists(writes, max_size=8), min_size=1, max_size=8),
    asked=st.lists(questions, min_size=1, max_size=8),
)
def test_sqlite_answers_as_memory_does(batches: list[list[Write]], asked: list[Question]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory, sqlite = MemoryStore(), SQLiteStore(Path(folder) / "jobs.db", "NORMAL")
        sqlite.open()
        try:
            model, real = Leader(memory), Leader(sqlite)
            for batch in batches:
                assert outcome(real, batch) == outcome(model, batch)
                for question in (*asked, *ALL):
                    assert sqlite.read(question) == memory.read(question), question
            sqlite.close()
            sqlite.open()
            for question in (*asked, *ALL):
                assert sqlite.read(question) == memory.read(question), question
        finally:
            sqlite.close()
