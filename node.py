"""A node: the seven actors of one process, wired to a transport, a store and a runner.

This is the only place where actors, transports and stores meet. The actors know messages, the transport knows envelopes, and
which store and which runner stand behind the two ports is said here.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

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
from .actors.messages import (
    ContactChanged,
    DrainChanged,
    Dropped,
    LeaderChanged,
    NodeStopped,
    PeerFound,
    PeerLost,
    PeersForgotten,
    PeersKnown,
    RunnerReported,
)
from .actors.metrics.metrics import Metrics
from .actors.persistence.persistence import Persistence
from .actors.persistence.store import Store
from .actors.registry.registry import Registry
from .actors.stage import Factory
from .errors import ListenError, NotRunning
from .event_queue import EventQueue
from .health import NodeHealth
from .log import EventLog
from .transport.contract import Transport
from .transport.in_process import InProcess
from .transport.local_endpoint import SCHEME, make_folder

if TYPE_CHECKING:
    from .transport.contract import Guard
    from .transport.zeromq import ZeroMQ

LOGGER: Final = logging.getLogger("callsheet")


def new_incarnation() -> str:
    """Return a name for this life of a node that no other has had: process and a random part."""
    return f"{os.getpid()}-{secrets.token_hex(6)}"


class NodeOptions(Struct, frozen=True, kw_only=True):
    """What a node is, and where it meets others.

    `name` is unique in the cluster; empty: made from the host's name and the process. `listen` are endpoints of the ZeroMQ
    transport, `join` those of other nodes; with neither the node is alone. `labels` and `resources` are what its executor
    has. A `worker_only` node has no store and never leads. Without `fires` slots wait for the next node that decides them.
    """

    name: str = ""
    listen: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    resources: dict[str, int] = {}
    worker_only: bool = False
    fires: bool = True


ALONE: Final = NodeOptions()

FAILED_S: Final = 1.0
"""How long the actors of a node that could not be started may take to end."""

_unnamed = count(1)
"""Nodes of this process that were given no name; a name is not used again, so that no two lives of a node are taken for one."""


def node_name(given: str = "") -> str:
    """Return the given name, or one that no other node of the cluster has: the host's, with the process's number."""
    if given:
        return given
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "node"
    number = next(_unnamed)
    return f"{host[:60]}-{os.getpid()}" + (f"-{number}" if number > 1 else "")


def factories(store: Store, runner: Runner, options: NodeOptions = ALONE) -> Mapping[Address, Factory]:
    """Return how to build each actor of a node, in the order in which they start."""

    def executor() -> Actor:
        return Executor(runner, options.labels, options.resources)

    def persistence() -> Actor:
        return Persistence(store)

    def coordinator() -> Actor:
        return Coordinator(durable=store.capabilities.durable, worker_only=options.worker_only)

    return {
        METRICS: Metrics,
        PERSISTENCE: persistence,
        EXECUTOR: executor,
        CLOCK: Clock if options.fires else StoppedClock,
        DEPENDENCIES: Dependencies,
        REGISTRY: Registry,
        COORDINATOR: coordinator,
    }


class Node:
    """Runs the actors of this process on a store, with a runner for the functions.

    Args:
        store: not opened yet; the node opens and closes it.
        runner: not opened yet; the node opens and closes it.
        incarnation: this life of it, as the runner's start marks know it.
        options: what it is, and where it meets others.
        guard: who may connect, and what each may say; None: everybody who reaches it, everything.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner,
        *,
        incarnation: str,
        options: NodeOptions = ALONE,
        guard: Guard | None = None,
    ) -> None:
        self.name = node_name(options.name)
        self.incarnation = incarnation
        self.store = store
        self.stopped: Future[None] = Future()
        self.health = NodeHealth(self.name, candidate=not options.worker_only)
        self._options = options
        self._runner = runner
        self._log = EventLog(self.name)
        self._events = EventQueue(self._count)
        self._lines: ZeroMQ | None = None
        if options.listen or options.join:
            from .transport.zeromq import ZeroMQ

            self._lines = ZeroMQ(
                self.name,
                incarnation,
                listen=options.listen,
                guard=guard,
                found=self._on_found,
                lost=self._on_lost,
                failed=self._on_lines_failed,
            )
        self.transport: Transport = InProcess(self.name) if self._lines is None else self._lines
        self._host: Host | None = None

    @property
    def host(self) -> Host:
        """What runs the actors, once the node is open."""
        assert self._host is not None, "the node is not open"
        return self._host

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where this node listens; the first is where others are sent."""
        return self._lines.endpoints if self._lines is not None else ()

    def open(self) -> None:
        """Open the store, and listen.

        Raises:
            StoreError: the store cannot be used.
            ListenError: an endpoint cannot be bound.
        """
        self.store.open()
        try:
            if self._lines is not None:
                self._make_folders()
                self._lines.open()
        except BaseException:
            self.store.close()
            raise
        self._host = Host(
            self.transport,
            factories(self.store, self._runner, self._options),
            node=self.name,
            incarnation=self.incarnation,
            address=self.endpoints[0] if self.endpoints else "",
            events=self._on_event,
        )

    def _make_folders(self) -> None:
        for endpoint in self._options.listen:
            if endpoint.startswith(SCHEME):
                try:
                    make_folder(endpoint)
                except OSError as error:
                    raise ListenError(f"{endpoint}: its folder cannot be made or used: {error}") from None

    def start(self) -> None:
        """Begin. What goes wrong leaves the node closed."""
        try:
            self._runner.open(self._report)
            self.host.start()
            self._events.start()
            if self._lines is not None:
                for endpoint in self._options.join:
                    self._lines.connect(endpoint)
        except BaseException:
            self.stop(FAILED_S)
            raise

    def stop(self, timeout_s: float) -> None:
        """End the pools, the actors, the lines and the store; what runs still is ended. Twice is harmless."""
        self._runner.close(int(timeout_s * 1_000_000))
        self._events.close()
        if self._host is not None:
            self._host.stop(timeout_s)
        self.transport.close()
        self.store.close()

    def report_drops(self) -> None:
        """Tell metrics what the transport and the host gave up so far; to be called before metrics are asked for."""
        self._events.flush()
        counts = Counter[str](self.transport.dropped()) + Counter(self.host.dropped())
        self.host.tell(METRICS, Dropped(dict(counts)))

    # ---- what comes from threads that are no actor's --------------------------------------------------------------------

    def _report(self, reports: Sequence[Reported]) -> None:
        self.host.tell(EXECUTOR, RunnerReported(tuple(reports)), beyond_limit=True)

    def _on_found(self, node: str, incarnation: str) -> None:
        self._tell_coordinator(PeerFound(node, incarnation))

    def _on_lost(self, node: str, incarnation: str) -> None:
        self._tell_coordinator(PeerLost(node, incarnation))

    def _on_lines_failed(self, reason: str) -> None:
        """A node that hears nobody and is heard by nobody must not go on, least of all as a leader."""
        if self._host is not None:
            self._host.fail(COORDINATOR, "lines_failed", reason)

    def _tell_coordinator(self, message: PeerFound | PeerLost) -> None:
        host = self._host
        if host is not None:
            with suppress(NotRunning):  # a line that stands before the actors do is told of again by its first beat
                host.tell(COORDINATOR, message, beyond_limit=True)

    def _on_event(self, address: Address, event: Any) -> None:
        match event:
            case PeersKnown():
                if self._lines is not None:
                    for node, endpoint in event.peers:
                        self._lines.learn(node, endpoint)
                return
            case PeersForgotten():
                if self._lines is not None:
                    for node in event.nodes:
                        self._lines.forget(node)
                return
            case NodeStopped():
                with suppress(InvalidStateError):  # it says so again when it is asked to stop again
                    self.stopped.set_result(None)
                return
            case LeaderChanged() | ContactChanged() | DrainChanged():
                self.health.on_event(event)
            case _:
                pass
        self._log.write(address, event)
        self._events.put(event)

    def _count(self, events: tuple[Any, ...]) -> None:
        host = self._host
        if host is not None:
            with suppress(NotRunning):
                host.tell(METRICS, *events, beyond_limit=True)


def marks_folder(store: Store) -> Path | None:
    """Return where start marks are kept: beside the store's file, or nowhere for a store without one."""
    path = getattr(store, "path", None)
    return None if path is None else Path(f"{path}.marks")
