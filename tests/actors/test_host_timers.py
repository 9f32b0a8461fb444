"""Timers of actors on threads of their own."""

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from callsheet.actors.actor import Turn
from callsheet.actors.host import SystemTime
from callsheet.actors.messages import Noted, TimerFired
from callsheet.actors.stage import Limits
from support.hosting import STARTED, WAIT_S, Player, Stagehand, fail
from support.waiting import eventually


@pytest.fixture
def stagehand() -> Iterator[Stagehand]:
    with Stagehand() as made:
        yield made


def test_a_timer_fires_not_before_its_instant_and_in_order(stagehand: Stagehand) -> None:
    fired: SimpleQueue[tuple[str, int]] = SimpleQueue()
    due: dict[str, int] = {}

    def arm(turn: Turn) -> None:
        for key, after_us in (("c", 30_000), ("a", 5_000), ("b", 15_000)):
            due[key] = turn.elapsed + after_us
            turn.set_timer(key, due[key], steady=True)
        turn.set_timer("utc", turn.now + 50_000)

    def note(key: str) -> Callable[[Turn], None]:
        return lambda turn: fired.put((key, turn.elapsed))

    clock = Player({"arm": arm, **{key: note(key) for key in ("a", "b", "c", "utc")}})
    host = stagehand.start(clock=clock)
    host.tell("clock", Noted("arm"))

    order = [fired.get(timeout=WAIT_S) for _ in range(4)]
    assert [key for key, _ in order] == ["a", "b", "c", "utc"]
    assert all(at >= due[key] for key, at in order if key in due)


def test_a_timer_is_replaced_and_cancelled_by_its_key(stagehand: Stagehand) -> None:
    def arm(turn: Turn) -> None:
        turn.set_timer("replaced", turn.elapsed + 5_000, steady=True)
        turn.set_timer("cancelled", turn.elapsed + 5_000, steady=True)
        turn.set_timer("end", turn.elapsed + 20_000, steady=True)
        turn.set_timer("replaced", turn.elapsed + 3_600_000_000, steady=True)
        turn.cancel_timer("cancelled")

    clock = Player({"arm": arm})
    host = stagehand.start(clock=clock)
    host.tell("clock", Noted("arm"))

    assert [clock.next() for _ in range(3)] == [STARTED, Noted("arm"), TimerFired("end")]


class SetTime:
    """The wall clock is set by the test, the steady one is real."""

    def __init__(self) -> None:
        self.utc = 1_000_000

    def now(self) -> int:
        return self.utc

    def elapsed(self) -> int:
        return SystemTime().elapsed()


def test_a_wall_clock_that_is_set_forward_fires_utc_timers_soon_and_steady_ones_not(stagehand: Stagehand) -> None:
    time = SetTime()

    def arm(turn: Turn) -> None:
        turn.set_timer("utc", turn.now + 3_600_000_000)
        turn.set_timer("steady", turn.elapsed + 3_600_000_000, steady=True)

    clock = Player({"arm": arm})
    host = stagehand.start(clock=clock, time_source=time, limits=Limits(poll_us=1_000))
    host.tell("clock", Noted("arm"))
    assert [clock.next(), clock.next()] == [STARTED, Noted("arm")]

    time.utc += 7_200_000_000

    assert clock.next() == TimerFired("utc")
    host.tell("clock", Noted("end"))
    assert clock.next() == Noted("end")


def test_a_wall_clock_that_is_set_back_holds_up_utc_timers_only(stagehand: Stagehand) -> None:
    time = SetTime()

    def arm(turn: Turn) -> None:
        turn.set_timer("utc", turn.now + 1)
        turn.set_timer("steady", turn.elapsed + 1_000, steady=True)
        time.utc -= 3_600_000_000

    clock = Player({"arm": arm})
    host = stagehand.start(clock=clock, time_source=time, limits=Limits(poll_us=1_000))
    host.tell("clock", Noted("arm"))
    assert [clock.next() for _ in range(3)] == [STARTED, Noted("arm"), TimerFired("steady")]

    time.utc += 3_600_000_001

    assert clock.next() == TimerFired("utc")


def test_a_timer_of_a_failed_actor_does_not_reach_its_successor(stagehand: Stagehand) -> None:
    clock = Player(
        {
            "arm": lambda turn: turn.set_timer("old", turn.elapsed + 20_000, steady=True),
            "bad": fail,
            "new": lambda turn: turn.set_timer("end", turn.elapsed + 40_000, steady=True),
        }
    )
    host = stagehand.start(clock=clock)
    host.tell("clock", Noted("arm"))
    host.tell("clock", Noted("bad"))
    host.tell("clock", Noted("new"))

    assert [clock.next() for _ in range(5)] == [STARTED, Noted("arm"), STARTED, Noted("new"), TimerFired("end")]


def test_a_timer_comes_through_a_full_mailbox(stagehand: Stagehand) -> None:
    entered, go_on = threading.Event(), threading.Event()
    armed_at = 0

    def arm(turn: Turn) -> None:
        nonlocal armed_at
        armed_at = turn.elapsed
        turn.set_timer("a", armed_at + 20_000, steady=True)

    def hold(turn: Turn) -> None:
        entered.set()
        assert go_on.wait(WAIT_S)

    clock = Player({"arm": arm, "hold": hold})
    host = stagehand.start(clock=clock, limits=Limits(mailbox=1))
    assert clock.next() == STARTED
    eventually(lambda: host.tell("clock", Noted("arm")))
    assert clock.next() == Noted("arm")
    eventually(lambda: host.tell("clock", Noted("hold")))
    assert entered.wait(WAIT_S)
    assert host.tell("clock", Noted("fills it"))
    assert not host.tell("clock", Noted("too much"))
    eventually(lambda: SystemTime().elapsed() > armed_at + 30_000)
    go_on.set()

    assert {type(clock.next()) for _ in range(3)} == {Noted, TimerFired}


def test_a_timer_that_is_due_stands_behind_the_mail_that_has_come(stagehand: Stagehand) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def arm(turn: Turn) -> None:
        turn.set_timer("due", turn.elapsed, steady=True)

    def wait(turn: Turn) -> None:
        entered.set()
        assert go_on.wait(WAIT_S)

    clock = Player({"arm": arm, "wait": wait})
    host = stagehand.start(clock=clock, limits=Limits(settle_after=1))
    host.tell("clock", Noted("arm"), Noted("wait"))  # the timer is due while this envelope is opened
    assert entered.wait(WAIT_S)
    host.tell("clock", Noted("before"))
    go_on.set()

    expected = [STARTED, Noted("arm"), Noted("wait"), Noted("before"), TimerFired("due")]
    assert [clock.next() for _ in expected] == expected


def test_a_busy_mailbox_does_not_keep_timers_from_firing(stagehand: Stagehand) -> None:
    fired = threading.Event()

    def again(turn: Turn) -> None:
        if not fired.is_set():
            turn.send("clock", Noted("again"))  # there is always mail

    clock = Player(
        {
            "arm": lambda turn: turn.set_timer("due", turn.elapsed + 1_000, steady=True),
            "again": again,
            "due": lambda turn: fired.set(),
        }
    )
    host = stagehand.start(clock=clock)
    host.tell("clock", Noted("arm"), Noted("again"))

    assert fired.wait(WAIT_S)
