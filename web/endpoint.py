"""Where to listen: an address as it is written, what it means on this machine, and the socket there."""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address
from typing import Final, NamedTuple

from ..errors import DefinitionError, ListenError

BACKLOG: Final = 64
"""Connections that wait to be accepted."""

_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^\s:\[\]/@]+)):(?P<port>[0-9]{1,5})")


class Endpoint(NamedTuple):
    """A numeric address of this machine, and a port; 0 is any that is free."""

    family: socket.AddressFamily
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach it."""
        return ip_address(self.host.partition("%")[0]).is_loopback


def find_endpoint(address: str) -> Endpoint:
    """Read `127.0.0.1:8080`, `[::1]:0` or `localhost:8080`; of a name, its first address counts.

    Raises:
        DefinitionError: it is no host and port.
        ListenError: the name is not known.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None or int(parts["port"]) > 65535:
        raise DefinitionError(
            f"an address to serve HTTP at is HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080; {address!r} was given"
        )
    host, port = parts["six"] or parts["host"], int(parts["port"])
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ListenError(f"cannot serve HTTP at {address}: {host!r} is no known host ({error}); give its IP") from None
    return Endpoint(family, str(found[0]), port)


def listen(endpoint: Endpoint) -> socket.socket:
    """Open a socket that listens there.

    Raises:
        ListenError: the port is taken or not allowed, or the address is not this machine's.
    """
    listener = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the port is free at once after a stop
        listener.bind((endpoint.host, endpoint.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(
            f"cannot serve HTTP at {endpoint}: {error.strerror or error}; "
            "give another port (0: any that is free), or end what listens there"
        ) from None
    listener.setblocking(False)
    return listener
