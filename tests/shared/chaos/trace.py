"""Traces: what the jobs themselves leave, one line for each beginning and each end.

Each process appends to a file of its own by single writes, so what was written before a SIGKILL is there after it, whole. The
verdict is counted from these lines. Instants are microseconds: UTC, and of the machine's steady clock, which all of its
processes share.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final, Literal, NamedTuple

from callsheet import Context

FOLDER: Final = "traces"


class Line(NamedTuple):
    """A job's function began or ended in a process. `slot` is 0 and `key` empty where there is none."""

    word: Literal["begin", "end"]
    run_id: int
    fence: int
    job: str
    slot: int
    key: str
    process: int
    steady_us: int
    at_us: int


class Pen:
    """Writes the lines of this process."""

    def __init__(self, folder: Path) -> None:
        file = folder / FOLDER / str(os.getpid())
        file.parent.mkdir(exist_ok=True)
        # opened once: between a function's first line and its trace lies one system call, in which a kill may fall
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def leave(self, word: Literal["begin", "end"], ctx: Context, key: str) -> None:
        """Append one line, by one write."""
        slot = 0 if ctx.slot is None else round(ctx.slot.timestamp() * 1e6)
        line = Line(word, ctx.run_id, ctx.fence, ctx.job, slot, key, os.getpid(), steady_us(), utc_us())
        os.write(self._file, ("\t".join(map(str, line)) + "\n").encode())


class Traces:
    """All lines so far, of all processes of a folder, read on from where they were read before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._read: dict[Path, int] = {}
        self.lines: list[Line] = []

    def follow(self) -> list[Line]:
        """Read what is new, as far as lines are whole, and return it."""
        found: list[Line] = []
        for file in sorted(self._folder.iterdir()) if self._folder.exists() else ():
            with file.open("rb") as lines:
                lines.seek(self._read.get(file, 0))
                new = lines.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read[file] = self._read.get(file, 0) + len(whole)
            found += map(_line, whole.decode().splitlines())
        self.lines += found
        return found


def _line(text: str) -> Line:
    word, run_id, fence, job, slot, key, process, steady, at = text.split("\t")
    assert word in ("begin", "end")
    return Line(word, int(run_id), int(fence), job, int(slot), key, int(process), int(steady), int(at))  # type: ignore[arg-type] # checked


def steady_us() -> int:
    """The machine's steady clock."""
    return time.monotonic_ns() // 1_000


def utc_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000
