"""Where the server listens, and how it begins and ends."""

import logging
import signal
import socket
import sys
import threading

import pytest

from callsheet.errors import CallsheetError, DefinitionError, ExtraMissing, ListenError, SecurityError
from callsheet.health import NodeHealth
from callsheet.web import HttpServer, engine
from support.forking import forked_child
from support.site import TOKEN, WAIT_S, MakeSite, Site
from support.waiting import eventually

HEALTH = NodeHealth("n1").report


def make_server(address: str, token: str | None = None, *, insecure: bool = False) -> HttpServer:
    return HttpServer(address, HEALTH, str, token=token, insecure=insecure)


def connect(site: Site) -> socket.socket:
    host, _, port = site.server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"])
def test_an_address_that_others_reach_is_refused_without_a_token(address: str) -> None:
    with pytest.raises(SecurityError, match=r"reached from other machines, and no token is set; set one"):
        make_server(address)


def test_with_a_token_any_address_is_served_under_any_name(make_site: MakeSite) -> None:
    site = make_site("0.0.0.0:0", token=TOKEN)

    assert site.get("/metrics", Host="scheduler.example").status == 401
    assert site.get("/metrics", Host="scheduler.example", Authorization=f"Bearer {TOKEN}").status == 200


def test_an_open_address_is_served_when_that_is_said(make_site: MakeSite) -> None:
    assert make_site("0.0.0.0:0", insecure=True).get("/metrics").status == 200


@pytest.mark.parametrize(
    "token", ["", "short", "fifteen-letters", "with spaces in it, and commas", "ümläute-sind-nicht-erlaubt"]
)
def test_a_token_that_is_weak_or_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(SecurityError, match=r"at least 16 .*secrets.token_urlsafe"):
        make_server("127.0.0.1:0", token)


@pytest.mark.parametrize(
    "address",
    ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:80", "http://localhost:80"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(DefinitionError, match=r"HOST:PORT"):
        make_server(address)


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(ListenError, match=r"no-such-host.invalid"):
        make_server("no-such-host.invalid:80")


@pytest.mark.parametrize("address", ["localhost:0", "127.0.0.2:0", "[::1]:0"])
def test_any_loopback_address_is_served_under_its_own_name(make_site: MakeSite, address: str) -> None:
    if address.startswith("[") and not _has_loopback_six():
        pytest.skip("this machine has no IPv6")
    site = make_site(address)

    assert not site.server.address.endswith(":0")
    assert site.get("/health/live", Host=site.server.address).status == 200


def _has_loopback_six() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_port_that_is_taken_is_told(site: Site) -> None:
    second = make_server(site.server.address)

    with pytest.raises(ListenError, match=rf"{site.server.address}: .*in use; give another port"):
        second.start()
    second.stop()
    assert site.get("/health/live").status == 200


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:0"):
        make_server("192.0.2.1:0", TOKEN).start()


def test_stopping_frees_the_port_and_ends_the_thread(make_site: MakeSite) -> None:
    first = make_site()
    assert first.get("/health/live").status == 200

    first.server.stop()
    first.server.stop()

    assert "http" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(ConnectionRefusedError):
        first.get("/health/live")
    assert make_site(first.server.address).get("/health/live").status == 200


def test_stopping_does_not_wait_for_a_connection_that_rests(make_site: MakeSite) -> None:
    site = make_site()
    with connect(site) as silent, connect(site) as resting:
        resting.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert resting.recv(1024).startswith(b"HTTP/1.1 200 ")
        site.server.stop()

        assert "http" not in [thread.name for thread in threading.enumerate()]
        assert silent.recv(1024) == b""


def test_a_server_that_never_started_stops() -> None:
    make_server("127.0.0.1:0").stop()


@pytest.mark.parametrize("library", ["starlette", "uvicorn"])
def test_a_missing_extra_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("callsheet.web.application", "callsheet.web.engine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(ExtraMissing, match=r"pip install 'callsheet\[http\]'") as raised:
        make_server("127.0.0.1:0").start()
    assert isinstance(raised.value, CallsheetError)


def test_the_signals_and_loggers_of_the_program_are_left_alone(make_site: MakeSite) -> None:
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio")]

    def state() -> list[object]:
        return [
            *((each.level, list(each.handlers), each.propagate, each.disabled) for each in loggers),
            *(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)),
        ]

    before = state()
    site = make_site()
    site.get("/health/live")
    during = state()
    site.server.stop()

    assert before == during == state()


def test_scrapes_are_not_logged(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert make_site().get("/metrics").status == 200

    assert not [record for record in caplog.records if "/metrics" in record.getMessage()]


def test_connections_beyond_the_limit_are_closed(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_CONNECTIONS", 2)
    site = make_site()
    with connect(site) as first, connect(site) as second, connect(site) as third:
        assert _is_closed(third)
        for link in (first, second):
            link.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert link.recv(1024).startswith(b"HTTP/1.1 200 ")
    assert eventually(lambda: _status(site)) == 200


def _status(site: Site) -> int:
    try:
        return site.get("/health/live").status
    except ConnectionError:
        return 0  # the places are free only when the loop has seen that the others went


def _is_closed(link: socket.socket) -> bool:
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_connection_that_asks_nothing_is_closed(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "HEAD_S", 0.05)
    site = make_site()
    with connect(site) as link:
        link.sendall(b"GET /health/live HTTP/1.1\r\nHost: loc")
        assert _is_closed(link)


def test_a_connection_that_asked_once_and_then_dawdles_is_closed(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HEAD_S", 0.3)
    site = make_site()
    with connect(site) as link:
        link.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert _read_until(link, b"live\n").startswith(b"HTTP/1.1 200 ")
        link.sendall(b"GET /health/live HTTP/1.1\r\nHost: loc")
        assert _is_closed(link)


def _read_until(link: socket.socket, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        piece = link.recv(1024)
        assert piece, f"closed after {read!r}"
        read += piece
    return read


def test_a_request_that_is_answered_slowly_is_not_ended(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "HEAD_S", 0.3)
    never = threading.Event()

    def slow() -> str:
        never.wait(1.0)
        return "slow 1\n"

    assert make_site(metrics=slow).get("/metrics")[::2] == (200, "slow 1\n")


def test_a_head_that_is_too_long_is_refused(site: Site) -> None:
    with connect(site) as link:
        link.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2 * engine.MAX_HEAD_BYTES)
        assert link.recv(1024).startswith(b"HTTP/1.1 400 ")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_keeps_neither_the_port_nor_a_connection(make_site: MakeSite) -> None:
    site = make_site()
    with connect(site) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(10_000).startswith(b"HTTP/1.1 ")

        with forked_child():
            assert site.get("/health/live").status in (200, 503)
            site.server.stop()

            read_all(connection)  # else it would last until its time is up
            make_site(site.server.address)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other end has closed the connection."""
    found = b""
    while part := connection.recv(10_000):
        found += part
    return found
