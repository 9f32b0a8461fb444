"""Whoever waits for a run's end is told, whatever comes together: threads, coroutines, and the end itself."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from itertools import count, takewhile
from types import FrameType
from typing import Any, Self, cast

import pytest

from callsheet.actors.records import End, RunState
from callsheet.client import handle as handle_module
from callsheet.client.handle import Handle
from support.waiting import eventually

WAIT_S = 20.0
PATIENCE_S = 3.0
END = End(1, RunState.SUCCEEDED, 0, 1)


class Silent:
    """A scheduler that has no news, and notes that it was asked."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def look_again(self, handle: Handle) -> None:
        del handle
        self.asked.set()


@pytest.fixture
def silent() -> Silent:
    return Silent()


def handle_of(silent: Silent) -> Handle:
    return Handle(cast("Any", silent), "default", "job", 1)


@pytest.fixture
def handle(silent: Silent) -> Handle:
    return handle_of(silent)


class Between:
    """Does something just before one line of the handle's own, on the thread that runs this within `with`; says whether it came."""

    def __init__(self, number: int, do: Callable[[], object]) -> None:
        self.came = False
        self._left = number
        self._do = do

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._on_call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _on_call(self, frame: FrameType, event: str, _: Any) -> Any:
        return self._on_line if frame.f_code.co_filename == handle_module.__file__ else None

    def _on_line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and not self.came:
            self._left -= 1
            if self._left < 0:
                self.came = True
                self._do()
        return self._on_line


def in_thread(call: Any, *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    return thread


def end_between(number: int, handle: Handle) -> bool:
    """Let the end come, and somebody begin to wait between two lines of that; whether there was such a line."""
    found: list[RunState] = []
    waiting: list[threading.Thread] = []

    def wait() -> None:
        waiting.append(in_thread(lambda: found.append(handle.wait(WAIT_S))))
        waiting[0].join(0.05)  # it ends if the end can be seen already

    with pytest.raises(TimeoutError):
        handle.wait(0)
    with Between(number, wait) as between:
        handle.on_end(END)
    for thread in waiting:
        thread.join(WAIT_S)
    assert found == [RunState.SUCCEEDED] * len(waiting)
    return between.came


def test_an_end_that_comes_while_somebody_begins_to_wait_harms_neither(silent: Silent) -> None:
    lines = takewhile(lambda number: end_between(number, handle_of(silent)), count())

    assert len(list(lines)) >= 2, "no line of the handle was seen"


async def wait_between(number: int, handle: Handle, silent: Silent) -> None:
    """Begin to wait, and let somebody else do so between two lines of that; then let the end come."""
    found: list[RunState] = []
    waiting: list[threading.Thread] = []

    async def wait_in_time() -> None:
        found.append(await asyncio.wait_for(handle.wait_async(), PATIENCE_S))

    def wait() -> None:
        silent.asked.clear()
        waiting.append(in_thread(asyncio.run, wait_in_time()))
        assert silent.asked.wait(WAIT_S)

    first = asyncio.ensure_future(handle.wait_async())
    with Between(number, wait) as between:
        await asyncio.sleep(0)
    assert between.came
    handle.on_end(END)
    assert await first == "SUCCEEDED"
    waiting[0].join(WAIT_S)
    assert found == [RunState.SUCCEEDED]


@pytest.mark.parametrize("number", range(12))
def test_of_coroutines_that_begin_to_wait_at_once_each_is_told(
    number: int, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle_module, "LOOK_AGAIN_S", 0.01)
    asyncio.run(wait_between(number, handle_of(silent), silent))


def test_who_waits_in_short_pieces_leaves_nothing_behind(handle: Handle) -> None:
    async def main() -> None:
        for _ in range(50):
            with pytest.raises(TimeoutError, match="has not ended within 0 s"):
                await handle.wait_async(0)
        told: list[Any] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", lambda *call: told.append(call))
            handle.on_end(END)
        assert told == []
        assert await handle.wait_async(0) == "SUCCEEDED"

    asyncio.run(main())


def test_the_end_of_a_run_for_which_a_closed_loop_waited_harms_nobody(handle: Handle, silent: Silent) -> None:
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(handle.wait_async())
    loop.run_until_complete(asyncio.wait([waiting], timeout=0))
    loop.close()

    handle.on_end(END)

    assert handle.wait(WAIT_S) == "SUCCEEDED"
    waiting.get_coro().close()
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    assert not silent.asked.is_set()


def test_an_end_that_nobody_was_told_of_is_found_at_the_next_look(
    handle: Handle, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle_module, "LOOK_AGAIN_S", 0.01)
    found: list[RunState] = []
    thread = in_thread(lambda: found.append(asyncio.run(handle.wait_async())))

    assert silent.asked.wait(WAIT_S)
    handle.on_end(END)
    thread.join(WAIT_S)

    assert eventually(lambda: found) == [RunState.SUCCEEDED]
