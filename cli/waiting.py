"""Waiting for the end of runs that were asked for: the options of it, and what is said when nobody is there to run them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from .outcome import CommandError

STORED: Final = "no scheduler is running; it waits in the store until one does"
"""What became of a run that nobody is there for."""

WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the end; anything but SUCCEEDED is exit code 1.")]
WaitTimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="Wait so long at most; then exit code 5."),
]


def check_wait(wait: bool, runs: bool, done: str) -> None:
    """Refuse to wait for what nobody runs.

    wait: what was asked for. runs: whether what was reached runs jobs. done: what was to be done, "submitted".

    Raises:
        CommandError: the wait would not end before a scheduler is started.
    """
    if wait and not runs:
        raise CommandError(f"--wait: no scheduler is running, and the run would wait for one; nothing was {done}")
