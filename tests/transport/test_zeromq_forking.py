"""A forked child that lives on: it keeps nothing of the lines of its parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from callsheet.transport.zeromq import ZeroMQ
from support.carrying import LOCAL, Network, ipc_in, join, mailbox, names, noted
from support.forking import forked_child
from support.waiting import eventually

SOON_S = 1.5
"""Less than after how long a connection that has fallen silent is closed anyway."""

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(params=["tcp", "ipc"])
def listen(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return LOCAL if request.param == "tcp" else ipc_in(tmp_path, "n1")


def test_where_the_parent_has_listened_another_may_listen(network: Network, listen: str) -> None:
    n1, n2 = network.node("n1", listen=listen), network.node("n2")
    join(n2, n1)

    with forked_child():
        n1.close()
        again = network.node("n3", listen=n1.endpoints[0])

        assert again.endpoints == n1.endpoints


def test_where_a_parent_was_killed_another_may_listen(network: Network, tmp_path: Path, listen: str) -> None:
    told, tell = os.pipe()
    middle = os.fork()
    if middle == 0:
        signal.alarm(60)
        node = ZeroMQ("n1", "1", listen=[listen])
        node.open()
        if os.fork() == 0:  # outlives the kill
            signal.alarm(5)
            os.write(tell, b"forked " + node.endpoints[0].encode())
            signal.pause()
        signal.pause()
    said = os.read(told, 200).decode()
    os.kill(middle, signal.SIGKILL)
    os.waitpid(middle, 0)
    os.close(told)
    os.close(tell)

    endpoint = said.removeprefix("forked ")

    assert network.node("n2", listen=endpoint).endpoints == (endpoint,)


@pytest.mark.parametrize("dials", ["n1", "n2"])
def test_who_was_connected_with_the_parent_hears_of_its_end(network: Network, listen: str, dials: str) -> None:
    n1, n2 = network.node("n1", listen=listen), network.node("n2")
    if dials == "n1":
        join(n1, n2)
    else:
        join(n2, n1)

    with forked_child():
        n1.close()

        eventually(lambda: ("n2", "lost", "n1", "1") in network.news, within_s=SOON_S)


def test_the_lines_of_the_parent_stand_when_it_has_forked(network: Network, listen: str) -> None:
    n1, n2, n3 = network.node("n1", listen=listen), network.node("n2"), network.node("n3")
    join(n1, n2)
    join(n3, n1)
    clock = mailbox(n1, "clock")

    with forked_child():
        n2.send(noted("a", "clock@n1"))
        n3.send(noted("b", "clock@n1"))

        eventually(lambda: sorted(clock.keys) == ["a", "b"])
        join(network.node("n4"), n1)
    assert names(n1) == ["n2", "n3", "n4"]
    assert not [each for each in network.news if each[1] == "lost"]
