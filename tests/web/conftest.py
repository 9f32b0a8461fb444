"""Servers that are stopped when the test has ended."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from callsheet.health import NodeHealth
from callsheet.web import HttpServer
from support.site import MakeSite, Site


@pytest.fixture
def make_site() -> Iterator[MakeSite]:
    """Makes servers, and stops them."""
    servers: list[HttpServer] = []

    def make(address: str = "127.0.0.1:0", metrics: Callable[[], str] = lambda: "up 1\n", **options: Any) -> Site:
        health = NodeHealth("n1")
        server = HttpServer(address, health.report, metrics, **options)
        servers.append(server)
        server.start()
        return Site(server, health)

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A server at a loopback address, without a token."""
    return make_site()
