"""The gateway: a client's own address on the transport, and the requests that wait for an answer there.

A request has a key and is sent again under it until the answer comes or its time is up, so a message that is lost, or an
actor that was made anew, costs a moment and no request. Answers arrive on the sending actor's thread; what is done there is
short: a future is completed, a handle gets its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from itertools import count
from typing import Any, Final, Protocol

from msgspec.structs import replace

from ..actors.actor import REGISTRY, Address
from ..actors.messages import (
    Accepted,
    Envelope,
    NodeStopped,
    RequestRejected,
    RunsEnded,
    Submit,
    SubmitItem,
    Watch,
)
from ..actors.records import Cause, End
from ..errors import DependencyError, JobConflict, NotRunning, Refused, StoreBusy, StoreFull, UnknownJob, UnknownRun

ASK_AGAIN_S: Final = 1.0
"""How long an answer may take before the request is sent again."""

REQUEST_S: Final = 30.0
"""How long a request may take in all."""

WINDOW: Final = 16
"""Batches of one `submit_many` that are on their way at once."""

ITEMS_A_BATCH: Final = 256


class Ended(Protocol):
    """What wants to know of a run's end."""

    run_id: int

    def on_end(self, end: End) -> None:
        """Take the end; on an actor's thread."""


class Carrier(Protocol):
    """What a gateway needs of a transport."""

    def attach(self, address: Address, receive: Callable[[Envelope], bool]) -> None: ...
    def detach(self, address: Address) -> None: ...
    def send(self, envelope: Envelope) -> None: ...


class _Batch:
    """A part of a submission that is on its way."""

    __slots__ = ("future", "handles", "request", "sent_at")

    def __init__(self, request: Submit, handles: Sequence[Ended]) -> None:
        self.request = request
        self.handles = handles
        self.future: Future[Accepted] = Future()
        self.sent_at = 0.0


class Gateway:
    """Sends requests to the registry and hands out what comes back."""

    def __init__(self, transport: Carrier, incarnation: str) -> None:
        self.address: Address = f"client-{incarnation}"
        self._transport = transport
        self._numbers = count(1)
        self._prefix = incarnation
        self._futures: dict[str, Future[Any]] = {}
        self._batches: dict[str, _Batch] = {}
        self._waiting: dict[int, list[Ended]] = {}
        self._closed = ""
        self._lock = threading.Lock()
        transport.attach(self.address, self._receive)

    def close(self, reason: str) -> None:
        """Answer nothing more; whoever waits is told why."""
        self._closed = reason
        self._transport.detach(self.address)
        for future in (*self._futures.values(), *(batch.future for batch in self._batches.values())):
            if not future.done():
                future.set_exception(NotRunning(reason))

    # ---- requests -------------------------------------------------------------------------------------------------------

    def key(self) -> str:
        """A key that no request of any client has had."""
        return f"{self._prefix}/{next(self._numbers)}"

    def send(self, message: Any, to: Address = REGISTRY) -> None:
        """Send a message that needs no answer.

        Raises:
            NotRunning: the scheduler has stopped.
        """
        if self._closed:
            raise NotRunning(self._closed)
        self._transport.send(Envelope(self.address, to, 0, (message,)))

    def request(self, message: Any, *, to: Address = REGISTRY, timeout_s: float = REQUEST_S) -> Any:
        """Send a request until its answer comes, and return that.

        Raises:
            Refused: it was refused; the class says what was wrong.
            TimeoutError: no answer within `timeout_s`.
        """
        future: Future[Any] = Future()
        self._futures[message.key] = future
        try:
            answer = self._await(future, message, to, timeout_s)
        finally:
            self._futures.pop(message.key, None)
        if isinstance(answer, RequestRejected):
            raise refusal(answer)
        return answer

    def _await(self, future: Future[Any], message: Any, to: Address, timeout_s: float) -> Any:
        deadline = time.monotonic() + timeout_s
        while True:
            self.send(message, to)
            left = deadline - time.monotonic()
            try:
                return future.result(min(ASK_AGAIN_S, max(0.0, left)))
            except TimeoutError:
                if left <= ASK_AGAIN_S:
                    text = f"no answer to {type(message).__name__} within {timeout_s:g} s; is the scheduler overloaded?"
                    raise TimeoutError(text) from None

    def expect(self, key: str) -> Future[Any]:
        """A future of a message that comes without having been requested; `stopped` names the end of a shutdown."""
        future: Future[Any] = Future()
        self._futures[key] = future
        return future

    # ---- submitting -----------------------------------------------------------------------------------------------------

    def submit(
        self,
        tenant: str,
        items: Sequence[SubmitItem],
        handles: Sequence[Ended],
        cause: Cause,
        timeout_s: float = REQUEST_S,
    ) -> None:
        """Submit runs, in batches with a window; return when all are stored. The handles get their numbers.

        Raises:
            Refused: a batch was refused: nothing of that batch, and of those behind it, was submitted.
            TimeoutError: no answer; what was accepted until then stays accepted.
        """
        window: list[_Batch] = []
        deadline = time.monotonic() + timeout_s
        for start in range(0, len(items), ITEMS_A_BATCH):
            request = Submit(self.key(), tenant, tuple(items[start : start + ITEMS_A_BATCH]), cause)
            batch = _Batch(request, handles[start : start + ITEMS_A_BATCH])
            self._send_batch(batch)
            window.append(batch)
            if len(window) == WINDOW:
                self._finish(window.pop(0), deadline)
                deadline = time.monotonic() + timeout_s
        for batch in window:
            self._finish(batch, deadline)

    def _send_batch(self, batch: _Batch) -> None:
        self._batches[batch.request.key] = batch
        batch.sent_at = time.monotonic()
        self.send(batch.request)

    def _finish(self, batch: _Batch, deadline: float) -> None:
        try:
            while True:
                left = deadline - time.monotonic()
                try:
                    batch.future.result(min(ASK_AGAIN_S, max(0.0, left)))
                    return
                except TimeoutError:
                    if left <= ASK_AGAIN_S:
                        raise TimeoutError("no answer to a submission in time; is the scheduler overloaded?") from None
                    self.send(replace(batch.request, repeated=True))
        finally:
            self._batches.pop(batch.request.key, None)

    # ---- ends -----------------------------------------------------------------------------------------------------------

    def follow(self, handle: Ended) -> None:
        """Tell a handle when its run ends."""
        with self._lock:
            self._waiting.setdefault(handle.run_id, []).append(handle)

    def watch(self, tenant: str, run_ids: Iterable[int]) -> None:
        """Ask to be told of the ends of runs; those that have ended already are told at once."""
        self.send(Watch(self.key(), tenant, tuple(run_ids)))

    # ---- what comes -----------------------------------------------------------------------------------------------------

    def _receive(self, envelope: Envelope) -> bool:
        for message in envelope.messages:
            match message:
                case RunsEnded():
                    self._on_ended(message)
                case Accepted():
                    self._on_accepted(message)
                case RequestRejected():
                    self._on_rejected(message)
                case NodeStopped():
                    _complete(self._futures.get("stopped"), message)
                case _:
                    future = self._futures.get(getattr(message, "key", ""))
                    _complete(future, message)
        return True

    def _on_accepted(self, message: Accepted) -> None:
        batch = self._batches.get(message.key)
        if batch is None or batch.future.done():
            return
        waiting = self._waiting
        for handle, run_id in zip(batch.handles, message.run_ids, strict=True):
            handle.run_id = run_id
            known = waiting.get(run_id)
            if known is None:
                waiting[run_id] = [handle]
            else:
                known.append(handle)
        batch.future.set_result(message)
        if batch.request.repeated or any(item.token is not None for item in batch.request.items):
            self.watch(batch.request.tenant, message.run_ids)

    def _on_rejected(self, message: RequestRejected) -> None:
        batch = self._batches.get(message.key)
        if batch is not None:
            if not batch.future.done():
                batch.future.set_exception(refusal(message))
            return
        _complete(self._futures.get(message.key), message)

    def _on_ended(self, message: RunsEnded) -> None:
        waiting = self._waiting
        for end in message.ends:
            handles = waiting.pop(end.run_id, None)
            if handles is not None:
                for handle in handles:
                    handle.on_end(end)


def _complete(future: Future[Any] | None, answer: Any) -> None:
    if future is not None and not future.done():
        future.set_result(answer)


def refusal(rejected: RequestRejected) -> Exception:
    """The error that a refusal is to a person."""
    match rejected.code:
        case "unknown_job" | "job_removed":
            return UnknownJob(rejected.text, rejected.code)
        case "unknown_run":
            return UnknownRun(rejected.text, rejected.code)
        case "job_exists" | "token_conflict":
            return JobConflict(rejected.text, rejected.code)
        case "cycle" | "unknown_upstream":
            return DependencyError(rejected.text, rejected.code)
        case "store_full":
            return StoreFull(rejected.text)
        case "store_busy":
            return StoreBusy(rejected.text)
        case "stopping":
            return NotRunning(rejected.text)
        case _:
            return Refused(rejected.text, rejected.code)
