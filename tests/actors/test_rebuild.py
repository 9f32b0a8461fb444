"""A new leader that finds very many runs: it rebuilds its memory without being taken for dead meanwhile."""

from __future__ import annotations

from msgspec.structs import replace

from callsheet.actors.coordinator.leadership import HELD_A_TURN, HELD_MESSAGES
from callsheet.actors.coordinator.rebuild import SQUARED_A_TURN
from callsheet.actors.executor.runner import Capacity, Outcome
from callsheet.actors.messages import (
    Accepted,
    AttemptsEnded,
    Beat,
    Draft,
    Offer,
    Read,
    RenewLease,
    RunsMade,
    StockTaken,
    TimerFired,
)
from callsheet.actors.persistence.store import MAX_PAGE, GetDefinitions, GetJobs
from callsheet.actors.records import LiveRun, RunState
from support.actors import NOW, SECOND, Leader, live_row, make_job
from support.membership import ends

MANY = SQUARED_A_TURN + 1


def waiting(*numbers: int) -> tuple[LiveRun, ...]:
    """Runs that wait for an instant that is far away."""
    return tuple(live_row(number, claim=False, waits_until=NOW + 3_600 * SECOND) for number in numbers)


def go_on(leader: Leader) -> None:
    """Let the leader enter and settle the rest."""
    for _ in range(2):
        leader.tell(TimerFired("rebuild"))


def test_a_new_leader_shows_that_it_lives_while_it_enters_very_many_runs() -> None:
    leader = Leader(tuple(live_row(number, claim=False) for number in range(1, MANY + 1)))
    assert leader.assigned() == [], "they are not entered in one turn"
    leader.tell(TimerFired("beat"), after=SECOND)
    assert [message.epoch for message in leader.out if isinstance(message, RenewLease)] == [1]
    go_on(leader)
    assert [order.run_id for order in leader.assigned()] == [1, 2, 3, 4]


def test_a_claim_of_the_dead_among_very_many_runs_is_settled_as_among_few() -> None:
    leader = Leader((*waiting(*range(1, MANY)), live_row(MANY, claim=True, by="i")))
    go_on(leader)
    assert [(order.run_id, order.fence) for order in leader.assigned()] == [(MANY, 1)], "its order had never come"


def test_dependencies_is_told_of_very_many_runs_in_several_turns() -> None:
    rows = waiting(*range(1, MANY + 1))
    leader = Leader(tuple(replace(row, run=replace(row.run, group=f"m/{row.run.run_id}")) for row in rows))

    def told() -> list[int]:
        return [made.run_id for it in leader.out if isinstance(it, RunsMade) for made in it.runs]

    for _ in range(2):
        leader.tell(TimerFired("rebuild"))
    assert told() == list(range(1, MANY))
    submit(leader, "k")
    assert accepted(leader) == [], "the reign has not begun"
    leader.tell(TimerFired("rebuild"))
    assert told() == list(range(1, MANY + 1))
    assert accepted(leader) == ["k"]


def test_an_outcome_that_comes_while_very_many_runs_are_entered_is_taken_when_they_are() -> None:
    rows = (*waiting(*range(1, MANY)), live_row(MANY, claim=True, by="i"))
    leader = Leader(rows, StockTaken(1, "n", "i", (90 + MANY,), ()))
    ended = Outcome(90 + MANY, MANY, 1, "succeeded", NOW, NOW + 1)
    leader.tell(AttemptsEnded("n", (ended,)), sender="executor")
    assert ends(leader) == []
    go_on(leader)
    assert ends(leader) == [(MANY, RunState.SUCCEEDED)]
    assert leader.assigned() == []


def test_a_new_leader_asks_once_for_each_job_that_has_live_runs_also_if_they_fill_pages() -> None:
    count = 2 * MAX_PAGE + 1
    rows = tuple(
        replace(row, run=replace(row.run, job=f"job-{row.run.run_id}"))
        for row in (live_row(number, claim=False) for number in range(1, count + 1))
    )
    leader = Leader(rows, definitions=tuple(make_job(f"job-{number}") for number in range(1, count + 1)))
    questions = [it.message.question for it in leader.sent if isinstance(it.message, Read)]
    versions = [it.versions for it in questions if isinstance(it, GetDefinitions)]
    assert [len(page) for page in versions] == [MAX_PAGE, MAX_PAGE, 1]
    assert {name for page in versions for _, name, _ in page} == {row.run.job for row in rows}
    assert [len(it.names) for it in questions if isinstance(it, GetJobs)] == [MAX_PAGE, MAX_PAGE, 1]
    assert [order.target for order in leader.assigned()] == ["job-1", "job-2", "job-3", "job-4"]


# ---- what comes meanwhile -----------------------------------------------------------------------------------------------


def rebuilding() -> Leader:
    """A new leader that has yet to enter very many runs, and has no place for any."""
    return Leader(waiting(*range(MANY, 2 * MANY)), thread=0)


def submit(leader: Leader, *keys: str) -> None:
    for key in keys:
        leader.admit(Draft(make_job(), "submit", None, ""), key=key)


def accepted(leader: Leader) -> list[str]:
    """The keys of what was accepted, in order, and that the runs have numbers in this order."""
    answers = [message for message in leader.out if isinstance(message, Accepted)]
    assert [it.run_ids for it in answers] == [(number,) for number in range(1, len(answers) + 1)]
    return [it.key for it in answers]


def test_what_came_during_a_rebuild_is_done_some_of_it_at_a_time_and_in_order() -> None:
    leader = rebuilding()
    keys = [f"k{number}" for number in range(2 * HELD_A_TURN)]
    submit(leader, *keys)
    go_on(leader)
    assert accepted(leader) == keys[:HELD_A_TURN]
    assert any(timer.key == "held" and timer.at <= leader.now for timer in leader.timers)
    leader.tell(TimerFired("held"))
    assert accepted(leader) == keys


def test_what_comes_while_that_is_done_comes_behind_it_and_keeps_nothing_from_being_done() -> None:
    leader = rebuilding()
    keys = [f"k{number}" for number in range(2 * HELD_A_TURN)]
    late = [f"late{number}" for number in range(HELD_A_TURN)]
    submit(leader, *keys)
    go_on(leader)
    submit(leader, *late)
    assert accepted(leader) == keys + late, "each that comes lets two go"


def test_a_submission_that_is_asked_for_again_and_again_during_a_rebuild_takes_the_room_of_no_other() -> None:
    leader = rebuilding()
    submit(leader, *["again"] * HELD_MESSAGES, "other")
    go_on(leader)
    assert accepted(leader) == ["again", "other"]


def test_a_function_that_a_node_learns_during_a_rebuild_is_known_of_it_though_it_had_refused_it_before() -> None:
    row = replace(live_row(MANY, claim=True, by="i2"), claimed_by="n2")
    leader = Leader((*waiting(*range(1, MANY)), row), thread=0)
    leader.tell(Beat("n2", "i2", "ipc:///n2", candidate=True, at=NOW), sender="coordinator@n2")
    refused = Outcome(90 + MANY, MANY, 1, "unknown_target", NOW, NOW + 1)
    leader.tell(AttemptsEnded("n2", (refused,)), sender="executor@n2")
    leader.tell(Offer("n2", "i2", {"thread": MANY}, Capacity(4, 4, 4, 4), knows=1), sender="executor@n2")
    go_on(leader)
    assert [order.run_id for order in leader.assigned()] == [MANY]
