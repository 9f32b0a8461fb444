from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from callsheet.actors.actor import Send, deliver, sent
from callsheet.actors.executor.executor import AHEAD_US, Executor
from callsheet.actors.executor.runner import Learned, Outcome
from callsheet.actors.messages import (
    Assign,
    AttemptsBegun,
    AttemptsEnded,
    AttemptsLost,
    ClearMarks,
    HoldStarts,
    MarksRead,
    NodeStopped,
    Offer,
    Recorded,
    RunnerReported,
    Started,
    StockTaken,
    Stop,
    StopAttempts,
    TakeStock,
    TimerFired,
    Withdraw,
    Withdrawn,
)
from support.actors import NOW, SECOND
from support.executing import FakeRunner, order, outcome, working


def test_an_order_that_comes_twice_is_started_once() -> None:
    executor, runner = working(1, 2)
    deliver(executor, Assign(1, (order(2), order(3))), now=NOW)
    assert runner.started == [1, 2, 3]


def test_an_order_of_an_older_epoch_is_dropped() -> None:
    executor, runner = working()
    deliver(executor, Assign(5, (order(1),)), Assign(4, (order(2),)), now=NOW)
    assert runner.started == [1]


def test_outcomes_are_sent_again_until_they_are_recorded() -> None:
    executor, runner = working(1)
    assert sent(deliver(executor, RunnerReported((outcome(1),)), now=NOW), AttemptsEnded)
    again = deliver(executor, TimerFired("resend"), now=NOW + 3 * SECOND)
    assert [it.outcomes for it in sent(again, AttemptsEnded)] == [(outcome(1),)]
    deliver(executor, Recorded((1,)), now=NOW)
    assert sent(deliver(executor, TimerFired("resend"), now=NOW + 6 * SECOND), AttemptsEnded) == []
    assert ("forget", 1) in runner.calls


def test_an_ended_attempt_whose_order_comes_again_is_not_started_again() -> None:
    executor, runner = working(1)
    deliver(executor, RunnerReported((outcome(1),)), Assign(1, (order(1),)), now=NOW)
    assert runner.started == [1]


def test_short_work_is_taken_ahead_and_long_work_is_not() -> None:
    short, _ = working(1)
    (offer,) = sent(deliver(short, RunnerReported((outcome(1, took=100),)), now=NOW), Offer)
    assert offer.room["thread"] == 4 + 4 * AHEAD_US // 100
    long, _ = working(1)
    assert sent(deliver(long, RunnerReported((outcome(1, took=SECOND),)), now=NOW), Offer) == []


def test_an_attempt_that_runs_long_is_said_to_have_begun_once() -> None:
    executor, runner = working(1, 2)
    runner.begun_fences = {1}
    deliver(executor, TimerFired("long"), now=NOW)
    first = deliver(executor, TimerFired("long"), now=NOW + SECOND)
    assert [it.begun for it in sent(first, AttemptsBegun)] == [((10, 1),)]
    assert sent(deliver(executor, TimerFired("long"), now=NOW + 2 * SECOND), AttemptsBegun) == []


def test_a_stop_reaches_the_runner_for_what_is_held_only() -> None:
    executor, runner = working(1)
    deliver(executor, StopAttempts(1, (1, 9), "timed_out", 7), now=NOW)
    assert runner.calls == [("stop", 1, "timed_out", 7)]


def test_what_was_withdrawn_in_vain_has_begun() -> None:
    executor, runner = working(1, 2)
    deliver(executor, Withdraw(1, "w", (1, 2, 9)), now=NOW)
    assert ("withdraw", 1, 2) in runner.calls
    given_back = Outcome(2, 20, 1, "not_started", 0, NOW)
    deliver(executor, RunnerReported((given_back,)), now=NOW)
    assert sent(deliver(executor, TimerFired("withdraw/w"), now=NOW), Withdrawn) == [
        Withdrawn("w", ((10, 1),), unknown=(9,), incarnation="i", over=(2,))
    ]


def test_what_is_meant_for_another_life_of_the_node_is_dropped() -> None:
    executor, runner = working(1)
    effects = deliver(
        executor,
        Assign(1, (order(2),), "earlier"),
        StopAttempts(1, (1,), "cancelled", 7, "earlier"),
        Withdraw(1, "w", (1, 9), "earlier"),
        now=NOW,
    )
    assert (runner.started, runner.calls, effects) == ([1], [], [])


def test_what_had_begun_under_a_failed_executor_is_lost_and_never_begins_again() -> None:
    runner = FakeRunner()
    runner.begun_fences = {1}
    executor = Executor(runner)
    deliver(executor, Started("n", "i"), now=NOW)

    effects = deliver(executor, Assign(1, (order(1), order(2)), "i"), now=NOW, sender="coordinator@n2")
    assert runner.started == [2]
    assert sent(effects, AttemptsLost) == [AttemptsLost("i", (1,))]
    stock = deliver(executor, TakeStock(1), now=NOW, sender="coordinator@n2")
    assert [type(it) for it in sent(stock, (AttemptsLost, StockTaken))] == [AttemptsLost, StockTaken]

    deliver(executor, Recorded((1,)), now=NOW, sender="coordinator@n2")
    assert not sent(deliver(executor, TakeStock(1), now=NOW, sender="coordinator@n2"), AttemptsLost)


def test_an_outcome_that_a_failed_executor_had_not_read_yet_is_told_and_not_lost() -> None:
    runner = FakeRunner()
    runner.begun_fences = {1, 2}
    executor = Executor(runner)
    deliver(executor, Started("n", "i"), now=NOW)

    effects = deliver(executor, RunnerReported((outcome(1),)), now=NOW)
    assert [it.fence for told in sent(effects, AttemptsEnded) for it in told.outcomes] == [1]
    stock = deliver(executor, TakeStock(1), now=NOW, sender="coordinator@n2")
    assert sent(stock, AttemptsLost) == [AttemptsLost("i", (2,))]


def test_two_withdrawals_under_one_key_are_answered_together() -> None:
    executor, _ = working(1, 2)
    deliver(executor, Withdraw(1, "w", (1, 8)), Withdraw(1, "w", (2, 9)), now=NOW)
    (withdrawn,) = sent(deliver(executor, TimerFired("withdraw/w"), now=NOW), Withdrawn)
    assert (withdrawn.begun, withdrawn.unknown) == (((10, 1), (20, 2)), (8, 9))


def test_a_new_leader_learns_what_is_held_and_what_the_dead_have_marked() -> None:
    executor, runner = working(1, 2)
    deliver(executor, RunnerReported((outcome(2),)), now=NOW)
    runner.begun_fences = {7}
    effects = deliver(executor, TakeStock(2, ("dead",)), now=NOW)
    assert sent(effects, StockTaken) == [StockTaken(2, "n", "i", (1, 2), (MarksRead("dead", True, (7,), dead=True),))]
    assert [it.outcomes for it in sent(effects, AttemptsEnded)] == [(outcome(2),)], "what ended is said again"


def test_a_new_leader_is_told_of_whom_marks_are_left_if_it_asks_and_they_go_when_it_says_so() -> None:
    executor, runner = working()
    (stock,) = sent(deliver(executor, TakeStock(2, left=True), now=NOW), StockTaken)
    assert stock.left == ("dead", "buried")
    deliver(executor, ClearMarks(("buried",)), now=NOW)
    assert runner.calls[-1] == ("sweep", "buried")


def to(effects: Sequence[Any], kind: type) -> list[str]:
    """Where messages of a kind are sent."""
    return [effect.to for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def test_before_anybody_leads_the_own_coordinator_is_told() -> None:
    executor = Executor(FakeRunner())
    assert to(deliver(executor, Started("n", "i"), now=NOW), Offer) == ["coordinator"]


def test_an_executor_answers_whoever_spoke_in_the_newest_reign() -> None:
    executor, _ = working()
    deliver(executor, Assign(2, (order(1), order(2))), now=NOW, sender="coordinator@a")
    assert to(deliver(executor, RunnerReported((outcome(1),)), now=NOW), AttemptsEnded) == ["coordinator@a"]
    stale = deliver(executor, TakeStock(1), now=NOW, sender="coordinator@b")
    assert to(stale, StockTaken) == []
    assert to(deliver(executor, RunnerReported((outcome(2),)), now=NOW), AttemptsEnded) == ["coordinator@a"]
    new = deliver(executor, TakeStock(3), now=NOW, sender="coordinator@b")
    assert to(new, StockTaken) == to(new, Offer) == to(new, AttemptsEnded) == ["coordinator@b"]
    assert [it.outcomes for it in sent(new, AttemptsEnded)] == [(outcome(1), outcome(2))]


def test_what_is_recorded_is_forgotten_whoever_says_so() -> None:
    executor, runner = working(1)
    deliver(executor, TakeStock(3), RunnerReported((outcome(1),)), now=NOW, sender="coordinator@b")
    deliver(executor, Recorded((1,)), now=NOW, sender="coordinator@a")
    assert ("forget", 1) in runner.calls
    assert to(deliver(executor, TimerFired("resend"), now=NOW + 3 * SECOND), AttemptsEnded) == []
    deliver(executor, Assign(3, (order(2),)), RunnerReported((outcome(2),)), now=NOW, sender="coordinator@b")
    assert to(deliver(executor, TimerFired("resend"), now=NOW + 6 * SECOND), AttemptsEnded) == ["coordinator@b"]


def test_taking_stock_revokes_what_the_leader_wants_back() -> None:
    executor, runner = working()
    runner.begun_fences = {7}
    effects = deliver(executor, TakeStock(2, ("silent", "dead"), revoke=9), now=NOW)
    assert [call for call in runner.calls if call[0] == "revoke"] == [("revoke", "silent", 9), ("revoke", "dead", 9)]
    (stock,) = sent(effects, StockTaken)
    assert [(mark.incarnation, mark.dead, mark.revoked) for mark in stock.marks] == [
        ("silent", False, 9),
        ("dead", True, 9),
    ]


def test_starts_are_held_and_go_on_as_the_own_coordinator_says() -> None:
    executor, runner = working()
    deliver(executor, HoldStarts(True), HoldStarts(False), now=NOW)
    assert runner.calls == [("hold", True), ("hold", False)]


def test_an_offer_says_labels_and_resources_in_order() -> None:
    executor = Executor(FakeRunner(), ["zeta", "alpha"], {"ram": 4, "gpu": 2})
    (offer,) = sent(deliver(executor, Started("n", "i"), now=NOW), Offer)
    assert offer.labels == ("alpha", "zeta")
    assert list(offer.resources.items()) == [("gpu", 2), ("ram", 4)]
    assert offer.knows == 3


def test_learned_functions_are_offered_after_what_was_not_known() -> None:
    executor, runner = working(1)
    runner.knows = 9
    unknown = Outcome(1, 10, 1, "unknown_target", NOW, NOW)  # nor does it say how long work takes
    effects = deliver(executor, RunnerReported((unknown,)), now=NOW)
    assert sent(effects, Offer) == [], "what the runner knows by now may be newer than this outcome"
    effects = deliver(executor, RunnerReported((Learned(4),)), now=NOW)
    assert [offer.knows for offer in sent(effects, Offer)] == [4]
    assert sent(deliver(executor, RunnerReported((Learned(4),)), now=NOW), Offer) == []


def told(effects: Sequence[Any]) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    """To whom it is said what has begun."""
    return [
        (it.to, it.message.begun) for it in effects if isinstance(it, Send) and isinstance(it.message, AttemptsBegun)
    ]


def test_a_new_leader_is_told_what_had_begun_before_it_led() -> None:
    executor, runner = working(1, 2)
    runner.begun_fences = {1}
    deliver(executor, TimerFired("long"), TimerFired("long"), now=NOW, sender="coordinator@a")
    deliver(executor, TakeStock(2), now=NOW, sender="coordinator@b")
    assert told(deliver(executor, TimerFired("long"), now=NOW)) == [("coordinator@b", ((10, 1),))]
    deliver(executor, TakeStock(2), now=NOW, sender="coordinator@b")
    assert told(deliver(executor, TimerFired("long"), now=NOW)) == []


def test_whoever_sends_an_order_again_has_not_heard_that_it_has_begun() -> None:
    executor, runner = working(1)
    runner.begun_fences = {1}
    deliver(executor, TimerFired("long"), TimerFired("long"), now=NOW)
    deliver(executor, Assign(1, (order(1),)), now=NOW)
    assert told(deliver(executor, TimerFired("long"), now=NOW)) == [("coordinator", ((10, 1),))]
    assert runner.started == [1]


def test_an_order_that_an_earlier_executor_had_taken_is_known_when_it_is_sent_again() -> None:
    runner = FakeRunner()
    runner.held = lambda: [1]  # type: ignore[method-assign]
    runner.begun_fences = {1}
    executor = Executor(runner)
    deliver(executor, Started("n", "i"), Assign(1, (order(1),)), now=NOW)
    effects = deliver(executor, TimerFired("long"), TimerFired("long"), now=NOW)
    assert told(effects) == [("coordinator", ((10, 1),))]
    assert runner.started == []


def test_an_executor_that_is_asked_to_stop_answers_when_nothing_is_left_to_be_recorded() -> None:
    executor, _ = working(1)
    assert not deliver(executor, Stop(0), now=NOW, sender="coordinator")
    deliver(executor, RunnerReported((outcome(1),)), now=NOW)
    assert not deliver(executor, Stop(0), now=NOW, sender="coordinator")
    deliver(executor, Recorded((1,)), now=NOW)
    assert Send("coordinator", NodeStopped("n", 0)) in deliver(executor, Stop(0), now=NOW, sender="coordinator")


def test_an_executor_that_has_said_that_nothing_is_left_begins_nothing_more() -> None:
    executor, runner = working()
    deliver(executor, Stop(0), now=NOW, sender="coordinator")
    assert runner.calls[-1] == ("hold", True)
    deliver(executor, HoldStarts(held=False), now=NOW, sender="coordinator")
    assert runner.calls[-1] == ("hold", True)
