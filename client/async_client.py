"""The client for programs on an event loop: the same words as coroutines.

    async with AsyncClient("tcp://10.0.0.5:7411") as client:
        handle = await client.submit("ingest", "2026-03-01")
        print(await handle)

There is one vocabulary, and it is not said a second time here. What is done often and must not hold a thread (to submit, to wait
for the end of a run) waits on futures that the transport's thread completes, so ten thousand may be on their way at once. Each
other word is that of `Client`, called on one of MAX_THREADS threads; `_word` gives it the same parameters, so that a type
checker knows them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial, wraps
from os import PathLike, getpid
from threading import Event as Flag
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from ..actors.messages import SubmitItem
from ..actors.records import DEFAULT_TENANT, Cause, Event, RunState
from .batch import Batches
from .gateway import REQUEST_S, Gateway, Pending
from .handle import Handle, not_ended
from .leadership import Leader
from .news import LOOK_S, PAGES, News
from .option import Duration, duration_us
from .questions import Target
from .remote import Client
from .submission import Submission
from .view import RunView

MAX_THREADS: Final = 8
"""Words that are said at once, but submitting and waiting; further ones wait for their turn, as long as for an answer."""

Said = ParamSpec("Said")
Answered = TypeVar("Answered")


def _word(
    said: Callable[Concatenate[Client, Said], Answered],
) -> Callable[Concatenate[AsyncClient, Said], Coroutine[Any, Any, Answered]]:
    """A word of `Client` as a coroutine of `AsyncClient`."""

    @wraps(said)
    async def say(self: AsyncClient, /, *args: Said.args, **kwargs: Said.kwargs) -> Answered:
        return await self.call(partial(said, self.client, *args, **kwargs))

    return say


class AsyncHandle:
    """A run. `await handle` waits for its result; the run goes on whether or not somebody waits."""

    __slots__ = ("_client", "_handle")

    def __init__(self, client: AsyncClient, handle: Handle) -> None:
        self._client = client
        self._handle = handle

    def __repr__(self) -> str:
        return repr(self._handle).replace("<Handle", "<AsyncHandle", 1)

    @property
    def run_id(self) -> int:
        """The run's number."""
        return self._handle.run_id

    @property
    def job(self) -> str:
        """The name of its job."""
        return self._handle.job

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self._handle.tenant

    @property
    def done(self) -> bool:
        """Whether the run is known here to have ended."""
        return self._handle.done

    def __await__(self) -> Generator[Any, None, Any]:
        return self._handle.__await__()

    async def wait(self, timeout: float | None = None) -> RunState:  # noqa: ASYNC109 - the word that the vocabulary has
        """Wait until the run has ended, at most `timeout` seconds, and return its final state. See `Handle.wait`."""
        return await self._handle.wait_async(timeout)

    async def result(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - likewise
        """Wait until the run has ended, and return what its function returned. See `Handle.result`."""
        return await self._handle.result_async(timeout)

    async def status(self) -> RunView:
        """The run as it stands: state, reason, attempts, next look."""
        return await self._client.run_view(self.run_id)

    async def cancel(self) -> RunState:
        """Cancel the run. See `Handle.cancel`."""
        return await self._client.cancel(self)

    async def logs(self) -> str:
        """What the run's attempts printed and logged. See `Handle.logs`."""
        return await self._client.logs(self.run_id)


class AsyncSubmission:
    """What is said of runs before they are submitted; made by `AsyncClient.options`."""

    def __init__(self, client: AsyncClient, said: Submission) -> None:
        self._client = client
        self._said = said

    async def submit(self, job: Target, *args: Any, **kwargs: Any) -> AsyncHandle:
        """See `Client.submit`."""
        item = self._said.item(job, args, kwargs)
        return (await self._client.submit_items([item], "submit", self._said.timeout_s))[0]

    async def submit_many(self, calls: Iterable[Sequence[Any]]) -> list[AsyncHandle]:
        """See `Client.submit_many`."""
        return await self._client.submit_items(self._said.items(calls), "submit", self._said.timeout_s)


class AsyncClient:
    """A cluster, or a scheduler in another process, for an event loop. Use it by `async with`, or `open` and `close` it.

    The arguments are those of `Client`. All coroutines belong to one event loop.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str],
        *,
        key: str | PathLike[str] | None = None,
        tenant: str = DEFAULT_TENANT,
        timeout: float = REQUEST_S,
    ) -> None:
        self.client = Client(endpoints, key=key, tenant=tenant, timeout=timeout)
        self._turn_s = duration_us(timeout, "timeout") / 1_000_000
        self._threads: ThreadPoolExecutor | None = None
        self._process = 0

    async def open(self) -> Self:
        """Connect, and find who leads. Whoever is cancelled in this leaves it closed. See `Client.open`."""
        if self._threads is None:
            self._threads, self._process = ThreadPoolExecutor(MAX_THREADS, "callsheet-client"), getpid()
        given_up = Flag()

        def open_unless_given_up() -> None:
            self.client.open()
            if given_up.is_set():
                self.client.close()

        try:
            await self.call(open_unless_given_up)
        except asyncio.CancelledError:  # its thread knows nothing of that, and goes on until the client is closed
            given_up.set()
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Let go of all connections; whoever waits is told. Twice is harmless."""
        threads, self._threads = self._own_threads, None
        if threads is None:
            return
        threads.shutdown(wait=False)  # what still waits for its turn gets it, and is refused
        closer = ThreadPoolExecutor(1, "callsheet-close")  # all others may be waiting for an answer that does not come
        try:
            await asyncio.get_running_loop().run_in_executor(closer, self.client.close)
        finally:
            closer.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def tenant(self) -> str:
        """The tenant that is meant."""
        return self.client.tenant

    @property
    def leader(self) -> Leader | None:
        """Who is asked. See `Client.leader`."""
        return self.client.leader

    # ---- jobs and runs, as Client has them ------------------------------------------------------------------------------

    add_definitions = _word(Client.add_definitions)
    pause = _word(Client.pause)
    resume = _word(Client.resume)
    remove = _word(Client.remove)
    reschedule = _word(Client.reschedule)
    jobs = _word(Client.jobs)
    job_view = _word(Client.job_view)
    runs = _word(Client.runs)
    run_view = _word(Client.run_view)
    decisions = _word(Client.decisions)
    events = _word(Client.events)
    logs = _word(Client.logs)
    attempts = _word(Client.attempts)
    preview = _word(Client.preview)
    metrics = _word(Client.metrics)
    members = _word(Client.members)
    drain = _word(Client.drain)

    # ---- what waits for no thread ---------------------------------------------------------------------------------------

    async def submit(self, job: Target, *args: Any, **kwargs: Any) -> AsyncHandle:
        """Ask for a run of a job now, with these arguments; return when it is stored. See `Client.submit`."""
        return await self.options().submit(job, *args, **kwargs)

    async def submit_many(self, calls: Iterable[Sequence[Any]]) -> list[AsyncHandle]:
        """Ask for many runs, `(job, *args)` each; return their handles in order when all are stored. See `submit`."""
        return await self.options().submit_many(calls)

    def options(
        self,
        *,
        priority: int | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        timeout: float | None = None,
    ) -> AsyncSubmission:
        """Say more of what is submitted next: `await client.options(priority=5).submit(job, 1)`. See `Client.options`."""
        said = self.client.options(
            priority=priority, idempotency_key=idempotency_key, delay=delay, at=at, timeout=timeout
        )
        return AsyncSubmission(self, said)

    async def trigger(self, job: Target) -> AsyncHandle:
        """Fire a job by hand. See `Client.trigger`."""
        name, _ = self.client.resolve(job)
        return (await self.submit_items([SubmitItem(name)], "trigger", None))[0]

    async def submit_items(
        self, items: Sequence[SubmitItem], cause: Cause, timeout_s: float | None
    ) -> list[AsyncHandle]:
        """Submit checked items. `AsyncSubmission` is the way to call this."""
        gateway = self.client.gateway
        limit_s = gateway.timeout_s if timeout_s is None else timeout_s
        handles = [Handle(self.client, self.tenant, item.job) for item in items]
        batches = Batches(gateway, self.tenant, items, handles, cause)
        try:
            for pending in batches:
                await _answer(gateway, pending, limit_s)
        except Exception as error:
            await _all_ended(batches.futures, 0.0 if isinstance(error, TimeoutError) else limit_s)
            batches.tell(error, [AsyncHandle(self, handle) for handle in handles])
            raise
        finally:
            batches.forget()
        return [AsyncHandle(self, handle) for handle in handles]

    async def handle(self, run_id: int) -> AsyncHandle:
        """A handle for a run that was submitted elsewhere or earlier. See `Client.handle`."""
        return AsyncHandle(self, await self.call(partial(self.client.handle, run_id)))

    async def cancel(self, run: AsyncHandle | int) -> RunState:
        """Cancel a run. See `Client.cancel`."""
        run_id = run.run_id if isinstance(run, AsyncHandle) else run
        return await self.call(partial(self.client.cancel, run_id))

    async def wait(self, handles: Iterable[AsyncHandle], timeout: float | None = None) -> list[RunState]:  # noqa: ASYNC109
        """Wait until all these runs have ended; return their final states in order. See `Client.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        states: list[RunState] = []
        for handle in handles:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                states.append(await handle.wait(left))
            except TimeoutError:
                raise not_ended(handle.run_id, handle.job, timeout) from None
        return states

    async def follow_events(self, job: Target | None = None) -> AsyncIterator[Event]:
        """Yield the events that happen from the first look on, as they come. See `Client.follow_events`."""
        news = News(next(iter(await self.events(job, limit=1)), None))
        while True:
            for limit in PAGES:
                found = news.of(await self.events(job, limit=limit), limit)
                if found is not None:
                    for event in found:
                        yield event
                    break
            await asyncio.sleep(LOOK_S)

    # ---- threads --------------------------------------------------------------------------------------------------------

    async def call(self, said: Callable[[], Answered]) -> Answered:
        """Call what may wait on a thread of this client's, and return what it answers.

        Raises:
            NotRunning: this client is not open.
            TimeoutError: no thread was free for it in time.
        """
        threads = self._own_threads
        if threads is None:
            return said()  # raises at once that the client is not open, or not in this process
        turn = threads.submit(said)
        answer = asyncio.wrap_future(turn)
        try:
            await asyncio.wait([answer], timeout=self._turn_s)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        if turn.cancel():  # it has not begun
            raise TimeoutError(
                f"no turn within {self._turn_s:g} s: {MAX_THREADS} words of this client wait for their answers before it; "
                "see whether somebody leads, and is not overloaded, or give more time by timeout="
            )
        return await answer

    @property
    def _own_threads(self) -> ThreadPoolExecutor | None:
        """The threads, unless they are those of the process from which this one was forked."""
        return self._threads if self._process == getpid() else None


async def _answer(gateway: Gateway, pending: Pending, limit_s: float) -> Any:
    """Wait for an answer, on the loop."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(pending.future), limit_s)
    except TimeoutError:
        raise gateway.too_late(pending.message, limit_s) from None


async def _all_ended(futures: Iterable[Future[Any]], limit_s: float) -> None:
    """Wait until all have an answer or an error, at most so long."""
    answers = asyncio.gather(*(asyncio.wrap_future(each) for each in futures), return_exceptions=True)
    with suppress(TimeoutError):
        await asyncio.wait_for(answers, limit_s)
