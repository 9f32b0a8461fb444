"""A server for HTTP on a port of its own, and how to ask it."""

import http.client
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from callsheet.health import NodeHealth
from callsheet.web import HttpServer

WAIT_S = 10.0
TOKEN = "a-token-that-nobody-guesses"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class Site:
    """A server that has started, the health it shows, and a way to ask it."""

    def __init__(self, server: HttpServer, health: NodeHealth) -> None:
        self.server = server
        self.health = health

    def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        host, _, port = self.server.address.rpartition(":")
        link = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=WAIT_S)
        try:
            link.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = link.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, named, response.read().decode())
        finally:
            link.close()


class MakeSite(Protocol):
    def __call__(
        self, address: str = "127.0.0.1:0", metrics: Callable[[], str] = lambda: "up 1\n", **options: Any
    ) -> Site: ...
