"""What an actor is, and what a turn is.

An actor is a plain object with `receive(message, turn)`. It never reads a clock, draws a random number, opens a file or a
socket, starts a thread or waits. What it wants done it appends to the turn; whoever hosts it performs the turn's effects
when the handler has returned without an error. So the same object runs in a unit test (a function call), in the
simulator, and on a thread of its own.

    host: turn = Turn(now, elapsed, sender, epoch)
          actor.receive(message, turn)          # once for each message of the envelope
          actor.settle(turn)                    # when the mailbox is empty, or after SETTLE_AFTER messages
          perform(turn.effects)

`settle` is where an actor turns what it gathered from several messages into one batch: one transaction, one message that
carries many. An actor that raises has done nothing: its effects are thrown away, and it is made anew from the store.

Two clocks, never compared: `now` is UTC and may jump; `elapsed` only grows, and is what leases and time-outs are measured by.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar

import msgspec

from ..errors import CallsheetError

MICROSECOND: Final = 1
MILLISECOND: Final = 1_000
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

SETTLE_AFTER: Final = 64
"""Messages that a host hands to an actor before it lets it settle although more are waiting."""

# An address is an actor's name, for the actor of this node, or "name@node" for another's.
Address = str

CLOCK: Final = "clock"
REGISTRY: Final = "registry"
DEPENDENCIES: Final = "dependencies"
COORDINATOR: Final = "coordinator"
EXECUTOR: Final = "executor"
PERSISTENCE: Final = "persistence"
METRICS: Final = "metrics"

ACTOR_NAMES: Final = (CLOCK, REGISTRY, DEPENDENCIES, COORDINATOR, EXECUTOR, PERSISTENCE, METRICS)
REIGNING: Final = (CLOCK, REGISTRY, DEPENDENCIES)
"""The actors that hold a leader's state beside the coordinator; they are made anew with each reign."""


def next_multiple(elapsed: int, period: int) -> int:
    """Return the next multiple of a period after `elapsed`, so that timers of several periods come due, and wake, together."""
    return elapsed - elapsed % period + period


def on_node(actor: str, node: str) -> Address:
    """The address of `actor` on `node`."""
    return f"{actor}@{node}"


class Send(msgspec.Struct, frozen=True, gc=False):
    """Carry `message` to `to`. It may be lost, late, doubled or overtaken; it never blocks."""

    to: Address
    message: Any


class SetTimer(msgspec.Struct, frozen=True, gc=False):
    """Deliver `TimerFired(key)` at `at` (µs). A timer replaces the one of the same key.

    `steady` timers count on `Turn.elapsed`, the others on UTC, where a clock that is set forward fires them at once.
    """

    key: str
    at: int
    steady: bool = False


class CancelTimer(msgspec.Struct, frozen=True, gc=False):
    """Forget the timer of this key; none is no error."""

    key: str


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Report an event to whoever logs, counts or watches."""

    event: Any


Effect = Send | SetTimer | CancelTimer | Emit


class Turn:
    """One turn of an actor: when it is, who asked, and the effects it wants."""

    __slots__ = ("effects", "elapsed", "epoch", "now", "sender")

    def __init__(self, now: int, elapsed: int = 0, sender: Address = "", epoch: int = 0) -> None:
        self.now = now
        self.elapsed = elapsed
        self.sender = sender
        self.epoch = epoch
        self.effects: list[Effect] = []

    def send(self, to: Address, message: msgspec.Struct) -> None:
        """Send `message` to the actor or client at `to`."""
        self.effects.append(Send(to, message))

    def reply(self, message: msgspec.Struct) -> None:
        """Send `message` to whoever sent the message in hand."""
        self.effects.append(Send(self.sender, message))

    def set_timer(self, key: str, at: int, *, steady: bool = False) -> None:
        """Be told `TimerFired(key)` at `at` (µs), once; replaces the timer of the same key."""
        self.effects.append(SetTimer(key, at, steady))

    def cancel_timer(self, key: str) -> None:
        """Forget the timer of this key."""
        self.effects.append(CancelTimer(key))

    def emit(self, event: msgspec.Struct) -> None:
        """Report an event."""
        self.effects.append(Emit(event))


class Actor(Protocol):
    """Anything that takes messages by turns."""

    def receive(self, message: Any, turn: Turn) -> None:
        """Handle one message; append what follows to the turn."""

    def settle(self, turn: Turn) -> None:
        """Send what was gathered; the mailbox is empty, or enough has been taken."""


class Bug(CallsheetError, AssertionError):
    """Something that cannot be: the actor is thrown away and made anew."""


ActorType = TypeVar("ActorType", bound=Actor)


def deliver(
    actor: Actor, *messages: Any, now: int = 0, elapsed: int | None = None, sender: Address = ""
) -> list[Effect]:
    """Hand messages to an actor in one turn, let it settle, and answer the effects: how an actor is tested by calling it."""
    turn = Turn(now, now if elapsed is None else elapsed, sender)
    for message in messages:
        actor.receive(message, turn)
    actor.settle(turn)
    return turn.effects


def sent(effects: Iterable[Effect], kind: type | tuple[type, ...]) -> list[Any]:
    """The messages of one kind among the effects, in order."""
    return [effect.message for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]
