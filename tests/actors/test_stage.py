"""Turns, effects and supervision, without a thread."""

from collections.abc import Callable
from typing import Any

from callsheet.actors.actor import Address, Bug, Turn
from callsheet.actors.messages import Beat, Envelope, Happened, Noted, Started, TimerFired
from callsheet.actors.stage import Limits, Stage

Handler = Callable[[Any, Turn], None]


class Clocks:
    def __init__(self) -> None:
        self.utc = 1_000
        self.steady = 10

    def now(self) -> int:
        return self.utc

    def elapsed(self) -> int:
        return self.steady


class Backstage:
    """Keeps what a stage asks for."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.clocks = self.time = Clocks()
        self.limits = limits or Limits()
        self.started = Started("n1", "i1")
        self.sent: list[Envelope] = []
        self.events: list[Any] = []
        self.drops: list[str] = []
        self.made_anew: list[Address] = []
        self.given_up: list[str] = []

    def attempt(self, call: Callable[..., object], *arguments: Any) -> BaseException | None:
        try:
            call(*arguments)
        except Bug as error:
            return error
        return None

    def send(self, envelope: Envelope) -> None:
        self.sent.append(envelope)

    def report(self, address: Address, event: Any) -> None:
        self.events.append(event)

    def count_drop(self, reason: str) -> None:
        self.drops.append(reason)

    def restarted(self, name: Address) -> None:
        self.made_anew.append(name)

    def gave_up(self, name: Address, reason: str) -> None:
        self.given_up.append(reason)


class Player:
    """An actor that keeps what it gets, and does for the message of a key what the test says."""

    def __init__(self, scenes: dict[str, Handler] | None = None, on_settle: Handler | None = None) -> None:
        self.scenes = scenes or {}
        self.on_settle = on_settle
        self.seen: list[Any] = []
        self.settled: list[int] = []
        self.closed = 0

    def receive(self, message: Any, turn: Turn) -> None:
        self.seen.append(message)
        key = getattr(message, "key", "started")
        if key in self.scenes:
            self.scenes[key](message, turn)

    def settle(self, turn: Turn) -> None:
        self.settled.append(len(self.seen))
        if self.on_settle is not None:
            self.on_settle(None, turn)

    def close(self) -> None:
        self.closed += 1


class Play:
    """A stage named clock with its backstage and all players that stood on it."""

    def __init__(self, scenes: dict[str, Handler] | None = None, **options: Any) -> None:
        self.backstage = Backstage(options.pop("limits", None))
        self.players: list[Player] = []
        self.scenes = scenes
        self.options = options
        self.stage = Stage(self.backstage, "clock", self.make(), self.make)

    def make(self) -> Player:
        self.players.append(Player(self.scenes, **self.options))
        return self.players[-1]

    @property
    def player(self) -> Player:
        return self.players[-1]

    def tell(self, *keys: str, sender: Address = "registry", epoch: int = 0, rest: bool = True) -> None:
        self.stage.open(Envelope(sender, "clock", epoch, tuple(Noted(key) for key in keys)))
        if rest:
            self.stage.rest(lambda: True)


def fail(message: Any, turn: Turn) -> None:
    turn.send("registry", Noted("never sent"))
    turn.set_timer("never set", at=0)
    turn.emit(Noted("never reported"))
    raise Bug("as told")


def say(to: Address, *keys: str) -> Handler:
    def scene(message: Any, turn: Turn) -> None:
        for key in keys:
            turn.send(to, Noted(key))

    return scene


def test_effects_are_performed_when_the_mailbox_is_empty_and_not_before() -> None:
    play = Play({"a": say("registry", "x"), "b": say("registry", "y")})

    play.tell("a", rest=False)
    play.stage.rest(lambda: False)
    assert play.backstage.sent == []

    play.tell("b")
    assert play.backstage.sent == [Envelope("clock", "registry", 0, (Noted("x"), Noted("y")))]
    assert play.player.settled == [2]


def test_what_goes_to_one_recipient_is_one_envelope_in_order() -> None:
    def both(message: Any, turn: Turn) -> None:
        turn.send("registry", Noted("1"))
        turn.send("coordinator@n2", Noted("2"))
        turn.send("registry@n1", Noted("3"))
        turn.reply(Noted("4"))

    play = Play({"a": both})
    play.tell("a", sender="client-1@n2")

    assert play.backstage.sent == [
        Envelope("clock", "registry", 0, (Noted("1"), Noted("3"))),
        Envelope("clock@n1", "coordinator@n2", 0, (Noted("2"),)),
        Envelope("clock@n1", "client-1@n2", 0, (Noted("4"),)),
    ]


def test_a_long_envelope_is_settled_in_parts() -> None:
    play = Play(limits=Limits(settle_after=64))

    play.tell(*map(str, range(150)))

    assert play.player.settled == [64, 128, 150]


def test_an_actor_that_is_long_about_its_mail_settles_in_between_though_more_is_waiting() -> None:
    def be_long(message: Any, turn: Turn) -> None:
        play.backstage.clocks.steady += 30

    play = Play({"slow": be_long}, limits=Limits(settle_after=64, settle_after_us=50))
    for _ in range(5):
        play.tell("slow", rest=False)
    assert play.player.settled == [2, 4]
    play.tell("slow")
    assert play.player.settled == [2, 4, 6]


def test_a_turn_shows_the_clocks_and_the_sender_of_the_message_in_hand() -> None:
    seen: list[tuple[int, int, Address, int]] = []
    play = Play({"a": lambda message, turn: seen.append((turn.now, turn.elapsed, turn.sender, turn.epoch))})

    play.tell("a", sender="registry", epoch=2, rest=False)
    play.backstage.clocks.utc, play.backstage.clocks.steady = 500, 11
    play.tell("a", sender="coordinator")

    assert seen == [(1_000, 10, "registry", 2), (500, 11, "coordinator", 0)]


def test_the_effects_of_a_message_that_failed_are_thrown_away_and_those_before_it_performed() -> None:
    play = Play({"good": say("registry", "kept"), "bad": fail})

    play.tell("good", "bad", "after")

    assert play.backstage.sent == [Envelope("clock", "registry", 0, (Noted("kept"),))]
    assert len(play.stage.timers) == 0
    assert [type(event) for event in play.backstage.events] == [Happened]


def test_an_actor_that_failed_is_made_anew_and_told_started_before_what_waits() -> None:
    play = Play({"bad": fail})

    play.tell("before", "bad", "after")

    assert len(play.players) == 2
    assert play.players[0].closed == 1
    assert play.players[1].seen == [Started("n1", "i1"), Noted("after")]
    assert play.backstage.made_anew == ["clock"]


def test_a_failure_is_reported_with_what_it_happened_in_and_its_traceback() -> None:
    play = Play({"bad": fail})

    play.tell("bad")

    [happened] = play.backstage.events
    assert happened.level == "error"
    assert (happened.event.kind, happened.event.at) == ("actor_failed", 1_000)
    assert happened.event.text.startswith("clock failed in Noted:")
    assert 'raise Bug("as told")' in happened.event.text


def test_settling_may_fail_too() -> None:
    shots = [fail]

    def once(message: Any, turn: Turn) -> None:
        if shots:
            shots.pop()(message, turn)

    play = Play({"a": say("registry", "kept"), "started": say("registry", "hello")}, on_settle=once)
    play.tell("a")

    assert [each.messages for each in play.backstage.sent] == [(Noted("kept"),), (Noted("hello"),)]
    assert len(play.players) == 2


def test_what_an_actor_gathered_but_did_not_settle_is_gone_with_it() -> None:
    play = Play({"bad": fail}, on_settle=lambda message, turn: turn.send("registry", Noted("settled")))

    play.tell("gathered", "bad")

    assert play.players[0].settled == []
    assert play.players[1].settled == [1]


def test_an_actor_that_fails_too_often_is_given_up() -> None:
    play = Play({"bad": fail}, limits=Limits(restarts=3, restart_period_us=1_000_000))

    for _ in range(4):
        assert play.backstage.given_up == []
        play.tell("bad")

    assert len(play.players) == 4
    [reason] = play.backstage.given_up
    assert reason.startswith("clock failed 4 times within 1 s, at last in Noted with Bug(")
    play.tell("more")
    assert play.backstage.drops == ["given_up"]


def test_failures_that_lie_far_apart_are_forgiven() -> None:
    play = Play({"bad": fail}, limits=Limits(restarts=3, restart_period_us=1_000_000))

    for _ in range(20):
        play.tell("bad")
        play.backstage.clocks.steady += 400_000

    assert len(play.players) == 21
    assert play.backstage.given_up == []


def test_an_actor_that_cannot_begin_is_given_up() -> None:
    play = Play({"bad": fail, "started": fail}, limits=Limits(restarts=3))

    play.tell("bad")

    assert len(play.players) == 4
    assert [each.closed for each in play.players] == [1, 1, 1, 1]
    assert len(play.backstage.given_up) == 1


def test_timers_of_an_actor_that_failed_are_forgotten() -> None:
    play = Play({"set": lambda message, turn: turn.set_timer("late", at=2_000), "bad": fail})
    play.tell("set")
    play.backstage.clocks.utc = 2_000

    play.tell("bad")
    play.stage.ring()

    assert play.player.seen == [Started("n1", "i1")]


def test_of_timers_that_are_due_together_none_reaches_the_successor_of_who_failed() -> None:
    def set_two(message: Any, turn: Turn) -> None:
        for key in ("bad", "other"):
            turn.set_timer(key, at=900)

    play = Play({"set": set_two, "bad": fail})
    play.tell("set")

    play.stage.ring()

    assert play.players[0].seen == [Noted("set"), TimerFired("bad")]
    assert play.player.seen == [Started("n1", "i1")]


def test_a_timer_that_came_due_is_told_once() -> None:
    play = Play({"set": lambda message, turn: turn.set_timer("late", at=900)})
    play.tell("set")

    play.stage.ring()
    play.stage.ring()

    assert play.player.seen == [Noted("set"), TimerFired("late")]


def test_a_timer_that_is_replaced_or_cancelled_after_it_came_due_is_not_told() -> None:
    def set_four(message: Any, turn: Turn) -> None:
        for key in ("a", "b", "c", "d"):
            turn.set_timer(key, at=900)

    play = Play(
        {
            "set": set_four,
            "replace": lambda message, turn: turn.set_timer("a", at=5_000),
            "cancel": lambda message, turn: turn.cancel_timer("b"),
            "c": lambda message, turn: turn.cancel_timer("d"),
        }
    )
    play.tell("set")

    play.tell("replace")  # performed
    play.tell("cancel", rest=False)  # not performed yet
    play.stage.ring()  # c cancels d while both are due

    assert [each.key for each in play.player.seen if isinstance(each, TimerFired)] == ["c"]


def test_a_timer_that_is_cancelled_while_another_is_told_is_not_told() -> None:
    def set_two(message: Any, turn: Turn) -> None:
        for key in ("first", "second"):
            turn.set_timer(key, at=900)

    scenes = {"set": set_two, "first": lambda message, turn: turn.cancel_timer("second")}
    play = Play(scenes, limits=Limits(settle_after=1))  # what the first asks for is performed before the second's turn
    play.tell("set")

    play.stage.ring()

    assert play.player.seen == [Noted("set"), TimerFired("first")]


def test_what_was_said_before_a_newer_epoch_was_heard_leaves_in_the_older_one() -> None:
    play = Play({"old": say("registry", "said in the old one"), "new": say("registry", "said in the new one")})
    play.tell("old", sender="coordinator@n2", epoch=5, rest=False)

    play.tell("new", sender="coordinator@n2", epoch=6)

    assert [(it.epoch, it.messages) for it in play.backstage.sent] == [
        (5, (Noted("said in the old one"),)),
        (6, (Noted("said in the new one"),)),
    ]


def test_a_lower_epoch_of_another_node_is_dropped_and_counted() -> None:
    play = Play()
    play.tell("new", sender="coordinator@n2", epoch=5)

    play.tell("old", sender="coordinator@n3", epoch=4)
    play.tell("same", sender="coordinator@n2", epoch=5)
    play.tell("unknowing", sender="executor@n4", epoch=0)
    play.tell("own", sender="coordinator", epoch=4)

    assert [each.key for each in play.player.seen] == ["new", "same", "unknowing", "own"]
    assert play.backstage.drops == ["stale_epoch"]


def test_a_node_that_missed_a_change_of_the_leader_is_heard_when_it_says_that_it_lives() -> None:
    play = Play()
    play.tell("new", sender="coordinator@n2", epoch=5)
    beat = Beat("w1", "w1-1", "", candidate=False, at=0)

    play.stage.open(Envelope("coordinator@w1", "clock", 4, (Noted("old"), beat)))

    assert [type(each) for each in play.player.seen] == [Noted, Beat]
    assert play.backstage.drops == ["stale_epoch"]


def test_an_actor_speaks_in_the_highest_epoch_it_has_heard_or_set() -> None:
    def lead(message: Any, turn: Turn) -> None:
        turn.epoch = 7
        turn.send("executor@n2", Noted("assign"))

    play = Play({"a": say("executor@n2", "x"), "lead": lead})

    play.tell("a", sender="coordinator@n2", epoch=5)
    play.tell("lead")
    play.tell("a", sender="coordinator", epoch=6)

    assert [each.epoch for each in play.backstage.sent] == [5, 7, 7]


def test_the_epoch_of_a_client_counts_for_nothing() -> None:
    play = Play({"a": say("executor@n2", "x")})

    play.tell("a", sender="client-1@n2", epoch=1_000)
    play.tell("a", sender="coordinator@n2", epoch=5)

    assert [each.epoch for each in play.backstage.sent] == [0, 5]
    assert play.backstage.drops == []


def test_what_is_left_is_performed_at_the_end_and_the_port_closed() -> None:
    play = Play({"a": say("registry", "x")})
    play.tell("a", rest=False)

    play.stage.end()

    assert play.backstage.sent == [Envelope("clock", "registry", 0, (Noted("x"),))]
    assert play.player.closed == 1


def test_an_actor_that_fails_at_the_end_is_not_made_anew() -> None:
    play = Play(on_settle=fail)
    play.tell("a", rest=False)

    play.stage.end()

    assert len(play.players) == 1
    assert [event.event.kind for event in play.backstage.events] == ["actor_failed"]
