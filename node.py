"""A node: the seven actors of one process, wired to a transport, a store and a runner.

This is the only place where actors, transports and stores meet. The actors know messages, the transport knows envelopes, and
which store and which runner stand behind the two ports is said here.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .actors.actor import (
    CLOCK,
    COORDINATOR,
    DEPENDENCIES,
    EXECUTOR,
    METRICS,
    PERSISTENCE,
    REGISTRY,
    Actor,
    Address,
)
from .actors.clock.clock import Clock
from .actors.clock.stopped import StoppedClock
from .actors.coordinator.coordinator import Coordinator
from .actors.dependencies.dependencies import Dependencies
from .actors.executor.executor import Executor
from .actors.executor.runner import Reported, Runner
from .actors.host import Host
from .actors.messages import RunnerReported
from .actors.metrics.metrics import Metrics
from .actors.persistence.persistence import Persistence
from .actors.persistence.store import Store
from .actors.registry.registry import Registry
from .actors.stage import Factory
from .log import EventLog
from .transport.contract import Transport
from .transport.in_process import InProcess

LOGGER: Final = logging.getLogger("callsheet")


def new_incarnation() -> str:
    """Return a name for this life of a node that no other has had: process and a random part."""
    return f"{os.getpid()}-{secrets.token_hex(6)}"


def factories(store: Store, runner: Runner, *, fires: bool = True) -> Mapping[Address, Factory]:
    """Return how to build each actor of a node, in the order in which they start."""

    def executor() -> Actor:
        return Executor(runner)

    def persistence() -> Actor:
        return Persistence(store)

    def coordinator() -> Actor:
        return Coordinator(durable=store.capabilities.durable)

    return {
        METRICS: Metrics,
        PERSISTENCE: persistence,
        EXECUTOR: executor,
        CLOCK: Clock if fires else StoppedClock,
        DEPENDENCIES: Dependencies,
        REGISTRY: Registry,
        COORDINATOR: coordinator,
    }


class Node:
    """Runs the actors of this process on a store, with a runner for the functions.

    Args:
        store: not opened yet; the node opens and closes it.
        runner: not opened yet; the node opens and closes it.
        name: the node's name, by default the host's.
        incarnation: this life of it, as the runner's start marks know it.
        transport: how envelopes travel, by default within the process.
        fires: whether slots are decided here; without, they wait for the next node that does.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner,
        *,
        incarnation: str,
        name: str = "",
        transport: Transport | None = None,
        fires: bool = True,
    ) -> None:
        self.name = name or socket.gethostname() or "node"
        self.store = store
        self.transport = transport or InProcess(self.name)
        self._runner = runner
        self._log = EventLog(self.name)
        self.host = Host(
            self.transport,
            factories(store, runner, fires=fires),
            node=self.name,
            incarnation=incarnation,
            events=self._on_event,
        )

    def start(self) -> None:
        """Open the store and begin.

        Raises:
            StoreError: the store cannot be used.
        """
        self.store.open()
        try:
            self._runner.open(self._report)
            self.host.start()
        except BaseException:
            self._runner.close(0)
            self.store.close()
            raise

    def stop(self, timeout_s: float) -> None:
        """End the pools, the actors and the store; what runs still is ended. Twice is harmless."""
        self._runner.close(int(timeout_s * 1_000_000))
        self.host.stop(timeout_s)
        self.transport.close()
        self.store.close()

    def _report(self, reports: Sequence[Reported]) -> None:
        self.host.tell(EXECUTOR, RunnerReported(tuple(reports)), beyond_limit=True)

    def _on_event(self, address: Address, event: Any) -> None:
        self._log.write(address, event)
        self.host.tell(METRICS, event)


def marks_folder(store: Store) -> Path | None:
    """Return where start marks are kept: beside the store's file, or nowhere for a store without one."""
    path = getattr(store, "path", None)
    return None if path is None else Path(f"{path}.marks")
