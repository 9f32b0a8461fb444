"""What is answered, to whom: the one module that knows Starlette.

    GET /health/live    200 or 503   to everybody: `live`, `not live`
    GET /health/ready   200 or 503   to everybody: `ready`, `not ready`; who may see more: state, node, role, epoch
    GET /metrics        200 or 503   who may see it: Prometheus' text

Who may see more is everybody where no token is set, else who brings it. Nothing here names a job, and nothing changes by being
asked. There are no cookies and no headers for other origins, so a page in a browser can read nothing of it. Such a page may
still make its own name point to this machine, and then *is* of the same origin (DNS rebinding): at a loopback address only
loopback's own names are taken in `Host`. Elsewhere the token does that: a page does not know it.

Metrics are asked of an actor, which may be busy or gone. They are asked on a thread of their own, one question at a time: who
comes meanwhile gets the same answer, and nobody waits longer than the limit. So a node that hangs costs one thread, and still
answers for its health.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import CallsheetError
from ..health import Health
from ..log import LOGGER, quoted

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats)."""

_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:@/\s]+)(?::[0-9]{1,5})?", re.IGNORECASE)


def make_application(
    health: Callable[[], Health],
    metrics: Callable[[], str],
    *,
    token: str | None,
    hosts: tuple[str, ...] | None,
    timeout_s: float,
) -> ASGIApp:
    """Make what answers.

    Args:
        health: must be quick; it is called on the loop's thread.
        metrics: may wait; called on a thread of its own. It raises `CallsheetError` or `TimeoutError` when it has no answer.
        token: what must be brought to see more than yes and no; None: everybody sees all.
        hosts: the names that `Host` may have, in lower case; None: any.
        timeout_s: how long metrics may take.
    """
    answers = _Answers(health, _Scrape(metrics, timeout_s), token)
    routes = [
        Route("/health/live", answers.live, methods=["GET"]),
        Route("/health/ready", answers.ready, methods=["GET"]),
        Route("/metrics", answers.metrics, methods=["GET"]),
    ]
    application = Starlette(routes=routes)
    application.router.redirect_slashes = False  # a redirection would repeat what the Host header said
    return application if hosts is None else _only_for(hosts, application)


class _Answers:
    """The three answers; HEAD is Starlette's affair."""

    def __init__(self, health: Callable[[], Health], scrape: _Scrape, token: str | None) -> None:
        self._health = health
        self._scrape = scrape
        self._token = None if token is None else _digest(token.encode())

    async def live(self, request: Request) -> Response:
        """Say whether the process is of any use."""
        del request
        live = self._health().live
        return PlainTextResponse("live\n" if live else "not live\n", 200 if live else 503)

    async def ready(self, request: Request) -> Response:
        """Say whether it takes work; who brings no token is told no more than that, who brings a wrong one is refused."""
        permitted = self._may_see(request)
        if not permitted and "authorization" in request.headers:
            return _unauthorized()
        health = self._health()
        text = "ready\n" if health.ready else "not ready\n"
        if permitted:
            text += f"state: {health.reason}\nnode: {quoted(health.node)}\nrole: {health.role}\nepoch: {health.epoch}\n"
        return PlainTextResponse(text, 200 if health.ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Hand out the metrics."""
        if not self._may_see(request):
            return _unauthorized()
        text = await self._scrape.text()
        if text is None:
            return PlainTextResponse("no metrics: the scheduler has stopped or does not answer\n", 503)
        return Response(text, media_type=METRICS_TYPE)

    def _may_see(self, request: Request) -> bool:
        if self._token is None:
            return True
        kind, _, brought = request.headers.get("authorization", "").partition(" ")
        # Digests are of one length, so the time that comparing takes tells nothing of the token's either.
        right = hmac.compare_digest(_digest(brought.strip().encode("latin-1")), self._token)
        return right and kind.lower() == "bearer"


class _Scrape:
    """Asks for the metrics. All but `_run` is on the loop's thread."""

    def __init__(self, ask: Callable[[], str], timeout_s: float) -> None:
        self._ask = ask
        self._timeout_s = timeout_s
        self._asked: asyncio.Future[str | None] | None = None

    async def text(self) -> str | None:
        """Return the metrics, or None when there is no answer in time."""
        if self._asked is None or self._asked.done():
            loop = asyncio.get_running_loop()
            asked: asyncio.Future[str | None] = loop.create_future()
            # a daemon: one that never comes back must not keep the process
            thread = threading.Thread(target=self._run, args=(loop, asked), name="scrape", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no thread left
                LOGGER.debug("metrics_unanswered text=%s", quoted(error))
                return None
            self._asked = asked
        with suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(self._asked), self._timeout_s)
        return None

    def _run(self, loop: asyncio.AbstractEventLoop, asked: asyncio.Future[str | None]) -> None:
        text: str | None = None  # it stays so when asking raises what nobody expected, which the thread then reports
        try:
            text = self._ask()
        except (CallsheetError, TimeoutError) as error:
            LOGGER.debug("metrics_unanswered text=%s", quoted(error))
        finally:
            with suppress(RuntimeError):  # the server has stopped meanwhile, and its loop is closed
                loop.call_soon_threadsafe(_complete, asked, text)


def _complete(asked: asyncio.Future[str | None], text: str | None) -> None:
    if not asked.done():
        asked.set_result(text)


def _only_for(hosts: tuple[str, ...], application: ASGIApp) -> ASGIApp:
    """Refuse requests that are meant for another host (421: RFC 9110, section 15.5.20)."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        found = _HOST.fullmatch(Headers(scope=scope).get("host", ""))
        if found is None or found["name"].lower() not in hosts:
            refusal = PlainTextResponse("this address answers only to its own names, such as localhost\n", 421)
            await refusal(scope, receive, send)
        else:
            await application(scope, receive, send)

    return guarded


def _unauthorized() -> Response:
    text = "bring the token: Authorization: Bearer TOKEN\n"
    return PlainTextResponse(text, 401, {"WWW-Authenticate": 'Bearer realm="callsheet"'})


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
