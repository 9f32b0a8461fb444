"""The host: gives each actor of a node a thread and a mailbox, and performs what their turns ask for.

    transport ── receive(envelope) ─▶ mailbox ─▶ shell, on the actor's own thread ─▶ stage: turns, timers, effects, supervision
    tell ────────────────────────────▶───┘                       transport, events ◀─────┘

The shell is a Pykka actor, the only kind there is, and this is the only module that knows Pykka. Pykka drops an actor that
raises together with its mailbox, and nothing watches over it; so nothing that an actor raises leaves its stage (`stage.py`,
which says what is promised about turns, failures and epochs). A mailbox holds `Limits.mailbox` envelopes and takes no more;
the transport drops and counts the others. An actor that fails too often fails the host, and so does what the node stands on when
it is beyond repair (`fail`): `Host.failed` is set, and the program must end with an error.

Threads do not survive a fork: a host that was started before one belongs to the parent, and refuses to be used by the child.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from traceback import format_exception
from typing import Any, Final, NamedTuple, Protocol, cast

import pykka

from ..errors import DataError, NotRunning
from .actor import COORDINATOR, Address
from .inbox import Inbox
from .messages import Envelope, Happened, PeerRestarted, Started
from .records import Event
from .stage import Factory, Limits, Stage, TimeSource, can_wait

_LOGGER: Final = logging.getLogger(__name__)

Events = Callable[[Address, Any], None]
"""Takes an event and the address of the actor that reports it, on that actor's thread; it must be quick."""


class SystemTime:
    """The machine's clocks."""

    def now(self) -> int:
        """UTC in µs."""
        return time.time_ns() // 1000

    def elapsed(self) -> int:
        """µs since the machine started."""
        return time.monotonic_ns() // 1000


class Carrier(Protocol):
    """What a host needs of a transport (`callsheet.transport.contract`, which says what is promised)."""

    def attach(self, address: Address, receive: Callable[[Envelope], bool]) -> None:
        """Hand what is sent to `address` to `receive`, which answers False when the mailbox is full."""

    def detach(self, address: Address) -> None:
        """Hand nothing more to `address`."""

    def send(self, envelope: Envelope) -> None:
        """Carry the envelope, or drop and count it. Never waits."""


def _ignore(address: Address, event: Any) -> None:
    """Take an event, and do nothing."""


class Host:
    """Runs the actors of one node.

    Args:
        transport: carries the envelopes; the host attaches its actors and does not close it.
        factories: how to build each actor, by address, in the order in which they start. Called on the caller's thread of
            `start`, and on the actor's own thread after a failure.
        node: this node's name, `incarnation` this life of it, `address` where others reach it, empty if nowhere.
        events: takes what actors emit, and `Happened` for what happens to them (`actor_failed`, `actor_given_up`,
            `message_unsendable`, `receiver_failed`), or to what they stand on (the kind that `fail` was given).
    """

    def __init__(
        self,
        transport: Carrier,
        factories: Mapping[Address, Factory],
        *,
        node: str,
        incarnation: str,
        address: str = "",
        events: Events = _ignore,
        limits: Limits | None = None,
        time_source: TimeSource | None = None,
    ) -> None:
        self.failed: Future[str] = Future()
        self.node = node
        self.limits = limits or Limits()
        self.time = time_source or SystemTime()
        self.started = Started(node, incarnation, address)
        self.gate = threading.Event()
        self._transport = transport
        self._factories = dict(factories)
        self._drops: Counter[str] = Counter()
        self._events = events
        self._shells: dict[Address, _Shell] = {}
        self._lock = threading.Lock()
        self._pid = 0

    def start(self) -> None:
        """Build all actors, attach them, and tell each `Started`. What a factory raises here is the caller's."""
        assert not self._pid, "a host starts once; make a new one"
        stages = self._build()
        self._pid = os.getpid()
        for name, stage in stages.items():
            self._shells[name] = _Shell.make(self, name, stage)
        for name, shell in self._shells.items():
            shell.post(Envelope(name, name, 0, (self.started,)))
            self._transport.attach(name, shell.accept)
        self.gate.set()  # no actor speaks before all can hear

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Stop all actors when they have done what waits for them; answers whether all ended within `timeout_s`.

        Twice is harmless. An actor that hangs keeps its thread, which ends with the process.
        """
        if not self._pid:
            return True
        self._check_process()
        deadline = time.monotonic() + timeout_s
        for name in self._shells:
            self._transport.detach(name)
        for shell in self._shells.values():
            shell.actor_ref.stop(block=False)
        threads = [shell.thread for shell in self._shells.values()]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        for shell in self._shells.values():
            pykka.ActorRegistry.unregister(shell.actor_ref)
        return not any(thread.is_alive() for thread in threads if thread is not threading.current_thread())

    def tell(self, address: Address, *messages: Any, sender: Address = "", beyond_limit: bool = False) -> bool:
        """Send messages in one envelope, from any thread; answers False when the mailbox of an own actor is full.

        `beyond_limit` is for an actor's own port (the executor's runner, for one), whose reports must not be lost.

        Raises:
            NotRunning: the host was not started, or before a fork.
        """
        self._check_process()
        envelope = Envelope(sender, address.removesuffix(f"@{self.node}"), 0, messages)
        shell = self._shells.get(envelope.recipient)
        if shell is None:
            self.send(envelope)
            return True
        return shell.post(envelope) if beyond_limit else shell.accept(envelope)

    def dropped(self) -> dict[str, int]:
        """How many envelopes the host itself dropped, by reason (`stale_epoch`, `given_up`, `receiver_failed`); the transport counts its own."""
        with self._lock:
            return dict(sorted(self._drops.items()))

    def fail(self, address: Address, kind: str, reason: str) -> None:
        """Declare the host failed, from any thread: an actor, or what it stands on, cannot go on.

        It is reported as an event of this kind, in the name of `address`. Twice is harmless; the first reason counts.
        """
        self.report(address, Happened(Event(self.time.now(), kind, text=reason), "error"))
        with suppress(InvalidStateError):
            self.failed.set_result(reason)

    def crash(self, address: Address) -> None:
        """Make an actor fail as if its next message had raised: for tests of what then happens."""
        self._shells[address].post(_CRASH)

    # What stages ask of their host (`Backstage`).

    def attempt(self, call: Callable[..., object], *arguments: Any) -> BaseException | None:
        """Call what may raise anything, SystemExit too, and answer what it raised: the thread must live to deal with it."""
        try:
            call(*arguments)
        except BaseException as error:  # noqa: BLE001 - whatever an actor raises, it is made anew
            return error
        return None

    def send(self, envelope: Envelope) -> None:
        """Hand an envelope to the transport; one that can never travel, or whose receiver has a fault, is reported."""
        try:
            self._transport.send(envelope)
        except DataError as error:
            self._report_unsent(envelope, "message_unsendable", str(error))
        except Exception as error:  # whoever is attached there is called on this actor's thread, and may be anybody's
            _LOGGER.exception("the receiver of what %s sent to %s has failed", envelope.sender, envelope.recipient)
            self.count_drop("receiver_failed")
            self._report_unsent(envelope, "receiver_failed", f"{envelope.recipient}: {error!r}")

    def report(self, address: Address, event: Any) -> None:
        """Hand an event to whoever takes events. It failing is no reason to fail an actor."""
        error = self.attempt(self._events, address, event)
        if error is not None:
            _LOGGER.error("nobody could take the event of %s: %r", address, event, exc_info=error)

    def count_drop(self, reason: str) -> None:
        """Note an envelope that was dropped."""
        with self._lock:
            self._drops[reason] += 1

    def restarted(self, name: Address) -> None:
        """Tell the coordinator that an actor was made anew."""
        if name != COORDINATOR and COORDINATOR in self._shells:
            self._shells[COORDINATOR].post(Envelope(name, COORDINATOR, 0, (PeerRestarted(name),)))

    def gave_up(self, name: Address, reason: str) -> None:
        """Declare the host failed: an actor cannot be kept alive."""
        self._transport.detach(name)
        self.fail(name, "actor_given_up", reason)

    def _report_unsent(self, envelope: Envelope, kind: str, text: str) -> None:
        self.report(envelope.sender, Happened(Event(self.time.now(), kind, text=text), "error"))

    def _build(self) -> dict[Address, Stage]:
        stages: dict[Address, Stage] = {}
        try:
            for name, factory in self._factories.items():
                stages[name] = Stage(self, name, factory(), factory)
        except BaseException:
            for stage in stages.values():
                stage.end()  # lets go of its port
            raise
        return stages

    def _check_process(self) -> None:
        if not self._pid:
            raise NotRunning("the host was not started; call start() first")
        if self._pid != os.getpid():
            raise NotRunning(
                "the host was started before a fork, and its threads are the parent's; start one after the fork"
            )


class _Crash:
    """Makes the actor fail that finds it in its mailbox."""


class _Ring:
    """A timer of the actor is due."""


class _Told(NamedTuple):
    """What stands in a Pykka actor's mailbox when nobody waits for an answer."""

    message: object
    reply_to: None = None


_CRASH: Final = _Crash()
_RING: Final = _Ring()
_Item = Envelope | _Ring | _Crash


class _Shell(pykka.ThreadingActor):
    """A thread and a mailbox around one stage. All but `accept` and `post` runs on that thread."""

    use_daemon_thread = True

    @classmethod
    def make(cls, host: Host, name: Address, stage: Stage) -> _Shell:
        """Start a shell; it handles nothing before the host's gate is open."""
        made: list[_Shell] = []
        cls.start(host, name, stage, made)
        return made[0]

    def __init__(self, host: Host, name: Address, stage: Stage, made: list[_Shell]) -> None:
        super().__init__()
        self._mailbox = cast("Inbox", self.actor_inbox)
        self._mailbox.watch(stage.timers, host.time, host.limits.poll_us, _Told(_RING))
        self._waiting: deque[Envelope] = deque()
        made.append(self)
        self._host = host
        self._name = name
        self._stage = stage

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def _start_actor_loop(self) -> None:
        self.thread = threading.Thread(target=self._actor_loop, name=self._name, daemon=self.use_daemon_thread)
        self.thread.start()

    def accept(self, envelope: Envelope) -> bool:
        """Take an envelope unless the mailbox is full; several senders at once may each put one beyond the limit."""
        if self._mailbox.qsize() + len(self._waiting) >= self._host.limits.mailbox:
            return False
        if can_wait(envelope):
            self._waiting.append(envelope)
            return True
        return self.post(envelope)

    def post(self, item: _Item) -> bool:
        """Take what must not be refused; answers False when the shell has stopped."""
        try:
            self.actor_ref.tell(item)
        except pykka.ActorDeadError:
            return False
        return True

    def on_start(self) -> None:
        """Wait until all actors of the node can be reached."""
        self._host.gate.wait()

    def on_receive(self, item: _Item) -> None:
        """Hand on what stands in the mailbox, and settle when it is empty."""
        match item:
            case Envelope():
                self._stage.open(item)
            case _Ring():
                self._mailbox.heard()
                while self._waiting:
                    self._stage.open(self._waiting.popleft())
                self._stage.ring()
            case _:
                self._stage.crash()
        self._stage.rest(self._mailbox.empty)

    def on_stop(self) -> None:
        """Perform what is left, and let go of the actor."""
        self._stage.end()

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Fail the host: what arrives here is a bug of the shell or of the transport, not of the actor."""
        text = "".join(format_exception(exception_type, exception_value, traceback))
        self._host.gave_up(self._name, f"the shell of {self._name} failed:\n{text}")
