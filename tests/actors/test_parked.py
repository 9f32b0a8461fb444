"""Very many runs whose function no node knows: what becomes of them when a node learns some."""

from __future__ import annotations

from callsheet.actors.actor import PERSISTENCE
from callsheet.actors.coordinator.reign import SORTED_A_TURN
from callsheet.actors.executor.runner import Capacity
from callsheet.actors.messages import CancelLive, Draft, KnowJobs, Offer, Saved, SaveRejected, TimerFired
from callsheet.actors.persistence.store import Committed, PutConditions
from callsheet.actors.records import RunState
from support.actors import ROOM, Leader, make_job, make_record
from support.membership import ends

MANY = 2 * SORTED_A_TURN + 1


def parked() -> Leader:
    """A leader whose node, the only one, does not know the function of very many runs; the store is played by hand."""
    leader = Leader(thread=1)
    leader.admit(Draft(make_job(), "submit", None, ""))
    leader.end(leader.assigned()[0], "unknown_target")
    leader.admit(*[Draft(make_job(), "submit", None, "")] * (MANY - 1), key="many")
    leader.out.clear()
    leader.hold_saves = True
    return leader


def learn(leader: Leader, room: int = 1, knows: int = 1) -> None:
    leader.tell(Offer("n", "i", {**ROOM, "thread": room}, Capacity(4, 4, 4, 4), knows=knows), sender="executor")


def store(leader: Leader) -> list[RunState]:
    """Let the batch that is on its way be written; answers what it says of where runs stand."""
    save = leader.held.pop()
    leader.writes.extend(save.writes)
    leader.tell(Saved(save.key, Committed()), sender=PERSISTENCE)
    return [it.state for write in save.writes if isinstance(write, PutConditions) for it in write.conditions]


def test_when_a_node_learns_functions_very_many_runs_are_tried_again_in_several_turns() -> None:
    leader = parked()
    learn(leader, room=MANY)
    assert [timer.key for timer in leader.timers if timer.at <= leader.now][-1] == "parked"
    assert [store(leader) for _ in range(3)] == [[RunState.READY] * count for count in (SORTED_A_TURN,) * 2 + (1,)]
    assert sorted(order.run_id for order in leader.assigned()) == list(range(1, MANY + 1))


def test_when_no_node_knows_a_function_very_many_runs_are_put_aside_in_several_turns() -> None:
    leader = parked()
    learn(leader)
    while leader.held:
        store(leader)
    (order,) = leader.assigned()
    leader.end(order, "unknown_target")
    counts = (SORTED_A_TURN + 1, SORTED_A_TURN)
    assert [store(leader) for _ in range(2)] == [[RunState.PARKED] * count for count in counts]
    learn(leader, room=MANY, knows=2)
    while leader.held:
        store(leader)
    again = [order.run_id for order in leader.assigned()][1:]
    assert sorted(again) == list(range(1, MANY + 1))


def test_a_job_that_is_declared_anew_is_tried_again_in_several_turns_and_what_has_ended_is_not() -> None:
    leader = parked()
    leader.tell(KnowJobs(1, 1, (make_record(make_job(version=2)),)), sender="registry")
    leader.tell(CancelLive("c", "client-1", MANY, "enough"), sender="registry")
    assert [len(store(leader)) for _ in range(2)] == [SORTED_A_TURN] * 2
    while leader.held:
        assert store(leader) == []
    assert ends(leader) == [(MANY, RunState.CANCELLED)]


def test_a_run_that_is_to_be_tried_again_and_turns_out_not_to_be_stored_is_not() -> None:
    leader = parked()
    leader.admit(Draft(make_job(), "submit", None, ""), key="refused")
    learn(leader)
    save = leader.held.pop()
    leader.tell(SaveRejected(save.key, "full", "no space is left"), sender=PERSISTENCE)
    leader.tell(TimerFired("save"))
    while leader.held:
        store(leader)
    assert [order.run_id for order in leader.assigned()] == [1]
    assert len(leader.written(PutConditions, "conditions")) == 2 * MANY, "each was put aside, and tried again"
