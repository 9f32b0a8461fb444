"""Loading a program for its definitions, by somebody else who will run its scheduler.

The command loads a program under a name that is not `__main__`, so that its guard holds. A program without the guard comes to
`scheduler.run()` while it is being loaded; its definitions are complete there, so loading ends, and that scheduler is the one
to run. A program that comes to `start()` goes on to do something with it, which only the program itself can do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .scheduler import Scheduler

_state = {"loading": False}


class ProgramReachedRun(BaseException):
    """A program that is being loaded came to run or start this scheduler.

    No `Exception`, so that no `except Exception` of the program goes on.
    """

    def __init__(self, scheduler: Scheduler, by: Literal["run", "start"]) -> None:
        super().__init__(f"the program came to {by}() while it was being loaded")
        self.scheduler = scheduler
        self.by = by


@contextmanager
def loading_program() -> Iterator[None]:
    """Within this, `run()` and `start()` of every scheduler raise `ProgramReachedRun`."""
    _state["loading"] = True
    try:
        yield
    finally:
        _state["loading"] = False


def end_loading(scheduler: Scheduler, by: Literal["run", "start"]) -> None:
    """End the loading of a program that comes to run or start its scheduler; nothing when none is being loaded.

    Raises:
        ProgramReachedRun: one is.
    """
    if _state["loading"]:
        raise ProgramReachedRun(scheduler, by)
