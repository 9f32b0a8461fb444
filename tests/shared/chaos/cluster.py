"""A cluster of real processes on one SQLite file, and the client that keeps it busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from callsheet import Client, manual
from callsheet.actors.actor import COORDINATOR
from callsheet.actors.messages import ListMembers, MembersListed
from callsheet.actors.persistence.sqlite import SQLiteReader
from callsheet.actors.persistence.store import GetLiveRuns
from callsheet.errors import CallsheetError, StoreError
from chaos.link import Links, door_of
from chaos.trace import utc_us
from chaos.workload import STORE, TICK_NAMES

LOOK_S: Final = 0.02
PATIENCE_S: Final = 60.0
"""How long anything may take that should take moments, on a machine that is busy with other things."""
START_US: Final = 4_000_000
"""From the making of a cluster to its first slot."""
SHOWN_LINES: Final = 20


class ChaosFailed(Exception):
    """A process did not do what it was asked for; the text has the end of its log."""


class Process:
    """A process of ours, with its log."""

    def __init__(self, name: str, module: str, folder: Path, log: Path, *arguments: str) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._is_ready = False

    @property
    def number(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether it has said so."""
        assert self._process.stdout is not None
        self._is_ready = self._is_ready or bool(self._process.stdout.read())
        return self._is_ready

    @property
    def is_stopped(self) -> bool:
        """Whether it is stopped by SIGSTOP."""
        text = Path(f"/proc/{self.number}/stat").read_text()
        return text.rpartition(")")[2].split()[0] == "T"

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> int:
        """End it by a signal, and return its exit status.

        Raises:
            ChaosFailed: it did not end in time.
        """
        self.send(number)
        try:
            status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise self.failure(f"did not end within {PATIENCE_S:g} s of {number.name}") from None
        self.close()
        return status

    def close(self) -> None:
        """Let go of a process that has ended."""
        assert self._process.stdout is not None
        self._process.wait()
        self._process.stdout.close()

    def failure(self, what: str) -> ChaosFailed:
        """The error that says what happened, with the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        return ChaosFailed("\n".join([f"{self.name} (process {self.number}) {what}; its log ends so:", *lines]))


class Cluster:
    """Some nodes, a client that submits, and another that watches.

    Args:
        folder: new and empty; all that it leaves is there.
        nodes: how many.
        rate: jobs a second that are submitted.
        seed: of the load.
        cuttable: nodes reach each other over links that can be cut; else over their own sockets.
    """

    def __init__(self, folder: Path, nodes: int, rate: int, seed: int, *, cuttable: bool) -> None:
        self.folder = folder
        self.start_us = utc_us() + START_US
        self.ready_us = self.ended_us = 0
        self.names = tuple(f"node-{number + 1}" for number in range(nodes))
        (folder / "logs").mkdir()
        for name in self.names:
            (folder / name).mkdir()
            (folder / name / "door").mkdir(mode=0o700)
        self.links = Links(folder, self.names) if cuttable else None
        self.nodes: dict[str, Process] = {}
        self._all: list[Process] = []
        self._rate, self._seed = rate, seed
        self._load: Process | None = None
        self._reader: SQLiteReader | None = None
        self._client: Client | None = None

    # ---- coming and going -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all, and wait until they work.

        Raises:
            ChaosFailed: one of them does not.
        """
        for name in self.names:
            self.start_node(name)
        self.wait_for(lambda: all(node.is_ready for node in self.nodes.values()), "all nodes are ready")
        self.ready_us = utc_us()
        self._reader = SQLiteReader(self.folder / STORE)
        self._reader.open()
        self._client = Client(self._endpoints(), timeout=PATIENCE_S).open()
        arguments = (str(self.folder), str(self._rate), str(self._seed), *self._endpoints())
        self._load = Process("client", "chaos.load", self.folder, self.folder / "logs" / "client", *arguments)
        self._all.append(self._load)
        self.wait_for(lambda: self._load is not None and self._load.is_ready, "the client is ready")
        self.wait_until_whole()
        self.wait_for(lambda: utc_us() > self.start_us, "the first slot is due")

    def _endpoints(self) -> list[str]:
        """Where clients reach the nodes. Where links lead from node to node, the addresses of the nodes are for them alone."""
        if self.links is None:
            return [f"sqlite:///{self.folder / STORE}"]
        return [f"ipc://{self.folder / name / 'door' / name}.ipc" for name in self.names]

    def start_node(self, name: str) -> None:
        """Start a node; it need not be ready when this returns."""
        listen = (door_of(name),) if self.links is not None else ()
        arguments = (str(self.folder), name, str(self.start_us), *listen)
        log = self.folder / "logs" / name
        self.nodes[name] = Process(name, "chaos.node", self.folder / name, log, *arguments)
        self._all.append(self.nodes[name])

    def finish(self) -> None:
        """End the load and the ticks, wait until every run has ended, and stop all nodes in order.

        Raises:
            ChaosFailed: runs do not end, or a node does not stop in order.
        """
        assert self._load is not None
        assert self._client is not None
        if status := self._load.end(signal.SIGTERM):
            raise self._load.failure(f"ended with exit status {status}")
        for tick in TICK_NAMES:
            self._client.reschedule(tick, manual())
        self.ended_us = utc_us()
        self._load = None
        self.wait_for(lambda: not self._has_live_runs(), "every run has ended", each_s=0.2)
        self._client.close()
        for node in self.nodes.values():
            if status := node.end(signal.SIGTERM):
                raise node.failure(f"stopped with exit status {status}")

    def close(self) -> None:
        """End what is there still."""
        for process in self._all:
            if process.lives:
                process.end(signal.SIGKILL)
            process.close()
        if self._client is not None:
            self._client.close()
        if self._reader is not None:
            self._reader.close()
        if self.links is not None:
            self.links.close()

    def _has_live_runs(self) -> bool:
        assert self._reader is not None
        with suppress(StoreError):  # busy for a moment
            return bool(self._reader.read(GetLiveRuns(limit=1)))
        return True

    # ---- how it stands --------------------------------------------------------------------------------------------------

    def lease(self) -> tuple[str, int]:
        """The holder's name, and the epoch."""
        assert self._reader is not None
        while True:
            with suppress(StoreError):  # busy for a moment
                lease = self._reader.lease()
                return ("", 0) if lease is None else (lease.holder.partition("/")[0], lease.epoch)
            time.sleep(LOOK_S)

    def leader(self) -> Process:
        """The process that leads."""
        return self.nodes[self.lease()[0]]

    def wait_until_whole(self) -> None:
        """Wait until every node lives, is ready, and is known to the leader.

        Raises:
            ChaosFailed: that takes too long.
        """
        self.wait_for(self._is_whole, "the cluster is whole")

    def _is_whole(self) -> bool:
        if not all(node.is_ready for node in self.nodes.values()):
            return False
        listed = self._members()
        alive = {it.node: it.incarnation for it in listed.members if it.state == "alive"} if listed else {}
        return all(alive.get(name, "").startswith(f"{node.number}-") for name, node in self.nodes.items())

    def _members(self) -> MembersListed | None:
        assert self._client is not None
        gateway = self._client.gateway
        with suppress(CallsheetError, TimeoutError):
            answer = gateway.request(ListMembers(gateway.key()), to=COORDINATOR, timeout_s=1.0)
            if isinstance(answer, MembersListed):
                return answer
        return None

    def wait_for(self, ask: Callable[[], bool], what: str, *, each_s: float = LOOK_S) -> None:
        """Wait until something holds.

        Raises:
            ChaosFailed: that takes too long, or a process has ended that was not made to.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not ask():
            for process in (*self.nodes.values(), *filter(None, [self._load])):
                if not process.lives:
                    raise process.failure(f"has ended before {what}")
            if time.monotonic() > deadline:
                logs = "".join(f"\n{node.failure('is said to live')}" for node in self.nodes.values())
                raise ChaosFailed(f"it took more than {PATIENCE_S:g} s until {what}{logs}")
            time.sleep(each_s)
