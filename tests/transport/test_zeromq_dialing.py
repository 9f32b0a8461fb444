"""Lines that ZeroMQ itself gives up: they are dialed anew."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from callsheet.transport.security import DialGuard, KeyFolder, KeyGuard
from support.carrying import Network, names
from support.waiting import eventually

AT: Final = "2026-01-01T00:00:00Z"
WAIT_S: Final = 10.0

# ZMTP 3.0 (RFC 23): a listener that is a ROUTER without keys, and a frame of 2^40 bytes
GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY: Final = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"
FAR_TOO_LARGE: Final = b"\x02" + (2**40).to_bytes(8, "big")


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.new("cluster", "node", "*", AT)
    return folder


def test_who_is_let_in_only_after_he_has_dialed_comes_in(
    network: Network, keys: KeyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.transport.zeromq.dialer.REST_MS", 20)
    n1 = network.node("n1", guard=KeyGuard(keys))
    pair, secret = KeyFolder(tmp_path / "bob").new_alone("bob", keys.pair().public)
    client = network.open("client-7", guard=DialGuard(secret))

    client.connect(n1.endpoints[0])
    eventually(client.refusals)
    assert "the key was not let in" in client.refusals()[n1.endpoints[0]]
    keys.allow("bob", pair.public, "viewer", "default", AT)

    eventually(lambda: names(client) == ["n1"])
    assert client.refusals() == {}


def test_a_line_on_which_the_protocol_of_zeromq_was_broken_is_dialed_anew(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.transport.zeromq.dialer.DIAL_AGAIN_MS", 100, raising=False)
    n1 = network.node("n1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        n1.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")

        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(WAIT_S)
                connection.sendall(GREETING + READY)
                assert connection.recv(1).startswith(b"\xff")
                connection.sendall(FAR_TOO_LARGE)
                while connection.recv(4096):  # until the other end has closed it
                    pass
