"""Jobs that are paused, resumed and removed while very many runs of them wait."""

from __future__ import annotations

from msgspec.structs import replace

from callsheet.actors.actor import PERSISTENCE, REGISTRY
from callsheet.actors.coordinator.attempts import PASSED_A_TURN
from callsheet.actors.coordinator.request import SETTLED_A_TURN
from callsheet.actors.messages import Draft, HoldJob, JobHeld, Saved, TimerFired, Withdraw, Withdrawn
from callsheet.actors.persistence.store import AddEnds, Committed
from callsheet.actors.records import JobRecord, RunState
from support.actors import Leader, live_row, make_job, make_record
from support.membership import ends

MANY = 2 * SETTLED_A_TURN + 1
PAUSE = HoldJob("p", "t", "work", held=True)
RESUME = HoldJob("r", "t", "work", held=False)
REMOVE = HoldJob("h", "t", "work", held=False, removed=1)


def draft(name: str = "work", priority: int = 0, version: int = 1) -> Draft:
    return Draft(make_job(name, version=version), "submit", None, "", priority=priority)


def held(leader: Leader) -> list[str]:
    """What was asked with these keys is answered."""
    return [message.key for message in leader.out if isinstance(message, JobHeld)]


def jobs(leader: Leader) -> list[str]:
    return [order.target for order in leader.assigned()]


def is_set(leader: Leader, key: str) -> bool:
    """Whether the leader wants to be woken at once under this key, which forgets it."""
    due = [timer for timer in leader.timers if timer.key == key and timer.at <= leader.now]
    leader.timers.clear()
    return bool(due)


def store(leader: Leader) -> int:
    """Let the batch that is on its way be written; answers how many ends are in it."""
    save = leader.held.pop()
    leader.writes.extend(save.writes)
    leader.tell(Saved(save.key, Committed()), sender=PERSISTENCE)
    return sum(len(write.ends) for write in save.writes if isinstance(write, AddEnds))


# ---- removal ------------------------------------------------------------------------------------------------------------


def test_very_many_runs_of_a_removed_job_are_cancelled_in_several_turns_and_then_the_removal_is_answered() -> None:
    leader = Leader(thread=0)
    leader.admit(*[draft()] * MANY)
    leader.hold_saves = True
    leader.tell(REMOVE, sender=REGISTRY)
    for _ in range(2):
        assert is_set(leader, "unsettled")
        assert held(leader) == []
        assert store(leader) == SETTLED_A_TURN
    assert held(leader) == []
    assert store(leader) == 1
    assert held(leader) == ["h"]
    assert ends(leader) == [(number, RunState.CANCELLED) for number in range(1, MANY + 1)]


def test_a_removal_that_is_asked_for_again_while_it_is_worked_off_is_answered_once_it_is() -> None:
    leader = Leader(thread=0)
    leader.admit(*[draft()] * MANY)
    leader.hold_saves = True
    leader.tell(REMOVE, sender=REGISTRY)
    leader.tell(REMOVE, replace(REMOVE, key="again"), sender=REGISTRY)
    while leader.held:
        assert held(leader) == []
        store(leader)
    assert sorted(held(leader)) == ["again", "h"]
    assert len(ends(leader)) == MANY


def test_nothing_of_a_removed_job_is_claimed_that_is_not_cancelled_yet() -> None:
    leader = Leader(thread=0)
    leader.admit(*[draft()] * MANY, draft(priority=100), draft("other", priority=-100))
    leader.hold_saves = True
    leader.tell(REMOVE, sender=REGISTRY)
    leader.tell_room(2)
    while leader.held:
        store(leader)
    assert jobs(leader) == ["other"]
    assert len(ends(leader)) == MANY + 1
    assert held(leader) == ["h"]


def test_what_is_declared_and_submitted_anew_while_a_removal_is_worked_off_begins() -> None:
    leader = Leader(thread=0)
    leader.admit(*[draft()] * MANY)
    leader.hold_saves = True
    leader.tell(REMOVE, sender=REGISTRY)
    leader.admit(draft(version=2), draft(version=1), key="anew")
    leader.tell_room(4)
    while leader.held:
        store(leader)
    assert [order.run_id for order in leader.assigned()] == [MANY + 1]
    assert len(ends(leader)) == MANY + 1
    assert held(leader) == ["h"]


def test_a_pause_of_another_job_is_not_kept_waiting_by_a_long_removal() -> None:
    leader = Leader(thread=0)
    leader.admit(*[draft()] * MANY)
    leader.hold_saves = True
    leader.tell(REMOVE, sender=REGISTRY)
    leader.tell(replace(PAUSE, job="other"), sender=REGISTRY)
    store(leader)
    store(leader)
    assert held(leader) == ["p"]


def test_a_pause_is_not_acknowledged_by_what_was_fetched_back_of_a_version_that_was_removed() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.tell(REMOVE, sender=REGISTRY)
    leader.admit(draft(version=2), key="anew")
    leader.tell(replace(PAUSE, removed=1), sender=REGISTRY)
    first, second = leader.assigned()
    assert [message.fences for message in leader.out if isinstance(message, Withdraw)] == [
        (first.fence,),
        (first.fence, second.fence),
    ]
    leader.tell(Withdrawn("h", (), over=(first.fence,), incarnation="i"), sender="executor")
    assert held(leader) == ["h"]
    leader.tell(Withdrawn("p", (), over=(first.fence, second.fence), incarnation="i"), sender="executor")
    assert held(leader) == ["h", "p"]


# ---- pause and resume ---------------------------------------------------------------------------------------------------


def paused(leader: Leader) -> None:
    """Let very many runs wait for their paused job."""
    leader.tell(PAUSE, sender=REGISTRY)
    leader.admit(*[draft()] * MANY)
    leader.out.clear()


def test_who_asked_before_is_answered_with_who_asks_when_nothing_is_in_hand_any_more() -> None:
    leader = Leader()
    leader.admit(draft())
    leader.tell(PAUSE, sender=REGISTRY)
    (order,) = leader.assigned()
    leader.end(order)  # and what was to be fetched back is not answered any more
    assert held(leader) == []
    leader.tell(replace(PAUSE, key="q"), sender=REGISTRY)
    assert sorted(held(leader)) == ["p", "q"]


def test_very_many_runs_of_a_resumed_job_go_on_in_several_turns_and_then_that_is_answered() -> None:
    leader = Leader(thread=0)
    paused(leader)
    leader.tell(RESUME, sender=REGISTRY)
    for _ in range(2):
        assert is_set(leader, "unsettled")
        assert held(leader) == []
        leader.tell(TimerFired("unsettled"))
    assert not is_set(leader, "unsettled")
    assert held(leader) == ["r"]
    leader.tell_room(MANY + 1)
    assert [order.run_id for order in leader.assigned()] == list(range(1, MANY + 1))


def test_a_job_that_is_paused_again_while_its_runs_go_on_begins_nothing_until_it_is_resumed_again() -> None:
    leader = Leader(thread=0)
    paused(leader)
    leader.tell(RESUME, sender=REGISTRY)
    leader.tell(replace(PAUSE, key="again"), sender=REGISTRY)
    leader.tell_room(MANY)
    leader.tell(TimerFired("unsettled"))
    assert leader.assigned() == []
    leader.tell(replace(RESUME, key="at last"), sender=REGISTRY)
    for _ in range(2):
        leader.tell(TimerFired("unsettled"))
    assert sorted(order.run_id for order in leader.assigned()) == list(range(1, MANY + 1))
    assert {"again", "at last"} <= set(held(leader))


def test_a_job_that_is_removed_while_its_runs_go_on_loses_all_that_has_not_begun() -> None:
    leader = Leader(thread=0)
    paused(leader)
    leader.tell(RESUME, sender=REGISTRY)
    leader.tell(REMOVE, sender=REGISTRY)
    for _ in range(2):
        leader.tell(TimerFired("unsettled"))
    assert len(ends(leader)) == MANY
    assert "h" in held(leader)


def test_the_most_urgent_of_very_many_runs_of_a_resumed_job_goes_on_first() -> None:
    leader = Leader(thread=0)
    paused(leader)
    leader.admit(draft(priority=1), key="urgent")
    leader.tell_room(1)
    leader.tell(RESUME, sender=REGISTRY)
    assert [order.run_id for order in leader.assigned()] == [MANY + 1]


def test_very_many_runs_of_a_paused_job_are_passed_over_in_several_turns() -> None:
    leader = Leader(thread=0)
    leader.admit(*[draft()] * (2 * PASSED_A_TURN), draft("other"))
    leader.tell(PAUSE, sender=REGISTRY)
    leader.tell_room(4)
    for _ in range(2):
        assert jobs(leader) == []
        assert is_set(leader, "passed")
        leader.tell(TimerFired("passed"))
    assert jobs(leader) == ["other"]
    assert not is_set(leader, "passed")


def test_a_new_leader_need_not_pass_over_the_runs_of_paused_jobs() -> None:
    waits = make_record(make_job())
    record = JobRecord(waits.job, replace(waits.state, status="paused"))
    other = live_row(PASSED_A_TURN + 1, claim=False)
    other = replace(other, run=replace(other.run, job="other"))
    rows = (*(live_row(number, claim=False) for number in range(1, PASSED_A_TURN + 1)), other)
    leader = Leader(rows, jobs=(record,), definitions=(waits.job, make_job("other")))
    for _ in range(2):
        leader.tell(TimerFired("rebuild"))
    assert jobs(leader) == ["other"]
    assert not is_set(leader, "passed")
