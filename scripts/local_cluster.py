"""Runs the nodes of a cluster on this machine, and ends them together.

Each node is a `callsheet node` with a log of its own. A node that ends by itself is reported, and the others go on, which is
what one may want to see: kill one. When this process ends, however it ends, its nodes end too: the system sends them SIGTERM.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

PROGRAM: Final = Path(__file__).resolve().parent.parent / "examples" / "heartbeat.py"
MOST_NODES: Final = 64
LOOK_S: Final = 0.2
STOP_S: Final = 30.0
"""A node's drain and release, and a little more; then it is killed."""
PR_SET_PDEATHSIG: Final = 1


class Node(NamedTuple):
    """A node that was started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


def main() -> int:
    """Run the cluster until Ctrl-C; the exit code is 1 if a node ended by itself, failed or had to be killed."""
    arguments = _read()
    folder = Path(tempfile.mkdtemp(prefix="callsheet-cluster-"))
    store = arguments.store or f"sqlite:///{folder}/jobs.db"
    asked = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    nodes = [
        _start(f"n{number}", arguments.program, store, folder, arguments.options)
        for number in range(1, arguments.nodes + 1)
    ]
    print(f"{len(nodes)} nodes of {arguments.program} on {store}; logs in {folder}")
    print(f"see them:  {_command()} cluster --store {store} --watch")
    for node in nodes:
        print(f"{node.name}: process {node.process.pid}, {node.log}", flush=True)
    running = _watch(nodes, asked)
    return max(_stop(running), int(len(running) < len(nodes)))


def _command() -> str:
    """How a person calls `callsheet` here: who has only this checkout does not find it on PATH."""
    beside = Path(sys.executable).with_name("callsheet")
    return "callsheet" if shutil.which("callsheet") or not beside.exists() else str(beside)


def _read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/cluster",
        description="Run a cluster of N nodes on this machine.",
        epilog="What follows -- is given to each `callsheet node`: scripts/cluster 3 app.py -- --threads 4",
    )
    parser.add_argument("nodes", type=int, metavar="N", help="how many nodes")
    parser.add_argument("program", nargs="?", default=str(PROGRAM), help="FILE_OR_MODULE[:NAME] [a beat a second]")
    parser.add_argument("--store", metavar="URL", help="where the state is kept [a new SQLite file beside the logs]")
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    arguments = parser.parse_args(given[:at])
    arguments.options = given[at + 1 :]
    if not 1 <= arguments.nodes <= MOST_NODES:
        parser.error(f"N is 1 to {MOST_NODES}; {arguments.nodes} was given")
    return arguments


def _start(name: str, program: str, store: str, folder: Path, options: Sequence[str]) -> Node:
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "callsheet.cli", "node", program, "--store", store, "--name", name, *options]
    with log.open("wb") as to:
        # a session of its own: Ctrl-C comes here alone, and the nodes are stopped in order
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=to,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(_end_with_parent, os.getpid()),  # noqa: PLW1509 - this process has one thread
        )
    return Node(name, process, log)


def _end_with_parent(parent: int) -> None:
    """In the child, before the program begins: be told to stop when the parent is no more, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went before that was said
        os._exit(1)


def _watch(nodes: list[Node], asked: threading.Event) -> list[Node]:
    """Report nodes that end, until a signal comes or none is left; return those that still run."""
    running = list(nodes)
    while running and not asked.wait(LOOK_S):
        for node in [node for node in running if node.process.poll() is not None]:
            running.remove(node)
            _report(node, "ended by itself")
    return running


def _stop(running: list[Node]) -> int:
    """Stop the nodes one after another, so that who leads hands over; how many had to be killed, or failed."""
    failed = 0
    for node in running:
        node.process.send_signal(signal.SIGTERM)
        try:
            code = node.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            node.process.kill()
            code = node.process.wait()
        failed += code != 0
        _report(node, "stopped")
    return int(failed > 0)


def _report(node: Node, what: str) -> None:
    code = node.process.returncode
    why = "" if code == 0 else f", killed by {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"
    print(f"{node.name}: {what}{why}{'' if code == 0 else f'; see {node.log}'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
