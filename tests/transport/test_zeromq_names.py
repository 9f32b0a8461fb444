"""Host names that are dialed: looked up beside the lines, told when they are unknown, and looked up again when they have moved."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from callsheet.transport.zeromq import ZeroMQ
from callsheet.transport.zeromq.lookup import MAX_UNDER_WAY, LookedUp, Lookups
from support.carrying import Network, mailbox, names, noted
from support.thread import no_thread_called
from support.waiting import eventually

WAIT_S = 10.0


class Names:
    """A name server: `fast.test` is this machine, what `slow.test` is it says when it is let, and it may forget."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.known: dict[str, str] = {"fast.test": "127.0.0.1", "slow.test": "127.0.0.1"}
        self.let = threading.Event()

    def look_up(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        if host == "slow.test":
            assert self.let.wait(WAIT_S)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.known[host], 0))]


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made.look_up)
    yield made
    made.let.set()


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


def named(host: str, node: ZeroMQ) -> str:
    """Where a node listens, by the name of its host."""
    return node.endpoints[0].replace("127.0.0.1", host)


def test_a_name_that_is_looked_up_slowly_holds_up_no_other_line(network: Network, name_server: Names) -> None:
    n1, n2, n3 = network.node("n1"), network.node("n2"), network.node("n3")
    clock = mailbox(n2, "clock")

    n1.learn("n3", named("slow.test", n3))
    eventually(lambda: name_server.asked == ["slow.test"])
    n1.learn("n2", named("fast.test", n2))
    eventually(lambda: names(n1) == ["n2"])
    n1.send(noted("a", "clock@n2"))
    eventually(lambda: clock.keys == ["a"])

    name_server.let.set()
    eventually(lambda: sorted(names(n1)) == ["n2", "n3"])
    assert name_server.asked == ["slow.test", "fast.test"]


def test_a_name_that_is_being_looked_up_is_not_asked_for_again(name_server: Names) -> None:
    rung = threading.Semaphore(0)
    lookups = Lookups(rung.release)

    for _ in range(3):
        lookups.ask("slow.test")
    name_server.let.set()

    assert rung.acquire(timeout=WAIT_S)
    assert lookups.take() == [LookedUp("slow.test", "127.0.0.1")]
    assert name_server.asked == ["slow.test"]
    lookups.ask("slow.test")
    assert rung.acquire(timeout=WAIT_S)
    assert lookups.has_news


def test_only_so_many_names_are_looked_up_at_once(name_server: Names) -> None:
    rung = threading.Semaphore(0)
    lookups = Lookups(rung.release)
    for number in range(MAX_UNDER_WAY):
        lookups.ask(f"slow.{number}.test")

    with pytest.raises(OSError, match="200 names are being looked up already"):
        lookups.ask("fast.test")

    for _ in range(MAX_UNDER_WAY):
        assert rung.acquire(timeout=WAIT_S)
    assert len(lookups.take()) == MAX_UNDER_WAY
    lookups.ask("fast.test")
    assert rung.acquire(timeout=WAIT_S)
    assert lookups.take() == [LookedUp("fast.test", "127.0.0.1")]
    assert "fast.test" in name_server.asked


def test_an_address_is_dialed_as_it_is(network: Network, name_server: Names) -> None:
    n1, n2 = network.node("n1"), network.node("n2")

    n1.learn("n2", n2.endpoints[0])

    eventually(lambda: names(n1) == ["n2"])
    assert name_server.asked == []


def test_a_name_that_nobody_knows_is_told_and_looked_up_again(
    network: Network, name_server: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.transport.zeromq.dialer.LOOK_AGAIN_MS", 10)
    n1, n2 = network.node("n1"), network.node("n2")
    endpoint = named("new.test", n2)

    n1.learn("n2", endpoint)
    eventually(n1.refusals)
    assert n1.refusals() == {endpoint: "the name new.test cannot be looked up: Name or service not known"}

    name_server.known["new.test"] = "127.0.0.1"
    eventually(lambda: names(n1) == ["n2"])
    assert n1.refusals() == {}


def test_a_name_that_leads_elsewhere_by_now_is_followed(
    network: Network, name_server: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.transport.zeromq.dialer.DIAL_AGAIN_MS", 200)
    n1, n2 = network.node("n1"), network.node("n2")
    port = n2.endpoints[0].rpartition(":")[2]
    n1.learn("n2", f"tcp://fast.test:{port}")
    eventually(lambda: names(n1) == ["n2"])

    n2.close()
    name_server.known["fast.test"] = "127.0.0.2"
    network.node("n2", "2", f"tcp://127.0.0.2:{port}")

    eventually(lambda: [peer.incarnation for peer in n1.peers()] == ["2"])


def test_closing_does_not_wait_for_a_name(network: Network, name_server: Names) -> None:
    n1 = network.node("n1")
    n1.learn("n2", "tcp://slow.test:7070")
    eventually(lambda: name_server.asked)
    assert n1._loop is not None

    n1.close()

    assert not n1._loop.thread.is_alive()
    assert not name_server.let.is_set()


def test_a_name_that_finds_no_thread_to_be_looked_up_on_holds_up_no_other_line_and_is_looked_up_later(
    network: Network, name_server: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.transport.zeromq.dialer.LOOK_AGAIN_MS", 20)
    n1, n2, n3 = network.node("n1"), network.node("n2"), network.node("n3")
    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", no_thread_called("lookup"))
        n1.learn("n2", named("fast.test", n2))
        n1.learn("n3", n3.endpoints[0])
        eventually(lambda: "can't start new thread" in n1.refusals().get(named("fast.test", n2), ""))
        eventually(lambda: names(n1) == ["n3"])

    eventually(lambda: sorted(names(n1)) == ["n2", "n3"])
    assert name_server.asked == ["fast.test"]
