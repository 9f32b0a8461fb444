"""Opening, closing and forking: what a person is told, and that nothing hangs."""

import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callsheet.errors import CallsheetError, DefinitionError, ListenError, NotRunning
from callsheet.transport.contract import Envelope
from callsheet.transport.security import KeyFolder, KeyGuard
from callsheet.transport.zeromq import ZeroMQ
from callsheet.transport.zeromq.loop import Loop
from support.carrying import LOCAL, Network, ipc_in, join, mailbox, noted
from support.descriptors import no_descriptor_left
from support.thread import no_thread_called
from support.waiting import eventually

PATIENCE_S = 20.0


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(params=["tcp", "ipc"])
def listen(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return LOCAL if request.param == "tcp" else ipc_in(tmp_path, "n1")


def test_an_address_that_is_taken_is_told_with_what_to_do(network: Network, listen: str) -> None:
    [taken] = network.node("n1", listen=listen).endpoints

    with pytest.raises(ListenError, match=rf"cannot listen at {taken}: somebody else listens there"):
        ZeroMQ("n2", "1", listen=[LOCAL, taken]).open()


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("tcp://192.0.2.1:0", "no address of this machine"),
        ("tcp://127.0.0.1", "no endpoint"),
        ("http://127.0.0.1:80", "no endpoint"),
        ("ipc://" + "/x" * 200, "too long"),
    ],
)
def test_an_address_that_cannot_be_bound_is_told(endpoint: str, why: str) -> None:
    with pytest.raises(ListenError, match=why):
        ZeroMQ("n1", "1", listen=[endpoint]).open()


def test_a_socket_that_a_dead_process_left_is_taken_over(network: Network, tmp_path: Path) -> None:
    endpoint = ipc_in(tmp_path, "n1")
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(endpoint.removeprefix("ipc://"))

    n1, n2 = network.node("n1", listen=endpoint), network.node("n2")

    join(n2, n1)
    assert Path(endpoint.removeprefix("ipc://")).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("name", "incarnation"), [("", "1"), ("n 1", "1"), ("n@1", "1"), ("n1", ""), ("x" * 161, "1")])
def test_an_impossible_name_is_refused(name: str, incarnation: str) -> None:
    with pytest.raises(DefinitionError, match="expected 1 to"):
        ZeroMQ(name, incarnation)


def test_a_client_does_not_listen() -> None:
    with pytest.raises(DefinitionError, match="a client does not listen"):
        ZeroMQ("client-1", "1", listen=[LOCAL])


def test_a_transport_opens_once(network: Network) -> None:
    n1 = network.node("n1")
    n1.close()

    with pytest.raises(NotRunning, match="opens once"):
        n1.open()


def test_closing_before_opening_is_harmless() -> None:
    n1 = ZeroMQ("n1", "1", listen=[LOCAL])
    n1.close()
    n1.close()
    n1.send(noted("a", "clock"))
    assert n1.dropped() == {"closed": 1}


def test_who_closes_a_transport_while_another_thread_opens_it_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = ZeroMQ("n", "1")
    closing = threading.Thread(target=transport.close)
    begun: list[Loop] = []

    def start(loop: Loop) -> None:
        closing.start()
        closing.join(0.05)  # it ends if nothing keeps it from going by what is half open
        begun.append(loop)
        loop.thread.start()

    monkeypatch.setattr(Loop, "start", start)
    transport.open()
    closing.join(PATIENCE_S)

    assert not closing.is_alive()
    assert not begun[0].thread.is_alive()


def raises_no_descriptor(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    ("what", "fail"),
    [
        ("callsheet.transport.security.curve.socket.socketpair", raises_no_descriptor),
        ("threading.Thread.start", no_thread_called("zap")),
        ("callsheet.transport.zeromq.carrier.Loop", raises_no_descriptor),
        ("callsheet.transport.zeromq.loop.Watch", raises_no_descriptor),
        ("threading.Thread.start", no_thread_called("zeromq")),
    ],
    ids=("no_bell_of_the_guard", "no_thread_of_the_guard", "no_bell", "no_watch", "no_thread"),
)
def test_a_transport_that_could_not_be_opened_leaves_nothing_behind(
    tmp_path: Path, network: Network, what: str, fail: Callable[..., None]
) -> None:
    keys = KeyFolder(tmp_path / "keys")
    keys.new("cluster", "node", "*", "2026-01-01T00:00:00Z")
    endpoint = ipc_in(tmp_path, "n1")
    made = ZeroMQ("n1", "1", listen=[endpoint], guard=KeyGuard(keys))
    caught: list[Exception] = []

    def try_to_open() -> None:
        try:
            made.open()
        except (OSError, RuntimeError) as error:
            caught.append(error)

    opening = threading.Thread(target=try_to_open, daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(what, fail)
        opening.start()
        opening.join(PATIENCE_S)

    assert [type(error) for error in caught] in ([OSError], [RuntimeError])
    assert "zap" not in [thread.name for thread in threading.enumerate()]
    assert made.endpoints == ()
    made.close()
    network.node("n2", listen=endpoint, guard=KeyGuard(keys))


def test_who_finds_too_few_descriptors_is_told_how_many_it_takes() -> None:
    with (
        no_descriptor_left(),
        pytest.raises(CallsheetError, match=r"needs 16 files .* only 0 more can be opened .*ulimit"),
    ):
        ZeroMQ("n1", "1").open()


def test_closing_with_full_queues_ends_soon_and_counts_what_was_given_up(network: Network, tmp_path: Path) -> None:
    n1 = network.node("n1")
    for node in ("n2", "n3"):
        n1.learn(node, ipc_in(tmp_path, node))
        for number in range(1_000):
            n1.send(noted(number, f"clock@{node}"))

    began = time.monotonic()
    n1.close()
    n1.close()

    assert time.monotonic() - began < 3
    assert sum(n1.dropped().values()) == 2_000


def test_closing_while_others_send_is_harmless(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)
    go, sent = threading.Event(), []

    def send() -> None:
        while "closed" not in n1.dropped():
            n1.send(noted("a", "clock@n2"))
            sent.append(1)
            go.set()

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert go.wait(10)
    n1.close()
    for thread in threads:
        thread.join(timeout=10)

    assert not any(thread.is_alive() for thread in threads)


def test_a_recipient_may_close_the_transport_that_brings_it_mail(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n2, n1)

    def receive(_: Envelope) -> bool:
        n1.close()
        return True

    n1.attach("clock", receive)

    n2.send(noted("a", "clock@n1"))

    eventually(lambda: ("n2", "lost", "n1", "1") in network.news)


def test_a_recipient_that_raises_harms_nobody_else(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n2, n1)
    clock = mailbox(n1, "clock")

    def receive(_: Envelope) -> bool:
        raise ValueError("a bug of the recipient")

    n1.attach("registry", receive)
    n2.send(noted("a", "registry@n1"))
    eventually(lambda: "a bug of the recipient" in caplog.text)
    n2.send(noted("b", "clock@n1"))

    eventually(lambda: clock.keys == ["b"])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_refused_the_parents_transport(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)
    mailbox(n1, "clock")
    clock = mailbox(n2, "clock")

    child = os.fork()
    if child == 0:
        signal.alarm(10)
        refused = 0
        calls: tuple[Callable[[], None], ...] = (
            lambda: n1.send(noted("a", "clock@n2")),
            lambda: n1.send(noted("a", "clock")),
            lambda: n1.connect(n2.endpoints[0]),
            lambda: n1.learn("n3", n2.endpoints[0]),
            n1.open,
        )
        for call in calls:
            try:
                call()
            except NotRunning as error:
                refused += "forked" in str(error)
        n1.close()
        os._exit(refused)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    n1.send(noted("b", "clock@n2"))
    eventually(lambda: clock.keys == ["b"])
