"""Speaking with a scheduler that runs in another process of this machine.

    with Control.of(open_store("sqlite:///jobs.db")) as scheduler:
        scheduler.trigger("ingest").result(timeout=60)

One process at a time owns a store. While a scheduler runs it listens on a socket beside the store's file (`control_path`,
`control_server`), and whoever may open that socket says the same words as the program itself: `Vocabulary`. Functions live in
the other process, so here a job is known by its name.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from os import getpid
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ..actors.actor import Address
from ..actors.messages import Envelope
from ..actors.records import DEFAULT_TENANT
from ..errors import DecodeError, NotRunning
from .control_path import check_folder, control_path
from .frame import FrameReader, write_frames
from .gateway import Gateway
from .option import check_name
from .questions import Target
from .vocabulary import Vocabulary, plain_name

READ_BYTES: Final = 256 * 1024
SEND_S: Final = 30.0
RUNS_A_PAGE: Final = 12
"""Runs that fit into one frame for certain: each may hold a result of 1 MiB and 64 KiB of logs."""


class ControlLine:
    """A connection to a control socket, as the carrier of a gateway.

    Args:
        path: the socket.
        cut: called once, on another thread, when the connection is lost; not by `close`.

    Raises:
        NotRunning: nobody listens there.
    """

    def __init__(self, path: Path, cut: Callable[[str], None]) -> None:
        self._cut = cut
        self._receive: Callable[[Envelope], bool] | None = None
        self._closed = False
        self._sending = threading.Lock()
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            check_folder(path)
            self._link.connect(str(path))
        except OSError as error:
            self._link.close()
            raise NotRunning(f"no scheduler listens on {path} ({error.strerror or error})") from None

    def attach(self, address: Address, receive: Callable[[Envelope], bool]) -> None:
        """Hand what comes to `receive`; a connection has one recipient."""
        del address
        self._receive = receive
        threading.Thread(target=self._listen, name="control-line", daemon=True).start()

    def detach(self, address: Address) -> None:
        """Hand nothing more to it."""
        del address
        self._receive = None

    def send(self, envelope: Envelope) -> None:
        """Send an envelope; one that cannot be sent any more is dropped, as by every transport.

        Raises:
            DataError: a message can never travel.
        """
        framed = write_frames(envelope)
        with self._sending, suppress(OSError):  # whoever listens notices, and says why
            self._link.sendall(framed)

    def close(self) -> None:
        """Let go of the connection. Twice is harmless."""
        self._closed = True
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()

    def _listen(self) -> None:
        frames = FrameReader()
        reason = "the scheduler has closed the connection: it has stopped, or is of another version"
        try:
            while piece := self._link.recv(READ_BYTES):
                for envelope in frames.feed(piece):
                    receive = self._receive
                    if receive is not None:
                        receive(envelope)
        except DecodeError as error:
            reason = f"what came from the scheduler could not be read: {error}; is it of another version?"
        except OSError as error:
            reason = f"the connection to the scheduler broke: {error}"
        if not self._closed:
            self._cut(reason)


class Control(Vocabulary):
    """A scheduler of another process, by its control socket. Use it by `with`, or `close` it.

    Args:
        path: the socket; `Control.of(store)` knows where it is.
        tenant: the tenant that is meant.

    Raises:
        NotRunning: nobody listens there.
    """

    _runs_a_page = RUNS_A_PAGE

    def __init__(self, path: Path, *, tenant: str = DEFAULT_TENANT) -> None:
        self.tenant = check_name(tenant, "a tenant's name")
        self._line = ControlLine(path, self._on_cut)
        self._gateway = Gateway(self._line, f"{getpid()}-{secrets.token_hex(6)}")

    @classmethod
    def of(cls, store: Any, *, tenant: str = DEFAULT_TENANT) -> Self:
        """Connect to the scheduler that runs on a store; the store is not opened for that.

        Raises:
            NotRunning: none runs there, or the store is in memory.
        """
        path = control_path(store)
        if path is None:
            raise NotRunning("a store in memory lives within its process, and cannot be reached from another")
        return cls(path, tenant=tenant)

    def close(self) -> None:
        """Let go of the connection; whoever waits is told. Twice is harmless."""
        self._gateway.close("this connection was closed")
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _on_cut(self, reason: str) -> None:
        self._gateway.close(reason)

    def _open_gateway(self) -> Gateway:
        return self._gateway

    def _name_of(self, job: Target) -> str:
        return plain_name(job)
