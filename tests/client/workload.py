"""Functions that worker processes run for the tests of the face."""

# ruff: noqa: T201 - jobs print

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any


def add(left: int, right: int = 1) -> int:
    return left + right


def process_id() -> int:
    return os.getpid()


def say(text: str) -> None:
    print(text)


def fail(text: str) -> None:
    raise ValueError(text)


def answer_object() -> Any:
    return object()


def hang(file: str = "") -> None:
    """Runs for ever, also when it is asked to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if file:
        Path(file).write_text(str(os.getpid()))
    while True:
        try:
            threading.Event().wait(60)
        except BaseException:  # noqa: BLE001 - it ignores whatever is raised in it
            continue


def die(file: str = "") -> None:
    """Ends its process; notes each time in a file."""
    if file:
        note = os.open(file, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(note, b"x")
        os.close(note)
    os.kill(os.getpid(), signal.SIGKILL)
