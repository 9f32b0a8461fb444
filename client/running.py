"""A scheduler's own node while it runs: opened, started, served over HTTP when asked for, and stopped in order.

    store, runner ─▶ Node ─▶ listens ─▶ actors ─▶ Gateway: requests go to whoever leads the cluster

Every process that opens the same durable store is a node of the same cluster. On one machine its nodes listen at sockets
beside the store, where only its owner may connect; what else they listen at is said by `listen`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ..actors.actor import COORDINATOR, METRICS
from ..actors.executor.runner import Runner
from ..actors.messages import ReportMetrics, Stop
from ..actors.persistence.store import Store
from ..descriptor import check_room
from ..errors import DefinitionError, NotRunning
from ..node import FAILED_S, Node, NodeOptions
from ..transport.local_endpoint import ipc_endpoint
from .gateway import Gateway

if TYPE_CHECKING:
    from ..web import HttpServer

DESCRIPTORS: Final = 40
"""Files and sockets that must be free for a scheduler to start: it takes up to 30 for itself, and jobs need some."""

RELEASE_S: Final = 3.0
"""What is kept of the time to stop for making running jobs end."""

RELEASING_S: Final = 8.0
"""How long the coordinator may take to make running jobs end, and a little more."""

FAILED: Final = (
    "the scheduler has failed and does no more; what was acknowledged is in the store. Stop it and start it again"
)


class Doors(Struct, frozen=True, kw_only=True):
    """How others reach a scheduler.

    `keys` is the folder of keys that the network side needs; `insecure` listens without them, and serves HTTP without a token,
    where strangers can come in. `http` is where health and metrics are served, `127.0.0.1:8080`, and `http_token` who may read
    them.
    """

    keys: str | None = None
    insecure: bool = False
    http: str | None = None
    http_token: str | None = None


class Running:
    """A node that runs, and the gateway to its cluster.

    Raises:
        CallsheetError: too few files can be opened.
    """

    def __init__(self, store: Store, runner: Runner, incarnation: str, options: NodeOptions, doors: Doors) -> None:
        check_room(DESCRIPTORS, "a scheduler")
        if not options.worker_only:
            options = _with_own_socket(store, incarnation, options)
        elif not options.join:
            raise DefinitionError(
                "a node that only works joins others; say where they listen: join=['tcp://host:port']"
            )
        guard: Any = None
        if options.listen or options.join:
            from ..transport.security import make_guard

            guard = make_guard(options.listen, doors.keys, insecure=doors.insecure)
        self._process = os.getpid()
        self.node = Node(store, runner, incarnation=incarnation, options=options, guard=guard)
        self._incarnation = incarnation
        self._http = self._make_http(doors)
        self._over: Future[None] = Future()

    def start(self) -> None:
        """Open the store, listen, and begin. What goes wrong leaves nothing behind.

        Raises:
            StoreError: the store cannot be used.
            ListenError: an endpoint cannot be bound.
        """
        node = self.node
        node.open()
        node.start()
        gateway: Gateway | None = None
        try:
            self.gateway = gateway = Gateway(node.transport, self._incarnation, node=node.name)
            node.host.failed.add_done_callback(self._on_failed)
            if self._http is not None:
                self._http.start()
        except BaseException:
            if gateway is not None:
                gateway.close("the scheduler could not be started")
            node.stop(FAILED_S)
            raise

    def _make_http(self, doors: Doors) -> HttpServer | None:
        if doors.http is None:
            return None
        from ..web import HttpServer

        return HttpServer(
            doors.http, self.node.health.report, self.metrics, token=doors.http_token, insecure=doors.insecure
        )

    def metrics(self) -> str:
        """The counters of this node in Prometheus' text format."""
        self.node.report_drops()
        text: str = self.gateway.request(ReportMetrics(self.gateway.key()), to=METRICS, timeout_s=4.0).text
        return text

    @property
    def http_address(self) -> str:
        """Where health and metrics are served, empty if nowhere."""
        return self._http.address if self._http is not None else ""

    @property
    def failed(self) -> Future[str]:
        """Done with the reason when an actor, or the lines to other nodes, cannot be kept alive."""
        return self.node.host.failed

    @property
    def is_of_parent(self) -> bool:
        """Whether this process was forked from the one that runs it: nothing of it may be used here, or closed."""
        return os.getpid() != self._process

    def refusal_in_fork(self) -> NotRunning:
        """What a forked child is told."""
        return NotRunning(
            f"this scheduler was started in process {self._process}, from which this one ({os.getpid()}) was forked; its threads, "
            "sockets and store stay there. Start it after the fork, in each process (with gunicorn: in post_fork), or make "
            "another one here"
        )

    @property
    def ended(self) -> bool:
        """Whether the node was stopped from outside, or has failed."""
        return self.node.stopped.done() or self.failed.done()

    def when_over(self, call: Callable[[], object]) -> None:
        """Call when the node has ended, or was stopped from here; at once if it was before. It may be called more than once."""
        for reason in (self.node.stopped, self.failed, self._over):
            reason.add_done_callback(lambda _: call())

    def _on_failed(self, failed: Future[str]) -> None:
        self.node.health.fail()
        self.gateway.close(f"{FAILED}: {failed.result()}")

    def stop(self, drain_s: float, stop_s: float) -> None:
        """Let what runs end within `drain_s`, then make it; all of it within `stop_s`."""
        node, gateway = self.node, self.gateway
        until = time.monotonic() + stop_s
        drain_s = min(drain_s, max(0.0, stop_s - RELEASE_S))
        node.health.drain()
        stopped = gateway.expect("stopped")
        if not self.ended:
            node.host.tell(COORDINATOR, Stop(int(drain_s * 1e6)), sender=gateway.address)
            # what did not end in time is ended with the pools; the store knows what it was
            with suppress(TimeoutError, NotRunning):
                stopped.result(min(stop_s, drain_s + RELEASING_S))
        if self._http is not None:
            self._http.stop()
        node.stop(min(5.0, max(0.5, until - time.monotonic())))
        gateway.close("the scheduler has stopped; start it again to go on")
        self._over.set_result(None)

    def hurry(self) -> None:
        """While it stops: do not wait any longer for running jobs to end by themselves."""
        self.node.host.tell(COORDINATOR, Stop(0, hurry=True), sender=self.gateway.address)


def _with_own_socket(store: Store, incarnation: str, options: NodeOptions) -> NodeOptions:
    """Let a node whose store others of this machine may open be found by them."""
    path: Path | None = getattr(store, "path", None)
    if path is None or not options.fires or not store.capabilities.many_processes:
        return options
    return replace(options, listen=(*options.listen, ipc_endpoint(path, incarnation)))
