"""What a silent node has not begun is taken back from it, although it may be frozen only; with real processes."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from callsheet.actors.executor.marks import revoke

PROGRAM = Path(__file__).with_name("frozen_node.py")
RECORD = struct.Struct("=qq")
PIPE_BYTES = 4_096
"""So that the node is never far ahead of what was read."""
ENOUGH_S = 4.0
"""However slow the machine is, a test stops here, with what it has seen."""


class FrozenNode:
    """The program, what it has called so far, and how it is frozen."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pipesize=PIPE_BYTES,
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout
        self.called: list[int] = []
        self.processes = {self.process.pid}

    def watch(self, calls: int) -> None:
        """Read what so many functions write; fewer if the node ends."""
        while calls > 0 and (packed := self._output.read(RECORD.size)):
            fence, process = RECORD.unpack(packed)
            self.called.append(fence)
            self.processes.add(process)
            calls -= 1

    def signal(self, number: signal.Signals, processes: list[int]) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def end(self) -> None:
        """Have it end its last batch, and read the rest."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"end")
        self.watch(sys.maxsize)
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(params=["marks", "thread", "async", "process"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FrozenNode]:
    node = FrozenNode(request.param, tmp_path)
    yield node
    node.process.kill()
    node.process.wait()
    assert node.process.stdin is not None
    node.process.stdin.close()
    node._output.close()


def test_what_was_revoked_and_not_read_as_begun_is_never_called(node: FrozenNode, tmp_path: Path) -> None:
    chance = random.Random(7)
    node.watch(100)
    rounds: list[tuple[int, frozenset[int]]] = []
    until = time.monotonic() + ENOUGH_S
    while len(rounds) < 300 and time.monotonic() < until:
        node.watch(chance.randrange(100))
        frozen = [it for it in sorted(node.processes) if chance.random() < 0.7]
        node.signal(signal.SIGSTOP, frozen)
        begun = revoke(tmp_path, "node", node.called[-1] + chance.randrange(2 * PIPE_BYTES // RECORD.size))
        node.signal(signal.SIGCONT, frozen)
        assert begun.readable
        assert not begun.dead
        rounds.append((begun.revoked, begun.fences))
    while node.called[-1] <= rounds[-1][0]:
        node.watch(1)  # newer orders go on
    node.end()
    for revoked, fences in rounds:
        wrong = {fence for fence in node.called if fence <= revoked} - fences
        assert not wrong, f"revoked up to {revoked}, and called all the same: {sorted(wrong)[:5]}"
    assert len(rounds) > 50
    given_back = set(range(1, rounds[-1][0] + 1)) - set(node.called)
    assert len(given_back) > len(rounds), "something was taken back"
    assert len(node.called) == len(set(node.called))
