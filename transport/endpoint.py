"""What an endpoint is: the one place that says which text can be dialed, and at which can be listened.

| endpoint | |
|---|---|
| `tcp://HOST:PORT` | a name or address, and a port from 1 to 65,535; whoever listens may say `*` for all addresses, and 0 or `*` for any free port |
| `ipc://PATH` | a socket of this machine; the path may have blanks, but no control characters |
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

EXPECTED: Final = "tcp://HOST:PORT or ipc://PATH"
"""For the text of an error."""

MAX_DIALED: Final = 200
"""Endpoints that one process dials at once; each takes three sockets of ZeroMQ's 1,023."""

MAX_PORT: Final = 65_535

_TCP: Final = re.compile(r"tcp://(?P<host>[^\s/?#@]+):(?P<port>[0-9]{1,5}|\*)")
_IPC: Final = re.compile(r"ipc://[^\x00-\x1f\x7f\ud800-\udfff]+")


def can_dial(endpoint: str) -> bool:
    """Whether a line can be opened to this endpoint, as far as its text tells."""
    tcp = _TCP.fullmatch(endpoint)
    if tcp is None:
        return _IPC.fullmatch(endpoint) is not None
    return tcp["host"] != "*" and tcp["port"].isdigit() and 0 < int(tcp["port"]) <= MAX_PORT


def can_listen(endpoint: str) -> bool:
    """Whether a node can listen at this endpoint, as far as its text tells."""
    tcp = _TCP.fullmatch(endpoint)
    if tcp is None:
        return _IPC.fullmatch(endpoint) is not None
    return tcp["port"] == "*" or int(tcp["port"]) <= MAX_PORT


def name_in(endpoint: str) -> str:
    """The host name of an endpoint, which must be looked up before it is dialed; empty where there is none."""
    tcp = _TCP.fullmatch(endpoint)
    if tcp is None:
        return ""
    host = tcp["host"].strip("[]")
    try:
        ip_address(host)
    except ValueError:
        return host
    return ""


def at_address(endpoint: str, address: str) -> str:
    """The endpoint with the address that its host name leads to."""
    tcp = _TCP.fullmatch(endpoint)
    assert tcp is not None, f"{endpoint!r} has no host"
    return f"tcp://{address}:{tcp['port']}"
