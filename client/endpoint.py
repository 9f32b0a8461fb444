"""Where a cluster is reached: addresses of nodes, and stores, whose lease says where the leader listens."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from ..actors.persistence.sqlite import SQLiteReader
from ..actors.persistence.urls import open_store
from ..errors import DefinitionError, StoreError
from ..transport.endpoint import MAX_DIALED, can_dial, can_listen
from ..transport.local_endpoint import check_folder, is_heard, living_endpoints

MAX_ENDPOINTS: Final = 64
STORES: Final = ("sqlite",)
EXPECTED: Final = "tcp://host:port, ipc:///path/of/a/socket, or a store on this machine such as sqlite:///jobs.db"


class Endpoints:
    """The endpoints that a client was given, checked.

    Args:
        given: one endpoint, or several.

    Raises:
        DefinitionError: there is none, or one is none.
    """

    def __init__(self, given: str | Iterable[str]) -> None:
        if not isinstance(given, Iterable):
            raise DefinitionError(f"an endpoint is text: {EXPECTED}; {given!r} was given")
        several = (given,) if isinstance(given, str) else tuple(given)
        if not 0 < len(several) <= MAX_ENDPOINTS:
            raise DefinitionError(f"a client takes 1 to {MAX_ENDPOINTS} endpoints; {len(several)} were given")
        self._fixed: list[str] = []
        self._stores: list[Path] = []
        for endpoint in several:
            self._take(endpoint)
        self._text = ", ".join(several)

    def __str__(self) -> str:
        return self._text

    def was_given(self, address: str) -> bool:
        """Whether an address is itself one of the endpoints."""
        return address in self._fixed

    def addresses(self) -> list[str]:
        """Where nodes may be reached now, each once. A store that cannot be read adds nothing.

        Raises:
            OSError: a socket lies where anybody could have put it.
        """
        found = dict.fromkeys(self._fixed)
        for path in self._stores:
            found |= dict.fromkeys(addresses_of(path))
        for address in found:
            check_folder(address)
        return list(found)

    def check(self) -> None:
        """See that the stores are there.

        Raises:
            StoreError: one is not, or is no store of ours.
        """
        for path in self._stores:
            leader_address(path)

    def _take(self, endpoint: object) -> None:
        if not isinstance(endpoint, str):
            raise DefinitionError(f"an endpoint is text: {EXPECTED}; {endpoint!r} was given")
        match endpoint.partition("://")[0]:
            case "tcp" if can_dial(endpoint):
                self._fixed.append(endpoint)
            case "ipc" if can_dial(endpoint) and endpoint.removeprefix("ipc://").startswith("/"):
                self._fixed.append(endpoint)
            case scheme if scheme in STORES:
                path = getattr(open_store(endpoint), "path", None)
                assert isinstance(path, Path), "these stores are files"
                self._stores.append(path)
            case _:
                raise DefinitionError(f"{endpoint!r} is no endpoint; expected {EXPECTED}")


def endpoints_of(given: Sequence[str] | str, word: Literal["listen", "join"]) -> tuple[str, ...]:
    """Read the endpoints of a node as a person gives them; nothing is opened.

    Raises:
        DefinitionError: one is none, or there are too many.
    """
    several = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    fits, example = (
        (can_listen, "tcp://127.0.0.1:7070, or port 0 for any that is free")
        if word == "listen"
        else (can_dial, "tcp://10.0.0.5:7070")
    )
    for endpoint in several:
        if not isinstance(endpoint, str) or not fits(endpoint):
            raise DefinitionError(f"{word} takes endpoints such as {example}, or ipc:///path; {endpoint!r} was given")
    if len(set(several)) > MAX_DIALED:
        raise DefinitionError(f"{word} takes at most {MAX_DIALED} endpoints; {len(set(several))} were given")
    return several


def addresses_of(store: Path) -> list[str]:
    """Return where nodes on a store may be reached: first its leader, then those that listen beside it."""
    with suppress(StoreError):
        address = leader_address(store)
        return list(dict.fromkeys([*([address] if address else []), *living_endpoints(store)]))
    return living_endpoints(store)


def leader_address(store: Path) -> str:
    """Return where the leader of a store's last reign listens, by the lease in its file; empty if nowhere.

    Raises:
        StoreError: the file is not there, or no store of ours.
    """
    reader = SQLiteReader(store)
    reader.open()
    try:
        lease = reader.lease()
    finally:
        reader.close()
    return "" if lease is None else lease.address


def is_listening(address: str, within_s: float) -> bool:
    """Whether somebody takes connections at an address; who that is, is not asked."""
    parts = urlsplit(address)
    try:
        if parts.scheme == "ipc":
            return is_heard(address.removeprefix("ipc://"))
        socket.create_connection((parts.hostname or "", parts.port or 0), within_s).close()
    except OSError:
        return False
    return True
