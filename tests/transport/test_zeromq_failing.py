"""What the thread that owns the sockets does when the world or a bug makes its turns fail."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from callsheet.transport.security import OpenGuard
from callsheet.transport.zeromq import ZeroMQ
from support.carrying import LOCAL, Network, break_turns, join, mailbox, names, noted
from support.descriptors import no_descriptor_left
from support.waiting import eventually

WAIT_S = 10.0


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


class Clumsy(OpenGuard):
    """A guard with a bug, which raises when an endpoint is dialed that it does not like."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self.endpoint = endpoint

    def secure_client(self, socket: Any, endpoint: str) -> None:
        if endpoint == self.endpoint:
            raise ValueError("a bug of the guard")


def test_a_line_that_finds_no_descriptor_rests_and_is_dialed_again_as_are_those_behind_it(network: Network) -> None:
    n1, n2, n3 = network.node("n1"), network.node("n2"), network.node("n3")

    with no_descriptor_left():
        n1.learn("n2", n2.endpoints[0])
        n1.learn("n3", n3.endpoints[0])
        eventually(lambda: [*n1.refusals()] == [n2.endpoints[0], n3.endpoints[0]])
        assert all("Too many open files" in why for why in n1.refusals().values())

    eventually(lambda: names(n1) == ["n2", "n3"])


def test_without_descriptors_the_lines_that_stand_go_on(network: Network) -> None:
    n1, n2, n3 = network.node("n1"), network.node("n2"), network.node("n3")
    join(n1, n2)
    clock = mailbox(n2, "clock")

    with no_descriptor_left():
        n1.learn("n3", n3.endpoints[0])
        eventually(n1.refusals)
        n1.send(noted("a", "clock@n2"))
        eventually(lambda: clock.keys == ["a"])


def test_a_line_that_cannot_be_made_because_of_a_bug_keeps_no_other_from_being_made(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    n2, n3 = network.node("n2"), network.node("n3")
    n1 = network.node("n1", guard=Clumsy(n2.endpoints[0]))

    n1.learn("n2", n2.endpoints[0])
    n1.learn("n3", n3.endpoints[0])

    eventually(lambda: names(n1) == ["n3"])
    assert "a bug of the guard" in caplog.text


def test_a_thread_whose_turns_fail_for_long_ends_and_says_so(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callsheet.transport.zeromq.loop.GIVE_UP_S", 0.05)
    told: SimpleQueue[str] = SimpleQueue()
    n1 = ZeroMQ("n1", "1", listen=[LOCAL], failed=told.put)
    n1.open()
    network.opened.append(n1)
    n2 = network.node("n2")
    join(n2, n1)

    break_turns(n1)

    assert "the lines to other nodes failed for 0.05 s" in told.get(timeout=WAIT_S)
    eventually(lambda: names(n2) == [])
    n1.send(noted("a", "clock@n2"))
    assert n1.dropped() == {"closed": 1}


def test_a_thread_whose_turns_fail_for_a_moment_goes_on(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    asked = 0
    clock = mailbox(n1, "clock")
    wanted = n1._loop._wanted  # type: ignore[union-attr]

    def fail() -> Any:
        nonlocal asked
        asked += 1
        if asked < 4:
            raise OSError("for a moment")
        return wanted()

    n1._loop._wanted = fail  # type: ignore[union-attr]
    n1.learn("n2", n2.endpoints[0])

    eventually(lambda: names(n1) == ["n2"])
    assert asked == 4
    n2.send(noted("a", "clock@n1"))
    eventually(lambda: clock.keys == ["a"])
