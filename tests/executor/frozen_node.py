"""A node that calls one function after another until its standard input ends; run as a program by test_revoking.py.

The function writes its fence and its process to standard output, sixteen bytes at a time. Nothing is ever forgotten, so the
start marks only grow. Arguments: "marks" (the start marks alone, as close together as can be) or a kind of executor; a folder.
"""

from __future__ import annotations

import itertools
import os
import select
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from callsheet.actors.executor.functions import Functions
from callsheet.actors.executor.local_runner import LocalRunner
from callsheet.actors.executor.marks import Marks
from callsheet.actors.executor.runner import Order, Outcome
from callsheet.data import pack_call

RECORD = struct.Struct("=qq")
BATCH = 64


def note(fence: int) -> None:
    os.write(1, RECORD.pack(fence, os.getpid()))


async def note_on_loop(fence: int) -> None:
    note(fence)


def start_marks(folder: Path) -> Callable[[Sequence[int]], None]:
    marks = Marks(folder, "node")

    def start(fences: Sequence[int]) -> None:
        for fence in fences:
            if marks.set(fence, fence):
                note(fence)

    return start


def start_runner(kind: Any, folder: Path) -> Callable[[Sequence[int]], None]:
    functions = Functions()
    functions.register("note", note_on_loop if kind == "async" else note)
    runner = LocalRunner(functions, incarnation="node", marks_folder=folder, threads=2, processes=2)
    ended = threading.Semaphore(0)

    def report(items: Sequence[Any]) -> None:
        ended.release(sum(isinstance(item, Outcome) for item in items) or 0)

    def start(fences: Sequence[int]) -> None:
        runner.start(
            [Order(it, it, 1, "t", "note", kind, "note", pack_call((it,), {}, what="it", limit=99)) for it in fences]
        )
        for _ in fences:
            ended.acquire()

    runner.open(report)
    return start


if __name__ == "__main__":
    fences = itertools.count(1)
    start = start_marks(Path(sys.argv[2])) if sys.argv[1] == "marks" else start_runner(sys.argv[1], Path(sys.argv[2]))
    while not select.select([0], [], [], 0)[0]:
        start(list(itertools.islice(fences, BATCH)))
    os._exit(0)
