"""Whether this process is a worker, and what to raise when a script there reaches the call that would start a scheduler.

A worker loads the script that defines a job's function. The script's `if __name__ == "__main__":` does not hold there; but
a script without that guard comes to `scheduler.run()`, and must not start a second scheduler. Whoever offers `run` asks
`in_worker()` and raises `WorkerReachedRun`: the script ends there, and what it has defined so far is all a worker needs.
"""

from __future__ import annotations

_state = {"in_worker": False}


class WorkerReachedRun(BaseException):
    """A script that is loaded by a worker process came to start its scheduler: its definitions are complete.

    No `Exception`, so that no `except Exception` of the script goes on.
    """


def in_worker() -> bool:
    """Whether this process is a worker of a pool: it must start no scheduler."""
    return _state["in_worker"]


def enter_worker() -> None:
    """Say that this process is a worker."""
    _state["in_worker"] = True
