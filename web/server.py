"""The HTTP server of a node: off unless asked for, on a thread and an event loop of its own.

    server = HttpServer("127.0.0.1:8080", health.report, metrics)
    server.start()
    …
    server.stop()

By default it listens only to this machine. Where others could reach it a token is needed, or it is refused, because metrics
tell what a business does and when. What it answers: `application.py`.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import ExtraMissing, ListenError, SecurityError
from ..forks import Descriptors, forking, register
from ..health import Health
from .endpoint import Endpoint, find_endpoint, listen

if TYPE_CHECKING:
    from .engine import Engine

METRICS_S: Final = 5.0
"""How long metrics may take: half of what Prometheus waits by default."""
START_S: Final = 10.0
STOP_S: Final = 5.0
MIN_TOKEN_LENGTH: Final = 16
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, section 2.1."""


class HttpServer:
    """Answers for health and metrics.

    Args:
        address: `127.0.0.1:8080`, `[::1]:0`, `localhost:8080`; port 0 is any that is free.
        health: says how the node does; must be quick.
        metrics: returns Prometheus' text; it may wait, and raises `CallsheetError` or `TimeoutError` when it has no answer.
        token: who does not bring it (`Authorization: Bearer …`) gets yes or no and nothing else. At least 16 characters.
        insecure: listen where others reach it although there is no token.
        metrics_timeout_s: after how long a scrape is answered by 503.

    Raises:
        DefinitionError: the address is none.
        ListenError: the host of the address is not known.
        SecurityError: others would reach it without a token, or the token is empty, short or cannot be sent.
    """

    def __init__(
        self,
        address: str,
        health: Callable[[], Health],
        metrics: Callable[[], str],
        *,
        token: str | None = None,
        insecure: bool = False,
        metrics_timeout_s: float = METRICS_S,
    ) -> None:
        self._endpoint = find_endpoint(address)
        _check_token(token)
        if not self._endpoint.is_loopback and token is None and not insecure:
            raise SecurityError(
                f"{address} can be reached from other machines, and no token is set; set one "
                "(python -c 'import secrets; print(secrets.token_urlsafe())'), serve HTTP at 127.0.0.1 only, or say `insecure` where "
                "nobody else can reach this network"
            )
        self._health = health
        self._metrics = metrics
        self._token = token
        self._metrics_timeout_s = metrics_timeout_s
        self._engine: Engine | None = None
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where it listens, with the port that was found once it has started."""
        return str(self._endpoint)

    def start(self) -> None:
        """Begin to answer; once.

        Raises:
            ListenError: the port is taken or not allowed, or the address is not this machine's.
            ExtraMissing: what serves HTTP is not installed.
        """
        assert self._thread is None, "an HttpServer starts once; make a new one"
        engine = self._make_engine()
        with forking:
            self._listener = listener = listen(self._endpoint)
            register(self)
        self._endpoint = self._endpoint._replace(port=listener.getsockname()[1])
        self._engine = engine
        self._thread = threading.Thread(target=engine.run, args=([listener],), name="http", daemon=True)
        self._thread.start()
        if not engine.serving.wait(START_S):
            self.stop()
            raise ListenError(f"the HTTP server at {self.address} did not begin within {START_S:g} s")

    def stop(self) -> None:
        """Answer what is under way, and let go of the port. Twice is harmless, and so is never having started."""
        if self._engine is None or self._thread is None:
            return
        self._engine.should_exit = True
        self._thread.join(STOP_S)

    def let_go(self) -> None:
        """In a forked child: listen no more, and hold no connection; all of it is the parent's."""
        shared = Descriptors()
        if self._listener is not None:
            shared.add(self._listener.fileno())
        if self._engine is not None:
            for descriptor in self._engine.connections():
                shared.add(descriptor)
        shared.close_in_child()

    def _make_engine(self) -> Engine:
        try:
            from .application import make_application
            from .engine import Engine
        except ModuleNotFoundError as error:
            raise ExtraMissing(
                f"HTTP needs packages that are not installed ({error.name}): pip install 'callsheet[http]'"
            ) from None
        application = make_application(
            self._health,
            self._metrics,
            token=self._token,
            hosts=_own_names(self._endpoint),
            timeout_s=self._metrics_timeout_s,
        )
        return Engine(application)


def _check_token(token: str | None) -> None:
    """Refuse a token that is easily guessed, or empty because a variable was not set."""
    if token is None or (len(token) >= MIN_TOKEN_LENGTH and _TOKEN.fullmatch(token)):
        return
    raise SecurityError(
        f"a token for HTTP has at least {MIN_TOKEN_LENGTH} letters, digits and -._~+/; the given one has {len(token)} "
        "characters"
        + ("" if len(token) < MIN_TOKEN_LENGTH else ", others among them")
        + "; make one by: python -c 'import secrets; print(secrets.token_urlsafe())'"
    )


def _own_names(endpoint: Endpoint) -> tuple[str, ...] | None:
    """What `Host` may say where only this machine listens; elsewhere nobody knows what it is called."""
    if not endpoint.is_loopback:
        return None
    bound = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return (*LOOPBACK_NAMES, bound)
