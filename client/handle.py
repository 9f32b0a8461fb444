"""Handles: a run as its submitter holds it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from ..actors.records import End, RunState
from ..data import unpack
from ..errors import RunError

if TYPE_CHECKING:
    from .view import RunView
    from .vocabulary import Vocabulary

LOOK_AGAIN_S: Final = 1.0
"""How long a handle waits for news before it asks whether it missed any."""


class Handle:
    """A run. `await handle` and `handle.result()` wait for its result; the run goes on whether or not somebody waits.

    Whoever waits is listed before he looks at the end, and the end is set before the list is looked at: none is missed. Each has
    something of his own to be told by, which he takes with him when he goes.
    """

    __slots__ = ("__weakref__", "_end", "_is_awaited", "_scheduler", "_waiting", "job", "run_id", "tenant")

    def __init__(self, scheduler: Vocabulary, tenant: str, job: str, run_id: int = 0) -> None:
        self._scheduler = scheduler
        self.tenant = tenant
        self.job = job
        self.run_id = run_id
        self._end: End | None = None
        self._is_awaited = False
        self._waiting: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<Handle of run {self.run_id} of job {self.job!r}: {self._end.state if self._end else 'not ended'}>"

    def on_end(self, end: End) -> None:
        """Take the run's end, and tell whoever waits. The gateway calls this, on the thread that brought it."""
        self._end = end
        for tell in tuple(self._waiting):
            tell()

    @property
    def done(self) -> bool:
        """Whether the run is known here to have ended."""
        return self._end is not None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody has waited for its end, so that the news of it is wanted soon."""
        return self._is_awaited

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait until the run has ended, at most `timeout` seconds, and return its final state.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
            NotRunning: the scheduler was stopped while this waited, and the run has not ended.
            Forbidden: a client's key was revoked while this waited.
        """
        return self._wait(timeout).state

    def result(self, timeout: float | None = None) -> Any:
        """Wait until the run has ended, at most `timeout` seconds, and return what its function returned.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
            RunError: it ended in another state than SUCCEEDED; the error says in which, and why.
            NotRunning: the scheduler was stopped while this waited, and the run has not ended.
            Forbidden: a client's key was revoked while this waited.
        """
        return self._value(self._end or self._wait(timeout))

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result_async().__await__()

    async def wait_async(self, timeout_s: float | None = None) -> RunState:
        """As `wait`, in a coroutine."""
        return (await self._wait_async(timeout_s)).state

    async def result_async(self, timeout_s: float | None = None) -> Any:
        """As `result`, in a coroutine. `await handle` is this without a time limit."""
        return self._value(self._end or await self._wait_async(timeout_s))

    def status(self) -> RunView:
        """The run as it stands: state, reason, attempts, next look."""
        return self._scheduler.run_view(self.run_id)

    def cancel(self) -> RunState:
        """Cancel the run: CANCELLED at once, or CANCELLING while its function still runs.

        Raises:
            Refused: it has ended already.
        """
        return self._scheduler.cancel(self.run_id)

    def logs(self) -> str:
        """What the run's attempts printed and logged, oldest first; of a run that is not over, those of ended attempts."""
        return self._scheduler.logs(self.run_id)

    # ---- waiting --------------------------------------------------------------------------------------------------------

    def _wait(self, timeout: float | None) -> End:
        ended = Event()
        deadline = None if timeout is None else time.monotonic() + timeout
        self._list(ended.set)
        try:
            while (end := self._end) is None:
                left = LOOK_AGAIN_S if deadline is None else deadline - time.monotonic()
                if not ended.wait(max(0.0, min(LOOK_AGAIN_S, left))):
                    self._on_pause(left, deadline, timeout)
            return end
        finally:
            self._waiting.remove(ended.set)

    async def _wait_async(self, timeout_s: float | None) -> End:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        tell = partial(_tell, loop, ended)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._list(tell)
        try:
            while (end := self._end) is None:
                left = LOOK_AGAIN_S if deadline is None else deadline - time.monotonic()
                done, _ = await asyncio.wait([ended], timeout=max(0.0, min(LOOK_AGAIN_S, left)))
                if not done:
                    self._on_pause(left, deadline, timeout_s)
            return end
        finally:
            self._waiting.remove(tell)

    def _list(self, tell: Callable[[], object]) -> None:
        self._is_awaited = True
        self._waiting.append(tell)

    def _on_pause(self, left: float, deadline: float | None, timeout_s: float | None) -> None:
        """No news came for a while: the time is up, or whether some was missed is asked."""
        if self._end is not None:
            return
        if deadline is not None and left <= LOOK_AGAIN_S:
            raise not_ended(self.run_id, self.job, timeout_s)
        self._scheduler.look_again(self)

    def _value(self, end: End) -> Any:
        if end.state is RunState.SUCCEEDED:
            return unpack(end.result) if end.result else None
        error = end.error
        said = f"{error.type}: {error.text}" if error is not None else end.reason
        text = f"run {self.run_id} of job {self.job!r} ended {end.state}"
        raise RunError(
            f"{text}: {said}" if said else text,
            state=str(end.state),
            error_type="" if error is None else error.type,
            traceback="" if error is None else error.traceback,
        )


def _tell(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
    """Tell a coroutine, from any thread."""
    with suppress(RuntimeError):  # its loop is closed, and it waits no more
        loop.call_soon_threadsafe(_settle, ended)


def _settle(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def not_ended(run_id: int, job: str, timeout_s: float | None) -> TimeoutError:
    """Return the error of who has waited so long for a run."""
    return TimeoutError(f"run {run_id} of job {job!r} has not ended within {timeout_s:g} s")
