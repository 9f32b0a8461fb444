"""What carries HTTP: the one module that knows Uvicorn, and keeps it from the program it is a guest of.

Uvicorn is used as a part of any program, of a web application that is itself served by Uvicorn, too. So its loggers, which are
the process's, are left as they are; signals are the program's (off the main thread Uvicorn takes none); and what a stranger may
hold is limited: connections, the size of a head, the time for it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 64
"""Connections at once; further ones are closed unanswered."""
MAX_HEAD_BYTES: Final = 16 * 1024
HEAD_S: Final = 10
"""How long a connection may take for a request's head, the first one or, twice as long at most, a later one."""
KEEP_ALIVE_S: Final = 15
"""How long a connection may rest between requests: no longer, for each that rests takes a place."""
GRACE_S: Final = 1
"""How long answers that are under way may take when it stops."""

HEADERS: Final = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
"""On each answer."""


class Engine(uvicorn.Server):
    """Serves an application on a socket that listens already; `serving` is set when it does."""

    def __init__(self, application: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                interface="asgi3",
                loop="asyncio",
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                headers=HEADERS,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            )
        )
        self.serving = threading.Event()

    def connections(self) -> list[int]:
        """The descriptors of all connections, −1 for one that is closed."""
        found = [each.transport.get_extra_info("socket") for each in self.server_state.connections]
        return [each.fileno() for each in found if each is not None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, and say so."""
        await super().startup(sockets)
        self.serving.set()


class _Connection(H11Protocol):
    """One connection, within limits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # A scrape every few seconds is no news. Config(access_log=False) would silence the program's own Uvicorn as well.
        self.access_log = False
        self._look_timer: asyncio.TimerHandle | None = None
        self._seen: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as Uvicorn does
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._look_timer = self.loop.call_later(HEAD_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """End it when no request has begun since the last look, and none is under way; one that rests Uvicorn ends itself."""
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self.cycle is self._seen and self.timeout_keep_alive_task is None:
            self.transport.abort()
            return
        self._seen = self.cycle
        self._look_timer = self.loop.call_later(HEAD_S, self._look)
