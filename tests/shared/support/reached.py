"""A scheduler that clients reach: what makes one, the functions of its jobs, and how long a client waits for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from callsheet import Scheduler

Make = Callable[..., Scheduler]
"""Makes schedulers, not started yet, that are stopped at the end of the test: the fixture `make`."""

WAIT_S: Final = 20.0


def echo(text: str) -> str:
    """Print the text, and return it twice."""
    sys.stdout.write(f"{text}\n")
    return text * 2


def fail() -> None:
    """End as a function does that has a fault."""
    raise ValueError("no good")


def add_echo_and_fail(scheduler: Scheduler) -> Scheduler:
    """Declare both as jobs; `echo` has arguments of its own for when it is triggered."""
    scheduler.add(echo, name="echo", args=["ab"], tags=["loud"], overlap="allow_all")
    scheduler.add(fail, name="fail")
    return scheduler
