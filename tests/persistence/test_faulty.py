"""The store that fails on purpose: each fault leaves behind what it says."""

import pytest

from callsheet.actors.persistence.faulty import Crash, Fault, FaultyStore, Step, healthy, in_commits
from callsheet.actors.persistence.memory import MemoryStore
from callsheet.actors.persistence.store import AddRuns, GetLiveRuns, Store
from callsheet.errors import StoreBusy, StoreError, StoreFull, StoreUnknown
from support.stored import Leader, a_run


def live(store: Store) -> list[int]:
    return [run.run.run_id for run in store.read(GetLiveRuns())]


@pytest.mark.parametrize(
    ("fault", "error", "kept"),
    [
        (Fault.BUSY, StoreBusy, False),
        (Fault.FULL, StoreFull, False),
        (Fault.UNKNOWN_LOST, StoreUnknown, False),
        (Fault.UNKNOWN_DONE, StoreUnknown, True),
        (Fault.CRASH_BEFORE, Crash, False),
        (Fault.CRASH_DURING, Crash, True),
        (Fault.CRASH_AFTER, Crash, True),
    ],
)
def test_a_fault_in_a_commit_leaves_what_it_says(fault: Fault, error: type[BaseException], kept: bool) -> None:
    inner = MemoryStore()
    leader = Leader(FaultyStore(inner, in_commits([fault])))
    with pytest.raises(error):
        leader.write(AddRuns((a_run(1),)))
    assert live(inner) == ([1] if kept else [])
    assert leader.store.last_seq() == int(kept)
    leader.write(AddRuns((a_run(2),)))
    assert live(inner) == ([1, 2] if kept else [2])


@pytest.mark.parametrize("fault", [Fault.UNSYNCED, Fault.CRASH_DURING])
def test_a_crash_of_the_machine_loses_what_was_not_synced(fault: Fault) -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, in_commits([Fault.NONE, Fault.UNSYNCED, fault]))
    leader = Leader(store)
    leader.write(AddRuns((a_run(1),)))
    leader.write(AddRuns((a_run(2),)))
    try:
        leader.write(AddRuns((a_run(3),)))
    except Crash:
        assert fault is Fault.CRASH_DURING
    assert live(inner) == [1, 2, 3]
    assert store.crash() == 1
    assert (live(inner), inner.last_seq()) == ([1], 1)
    assert store.crash() == 0


def test_a_synced_commit_takes_with_it_what_was_written_before() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, in_commits([Fault.UNSYNCED]))
    leader = Leader(store)
    leader.write(AddRuns((a_run(1),)))
    leader.write(AddRuns((a_run(2),)))
    assert store.crash() == 0
    assert live(inner) == [1, 2]


def test_every_step_is_asked_of_the_plan_in_order() -> None:
    steps: list[Step] = []

    def plan(step: Step) -> Fault:
        steps.append(step)
        return Fault.BUSY if step.kind == "read" else healthy(step)

    store = FaultyStore(MemoryStore(), plan)
    store.open()
    leader = Leader(store)
    leader.write(AddRuns((a_run(1),)))
    store.renew_lease("leader", 1)
    store.last_seq()
    with pytest.raises(StoreBusy):
        store.read(GetLiveRuns())
    store.close()
    kinds = ["open", "enter", "lease", "take_lease", "commit", "renew_lease", "last_seq", "read"]
    assert [step.kind for step in steps] == kinds
    assert [step.number for step in steps] == list(range(1, 9))
    assert (steps[4].writes, steps[7].question) == ((AddRuns((a_run(1),)),), GetLiveRuns())


def test_a_crash_is_caught_by_no_handler_of_errors() -> None:
    assert not issubclass(Crash, Exception)
    assert not issubclass(Crash, StoreError)


def test_what_a_batch_found_is_known_after_its_outcome_was_not() -> None:
    leader = Leader(FaultyStore(MemoryStore(), in_commits([Fault.NONE, Fault.UNKNOWN_DONE])))
    leader.write(AddRuns((a_run(1, token="t"),)))
    writes = AddRuns((a_run(2, token="t"), a_run(3)))
    with pytest.raises(StoreUnknown):
        leader.write(writes)
    assert leader.store.last_seq() == 2
    assert leader.store.found_before((writes,)).tokens == ((2, a_run(1, token="t")),)


def test_a_snapshot_of_memory_can_be_gone_back_to_again_and_again() -> None:
    store = MemoryStore()
    leader = Leader(store)
    leader.write(AddRuns((a_run(1),)))
    snapshot = store.snapshot()
    for run_id in (2, 3):
        leader.write(AddRuns((a_run(run_id, group="g"),)))
        assert live(store) == [1, run_id]
        store.restore(snapshot)
        assert live(store) == [1]
