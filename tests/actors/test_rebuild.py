"""A new leader that finds very many runs: it rebuilds its memory without being taken for dead meanwhile."""

from __future__ import annotations

from msgspec.structs import replace

from callsheet.actors.coordinator.rebuild import SQUARED_A_TURN
from callsheet.actors.executor.runner import Outcome
from callsheet.actors.messages import AttemptsEnded, Read, RenewLease, StockTaken, TimerFired
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
