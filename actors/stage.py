"""The stage: gives one actor its turns, performs their effects, and builds the actor anew when it fails.

It is all of hosting that needs neither a thread nor a clock of its own. Whoever has a mailbox drives it: the host with a
thread for each actor, the simulator in virtual time. It is not safe for threads; one at a time may call it.

    open(envelope), ring() ─▶ actor.receive(message, turn) for each message, and each timer that is due
                              actor.settle(turn) after SETTLE_AFTER messages, or when they took long,
    rest()                 ─▶ or when the mailbox is empty
                              perform: one envelope per recipient, timers set, events reported

Promises
    all or nothing  the effects of a message whose handler raised are thrown away; those of the messages before it are performed
    made anew       an actor that raised is discarded and built by its factory at the same address. It is told `Started`
                    first, then what waits in the mailbox; its timers are gone, and the coordinator is told `PeerRestarted`
    not for ever    more than `Limits.restarts` within `Limits.restart_period_us`: given up
    in order        what an actor sends to one recipient leaves in order
    no late timer   a timer that was replaced or cancelled is not delivered, also if it had come due already

Epochs: an envelope carries the highest epoch that its actor had received in one, or set on its turn, when it said what is in
it. What another node sends in a lower epoch than that is dropped and counted, but for `HEARD_IN_ANY_EPOCH`: by that a node which
has missed a change of the leader gets to know of it. Epoch 0 means that the sender knows of none, and is never dropped. A
client's epoch counts for nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from traceback import format_exception
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from .actor import SETTLE_AFTER, Actor, Address, Bug, CancelTimer, Emit, Send, SetTimer, Turn, on_node
from .messages import CAN_WAIT, HEARD_IN_ANY_EPOCH, Envelope, Happened, Started, TimerFired
from .records import Event
from .timers import Timers

Factory = Callable[[], Actor]


class Limits(Struct, frozen=True):
    """How much a host bears.

    `mailbox` is in envelopes for each actor, `settle_after` in messages; an actor that has been at its mail for `settle_after_us`
    settles before it opens more, because somebody may wait for what it has to say, a heartbeat for instance. More than `restarts`
    of one actor within `restart_period_us` are too many. `poll_us` is how soon it is noticed that the wall clock was set forward or the machine was
    suspended.
    """

    mailbox: int = 10_000
    settle_after: int = SETTLE_AFTER
    settle_after_us: int = 50_000
    restarts: int = 5
    restart_period_us: int = 60_000_000
    poll_us: int = 500_000


class TimeSource(Protocol):
    """Where a host reads its two clocks."""

    def now(self) -> int:
        """UTC in µs; it may jump."""

    def elapsed(self) -> int:
        """Steady µs since some instant; it only grows."""


@runtime_checkable
class Closing(Protocol):
    """An actor with a port to the world: `close` is called when it is discarded, and when its host stops."""

    def close(self) -> None:
        """Let go of the port."""


class Backstage(Protocol):
    """What a stage needs of its host."""

    @property
    def time(self) -> TimeSource:
        """The clocks of the turns."""

    @property
    def limits(self) -> Limits:
        """How much is borne."""

    @property
    def started(self) -> Started:
        """What a new actor is told first; it names the node."""

    def attempt(self, call: Callable[..., object], *arguments: Any) -> BaseException | None:
        """Call code that may raise anything, and answer what it raised."""

    def send(self, envelope: Envelope) -> None:
        """Hand an envelope to the transport. Does not raise."""

    def report(self, address: Address, event: Any) -> None:
        """Hand on an event that the actor at `address` emitted. Does not raise."""

    def count_drop(self, reason: str) -> None:
        """Note an envelope that was dropped: `stale_epoch`, or `given_up` when its actor is."""

    def restarted(self, name: Address) -> None:
        """An actor was made anew: tell the coordinator."""

    def gave_up(self, name: Address, reason: str) -> None:
        """An actor cannot be kept alive: the host has failed."""


def can_wait(envelope: Envelope) -> bool:
    """Whether nobody needs to be woken for what is in an envelope."""
    return all(isinstance(message, CAN_WAIT) for message in envelope.messages)


class Stage:
    """Gives the actor `name` its turns; `actor` is the first one, `factory` makes those that follow.

    When one of `timers` is due, it wants to be told (`ring`).
    """

    def __init__(self, backstage: Backstage, name: Address, actor: Actor, factory: Factory) -> None:
        self._backstage = backstage
        self._name = name
        self._actor: Actor | None = actor
        self._factory = factory
        self._turn = Turn(0)
        self._taken = 0
        self._began = 0
        self._epoch = 0
        self.timers = Timers()
        self._restarts: deque[int] = deque(maxlen=backstage.limits.restarts)
        self._own_suffix = f"@{backstage.started.node}"
        self._ended = False

    def open(self, envelope: Envelope) -> None:
        """Hand the messages of an envelope to the actor, or drop it for its epoch."""
        self._read_clocks()
        if self._taken and self._turn.elapsed - self._began >= self._backstage.limits.settle_after_us:
            self._settle()
            self._read_clocks()
        sender, epoch = envelope.sender, envelope.epoch
        if sender.startswith("client-"):
            epoch = 0
        if self._actor is None:
            self._backstage.count_drop("given_up")
        else:
            messages = envelope.messages
            if 0 < epoch < self._epoch and "@" in sender:
                messages = tuple(it for it in messages if isinstance(it, HEARD_IN_ANY_EPOCH))
                if len(messages) < len(envelope.messages):
                    self._backstage.count_drop("stale_epoch")
            if epoch > self._epoch:
                if self._taken:
                    self._settle()  # what was said until now belongs to an earlier reign
                    self._read_clocks()
                self._epoch = epoch
            self._turn.sender, self._turn.epoch = sender, epoch
            for message in messages:
                self._hand(message)

    def ring(self) -> None:
        """Tell the actor `TimerFired` for each timer that is due and was not replaced or cancelled meanwhile."""
        self._read_clocks()
        for alarm in self.timers.pop_due(self._turn.now, self._turn.elapsed):
            if self.timers.take(alarm) and not self._is_spoken_of(alarm.key):
                self._turn.sender, self._turn.epoch = self._name, self._epoch
                self._hand(TimerFired(alarm.key))

    def crash(self) -> None:
        """Let the actor fail as if a message had raised: for tests of what then happens."""
        self._fail(Bug("told to fail by a test"), "a test", len(self._turn.effects))

    def rest(self, is_empty: Callable[[], bool]) -> None:
        """Let the actor settle, if it was handed something since it last did and the mailbox is still empty."""
        while self._taken and is_empty():
            self._settle()

    def end(self) -> None:
        """Perform what is left and let go of the actor, for good."""
        self._ended = True
        if self._taken:
            self._settle()
        self._discard()

    def _read_clocks(self) -> None:
        self._turn.now = self._backstage.time.now()
        self._turn.elapsed = self._backstage.time.elapsed()

    def _is_spoken_of(self, key: str) -> bool:
        """Whether an effect that was not performed yet sets or cancels this timer."""
        return any(isinstance(each, SetTimer | CancelTimer) and each.key == key for each in self._turn.effects)

    def _hand(self, message: Any) -> None:
        if self._actor is None:
            return
        if not self._taken:
            self._began = self._turn.elapsed
        mark = len(self._turn.effects)
        error = self._backstage.attempt(self._actor.receive, message, self._turn)
        if error is not None:
            self._fail(error, type(message).__name__, mark)
            return
        self._taken += 1
        if self._turn.epoch > self._epoch:
            self._epoch = self._turn.epoch
        if self._taken >= self._backstage.limits.settle_after:
            self._settle()

    def _settle(self) -> None:
        if self._actor is None:
            return
        self._taken = 0
        self._read_clocks()
        mark = len(self._turn.effects)
        error = self._backstage.attempt(self._actor.settle, self._turn)
        if error is not None:
            self._fail(error, "settle", mark)
            return
        self._epoch = max(self._epoch, self._turn.epoch)
        self._perform()

    def _perform(self) -> None:
        effects, self._turn.effects = self._turn.effects, []
        batches: dict[Address, list[Any]] = {}
        timers: list[SetTimer | CancelTimer] = []
        events: list[Any] = []
        for effect in effects:
            match effect:
                case Send(to, message):
                    batches.setdefault(to.removesuffix(self._own_suffix), []).append(message)
                case Emit(event):
                    events.append(event)
                case _:
                    timers.append(effect)
        # messages first: whoever is woken by a timer or an event would compete with who goes on with the work
        for to, messages in batches.items():
            # Who answers from another node needs the full name.
            sender = on_node(self._name, self._backstage.started.node) if "@" in to else self._name
            self._backstage.send(Envelope(sender, to, self._epoch, tuple(messages)))
        self.timers.change(timers)
        for event in events:
            self._backstage.report(self._name, event)

    def _fail(self, error: BaseException, doing: str, mark: int) -> None:
        """Perform what was done before the failure, discard the actor, and build it anew until it stands."""
        del self._turn.effects[mark:]
        self._perform()
        while self._may_rebuild(error, doing):
            again = self._backstage.attempt(self._rebuild)
            if again is None:
                self._taken = 1
                self._backstage.restarted(self._name)
                return
            error, doing = again, "Started"

    def _rebuild(self) -> None:
        self._actor = self._factory()
        self._turn.sender, self._turn.epoch = self._name, self._epoch
        self._actor.receive(self._backstage.started, self._turn)

    def _may_rebuild(self, error: BaseException, doing: str) -> bool:
        """Discard the actor and report why; say whether another one may be built."""
        self._discard()
        self._report("actor_failed", f"{self._name} failed in {doing}:\n{''.join(format_exception(error))}")
        if self._ended:
            return False
        limits, elapsed = self._backstage.limits, self._backstage.time.elapsed()
        while self._restarts and elapsed - self._restarts[0] >= limits.restart_period_us:
            self._restarts.popleft()
        if len(self._restarts) >= limits.restarts:
            times = f"{limits.restarts + 1} times within {limits.restart_period_us // 1_000_000} s"
            self._backstage.gave_up(self._name, f"{self._name} failed {times}, at last in {doing} with {error!r}")
            return False
        self._restarts.append(elapsed)
        return True

    def _discard(self) -> None:
        actor, self._actor = self._actor, None
        self._turn.effects, self._taken = [], 0
        self.timers.clear()
        if isinstance(actor, Closing):
            error = self._backstage.attempt(actor.close)
            if error is not None:
                self._report("actor_not_closed", "".join(format_exception(error)))

    def _report(self, kind: str, text: str) -> None:
        self._backstage.report(self._name, Happened(Event(self._backstage.time.now(), kind, text=text), "error"))
