"""What every store promises: the lease, the fence, all or nothing, and that it lasts."""

from typing import Any

import pytest

from callsheet.actors.persistence.store import (
    AddAttempts,
    AddDecisions,
    AddEnds,
    AddEvents,
    AddReceipts,
    AddRuns,
    AddSubmissions,
    AdvanceJob,
    Committed,
    Counters,
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
    Lease,
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
    Store,
    Write,
)
from callsheet.actors.records import (
    Condition,
    Decision,
    Event,
    Receipt,
    RunState,
    Submission,
)
from callsheet.errors import Fenced, StoreError
from callsheet.triggers import DecisionKind
from support.stored import (
    Leader,
    Place,
    a_claim,
    a_record,
    a_run,
    an_attempt,
    an_end,
    insert,
    put,
)


def test_before_the_first_reign_there_is_no_lease_and_no_seq(store: Store) -> None:
    assert (store.lease(), store.last_seq()) == (None, 0)


def test_the_first_reign_is_epoch_one(store: Store) -> None:
    assert store.take_lease("ann", "tcp://ann", None) == Lease("ann", 1, 0, 0, "tcp://ann")
    assert store.lease() == Lease("ann", 1, 0, 0, "tcp://ann")


def test_of_two_who_saw_the_same_lease_one_takes_it(store: Store) -> None:
    assert store.take_lease("ann", "", None) is not None
    assert store.take_lease("bob", "", None) is None
    seen = store.lease()
    assert store.take_lease("bob", "", seen) == Lease("bob", 2, 0, 0, "")
    assert store.take_lease("cid", "", seen) is None
    assert store.lease() == Lease("bob", 2, 0, 0, "")


def test_a_lease_that_beat_since_it_was_seen_is_not_taken(store: Store) -> None:
    seen = store.take_lease("ann", "", None)
    store.renew_lease("ann", 1)
    assert store.take_lease("bob", "", seen) is None


def test_nobody_takes_a_lease_that_was_never_there(store: Store) -> None:
    assert store.take_lease("ann", "", Lease("bob", 3, 1, 0, "")) is None
    assert store.lease() is None


def test_renewing_beats_and_keeps_the_seq(leader: Leader) -> None:
    leader.write(PutSettled(1))
    assert [leader.store.renew_lease("leader", 1) for _ in range(3)] == [1, 2, 3]
    assert leader.store.lease() == Lease("leader", 1, 3, 1, "")


@pytest.mark.parametrize(("holder", "epoch"), [("leader", 2), ("somebody", 1), ("leader", 0)])
def test_who_does_not_hold_the_lease_can_neither_renew_it_nor_write(leader: Leader, holder: str, epoch: int) -> None:
    with pytest.raises(Fenced):
        leader.store.renew_lease(holder, epoch)
    with pytest.raises(Fenced):
        leader.store.commit([PutSettled(5)], epoch=epoch, holder=holder, seq=9)
    assert leader.store.lease() == Lease("leader", 1, 0, 0, "")
    assert leader.read(GetCounters()) == [Counters(0, 0, 0)]


def test_before_the_first_reign_nobody_writes(store: Store) -> None:
    with pytest.raises(Fenced):
        store.commit([PutSettled(5)], epoch=1, holder="ann", seq=1)
    with pytest.raises(Fenced):
        store.renew_lease("ann", 1)


ONE_OF_EACH: tuple[Write, ...] = (
    insert(a_record("new", after=("job",), tags=("x",))),
    put(a_record("other", version=2)),
    SetJobStatus("default", "job", 1, "paused"),
    AdvanceJob("default", "job", 1, 99, 9, 999),
    AddRuns((a_run(2, group="g", token="t"), a_run(3))),
    a_claim((1, 2, 20)),
    AddAttempts((an_attempt(1, 20),)),
    AddEnds((an_end(1),)),
    AddDecisions((Decision("default", "job", 7, 7, 1, DecisionKind.FIRED, 8, run_id=2),)),
    AddSubmissions((Submission("key", 2, 1, 5),)),
    AddReceipts((Receipt("key", 5, added=1),)),
    PutConditions((Condition(3, RunState.PARKED, 5, "why"),)),
    AddEvents((Event(1, "paused", "default", "job"),)),
    PutSettled(2),
)

ALL_QUESTIONS: tuple[Question, ...] = (
    GetJobs((("default", "job"), ("default", "new"), ("default", "other"))),
    GetDefinitions((("default", "job", 1), ("default", "new", 1), ("default", "other", 2))),
    ListJobs(tenant="default", removed=True),
    ListJobs(tenant="default", tag="x"),
    ListEdges(),
    ListHeld(),
    DueJobs(10_000),
    ListUnarmed(),
    GetLiveRuns(),
    GetRuns("default", (1, 2, 3)),
    ListRuns(tenant="default", hooks=True),
    ListRuns(tenant="default", job="job", tag="x", state=RunState.PARKED),
    GetGroup("default", ("g",)),
    GetSubmissions(("key",)),
    GetReceipts(("key",)),
    GetTokens("t", ("token",)),
    ListDecisions(tenant="default", job="job"),
    ListAttempts("default", 1),
    ListEvents(tenant="default"),
    GetCounters(),
)


def everything(store: Store) -> list[list[Any]]:
    return [store.read(question) for question in ALL_QUESTIONS]


@pytest.fixture
def ruled(leader: Leader) -> Leader:
    """A store that had a first batch, so that there is something to change."""
    leader.write(insert(a_record("job", state={"next_due": 5})), AddRuns((a_run(1),)), a_claim((1, 1, 10)))
    return leader


def test_a_batch_of_an_older_epoch_leaves_nothing_behind(ruled: Leader) -> None:
    before = everything(ruled.store)
    Leader(ruled.store, "next")
    with pytest.raises(Fenced):
        ruled.write(*ONE_OF_EACH)
    assert everything(ruled.store) == before
    assert ruled.store.last_seq() == 0


def test_a_batch_that_fails_in_its_middle_leaves_nothing_behind(ruled: Leader) -> None:
    before = everything(ruled.store)
    with pytest.raises(StoreError, match=r"there already.*nothing was stored"):
        ruled.write(*ONE_OF_EACH, AddRuns((a_run(4), a_run(1))))
    assert everything(ruled.store) == before
    assert ruled.store.last_seq() == 1
    ruled.write(*ONE_OF_EACH)
    assert everything(ruled.store) != before


def test_a_run_number_that_comes_twice_in_a_batch_is_refused(leader: Leader) -> None:
    with pytest.raises(StoreError):
        leader.write(AddRuns((a_run(1),)), AddRuns((a_run(1),)))
    assert leader.read(GetLiveRuns()) == []


def test_what_was_committed_is_there_after_a_restart(place: Place) -> None:
    leader = Leader(place.open())
    leader.write(insert(a_record("job", state={"next_due": 5})), AddRuns((a_run(1),)), a_claim((1, 1, 10)))
    leader.write(*ONE_OF_EACH)
    before, lease = everything(leader.store), leader.store.lease()
    assert lease is not None
    again = place.open()
    assert everything(again) == before
    assert (again.lease(), again.last_seq()) == (lease, 2)


def test_closing_twice_is_harmless(store: Store) -> None:
    store.close()
    store.close()


def test_a_store_says_what_it_promises(store: Store) -> None:
    assert store.capabilities.promise.endswith(".")
    assert not store.capabilities.many_hosts


def test_an_empty_batch_only_moves_the_seq(leader: Leader) -> None:
    assert leader.write() == Committed()
    assert leader.store.last_seq() == 1


def test_an_empty_store_answers_with_nothing(store: Store) -> None:
    answers = everything(store)
    assert answers.pop() == [Counters(0, 0, 0)]
    assert answers == [[]] * len(answers)
