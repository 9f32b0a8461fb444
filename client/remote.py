"""The client: a cluster's words, said from a program that is no node of it.

    with Client("tcp://10.0.0.5:7411", key="ops.key") as client:
        client.submit("ingest", "2026-03-01").result(timeout=60)

    endpoints ── connect ──▶ any node ◀── Follow ── gateway ── everything else ──▶ the leader
    lease of a store ──┘         └──── LeaderIs(node, address) ── learn ───────────┘

It needs one node that lives: that one says who leads, and the client goes there, and on to the next leader when that changes.
Where the only endpoint is a store, the lease in it is read again for as long as nobody is known to lead. Functions live in the
nodes, so here a job is known by its name.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from os import PathLike, getpid
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from ..actors.records import DEFAULT_TENANT
from ..errors import CallsheetError, NotRunning
from ..transport.contract import Guard
from .endpoint import Endpoints
from .gateway import REQUEST_S, Gateway
from .leadership import Leader
from .option import check_name, duration_us
from .questions import Target
from .vocabulary import Vocabulary, plain_name

if TYPE_CHECKING:
    from ..transport.zeromq import ZeroMQ

MAX_LEARNED: Final = 16
"""Addresses beside those that were given, of nodes that lead or have led; the earliest is dialed no more."""


class Client(Vocabulary):
    """A cluster, or a scheduler in another process. Use it by `with`, or `open` and `close` it. It may be used from any thread.

    Args:
        endpoints: where nodes are reached, one or several: `tcp://host:port`, `ipc:///path`, or a store on this machine such
            as `sqlite:///jobs.db`, in which stands where its leader listens.
        key: the file that `callsheet keys new` made for this client; without one nothing is encrypted.
        tenant: the tenant that is meant.
        timeout: how long to wait for an answer, in seconds, unless said otherwise; also for the first, when it is opened.

    Raises:
        DefinitionError: an endpoint or the tenant's name cannot be.
        SecurityError: the key cannot be used.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str],
        *,
        key: str | PathLike[str] | None = None,
        tenant: str = DEFAULT_TENANT,
        timeout: float = REQUEST_S,
    ) -> None:
        self.tenant = check_name(tenant, "a tenant's name")
        self._endpoints = Endpoints(endpoints)
        self._request_s = duration_us(timeout, "timeout") / 1_000_000
        self._guard = _guard(key)
        self._transport: ZeroMQ | None = None
        self._gateway: Gateway | None = None
        self._dialed: dict[str, str] = {}
        self._state = Lock()
        self._process = 0
        self._reason = "this client is not open; use `with Client(…) as client:`, or call open()"

    def open(self, timeout: float | None = None) -> Self:
        """Connect, and find who leads, within `timeout` seconds; that of the client unless it is said.

        Raises:
            StoreError: a store that is an endpoint is not there, or none of ours.
            TimeoutError: nobody said in time who leads.
            NotRunning: it is open already, or was when this process was forked from the one that opened it; or it was closed
                while this waited.
        """
        from ..transport.zeromq import ZeroMQ

        limit_s = self._request_s if timeout is None else duration_us(timeout, "timeout") / 1_000_000
        self._refuse_in_fork()
        self._endpoints.check()
        with self._state:
            if self._gateway is not None:
                raise NotRunning("this client is open already")
            incarnation = f"{getpid()}-{secrets.token_hex(6)}"
            name = f"client-{incarnation}"
            transport = ZeroMQ(name, incarnation, guard=self._guard, found=self._on_found, lost=self._on_lost)
            gateway = Gateway(
                transport,
                incarnation,
                node=name,
                reached=str(self._endpoints),
                on_leader=self._on_leader,
                seek=self._seek,
                timeout_s=self._request_s,
            )
            self._process = getpid()
            self._transport, self._gateway = transport, gateway
        try:
            transport.open()
            self._connect()
            if not gateway.wait_for_leader(limit_s):
                why = "; ".join(
                    f"{endpoint}: {refusal}" for endpoint, refusal in transport.refusals().items() if refusal
                )
                raise gateway.nobody_leads(limit_s, why)
        except NotRunning:  # it was closed while this waited
            self.close()
            raise NotRunning(self._reason) from None
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Let go of all connections; whoever waits is told. Twice is harmless, and in a fork of the process that opened it."""
        if self._is_of_parent:
            return
        with self._state:
            transport, gateway = self._transport, self._gateway
            self._transport = self._gateway = None
            self._dialed.clear()
            if gateway is not None:
                self._reason = "this client was closed"
        if gateway is not None:
            gateway.close(self._reason)
        if transport is not None:
            transport.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def leader(self) -> Leader | None:
        """Who is asked: the node that leads, its epoch and where it listens; None while nobody is known to."""
        return self._open_gateway().leader

    # ---- the line -------------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Connect to every endpoint that is known now and was not before."""
        transport = self._transport
        if transport is None:
            return
        for address in self._endpoints.addresses():
            if self._dial(address):
                transport.connect(address)

    def _seek(self) -> None:
        with suppress(OSError, CallsheetError):  # what is connected stays so, whatever stands in the lease now
            self._connect()

    def _on_leader(self, leader: Leader) -> None:
        transport = self._transport
        if transport is not None and leader.address:
            self._dial(leader.address, leader.node)
            transport.learn(leader.node, leader.address)

    def _dial(self, address: str, node: str = "") -> bool:
        """Note an address as dialed, and give up the earliest of too many; say whether it was not yet.

        A node that leads there takes the place of the one that did before, which is an earlier life of it.
        """
        transport = self._transport
        with self._state:
            is_new = address not in self._dialed
            before = self._dialed.get(address, "")
            if not self._endpoints.was_given(address):
                self._dialed.pop(address, None)
            self._dialed[address] = node or before
            learned = [each for each in self._dialed if not self._endpoints.was_given(each)]
            too_many = learned[:-MAX_LEARNED]
            for each in too_many:
                del self._dialed[each]
        if transport is not None:
            if before and node not in ("", before):
                transport.forget(before)
            for each in too_many:
                transport.disconnect(each)
        return is_new

    def _on_found(self, node: str, incarnation: str) -> None:
        del incarnation
        gateway = self._gateway
        if gateway is not None:
            gateway.found(node)

    def _on_lost(self, node: str, incarnation: str) -> None:
        del incarnation
        gateway = self._gateway
        if gateway is not None:
            gateway.lost(node)

    # ---- what the vocabulary stands on ----------------------------------------------------------------------------------

    @property
    def gateway(self) -> Gateway:
        """What requests go through. `AsyncClient` waits on its futures.

        Raises:
            NotRunning: this client is not open, or not in this process.
        """
        return self._open_gateway()

    @property
    def _is_of_parent(self) -> bool:
        """Whether this process was forked from the one in which it is open: its locks may be held there for ever."""
        return self._gateway is not None and getpid() != self._process

    def _refuse_in_fork(self) -> None:
        if self._is_of_parent:
            raise NotRunning(
                f"this client was opened in process {self._process}, from which this one ({getpid()}) was forked; its threads and "
                "connections stay there. Open it after the fork, in each process, or make another one here"
            )

    def _open_gateway(self) -> Gateway:
        self._refuse_in_fork()
        gateway = self._gateway
        if gateway is None:
            raise NotRunning(self._reason)
        return gateway

    def _name_of(self, job: Target) -> str:
        return plain_name(job)


def _guard(key: str | PathLike[str] | None) -> Guard | None:
    if key is None:
        return None
    from ..transport.security import DialGuard

    return DialGuard(key)
