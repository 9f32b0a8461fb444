"""Lines with a guard at the door: who comes in, as whom, and what a key is worth when it is revoked."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from callsheet.actors.messages import Envelope, LeaderBeat, ListMembers, Noted, RequestRejected
from callsheet.transport.security import DialGuard, KeyFolder, KeyGuard, OpenGuard
from callsheet.transport.zeromq import ZeroMQ
from support.carrying import Network, join, mailbox, noted
from support.waiting import eventually

AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.new("cluster", "node", "*", AT)
    folder.new("alice", "admin", "*", AT)
    folder.new("bob", "viewer", "*", AT)
    return folder


@pytest.fixture
def looking(keys: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> KeyGuard:
    """A guard that looks at its folder as often as it is asked, as if much time went by in between."""
    monkeypatch.setattr("callsheet.transport.zeromq.door.KEYS_MS", 0)
    return KeyGuard(keys, monotonic=count().__next__)


def test_nodes_with_the_keys_of_the_cluster_find_each_other(network: Network, keys: KeyFolder) -> None:
    n1, n2 = network.node("n1", guard=KeyGuard(keys)), network.node("n2", guard=KeyGuard(keys))
    clock = mailbox(n1, "clock")
    join(n2, n1)

    n2.send(noted("a", "clock@n1"))

    eventually(lambda: clock.keys == ["a"])


def test_a_client_is_addressed_with_what_its_key_stands_for(network: Network, keys: KeyFolder) -> None:
    n1 = network.node("n1", guard=KeyGuard(keys))
    client = network.client("client-7", n1, guard=DialGuard(keys.path / "alice.secret"))
    coordinator, answers = mailbox(n1, "coordinator"), mailbox(client, "client-7")

    asked = ListMembers(f"{client.incarnation}/1")
    client.send(Envelope("client-7", "coordinator", 0, (asked,)))
    eventually(lambda: coordinator.messages == [asked])
    n1.send(noted("answer", coordinator.envelopes[0].sender, "coordinator"))

    eventually(lambda: answers.envelopes == [noted("answer", "client-7", "coordinator@n1")])
    assert coordinator.envelopes[0].sender == "client-7~alice"


def test_two_keys_may_use_one_name_and_are_two_clients(network: Network, keys: KeyFolder) -> None:
    n1 = network.node("n1", guard=KeyGuard(keys))
    boxes = {}
    for key in ("alice", "bob"):
        client = network.client("client-7", n1, guard=DialGuard(keys.path / f"{key}.secret"))
        boxes[key] = mailbox(client, "client-7")

    for key in boxes:
        n1.send(noted(key, f"client-7~{key}"))

    eventually(lambda: {key: box.keys for key, box in boxes.items()} == {"alice": ["alice"], "bob": ["bob"]})


def test_what_the_guard_refuses_is_answered_to_the_client(network: Network, keys: KeyFolder) -> None:
    n1 = network.node("n1", guard=KeyGuard(keys))
    client = network.client("client-7", n1, guard=DialGuard(keys.path / "alice.secret"))
    coordinator, answers = mailbox(n1, "coordinator"), mailbox(client, "client-7")

    asked = ListMembers(f"{client.incarnation}/1")
    client.send(Envelope("client-7", "coordinator", 0, (LeaderBeat(9, "n1", "1", "", 1), Noted("k"), asked)))

    eventually(lambda: coordinator.messages == [asked])
    eventually(lambda: [type(each) for each in answers.messages] == [RequestRejected])
    assert answers.messages[0].key == "k"


def test_to_a_key_that_is_revoked_nothing_is_sent_any_more_but_why(
    network: Network, keys: KeyFolder, looking: KeyGuard
) -> None:
    n1, n2 = network.node("n1", guard=looking), network.node("n2", guard=KeyGuard(keys))
    join(n1, n2)
    client = network.client("client-7", n1, guard=DialGuard(keys.path / "bob.secret"))
    told = mailbox(client, "client-7")
    n1.send(noted("a", "client-7~bob"))
    eventually(lambda: told.keys == ["a"])

    keys.revoke("bob", AT)
    n1.send(noted("b", "client-7~bob"))
    n2.send(noted("c", "client-7~bob@n1", sender="registry@n2"))
    eventually(lambda: n1.dropped() == {"refused": 2})
    client.send(Envelope("client-7", "coordinator", 0, (ListMembers("7/1"),)))

    eventually(lambda: len(told.messages) > 1)
    assert [type(each).__name__ for each in told.messages] == ["Noted", "RequestRejected"]
    assert "revoked" in told.messages[1].text
    eventually(lambda: n1.dropped() == {"refused": 3})


def test_who_asks_first_after_the_key_was_revoked_is_told_why_he_is_refused(
    network: Network, keys: KeyFolder, looking: KeyGuard
) -> None:
    n1 = network.node("n1", guard=looking)
    client = network.client("client-7", n1, guard=DialGuard(keys.path / "bob.secret"))
    told = mailbox(client, "client-7")

    keys.revoke("bob", AT)
    client.send(Envelope("client-7", "coordinator", 0, (ListMembers("7/1"),)))

    eventually(lambda: [type(each) for each in told.messages] == [RequestRejected])


def test_a_key_that_counts_again_is_sent_to_again(network: Network, keys: KeyFolder) -> None:
    n1 = network.node("n1", guard=KeyGuard(keys))
    client = network.client("client-7", n1, guard=DialGuard(keys.path / "bob.secret"))
    told, file = mailbox(client, "client-7"), keys.path / "bob.public"
    before = file.read_bytes()
    keys.revoke("bob", AT)

    def is_refused() -> bool:
        n1.send(noted("a", "client-7~bob"))
        return "refused" in n1.dropped()

    eventually(is_refused)

    file.write_bytes(before)

    eventually(lambda: not any(peer.is_barred for peer in n1._directory.clients()))
    n1.send(noted("z", "client-7~bob"))
    eventually(lambda: told.keys[-1:] == ["z"])


def test_a_node_at_rest_is_not_woken_to_look_at_its_keys(network: Network, keys: KeyFolder) -> None:
    n1 = network.node("n1", guard=KeyGuard(keys))
    network.client("client-7", n1, guard=DialGuard(keys.path / "bob.secret"))
    loop = n1._loop
    assert loop is not None

    eventually(lambda: loop._next is None)

    assert [peer.name for peer in n1.peers()] == ["client-7~bob"]


def test_the_key_of_a_request_is_of_the_client_s_own_life(network: Network, keys: KeyFolder) -> None:
    n1 = network.node("n1", guard=KeyGuard(keys))
    client = network.client("client-7", n1, guard=DialGuard(keys.path / "alice.secret"))
    coordinator, answers = mailbox(n1, "coordinator"), mailbox(client, "client-7")

    client.send(Envelope("client-7", "coordinator", 0, (ListMembers(f"{client.incarnation}8/1"), ListMembers("n1/2"))))

    eventually(lambda: [each.key for each in answers.messages] == [f"{client.incarnation}8/1", "n1/2"])
    assert [each.code for each in answers.messages] == ["forbidden"] * 2
    assert coordinator.messages == []


def is_told(who: ZeroMQ, by: ZeroMQ, why: str) -> bool:
    return why in who.refusals().get(by.endpoints[0], "")


def test_no_client_takes_a_node_s_life_for_its_own(network: Network, keys: KeyFolder) -> None:
    n1, n2 = network.node("n1", guard=KeyGuard(keys)), network.node("n2", guard=KeyGuard(keys))
    join(n2, n1)
    for node in (n1, n2):
        thief = network.open("client-7", incarnation=node.incarnation, guard=DialGuard(keys.path / "alice.secret"))
        thief.connect(n1.endpoints[0])
        eventually(partial(is_told, thief, n1, "is that of a node"))


def test_a_client_that_claims_to_be_a_node_is_told_why_not(network: Network, keys: KeyFolder) -> None:
    n1 = network.node("n1", guard=KeyGuard(keys))
    thief = network.open("n2", guard=DialGuard(keys.path / "alice.secret"))

    thief.connect(n1.endpoints[0])

    eventually(lambda: "not that of a node" in thief.refusals().get(n1.endpoints[0], ""))
    assert n1.peers() == []


@pytest.mark.parametrize("name", ["n2", "client-7"])
def test_who_has_no_key_does_not_come_in(network: Network, keys: KeyFolder, name: str) -> None:
    n1 = network.node("n1", guard=KeyGuard(keys))
    stranger = network.open(name)

    stranger.connect(n1.endpoints[0])

    eventually(lambda: stranger.refusals().get(n1.endpoints[0]))
    assert "keys that fit" in stranger.refusals()[n1.endpoints[0]]
    assert n1.peers() == []


def test_without_keys_everybody_is_told_apart_all_the_same(network: Network) -> None:
    n1 = network.node("n1", guard=OpenGuard())
    client = network.client("client-7", n1)
    coordinator = mailbox(n1, "coordinator")

    client.send(Envelope("client-7", "coordinator", 0, (ListMembers("k"),)))

    eventually(lambda: [each.sender for each in coordinator.envelopes] == ["client-7~anonymous"])
