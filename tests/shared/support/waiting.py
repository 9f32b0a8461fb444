"""Waiting for what other threads and processes do, without guessing how long it takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.005


def eventually(ask: Callable[[], T], within_s: float = 10.0) -> T:
    """Asks until the answer is true and returns it; fails with the last answer after `within_s` seconds.

    For what has no event to wait on, as in another process. Where there is a handle, a queue or a
    threading.Event, wait on that.
    """
    deadline = time.monotonic() + within_s
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"still {answer!r} after {within_s} s"
        time.sleep(POLL_S)
    return answer
