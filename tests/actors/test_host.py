"""Actors on threads of their own."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pykka
import pytest

from callsheet.actors.actor import Turn
from callsheet.actors.messages import Envelope, Noted, PeerRestarted, StillHere, TimerFired
from callsheet.actors.stage import Limits
from callsheet.errors import NotRunning
from callsheet.transport.in_process import InProcess
from support.hosting import STARTED, WAIT_S, Player, Stagehand, fail
from support.waiting import eventually


@pytest.fixture
def stagehand() -> Iterator[Stagehand]:
    with Stagehand() as made:
        yield made


def say(to: str, key: str) -> Callable[[Turn], None]:
    return lambda turn: turn.send(to, Noted(key))


def test_each_actor_is_told_started_first_when_all_can_be_reached(stagehand: Stagehand) -> None:
    clock, registry = Player({"started": say("registry", "hello")}), Player({"started": say("clock", "hello")})
    stagehand.start(clock=clock, registry=registry)

    for player in (clock, registry):
        assert player.next() == STARTED
        assert player.next() == Noted("hello")


def test_an_actor_runs_on_one_thread_that_bears_its_name(stagehand: Stagehand) -> None:
    names: SimpleQueue[str] = SimpleQueue()
    clock = Player({"a": lambda turn: names.put(threading.current_thread().name)})
    host = stagehand.start(clock=clock)

    host.tell("clock", Noted("a"), Noted("a"))

    assert [names.get(timeout=WAIT_S) for _ in range(2)] == ["clock", "clock"]


def test_a_message_and_its_answer_go_from_actor_to_actor(stagehand: Stagehand) -> None:
    clock = Player({"ask": say("registry", "question")})
    registry = Player({"question": lambda turn: turn.reply(Noted("answer"))})
    host = stagehand.start(clock=clock, registry=registry)

    assert host.tell("clock@n1", Noted("ask"))

    assert [clock.next() for _ in range(3)] == [STARTED, Noted("ask"), Noted("answer")]


def test_the_answer_to_a_client_goes_to_the_client(stagehand: Stagehand) -> None:
    answers: SimpleQueue[Envelope] = SimpleQueue()
    transport = InProcess("n1")

    def take(envelope: Envelope) -> bool:
        answers.put(envelope)
        return True

    transport.attach("client-1", take)
    host = stagehand.start(registry=Player({"a": lambda turn: turn.reply(Noted("b"))}), transport=transport)

    host.tell("registry", Noted("a"), sender="client-1")

    assert answers.get(timeout=WAIT_S) == Envelope("registry", "client-1", 0, (Noted("b"),))


def test_a_burst_is_settled_in_few_turns(stagehand: Stagehand) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold(turn: Turn) -> None:
        entered.set()
        assert go_on.wait(WAIT_S)

    clock = Player({"hold": hold})
    host = stagehand.start(clock=clock)
    host.tell("clock", Noted("hold"))
    assert entered.wait(WAIT_S)
    before = clock.settled
    for number in range(1_000):
        assert host.tell("clock", Noted(str(number)))
    go_on.set()

    assert [clock.next() for _ in range(1_002)][2:] == [Noted(str(number)) for number in range(1_000)]
    assert eventually(lambda: clock.settled - before) <= 1_001 // 64 + 2


def test_a_full_mailbox_takes_no_more_and_the_drops_are_counted(stagehand: Stagehand) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold(turn: Turn) -> None:
        entered.set()
        assert go_on.wait(WAIT_S)

    clock, transport = Player({"hold": hold}), InProcess("n1")
    host = stagehand.start(clock=clock, limits=Limits(mailbox=10), transport=transport)
    host.tell("clock", Noted("hold"))
    assert entered.wait(WAIT_S)

    assert [host.tell("clock", Noted("x")) for _ in range(12)] == [True] * 10 + [False] * 2
    transport.send(Envelope("registry", "clock", 0, (Noted("y"),)))
    assert transport.dropped() == {"full": 1}
    assert host.tell("clock", Noted("port"), beyond_limit=True)

    go_on.set()
    assert [clock.next() for _ in range(13)] == [STARTED, Noted("hold"), *[Noted("x")] * 10, Noted("port")]
    eventually(lambda: host.tell("clock", Noted("z")))


def test_an_actor_that_raises_is_made_anew_and_the_coordinator_told(stagehand: Stagehand) -> None:
    players: list[Player] = []

    def make() -> Player:
        players.append(Player({"bad": fail}))
        return players[-1]

    coordinator, registry = Player(), Player()
    host = stagehand.start(clock=make, registry=registry, coordinator=coordinator)
    host.tell("clock", Noted("bad"), Noted("after"))

    assert coordinator.next() == STARTED
    assert coordinator.next() == PeerRestarted("clock")
    assert [players[1].next() for _ in range(2)] == [STARTED, Noted("after")]
    assert stagehand.happened() == ["actor_failed"]
    host.tell("registry", Noted("end"))
    assert [registry.next() for _ in range(2)] == [STARTED, Noted("end")]
    assert not host.failed.done()


def test_a_coordinator_that_fails_is_told_started_and_the_others_go_on(stagehand: Stagehand) -> None:
    players: list[Player] = []

    def make() -> Player:
        players.append(Player({"bad": fail}))
        return players[-1]

    clock = Player()
    host = stagehand.start(clock=clock, coordinator=make)
    host.tell("coordinator", Noted("bad"), Noted("after"))

    eventually(lambda: len(players) == 2)
    assert [players[1].next() for _ in range(2)] == [STARTED, Noted("after")]
    host.tell("clock", Noted("still here"))
    assert [clock.next(), clock.next()] == [STARTED, Noted("still here")]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_nothing_that_an_actor_raises_stops_the_others(stagehand: Stagehand, error: BaseException) -> None:
    def give_in(turn: Turn) -> None:
        raise error

    clock, coordinator = Player({"bad": give_in}), Player()
    host = stagehand.start(clock=clock, coordinator=coordinator)

    host.tell("clock", Noted("bad"))

    assert [coordinator.next(), coordinator.next()] == [STARTED, PeerRestarted("clock")]
    assert [clock.next(), clock.next()] == [STARTED, STARTED]


def test_a_host_whose_actor_fails_too_often_has_failed(stagehand: Stagehand) -> None:
    clock, transport = Player({"bad": fail}), InProcess("n1")
    host = stagehand.start(clock=clock, registry=Player(), limits=Limits(restarts=2), transport=transport)

    host.tell("clock", Noted("bad"), Noted("bad"), Noted("bad"))

    assert host.failed.result(WAIT_S).startswith("clock failed 3 times within 60 s")
    assert eventually(stagehand.happened) == ["actor_failed", "actor_failed", "actor_failed", "actor_given_up"]
    transport.send(Envelope("registry", "clock", 0, (Noted("x"),)))
    assert transport.dropped() == {"absent": 1}
    assert host.tell("registry", Noted("still here"))


def test_a_host_fails_with_what_it_stands_on(stagehand: Stagehand) -> None:
    host = stagehand.start(coordinator=Player())

    host.fail("coordinator", "lines_failed", "no lines")
    host.fail("coordinator", "lines_failed", "still no lines")

    assert host.failed.result(WAIT_S) == "no lines"
    assert stagehand.happened() == ["lines_failed", "lines_failed"]


def test_a_test_can_make_an_actor_fail(stagehand: Stagehand) -> None:
    clock = Player()
    host = stagehand.start(clock=clock)

    host.crash("clock")

    assert [clock.next(), clock.next()] == [STARTED, STARTED]


def test_whoever_takes_events_may_fail_without_harm(stagehand: Stagehand, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(address: str, event: Any) -> None:
        raise OSError("the disk of the log is full")

    clock = Player({"a": lambda turn: turn.emit(Noted("event"))})
    with caplog.at_level(logging.ERROR):
        host = stagehand.start(clock=clock, events=refuse)
        host.tell("clock", Noted("a"))
        host.tell("clock", Noted("b"))
        assert [clock.next() for _ in range(3)] == [STARTED, Noted("a"), Noted("b")]
        assert host.stop(WAIT_S)

    assert "the disk of the log is full" in caplog.text


def test_what_an_actor_emits_arrives_with_its_address(stagehand: Stagehand) -> None:
    host = stagehand.start(clock=Player({"a": lambda turn: turn.emit(Noted("event"))}))

    host.tell("clock", Noted("a"))

    assert stagehand.events.get(timeout=WAIT_S) == ("clock", Noted("event"))


def test_a_message_that_cannot_travel_is_reported_and_harms_nobody(stagehand: Stagehand) -> None:
    clock = Player({"a": lambda turn: turn.send("registry", Player())})  # type: ignore[arg-type]  # it is no message
    host = stagehand.start(clock=clock, registry=Player(), transport=InProcess("n1", through_codec=True))

    host.tell("clock", Noted("a"))
    host.tell("clock", Noted("b"))

    assert [clock.next() for _ in range(3)] == [STARTED, Noted("a"), Noted("b")]
    assert eventually(stagehand.happened) == ["message_unsendable"]


def test_a_receiver_that_raises_is_reported_and_harms_nobody(
    stagehand: Stagehand, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(envelope: Envelope) -> bool:
        raise ValueError(f"no room for {len(envelope.messages)}")

    transport = InProcess("n1")
    transport.attach("client-1", refuse)
    clock = Player({"a": lambda turn: turn.send("client-1", Noted("news"))})
    host = stagehand.start(clock=clock, transport=transport)

    with caplog.at_level(logging.ERROR):
        host.tell("clock", Noted("a"))
        host.tell("clock", Noted("b"))
        assert [clock.next() for _ in range(3)] == [STARTED, Noted("a"), Noted("b")]
        assert eventually(stagehand.happened) == ["receiver_failed"]

    assert not host.failed.done()
    assert host.dropped() == {"receiver_failed": 1}
    assert "no room for 1" in caplog.text


def test_stopping_does_what_waits_first_and_ends_all_threads(stagehand: Stagehand) -> None:
    clock, threads = Player(), threading.active_count()
    host = stagehand.start(clock=clock, registry=Player())
    for number in range(500):
        host.tell("clock", Noted(str(number)))

    assert host.stop(WAIT_S)
    assert host.stop(WAIT_S)

    assert clock.seen.qsize() == 501
    assert threading.active_count() == threads
    assert pykka.ActorRegistry.get_all() == []
    assert host.tell("clock", Noted("late")) is False


def test_stopping_returns_in_time_although_an_actor_hangs(stagehand: Stagehand) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hang(turn: Turn) -> None:
        entered.set()
        go_on.wait(WAIT_S)

    host = stagehand.start(clock=Player({"hang": hang}))
    host.tell("clock", Noted("hang"))
    assert entered.wait(WAIT_S)

    assert host.stop(0.01) is False
    assert pykka.ActorRegistry.get_all() == []
    go_on.set()
    assert host.stop(WAIT_S)


def test_an_actor_with_a_port_lets_go_of_it_at_the_end(stagehand: Stagehand) -> None:
    closed: list[str] = []

    class Porter(Player):
        def close(self) -> None:
            closed.append(threading.current_thread().name)

    host = stagehand.start(persistence=Porter())
    assert host.stop(WAIT_S)

    assert closed == ["persistence"]


def test_a_factory_that_raises_at_the_start_is_the_callers_affair(stagehand: Stagehand) -> None:
    closed: list[bool] = []

    class Porter(Player):
        def close(self) -> None:
            closed.append(True)

    def refuse() -> Player:
        raise ValueError("no such store")

    host = stagehand.host(persistence=Porter(), clock=refuse)
    with pytest.raises(ValueError, match="no such store"):
        host.start()

    assert closed == [True]
    assert pykka.ActorRegistry.get_all() == []


def test_a_host_that_was_not_started_refuses_messages(stagehand: Stagehand) -> None:
    host = stagehand.host(clock=Player())

    with pytest.raises(NotRunning, match="call start"):
        host.tell("clock", Noted("a"))
    assert host.stop()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_refused_the_parents_host(stagehand: Stagehand) -> None:
    host = stagehand.start(clock=Player())

    child = os.fork()
    if child == 0:
        signal.alarm(int(WAIT_S))
        code = 1
        try:
            host.tell("clock", Noted("a"))
        except NotRunning as error:
            code = 0 if "fork" in str(error) else 2
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_can_wait_wakes_nobody_and_is_read_before_the_next_timer_is_told(stagehand: Stagehand) -> None:
    def arm(turn: Turn) -> None:
        turn.set_timer("due", turn.elapsed + 50_000, steady=True)

    clock = Player({"arm": arm})
    host = stagehand.start(clock=clock)
    host.tell("clock", Noted("arm"))
    assert [clock.next(), clock.next()] == [STARTED, Noted("arm")]

    host.tell("clock", StillHere("i2", 1))
    host.tell("clock", Noted("overtakes"))

    assert [clock.next() for _ in range(3)] == [Noted("overtakes"), StillHere("i2", 1), TimerFired("due")]


def test_what_can_wait_is_counted_by_the_limit_of_its_mailbox(stagehand: Stagehand) -> None:
    host = stagehand.start(clock=Player(), limits=Limits(mailbox=3))
    assert [host.tell("clock", StillHere("i2", 1)) for _ in range(4)][-1] is False
