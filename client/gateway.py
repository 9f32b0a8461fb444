"""The gateway: a client's own address on the transport, and the requests that wait for an answer there.

    begin ──▶ pending ── sent to who leads ──▶ answer: the future is completed, on the thread that brought it
                │  ▲                    └────▶ not_leader: Follow, and wait
                └──┘ sent again: after ASK_AGAIN_S, and at once when somebody else leads

A request has a key and is sent again under it until the answer comes or its time is up, so a message that is lost, an actor
that was made anew, or a leader that died costs a moment and no request. While nobody leads, requests wait; who leads is asked
now and then (`leadership.py`), and more often then.

A new leader knows of no one who waits for the end of a run. So the runs that handles wait for are watched again, those first
that somebody is waiting for just now, a batch at a time with a pause between. Who has waited in vain for a while has it asked
whether his run has ended; those who do are asked for together.

Answers arrive on the sending actor's thread (or the transport's); what is done there is short. All that needs time is done by
the gateway's own thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from itertools import count
from typing import Any, Final, Protocol

from msgspec.structs import replace

from ..actors.actor import METRICS, REGISTRY, Address, on_node
from ..actors.messages import (
    Accepted,
    AddJobs,
    ChangeJob,
    Envelope,
    Follow,
    LeaderIs,
    NodeStopped,
    RequestRejected,
    RunsEnded,
    Submit,
    SubmitItem,
    Watch,
)
from ..actors.records import Cause
from ..errors import DataError, NotRunning
from ..transport.contract import Unreadable
from .batch import Batches
from .ends import Ended, Ends
from .leadership import HERE, Leader, Leadership
from .request_error import refusal, too_late, unreadable

ASK_AGAIN_S: Final = 1.0
"""How long an answer may take before the request is sent again."""

REQUEST_S: Final = 30.0
"""How long a request may take in all."""

LOOK_S: Final = 0.5
"""How often the gateway's thread looks for requests that are overdue."""

WATCH_PAUSE_S: Final = 0.005
"""The pause between two batches of runs that are watched again: about 50,000 runs a second, a small part of what a leader can."""

LOOK_PAUSE_S: Final = 0.05
"""The pause between two batches of runs that are asked about because no news of them came: 5,000 runs a second."""

CLOSE_S: Final = 1.0


class Carrier(Protocol):
    """What a gateway needs of a transport."""

    def attach(self, address: Address, receive: Callable[[Envelope], bool]) -> None: ...
    def detach(self, address: Address) -> None: ...
    def send(self, envelope: Envelope) -> None: ...


class Pending:
    """A request that waits for its answer: `future`. Of a submission, `handles` get the numbers of the runs.

    `is_answered`: whoever leads has done or refused it; the future may also end because nobody waits any more.
    """

    __slots__ = ("future", "handles", "is_answered", "message", "sent_at", "sent_to", "to")

    def __init__(self, message: Any, to: Address, handles: Sequence[Ended]) -> None:
        self.message = message
        self.to = to
        self.handles = handles
        self.future: Future[Any] = Future()
        self.is_answered = False
        self.sent_to: Leader | None = None
        self.sent_at = 0.0


class Gateway:
    """Sends requests to whoever leads, and hands out what comes back.

    Args:
        transport: carries the envelopes; the gateway attaches itself and does not close it.
        incarnation: makes its address and its keys unlike those of any other client.
        node: the name of the node that the transport belongs to; empty: whoever is reached locally leads, always.
        reached: empty on a node, whose coordinator knows who leads. For a client without one, the addresses it was given, for
            a person to read; whom it may ask it is told by `found`.
        on_leader: called with the leader as often as it is heard, before anything is sent there; on the thread that
            brings the news.
        seek: called before it is asked who leads while nobody is known to; on the gateway's thread.
        timeout_s: how long a request may take unless it says so itself.
    """

    def __init__(
        self,
        transport: Carrier,
        incarnation: str,
        *,
        node: str = "",
        reached: str = "",
        on_leader: Callable[[Leader], None] | None = None,
        seek: Callable[[], None] | None = None,
        timeout_s: float = REQUEST_S,
    ) -> None:
        self.address: Address = f"client-{incarnation}"
        # who is no node is known by his own name wherever he connects
        self._far_address = self.address if reached else on_node(self.address, node)
        self._transport = transport
        self._node = node
        self._reached = reached
        self._on_leader = on_leader
        self._seek = seek
        self.timeout_s = timeout_s
        self._leadership = Leadership("" if reached else node)
        if not node:
            self._leadership.leader = HERE
        self._numbers = count(1)
        self._prefix = incarnation
        self._pending: dict[str, Pending] = {}
        self._expected: dict[str, Future[Any]] = {}
        self._ends = Ends()
        self._closed = ""
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._led = threading.Condition(self._lock)
        self._watched_by: tuple[int, str] | None = None
        self._is_watch_missing = False
        self._watch_key = ""
        self._look_at = 0.0
        transport.attach(self.address, self._receive)
        self._thread = threading.Thread(target=self._attend, name="gateway", daemon=True)
        self._thread.start()

    def close(self, reason: str) -> None:
        """Answer nothing more; whoever waits is told why. Twice is harmless."""
        self._closed = self._closed or reason
        self._transport.detach(self.address)
        self._bell.set()
        with self._led:
            self._led.notify_all()
        futures = (*self._expected.copy().values(), *(pending.future for pending in self._pending.copy().values()))
        for future in futures:
            _fail(future, NotRunning(self._closed))
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)

    # ---- who leads ------------------------------------------------------------------------------------------------------

    @property
    def leader(self) -> Leader | None:
        """Who is asked, None while nobody is known to lead."""
        return self._leadership.leader

    def found(self, node: str) -> None:
        """There is a line to a node, which can be asked who leads."""
        with self._lock:
            self._leadership.meet(node)
        self._bell.set()

    def lost(self, node: str) -> None:
        """The line to a node is cut; if it led, somebody else may by now."""
        with self._lock:
            self._leadership.lose(node)
        self._bell.set()

    def wait_for_leader(self, timeout_s: float) -> bool:
        """Wait until somebody is known to lead; say whether somebody is.

        Raises:
            NotRunning: the gateway was closed meanwhile.
        """
        with self._led:
            is_known = self._led.wait_for(lambda: self._closed or self._leadership.leader is not None, timeout_s)
        if self._closed:
            raise NotRunning(self._closed)
        return bool(is_known)

    # ---- requests -------------------------------------------------------------------------------------------------------

    def key(self) -> str:
        """A key that no request of any client has had."""
        return f"{self._prefix}/{next(self._numbers)}"

    def request(self, message: Any, *, to: Address = REGISTRY, timeout_s: float | None = None) -> Any:
        """Send a request until its answer comes, and return that.

        Raises:
            Refused: it was refused; the class says what was wrong.
            TimeoutError: no answer within `timeout_s`.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        pending = self.begin(message, to=to)
        try:
            return pending.future.result(timeout_s)
        except TimeoutError:
            raise self.too_late(message, timeout_s) from None
        finally:
            self.forget(pending)

    def begin(self, message: Any, *, to: Address = REGISTRY, handles: Sequence[Ended] = ()) -> Pending:
        """Send a request until its answer comes; whoever has begun it also calls `forget`.

        `to` is an actor of the leader, but that metrics are those of the own node, where there is one.

        Raises:
            NotRunning: the gateway was closed.
            DataError: it can never travel.
        """
        if self._closed:
            raise NotRunning(self._closed)
        pending = Pending(message, to, handles)
        self._pending[message.key] = pending
        if self._closed:  # meanwhile, and maybe nobody has told this one
            self.forget(pending)
            raise NotRunning(self._closed)
        leader = self._leadership.leader
        if leader is not None:
            try:
                self._send_pending(pending, leader)
            except (DataError, NotRunning):  # it can never travel; this is the child of who has opened the transport
                self.forget(pending)
                raise
        return pending

    def forget(self, pending: Pending) -> None:
        """Wait no more for the answer to a request."""
        self._pending.pop(pending.message.key, None)

    def too_late(self, message: Any, timeout_s: float) -> TimeoutError:
        """The error that a request's missing answer is."""
        return too_late(message, timeout_s, self._leadership.leader, self._reached)

    def nobody_leads(self, timeout_s: float, why: str = "") -> TimeoutError:
        """The error that it is when nobody was found to lead; `why` is what is known of lines that do not stand."""
        return too_late(Follow(""), timeout_s, None, self._reached, why)

    def expect(self, key: str) -> Future[Any]:
        """A future of a message that comes without having been requested; `stopped` names the end of a shutdown."""
        future: Future[Any] = Future()
        self._expected[key] = future
        return future

    def _send_pending(self, pending: Pending, leader: Leader, again_before: float = 0.0) -> None:
        """Send a request to the leader, unless it has been since `again_before`."""
        message = pending.message
        with self._lock:
            if pending.sent_to is leader and pending.sent_at >= again_before:
                return
            if isinstance(message, Submit | AddJobs | ChangeJob):
                epoch = leader.epoch if pending.sent_to is None else 0
                if message.epoch != epoch:
                    message = pending.message = replace(message, epoch=epoch)
            pending.sent_to, pending.sent_at = leader, time.monotonic()
        self._send(message, pending.to, leader)

    def _send(self, message: Any, to: Address, leader: Leader) -> None:
        is_near = leader.node == self._node or (to == METRICS and not self._reached)
        if is_near:
            self._transport.send(Envelope(self.address, to, 0, (message,)))
        else:
            self._transport.send(Envelope(self._far_address, on_node(to, leader.node), 0, (message,)))

    # ---- submitting -----------------------------------------------------------------------------------------------------

    def submit(
        self,
        tenant: str,
        items: Sequence[SubmitItem],
        handles: Sequence[Ended],
        cause: Cause,
        timeout_s: float | None = None,
    ) -> None:
        """Submit runs, in batches with a window; return when all are stored. The handles get their numbers.

        The error that ends it bears `submitted`: the handle of each run that is stored, None for the others, in order.

        Raises:
            Refused: a batch was refused: nothing of that batch was stored. Those on their way then may have been; none is after.
            TimeoutError: no answer; what was accepted until then stays accepted.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        batches = Batches(self, tenant, items, handles, cause)
        try:
            deadline = time.monotonic() + timeout_s
            for pending in batches:
                self._finish(pending, deadline, timeout_s)
                deadline = time.monotonic() + timeout_s
        except Exception as error:
            wait(batches.futures, 0.0 if isinstance(error, TimeoutError) else timeout_s)
            batches.tell(error, handles)
            raise
        finally:
            batches.forget()

    def _finish(self, pending: Pending, deadline: float, timeout_s: float) -> None:
        try:
            pending.future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise self.too_late(pending.message, timeout_s) from None

    # ---- ends -----------------------------------------------------------------------------------------------------------

    def follow(self, handle: Ended) -> None:
        """Tell a handle when its run ends."""
        self._ends.follow(handle)

    def watch_again(self, handle: Ended) -> None:
        """Ask soon to be told of the end of a handle's run, and of those of others in case they were missed too.

        Raises:
            NotRunning: the gateway was closed. Forbidden: it may not be asked any more.
        """
        if self._closed:
            raise NotRunning(self._closed)
        if self._ends.doubt(handle):
            self._bell.set()

    def watch(self, tenant: str, run_ids: Iterable[int]) -> None:
        """Ask to be told of the ends of runs; those that have ended already are told at once.

        While nobody leads nothing is asked: whoever leads next is asked about all that handles wait for.

        Raises:
            NotRunning: the gateway was closed.
        """
        if self._closed:
            raise NotRunning(self._closed)
        self._watch_now(tenant, tuple(run_ids))

    def _watch_now(self, tenant: str, run_ids: tuple[int, ...]) -> None:
        leader = self._leadership.leader
        if leader is None:
            self._is_watch_missing = True
        else:
            self._watch_key = key = self.key()
            self._send(Watch(key, tenant, run_ids), REGISTRY, leader)

    # ---- the gateway's thread -------------------------------------------------------------------------------------------

    def _attend(self) -> None:
        while not self._closed:
            self._bell.wait(self._rest_s())
            self._bell.clear()
            if not self._closed:
                self._follow_leader()
                self._send_overdue()
                self._watch_again()

    def _rest_s(self) -> float:
        if self._ends.must_watch and self._leadership.leader is not None:
            return WATCH_PAUSE_S
        if self._ends.must_look and self._leadership.leader is not None:
            return max(0.0, self._look_at - time.monotonic())
        return min(LOOK_S, self._leadership.wait_s(time.monotonic())) if self._node else LOOK_S

    def _follow_leader(self) -> None:
        """Ask who leads, when it is time."""
        now = time.monotonic()
        with self._lock:
            if not self._node or self._leadership.wait_s(now) > 0.0:
                return
            self._leadership.on_asked(now)
            is_known = self._leadership.leader is not None
            sources = self._leadership.sources()
        if not is_known and self._seek is not None:
            self._seek()
        for source in sources:
            sender = self._far_address if "@" in source else self.address
            self._transport.send(Envelope(sender, source, 0, (Follow(f"{self._prefix}/follow"),)))

    def _send_overdue(self) -> None:
        """Send again what waits too long, or was sent to somebody who leads no more."""
        leader = self._leadership.leader
        if leader is None:
            return
        overdue_s = time.monotonic() - ASK_AGAIN_S
        for pending in self._pending.copy().values():
            if pending.sent_to is leader and pending.sent_at >= overdue_s:
                continue
            if pending.sent_to is leader:
                with self._lock:
                    self._leadership.ask_within(ASK_AGAIN_S)
            try:
                self._send_pending(pending, leader, overdue_s)
            except DataError as error:
                _fail(pending.future, error)

    def _watch_again(self) -> None:
        """Ask a new leader for the ends that handles wait for, and any for those that are doubted, a batch at a time."""
        leader = self._leadership.leader
        if leader is None:
            return
        if self._watched_by != leader[:2] or self._is_watch_missing:
            self._watched_by, self._is_watch_missing = leader[:2], False
            self._ends.forget_watches()
        now = time.monotonic()
        if self._ends.must_watch:
            tenant, run_ids = self._ends.next_watch()
        elif self._ends.must_look and now >= self._look_at:
            self._look_at = now + LOOK_PAUSE_S
            tenant, run_ids = self._ends.next_look()
        else:
            return
        if run_ids:
            self._watch_now(tenant, run_ids)

    # ---- what comes -----------------------------------------------------------------------------------------------------

    def _receive(self, envelope: Envelope) -> bool:
        for message in envelope.messages:
            match message:
                case RunsEnded():
                    self._ends.take(message)
                case Accepted():
                    self._on_accepted(message)
                case RequestRejected():
                    self._on_rejected(message, envelope.sender)
                case Unreadable() if pending := self._pending.get(message.key):
                    _fail(pending.future, unreadable(pending.message, message.text, envelope.sender))
                case LeaderIs():
                    self._on_leader_is(message, envelope.sender)
                case NodeStopped():
                    _complete(self._expected.get("stopped"), message)
                case _:
                    pending = self._pending.get(getattr(message, "key", ""))
                    _complete(None if pending is None else pending.future, message)
        return True

    def _on_accepted(self, message: Accepted) -> None:
        pending = self._pending.get(message.key)
        if pending is None or pending.future.done() or not isinstance(pending.message, Submit):
            return
        if len(pending.handles) != len(message.run_ids):  # no answer to this; whoever waits is told by the time-out
            return
        self._ends.follow_new(pending.handles, message.run_ids)
        request: Submit = pending.message
        pending.is_answered = True
        _complete(pending.future, message)
        if not request.epoch or any(item.token is not None for item in request.items):
            self._watch_now(request.tenant, message.run_ids)

    def _on_rejected(self, message: RequestRejected, sender: Address) -> None:
        """A refusal is an error, but that the one who was asked does not lead is no affair of a person's."""
        leader = self._leadership.leader
        leads_here = leader is not None and leader.node == self._node
        if message.code == "not_leader" or (message.code == "stopping" and not leads_here):
            if self._node:
                with self._lock:
                    self._leadership.doubt(sender)
                    self._is_watch_missing |= message.key not in self._pending
                self._bell.set()
            return
        pending = self._pending.get(message.key)
        if pending is not None:
            pending.is_answered = True
            _fail(pending.future, refusal(message))
        elif message.code == "forbidden" and message.key == self._watch_key:
            self._ends.forbid(message.text)

    def _on_leader_is(self, message: LeaderIs, sender: Address) -> None:
        if not self._node:
            return
        if message.node and self._on_leader is not None:
            self._on_leader(Leader(message.epoch, message.node, message.address))
        with self._led:
            if not self._leadership.hear(message, sender):
                return
            self._led.notify_all()
        self._bell.set()


def _complete(future: Future[Any] | None, answer: Any) -> None:
    if future is not None and not future.done():
        with suppress(InvalidStateError):  # whoever waited has given up just now
            future.set_result(answer)


def _fail(future: Future[Any], error: Exception) -> None:
    if not future.done():
        with suppress(InvalidStateError):
            future.set_exception(error)
