"""Nodes and clients over real sockets: lines, lives, and what becomes of what was sent."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from callsheet.actors.messages import Noted
from callsheet.errors import DataError, DefinitionError
from callsheet.transport.contract import Envelope
from callsheet.transport.endpoint import MAX_DIALED
from callsheet.transport.zeromq import Contact, ZeroMQ
from support.carrying import LOCAL, Network, ipc_in, join, mailbox, names, noted
from support.tunnel import Tunnel
from support.waiting import eventually


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(params=["tcp", "ipc"])
def listen(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return LOCAL if request.param == "tcp" else ipc_in(tmp_path, "n1")


# ---- lines ----------------------------------------------------------------------------------------------------------------


def test_both_ends_find_each_other_when_one_has_dialed(network: Network, listen: str) -> None:
    n1, n2 = network.node("n1", "i1", listen), network.node("n2", "i2")

    n2.learn("n1", n1.endpoints[0])

    eventually(lambda: len(network.news) == 2)
    assert sorted(network.news) == [("n1", "found", "n2", "i2"), ("n2", "found", "n1", "i1")]
    assert n1.peers() == [Contact("n2", "i2", n2.endpoints[0], "node")]
    assert n2.peers() == [Contact("n1", "i1", n1.endpoints[0], "node")]


def test_the_port_that_the_system_chose_is_told(network: Network) -> None:
    n1 = network.open("n1", "1", LOCAL, LOCAL)

    assert len({*n1.endpoints}) == 2
    assert all(not endpoint.endswith(":0") for endpoint in n1.endpoints)


def test_whoever_listens_everywhere_is_told_by_the_name_of_the_machine(network: Network) -> None:
    [endpoint] = network.node("n1", listen="tcp://*:0").endpoints

    assert endpoint.startswith(f"tcp://{socket.gethostname()}:")


def test_both_may_dial_and_are_found_once(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)
    n2.learn("n1", n1.endpoints[0])
    boxes = mailbox(n1, "clock"), mailbox(n2, "clock")

    for number in range(100):
        n1.send(noted(number, "clock@n2"))
        n2.send(noted(number, "clock@n1"))

    eventually(lambda: [len(box.envelopes) for box in boxes] == [100, 100])
    assert len(network.news) == 2


def test_a_node_that_is_dialed_before_it_lives_is_found_when_it_does(network: Network, tmp_path: Path) -> None:
    n1 = network.node("n1")
    n1.learn("n2", ipc_in(tmp_path, "n2"))

    network.node("n2", listen=ipc_in(tmp_path, "n2"))

    eventually(lambda: "n2" in names(n1))


def test_a_node_that_has_moved_is_found_where_it_is_now(network: Network) -> None:
    n1, n2 = network.node("n1"), network.open("n2", "1", LOCAL, LOCAL)
    join(n1, n2)

    n1.learn("n2", n2.endpoints[1])

    eventually(lambda: network.news.count(("n1", "found", "n2", "1")) == 2)
    assert ("n1", "lost", "n2", "1") in network.news


def test_of_the_nodes_that_were_learned_at_an_endpoint_any_may_live_there(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet.transport.zeromq.dialer.REST_MS", 20)
    n1, early = network.node("n1"), network.node("early")
    join(n1, early)
    [endpoint] = early.endpoints
    early.close()
    late = network.node("late", listen=endpoint)

    n1.learn("late", endpoint)
    eventually(lambda: names(n1) == ["late"])
    n1.learn("early", endpoint)
    n1.forget("early")
    join(n1, network.node("n3"))  # by now it is asked again what to dial

    assert sorted(names(n1)) == ["late", "n3"]
    assert ("n1", "lost", "late", "1") not in network.news
    late.close()
    network.node("early", "2", listen=endpoint)
    n1.learn("early", endpoint)
    eventually(lambda: sorted(names(n1)) == ["early", "n3"])


def test_who_is_not_dialed_any_more_is_lost(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)

    n1.disconnect(n2.endpoints[0])

    eventually(lambda: ("n1", "lost", "n2", "1") in network.news and ("n2", "lost", "n1", "1") in network.news)
    assert n1.peers() == []


def test_a_node_that_is_forgotten_is_dialed_no_more_until_it_is_learned_again(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)

    n1.forget("n2")
    n1.forget("n2")
    n1.forget("nobody")

    eventually(lambda: ("n1", "lost", "n2", "1") in network.news)
    assert n1.peers() == []
    join(n1, n2)


def test_who_was_connected_is_not_forgotten(network: Network) -> None:
    n1, n2, n3 = network.node("n1"), network.node("n2"), network.node("n3")
    n1.connect(n2.endpoints[0])
    join(n1, n2)

    n1.forget("n2")
    join(n1, n3)  # by now it is asked again what to dial

    assert names(n1) == ["n2", "n3"]
    assert ("n1", "lost", "n2", "1") not in network.news


def test_nodes_that_were_forgotten_leave_room_for_others(network: Network, tmp_path: Path) -> None:
    n1, n2 = network.node("n1"), network.node("n2")

    for number in range(MAX_DIALED):
        n1.learn(f"gone{number}", ipc_in(tmp_path, f"gone{number}"))
        n1.forget(f"gone{number}")

    join(n1, n2)


def test_a_line_that_was_cut_is_made_again_to_the_same_life(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    clock = mailbox(n2, "clock")
    with Tunnel(n2.endpoints[0]) as tunnel:
        n1.learn("n2", tunnel.endpoint)
        eventually(lambda: names(n1) == ["n2"])

        tunnel.cut()

        eventually(lambda: [each for each in network.news if each[0] == "n1"] == [
            ("n1", "found", "n2", "1"), ("n1", "lost", "n2", "1"), ("n1", "found", "n2", "1"),
        ])  # fmt: skip
        n1.send(noted("a", "clock@n2"))
        eventually(lambda: clock.keys == ["a"])


def test_a_line_that_has_fallen_silent_is_made_again(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    clock = mailbox(n2, "clock")
    with Tunnel(n2.endpoints[0]) as tunnel:
        n1.learn("n2", tunnel.endpoint)
        eventually(lambda: names(n1) == ["n2"])

        tunnel.silence()

        eventually(lambda: network.news.count(("n1", "found", "n2", "1")) == 2, within_s=20)
        n1.send(noted("a", "clock@n2"))
        eventually(lambda: clock.keys == ["a"])
        assert network.news.count(("n1", "lost", "n2", "1")) == 1


def test_what_is_sent_while_a_line_is_made_waits_for_it(network: Network, tmp_path: Path) -> None:
    n1 = network.node("n1")
    n2 = ZeroMQ("n2", "1", listen=[ipc_in(tmp_path, "n2")])
    clock = mailbox(n2, "clock")
    n1.learn("n2", ipc_in(tmp_path, "n2"))
    network.opened.append(n2)

    n2.open()
    n1.send(noted("a", "clock@n2"))

    eventually(lambda: clock.keys == ["a"] or n1.dropped())
    assert n1.dropped() == {}


def test_what_is_sent_to_a_node_that_does_not_come_is_given_up(network: Network, tmp_path: Path) -> None:
    n1 = network.node("n1")
    n1.learn("n2", ipc_in(tmp_path, "n2"))

    for number in range(3):
        n1.send(noted(number, "clock@n2"))

    eventually(lambda: n1.dropped() == {"cut": 3})


@pytest.mark.parametrize("address", ["clock@n9", "client-9", "client-9@n1", "client-9@n2", "n2", ""])
def test_what_is_sent_to_nobody_is_counted_as_absent(network: Network, address: str) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)

    n1.send(noted("a", address))

    eventually(lambda: [n1.dropped(), n2.dropped()] in ([{"absent": 1}, {}], [{}, {"absent": 1}]))


def test_an_impossible_endpoint_is_refused(network: Network) -> None:
    n1 = network.node("n1")

    for endpoint in ("", "n2:7070", "tcp://n2", "http://n2:80", "ipc://"):
        with pytest.raises(DefinitionError, match="expected tcp://HOST:PORT or ipc://PATH"):
            n1.connect(endpoint)
        n1.learn("n2", endpoint)
    n1.send(noted("a", "clock@n2"))
    assert n1.dropped() == {"absent": 1}


def test_two_nodes_of_one_name_are_told_so(network: Network) -> None:
    one, other = network.node("n1", "i1"), network.node("n1", "i2")

    one.connect(other.endpoints[0])

    eventually(lambda: "give each node a name of its own" in one.refusals().get(other.endpoints[0], ""))
    assert one.peers() == []


def test_another_node_than_the_expected_one_gets_nothing(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    clock = mailbox(n2, "clock")

    n1.learn("n3", n2.endpoints[0])
    n1.send(noted("a", "clock@n3"))

    eventually(lambda: "n3 was expected" in n1.refusals().get(n2.endpoints[0], ""))
    eventually(lambda: n1.dropped() == {"cut": 1})
    assert clock.envelopes == []


# ---- lives ----------------------------------------------------------------------------------------------------------------


def test_a_node_that_restarts_is_lost_and_found_as_another_life(network: Network, tmp_path: Path) -> None:
    n1, first = network.node("n1"), network.node("n2", "i1", ipc_in(tmp_path, "n2"))
    join(n1, first)

    first.close()
    eventually(lambda: ("n1", "lost", "n2", "i1") in network.news)
    second = network.node("n2", "i2", ipc_in(tmp_path, "n2"))
    clock = mailbox(second, "clock")

    eventually(lambda: ("n1", "found", "n2", "i2") in network.news)
    n1.send(noted("a", "clock@n2"))
    eventually(lambda: clock.keys == ["a"])
    assert [each[1:] for each in network.news if each[0] == "n1"] == [
        ("found", "n2", "i1"),
        ("lost", "n2", "i1"),
        ("found", "n2", "i2"),
    ]


def test_what_waited_for_an_earlier_life_does_not_reach_the_next(network: Network, tmp_path: Path) -> None:
    n1, first = network.node("n1"), network.node("n2", "i1", ipc_in(tmp_path, "n2"))
    join(n1, first)
    first.close()
    eventually(lambda: ("n1", "lost", "n2", "i1") in network.news)

    for number in range(5):
        n1.send(noted(number, "clock@n2"))
    second = ZeroMQ("n2", "i2", listen=[ipc_in(tmp_path, "n2")])
    clock = mailbox(second, "clock")
    network.opened.append(second)
    second.open()
    eventually(lambda: ("n1", "found", "n2", "i2") in network.news)
    n1.send(noted("for the second", "clock@n2"))

    eventually(lambda: clock.keys == ["for the second"])
    assert n1.dropped() == {"cut": 5}


def test_an_earlier_life_that_wakes_up_is_refused(network: Network) -> None:
    n1 = network.node("n1")
    network.open("n2", "earlier").connect(n1.endpoints[0])
    eventually(lambda: ("n1", "found", "n2", "earlier") in network.news)
    second = network.open("n2", "later")
    second.connect(n1.endpoints[0])
    eventually(lambda: ("n1", "found", "n2", "later") in network.news)
    clock = mailbox(n1, "clock")

    first = network.opened[1]
    eventually(lambda: "has begun another life since" in first.refusals().get(n1.endpoints[0], ""))
    first.send(noted("a", "clock@n1"))
    second.send(noted("b", "clock@n1"))

    eventually(first.dropped)
    eventually(lambda: clock.keys == ["b"])
    assert [peer.incarnation for peer in n1.peers()] == ["later"]


# ---- clients --------------------------------------------------------------------------------------------------------------


def test_a_client_asks_the_node_at_the_other_end_and_is_answered(network: Network, listen: str) -> None:
    n1 = network.node("n1", listen=listen)
    client = network.client("client-7", n1)
    registry, answers = mailbox(n1, "registry"), mailbox(client, "client-7")

    client.send(noted("a", "registry", "client-7"))
    client.send(noted("b", "registry@n1", "client-7"))
    eventually(lambda: registry.keys == ["a", "b"])
    n1.send(noted("c", registry.envelopes[0].sender))

    eventually(lambda: answers.keys == ["c"])
    assert {each.sender for each in registry.envelopes} == {"client-7"}
    assert answers.envelopes == [noted("c", "client-7", "registry@n1")]
    assert n1.peers() == [Contact("client-7", "7", "", "client")]


def test_what_a_client_sends_before_it_is_welcome_waits(network: Network) -> None:
    n1, client = network.node("n1"), network.open("client-7")
    registry = mailbox(n1, "registry")

    client.connect(n1.endpoints[0])
    client.send(noted("a", "registry", "client-7"))

    eventually(lambda: registry.keys == ["a"])


def test_a_client_is_reached_through_the_node_it_is_connected_to(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n2, n1)
    answers = mailbox(network.client("client-7", n1), "client-7")

    n2.send(noted("a", "client-7@n1"))

    eventually(lambda: answers.envelopes == [noted("a", "client-7", "registry@n2")])


def test_a_client_of_several_nodes_speaks_with_the_last_or_the_preferred(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    client = network.client("client-7", n1, n2)
    first, second = mailbox(n1, "registry"), mailbox(n2, "registry")

    client.send(noted("a", "registry", "client-7"))
    client.prefer("n1")
    client.send(noted("b", "registry", "client-7"))
    eventually(lambda: (first.keys, second.keys) == (["b"], ["a"]))
    n1.close()
    eventually(lambda: names(client) == ["n2"])
    client.send(noted("c", "registry", "client-7"))

    eventually(lambda: second.keys == ["a", "c"])


def test_a_client_that_has_gone_is_absent(network: Network) -> None:
    n1 = network.node("n1")
    network.client("client-7", n1).close()
    eventually(lambda: n1.peers() == [])

    def is_absent() -> bool:
        n1.send(noted("a", "client-7"))
        return n1.dropped().get("absent", 0) > 0

    eventually(is_absent)


def test_clients_do_not_speak_with_each_other(network: Network) -> None:
    n1 = network.node("n1")
    client = network.client("client-7", n1)
    other = mailbox(network.client("client-8", n1), "client-8")

    client.send(noted("a", "client-8", "client-7"))

    eventually(lambda: n1.dropped() == {"absent": 1})
    assert other.envelopes == []


# ---- load -----------------------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_envelopes_arrive_in_order(network: Network, listen: str) -> None:
    n1, n2 = network.node("n1", listen=listen), network.node("n2")
    join(n2, n1)
    count, window = 100_000, 5_000
    taken = threading.Semaphore(window)
    keys: list[str] = []

    def receive(envelope: Envelope) -> bool:
        keys.append(envelope.messages[0].key)
        taken.release()
        return True

    n1.attach("clock", receive)
    for number in range(count):
        assert taken.acquire(timeout=30)
        n2.send(noted(number, "clock@n1"))

    eventually(lambda: len(keys) == count, within_s=30)
    assert keys == [str(number) for number in range(count)]
    assert [n1.dropped(), n2.dropped()] == [{}, {}]


def test_envelopes_from_many_threads_all_arrive(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n2, n1)
    clock = mailbox(n1, "clock")

    def send(sender: str) -> None:
        for number in range(1_000):
            n2.send(noted(number, "clock@n1", sender))

    threads = [threading.Thread(target=send, args=(f"s{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    eventually(lambda: len(clock.envelopes) == 4_000)
    for number in range(4):
        assert [each.messages[0].key for each in clock.envelopes if each.sender == f"s{number}@n2"] == [
            str(each) for each in range(1_000)
        ]


def test_a_large_envelope_arrives(network: Network, listen: str) -> None:
    n1, n2 = network.node("n1", listen=listen), network.node("n2")
    join(n2, n1)
    clock = mailbox(n1, "clock")
    large = Envelope("registry@n2", "clock@n1", 1, tuple(Noted(str(number) * 50_000) for number in range(10, 40)))

    n2.send(large)
    n2.send(noted("after", "clock@n1"))

    eventually(lambda: len(clock.envelopes) == 2)
    assert clock.envelopes[0] == large


def test_what_can_never_travel_is_the_senders_fault(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)

    with pytest.raises(DataError, match="no message that may be sent"):
        n1.send(Envelope("registry", "clock@n2", 1, (object(),)))
    assert n1.dropped() == {"unsendable": 1}
